"""Whether an episode belongs to a scenario: compiled code reads its indices without checking them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import TASK_COLUMNS, Episode

__all__ = ["check_episode"]

_POSITIVE = ("cores", "base_time_s", "memory_gb", "shard_hot_set_mb", "background_share", "tenant_weight")
_AMOUNTS = ("cacheable_read_mb", "scan_read_mb", "write_mb", "estimated_time_s", "estimated_read_mb")


def check_episode(scenario: Scenario, episode: Episode) -> None:
    """Check shapes, ranges of indices, order of times and signs of amounts.

    Raises:
        ValueError: naming the column, the value and what was expected.
    """
    where = f"the episode does not belong to scenario {scenario.id!r}"
    workload, cluster = scenario.workload, scenario.cluster
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(TASK_COLUMNS, (episode.tasks,))
    shapes |= dict.fromkeys(("background_step", "background_node", "background_share"), (len(episode.background_step),))
    shapes |= {
        "shard_hot_set_mb": (scenario.shards,),
        "shard_replicas": (scenario.shards, workload.replicas),
        "shard_homes": (scenario.shards, workload.home_nodes),
        "tenant_scheduler": (workload.tenants,),
        "tenant_weight": (workload.tenants,),
    }
    for name, shape in shapes.items():
        if np.shape(getattr(episode, name)) != shape:
            raise ValueError(f"{where}: its {name} has shape {np.shape(getattr(episode, name))}, expected {shape}")
    counts = {
        "shard": scenario.shards,
        "tenant": workload.tenants,
        "slo_class": 3,
        "shard_replicas": cluster.storage_nodes,
        "shard_homes": scenario.compute_count,
        "tenant_scheduler": cluster.schedulers,
        "background_node": scenario.compute_count + cluster.storage_nodes,
    }
    for name, count in counts.items():
        column = getattr(episode, name)
        _require((column >= 0) & (column < count), column, f"{where}: its {name}", f"0 to {count - 1}")
    for name in _POSITIVE:
        column = getattr(episode, name)
        _require((column > 0) & np.isfinite(column), column, f"the episode's {name}", "a finite number above 0")
    for name in _AMOUNTS:
        column = getattr(episode, name)
        _require((column >= 0) & np.isfinite(column), column, f"the episode's {name}", "a finite number, at least 0")
    share = episode.background_share
    _require(share <= 1, share, "the episode's background_share", "at most 1")
    for name in ("arrival_s", "background_step"):
        column = getattr(episode, name)
        _require(np.isfinite(column), column, f"the episode's {name}", "finite numbers")
        _require(np.diff(column) >= 0, column[1:], f"the episode's {name}", "ascending order")
    deadline = episode.deadline_s
    _require(~np.isnan(deadline), deadline, "the episode's deadline_s", "a number")


def _require(right: NDArray[np.bool_], column: NDArray[Any], what: str, expected: str) -> None:
    """Refuse the first entry that is not right."""
    if not right.all():
        place = tuple(int(i) for i in np.argwhere(~right)[0])
        raise ValueError(f"{what} {column[place]} at {list(place)}: expected {expected}")
