"""Schedulers: each places the head of its own queue on compute nodes, or defers."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout
from cloudsched_env.scenario import Scenario

__all__ = ["NODE_FIELDS", "PAIR_FIELDS", "QUEUE_FIELDS", "SLOT_FIELDS", "STORAGE_FIELDS", "action_levels", "layout"]

QUEUE_FIELDS = (
    Field("queue_length", "window", 0, 16, "fresh: queued tasks / window slots"),
    Field("oldest_age", "10 s", 0, 8, "fresh: age of the first task / 10 s"),
    Field("queued_cores", "cluster", 0, 4, "fresh: requested cores of queued tasks / cores of the cluster"),
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
