"""Schedulers: each places the head of its own queue on compute nodes, or defers."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout, clip
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim import telemetry as columns
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.reward import tenant_share

__all__ = [
    "NODE_FIELDS",
    "PAIR_FIELDS",
    "QUEUE_FIELDS",
    "SLOT_FIELDS",
    "STORAGE_FIELDS",
    "action_levels",
    "layout",
    "observe_scheduler",
]

QUEUE_FIELDS = (
    Field("queue_length", "window", 0, 16, "fresh: queued tasks / window slots"),
    Field("oldest_age", "10 s", 0, 8, "fresh: age of the first task / 10 s"),
    Field("queued_cores", "cluster", 0, 4, "fresh: requested cores of queued tasks / cores of the cluster"),
    Field("backed_off", "window", 0, 16, "fresh: tasks that were deferred and are backing off / window slots"),
    Field("arrival_rate", "window", 0, 8, "fresh: arrivals per step, decayed 0.9 per step / window slots"),
    Field("mean_running_load", "1", 0, 8, "stale: running cores / cores, mean over nodes"),
    Field("mean_queued_load", "1", 0, 8, "stale: queued cores / cores, mean over nodes"),
    Field("mean_in_flight_load", "1", 0, 8, "fresh: own dispatches that telemetry does not show yet / cores"),
)

SLOT_FIELDS = (
    Field("present", "0/1", 0, 1, "fresh: the slot holds a task"),
    Field("cores", "4 cores", 0, 8, "fresh: requested cores / 4"),
    Field("memory", "8 GB", 0, 8, "fresh: memory / 8 GB"),
    Field("estimated_time", "10 s", 0, 8, "fresh: planner's estimate of the run time at full speed / 10 s"),
    Field("estimated_read", "4 GB", 0, 8, "fresh: planner's estimate of bytes read without cache / 4 GB"),
    Field("scan_share", "1", 0, 1, "fresh: share of the reads that no cache helps"),
    Field("write", "1 GB", 0, 8, "fresh: bytes to write / 1 GB"),
    Field("age", "10 s", 0, 8, "fresh: time since arrival / 10 s"),
    Field("slack", "10 s", -8, 8, "fresh: deadline - age - estimated time, / 10 s"),
    Field("slo_class", "2", 0, 1, "fresh: 0 latency-critical, 0.5 normal, 1 batch"),
    Field("tenant_share", "1", 0, 1, "fresh: served / arrived work of the tenant, decayed"),
    Field("same_job", "0/1", 0, 1, "fresh: same job as the slot before"),
    Field("replica_congestion", "1", 0, 1, "stale: 1 - mean stream factor of the shard's replicas"),
)

NODE_FIELDS = (
    Field("alive", "0/1", 0, 1, "stale: the node was up"),
    Field("running_cores_load", "1", 0, 8, "stale: requested cores of running tasks / cores"),
    Field("queued_cores_load", "1", 0, 8, "stale: requested cores of queued tasks / cores"),
    Field("in_flight_cores_load", "1", 0, 8, "fresh: cores of own dispatches that telemetry does not show yet / cores"),
    Field("running_memory_pressure", "1", 0, 8, "stale: memory of running tasks / execution memory"),
    Field("queued_memory_pressure", "1", 0, 8, "stale: memory of queued tasks / execution memory"),
    Field("in_flight_memory_pressure", "1", 0, 8, "memory of own dispatches not shown yet / execution memory"),
    Field("efficiency", "1", 0, 1, "stale: 1 / slow-down by spill and contention"),
    Field("io_wait", "1", 0, 1, "stale: share of run time spent waiting for storage"),
    Field("available_cores", "1", 0, 1, "stale: share of its cores that noisy neighbours leave to the node"),
    Field("cores", "largest node", 0, 1, "static: cores / cores of the largest node"),
    Field("memory", "largest node", 0, 1, "static: memory / memory of the largest node"),
    Field("execution_memory", "largest node", 0, 1, "stale: execution memory / memory of the largest node"),
    Field("telemetry_age", "10 s", 0, 8, "age of what is known of the node / 10 s"),
)

STORAGE_FIELDS = (
    Field("alive", "0/1", 0, 1, "stale: the node was up"),
    Field("debt", "soft limits", 0, 8, "stale: compaction debt / soft limit"),
    Field("stream_factor", "1", 0, 1, "stale: speed of a stream / its fastest"),
    Field("write_factor", "1", 0, 1, "stale: write speed left by the debt"),
    Field("read_rate", "1", 0, 4, "stale: amplified read bytes / bandwidth"),
    Field("telemetry_age", "10 s", 0, 8, "age of what is known of the node / 10 s"),
)

PAIR_FIELDS = (
    Field("warmth", "1", 0, 1, "stale: cached part of the task's hot set on the node"),
    Field("home", "0/1", 0, 1, "static: the node is a home of the task's shard"),
)


def layout(scenario: Scenario) -> Layout:
    """The observation of one scheduler: queue, visible tasks, nodes, storage, task-node pairs."""
    slots = ("slot", scenario.scheduling.window_slots)
    nodes = ("node", scenario.compute_count)
    return Layout(
        "scheduler",
        (
            Block("queue", QUEUE_FIELDS),
            Block("slots", SLOT_FIELDS, (slots,)),
            Block("nodes", NODE_FIELDS, (nodes,)),
            Block("storage", STORAGE_FIELDS, (("storage", scenario.cluster.storage_nodes),)),
            Block("pairs", PAIR_FIELDS, (slots, nodes)),
        ),
    )


def action_levels(scenario: Scenario) -> np.ndarray:
    """For each slot, the compute node that gets the task, or the number of nodes to defer; int64 ``[slots]``."""
    return np.full(scenario.scheduling.window_slots, scenario.compute_count + 1)


_QUEUE, _SLOT, _NODE = len(QUEUE_FIELDS), len(SLOT_FIELDS), len(NODE_FIELDS)
_STORAGE, _PAIR = len(STORAGE_FIELDS), len(PAIR_FIELDS)
_ALIVE, _RUNNING_CORES, _QUEUED_CORES = columns.ALIVE, columns.RUNNING_CORES, columns.QUEUED_CORES
_RUNNING_MEMORY, _QUEUED_MEMORY = columns.RUNNING_MEMORY, columns.QUEUED_MEMORY
_AVAILABLE = columns.AVAILABLE
_EFFICIENCY, _IO_WAIT, _EXECUTION_MEMORY = columns.EFFICIENCY, columns.IO_WAIT, columns.EXECUTION_MEMORY
_DEBT, _STREAM_FACTOR = columns.DEBT, columns.STREAM_FACTOR
_WRITE_FACTOR, _READ_RATE = columns.WRITE_FACTOR, columns.READ_RATE


@compiled
def _observe_slot(parameters, tasks, data, telemetry, ledger, b, s, i, previous_job, now_s, out):
    """Write `SLOT_FIELDS` of task ``i``."""
    age = now_s - tasks.arrival_s[b, i]
    estimate = tasks.estimated_time_s[b, i]
    reads = tasks.cacheable_mb[b, i] + tasks.scan_mb[b, i]
    m = tasks.shard[b, i]
    replicas = data.replicas.shape[2]
    congestion = 1.0
    for j in range(replicas):
        congestion -= telemetry.storage_view[b, s, data.replicas[b, m, j], _STREAM_FACTOR] / replicas
    out[0] = 1.0
    out[1] = clip(tasks.cores[b, i] / 4.0, 0.0, 8.0)
    out[2] = clip(tasks.memory_gb[b, i] / 8.0, 0.0, 8.0)
    out[3] = clip(estimate / 10.0, 0.0, 8.0)
    out[4] = clip(tasks.estimated_read_mb[b, i] / 4000.0, 0.0, 8.0)
    out[5] = tasks.scan_mb[b, i] / reads if reads > 0.0 else 0.0
    out[6] = clip(tasks.write_mb[b, i] / 1000.0, 0.0, 8.0)
    out[7] = clip(age / 10.0, 0.0, 8.0)
    out[8] = clip((tasks.deadline_s[b, i] - age - estimate) / 10.0, -8.0, 8.0)
    out[9] = tasks.slo_class[b, i] / 2.0
    out[10] = tenant_share(ledger, b, tasks.tenant[b, i])
    out[11] = 1.0 if tasks.job[b, i] == previous_job else 0.0
    out[12] = clip(congestion, 0.0, 1.0)


@compiled
def observe_scheduler(parameters, clock, tasks, data, schedulers, telemetry, ledger, b, s, out, mask):
    """Write what scheduler ``s`` observes, in the order of `layout`, and its action mask."""
    nodes, storages = telemetry.compute_stamp.shape[2], telemetry.storage_stamp.shape[2]
    slots = parameters.window_slots
    step_s = parameters.step_s
    now_s = clock.step[b] * step_s
    age_scale = step_s / 10.0
    slots_at = _QUEUE
    nodes_at = slots_at + slots * _SLOT
    storage_at = nodes_at + nodes * _NODE
    pairs_at = storage_at + storages * _STORAGE

    mean_running = 0.0
    mean_queued = 0.0
    mean_in_flight = 0.0
    for n in range(nodes):
        per_core = parameters.per_core[n]
        per_gb = 1.0 / telemetry.compute_view[b, s, n, _EXECUTION_MEMORY]
        running = telemetry.compute_view[b, s, n, _RUNNING_CORES] * per_core
        queued = telemetry.compute_view[b, s, n, _QUEUED_CORES] * per_core
        in_flight = (schedulers.sent_cores[b, s, n] - telemetry.shown_cores[b, s, n]) * per_core
        in_flight_gb = schedulers.sent_memory_gb[b, s, n] - telemetry.shown_memory_gb[b, s, n]
        mean_running += running
        mean_queued += queued
        mean_in_flight += in_flight
        o = nodes_at + n * _NODE
        out[o] = telemetry.compute_view[b, s, n, _ALIVE]
        out[o + 1] = clip(running, 0.0, 8.0)
        out[o + 2] = clip(queued, 0.0, 8.0)
        out[o + 3] = clip(in_flight, 0.0, 8.0)
        out[o + 4] = clip(telemetry.compute_view[b, s, n, _RUNNING_MEMORY] * per_gb, 0.0, 8.0)
        out[o + 5] = clip(telemetry.compute_view[b, s, n, _QUEUED_MEMORY] * per_gb, 0.0, 8.0)
        out[o + 6] = clip(in_flight_gb * per_gb, 0.0, 8.0)
        out[o + 7] = telemetry.compute_view[b, s, n, _EFFICIENCY]
        out[o + 8] = clip(telemetry.compute_view[b, s, n, _IO_WAIT], 0.0, 1.0)
        out[o + 9] = telemetry.compute_view[b, s, n, _AVAILABLE]
        out[o + 10] = parameters.relative_cores[n]
        out[o + 11] = parameters.relative_memory[n]
        out[o + 12] = telemetry.compute_view[b, s, n, _EXECUTION_MEMORY] / parameters.largest_memory_gb
        out[o + 13] = clip((clock.step[b] - telemetry.compute_stamp[b, s, n]) * age_scale, 0.0, 8.0)

    head = schedulers.queue_head[b, s]
    out[0] = clip(schedulers.queue_length[b, s] / slots, 0.0, 16.0)
    out[1] = clip((now_s - tasks.arrival_s[b, head]) / 10.0, 0.0, 8.0) if head >= 0 else 0.0
    out[2] = clip(schedulers.queued_cores[b, s] / parameters.total_cores, 0.0, 4.0)
    out[3] = clip(schedulers.backoff_length[b, s] / slots, 0.0, 16.0)
    out[4] = clip(schedulers.arrivals_decayed[b, s] / slots, 0.0, 8.0)
    out[5] = clip(mean_running / nodes, 0.0, 8.0)
    out[6] = clip(mean_queued / nodes, 0.0, 8.0)
    out[7] = clip(mean_in_flight / nodes, 0.0, 8.0)

    i = head
    previous_job = -1
    for slot in range(slots):
        o = slots_at + slot * _SLOT
        p = pairs_at + slot * nodes * _PAIR
        q = slot * (nodes + 1)
        mask[q + nodes] = 1
        if i < 0:
            for j in range(_SLOT):
                out[o + j] = 0.0
            for j in range(nodes * _PAIR):
                out[p + j] = 0.0
            for n in range(nodes):
                mask[q + n] = 0
            continue
        _observe_slot(parameters, tasks, data, telemetry, ledger, b, s, i, previous_job, now_s, out[o : o + _SLOT])
        m = tasks.shard[b, i]
        for n in range(nodes):
            out[p + n * _PAIR] = telemetry.warmth_view[b, s, n, m]
            out[p + n * _PAIR + 1] = data.home[b, n, m]
            mask[q + n] = 1 if telemetry.compute_view[b, s, n, _ALIVE] > 0.0 else 0
        previous_job = tasks.job[b, i]
        i = tasks.next_task[b, i]

    for r in range(storages):
        o = storage_at + r * _STORAGE
        out[o] = telemetry.storage_view[b, s, r, _ALIVE]
        out[o + 1] = clip(telemetry.storage_view[b, s, r, _DEBT], 0.0, 8.0)
        out[o + 2] = telemetry.storage_view[b, s, r, _STREAM_FACTOR]
        out[o + 3] = telemetry.storage_view[b, s, r, _WRITE_FACTOR]
        out[o + 4] = clip(telemetry.storage_view[b, s, r, _READ_RATE], 0.0, 4.0)
        out[o + 5] = clip((clock.step[b] - telemetry.storage_stamp[b, s, r]) * age_scale, 0.0, 8.0)
