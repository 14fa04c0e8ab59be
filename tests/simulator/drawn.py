"""Random clusters and episodes for property tests: any scenario that its ranges allow, and work that strains it."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from cloudsched_env.config_tree import limits
from cloudsched_env.scenario import RewardConfig, Scenario, switch_names
from cloudsched_env.sim.failure import Outage
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode
from tests.simulator.episodes import disturbed_episode

HORIZON_STEPS = 40
# Sizes that ranges would let grow beyond a quick test.
CAPS: dict[str, tuple[float, float]] = {
    "cluster.storage_nodes": (1, 5),
    "cluster.schedulers": (1, 3),
    "workload.tenants": (1, 5),
    "workload.shards_per_tenant": (1, 3),
    "workload.replicas": (1, 5),
    "workload.home_nodes": (1, 5),
    "scheduling.window_slots": (1, 6),
    "scheduling.backoff_steps": (0, 60),
    "telemetry.publish_every_steps": (1, 9),
    "telemetry.delay_steps": (0, 12),
    "compute.decision_interval_steps": (1, 12),
    "storage.decision_interval_steps": (1, 12),
}
# Drawn apart, because they are tied to each other, or fixed.
_TIED = {
    "time.horizon_steps", "time.warmup_steps", "scheduling.dispatch_delay_s", "compaction.soft_limit_s",
    "compaction.hard_limit_s", "telemetry.loss_probability", "telemetry.loss_burst_length",
    "compute.initial_cache_level", "compute.initial_admission_level", "storage.initial_background_level",
    "storage.initial_serve_level", "purge.initial_level", "cache.hot_set_minimum_gb", "cache.hot_set_maximum_gb",
    "background.minimum_loss", "background.maximum_loss", "elastic.minimum_nodes",
}  # fmt: skip
_GENERATED_TIED = {
    "workload.task_rate_per_s", "workload.minimum_base_time_s", "workload.maximum_base_time_s",
    "workload.minimum_cores", "workload.maximum_cores", "workload.phase_minimum_s", "workload.phase_maximum_s",
    "workload.hot_shift_interval_s", "workload.flash_crowds", "workload.flash_crowd_duration_s",
}  # fmt: skip
_GROUPS = (
    "time", "cluster", "scheduling", "compute", "cache", "storage", "compaction", "purge", "background",
    "elastic", "telemetry", "observation", "reward",
)  # fmt: skip
_TEAMS = typing.get_args(typing.get_type_hints(RewardConfig)["team"])


def numeric_fields(groups: tuple[str, ...] = _GROUPS) -> dict[str, tuple[float, float, bool]]:
    """Dotted names of the scenario's numeric fields, with their ranges and whether they are whole numbers."""
    defaults = Scenario()
    found = {}
    for group in groups:
        mine = getattr(defaults, group)
        for entry in dataclasses.fields(mine):
            if span := limits(type(mine), entry.name):
                found[f"{group}.{entry.name}"] = (*span, isinstance(getattr(mine, entry.name), int))
    return found


def switch_fields() -> list[str]:
    """Dotted names of the switches of those groups."""
    return [name for name in switch_names() if name.split(".")[0] in _GROUPS]


def _number(low: float, high: float, whole: bool) -> st.SearchStrategy[Any]:
    """A number of a range, its ends included; large ranges by orders of magnitude."""
    if whole:
        return st.one_of(st.integers(int(low), int(high)), st.sampled_from([int(low), int(high)]))
    if low > 0 and high / low > 1e3:
        inner = st.floats(math.log(low), math.log(high)).map(lambda x: min(high, max(low, math.exp(x))))
    else:
        inner = st.floats(low, high)
    return st.one_of(inner, st.sampled_from([float(low), float(high)]))


def _levels(low: float, high: float, count: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.lists(_number(low, high, whole=False), min_size=count, max_size=count).map(tuple)


# What makes garbage matter, or vanish, within a short episode.
_PURGING = st.fixed_dictionaries(
    {
        "purge.shares": st.sampled_from([(0.0, 0.3), (0.0, 0.9), (0.1, 0.5)]),
        "purge.garbage_per_written": st.sampled_from([0.0, 1.0, 10.0]),
        "purge.rate_mb_per_core_s": st.sampled_from([1.0, 160.0, 1e4]),
        "purge.soft_limit_mb_per_core": st.sampled_from([1.0, 100.0]),
        "purge.slowdown_slope": st.sampled_from([0.0, 0.15, 2.0]),
        "purge.slowdown_cap": st.sampled_from([0.5, 3.0]),
        "purge.efficient_garbage": st.sampled_from([0.0, 0.2, 5.0]),
        "purge.initial_garbage": st.sampled_from([0.0, 0.3, 6.0]),
    }
)


@st.composite
def scenarios(draw: st.DrawFn, extreme: bool = True) -> Scenario:
    """A small cluster; a dozen of its other fields have any value that their ranges allow, or all defaults."""
    fields = numeric_fields()
    changes: dict[str, Any] = {"time.horizon_steps": HORIZON_STEPS, "time.warmup_steps": draw(st.sampled_from([0, 7]))}
    kind = st.fixed_dictionaries(
        {
            "count": st.integers(1, 2),
            "cores": st.sampled_from([0.25, 1.0, 4.0, 8.0, 64.0]),
            "memory_gb": st.sampled_from([0.25, 2.0, 16.0, 256.0]),
        }
    )
    changes["cluster.compute_nodes"] = tuple(draw(st.lists(kind, min_size=1, max_size=3)))
    nodes = sum(entry["count"] for entry in changes["cluster.compute_nodes"])
    stores, tenants = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    changes |= {
        "cluster.storage_nodes": stores,
        "workload.tenants": tenants,
        "workload.shards_per_tenant": draw(st.integers(1, 3)),
        "workload.replicas": draw(st.integers(1, stores)),
        "workload.home_nodes": draw(st.integers(1, min(nodes, 5))),
        "cluster.schedulers": draw(st.integers(1, min(tenants, 3))),
        "scheduling.backoff_steps": draw(st.sampled_from([0, 1, 2, 10, 60])),
        "scheduling.window_slots": draw(st.integers(1, 6)),
    }
    for name in ("publish_every_steps", "delay_steps"):
        changes[f"telemetry.{name}"] = draw(_number(*CAPS[f"telemetry.{name}"], whole=True))
    for role in ("compute", "storage"):
        changes[f"{role}.decision_interval_steps"] = draw(st.sampled_from([1, 1, 3, 12]))
    for name in draw(st.sets(st.sampled_from(switch_fields()), max_size=4)):
        changes[name] = draw(st.booleans())
    changes |= {
        "elastic.enabled": draw(st.booleans()),
        "elastic.minimum_nodes": draw(st.integers(1, nodes)),
        "elastic.wake_s": draw(st.sampled_from([0.0, 0.3, 1.1, 1e5])),
        "observation.engine_metrics": draw(st.booleans()),
        "observation.entitlement": draw(st.booleans()),
        "reward.team": draw(st.sampled_from(_TEAMS)),
    }
    if extreme:
        free = sorted(fields.keys() - changes.keys() - _TIED - CAPS.keys())
        for name in draw(st.sets(st.sampled_from(free), max_size=12)):
            changes[name] = draw(_number(*fields[name]))
        changes |= _tied(draw)
    elif draw(st.booleans()):
        changes |= draw(_PURGING)
    loss = draw(st.sampled_from([0.0, 0.0, 0.3, 0.9, 1.0]))
    changes["telemetry.loss_probability"] = loss
    if 0 < loss < 1 and draw(st.booleans()):
        changes["telemetry.loss_burst_length"] = draw(st.floats(loss / (1 - loss), 1e3).filter(lambda x: x >= 1))
    step_s = changes.get("time.step_s", Scenario().time.step_s)
    changes["scheduling.dispatch_delay_s"] = min(10.0, draw(st.sampled_from([0.0, 0.2, 0.999])) * step_s)
    return Scenario(id="drawn-v0").override(changes)


def _tied(draw: st.DrawFn) -> dict[str, Any]:
    """Fields that are related to one another: limits of debt, and levels with where they begin."""
    changes: dict[str, Any] = {}
    if draw(st.booleans()):
        changes |= _pair(draw, ("compaction.soft_limit_s", "compaction.hard_limit_s"), 1e-3, 1e4)
    for role, names, low, high, initial in (
        ("compute", ("cache_fractions",), 0.0, 0.95, "cache_level"),
        ("compute", ("memory_overcommit", "core_overcommit"), 0.01, 100.0, "admission_level"),
        ("purge", ("shares",), 0.0, 0.95, "level"),
        ("storage", ("background_shares",), 0.0, 0.95, "background_level"),
        ("storage", ("serve_weights",), 1e-3, 1e3, "serve_level"),
    ):
        if draw(st.booleans()):
            count = draw(st.integers(1, 4))
            changes |= {f"{role}.{name}": draw(_levels(low, high, count)) for name in names}
            changes[f"{role}.initial_{initial}"] = draw(st.integers(0, count - 1))
    return changes


def _pair(draw: st.DrawFn, names: tuple[str, str], low: float, high: float) -> dict[str, float]:
    """The smaller and the larger of two numbers."""
    return dict(zip(names, sorted(draw(_number(low, high, whole=False)) for _ in names), strict=True))


@st.composite
def generated_scenarios(draw: st.DrawFn) -> Scenario:
    """A small cluster whose work, noisy neighbours and crashes are drawn at reset, with any fields of those groups.

    Not all of them can offer the load that they ask for. Tasks are few, so that a test is quick.
    """
    scenario = draw(scenarios())
    fields = {
        **numeric_fields(("workload", "failure", "background")),
        # What a window of the stream costs grows with its length.
        "workload.time_compression": (1.0, 1e3, False),
    }
    free = sorted(fields.keys() - _GENERATED_TIED - _TIED - CAPS.keys())
    changes = {name: draw(_number(*fields[name])) for name in draw(st.sets(st.sampled_from(free), max_size=8))}
    changes |= _pair(draw, ("background.minimum_loss", "background.maximum_loss"), 0.0, 0.95)
    changes |= _pair(draw, ("workload.minimum_cores", "workload.maximum_cores"), 0.01, 64.0)
    changes |= _pair(draw, ("workload.phase_minimum_s", "workload.phase_maximum_s"), 0.1, 1e5)
    tasks, duration_s = draw(st.sampled_from([1, 10, 80])), scenario.duration_s
    counted_s = duration_s - scenario.time.warmup_steps * scenario.time.step_s
    crowds = draw(st.sampled_from([0, 0, 1, 3]))
    shifts = scenario.workload.shards_per_tenant > 1 and draw(st.booleans())
    return scenario.override(
        changes
        | {
            "background.enabled": True,
            "workload.profile": draw(st.sampled_from(["google2011", "redset", "azure"])),
            "workload.tenant_weights": draw(st.sampled_from(["equal", "skewed"])),
            "workload.task_rate_per_s": min(1e6, max(0.01, tasks / duration_s)),
            "workload.minimum_base_time_s": draw(_number(1e-3, 0.3, whole=False)),
            "workload.maximum_base_time_s": draw(_number(3.0, 1e5, whole=False)),
            "workload.flash_crowds": crowds,
            "workload.flash_crowd_duration_s": max(1e-3, draw(st.floats(0.1, 0.99)) * counted_s / max(1, crowds)),
            "workload.hot_shift_interval_s": draw(st.floats(1.0, 20.0)) * scenario.time.step_s if shifts else 0.0,
        }
    )


def strained_episode(scenario: Scenario, rng: np.random.Generator, tasks: int) -> Episode:
    """Work of very unequal sizes: nothing fits, everything at once, much more data than bandwidth, or none at all."""
    episode = disturbed_episode(scenario, rng, tasks, changes=int(rng.integers(0, 20)))
    memory = max(kind.memory_gb for kind in scenario.cluster.compute_nodes)

    def spread(low: float, high: float) -> NDArray[np.float64]:
        return np.exp(rng.uniform(np.log(low), np.log(high), tasks))

    dt = scenario.time.step_s
    arrival = rng.choice([0.0, dt, 2.5 * dt, 7 * dt, scenario.duration_s, 2 * scenario.duration_s], tasks)
    sizes = {
        "arrival_s": np.sort(np.where(rng.random(tasks) < 0.4, arrival, episode.arrival_s)),
        "cores": spread(1e-3, 64.0),
        "base_time_s": spread(1e-3 * dt, 30 * dt),
        "memory_gb": spread(1e-4, 2 * memory),
        "cacheable_read_mb": spread(1e-3, 1e6) * rng.integers(0, 2, tasks),
        "scan_read_mb": spread(1e-3, 1e6) * rng.integers(0, 2, tasks),
        "write_mb": spread(1e-3, 1e6) * rng.integers(0, 2, tasks),
        "deadline_s": spread(1e-3 * dt, 100 * dt),
        "estimated_time_s": spread(1e-4, 1e5),
        "estimated_read_mb": spread(1e-4, 1e8),
        "shard_hot_set_mb": np.exp(rng.uniform(np.log(1.0), np.log(1e6), scenario.shards)),
        "tenant_weight": np.exp(rng.uniform(np.log(0.1), np.log(10.0), scenario.workload.tenants)),
    }
    chosen = {name: column for name, column in sizes.items() if rng.random() < 0.6}
    return dataclasses.replace(episode, **chosen)


def drawn_outages(scenario: Scenario, rng: np.random.Generator, share: float) -> list[tuple[str, int, int, int]]:
    """Times down of a share of the nodes, as ``(role, index, down step, up step)``; some last beyond the end."""
    outages = []
    for role in ("compute", "storage"):
        for index in range(scenario.role_counts[role]):
            step = 0
            while rng.random() < share:
                down = step + int(rng.integers(1, 15))
                step = down + int(rng.choice([1, 2, 5, 20, 10_000]))
                outages.append((role, index, down, step))
    return outages


def as_events(scenario: Scenario, outages: list[tuple[str, int, int, int]]) -> list[Outage]:
    """The same outages as crashes and repairs in order of steps, for `CloudSchedVectorEnv.reset`."""
    first = {"compute": 0, "storage": scenario.compute_count}
    events = [(down, first[role] + i, 0) for role, i, down, _ in outages]
    events += [(up, first[role] + i, 1) for role, i, _, up in outages]
    return sorted(events)


def drawn_actions(env: CloudSchedVectorEnv, rng: np.random.Generator, masked: bool) -> dict[str, NDArray[np.int64]]:
    """Any level of every sub-action, or any that the masks allow; one kind of placement in four defers everything."""
    actions = {}
    for role in ROLES:
        levels, mask = env.action_levels[role], env.masks[role]
        score = rng.random(mask.shape) + (mask if masked else 0.0)
        ends = np.cumsum(levels)
        actions[role] = np.stack(
            [score[..., end - level : end].argmax(axis=-1) for level, end in zip(levels, ends, strict=True)], axis=-1
        )
    if rng.random() < 0.25:
        actions["scheduler"][:] = env.scenario.candidate_count
    return actions
