"""Schedulers: each places the head of its own queue on compute nodes, or defers.

On clusters of more than ``scheduling.candidate_nodes`` nodes of a kind a scheduler observes, and chooses from, a
sample of them (`cloudsched_env.sim.candidates`); "nodes" below are these candidates.
"""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout, clip
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim import telemetry as columns
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.entitlement import entitled_share
from cloudsched_env.sim.in_flight import in_flight
from cloudsched_env.sim.reward import tenant_share
from cloudsched_env.sim.telemetry import held_row

__all__ = [
    "ENTITLEMENT_FIELDS",
    "NODE_ENGINE_FIELDS",
    "NODE_FIELDS",
    "PAIR_FIELDS",
    "QUEUE_FIELDS",
    "SLOT_FIELDS",
    "STORAGE_ENGINE_FIELDS",
    "STORAGE_FIELDS",
    "action_levels",
    "layout",
    "node_fields",
    "observe_scheduler",
    "slot_fields",
    "storage_fields",
]

QUEUE_FIELDS = (
    Field("queue_length", "window", 0, 16, "fresh: queued tasks / window slots"),
    Field("oldest_age", "10 s", 0, 8, "fresh: age of the first task / 10 s"),
    Field("queued_cores", "cluster", 0, 4, "fresh: requested cores of queued tasks / cores of the cluster"),
    Field("backed_off", "window", 0, 16, "fresh: tasks that were deferred and are backing off / window slots"),
    Field("arrival_rate", "window", 0, 8, "fresh: arrivals per step, decayed 0.9 per step / window slots"),
    Field("mean_running_load", "1", 0, 8, "stale: running cores / cores, mean over candidate nodes"),
    Field("mean_queued_load", "1", 0, 8, "stale: queued cores / cores, mean over candidate nodes"),
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

ENTITLEMENT_FIELDS = (Field("entitled_share", "1", 0, 1, "fresh: served work / entitlement of the tenant, decayed"),)
"""Follow `SLOT_FIELDS` where ``observation.entitlement`` or the team reward asks for them."""

NODE_FIELDS = (
    Field("alive", "0/1", 0, 1, "stale: the node was up and took tasks"),
    Field("running_cores_load", "1", 0, 8, "stale: requested cores of running tasks / cores"),
    Field("queued_cores_load", "1", 0, 8, "stale: requested cores of queued tasks / cores"),
    Field("in_flight_cores_load", "1", 0, 8, "fresh: cores of own dispatches that telemetry does not show yet / cores"),
    Field("running_memory_pressure", "1", 0, 8, "stale: memory of running tasks / execution memory"),
    Field("queued_memory_pressure", "1", 0, 8, "stale: memory of queued tasks / execution memory"),
    Field("in_flight_memory_pressure", "1", 0, 8, "memory of own dispatches not shown yet / execution memory"),
    Field("efficiency", "1", 0, 1, "stale: 1 / slow-down by spill, contention and garbage"),
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

NODE_ENGINE_FIELDS = (
    Field("hit_ratio", "1", 0, 1, "stale: cacheable bytes found in the cache, decayed 0.9 per step"),
    Field("working_set", "memory", 0, 8, "stale: distinct hot bytes touched lately / memory"),
    Field("spill", "memory", 0, 8, "stale: memory of running tasks beyond execution memory / memory"),
)
"""Follow `NODE_FIELDS` with ``observation.engine_metrics``."""

STORAGE_ENGINE_FIELDS = (Field("apply_lag", "s of bandwidth", 0, 8, "stale: acknowledged bytes not yet written"),)
"""Follow `STORAGE_FIELDS` with ``observation.engine_metrics``."""

PAIR_FIELDS = (
    Field("warmth", "1", 0, 1, "stale: cached part of the task's hot set on the node"),
    Field("home", "0/1", 0, 1, "static: the node is a home of the task's shard"),
)


def slot_fields(scenario: Scenario) -> tuple[Field, ...]:
    """What is observed of each visible task."""
    return SLOT_FIELDS + (ENTITLEMENT_FIELDS if scenario.shows_entitlement else ())


def node_fields(scenario: Scenario) -> tuple[Field, ...]:
    """What is observed of each compute node."""
    return NODE_FIELDS + (NODE_ENGINE_FIELDS if scenario.observation.engine_metrics else ())


def storage_fields(scenario: Scenario) -> tuple[Field, ...]:
    """What is observed of each storage node."""
    return STORAGE_FIELDS + (STORAGE_ENGINE_FIELDS if scenario.observation.engine_metrics else ())


def layout(scenario: Scenario) -> Layout:
    """The observation of one scheduler: queue, visible tasks, candidate nodes, storage, task-node pairs."""
    slots = ("slot", scenario.scheduling.window_slots)
    nodes = ("node", scenario.candidate_count)
    return Layout(
        "scheduler",
        (
            Block("queue", QUEUE_FIELDS),
            Block("slots", slot_fields(scenario), (slots,)),
            Block("nodes", node_fields(scenario), (nodes,)),
            Block("storage", storage_fields(scenario), (("storage", scenario.observed_storage_count),)),
            Block("pairs", PAIR_FIELDS, (slots, nodes)),
        ),
    )


def action_levels(scenario: Scenario) -> np.ndarray:
    """For each slot, the candidate that gets the task, or the number of candidates to defer; int64 ``[slots]``."""
    return np.full(scenario.scheduling.window_slots, scenario.candidate_count + 1)


_QUEUE, _SLOT, _NODE = len(QUEUE_FIELDS), len(SLOT_FIELDS), len(NODE_FIELDS)
_NODE_ENGINE, _STORAGE_ENGINE = len(NODE_ENGINE_FIELDS), len(STORAGE_ENGINE_FIELDS)
_HIT_RATIO, _WORKING_SET, _SPILL, _APPLY_LAG = columns.HIT_RATIO, columns.WORKING_SET, columns.SPILL, columns.APPLY_LAG
_ENTITLEMENT = len(ENTITLEMENT_FIELDS)
_STORAGE, _PAIR = len(STORAGE_FIELDS), len(PAIR_FIELDS)
_ALIVE, _RUNNING_CORES, _QUEUED_CORES = columns.ALIVE, columns.RUNNING_CORES, columns.QUEUED_CORES
_RUNNING_MEMORY, _QUEUED_MEMORY = columns.RUNNING_MEMORY, columns.QUEUED_MEMORY
_AVAILABLE = columns.AVAILABLE
_EFFICIENCY, _IO_WAIT, _EXECUTION_MEMORY = columns.EFFICIENCY, columns.IO_WAIT, columns.EXECUTION_MEMORY
_DEBT, _STREAM_FACTOR = columns.DEBT, columns.STREAM_FACTOR
_WRITE_FACTOR, _READ_RATE = columns.WRITE_FACTOR, columns.READ_RATE


@compiled
def _observe_slot(parameters, tasks, data, stores, ledger, b, i, previous_job, now_s, out):
    """Write `SLOT_FIELDS` of task ``i``; ``stores`` is what the scheduler holds of storage nodes."""
    age = now_s - tasks.arrival_s[b, i]
    estimate = tasks.estimated_time_s[b, i]
    reads = tasks.cacheable_mb[b, i] + tasks.scan_mb[b, i]
    m = tasks.shard[b, i]
    replicas = data.replicas.shape[2]
    congestion = 1.0
    for j in range(replicas):
        congestion -= stores[data.replicas[b, m, j], _STREAM_FACTOR] / replicas
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
    if parameters.entitlement_enabled:
        out[13] = entitled_share(ledger, b, tasks.tenant[b, i])


@compiled
def observe_scheduler(parameters, clock, tasks, data, schedulers, telemetry, ledger, scratch, b, s, out, mask):
    """Write what scheduler ``s`` observes, in the order of `layout`, and its action mask."""
    candidates, observed_storage = schedulers.candidates[b, s], schedulers.observed_storage[b, s]
    nodes, storages = candidates.shape[0], observed_storage.shape[0]
    held = held_row(parameters, clock, b, s)
    views, stamps = telemetry.compute_view[b, held], telemetry.compute_stamp[b, held]
    stores, store_stamps = telemetry.storage_view[b, held], telemetry.storage_stamp[b, held]
    caches = telemetry.warmth_view[b, held_row(parameters, clock, b, 0)]
    candidate_of = scratch.candidate_of
    slots = parameters.window_slots
    step_s = parameters.step_s
    now_s = clock.step[b] * step_s
    age_scale = step_s / 10.0
    slot_width = _SLOT + (_ENTITLEMENT if parameters.entitlement_enabled else 0)
    node_width = _NODE + (_NODE_ENGINE if parameters.engine_metrics else 0)
    storage_width = _STORAGE + (_STORAGE_ENGINE if parameters.engine_metrics else 0)
    slots_at = _QUEUE
    nodes_at = slots_at + slots * slot_width
    storage_at = nodes_at + nodes * node_width
    pairs_at = storage_at + storages * storage_width

    head = schedulers.queue_head[b, s]
    mean_running = 0.0
    mean_queued = 0.0
    mean_in_flight = 0.0
    for c in range(nodes):
        n = candidates[c]
        candidate_of[n] = c
        view, stamp = views[n], stamps[n]
        per_core = parameters.per_core[n]
        per_gb = 1.0 / view[_EXECUTION_MEMORY]
        running = view[_RUNNING_CORES] * per_core
        queued = view[_QUEUED_CORES] * per_core
        unseen_cores, unseen_gb = in_flight(parameters, schedulers, telemetry, b, s, n, held, stamp)
        unseen = unseen_cores * per_core
        mean_running += running
        mean_queued += queued
        mean_in_flight += unseen
        o = nodes_at + c * node_width
        out[o] = view[_ALIVE]
        out[o + 1] = clip(running, 0.0, 8.0)
        out[o + 2] = clip(queued, 0.0, 8.0)
        out[o + 3] = clip(unseen, 0.0, 8.0)
        out[o + 4] = clip(view[_RUNNING_MEMORY] * per_gb, 0.0, 8.0)
        out[o + 5] = clip(view[_QUEUED_MEMORY] * per_gb, 0.0, 8.0)
        out[o + 6] = clip(unseen_gb * per_gb, 0.0, 8.0)
        out[o + 7] = view[_EFFICIENCY]
        out[o + 8] = clip(view[_IO_WAIT], 0.0, 1.0)
        out[o + 9] = view[_AVAILABLE]
        out[o + 10] = parameters.relative_cores[n]
        out[o + 11] = parameters.relative_memory[n]
        out[o + 12] = view[_EXECUTION_MEMORY] / parameters.largest_memory_gb
        out[o + 13] = clip((clock.step[b] - stamp) * age_scale, 0.0, 8.0)
        if parameters.engine_metrics:
            out[o + 14] = view[_HIT_RATIO]
            out[o + 15] = clip(view[_WORKING_SET], 0.0, 8.0)
            out[o + 16] = clip(view[_SPILL], 0.0, 8.0)
        mask[c] = 1 if head >= 0 and view[_ALIVE] > 0.0 else 0

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
        o = slots_at + slot * slot_width
        p = pairs_at + slot * nodes * _PAIR
        q = slot * (nodes + 1)
        mask[q + nodes] = 1
        if i < 0:
            for j in range(slot_width):
                out[o + j] = 0.0
            for j in range(nodes * _PAIR):
                out[p + j] = 0.0
            for c in range(nodes):
                mask[q + c] = 0
            continue
        _observe_slot(parameters, tasks, data, stores, ledger, b, i, previous_job, now_s, out[o : o + slot_width])
        m = tasks.shard[b, i]
        cached = caches[m]
        for c in range(nodes):
            out[p + c * _PAIR] = cached[candidates[c]]
            out[p + c * _PAIR + 1] = 0.0
            mask[q + c] = mask[c]  # of the first slot
        for h in range(data.homes.shape[2]):
            c = candidate_of[data.homes[b, m, h]]
            if c >= 0:
                out[p + c * _PAIR + 1] = 1.0
        previous_job = tasks.job[b, i]
        i = tasks.next_task[b, i]

    for c in range(nodes):
        candidate_of[candidates[c]] = -1

    for j in range(storages):
        store = stores[observed_storage[j]]
        o = storage_at + j * storage_width
        out[o] = store[_ALIVE]
        out[o + 1] = clip(store[_DEBT], 0.0, 8.0)
        out[o + 2] = store[_STREAM_FACTOR]
        out[o + 3] = store[_WRITE_FACTOR]
        out[o + 4] = clip(store[_READ_RATE], 0.0, 4.0)
        out[o + 5] = clip((clock.step[b] - store_stamps[observed_storage[j]]) * age_scale, 0.0, 8.0)
        if parameters.engine_metrics:
            out[o + 6] = clip(store[_APPLY_LAG], 0.0, 8.0)
