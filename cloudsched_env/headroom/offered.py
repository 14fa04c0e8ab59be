"""Offered load: what the tasks of an episode ask of each resource, as a share of what the cluster has.

A load near or above 1 means that the resource alone keeps part of the work from being done, whatever anyone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode

__all__ = ["RESOURCES", "LoadRange", "OfferedLoads", "Resource", "offered_loads"]

Floats = NDArray[np.float64]

# Arrivals are counted in bins of this length for the index of dispersion.
DISPERSION_BIN_S = 1.0


@dataclass(frozen=True)
class Resource:
    """One row of the table of offered loads.

    Attributes:
        name: field of `OfferedLoads`.
        unit: its unit, ``"1"`` for a share of the capacity.
        definition: exact definition, over a whole episode.
    """

    name: str
    unit: str
    definition: str


RESOURCES: tuple[Resource, ...] = (
    Resource("cpu", "1", "cores x base time of all tasks / (cores x time)"),
    Resource("memory", "1", "memory x base time of all tasks / (memory of compute nodes x time)"),
    Resource("reads_without_cache", "1", "bytes read if nothing were cached / (storage bandwidth x time)"),
    Resource("scan_reads", "1", "of these, bytes that no cache saves / (storage bandwidth x time)"),
    Resource(
        "writes",
        "1",
        "bytes written x replicas x (1 + write amplification of compaction, if on) / (storage bandwidth x time)",
    ),
    Resource("scheduler_slots", "1", "tasks of the busiest scheduler / (window slots x steps)"),
    Resource("arrivals_per_s", "1/s", "tasks / time"),
    Resource(
        "dispersion",
        "1",
        f"index of dispersion: variance / mean of arrivals in bins of {DISPERSION_BIN_S:g} s; 1 for a Poisson process",
    ),
)


@dataclass(frozen=True)
class LoadRange:
    """One quantity over a list of episodes.

    Attributes:
        mean: over episodes.
        minimum: smallest.
        maximum: largest.
    """

    mean: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class OfferedLoads:
    """Offered loads over a list of episodes, as `RESOURCES` defines them.

    Attributes:
        episodes: how many.
        cpu: share of the cores.
        memory: share of the memory of compute nodes.
        reads_without_cache: share of the storage bandwidth.
        scan_reads: share of the storage bandwidth.
        writes: share of the storage bandwidth, all replicas and compaction included.
        scheduler_slots: share of the busiest scheduler's slots.
        arrivals_per_s: tasks per second.
        dispersion: index of dispersion of arrivals.
    """

    episodes: int
    cpu: LoadRange
    memory: LoadRange
    reads_without_cache: LoadRange
    scan_reads: LoadRange
    writes: LoadRange
    scheduler_slots: LoadRange
    arrivals_per_s: LoadRange
    dispersion: LoadRange


def offered_loads(scenario: Scenario, episodes: Sequence[Episode]) -> OfferedLoads:
    """Offered loads of episodes of one scenario.

    Args:
        scenario: the cluster.
        episodes: its work, at least one.

    Raises:
        ValueError: without episodes, or for one without tasks.
    """
    if not episodes:
        raise ValueError("no episodes: expected at least one")
    if any(episode.tasks == 0 for episode in episodes):
        raise ValueError("an episode without tasks offers nothing: expected at least one task in each")
    rows = [_loads_of_one(scenario, episode) for episode in episodes]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return OfferedLoads(
        episodes=len(rows),
        **{name: LoadRange(float(v.mean()), float(v.min()), float(v.max())) for name, v in columns.items()},
    )


def _loads_of_one(scenario: Scenario, episode: Episode) -> dict[str, float]:
    types, duration_s = scenario.cluster.compute_nodes, scenario.duration_s
    core_s = sum(t.count * t.cores for t in types) * duration_s
    memory_gb_s = sum(t.count * t.memory_gb for t in types) * duration_s
    storage_mb = scenario.cluster.storage_nodes * scenario.storage.bandwidth_mb_per_s * duration_s
    compaction = scenario.compaction
    copies = episode.shard_replicas.shape[1] * (1.0 + (compaction.write_amplification if compaction.enabled else 0.0))
    owned = np.bincount(episode.tenant_scheduler[episode.tenant], minlength=scenario.cluster.schedulers)
    return {
        "cpu": float(episode.cores @ episode.base_time_s) / core_s,
        "memory": float(episode.memory_gb @ episode.base_time_s) / memory_gb_s,
        "reads_without_cache": float(episode.cacheable_read_mb.sum() + episode.scan_read_mb.sum()) / storage_mb,
        "scan_reads": float(episode.scan_read_mb.sum()) / storage_mb,
        "writes": float(episode.write_mb.sum()) * copies / storage_mb,
        "scheduler_slots": float(owned.max()) / (scenario.scheduling.window_slots * scenario.time.horizon_steps),
        "arrivals_per_s": episode.tasks / duration_s,
        "dispersion": _dispersion(episode.arrival_s, duration_s),
    }


def _dispersion(arrival_s: Floats, duration_s: float) -> float:
    """Variance over mean of the counts in whole bins; the rest at the end that fills no bin is left out."""
    bins = max(1, int(duration_s / DISPERSION_BIN_S))
    counts = np.histogram(arrival_s, bins=bins, range=(0.0, bins * DISPERSION_BIN_S))[0]
    return float(counts.var() / counts.mean()) if counts.mean() > 0 else float("nan")
