"""One episode's worth of work: the tasks that arrive, and where their data lies. No randomness is left in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario

__all__ = ["TASK_COLUMNS", "DataTag", "Episode", "Split", "WorkloadSource"]

DataTag = Literal["generated", "excerpt", "full trace"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Episode:
    """Tasks in order of arrival, and the placement of shards and tenants.

    Attributes:
        arrival_s: arrival times in simulated seconds within the episode, ascending, ``[tasks]``.
        cores: requested CPU cores, ``[tasks]``.
        base_time_s: run time at full speed with all data cached, ``[tasks]``; work = cores x base time.
        memory_gb: memory while running, ``[tasks]``.
        cacheable_read_mb: bytes read that a warm cache saves, ``[tasks]``.
        scan_read_mb: bytes read that no cache saves, ``[tasks]``.
        write_mb: bytes written to each replica of the shard, ``[tasks]``.
        deadline_s: response-time limit, counted from arrival, ``[tasks]``.
        estimated_time_s: the planner's estimate of ``base_time_s``, ``[tasks]``.
        estimated_read_mb: the planner's estimate of all bytes read without a cache, ``[tasks]``.
        shard: data shard, ``[tasks]`` int32.
        tenant: tenant, ``[tasks]`` int32; equals ``shard // shards_per_tenant``.
        job: job within the episode, ``[tasks]`` int32.
        slo_class: 0 latency-critical, 1 normal, 2 batch, ``[tasks]`` int32.
        shard_hot_set_mb: hot set of each shard, ``[shards]``.
        shard_replicas: distinct storage nodes of each shard, ``[shards, replicas]`` int32.
        shard_homes: distinct compute nodes that hold the shard at the start, ``[shards, home_nodes]`` int32.
        tenant_scheduler: scheduler that owns each tenant, ``[tenants]`` int32.
        data_tag: where the tasks come from.
        background_step: step at which noisy neighbours take or give back, ascending, ``[changes]`` int64.
        background_node: node, compute nodes first, then storage nodes, ``[changes]`` int32.
        background_share: share of its cores or bandwidth that the node has from then on, ``[changes]``.
        tenant_weight: weight of each tenant in the division of the cluster, positive, ``[tenants]``; all 1 by default.
        details: for people and result files: source, window start, offered loads, synthetic columns.
    """

    arrival_s: NDArray[np.float64]
    cores: NDArray[np.float64]
    base_time_s: NDArray[np.float64]
    memory_gb: NDArray[np.float64]
    cacheable_read_mb: NDArray[np.float64]
    scan_read_mb: NDArray[np.float64]
    write_mb: NDArray[np.float64]
    deadline_s: NDArray[np.float64]
    estimated_time_s: NDArray[np.float64]
    estimated_read_mb: NDArray[np.float64]
    shard: NDArray[np.int32]
    tenant: NDArray[np.int32]
    job: NDArray[np.int32]
    slo_class: NDArray[np.int32]
    shard_hot_set_mb: NDArray[np.float64]
    shard_replicas: NDArray[np.int32]
    shard_homes: NDArray[np.int32]
    tenant_scheduler: NDArray[np.int32]
    data_tag: DataTag
    background_step: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    background_node: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    background_share: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    tenant_weight: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give every tenant the same weight where none is said."""
        if len(self.tenant_weight) == 0:
            object.__setattr__(self, "tenant_weight", np.ones(len(self.tenant_scheduler)))

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.arrival_s)


TASK_COLUMNS = (
    "arrival_s",
    "cores",
    "base_time_s",
    "memory_gb",
    "cacheable_read_mb",
    "scan_read_mb",
    "write_mb",
    "deadline_s",
    "estimated_time_s",
    "estimated_read_mb",
    "shard",
    "tenant",
    "job",
    "slo_class",
)
"""Fields of `Episode` with one entry for each task."""


class WorkloadSource(Protocol):
    """Where episodes come from: the generator, or windows of an imported trace."""

    scenario: Scenario
    split: Split
    data_tag: DataTag

    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw one episode; all randomness comes from ``rng``, so the same generator state gives the same bytes."""
        ...
