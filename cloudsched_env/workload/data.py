"""The data side of an episode: shards and where they lie, phases, and what each task reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload import assumptions as a

__all__ = ["TaskData", "draw_phases", "draw_shards", "draw_task_data"]


@dataclass(frozen=True)
class TaskData:
    """Bytes that tasks move, in MB, ``[tasks]`` each."""

    cacheable_read_mb: NDArray[np.float64]
    scan_read_mb: NDArray[np.float64]
    write_mb: NDArray[np.float64]


def draw_shards(
    scenario: Scenario, node_cores: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
    """Draw hot set, replicas and home nodes of every shard.

    Hot sets are lognormal with the mean of the scenario before they are clipped. Replicas are distinct storage
    nodes, all equally likely; homes are distinct compute nodes, drawn one after another in proportion to cores
    (Gumbel top-k, Efraimidis and Spirakis 2006).

    Args:
        scenario: the cluster.
        node_cores: cores of each compute node, ``[compute]``.
        rng: source of randomness.

    Returns:
        Hot sets in MB ``[shards]``, replicas int32 ``[shards, replicas]``, homes int32 ``[shards, home_nodes]``.
    """
    cache, workload, shards = scenario.cache, scenario.workload, scenario.shards
    sigma = cache.hot_set_sigma
    hot_set_gb = cache.hot_set_mean_gb * np.exp(sigma * rng.standard_normal(shards) - 0.5 * sigma**2)
    hot_set_mb = 1000.0 * np.clip(hot_set_gb, cache.hot_set_minimum_gb, cache.hot_set_maximum_gb)
    replica_keys = rng.random((shards, scenario.cluster.storage_nodes))
    replicas = np.argsort(replica_keys, axis=1)[:, : workload.replicas]
    home_keys = np.log(node_cores) + rng.gumbel(size=(shards, len(node_cores)))
    homes = np.argsort(-home_keys, axis=1)[:, : workload.home_nodes]
    return hot_set_mb, replicas.astype(np.int32), homes.astype(np.int32)


def draw_phases(
    scenario: Scenario, arrival_s: NDArray[np.float64], tenant: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.intp]:
    """The phase in which each task arrives: `assumptions.INGEST` or `assumptions.SCAN`.

    The cluster alternates between the two with uniform sojourn times; the first sojourn is cut at a uniform point.
    A tenant runs against the cluster's phase, for the whole episode, with probability ``antiphase_probability``.

    Args:
        scenario: the cluster.
        arrival_s: arrival times in the episode, ``[tasks]``.
        tenant: tenant of each task, ``[tasks]``.
        rng: source of randomness.

    Returns:
        Index of the phase, ``[tasks]``.
    """
    workload = scenario.workload
    count = int(np.ceil(scenario.duration_s / workload.phase_minimum_s)) + 1
    sojourns = rng.uniform(workload.phase_minimum_s, workload.phase_maximum_s, size=count)
    sojourns[0] *= rng.random()
    first = int(rng.integers(2))
    against = rng.random(workload.tenants) < workload.antiphase_probability
    switches = np.searchsorted(np.cumsum(sojourns), arrival_s, side="right")
    return (first + switches + against[tenant]) % 2


def draw_task_data(
    scenario: Scenario, work_core_s: NDArray[np.float64], phase: NDArray[np.intp], rng: np.random.Generator
) -> TaskData:
    """Draw the bytes that each task reads and writes (synthetic: the traces hold none).

    Reads are normalised so that without any cache they take ``read_load`` of the storage bandwidth over the episode;
    writes so that a cluster that stayed in one phase would spend that phase's `WRITE_PHASE_FACTOR` x ``write_load``
    of it, replicas included.

    Args:
        scenario: the cluster.
        work_core_s: cores x base time, ``[tasks]``.
        phase: phase of each task, ``[tasks]``.
        rng: source of randomness.
    """
    workload = scenario.workload
    tasks = len(work_core_s)
    bytes_mb = scenario.storage.bandwidth_mb_per_s * scenario.cluster.storage_nodes * scenario.duration_s
    reads = work_core_s * np.exp(a.READ_SIGMA * rng.standard_normal(tasks)) * np.take(a.READ_PHASE_FACTOR, phase)
    reads *= workload.read_load * bytes_mb / reads.sum()
    writes = work_core_s * np.exp(a.WRITE_SIGMA * rng.standard_normal(tasks))
    writes *= workload.write_load * bytes_mb / (workload.replicas * writes.sum())
    writes *= np.take(a.WRITE_PHASE_FACTOR, phase)
    scan = reads * np.take(a.SCAN_SHARE, phase)
    return TaskData(cacheable_read_mb=reads - scan, scan_read_mb=scan, write_mb=writes)
