"""Hand-made episodes, so that tests of the simulator do not depend on the workload generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode

ONE_TASK = {
    "arrival_s": 0.0,
    "cores": 1.0,
    "base_time_s": 1.0,
    "memory_gb": 0.5,
    "cacheable_read_mb": 0.0,
    "scan_read_mb": 0.0,
    "write_mb": 0.0,
    "deadline_s": 10.0,
    "estimated_time_s": 1.0,
    "estimated_read_mb": 0.0,
    "shard": 0,
    "job": 0,
    "slo_class": 1,
}
LABELS = ("shard", "job", "slo_class")


def hand_made_episode(scenario: Scenario, tasks: Sequence[Mapping[str, Any]], hot_set_mb: float = 500.0) -> Episode:
    """Tasks as given, in order of arrival; what a task leaves out is that of `ONE_TASK`.

    Shard m lies on the replicas m, m + 1, ... and has its homes on the compute nodes m, m + 1, ...
    """
    rows = [{**ONE_TASK, **task} for task in tasks]
    shards = np.arange(scenario.shards)[:, None]
    columns: dict[str, Any] = {
        name: np.array([row[name] for row in rows], dtype=np.int32 if name in LABELS else np.float64)
        for name in ONE_TASK
    }
    replicas = (shards + np.arange(scenario.workload.replicas)) % scenario.cluster.storage_nodes
    homes = (shards + np.arange(scenario.workload.home_nodes)) % scenario.compute_count
    return Episode(
        **columns,
        tenant=(columns["shard"] // scenario.workload.shards_per_tenant).astype(np.int32),
        shard_hot_set_mb=np.full(scenario.shards, hot_set_mb),
        shard_replicas=replicas.astype(np.int32),
        shard_homes=homes.astype(np.int32),
        tenant_scheduler=(np.arange(scenario.workload.tenants) % scenario.cluster.schedulers).astype(np.int32),
        data_tag="generated",
        details={"source": "hand-made for tests"},
    )


def simple_episode(scenario: Scenario, rng: np.random.Generator, tasks: int = 60) -> Episode:
    """Random tasks of every kind: with and without reads and writes, small and large, some there from the start."""
    base_time = np.clip(rng.lognormal(-0.6, 0.8, tasks), 0.1, 6.0)
    smallest_memory = min(kind.memory_gb for kind in scenario.cluster.compute_nodes)
    shard = rng.integers(scenario.shards, size=tasks).astype(np.int32)

    def some_mb(median: float, present: float) -> np.ndarray:
        return median * rng.lognormal(0.0, 0.9, tasks) * (rng.random(tasks) < present)

    cacheable, scan = some_mb(300.0, 0.8), some_mb(100.0, 0.5)
    arrival = np.sort(rng.uniform(-0.1, 0.8, tasks).clip(0.0) * scenario.duration_s)
    storage_nodes, compute_nodes = range(scenario.cluster.storage_nodes), range(scenario.compute_count)
    return Episode(
        arrival_s=arrival,
        cores=rng.uniform(0.25, 4.0, tasks),
        base_time_s=base_time,
        memory_gb=(0.005 + 0.445 * rng.random(tasks) ** 3) * smallest_memory,
        cacheable_read_mb=cacheable,
        scan_read_mb=scan,
        write_mb=some_mb(150.0, 0.5),
        deadline_s=rng.uniform(1.2, 4.0, tasks) * base_time + 0.5,
        estimated_time_s=base_time * rng.lognormal(0.0, 0.5, tasks),
        estimated_read_mb=(cacheable + scan) * rng.lognormal(0.0, 0.5, tasks),
        shard=shard,
        tenant=(shard // scenario.workload.shards_per_tenant).astype(np.int32),
        job=(np.arange(tasks) // 3).astype(np.int32),
        slo_class=rng.integers(3, size=tasks).astype(np.int32),
        shard_hot_set_mb=rng.uniform(150.0, 2500.0, scenario.shards),
        shard_replicas=np.array(
            [rng.permutation(storage_nodes)[: scenario.workload.replicas] for _ in range(scenario.shards)],
            dtype=np.int32,
        ),
        shard_homes=np.array(
            [rng.permutation(compute_nodes)[: scenario.workload.home_nodes] for _ in range(scenario.shards)],
            dtype=np.int32,
        ),
        tenant_scheduler=(np.arange(scenario.workload.tenants) % scenario.cluster.schedulers).astype(np.int32),
        data_tag="generated",
        details={"source": "drawn for tests"},
    )


def disturbed_episode(scenario: Scenario, rng: np.random.Generator, tasks: int = 60, changes: int = 12) -> Episode:
    """A `simple_episode` with noisy neighbours of both kinds of nodes: at random steps, several in one step or none.

    Some lie before the episode's first step has passed, some beyond its first hundred steps, and one node may change
    twice in a step (the later entry counts).
    """
    episode = simple_episode(scenario, rng, tasks)
    nodes = scenario.compute_count + scenario.cluster.storage_nodes
    last = min(100, scenario.time.horizon_steps)
    share = np.where(rng.random(changes) < 0.25, 1.0, rng.uniform(0.05, 1.0, changes))
    return dataclasses.replace(
        episode,
        background_step=np.sort(rng.integers(0, last, changes) * (rng.random(changes) < 0.85)),
        background_node=rng.integers(0, nodes, changes).astype(np.int32),
        background_share=share,
    )
