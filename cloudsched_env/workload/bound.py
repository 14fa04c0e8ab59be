"""What no policy can exceed on a given episode: a fluid relaxation of the cluster, solved exactly.

The relaxation pools all cores into one server that divides itself at will, with no I/O, no memory, no contention and
no communication. What is kept, because every policy is subject to it (`docs/simulator.md`):

* A task cannot start before the step that follows its arrival, plus the dispatch delay.
* It progresses at most at its requested cores (and no node has more than the largest), all tasks together at most at
  the cores of the cluster; a task's work counts once.
* Each scheduler sends at most ``window_slots`` tasks per step, and tasks that arrive during a step wait at its end.

Since each limit holds in the simulator, the bound holds for every policy, one that idles through the warm-up to have
more work in the counted steps included; that is why it may exceed the offered load. `upper_bound` adds the bounds of
the four reward terms, which no single policy need attain together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode

__all__ = ["UpperBound", "fluid_work", "upper_bound"]

# Slack on comparisons of times, s: makes the bound looser, never tighter.
_SLACK_S = 1e-9


@dataclass(frozen=True)
class UpperBound:
    """Upper bounds of one episode, means over counted steps.

    Attributes:
        team_reward: of J; the weighted sum of the terms below.
        useful_utilisation: of work that advanced tasks and was not lost / capacity.
        goodput: of work of tasks completed on time / capacity; may exceed 1, as work of the warm-up can count.
        useful_term: of U: as ``useful_utilisation``, but crashed work counts again when failures are on.
        latency_term: of L.
        fairness_term: of F; always 1.
    """

    team_reward: float
    useful_utilisation: float
    goodput: float
    useful_term: float
    latency_term: float
    fairness_term: float


def fluid_work(
    release_s: NDArray[np.float64],
    rate_cores: NDArray[np.float64],
    work_core_s: NDArray[np.float64],
    capacity_cores: float,
    start_s: float,
    end_s: float,
) -> float:
    """Most work that one divisible server can do in [start, end].

    Task i can be served from its release on, at most at its rate and at most its work in all; the server's rate is
    limited too. This is a maximum flow from tasks to instants; as tasks only ever become available, some minimum
    cut separates the instants before a time s from those after it, so that the maximum is

        min over s of  sum_i min(work_i, rate_i (s - max(release_i, start))+)  +  capacity (end - s).

    The expression is piecewise linear in s: it is evaluated at all its corners, hence exact.

    Args:
        release_s: when each task becomes available, ``[tasks]``.
        rate_cores: largest rate of each task, positive, ``[tasks]``.
        work_core_s: work of each task, ``inf`` for no limit, ``[tasks]``.
        capacity_cores: largest rate of the server.
        start_s: start of the interval.
        end_s: end of the interval.

    Returns:
        Core-seconds.
    """
    release = np.maximum(release_s, start_s)
    corners = np.concatenate(([start_s, end_s], release, release + work_core_s / rate_cores))
    slope_change = np.concatenate(([0.0, 0.0], rate_cores, -rate_cores))
    corners = np.minimum(corners, end_s)
    order = np.argsort(corners, kind="stable")
    corners, slope = corners[order], np.cumsum(slope_change[order])
    served = np.concatenate(([0.0], np.cumsum(slope[:-1] * np.diff(corners))))
    return max(0.0, float(np.min(served + capacity_cores * (end_s - corners))))


def least_waiting(scenario: Scenario, episode: Episode) -> NDArray[np.int64]:
    """Fewest tasks that wait at the end of each step, ``[steps]``.

    Scheduler s has sent away at most ``window_slots`` tasks per step of those that arrived up to its start:
    q(k + 1) = max(0, q(k) - slots) + arrivals during step k. Crashes and refusals only add to it.
    """
    steps, step_s = scenario.time.horizon_steps, scenario.time.step_s
    owner = episode.tenant_scheduler[episode.tenant]
    entered = np.searchsorted(np.arange(steps + 1) * step_s, episode.arrival_s, side="left")
    arrivals = np.zeros((scenario.cluster.schedulers, steps + 2), dtype=np.int64)
    np.add.at(arrivals, (owner, np.minimum(entered, steps + 1)), 1)
    # Lindley's recursion in closed form: q(k) = S(k) - min over j <= k of (S(j) - arrivals(j)), S(k) = sum of
    # arrivals(j) over j <= k, less slots for each step since the first.
    arrived = arrivals[:, : steps + 1]
    drift = np.cumsum(arrived, axis=1) - scenario.scheduling.window_slots * np.arange(steps + 1)
    waiting = drift - np.minimum.accumulate(drift - arrived, axis=1)
    return waiting[:, 1:].sum(axis=0)


def upper_bound(scenario: Scenario, episode: Episode) -> UpperBound:
    """Upper bounds of the team reward, its terms, useful utilisation and goodput, over the counted steps.

    Goodput counts a task only if it could finish on time inside the counted steps when run alone from its release
    on; such tasks may be served before the counted steps begin, so their fluid interval starts at 0.

    Args:
        scenario: the cluster.
        episode: its work.
    """
    types = scenario.cluster.compute_nodes
    capacity = sum(t.count * t.cores for t in types)
    step_s = scenario.time.step_s
    first, end = scenario.time.warmup_steps * step_s, scenario.duration_s
    counted = capacity * (end - first)

    rate = np.minimum(episode.cores, max(t.cores for t in types))
    work = episode.cores * episode.base_time_s
    entered = np.ceil(np.maximum(episode.arrival_s, 0.0) / step_s - _SLACK_S / step_s) * step_s
    release = entered + scenario.scheduling.dispatch_delay_s - _SLACK_S

    net = fluid_work(release, rate, work, capacity, first, end) / counted
    crashes = scenario.failure.compute_failures_per_hour > 0
    gross = fluid_work(release, rate, np.full_like(work, np.inf), capacity, first, end) / counted if crashes else net

    latest = np.minimum(end, episode.arrival_s + episode.deadline_s) + _SLACK_S
    on_time = (release + work / rate <= latest) & (latest >= first)
    goodput = fluid_work(release[on_time], rate[on_time], work[on_time], capacity, 0.0, end) / counted

    waiting = least_waiting(scenario, episode)[scenario.time.warmup_steps :]
    reward = scenario.reward
    scale = episode.tasks / scenario.duration_s * reward.latency_scale_s
    latency = float(np.mean(1.0 / (1.0 + waiting / scale))) if scale > 0 else 1.0
    return UpperBound(
        team_reward=reward.useful_weight * gross
        + reward.goodput_weight * goodput
        + reward.latency_weight * latency
        + reward.fairness_weight,
        useful_utilisation=net,
        goodput=goodput,
        useful_term=gross,
        latency_term=latency,
        fairness_term=1.0,
    )
