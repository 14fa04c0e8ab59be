"""The state of B clusters as struct of arrays, grouped by what owns it; the batch axis comes first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.result import TOTALS

__all__ = [
    "ABSENT",
    "FINISHED",
    "IN_BACKOFF",
    "IN_FIFO",
    "IN_NODE_QUEUE",
    "RUNNING",
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

ABSENT, IN_FIFO, IN_NODE_QUEUE, RUNNING, FINISHED, IN_BACKOFF = range(6)

F = NDArray[np.float64]
I = NDArray[np.int32]  # noqa: E741 - the integer arrays of the state


class Clock(NamedTuple):
    """Where each cluster is in its episode; all ``[B]``."""

    step: NDArray[np.int64]
    next_arrival: NDArray[np.int64]
    next_outage: NDArray[np.int64]
    next_background: NDArray[np.int64]
    loss_key: NDArray[np.uint64]


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
    home: NDArray[np.int8]  # [B, nodes, shards]
    tenant_scheduler: I  # [B, tenants]
    outage_step: NDArray[np.int64]  # [B, outages], ascending; step at which the node changes
    outage_node: I  # [B, outages]; compute nodes first, then storage nodes
    outage_up: NDArray[np.int8]  # [B, outages]; 1 repair, 0 crash
    outages: NDArray[np.int64]  # [B]
    background_step: NDArray[np.int64]  # [B, changes], ascending
    background_node: I  # [B, changes]
    background_share: F  # [B, changes]: share of its cores that the node has from then on
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
    available_cores: F
    cache_level: I
    admission_level: I
    cache_fraction: F
    occupied_mb: F
    valid_mb: F  # [B, nodes, shards]; times valid_scale and shard_validity = bytes in the cache
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


class Storage(NamedTuple):
    """Storage nodes, ``[B, nodes]``."""

    alive: NDArray[np.int8]
    background_level: I
    serve_level: I
    debt_mb: F
    lag_mb: F
    stream_factor: F
    write_factor: F
    served_share: F
    read_rate: F
    write_rate_decayed: F


class Schedulers(NamedTuple):
    """Schedulers' queues, ``[B, schedulers]``, and what they have sent to each node so far."""

    queue_head: I
    queue_tail: I
    queue_length: I
    queued_cores: F
    backoff_head: I
    backoff_tail: I
    backoff_length: I
    arrivals_decayed: F
    sent_cores: F  # [B, schedulers, compute nodes]
    sent_memory_gb: F


class Telemetry(NamedTuple):
    """Snapshots on their way (a ring of K) and the views that observers hold."""

    ring_compute: F  # [B, K, compute nodes, COMPUTE_VIEW]
    ring_storage: F  # [B, K, storage nodes, STORAGE_VIEW]
    ring_warmth: NDArray[np.float32]  # [B, K, compute nodes, shards]
    ring_sent_cores: F  # [B, K, schedulers, compute nodes]
    ring_sent_memory_gb: F
    ring_summary: F  # [B, K, SUMMARY_VIEW]
    compute_view: F  # [B, schedulers, compute nodes, COMPUTE_VIEW]
    compute_stamp: NDArray[np.int64]  # [B, schedulers, compute nodes]
    warmth_view: NDArray[np.float32]  # [B, schedulers, compute nodes, shards]
    shown_cores: F  # [B, schedulers, compute nodes]: sent before the view's stamp
    shown_memory_gb: F
    storage_view: F  # [B, schedulers, storage nodes, STORAGE_VIEW]
    storage_stamp: NDArray[np.int64]  # [B, schedulers, storage nodes]
    summary_view: F  # [B, compute + storage nodes, SUMMARY_VIEW]
    summary_stamp: NDArray[np.int64]  # [B, compute + storage nodes]
    burst: NDArray[np.int8]  # [B, links]: -1 not started, 0 passing, 1 losing


class Ledger(NamedTuple):
    """What rewards and metrics need."""

    totals: F  # [B, TOTALS]
    tenant_served: F  # [B, tenants], counted steps
    tenant_arrived: F
    served_decayed: F  # [B, tenants]
    arrived_decayed: F
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
    path_time: F  # [storage nodes] s per MB of a read stream
    path_weight: F  # [storage nodes] serve weight, 0 while down
    live_value: F  # [storage nodes] what `quorum_value` ranks, 0 while down
    miss_mb: F  # [capacity]
    per_duration: F  # [capacity] 1 / duration at full processor share
    available_s: F
    warmth: F
    wanted: F
    tenant_work: F  # [tenants]


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

_DTYPES: dict[str, Any] = {
    "step": np.int64, "next_arrival": np.int64, "next_outage": np.int64, "next_background": np.int64, "changes": np.int64, "background_step": np.int64, "loss_key": np.uint64, "task_count": np.int64,
    "slots_used": np.int64,
    "outages": np.int64, "outage_step": np.int64, "outage_up": np.int8, "place": np.int8, "release_step": np.int64, "alive": np.int8,
    "home": np.int8, "burst": np.int8, "ring_warmth": np.float32, "warmth_view": np.float32,
    "compute_stamp": np.int64, "storage_stamp": np.int64, "summary_stamp": np.int64,
}  # fmt: skip
_INT32 = {
    "shard", "tenant", "job", "slo_class", "next_task", "task", "node", "replicas", "tenant_scheduler", "outage_node", "background_node",
    "cache_level", "admission_level", "queue_head", "queue_tail", "queue_length", "running_tasks", "backoff_head", "backoff_tail", "backoff_length",
    "background_level", "serve_level",
}  # fmt: skip


def allocate(scenario: Scenario, batch: int, capacity: int, outages: int, changes: int) -> State:
    """Zeroed state of ``batch`` clusters with room for ``capacity`` tasks and ``outages`` crash or repair events."""
    n, m, s = scenario.compute_count, scenario.cluster.storage_nodes, scenario.cluster.schedulers
    shards, tenants, replicas = scenario.shards, scenario.workload.tenants, scenario.workload.replicas
    ring = scenario.telemetry.delay_steps // scenario.telemetry.publish_every_steps + 1
    shapes: dict[str, tuple[int, ...]] = {
        "hot_set_mb": (shards,), "per_hot_set": (shards,),
        "replicas": (shards, replicas), "home": (n, shards), "tenant_scheduler": (tenants,),
        "outage_step": (outages,), "outage_node": (outages,), "outage_up": (outages,),
        "background_step": (changes,), "background_node": (changes,), "background_share": (changes,), "changes": (),
        "next_background": (),
        "valid_mb": (n, shards), "shard_validity": (shards,),
        "sent_cores": (s, n), "sent_memory_gb": (s, n),
        "ring_compute": (ring, n, COMPUTE_VIEW), "ring_storage": (ring, m, STORAGE_VIEW),
        "ring_warmth": (ring, n, shards), "ring_sent_cores": (ring, s, n), "ring_sent_memory_gb": (ring, s, n),
        "ring_summary": (ring, SUMMARY_VIEW), "compute_view": (s, n, COMPUTE_VIEW), "compute_stamp": (s, n),
        "warmth_view": (s, n, shards), "shown_cores": (s, n), "shown_memory_gb": (s, n),
        "storage_view": (s, m, STORAGE_VIEW), "storage_stamp": (s, m), "summary_view": (n + m, SUMMARY_VIEW),
        "summary_stamp": (n + m,), "burst": (s * (n + m) + n + m,),
        "totals": (len(TOTALS),), "tenant_served": (tenants,), "tenant_arrived": (tenants,),
        "served_decayed": (tenants,), "arrived_decayed": (tenants,), "on_time_core_s": (s,), "terms": (4,),
        "read_time": (shards,), "write_time": (shards,), "read_demand_mb": (shards,), "write_demand_mb": (shards,),
        "read_gate": (shards,), "write_gate": (shards,), "read_split": (shards, replicas),
        "demand_mb": (m,), "capacity_mb": (m,), "reads_mb": (m,), "writes_mb": (m,), "read_amplification": (m,),
        "wanted_cores": (n,), "in_use": (n,), "speed": (n,), "hit_mb": (n,), "seen_mb": (n,),
        "allocated_cores": (n,), "allocated_memory_gb": (n,),
        "path_time": (m,), "path_weight": (m,), "live_value": (m,),
        "tenant_work": (tenants,),
        "task_count": (), "slots_used": (), "outages": (), "step": (), "next_arrival": (), "next_outage": (),
        "loss_key": (),
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
    return State(**{k: zeros(g, (batch,)) for k, g in groups.items()}, scratch=zeros(Scratch, ()))
