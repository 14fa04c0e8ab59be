"""Draw the jobs and tasks of a `StreamProfile`: a window for an episode, or hours of a trace.

Visits of users are a Poisson process whose rate follows the hour of the day and a slow random factor; each visit is a
nest of clusters (`clusters`). Jobs are recorded at once, or at the next round (`rounds`). Every job has a kind of its
user's, or that of the jobs seconds before, a logical name that recurs or does not, and all else of its kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload import assumptions as a
from cloudsched_env.workload.clusters import SECONDS_SPAN_S, draw_clusters
from cloudsched_env.workload.stream_profile import StreamProfile
from cloudsched_env.workload.window import WindowTasks

__all__ = ["JobArrivals", "StreamTasks", "draw_arrivals", "draw_tasks", "draw_window"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_HOUR_S = 3600.0


@dataclass(frozen=True)
class JobArrivals:
    """Jobs in order of arrival, ``[jobs]`` each.

    Attributes:
        arrival_s: since the start of the window.
        user: who sends it, an index into ``user_share`` (of one of several populations of users).
        kind: an index into ``kinds``.
        populations: how many populations of users there are.
    """

    arrival_s: Floats
    user: Integers
    kind: Integers
    populations: int


@dataclass(frozen=True)
class StreamTasks:
    """Tasks in order of arrival, ``[tasks]`` each.

    Attributes:
        arrival_s: since the start of the stream.
        user: index of the user.
        name: index of the logical name.
        job: index of the job, ascending with its arrival.
        task_index: number within the job.
        slo_class: 0 latency-critical, 1 normal, 2 batch.
        priority: as published.
        scheduling_class: as published, -1 if there is none.
        cpu_request: fraction of the largest machine.
        memory_gb: requested memory.
        duration_s: run time.
        scan_mb: bytes read, NaN where the trace does not tell.
    """

    arrival_s: Floats
    user: Integers
    name: Integers
    job: Integers
    task_index: Integers
    slo_class: NDArray[np.int32]
    priority: Integers
    scheduling_class: Integers
    cpu_request: Floats
    memory_gb: Floats
    duration_s: Floats
    scan_mb: Floats

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self.arrival_s)


def draw_arrivals(
    profile: StreamProfile, length_s: float, rng: np.random.Generator, community: float = 1.0, start_hour: float = 0.0
) -> JobArrivals:
    """Draw when jobs arrive in [0, length), from whom, and of which kind.

    Args:
        profile: what to draw from.
        length_s: trace seconds.
        rng: source of randomness.
        community: factor of the rate; above 1 the visits come from several populations of users.
        start_hour: hour of the day at which the stream begins.
    """
    start_s = _visit_starts(profile, length_s, community, start_hour, rng)
    alone = rng.random(len(start_s)) < profile.alone / (profile.alone + (1.0 - profile.alone) / profile.cluster_jobs)
    visit_user = np.empty(len(start_s), dtype=np.int64)
    for kind_of_visit, share in ((alone, profile.user_alone), (~alone, 1.0 - profile.user_alone)):
        cumulative = np.cumsum(profile.user_share * share)
        drawn = rng.random(int(kind_of_visit.sum())) * cumulative[-1]
        visit_user[kind_of_visit] = np.minimum(
            np.searchsorted(cumulative, drawn, side="right"), len(profile.user_share) - 1
        )
    populations = math.ceil(community)
    visit_user += len(profile.user_share) * rng.integers(populations, size=len(start_s))
    clusters = np.flatnonzero(~alone)
    time, owners = draw_clusters(profile.levels, start_s[clusters], rng)
    user = visit_user[clusters][owners[0]]
    instant, seconds = owners[-1], owners[-max(1, sum(level.span_s <= SECONDS_SPAN_S for level in profile.levels))]
    # The first job of an instant is the visitor's; others of the same instant may be somebody else's.
    strange = rng.random(len(time)) < profile.other_user_probability
    strange[_first_of(instant)] = False
    user[strange] = visit_user[rng.integers(len(visit_user), size=int(strange.sum()))]
    kind = _kinds(profile, user, rng)
    leader = _first_of(seconds)[seconds]
    same = (rng.random(len(time)) < profile.kind_persistence) & (user == user[leader])
    kind = np.where(same, kind[leader], kind)
    single = np.flatnonzero(alone)
    time, user = np.concatenate((time, start_s[single])), np.concatenate((user, visit_user[single]))
    kind = np.concatenate((kind, _kinds(profile, visit_user[single], rng)))
    order = np.argsort(time, kind="stable")
    if profile.rounds is not None:
        time[order] = profile.rounds.record(time[order], rng)
        order = np.argsort(time, kind="stable")
    inside = order[np.searchsorted(time[order], 0.0) : np.searchsorted(time[order], length_s)]
    return JobArrivals(time[inside], user[inside], kind[inside], populations)


def _visit_starts(
    profile: StreamProfile, length_s: float, community: float, start_hour: float, rng: np.random.Generator
) -> Floats:
    """Times in [-lead, length) of a Poisson process with the profile's rate."""
    lead, bin_s = profile.lead_s, profile.slow_bin_s
    first_hour = start_hour * _HOUR_S
    edges = np.array([-lead, length_s])
    phase = bin_s * float(rng.random())
    if profile.slow_squared_cv > 0:
        edges = np.concatenate((edges, np.arange(-lead + phase, length_s, bin_s)))
    if profile.hour_factors is not None:
        whole = np.arange(np.ceil((first_hour - lead) / _HOUR_S), np.ceil((first_hour + length_s) / _HOUR_S))
        edges = np.concatenate((edges, whole * _HOUR_S - first_hour))
    edges = np.unique(edges)
    visits_per_job = profile.alone + (1.0 - profile.alone) / profile.cluster_jobs
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    rate = np.full(len(width), profile.jobs_per_s * community * visits_per_job)
    if profile.slow_squared_cv > 0:
        place = np.floor((middle + lead - phase) / bin_s).astype(np.int64) + 1
        shape = 1.0 / profile.slow_squared_cv
        rate *= rng.gamma(shape, 1.0 / shape, size=int(place[-1]) + 1)[place]
    if profile.hour_factors is not None:
        rate *= profile.hour_factors[np.floor((first_hour + middle) / _HOUR_S).astype(np.int64) % 24]
    counts = rng.poisson(rate * width)
    bins = np.repeat(np.arange(len(counts)), counts)
    return edges[bins] + rng.random(len(bins)) * width[bins]


def _first_of(cluster: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first member of each cluster, where clusters are numbered from 0 and ascend."""
    return np.flatnonzero(np.diff(cluster, prepend=-1))


def _kinds(profile: StreamProfile, user: Integers, rng: np.random.Generator) -> Integers:
    """A kind of its user for each job."""
    own = profile.user_kinds[user % len(profile.user_share)][:, :-1]
    return (rng.random(len(user))[:, None] > own).sum(axis=1)


def draw_tasks(
    profile: StreamProfile, jobs: JobArrivals, rng: np.random.Generator, fan_out_limit: int | None = None
) -> StreamTasks:
    """Give jobs logical names, requests, run times and tasks.

    Args:
        profile: what to draw from.
        jobs: the jobs.
        rng: source of randomness.
        fan_out_limit: most tasks of a job; all by default.
    """
    count = len(jobs.arrival_s)
    fresh = rng.random(count) < profile.fresh_name_probability
    name = (jobs.user * len(profile.kinds) + jobs.kind) * profile.recurring_names
    name = name + rng.integers(profile.recurring_names, size=count)
    users = len(profile.user_share) * jobs.populations
    name[fresh] = users * len(profile.kinds) * profile.recurring_names + np.arange(int(fresh.sum()))
    # What belongs to a name is drawn once a name that occurs, so that its jobs are alike.
    names, leader, which = np.unique(name, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    kind_of_name, tables = jobs.kind[leader], profile.tables
    uniform, score = rng.random((2, len(names))), rng.standard_normal((2, len(names)))
    pair = tables.pair(kind_of_name, uniform[0])[which]
    level = tables.priorities(kind_of_name, uniform[1])[which]
    tasks = tables.tasks(kind_of_name, score[0])
    sizes = np.maximum(np.rint(tasks), 1.0).astype(np.int64)
    sizes = (sizes if fan_out_limit is None else np.minimum(sizes, fan_out_limit))[which]

    job = np.repeat(np.arange(count), sizes)
    first = np.cumsum(sizes) - sizes
    own, single = rng.standard_normal(count), rng.standard_normal(len(job))
    of_name, of_job = tables.name_share[jobs.kind], tables.job_share[jobs.kind]
    common = np.sqrt(of_name) * score[1, which] + np.sqrt(of_job) * own
    z = common[job] + np.sqrt(np.maximum(1.0 - of_name - of_job, 0.0))[job] * single
    kind = jobs.kind[job]
    scan = tables.scan_mb(kind, rng.standard_normal(len(job)))
    return StreamTasks(
        arrival_s=jobs.arrival_s[job],
        user=jobs.user[job],
        name=name[job],
        job=job,
        task_index=np.arange(len(job)) - first[job],
        slo_class=tables.slo_class[kind],
        priority=tables.priority[level][job],
        scheduling_class=tables.scheduling_class[level][job],
        cpu_request=tables.cpu_request[pair][job],
        memory_gb=np.maximum(tables.memory_gb[pair][job], a.MINIMUM_MEMORY_REQUEST_GB),
        duration_s=np.maximum(tables.duration_s(kind, z), a.MINIMUM_DURATION_S),
        scan_mb=np.full(len(job), np.nan) if scan is None else scan,
    )


def draw_window(
    profile: StreamProfile, length_s: float, least_tasks: float, fan_out_limit: int, rng: np.random.Generator
) -> WindowTasks:
    """Draw the tasks of one window, at a random hour of the day.

    The stream has the profile's own rate, or, where that would give fewer than ``least_tasks`` tasks, that of a
    proportionally larger community of users.

    Args:
        profile: what to draw from.
        length_s: trace seconds.
        least_tasks: tasks wanted in the window, in expectation.
        fan_out_limit: most tasks of a job.
        rng: source of randomness.

    Returns:
        Tasks in order of arrival.
    """
    natural = profile.jobs_per_s * length_s * profile.tasks_per_job(fan_out_limit)
    jobs = draw_arrivals(profile, length_s, rng, max(1.0, least_tasks / natural), 24.0 * float(rng.random()))
    tasks = draw_tasks(profile, jobs, rng, fan_out_limit)
    return WindowTasks(
        offset_s=tasks.arrival_s,
        user=tasks.user.astype(np.uint64),
        name=tasks.name.astype(np.uint64),
        job=tasks.job,
        slo_class=tasks.slo_class,
        cpu_request=tasks.cpu_request,
        memory_gb=tasks.memory_gb,
        duration_s=tasks.duration_s,
    )
