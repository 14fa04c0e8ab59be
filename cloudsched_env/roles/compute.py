"""Compute nodes: they split their memory between execution and cache, and limit admission."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout, clip
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.memory import execution_memory_gb
from cloudsched_env.sim.power import accepts, power_column
from cloudsched_env.sim.purge import relative_garbage
from cloudsched_env.sim.state import ASLEEP, DRAINING, ON, WAKING
from cloudsched_env.sim.telemetry import (
    ACTIVE_SHARE,
    LOAD_OF_ON,
    MEAN_DEBT,
    MEAN_READ_RATE,
    MEAN_STREAM_FACTOR,
    MEAN_WRITE_RATE,
    WAITING_OF_ON,
    WORST_APPLY_LAG,
    held_row,
)

__all__ = [
    "ACTIONS",
    "ELASTIC_FIELDS",
    "ENGINE_FIELDS",
    "FIELDS",
    "action_levels",
    "actions",
    "fields",
    "initial_levels",
    "layout",
    "mask_compute",
    "observe_compute",
]

ACTIONS = ("cache_level", "admission_level", "purge_level")

FIELDS = (
    Field("alive", "0/1", 0, 1, "fresh: the node is up"),
    Field("running_cores_load", "1", 0, 8, "fresh: requested cores of running tasks / cores"),
    Field("queued_cores_load", "1", 0, 8, "fresh: requested cores of queued tasks / cores"),
    Field("running_memory_load", "1", 0, 8, "fresh: memory of running tasks / memory"),
    Field("queued_memory_load", "1", 0, 8, "fresh: memory of queued tasks / memory"),
    Field("queue_length", "16 tasks", 0, 8, "fresh: tasks in the node's queue / 16"),
    Field("execution_memory_pressure", "1", 0, 8, "fresh: memory of running tasks / execution memory"),
    Field("cache_fraction", "1", 0, 1, "fresh: share of memory that is cache now"),
    Field("cache_target", "1", 0, 1, "fresh: cache fraction of the last action"),
    Field("memory_overcommit", "1", 0, 8, "fresh: admission limit of the last action"),
    Field("cache_fill", "1", 0, 1, "fresh: occupied share of the cache"),
    Field("hit_ratio", "1", 0, 1, "fresh: cacheable bytes found in the cache, decayed 0.9 per step"),
    Field("read_rate", "streams", 0, 8, "fresh: read from storage / fastest read stream, last step"),
    Field("processor_share", "1", 0, 1, "fresh: processor share of a running task, last step"),
    Field("efficiency", "1", 0, 1, "fresh: 1 / slow-down by spill, contention and garbage, last step"),
    Field("io_wait", "1", 0, 1, "fresh: share of run time that tasks spend waiting for storage, last step"),
    Field("available_cores", "1", 0, 1, "fresh: share of its cores that noisy neighbours leave to the node"),
    Field("garbage", "soft limits", 0, 8, "fresh: old versions not yet purged / soft limit"),
    Field("purge_share", "1", 0, 1, "fresh: share of the cores that purge"),
    Field("cores", "largest node", 0, 1, "static: cores / cores of the largest node"),
    Field("memory", "largest node", 0, 1, "static: memory / memory of the largest node"),
    Field("storage_stream_factor", "1", 0, 1, "stale: mean stream factor of storage nodes"),
    Field("storage_debt", "soft limits", 0, 8, "stale: mean compaction debt of storage nodes"),
    Field("storage_read_rate", "1", 0, 4, "stale: mean read bytes / bandwidth of storage nodes"),
    Field("storage_write_rate", "1", 0, 4, "stale: mean written bytes / bandwidth of storage nodes"),
    Field("telemetry_age", "10 s", 0, 8, "age of the storage summary / 10 s"),
)


ENGINE_FIELDS = (
    Field("working_set", "memory", 0, 8, "fresh: distinct hot bytes touched lately / memory"),
    Field("cache_churn", "1/s", 0, 8, "fresh: part of the cache replaced per second, decayed 0.9 per step"),
    Field("spill", "memory", 0, 8, "fresh: memory of running tasks beyond execution memory, last step / memory"),
    Field(
        "pending_reads", "10 s", 0, 8, "fresh: bytes that running tasks have still to fetch / fastest stream, / 10 s"
    ),
    Field("storage_worst_lag", "s of bandwidth", 0, 8, "stale: largest apply lag of a storage node"),
)
"""Follow `FIELDS` with ``observation.engine_metrics``."""


ELASTIC_FIELDS = (
    Field("accepting", "0/1", 0, 1, "fresh: the node is up and on"),
    Field("power_level", "0/1", 0, 1, "fresh: 1 on or waking, 0 draining or asleep"),
    Field("asleep", "0/1", 0, 1, "fresh: the node is asleep"),
    Field("wake_left", "10 s", 0, 8, "fresh: time until the node is on, if it is waking / 10 s"),
    Field("active_share", "1", 0, 1, "stale: cores of nodes that are not asleep / all cores"),
    Field("load_of_on", "1", 0, 8, "stale: requested cores of tasks on nodes that accept tasks / their cores"),
    Field(
        "waiting_of_on", "1", 0, 8, "stale: requested cores in schedulers' queues / cores of nodes that accept tasks"
    ),
)
"""Follow the other fields with ``elastic.enabled``."""


def fields(scenario: Scenario) -> tuple[Field, ...]:
    """What a compute node of the scenario observes."""
    engine = ENGINE_FIELDS if scenario.observation.engine_metrics else ()
    return FIELDS + engine + (ELASTIC_FIELDS if scenario.elastic.enabled else ())


def actions(scenario: Scenario) -> tuple[str, ...]:
    """Names of the sub-actions."""
    return (*ACTIONS, "power_level") if scenario.elastic.enabled else ACTIONS


def layout(scenario: Scenario) -> Layout:
    """The observation of one compute node."""
    return Layout("compute", (Block("node", fields(scenario)),))


def action_levels(scenario: Scenario) -> np.ndarray:
    """Choices of each action in `actions`, int64 of shape ``[3]``, or ``[4]`` with elastic nodes."""
    compute = scenario.compute
    levels = [len(compute.cache_fractions), len(compute.memory_overcommit), len(scenario.purge.shares)]
    return np.array([*levels, 2] if scenario.elastic.enabled else levels)


def initial_levels(scenario: Scenario) -> tuple[int, ...]:
    """The levels that a node has before its first action, in the order of `actions`."""
    compute = scenario.compute
    levels = (compute.initial_cache_level, compute.initial_admission_level, scenario.purge.initial_level)
    return (*levels, 1) if scenario.elastic.enabled else levels


_FIELDS, _ENGINE = len(FIELDS), len(ENGINE_FIELDS)


@compiled
def _observe_engine(parameters, compute, summary, b, n, out):
    """Write `ENGINE_FIELDS` of compute node ``n``."""
    memory = parameters.memory_gb[n]
    size_mb = 1000.0 * compute.cache_fraction[b, n] * memory
    churn = compute.evicted_mb_decayed[b, n] / (size_mb * parameters.step_s) if size_mb > 0.0 else 0.0
    out[0] = clip(compute.working_set_mb[b, n] / (1000.0 * memory), 0.0, 8.0)
    out[1] = clip(churn, 0.0, 8.0)
    out[2] = clip(compute.spill_gb[b, n] / memory, 0.0, 8.0)
    out[3] = clip(compute.pending_read_mb[b, n] / parameters.read_stream_mb_per_s / 10.0, 0.0, 8.0)
    out[4] = clip(summary[WORST_APPLY_LAG], 0.0, 8.0)


@compiled
def _power_level(compute, b, n):
    """The level of the power sub-action that is being carried out."""
    return 1 if compute.power[b, n] == ON or compute.power[b, n] == WAKING else 0


@compiled
def _observe_power(parameters, clock, compute, summary, b, n, out):
    """Write `ELASTIC_FIELDS` of compute node ``n``."""
    power = compute.power[b, n]
    left = (compute.wake_step[b, n] - clock.step[b]) * parameters.step_s if power == WAKING else 0.0
    out[0] = 1.0 if accepts(compute, b, n) else 0.0
    out[1] = _power_level(compute, b, n)
    out[2] = 1.0 if power == ASLEEP else 0.0
    out[3] = clip(left / 10.0, 0.0, 8.0)
    out[4] = summary[ACTIVE_SHARE]
    out[5] = clip(summary[LOAD_OF_ON], 0.0, 8.0)
    out[6] = clip(summary[WAITING_OF_ON], 0.0, 8.0)


@compiled
def observe_compute(parameters, clock, compute, telemetry, b, n, out):
    """Write what compute node ``n`` observes, in the order of `FIELDS`."""
    per_core, memory = parameters.per_core[n], parameters.memory_gb[n]
    running_memory = compute.running_memory_gb[b, n]
    size_mb = 1000.0 * compute.cache_fraction[b, n] * memory
    seen_mb = compute.cacheable_mb_decayed[b, n]
    held = held_row(parameters, clock, b, n)
    summary = telemetry.summary_view[b, held]
    out[0] = compute.alive[b, n]
    out[1] = clip(compute.running_cores[b, n] * per_core, 0.0, 8.0)
    out[2] = clip(compute.queued_cores[b, n] * per_core, 0.0, 8.0)
    out[3] = clip(running_memory / memory, 0.0, 8.0)
    out[4] = clip(compute.queued_memory_gb[b, n] / memory, 0.0, 8.0)
    out[5] = clip(compute.queue_length[b, n] / 16.0, 0.0, 8.0)
    out[6] = clip(running_memory / execution_memory_gb(parameters, compute, b, n), 0.0, 8.0)
    out[7] = compute.cache_fraction[b, n]
    out[8] = parameters.cache_fractions[compute.cache_level[b, n]]
    out[9] = clip(parameters.memory_overcommit[compute.admission_level[b, n]], 0.0, 8.0)
    out[10] = clip(compute.occupied_mb[b, n] / size_mb, 0.0, 1.0) if size_mb > 0.0 else 0.0
    out[11] = clip(compute.hit_mb_decayed[b, n] / seen_mb, 0.0, 1.0) if seen_mb > 0.0 else 0.0
    out[12] = clip(compute.read_mb[b, n] / (parameters.step_s * parameters.read_stream_mb_per_s), 0.0, 8.0)
    out[13] = compute.processor_share[b, n]
    out[14] = compute.efficiency[b, n]
    out[15] = clip(compute.io_wait[b, n], 0.0, 1.0)
    out[16] = compute.available_cores[b, n] * per_core
    out[17] = clip(relative_garbage(parameters, compute, b, n), 0.0, 8.0)
    out[18] = parameters.purge_shares[compute.purge_level[b, n]]
    out[19] = parameters.relative_cores[n]
    out[20] = parameters.relative_memory[n]
    out[21] = summary[MEAN_STREAM_FACTOR]
    out[22] = clip(summary[MEAN_DEBT], 0.0, 8.0)
    out[23] = clip(summary[MEAN_READ_RATE], 0.0, 4.0)
    out[24] = clip(summary[MEAN_WRITE_RATE], 0.0, 4.0)
    out[25] = clip((clock.step[b] - telemetry.summary_stamp[b, held]) * parameters.step_s / 10.0, 0.0, 8.0)
    if parameters.engine_metrics:
        _observe_engine(parameters, compute, summary, b, n, out[_FIELDS:])
    if parameters.elastic_enabled:
        first = _FIELDS + (_ENGINE if parameters.engine_metrics else 0)
        _observe_power(parameters, clock, compute, summary, b, n, out[first:])


@compiled
def mask_compute(parameters, clock, compute, b, n, out):
    """Allow every level of a live node whose turn it is; a node that waits or is down keeps what it has.

    The power level of a node that drains or wakes stays as it is too.
    """
    interval = parameters.compute_interval_steps
    turn = compute.alive[b, n] == 1 and clock.step[b] % interval == n % interval
    if turn:
        out[:] = 1
    else:
        out[:] = 0
        fractions, limits = parameters.cache_fractions.shape[0], parameters.memory_overcommit.shape[0]
        out[compute.cache_level[b, n]] = 1
        out[fractions + compute.admission_level[b, n]] = 1
        out[fractions + limits + compute.purge_level[b, n]] = 1
    if parameters.elastic_enabled:
        power = compute.power[b, n]
        first = power_column(parameters)
        settled = power != DRAINING and power != WAKING
        if not (turn and settled):
            out[first] = 0
            out[first + 1] = 0
            out[first + _power_level(compute, b, n)] = 1
