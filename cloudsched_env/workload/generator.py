"""A job stream without a trace: a Poisson cluster process of user sessions with the shape of a production trace.

This is the model of profile ``google2011``, and so of ``paper-v1`` and all that extends it; it stays as it is. Profiles
that ``cloudsched traces fit`` writes have the model of `stream`, to which `generate_window` hands them on.

Sessions of users arrive as a Poisson process whose rate is modulated by gamma factors at several time scales. A
session is a run of jobs with short gaps (a Bartlett-Lewis cluster), a job is a batch of tasks that arrive together: so
bursts exist at every scale from one instant to hours, as they do in traces. Users differ in how often they
come, how long their sessions are and what they run; a job either has a logical name of its own or repeats one of its
user, with the same requests. Requests, run times and batch sizes of a job are dependent through a Gaussian copula
with the trace's marginals, most of its variance common to a user's jobs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload import assumptions as a
from cloudsched_env.workload.profile import Profile
from cloudsched_env.workload.stream import draw_window
from cloudsched_env.workload.stream_profile import StreamProfile
from cloudsched_env.workload.window import WindowTasks

__all__ = ["draw_job_arrivals", "generate_window", "window_limits_s"]

# Sessions that began up to this long before the window still send jobs into it.
LEAD_S = 900.0
# The profile counts at most this many tasks of a job when it states tasks per session.
PROFILE_FAN_OUT_CAP = 16
_SCORES = 4  # cpu, memory, run time, tasks
# Most jobs drawn of sessions that began before the window: of either model about what takes two seconds. The nested
# clusters of a `StreamProfile` cost several times as much a job.
_MOST_LEAD_JOBS = 3_000_000
_MOST_NESTED_LEAD_JOBS = 500_000
# Most tasks drawn because the stream's own rate is high, or a window of it long; more only where more are wanted.
_MOST_TASKS = 3_000_000


def generate_window(
    profile: Profile | StreamProfile, length_s: float, least_tasks: float, fan_out_limit: int, rng: np.random.Generator
) -> WindowTasks:
    """Draw the tasks of one window.

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
    if isinstance(profile, StreamProfile):
        return draw_window(profile, length_s, least_tasks, fan_out_limit, rng)
    natural = profile.sessions_per_s * length_s * _tasks_per_session(profile, fan_out_limit)
    community = max(1.0, least_tasks / natural)
    populations = int(np.ceil(community))
    arrival, user = draw_job_arrivals(profile, length_s, community, rng)
    user = user + len(profile.user_share) * rng.integers(populations, size=len(user)) if populations > 1 else user
    return _draw_tasks(profile, arrival, user, populations, fan_out_limit, rng)


def window_limits_s(profile: Profile | StreamProfile, least_tasks: float, fan_out_limit: int) -> tuple[float, float]:
    """Shortest and longest window that is worth drawing, in trace seconds.

    All sessions of the time before the window that may still send jobs into it are drawn. The shorter the window that
    is to hold so many tasks, the higher the rate has to be, and with it the number of jobs that fall before the window.
    In a window that is too long the stream's own rate gives far more tasks than are wanted.

    Args:
        profile: what to draw from.
        least_tasks: tasks wanted in the window, in expectation.
        fan_out_limit: most tasks of a job.
    """
    if isinstance(profile, StreamProfile):
        tasks_per_job = profile.tasks_per_job(fan_out_limit)
        shortest_s = profile.lead_s * least_tasks / tasks_per_job / _MOST_NESTED_LEAD_JOBS
        return shortest_s, max(_MOST_TASKS, least_tasks) / (profile.jobs_per_s * tasks_per_job)
    tasks_per_session = _tasks_per_session(profile, fan_out_limit)
    lead_jobs = LEAD_S * float(profile.user_share @ profile.user_session_jobs) * least_tasks / tasks_per_session
    return lead_jobs / _MOST_LEAD_JOBS, max(_MOST_TASKS, least_tasks) / (profile.sessions_per_s * tasks_per_session)


def _tasks_per_session(profile: Profile, fan_out_limit: int) -> float:
    """Mean tasks of a session when each job counts at most ``fan_out_limit``, or about that."""
    return max(1.0, profile.capped_tasks_per_session * min(1.0, fan_out_limit / PROFILE_FAN_OUT_CAP))


def draw_job_arrivals(
    profile: Profile, length_s: float, community: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Draw arrival times of jobs in [0, length) and the users who send them.

    Args:
        profile: what to draw from.
        length_s: trace seconds.
        community: factor of the session rate.
        rng: source of randomness.

    Returns:
        Ascending arrival times ``[jobs]`` and users, an index into ``profile.user_share``, ``[jobs]``.
    """
    session_start = _draw_session_starts(profile, length_s, community, rng)
    session_user = np.searchsorted(np.cumsum(profile.user_share)[:-1], rng.random(len(session_start)), side="right")
    further = profile.user_session_jobs[session_user] - 1.0
    shape = profile.session_shape
    jobs = 1 + rng.poisson(further * rng.gamma(shape, 1.0 / shape, size=len(further)))
    session = np.repeat(np.arange(len(jobs)), jobs)
    share = profile.session_gap_share
    common, own = rng.standard_normal(len(jobs)), rng.standard_normal(len(session))
    gap = profile.session_gap_s.at(np.sqrt(share) * common[session] + np.sqrt(1.0 - share) * own)
    first = np.cumsum(jobs) - jobs
    elapsed = np.cumsum(gap)
    arrival = session_start[session] + elapsed - np.repeat(elapsed[first], jobs)
    user = session_user[session]
    inside = (arrival >= 0.0) & (arrival < length_s)
    arrival, user = arrival[inside], user[inside]
    order = np.argsort(arrival, kind="stable")
    return arrival[order], user[order]


def _draw_session_starts(
    profile: Profile, length_s: float, community: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Times in [-LEAD_S, length) of a Poisson process with gamma-modulated rate."""
    finest = min(bin_s for bin_s, _ in profile.modulation)
    edges = np.append(np.arange(-LEAD_S, length_s, finest), length_s)
    rate = np.full(len(edges) - 1, profile.sessions_per_s * community)
    for bin_s, squared_cv in profile.modulation:
        place = ((edges[:-1] + LEAD_S + bin_s * rng.random()) / bin_s).astype(np.int64)
        factors = rng.gamma(1.0 / squared_cv, squared_cv, size=int(place[-1]) + 1) if squared_cv > 0 else None
        if factors is not None:
            rate *= factors[place]
    counts = rng.poisson(rate * np.diff(edges))
    bins = np.repeat(np.arange(len(counts)), counts)
    return edges[bins] + rng.random(len(bins)) * np.diff(edges)[bins]


def _draw_tasks(
    profile: Profile,
    arrival: NDArray[np.float64],
    user: NDArray[np.intp],
    populations: int,
    fan_out_limit: int,
    rng: np.random.Generator,
) -> WindowTasks:
    """Give every job a logical name, requests, run time and tasks."""
    users, jobs = len(profile.user_share), len(arrival)
    recurring = users * populations * profile.recurring_names
    fresh = rng.random(jobs) < profile.fresh_name_probability
    name = user * profile.recurring_names + rng.integers(profile.recurring_names, size=jobs)
    name[fresh] = recurring + np.arange(np.count_nonzero(fresh))
    # What belongs to a name is drawn once a name that occurs, so that its jobs are alike.
    names, first, which = np.unique(name, return_index=True, return_inverse=True)
    owner = user[first]
    pick = rng.random(len(names))[:, None] > profile.user_strata[owner % users][:, :-1]
    stratum = pick.sum(axis=1)
    user_scores = rng.standard_normal((users * populations, _SCORES))
    name_scores = rng.standard_normal((len(names), _SCORES))
    requests = _requests(profile, stratum, user_scores[owner], name_scores)
    cpu, memory, duration, tasks = (column[which.reshape(-1)] for column in requests)

    sizes = np.minimum(np.maximum(np.rint(tasks), 1), fan_out_limit).astype(np.int64)
    job = np.repeat(np.arange(jobs), sizes)
    sigma = np.where(sizes > 1, profile.within_job_sigma.at(rng.standard_normal(jobs)), 0.0)
    spread = np.exp(sigma[job] * rng.standard_normal(len(job)))
    slo_class = np.array([s.slo_class for s in profile.strata], dtype=np.int32)[stratum][which.reshape(-1)]
    return WindowTasks(
        offset_s=arrival[job],
        user=user[job].astype(np.uint64),
        name=name[job].astype(np.uint64),
        job=job,
        slo_class=slo_class[job],
        cpu_request=cpu[job],
        memory_gb=np.maximum(memory[job], a.MINIMUM_MEMORY_REQUEST_GB),
        duration_s=np.maximum(duration[job] * spread, a.MINIMUM_DURATION_S),
    )


def _requests(
    profile: Profile,
    stratum: NDArray[np.intp],
    user_scores: NDArray[np.float64],
    name_scores: NDArray[np.float64],
) -> tuple[NDArray[np.float64], ...]:
    """CPU request, memory, run time and tasks of each name, by the copula of its stratum."""
    columns = tuple(np.empty(len(stratum)) for _ in range(_SCORES))
    for place, entry in enumerate(profile.strata):
        rows = np.flatnonzero(stratum == place)
        share = entry.user_share
        scores = (np.sqrt(share) * user_scores[rows] + np.sqrt(1.0 - share) * name_scores[rows]) @ entry.mixing.T
        marginals = (entry.cpu_request, entry.memory_gb, entry.duration_s, entry.tasks)
        for column, marginal, score in zip(columns, marginals, scores.T, strict=True):
            column[rows] = marginal.at(score)
    return columns
