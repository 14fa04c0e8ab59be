"""Fit a `StreamProfile` to the tasks of a trace: what `cloudsched traces fit` does.

Everything is a statistic of the tasks in one stretch of time: the index of dispersion at several scales, shares of
users, frequencies of request pairs, quantiles. No row of the trace is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload import assumptions as a
from cloudsched_env.workload.burstiness import DISPERSION_SCALES_S, dispersion_within_blocks, index_of_dispersion
from cloudsched_env.workload.clusters import (
    FIT_SCALES_S,
    SECONDS_SPAN_S,
    SPANS_S,
    ClusterLevel,
    expected_dispersion,
    fit_levels,
    slow_dispersion,
)
from cloudsched_env.workload.gaps import match_gaps
from cloudsched_env.workload.index import TraceIndex
from cloudsched_env.workload.kinds import cluster_jobs
from cloudsched_env.workload.marginal import continuous_marginal, discrete_marginal
from cloudsched_env.workload.normal import normal_scores
from cloudsched_env.workload.repetition import fit_names
from cloudsched_env.workload.rounds import fit_rounds
from cloudsched_env.workload.stream_profile import MODEL
from cloudsched_env.workload.tasks import RawTasks

__all__ = ["FAN_OUT_CAP", "FitConfig", "JobTable", "fit_profile", "hour_factors", "job_table"]

FAN_OUT_CAP = 16
"""Tasks of a job that count in fits and comparisons: what episodes keep (`WorkloadConfig.fan_out_cap`)."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
OnStage = Callable[[str], None]

_DAY_S, _HOUR_S = 86_400.0, 3600.0
_LEAST_GAPS = 20  # that tell something
_ROUNDS = 8  # of the fixed point between clusters and the slow factor
_RECURRING_JOBS = 1.5  # of a user in the mean; with fewer, users tell nothing
_LEAST_TASKS = 3  # that have a request pair which a profile shows, each job counted up to the fan-out cap


@dataclass(frozen=True)
class FitConfig:
    """How fine a profile is.

    Attributes:
        kinds: about how many kinds of jobs.
        most_pairs: (CPU, memory) request pairs that a kind keeps.
        most_users: users that are kept apart; the rest is folded into `folded_users` of their mean.
        folded_users: see there.
        block_s: bursts are measured within blocks of this length, about an episode's window.
        clock_hour: hour of the day at the start of what is fitted.
        machine_memory_gb: memory of the largest machine.
        instant_s: jobs of one instant are closer than this; a second for a trace whose clock ticks in seconds.
        seed: of k-means and of tie-breaking.
    """

    kinds: int = 48
    most_pairs: int = 120
    most_users: int = 480
    folded_users: int = 32
    block_s: float = 3600.0
    clock_hour: float = 0.0
    machine_memory_gb: float = 32.0
    instant_s: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class JobTable:
    """Jobs that arrive in a stretch of a trace, in order of arrival, and their tasks; gaps filled as for episodes.

    Attributes:
        arrival_s: since the start of the stretch, ``[jobs]``.
        user: dense number of the user, ``[jobs]``.
        name: dense number of the logical name, ``[jobs]``.
        slo_class: ``[jobs]``.
        cpu_request: fraction of the largest machine, ``[jobs]``.
        memory_gb: ``[jobs]``.
        median_duration_s: of the tasks of the job, ``[jobs]``.
        tasks: all that arrive in the stretch, ``[jobs]``.
        task_job: job of each task, the first `FAN_OUT_CAP` tasks of each, ``[tasks]``.
        task_duration_s: run time of each, ``[tasks]``.
        priority: ``[jobs]``; 0 where not known.
        scheduling_class: ``[jobs]``; -1 where not known.
        length_s: length of the stretch.
        machine_cores: cores of the trace that a request of 1.0 is (`traces.request_unit`).
    """

    arrival_s: Floats
    user: Integers
    name: Integers
    slo_class: NDArray[np.int32]
    cpu_request: Floats
    memory_gb: Floats
    median_duration_s: Floats
    tasks: Integers
    task_job: Integers
    task_duration_s: Floats
    priority: Integers
    scheduling_class: Integers
    length_s: float
    machine_cores: float


def job_table(
    tasks: RawTasks,
    span_s: tuple[float, float],
    priority: NDArray[Any] | None = None,
    scheduling_class: NDArray[Any] | None = None,
) -> JobTable:
    """The jobs of a stretch of a trace.

    Args:
        tasks: the trace.
        span_s: the stretch, [start, end) on the trace's clock.
        priority: of each task of the trace, in its order.
        scheduling_class: likewise.

    Raises:
        ValueError: if no task arrives in the stretch.
    """
    start, end = span_s
    index = TraceIndex(tasks, len(tasks))
    window = index.cut(start, end - start)
    if len(window.job) == 0:
        raise ValueError(f"no task arrives between {start:g} s and {end:g} s: choose another part of the trace")
    begin = int(np.searchsorted(tasks.arrival_s, start))
    rows = slice(begin, begin + len(window.job))
    _, first, inverse, count = np.unique(window.job, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(window.offset_s[first], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    job, first, count = place[inverse.reshape(-1)], first[order], count[order]
    by_job = np.lexsort((window.duration_s, job))
    ends = np.cumsum(count)
    middle = window.duration_s[by_job[ends - count + count // 2]]
    in_order = np.argsort(job, kind="stable")
    number = np.arange(len(job)) - np.repeat(ends - count, count)
    kept = in_order[number < FAN_OUT_CAP]
    return JobTable(
        arrival_s=window.offset_s[first],
        user=np.unique(window.user[first], return_inverse=True)[1].reshape(-1),
        name=np.unique(window.name[first], return_inverse=True)[1].reshape(-1),
        slo_class=window.slo_class[first],
        cpu_request=window.cpu_request[first],
        memory_gb=window.memory_gb[first],
        median_duration_s=middle,
        tasks=count,
        task_job=job[kept],
        task_duration_s=window.duration_s[kept],
        priority=_of_jobs(priority, rows, first, 0),
        scheduling_class=_of_jobs(scheduling_class, rows, first, -1),
        length_s=end - start,
        machine_cores=tasks.cores_of_largest_machine,
    )


def _of_jobs(column: NDArray[Any] | None, rows: slice, first: Integers, missing: int) -> Integers:
    return np.full(len(first), missing) if column is None else column[rows][first].astype(np.int64)


def fit_profile(
    jobs: JobTable,
    name: str,
    provenance: dict[str, Any],
    config: FitConfig | None = None,
    on_stage: OnStage | None = None,
) -> dict[str, Any]:
    """The profile of a stretch of a trace, as JSON types; `StreamProfile.from_dict` takes it.

    Args:
        jobs: the stretch.
        name: name of the profile.
        provenance: source, licence and what else people must know; what was fitted is added.
        config: how fine.
        on_stage: called with the name of each stage before it starts.
    """
    config = config or FitConfig()
    stage = on_stage or (lambda _: None)
    stage("bursts")
    arrivals = _fit_arrivals(jobs, config)
    stage("kinds of jobs")
    kind = _kinds_of(jobs, config)
    kinds = [_fit_kind(jobs, np.flatnonzero(kind == k), config) for k in range(int(kind.max()) + 1)]
    stage("users")
    user, folded = _fold_users(jobs.user, config)
    alone = np.bincount(user, _alone(jobs)[jobs.user], minlength=folded)
    mix = np.zeros((folded, len(kinds)))
    np.add.at(mix, (user, kind), 1.0)
    share = mix.sum(axis=1)
    order = np.argsort(-share, kind="stable")
    stage("repetition of names")
    names = fit_names(jobs.arrival_s, jobs.user, kind, jobs.name, min(config.block_s, jobs.length_s), jobs.length_s)
    return {
        "model": MODEL,
        "name": name,
        "provenance": {
            **provenance,
            "fitted_jobs": len(jobs.arrival_s),
            "fitted_tasks": int(jobs.tasks.sum()),
            "fitted_hours": round(jobs.length_s / _HOUR_S, 3),
        },
        "machine": {"cores": jobs.machine_cores, "memory_gb": config.machine_memory_gb},
        "arrivals": arrivals,
        "users": {
            "share": np.round(share[order] / share.sum(), 7).tolist(),
            "alone": np.round(alone[order] / share[order], 4).tolist(),
            "kinds": [
                [[int(k), round(float(row[k] / row.sum()), 4)] for k in np.flatnonzero(row)] for row in mix[order]
            ],
        },
        "kind_persistence": _persistence(jobs, kind, mix[user] / share[user][:, None]),
        "names": names,
        "kinds": kinds,
    }


def _fit_arrivals(jobs: JobTable, config: FitConfig) -> dict[str, Any]:
    """Rate, clusters, slow factor and shape of the day."""
    rate = len(jobs.arrival_s) / jobs.length_s
    block = min(config.block_s, jobs.length_s)
    measured = {s: dispersion_within_blocks(jobs.arrival_s, jobs.length_s, s, block) for s in FIT_SCALES_S}
    within = list(measured.values())
    spans = (_instant_span_s(jobs.arrival_s, config.instant_s, within[0]), *SPANS_S[1:])
    factors = hour_factors(jobs.arrival_s, jobs.length_s, config.clock_hour)
    alone = float(_alone(jobs)[jobs.user].mean())
    clustered = max(1.0 - alone, 1e-3)
    slow, rest = 0.0, within

    def fitted(known_pairs: Sequence[float] = ()) -> tuple[ClusterLevel, ...]:
        return fit_levels(rest, FIT_SCALES_S, block, clustered, spans, known_pairs)

    if jobs.length_s >= 4 * _HOUR_S:
        hourly = index_of_dispersion(jobs.arrival_s, jobs.length_s, _HOUR_S)
        for _ in range(_ROUNDS):
            # What clusters and the hour of the day leave of the variance of hourly counts is the slow factor's, and
            # what that leaves within blocks is the clusters'.
            left = hourly - expected_dispersion(fitted(), [_HOUR_S], clustered)[0]
            left -= rate * _HOUR_S * float(np.var(factors)) if factors else 0.0
            slow = max(0.0, left / rate / slow_dispersion(_HOUR_S, _HOUR_S))
            rest = [
                d - rate * slow * slow_dispersion(s, _HOUR_S, block) for s, d in zip(FIT_SCALES_S, within, strict=True)
            ]
    rounds = fit_rounds(jobs.arrival_s, config.instant_s)
    levels = match_gaps(jobs.arrival_s, jobs.length_s, fitted, alone, rounds, config.instant_s, config.seed)
    return {
        "jobs_per_s": float(f"{rate:.6g}"),
        "levels": [
            {
                "span_s": level.span_s,
                "mean_children": round(level.mean_children, 4),
                **({"single": round(level.single, 4)} if level.single > 0 else {}),
            }
            for level in levels
        ],
        "rounds": rounds,
        "other_user_probability": _other_user(jobs, within[0], block),
        "slow_factor": {"bin_s": _HOUR_S, "squared_cv": round(float(slow), 5)},
        "hour_factors": factors,
        "measured_dispersion": {f"{s:g} s": round(measured[s], 3) for s in DISPERSION_SCALES_S},
    }


def _instant_span_s(arrival_s: Floats, instant_s: float, dispersion: float) -> float:
    """Span of the finest clusters, from the median time between jobs of one instant.

    Neighbours among n uniform times in a span of 1 are 1 - 2^(-1/n) apart in the median. A job meets as many others of
    its second as the index of dispersion is above 1.
    """
    gap = np.diff(arrival_s)
    gap = gap[gap < instant_s]
    if len(gap) < _LEAST_GAPS:
        return SPANS_S[0]
    together = max(2.0, dispersion) if np.isfinite(dispersion) else 2.0
    return float(np.clip(float(f"{np.median(gap) / (1.0 - 0.5 ** (1.0 / together)):.3g}"), 1e-3, instant_s))


def _alone(jobs: JobTable) -> Floats:
    """Part of each user's jobs that has no other job of the user within the span of a visit, ``[users]``.

    Where users do not recur, which is how a trace without users comes, all jobs count as one user's: bursts are there
    all the same.
    """
    count = np.bincount(jobs.user)
    recur = len(jobs.user) >= _RECURRING_JOBS * len(count)
    user = jobs.user if recur else np.zeros_like(jobs.user)
    order = np.lexsort((jobs.arrival_s, user))
    apart = np.diff(jobs.arrival_s[order]) > SPANS_S[-1]
    apart = np.concatenate(([True], apart | (np.diff(user[order]) != 0), [True]))
    lonely = apart[1:] & apart[:-1]
    if not recur:
        return np.full(len(count), float(lonely.mean()))
    return np.bincount(user[order], lonely) / count


def hour_factors(arrival_s: Floats, length_s: float, clock_hour: float) -> list[float] | None:
    """Rate of each hour of the day relative to the mean; None for less than a day.

    Args:
        arrival_s: times in [0, length), ``[jobs]``.
        length_s: how long was observed; only whole days count.
        clock_hour: hour of the day at time 0.
    """
    days = int(length_s / _DAY_S + 1e-9)
    if days < 1:
        return None
    counted = arrival_s[arrival_s < days * _DAY_S]
    hour = np.floor(counted / _HOUR_S + clock_hour).astype(np.int64) % 24
    counts = np.bincount(hour, minlength=24)
    return np.round(counts / counts.mean(), 4).tolist()


def _other_user(jobs: JobTable, dispersion: float, block_s: float) -> float:
    """Part of the clusters of one second that is between different users."""
    scale = DISPERSION_SCALES_S[0]
    excess = dispersion - 1.0
    if not excess > 0:
        return 0.0
    order = np.argsort(jobs.user, kind="stable")
    parts = np.split(jobs.arrival_s[order], np.flatnonzero(np.diff(jobs.user[order])) + 1)
    each = np.array([dispersion_within_blocks(p, jobs.length_s, scale, block_s) - 1.0 for p in parts])
    # NaN: a user whose few jobs all lie after the last whole block.
    own = float(np.nansum(each * [len(p) for p in parts]))
    return round(float(np.clip(1.0 - own / len(jobs.arrival_s) / excess, 0.0, 0.95)), 3)


def _kinds_of(jobs: JobTable, config: FitConfig) -> Integers:
    """Clusters within SLO classes, and within jobs of one and of several tasks."""
    columns = (jobs.cpu_request, jobs.memory_gb, jobs.median_duration_s, jobs.tasks.astype(np.float64))
    features = np.log(np.maximum(np.stack(columns, axis=1), 1e-6))
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    stratum = 2 * jobs.slo_class.astype(np.int64) + (jobs.tasks > 1)
    return cluster_jobs(stratum, features, config.kinds, np.random.default_rng(config.seed))


def _fit_kind(jobs: JobTable, rows: Integers, config: FitConfig) -> dict[str, Any]:
    """One kind. Requests and run times are weighted by tasks, as episodes are made of tasks."""
    member = np.zeros(len(jobs.arrival_s), dtype=np.bool_)
    member[rows] = True
    task = np.flatnonzero(member[jobs.task_job])
    weight = np.minimum(jobs.tasks[rows], FAN_OUT_CAP).astype(np.float64)
    pairs, mass = _request_pairs(jobs.cpu_request[rows], jobs.memory_gb[rows], weight, config.most_pairs)
    levels, level = np.unique(np.stack((jobs.priority[rows], jobs.scheduling_class[rows])), axis=1, return_inverse=True)
    rng = np.random.default_rng(config.seed)
    score = normal_scores(jobs.task_duration_s[task], rng)
    of_job = common_share(score, jobs.task_job[task])
    of_name = _share_of_name(jobs, rows, rng)
    return {
        "slo_class": int(jobs.slo_class[rows[0]]),
        "jobs": len(rows),
        "requests": {"cpu": pairs[0].tolist(), "memory_gb": pairs[1].tolist(), "weight": mass.tolist()},
        "tasks": discrete_marginal(jobs.tasks[rows].astype(np.float64), most=config.most_pairs),
        "duration_s": continuous_marginal(jobs.task_duration_s[task], floor=a.MINIMUM_DURATION_S),
        "name_share": round(of_job * of_name, 3),
        "job_share": round(of_job * (1.0 - of_name), 3),
        "priorities": {
            "priority": levels[0].tolist(),
            "scheduling_class": levels[1].tolist(),
            "weight": np.bincount(level.reshape(-1), weight).astype(np.int64).tolist(),
        },
        "scan_mb": None,
    }


def _request_pairs(cpu: Floats, memory: Floats, weight: Floats, most: int) -> tuple[Floats, Floats]:
    """The commonest (CPU, memory) pairs, ``[2, pairs]``, with their weights; rarer ones go to the nearest."""
    # Not rounded: a request is a value that many tasks share, and must come out as that very value.
    found = np.stack((cpu, np.maximum(memory, a.MINIMUM_MEMORY_REQUEST_GB)))
    pairs, which = np.unique(found, axis=1, return_inverse=True)
    which = which.reshape(-1)
    mass = np.bincount(which, weight).astype(np.float64)
    # A pair of one or two tasks is rather a row than a statistic: it goes to the nearest pair that more have.
    shown = np.where(mass >= _LEAST_TASKS, mass, 0.0)
    best = np.argsort(-(shown if shown.any() else mass), kind="stable")
    kept = np.sort(best[: min(most, max(1, np.count_nonzero(shown)))])
    place = np.log(np.maximum(pairs, 1e-6))
    nearest = ((place[:, :, None] - place[:, None, kept]) ** 2).sum(axis=0).argmin(axis=1)
    return pairs[:, kept], np.bincount(nearest, mass, minlength=len(kept)).astype(np.float64)


def common_share(score: Floats, group: Integers) -> float:
    """Part of the variance of scores that members of a group have in common (one-way analysis of variance)."""
    group = np.unique(group, return_inverse=True)[1].reshape(-1)
    count = np.bincount(group)
    within = score - (np.bincount(group, score) / count)[group]
    free = len(score) - len(count)
    total = float(score.var())
    if free == 0 or total == 0.0:
        return 1.0  # groups of one: what is common and what is not cannot be told apart
    return float(np.clip(1.0 - float(within @ within) / free / total, 0.0, 1.0))


def _share_of_name(jobs: JobTable, rows: Integers, rng: np.random.Generator) -> float:
    """Part of the variance of jobs' run times that jobs of a logical name have in common."""
    score = normal_scores(jobs.median_duration_s[rows], rng)
    name = np.unique(jobs.name[rows], return_inverse=True)[1].reshape(-1)
    recurs = np.bincount(name)[name] > 1
    if np.count_nonzero(recurs) < 3:
        return 0.0
    share = common_share(score[recurs], name[recurs])
    return share if len(np.unique(name[recurs])) > 1 else 0.0


def _fold_users(user: Integers, config: FitConfig) -> tuple[Integers, int]:
    """Dense users, the rare ones beyond `FitConfig.most_users` folded together."""
    count = np.bincount(user)
    rank = np.empty(len(count), dtype=np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(len(count))
    rare = rank >= config.most_users
    rank[rare] = config.most_users + (rank[rare] - config.most_users) % config.folded_users
    return rank[user], int(rank.max()) + 1


def _persistence(jobs: JobTable, kind: Integers, own_mix: Floats) -> float:
    """Chance that a job takes the kind of its neighbours in time, from pairs of a user's successive jobs.

    Two neighbours are alike with p^2 + (1 - p^2) b, where b is the chance that two jobs of the user are alike anyway.
    """
    order = np.lexsort((jobs.arrival_s, jobs.user))
    near = (np.diff(jobs.user[order]) == 0) & (np.diff(jobs.arrival_s[order]) < SECONDS_SPAN_S)
    if not near.any():
        return 0.0
    alike = float((np.diff(kind[order]) == 0)[near].mean())
    chance = float((own_mix[order[1:][near]] ** 2).sum(axis=1).mean())
    return round(float(np.sqrt(np.clip((alike - chance) / max(1.0 - chance, 1e-9), 0.0, 1.0))), 3)
