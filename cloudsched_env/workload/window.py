"""One window of a task stream becomes one episode: the only mapping, for traces and for the generator.

Order of the steps: whole jobs are thinned to the target rate; users are folded into tenants and logical names into
shards; run times are scaled to the exact CPU load; arrivals are warped; flash crowds move arrivals and hot-set shifts
move shards, where a scenario has them; memory is scaled; bytes, deadlines and planner estimates are filled in; tenants
are divided among schedulers.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload import assumptions as a
from cloudsched_env.workload.background import draw_background
from cloudsched_env.workload.data import TaskData, draw_phases, draw_shards, draw_task_data
from cloudsched_env.workload.episode import TASK_COLUMNS, DataTag, Episode
from cloudsched_env.workload.flash_crowd import draw_flash_crowds
from cloudsched_env.workload.folding import hash_fold, zipf_fold
from cloudsched_env.workload.hot_shift import draw_shift_times, shift_shards
from cloudsched_env.workload.scaling import scale_to_target
from cloudsched_env.workload.weights import draw_tenant_weights

__all__ = [
    "InfeasibleWindowError",
    "WindowTasks",
    "assign_schedulers",
    "build_episode",
    "hash_fold",
    "offered_loads",
    "target_tasks",
    "thin_by_job",
    "warp_arrivals",
    "window_length_s",
]


_CROWD_STREAM, _SHIFT_STREAM, _WEIGHT_STREAM = 0, 1, 2


class InfeasibleWindowError(ValueError):
    """A window's tasks cannot carry the offered CPU load of the scenario."""


@dataclass(frozen=True)
class WindowTasks:
    """Tasks of one window in order of arrival, at most ``fan_out_cap`` of a job, gaps filled; ``[tasks]`` each.

    Attributes:
        offset_s: arrival since the start of the window, trace seconds.
        user: stable hash of the user, uint64.
        name: stable hash of the logical job name, uint64.
        job: any integer that is equal for tasks of one job.
        slo_class: 0 latency-critical, 1 normal, 2 batch.
        cpu_request: requested CPU as a fraction of the largest machine.
        memory_gb: requested memory.
        duration_s: run time, trace seconds.
    """

    offset_s: NDArray[np.float64]
    user: NDArray[np.uint64]
    name: NDArray[np.uint64]
    job: NDArray[np.int64]
    slo_class: NDArray[np.int32]
    cpu_request: NDArray[np.float64]
    memory_gb: NDArray[np.float64]
    duration_s: NDArray[np.float64]

    def take(self, kept: NDArray[Any]) -> WindowTasks:
        """The tasks selected by a mask or by indices."""
        return WindowTasks(**{name: column[kept] for name, column in vars(self).items()})


@dataclass(frozen=True)
class _Machines:
    """Sizes of the compute nodes."""

    cores: NDArray[np.float64]
    total_cores: float
    total_memory_gb: float
    smallest_memory_gb: float


@functools.lru_cache(maxsize=32)
def _machines(scenario: Scenario) -> _Machines:
    types = scenario.cluster.compute_nodes
    cores = np.repeat([t.cores for t in types], [t.count for t in types])
    cores.setflags(write=False)
    return _Machines(
        cores=cores,
        total_cores=float(cores.sum()),
        total_memory_gb=sum(t.count * t.memory_gb for t in types),
        smallest_memory_gb=min(t.memory_gb for t in types),
    )


def window_length_s(scenario: Scenario) -> float:
    """Trace seconds that one episode of the scenario covers."""
    return scenario.duration_s * scenario.workload.time_compression


def target_tasks(scenario: Scenario) -> int:
    """Most tasks that an episode holds: the target rate over its duration."""
    return max(1, round(scenario.workload.task_rate_per_s * scenario.duration_s))


def fan_out_limit(scenario: Scenario) -> int:
    """Most tasks kept of one job: the cap, or the whole episode if that is smaller."""
    return min(scenario.workload.fan_out_cap, target_tasks(scenario))


def thin_by_job(job: NDArray[np.int64], limit: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole jobs in random order until the next one would exceed the limit.

    Args:
        job: job of each task, ``[tasks]``; no job has more than ``limit`` tasks.
        limit: most tasks kept.
        rng: source of randomness.

    Returns:
        Which tasks are kept, ``[tasks]``.
    """
    sizes = np.bincount(job)
    order = rng.permutation(len(sizes))
    kept = np.zeros(len(sizes), dtype=np.bool_)
    kept[order[np.cumsum(sizes[order]) <= limit]] = True
    return kept[job]


def warp_arrivals(
    arrival_s: NDArray[np.float64], work_core_s: NDArray[np.float64], duration_s: float, warp: float
) -> NDArray[np.float64]:
    """Move arrivals towards an even flow of work: t' = (1 - warp) t + warp x T x (work before it) / (all work).

    With warp 0 times stay, with warp 1 work arrives at a constant rate from 0 to T. Order is kept.

    Args:
        arrival_s: ascending times in [0, T), ``[tasks]``.
        work_core_s: work of each task, ``[tasks]``.
        duration_s: T.
        warp: between 0 and 1.
    """
    before = np.cumsum(work_core_s)
    share_before = np.concatenate(([0.0], before[:-1])) / before[-1]
    warped = (1.0 - warp) * arrival_s + warp * duration_s * share_before
    return np.minimum(np.maximum.accumulate(warped), np.nextafter(duration_s, 0.0))


def assign_schedulers(tenant_load: NDArray[np.int64], schedulers: int) -> NDArray[np.int32]:
    """Divide tenants among schedulers by longest processing time first (Graham 1969).

    Args:
        tenant_load: tasks of each tenant, ``[tenants]``; at least as many tenants as schedulers.
        schedulers: how many.

    Returns:
        Scheduler of each tenant, int32 ``[tenants]``; every scheduler owns at least one.
    """
    owner = np.zeros(len(tenant_load), dtype=np.int32)
    heap = [(0, 0, s) for s in range(schedulers)]
    for tenant in np.argsort(-tenant_load, kind="stable").tolist():
        load, owned, scheduler = heap[0]
        owner[tenant] = scheduler
        heapq.heapreplace(heap, (load + int(tenant_load[tenant]), owned + 1, scheduler))
    return owner


def _scale_base_times(
    scenario: Scenario, cores: NDArray[np.float64], duration_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Base times in the scenario's range, with exactly its CPU load.

    Raises:
        InfeasibleWindowError: if these tasks are too few, or too many, for the load within the range of base times.
    """
    workload, machines = scenario.workload, _machines(scenario)
    wanted = workload.cpu_load * machines.total_cores * scenario.duration_s
    low, high = workload.minimum_base_time_s, workload.maximum_base_time_s
    requested = float(cores.sum())
    if not low * requested <= wanted <= high * requested:
        few = wanted > high * requested
        remedy = (
            "raise workload.time_compression or workload.task_rate_per_s, or use a busier trace"
            if few
            else "lower workload.task_rate_per_s"
        )
        raise InfeasibleWindowError(
            f"{len(cores)} tasks of {requested:.1f} cores in all cannot offer cpu_load {workload.cpu_load}, "
            f"{wanted:.0f} core-seconds, with run times of {low} to {high} s: "
            f"there are too {'few' if few else 'many'} tasks; {remedy}"
        )
    return scale_to_target(duration_s, cores, low, high, wanted)


def _scale_memory(
    scenario: Scenario, request_gb: NDArray[np.float64], base_time_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Memory of tasks with the scenario's memory load, or as near as the limits of a task's memory let it be."""
    machines = _machines(scenario)
    high = a.MEMORY_MAXIMUM_SHARE * machines.smallest_memory_gb
    wanted = scenario.workload.memory_load * machines.total_memory_gb * scenario.duration_s
    return scale_to_target(request_gb, base_time_s, min(a.MEMORY_MINIMUM_GB, high), high, wanted)


def offered_loads(
    scenario: Scenario,
    cores: NDArray[np.float64],
    base_time_s: NDArray[np.float64],
    memory_gb: NDArray[np.float64],
    data: TaskData,
) -> dict[str, float]:
    """Offered load of each resource, as a share of its capacity over the episode.

    ``read`` is without any cache and without read amplification; ``write`` counts all replicas, without compaction.
    """
    machines, duration = _machines(scenario), scenario.duration_s
    bytes_mb = scenario.storage.bandwidth_mb_per_s * scenario.cluster.storage_nodes * duration
    return {
        "cpu": float(cores @ base_time_s) / (machines.total_cores * duration),
        "memory": float(memory_gb @ base_time_s) / (machines.total_memory_gb * duration),
        "read": float(data.cacheable_read_mb.sum() + data.scan_read_mb.sum()) / bytes_mb,
        "scan_read": float(data.scan_read_mb.sum()) / bytes_mb,
        "write": float(data.write_mb.sum()) * scenario.workload.replicas / bytes_mb,
    }


def _estimate(true: NDArray[np.float64], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Planner estimates: unbiased, with a lognormal relative error."""
    return true * np.exp(sigma * rng.standard_normal(len(true)) - 0.5 * sigma**2)


def build_episode(
    tasks: WindowTasks,
    scenario: Scenario,
    rng: np.random.Generator,
    data_tag: DataTag,
    details: dict[str, Any],
) -> Episode:
    """Turn the tasks of one window into an episode.

    Args:
        tasks: the window's tasks; at most ``fan_out_limit`` of a job.
        scenario: the cluster and its loads.
        rng: source of all randomness.
        data_tag: where the tasks come from.
        details: what the source wants recorded; offered loads and synthetic columns are added.

    Raises:
        InfeasibleWindowError: if the window cannot carry the scenario's CPU load.
    """
    if len(tasks.job) == 0:
        raise InfeasibleWindowError("the window holds no task: choose another window or a busier trace")
    workload, machines = scenario.workload, _machines(scenario)
    dense_job = np.unique(tasks.job, return_inverse=True)[1].reshape(-1)
    offered_tasks = len(dense_job)
    limit = target_tasks(scenario)
    kept = thin_by_job(dense_job, limit, rng)
    if offered_tasks > limit:
        tasks, dense_job = tasks.take(kept), dense_job[kept]
    jobs, job = np.unique(dense_job, return_inverse=True)

    tenant_salt, shard_salt = (int(x) for x in rng.integers(2**63, size=2))
    tenant = hash_fold(tasks.user, tenant_salt, workload.tenants)
    per_tenant = workload.shards_per_tenant
    shard = tenant * per_tenant + zipf_fold(tasks.name, shard_salt, per_tenant, workload.shard_skew)
    # Stress mechanisms draw from streams of their own, so that with and without them all other draws are the same.
    crowds = draw_flash_crowds(scenario, np.random.default_rng((tenant_salt, shard_salt, _CROWD_STREAM)))
    weights = draw_tenant_weights(scenario, np.random.default_rng((tenant_salt, shard_salt, _WEIGHT_STREAM)))
    shift_s = draw_shift_times(scenario, np.random.default_rng((tenant_salt, shard_salt, _SHIFT_STREAM)))

    cores = np.clip(
        tasks.cpu_request * workload.cores_of_largest_machine, workload.minimum_cores, workload.maximum_cores
    )
    base_time = _scale_base_times(scenario, cores, tasks.duration_s / workload.time_compression)
    work = cores * base_time
    arrival = warp_arrivals(
        tasks.offset_s / workload.time_compression, work, scenario.duration_s, workload.arrival_warp
    )
    if crowds is not None:
        arrival = crowds.move(arrival, tenant)
        details = {**details, "flash_crowds": crowds.to_details()}
    if len(shift_s):
        shard = shift_shards(shard, arrival, shift_s, per_tenant)
        details = {**details, "hot_shift_s": shift_s.tolist()}
    phase = draw_phases(scenario, arrival, tenant, rng)
    memory = _scale_memory(scenario, tasks.memory_gb * np.take(a.MEMORY_PHASE_FACTOR, phase), base_time)
    data = draw_task_data(scenario, work, phase, rng)
    hot_set_mb, replicas, homes = draw_shards(scenario, machines.cores, rng)
    estimated_time = _estimate(base_time, workload.estimate_error, rng)
    estimated_read = _estimate(data.cacheable_read_mb + data.scan_read_mb, workload.estimate_error, rng)
    background_step, background_node, background_share = draw_background(scenario, rng)
    loads = offered_loads(scenario, cores, base_time, memory, data)
    episode = Episode(
        arrival_s=arrival,
        cores=cores,
        base_time_s=base_time,
        memory_gb=memory,
        cacheable_read_mb=data.cacheable_read_mb,
        scan_read_mb=data.scan_read_mb,
        write_mb=data.write_mb,
        deadline_s=np.take(a.DEADLINE_SLOWDOWN, tasks.slo_class) * base_time
        + np.take(a.DEADLINE_OFFSET_S, tasks.slo_class),
        estimated_time_s=estimated_time,
        estimated_read_mb=estimated_read,
        shard=shard,
        tenant=tenant,
        job=job.reshape(-1).astype(np.int32),
        slo_class=tasks.slo_class,
        shard_hot_set_mb=hot_set_mb,
        shard_replicas=replicas,
        shard_homes=homes,
        tenant_scheduler=assign_schedulers(
            np.bincount(tenant, minlength=workload.tenants), scenario.cluster.schedulers
        ),
        data_tag=data_tag,
        background_step=background_step,
        background_node=background_node,
        background_share=background_share,
        tenant_weight=weights,
        details={
            **details,
            "tasks": len(cores),
            "jobs": len(jobs),
            "window_tasks": offered_tasks,
            "task_rate_per_s": len(cores) / scenario.duration_s,
            "offered_load": loads,
        },
    )
    return episode if crowds is None else _in_order_of_arrival(episode)


def _in_order_of_arrival(episode: Episode) -> Episode:
    """The same episode with its tasks sorted by arrival; ties keep their order."""
    order = np.argsort(episode.arrival_s, kind="stable")
    columns: dict[str, Any] = {name: np.take(getattr(episode, name), order) for name in TASK_COLUMNS}
    return dataclasses.replace(episode, **columns)
