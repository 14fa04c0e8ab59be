"""Observations in physical units: what a hand-written agent reads instead of columns.

`SchedulerView` decodes the schedulers' observations once per step, for all clusters and schedulers at a time;
`NodeView` gives the fields of compute or storage nodes by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.protocol import ClusterInfo
from cloudsched_env.roles.layout import Layout

__all__ = ["NodeView", "SchedulerView", "TaskView"]

Floats = NDArray[np.float64]

# Numbers of an observation in physical units: see the units of `cloudsched_env.roles.scheduler.SLOT_FIELDS`.
CORES_UNIT = 4.0
MEMORY_UNIT_GB = 8.0
TIME_UNIT_S = 10.0
READ_UNIT_MB = 4000.0
WRITE_UNIT_MB = 1000.0


class NodeView:
    """Fields of the agents of one role by name, each ``[batch, agents]``.

    Args:
        layout: the role's layout; it must have the single block ``node``.
        observations: float32 ``[batch, agents, size]``.
    """

    def __init__(self, layout: Layout, observations: NDArray[np.float32]) -> None:
        self._block = layout.block("node")
        self._values = layout.view(observations, "node")

    def __getitem__(self, field_name: str) -> NDArray[np.float32]:
        """One field, ``[batch, agents]``; KeyError names the fields that there are."""
        return self._values[..., self._block.index(field_name)]


@dataclass(frozen=True)
class TaskView:
    """The one task that each scheduler is placing now.

    Arrays are ``[batch, schedulers, 1]``, so that they broadcast over nodes, unless stated otherwise.

    Attributes:
        cores: requested cores.
        memory_gb: memory while running.
        estimated_time_s: the planner's estimate of the run time at full speed.
        estimated_read_mb: the planner's estimate of bytes read without a cache.
        scan_share: share of the reads that no cache helps.
        write_mb: bytes to write.
        age_s: time since arrival.
        slack_s: deadline - age - estimated time.
        tenant_share: served / arrived work of the task's tenant.
        same_job: 1 if the slot before holds a task of the same job.
        replica_congestion: 1 - mean stream factor of the shard's replicas (stale).
        warmth: cached part of the task's hot set on each node (stale), ``[batch, schedulers, nodes]``.
        home: 1 where a node is a home of the task's shard, ``[batch, schedulers, nodes]``.
    """

    cores: Floats
    memory_gb: Floats
    estimated_time_s: Floats
    estimated_read_mb: Floats
    scan_share: Floats
    write_mb: Floats
    age_s: Floats
    slack_s: Floats
    tenant_share: Floats
    same_job: Floats
    replica_congestion: Floats
    warmth: Floats
    home: Floats


class SchedulerView:
    """What the schedulers of a batch of clusters see at one step, in physical units.

    Requests are book-kept as kube-scheduler's cache does with "assumed" pods: what telemetry shows as running and
    queued, plus the scheduler's own dispatches that telemetry does not show yet, plus what it has assigned earlier in
    this very step (`assume`). Other schedulers' recent dispatches are not known to it.

    "Nodes" are the candidates of the step: all nodes in order on small clusters, on large ones a sample that changes
    from step to step, so that an index means nothing beyond the step.

    Args:
        info: the cluster.
        observations: schedulers' observations, float32 ``[batch, schedulers, size]``.
        mask: schedulers' action mask, int8 ``[batch, schedulers, slots * (nodes + 1)]``.

    Attributes:
        cluster_share: candidates / compute nodes of the cluster.
        present: the slot holds a task, bool ``[batch, schedulers, slots]``.
        choices: the mask, the last choice of each slot being to defer, bool ``[batch, schedulers, slots, nodes + 1]``.
        allowed: the same without the last column, bool ``[batch, schedulers, slots, nodes]``.
        node_cores: cores of each node, ``[batch, schedulers, nodes]``.
        node_memory_gb: memory of each node, execution and cache together, ``[batch, schedulers, nodes]``.
        execution_memory_gb: memory that queries may use (stale), ``[batch, schedulers, nodes]``.
        requested_cores: cores of running, queued, in-flight and just assigned tasks, ``[batch, schedulers, nodes]``.
        requested_memory_gb: the same for memory, ``[batch, schedulers, nodes]``.
        running_cores_load: running part alone, by cores, ``[batch, schedulers, nodes]``.
        queued_cores_load: queued part alone, by cores, ``[batch, schedulers, nodes]``.
        efficiency: 1 / slow-down by spill and contention (stale), ``[batch, schedulers, nodes]``.
        io_wait: share of run time spent waiting for storage (stale), ``[batch, schedulers, nodes]``.
        assigned_cores: cores assigned by this scheduler and not shown by telemetry, ``[batch, schedulers, nodes]``.
    """

    def __init__(self, info: ClusterInfo, observations: NDArray[np.float32], mask: NDArray[np.int8]) -> None:
        layout = info.layouts["scheduler"]
        nodes_block, self._slots_block = layout.block("nodes"), layout.block("slots")
        nodes = layout.view(observations, "nodes").astype(np.float64)
        self._slots = layout.view(observations, "slots").astype(np.float64)
        pairs = layout.view(observations, "pairs")
        pair_block = layout.block("pairs")
        self._warmth = pairs[..., pair_block.index("warmth")]
        self._home = pairs[..., pair_block.index("home")]

        def node(name: str) -> Floats:
            return nodes[..., nodes_block.index(name)]

        largest_cores = max(node_type.cores for node_type in info.scenario.cluster.compute_nodes)
        largest_memory_gb = max(node_type.memory_gb for node_type in info.scenario.cluster.compute_nodes)
        self.node_cores = node("cores") * largest_cores
        self.node_memory_gb = node("memory") * largest_memory_gb
        # A node that was never heard of shows zeros: keep the division by its execution memory finite.
        self.execution_memory_gb = np.maximum(node("execution_memory") * largest_memory_gb, 1e-3)
        self.running_cores_load = node("running_cores_load")
        self.queued_cores_load = node("queued_cores_load")
        self.efficiency = node("efficiency")
        self.io_wait = node("io_wait")
        self.assigned_cores = node("in_flight_cores_load") * self.node_cores
        load = self.running_cores_load + self.queued_cores_load
        pressure = node("running_memory_pressure") + node("queued_memory_pressure") + node("in_flight_memory_pressure")
        self.requested_cores = load * self.node_cores + self.assigned_cores
        self.requested_memory_gb = pressure * self.execution_memory_gb

        batch, schedulers, slots = self._slots.shape[:3]
        self.nodes = self.node_cores.shape[-1]
        self.cluster_share = self.nodes / info.scenario.compute_count
        self.shape = (batch, schedulers, slots)
        self.choices = mask.reshape(batch, schedulers, slots, self.nodes + 1) != 0
        self.allowed = self.choices[..., : self.nodes]
        self.present = self.slot("present") > 0.5
        self._rows = np.arange(batch)[:, None]
        self._columns = np.arange(schedulers)[None, :]

    def slot(self, field_name: str) -> Floats:
        """A field of all visible slots as it stands in the observation, ``[batch, schedulers, slots]``."""
        return self._slots[..., self._slots_block.index(field_name)]

    def task(self, slot: NDArray[np.int64]) -> TaskView:
        """The task in one slot of each scheduler; ``slot`` is int64 ``[batch, schedulers]``."""
        at = (self._rows, self._columns, slot)
        values = self._slots[at][:, :, None, :]
        index = self._slots_block.index
        return TaskView(
            cores=values[..., index("cores")] * CORES_UNIT,
            memory_gb=values[..., index("memory")] * MEMORY_UNIT_GB,
            estimated_time_s=values[..., index("estimated_time")] * TIME_UNIT_S,
            estimated_read_mb=values[..., index("estimated_read")] * READ_UNIT_MB,
            scan_share=values[..., index("scan_share")],
            write_mb=values[..., index("write")] * WRITE_UNIT_MB,
            age_s=values[..., index("age")] * TIME_UNIT_S,
            slack_s=values[..., index("slack")] * TIME_UNIT_S,
            tenant_share=values[..., index("tenant_share")],
            same_job=values[..., index("same_job")],
            replica_congestion=values[..., index("replica_congestion")],
            warmth=self._warmth[at].astype(np.float64),
            home=self._home[at].astype(np.float64),
        )

    def at_slot(self, values: NDArray, slot: NDArray[np.int64]) -> NDArray:
        """Pick one slot of each scheduler from an array ``[batch, schedulers, slots, ...]``."""
        return values[self._rows, self._columns, slot]

    def assume(self, task: TaskView, node: NDArray[np.int64], placed: NDArray[np.bool_]) -> None:
        """Count the task as requested on its node from now on, where ``placed``; both are ``[batch, schedulers]``."""
        batch, scheduler = np.nonzero(placed)
        at = (batch, scheduler, node[batch, scheduler])
        self.requested_cores[at] += task.cores[batch, scheduler, 0]
        self.assigned_cores[at] += task.cores[batch, scheduler, 0]
        self.requested_memory_gb[at] += task.memory_gb[batch, scheduler, 0]
