"""The numbers behind a generated stream of any trace: nested clusters of jobs, kinds of jobs, users and names.

A *kind* is a group of jobs alike in SLO class, requests, run time and number of tasks. It keeps its requests as pairs
of the trace's own discrete values with their frequencies, and quantiles of the rest; users differ in which kinds they
send. `docs/workload.md` has the model, `fit` computes one from a trace, `stream` draws from it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.clusters import ClusterLevel
from cloudsched_env.workload.marginal import Marginal
from cloudsched_env.workload.rounds import Rounds

__all__ = ["MODEL", "JobKind", "KindTables", "StreamProfile"]

_APART = 64.0  # more than the range of normal scores: keeps the scores of kinds apart in one ascending array

MODEL = "nested clusters"
"""What profiles of this module have as ``"model"`` in their JSON."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JobKind:
    """Jobs that are alike.

    Attributes:
        slo_class: 0 latency-critical, 1 normal, 2 batch.
        cpu_request: request of each pair, as a fraction of the largest machine, ``[pairs]``.
        memory_gb: memory request of each pair, ``[pairs]``.
        pair_cumulative: cumulative probabilities of the pairs, ``[pairs]``.
        tasks: number of tasks of a job.
        duration_s: run time of a task.
        name_share: part of the variance of a run time's normal score that all jobs of a logical name have in common.
        job_share: part that the tasks of a job have in common beyond that.
        priority: published priority, ``[priorities]``.
        scheduling_class: published scheduling class that goes with it, -1 if there is none, ``[priorities]``.
        priority_cumulative: cumulative probabilities of these, ``[priorities]``.
        scan_mb: bytes that a task reads, where the trace tells; else None.
    """

    slo_class: int
    cpu_request: Floats
    memory_gb: Floats
    pair_cumulative: Floats
    tasks: Marginal
    duration_s: Marginal
    name_share: float
    job_share: float
    priority: NDArray[np.int64]
    scheduling_class: NDArray[np.int64]
    priority_cumulative: Floats
    scan_mb: Marginal | None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> JobKind:
        """From a profile's JSON."""
        requests, priorities = data["requests"], data["priorities"]
        return cls(
            slo_class=int(data["slo_class"]),
            cpu_request=np.array(requests["cpu"], dtype=np.float64),
            memory_gb=np.array(requests["memory_gb"], dtype=np.float64),
            pair_cumulative=_cumulative(requests["weight"]),
            tasks=Marginal.from_dict(data["tasks"]),
            duration_s=Marginal.from_dict(data["duration_s"]),
            name_share=float(data["name_share"]),
            job_share=float(data["job_share"]),
            priority=np.array(priorities["priority"], dtype=np.int64),
            scheduling_class=np.array(priorities["scheduling_class"], dtype=np.int64),
            priority_cumulative=_cumulative(priorities["weight"]),
            scan_mb=Marginal.from_dict(data["scan_mb"]) if data.get("scan_mb") else None,
        )


class KindTables:
    """All kinds in flat, ascending arrays, so that one search serves jobs of all kinds.

    Args:
        kinds: the kinds.
    """

    def __init__(self, kinds: tuple[JobKind, ...]) -> None:
        self.cpu_request = np.concatenate([kind.cpu_request for kind in kinds])
        self.memory_gb = np.concatenate([kind.memory_gb for kind in kinds])
        self.priority = np.concatenate([kind.priority for kind in kinds])
        self.scheduling_class = np.concatenate([kind.scheduling_class for kind in kinds])
        self._pairs = np.concatenate([kind.pair_cumulative + k for k, kind in enumerate(kinds)])
        self._priorities = np.concatenate([kind.priority_cumulative + k for k, kind in enumerate(kinds)])
        self.slo_class = np.array([kind.slo_class for kind in kinds], dtype=np.int32)
        self.name_share = np.array([kind.name_share for kind in kinds])
        self.job_share = np.array([kind.job_share for kind in kinds])
        self._tasks = _MarginalTable([kind.tasks for kind in kinds])
        self._duration = _MarginalTable([kind.duration_s for kind in kinds])
        scans = [kind.scan_mb for kind in kinds if kind.scan_mb is not None]
        self._scan = _MarginalTable(scans) if len(scans) == len(kinds) else None

    def pair(self, kind: NDArray[np.int64], uniform: Floats) -> NDArray[np.intp]:
        """Index into ``cpu_request`` and ``memory_gb`` for uniform numbers, ``[jobs]``."""
        return np.searchsorted(self._pairs, kind + uniform, side="right")

    def priorities(self, kind: NDArray[np.int64], uniform: Floats) -> NDArray[np.intp]:
        """Index into ``priority`` and ``scheduling_class`` for uniform numbers, ``[jobs]``."""
        return np.searchsorted(self._priorities, kind + uniform, side="right")

    def tasks(self, kind: NDArray[np.int64], score: Floats) -> Floats:
        """Tasks of jobs for normal scores, ``[jobs]``."""
        return self._tasks.at(kind, score)

    def duration_s(self, kind: NDArray[np.int64], score: Floats) -> Floats:
        """Run times for normal scores, ``[tasks]``."""
        return self._duration.at(kind, score)

    def scan_mb(self, kind: NDArray[np.int64], score: Floats) -> Floats | None:
        """Bytes read for normal scores, ``[tasks]``; None where the trace does not tell."""
        return None if self._scan is None else self._scan.at(kind, score)


class _MarginalTable:
    """Marginals of one quantity side by side; all are discrete or all continuous."""

    def __init__(self, marginals: list[Marginal]) -> None:
        self._discrete = marginals[0].discrete
        if any(marginal.discrete is not self._discrete for marginal in marginals):
            raise ValueError("the marginals of one quantity have to be all discrete or all continuous, in all kinds")
        shift = _APART * np.arange(len(marginals))
        self._scores = np.concatenate([m.scores + s for m, s in zip(marginals, shift, strict=True)])
        self._values = np.concatenate([m.values for m in marginals])
        if not self._discrete:
            self._values = np.log(self._values)
            self._low = np.array([m.scores[0] for m in marginals])
            self._high = np.array([m.scores[-1] for m in marginals])

    def at(self, kind: NDArray[np.int64], score: Floats) -> Floats:
        """Values at normal scores, same shape."""
        if self._discrete:
            # Kind k has one score less than values: k values more come before those of kind k than scores do.
            return self._values[np.searchsorted(self._scores, _APART * kind + score) + kind]
        inside = np.clip(score, self._low[kind], self._high[kind])
        return np.exp(np.interp(_APART * kind + inside, self._scores, self._values))


@dataclass(frozen=True)
class StreamProfile:
    """A calibrated description of a stream of jobs.

    Attributes:
        name: name of the profile.
        machine_cores: cores that a request of 1.0 is in the traced cluster (`traces.request_unit`).
        machine_memory_gb: memory that stands for all of a machine there.
        jobs_per_s: mean rate of jobs, trace time.
        levels: nested clusters, from the finest to the coarsest.
        rounds: at which jobs are recorded; None: at once.
        other_user_probability: chance that a further job of the finest cluster comes from another user.
        slow_bin_s: length of the bins of a slow gamma factor of the rate.
        slow_squared_cv: its squared coefficient of variation; 0: none.
        hour_factors: rate of each hour of the day relative to the mean, ``[24]``; None where it is not known.
        user_share: part of all jobs that is a user's, ``[users]``.
        user_alone: part of a user's jobs that comes alone and not in a cluster, ``[users]``.
        user_kinds: cumulative probabilities of the kinds, ``[users, kinds]``.
        kind_persistence: chance that a job is of the kind of its cluster of seconds instead of a kind of its own.
        fresh_name_probability: chance that a job has a logical name of its own.
        recurring_names: names of a user and kind that recur.
        kinds: the kinds.
        provenance: source, licence, and for each marginal whether it was fitted to rows, to published figures, or
            is an assumption.
    """

    name: str
    machine_cores: float
    machine_memory_gb: float
    jobs_per_s: float
    levels: tuple[ClusterLevel, ...]
    rounds: Rounds | None
    other_user_probability: float
    slow_bin_s: float
    slow_squared_cv: float
    hour_factors: Floats | None
    user_share: Floats
    user_alone: Floats
    user_kinds: Floats
    kind_persistence: float
    fresh_name_probability: float
    recurring_names: int
    kinds: tuple[JobKind, ...]
    provenance: dict[str, Any]

    @functools.cached_property
    def alone(self) -> float:
        """Part of all jobs that comes alone."""
        return float(self.user_share @ self.user_alone)

    @functools.cached_property
    def cluster_jobs(self) -> float:
        """Mean jobs of a visit that is a cluster."""
        return float(np.prod([level.mean_children for level in self.levels]))

    @functools.cached_property
    def tables(self) -> KindTables:
        """The kinds, laid out for drawing jobs of many kinds at once."""
        return KindTables(self.kinds)

    @functools.cached_property
    def lead_s(self) -> float:
        """How long before a time a visit may have begun that still sends jobs at that time."""
        return sum(level.span_s for level in self.levels if level.mean_children > 1.0)

    @functools.cached_property
    def kind_share(self) -> Floats:
        """Part of all jobs that is of each kind, ``[kinds]``."""
        return self.user_share @ np.diff(self.user_kinds, axis=1, prepend=0.0)

    def tasks_per_job(self, fan_out_limit: int) -> float:
        """Mean tasks of a job when each job counts at most ``fan_out_limit``."""
        if fan_out_limit not in self._tasks_per_job:
            grid = (np.arange(2000) + 0.5) / 2000
            means = [np.minimum(kind.tasks.at_probability(grid), fan_out_limit).mean() for kind in self.kinds]
            self._tasks_per_job[fan_out_limit] = float(self.kind_share @ np.maximum(means, 1.0))
        return self._tasks_per_job[fan_out_limit]

    @functools.cached_property
    def _tasks_per_job(self) -> dict[int, float]:
        return {}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StreamProfile:
        """From a profile's JSON.

        Raises:
            KeyError: for a missing entry.
        """
        arrivals, users = data["arrivals"], data["users"]
        shares = np.array(users["share"], dtype=np.float64)
        mixes = np.zeros((len(shares), len(data["kinds"])))
        for user, entries in enumerate(users["kinds"]):
            for kind, share in entries:
                mixes[user, kind] = share
        factors = arrivals["hour_factors"]
        return cls(
            name=data["name"],
            machine_cores=float(data["machine"]["cores"]),
            machine_memory_gb=float(data["machine"]["memory_gb"]),
            jobs_per_s=float(arrivals["jobs_per_s"]),
            levels=tuple(ClusterLevel(**level) for level in arrivals["levels"]),
            rounds=Rounds.from_dict(arrivals["rounds"]) if arrivals.get("rounds") else None,
            other_user_probability=float(arrivals["other_user_probability"]),
            slow_bin_s=float(arrivals["slow_factor"]["bin_s"]),
            slow_squared_cv=float(arrivals["slow_factor"]["squared_cv"]),
            hour_factors=None if factors is None else np.array(factors) / np.mean(factors),
            user_share=shares / shares.sum(),
            user_alone=np.array(users["alone"], dtype=np.float64),
            user_kinds=np.stack([_cumulative(mix) for mix in mixes]),
            kind_persistence=float(data["kind_persistence"]),
            fresh_name_probability=float(data["names"]["fresh_probability"]),
            recurring_names=int(data["names"]["recurring"]),
            kinds=tuple(JobKind.from_dict(kind) for kind in data["kinds"]),
            provenance=data["provenance"],
        )


def _cumulative(weights: Any) -> Floats:
    """Cumulative probabilities, the last exactly 1."""
    total = np.cumsum(np.asarray(weights, dtype=np.float64))
    total /= total[-1]
    total[-1] = 1.0
    return total
