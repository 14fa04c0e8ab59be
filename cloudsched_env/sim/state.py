"""The state of B clusters as struct of arrays, grouped by what owns it; the batch axis comes first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.parameters import telemetry_ring
from cloudsched_env.sim.result import TOTALS

__all__ = [
    "ABSENT",
    "ASLEEP",
    "DRAINING",
    "FINISHED",
    "IN_BACKOFF",
    "IN_FIFO",
    "IN_NODE_QUEUE",
    "ON",
    "RUNNING",
    "WAKING",
    "Clock",
    "Compute",
    "Data",
    "Ledger",
    "Running",
    "Schedulers",
    "Scratch",
    "State",
    "Storage",
    "Tasks",
    "Telemetry",
    "allocate",
]

ON, DRAINING, ASLEEP, WAKING = range(4)
ABSENT, IN_FIFO, IN_NODE_QUEUE, RUNNING, FINISHED, IN_BACKOFF = range(6)

F = NDArray[np.float64]
I = NDArray[np.int32]  # noqa: E741 - the integer arrays of the state


class Clock(NamedTuple):
    """Where each cluster is in its episode; all ``[B]``."""

    step: NDArray[np.int64]
    next_arrival: NDArray[np.int64]
    next_outage: NDArray[np.int64]
    next_background: NDArray[np.int64]
    held_slot: NDArray[np.int64]  # ring slot of the snapshot that everyone holds when nothing is lost
    episode_key: NDArray[np.uint64]  # of the counter-based generator


class Tasks(NamedTuple):
    """All tasks of the episode, ``[B, capacity]``; queues are linked through ``next_task`` (-1 ends one)."""

    task_count: NDArray[np.int64]  # [B]
    arrival_s: F
    cores: F
    base_time_s: F
    memory_gb: F
    cacheable_mb: F
    scan_mb: F
    write_mb: F
    deadline_s: F
    estimated_time_s: F
    estimated_read_mb: F
    shard: I
    tenant: I
    job: I
    slo_class: I
    place: NDArray[np.int8]
    next_task: I
    release_step: NDArray[np.int64]  # when a task that was deferred comes back to its FIFO
    ready_s: F
    start_s: F
    finish_s: F


class Data(NamedTuple):
    """Where data and tenants live; fixed during an episode."""

    hot_set_mb: F  # [B, shards]
    per_hot_set: F  # [B, shards]: 1 / hot_set_mb
    replicas: I  # [B, shards, replicas]
    homes: I  # [B, shards, home nodes]
    tenant_scheduler: I  # [B, tenants]
    tenant_weight: F  # [B, tenants]
    outage_step: NDArray[np.int64]  # [B, outages], ascending; step at which the node changes
    outage_node: I  # [B, outages]; compute nodes first, then storage nodes
    outage_up: NDArray[np.int8]  # [B, outages]; 1 repair, 0 crash
    outages: NDArray[np.int64]  # [B]
    background_step: NDArray[np.int64]  # [B, changes], ascending
    background_node: I  # [B, changes]; compute nodes first, then storage nodes
    background_share: F  # [B, changes]: share of its cores or bandwidth that the node has from then on
    changes: NDArray[np.int64]  # [B]


class Running(NamedTuple):
    """Running tasks in dense slots, ``[B, capacity]``: copies of what the hot loops need."""

    slots_used: NDArray[np.int64]  # [B]
    task: I
    node: I
    shard: I
    tenant: I
    cores: F
    base_time_s: F
    memory_gb: F
    cacheable_mb: F
    scan_mb: F
    write_mb: F
    start_s: F
    remaining: F


class Compute(NamedTuple):
    """Compute nodes, ``[B, nodes]``."""

    alive: NDArray[np.int8]
    power: NDArray[np.int8]  # ON, DRAINING, ASLEEP or WAKING
    wake_step: NDArray[np.int64]  # when a node that wakes is on
    available_cores: F
    cache_level: I
    admission_level: I
    purge_level: I
    garbage_mb: F  # old versions that nobody needs any more
    cache_fraction: F
    occupied_mb: F
    valid_mb: F  # [B, shards, nodes]; times valid_scale and shard_validity = bytes in the cache
    valid_scale: F
    shard_validity: F  # [B, shards]
    queue_head: I
    queue_tail: I
    queue_length: I
    queued_cores: F
    queued_memory_gb: F
    running_tasks: I
    running_cores: F
    running_memory_gb: F
    processor_share: F
    efficiency: F
    io_wait: F
    in_use_cores: F
    useful_core_s: F
    read_mb: F
    hit_mb_decayed: F
    cacheable_mb_decayed: F
    working_set_mb: F
    evicted_mb_decayed: F
    pending_read_mb: F
    spill_gb: F
    touched: F  # [B, nodes, shards, 0 without engine metrics]: part of the hot set touched, as of touched_step
    touched_step: NDArray[np.int64]


class Storage(NamedTuple):
    """Storage nodes, ``[B, nodes]``."""

    alive: NDArray[np.int8]
    available_mb_per_s: F  # what other volumes leave of the bandwidth
    background_level: I
    serve_level: I
    debt_mb: F
    lag_mb: F
    stream_factor: F
    write_factor: F
    served_share: F
    read_rate: F
    write_rate_decayed: F
    stall_decayed: F


class Schedulers(NamedTuple):
    """Schedulers' queues, ``[B, schedulers]``, the nodes they see, and what they have sent to each so far."""

    queue_head: I
    queue_tail: I
    queue_length: I
    queued_cores: F
    backoff_head: I
    backoff_tail: I
    backoff_length: I
    arrivals_decayed: F
    candidates: I  # [B, schedulers, candidates]: compute nodes observed, and chosen from, in the next step
    observed_storage: I  # [B, schedulers, observed storage nodes]
    sent_cores: F  # [B, schedulers, compute nodes]
    sent_memory_gb: F
    sent_step: I  # [B, schedulers, compute nodes]: step of the last dispatch, -1 before the first


class Telemetry(NamedTuple):
    """Snapshots: rows 0 to K - 1 are a ring of those published last, rows from K on what observers hold.

    Without losses all observers hold the same snapshot, which is still in the ring, and there are no rows from K on
    (V = 0, W = 0). With losses each scheduler holds a view of its own (V = schedulers), so does each node of the
    storage summary (Z = nodes of both kinds); as a shard has one owner, one view of the caches is enough (W = 1).
    """

    compute_view: F  # [B, K + V, compute nodes, COMPUTE_VIEW]
    compute_stamp: I  # [B, K + V, compute nodes]
    storage_view: F  # [B, K + V, storage nodes, STORAGE_VIEW]
    storage_stamp: I  # [B, K + V, storage nodes]
    summary_view: F  # [B, K + Z, SUMMARY_VIEW]
    summary_stamp: I  # [B, K + Z]
    warmth_view: NDArray[np.float32]  # [B, K + W, shards, compute nodes]
    shown_cores: F  # [B, K + W, schedulers, compute nodes]: sent before the stamp; see `in_flight`
    shown_memory_gb: F
    burst: NDArray[np.int8]  # [B, links]: -1 not started, 0 passing, 1 losing


class Ledger(NamedTuple):
    """What rewards and metrics need."""

    totals: F  # [B, TOTALS]
    tenant_served: F  # [B, tenants], counted steps
    tenant_arrived: F
    served_decayed: F  # [B, tenants]
    arrived_decayed: F
    entitled_decayed: F  # [B, tenants]
    capacity_decayed: F  # [B]: core-seconds of the whole cluster
    on_time_core_s: F  # [B, schedulers], this step
    terms: F  # [B, 4]: useful, goodput, latency, fairness of the last step


class Scratch(NamedTuple):
    """Working memory of one step of one cluster; nothing in it outlives the step."""

    read_time: F  # [shards] s per MB
    write_time: F
    read_demand_mb: F
    write_demand_mb: F
    read_gate: F
    write_gate: F
    read_split: F  # [shards, replicas]
    demand_mb: F  # [storage nodes]
    capacity_mb: F
    reads_mb: F
    writes_mb: F
    read_amplification: F
    wanted_cores: F  # [compute nodes]
    in_use: F
    speed: F
    allocated_cores: F
    allocated_memory_gb: F
    hit_mb: F
    seen_mb: F
    written_mb: F  # [compute nodes] by tasks of the node
    path_time: F  # [storage nodes] s per MB of a read stream
    path_weight: F  # [storage nodes] serve weight, 0 while down
    live_value: F  # [storage nodes] what `quorum_value` ranks, 0 while down
    miss_mb: F  # [capacity]
    per_duration: F  # [capacity] 1 / duration at full processor share
    available_s: F
    warmth: F
    wanted: F
    tenant_work: F  # [tenants]
    order: I  # [the larger of compute and storage nodes], see `candidates`; 0, 1, 2, ... between uses
    position: I  # the same, inverse of `order`
    drawn: I  # [candidates]
    candidate_of: I  # [compute nodes] place among the candidates of the scheduler that is observing, -1 between uses
    tenant_demand: F


class State(NamedTuple):
    """Everything that `cloudsched_env.vector` steps."""

    clock: Clock
    tasks: Tasks
    data: Data
    running: Running
    compute: Compute
    storage: Storage
    schedulers: Schedulers
    telemetry: Telemetry
    ledger: Ledger
    scratch: Scratch


COMPUTE_VIEW = 9
STORAGE_VIEW = 5
SUMMARY_VIEW = 4
# More columns with engine metrics.
COMPUTE_ENGINE, STORAGE_ENGINE, SUMMARY_ENGINE = 3, 1, 1
# More columns of the summary with elastic nodes, after those of engine metrics.
SUMMARY_ELASTIC = 3

_DTYPES: dict[str, Any] = {
    "step": np.int64, "next_arrival": np.int64, "next_outage": np.int64, "next_background": np.int64,
    "held_slot": np.int64, "episode_key": np.uint64, "task_count": np.int64, "slots_used": np.int64,
    "outages": np.int64, "outage_step": np.int64, "outage_up": np.int8, "place": np.int8, "alive": np.int8,
    "changes": np.int64, "background_step": np.int64, "release_step": np.int64, "touched_step": np.int64,
    "power": np.int8, "wake_step": np.int64,
    "burst": np.int8, "warmth_view": np.float32,
}  # fmt: skip
_INT32 = {
    "shard", "tenant", "job", "slo_class", "next_task", "task", "node", "replicas", "tenant_scheduler", "outage_node",
    "cache_level", "admission_level", "purge_level", "queue_head", "queue_tail", "queue_length", "running_tasks",
    "background_level", "serve_level", "homes", "candidates", "observed_storage", "sent_step", "compute_stamp",
    "storage_stamp", "summary_stamp", "order", "position", "drawn", "candidate_of", "background_node",
    "backoff_head", "backoff_tail", "backoff_length",
}  # fmt: skip


def allocate(scenario: Scenario, batch: int, capacity: int, outages: int, changes: int) -> State:
    """Zeroed state of ``batch`` clusters with room for ``capacity`` tasks and ``outages`` crash or repair events."""
    n, m, s = scenario.compute_count, scenario.cluster.storage_nodes, scenario.cluster.schedulers
    shards, tenants, replicas = scenario.shards, scenario.workload.tenants, scenario.workload.replicas
    engine = scenario.observation.engine_metrics
    compute_view = COMPUTE_VIEW + (COMPUTE_ENGINE if engine else 0)
    storage_view = STORAGE_VIEW + (STORAGE_ENGINE if engine else 0)
    summary_view = SUMMARY_VIEW + (SUMMARY_ENGINE if engine or scenario.elastic.enabled else 0)
    summary_view += SUMMARY_ELASTIC if scenario.elastic.enabled else 0
    ring = telemetry_ring(scenario)
    lossy = scenario.telemetry.loss_probability > 0.0
    views, nodes_with_summary = (s, n + m) if lossy else (0, 0)
    candidates, observed = scenario.candidate_count, scenario.observed_storage_count
    shapes: dict[str, tuple[int, ...]] = {
        "hot_set_mb": (shards,), "per_hot_set": (shards,),
        "replicas": (shards, replicas), "homes": (shards, scenario.workload.home_nodes), "tenant_scheduler": (tenants,),
        "tenant_weight": (tenants,), "tenant_demand": (tenants,),
        "outage_step": (outages,), "outage_node": (outages,), "outage_up": (outages,),
        "background_step": (changes,), "background_node": (changes,), "background_share": (changes,), "changes": (),
        "next_background": (),
        "valid_mb": (shards, n), "shard_validity": (shards,),
        "touched": (n, shards if engine else 0), "touched_step": (n, shards if engine else 0),
        "candidates": (s, candidates), "observed_storage": (s, observed),
        "sent_cores": (s, n), "sent_memory_gb": (s, n), "sent_step": (s, n),
        "compute_view": (ring + views, n, compute_view), "compute_stamp": (ring + views, n),
        "storage_view": (ring + views, m, storage_view), "storage_stamp": (ring + views, m),
        "summary_view": (ring + nodes_with_summary, summary_view), "summary_stamp": (ring + nodes_with_summary,),
        "warmth_view": (ring + lossy, shards, n),
        "shown_cores": (ring + lossy, s, n), "shown_memory_gb": (ring + lossy, s, n),
        "burst": (s * (n + m) + n + m if lossy else 0,),
        "totals": (len(TOTALS),), "tenant_served": (tenants,), "tenant_arrived": (tenants,),
        "served_decayed": (tenants,), "arrived_decayed": (tenants,),
        "entitled_decayed": (tenants,), "capacity_decayed": (),
        "on_time_core_s": (s,), "terms": (4,),
        "read_time": (shards,), "write_time": (shards,), "read_demand_mb": (shards,), "write_demand_mb": (shards,),
        "read_gate": (shards,), "write_gate": (shards,), "read_split": (shards, replicas),
        "demand_mb": (m,), "capacity_mb": (m,), "reads_mb": (m,), "writes_mb": (m,), "read_amplification": (m,),
        "wanted_cores": (n,), "in_use": (n,), "speed": (n,), "hit_mb": (n,), "seen_mb": (n,), "written_mb": (n,),
        "allocated_cores": (n,), "allocated_memory_gb": (n,),
        "path_time": (m,), "path_weight": (m,), "live_value": (m,),
        "tenant_work": (tenants,), "order": (max(n, m),), "position": (max(n, m),),
        "drawn": (max(candidates, observed),), "candidate_of": (n,),
        "task_count": (), "slots_used": (), "outages": (), "step": (), "next_arrival": (), "next_outage": (),
        "held_slot": (), "episode_key": (),
    }  # fmt: skip
    owners = {Tasks: (capacity,), Running: (capacity,), Compute: (n,), Storage: (m,), Schedulers: (s,)}

    def zeros(group: Any, lead: tuple[int, ...]) -> Any:
        arrays = {}
        for name in group._fields:
            shape = shapes.get(name, owners.get(group, (capacity,)))
            dtype = np.int32 if name in _INT32 else _DTYPES.get(name, np.float64)
            arrays[name] = np.zeros(lead + shape, dtype=dtype)
        return group(**arrays)

    groups = {
        "clock": Clock, "tasks": Tasks, "data": Data, "running": Running, "compute": Compute, "storage": Storage,
        "schedulers": Schedulers, "telemetry": Telemetry, "ledger": Ledger,
    }  # fmt: skip
    scratch = zeros(Scratch, ())
    scratch.order[:] = scratch.position[:] = np.arange(max(n, m))
    scratch.candidate_of[:] = -1
    return State(**{k: zeros(g, (batch,)) for k, g in groups.items()}, scratch=scratch)
