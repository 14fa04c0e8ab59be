"""What no policy can exceed on a given episode: a fluid relaxation of the cluster, solved exactly.

The relaxation pools all cores into one server that divides itself at will, with unlimited storage bandwidth, no memory,
no contention and no communication. What is kept, because every policy is subject to it (`docs/simulator.md`):

* A task cannot start before the step that follows its arrival, plus the dispatch delay.
* It progresses at most at its requested cores, less the time it spends on bytes that no cache saves even at the fastest
  streams (`fastest_rates`), and no node has more cores than the largest; all tasks together progress at most at the
  cores of the cluster; a task's work counts once.
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
from cloudsched_env.workload.background import core_shares
from cloudsched_env.workload.episode import Episode

__all__ = [
    "UpperBound",
    "fastest_rates",
    "fluid_work",
    "least_cost",
    "least_waiting",
    "release_times",
    "upper_bound",
    "warmth_limits",
]

# Slack on comparisons of times, s: makes the bound looser, never tighter.
_SLACK_S = 1e-9


@dataclass(frozen=True)
class UpperBound:
    """Upper bounds of one episode, means over counted steps.

    Attributes:
        team_reward: of J: the weighted sum of the terms below, ``goodput``, or 1 for shares of entitlement, as
            ``reward.team`` says, less `least_cost`.
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


def release_times(scenario: Scenario, episode: Episode) -> NDArray[np.float64]:
    """Earliest start of each task in s: the step after its arrival plus the dispatch delay, ``[tasks]``."""
    step_s = scenario.time.step_s
    entered = np.ceil(np.maximum(episode.arrival_s, 0.0) / step_s - _SLACK_S / step_s) * step_s
    return entered + scenario.scheduling.dispatch_delay_s - _SLACK_S


def warmth_limits(scenario: Scenario, episode: Episode, read_mb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Warmest that any node's cache can be for each shard after so many bytes of it were read, ``[shards]``.

    A step that reads x hot sets of a shard at warmth w misses x (1 - w) of them, and only misses enter a cache: w grows
    by at most x (1 - w). From the initial warmth w0, reads of x in all lead to no more than w0 + (1 - w0) x: by
    induction, as w + x (1 - w) grows with w for x <= 1, and the limit is 1 for x >= 1. Eviction, invalidation, crashes
    and reads on other nodes only lower it. With the cache off it is 0.

    Args:
        scenario: the cluster.
        episode: its work.
        read_mb: at least the cacheable bytes of each shard that were read, ``[shards]``, ``inf`` for no limit.
    """
    if not scenario.cache.enabled:
        return np.zeros(len(episode.shard_hot_set_mb))
    initial = scenario.cache.initial_warmth
    return np.minimum(1.0, initial + (1.0 - initial) * np.minimum(1.0, read_mb / episode.shard_hot_set_mb))


def fastest_rates(
    scenario: Scenario, episode: Episode, warmth: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Most work per second that any policy gets out of each task, ``[tasks]`` cores.

    A task of p cores and base time b advances by at most 1 / T per second, with T = b + miss R + v W (steps 6 and 7 of
    `docs/simulator.md`), hence by p b / T work, and by no more than the cores of its node. T is smallest where

    * R = 1 / ``read_stream_mb_per_s``: the splits over live replicas add up to 1 and stream factors are at most 1,
    * W = 1 / ``write_stream_mb_per_s``: write factors are at most 1, whatever the quorum,
    * miss = scan bytes + cacheable bytes x (1 - warmth), with the largest warmth.

    All three hold under every switch: without bandwidth sharing stream factors are 1, without compaction write factors
    are 1, without the quorum the fastest replica counts, and without the cache the warmth is 0.

    Args:
        scenario: the cluster.
        episode: its work.
        warmth: no less than the warmth of each shard on any node, ``[shards]``; by default that of `warmth_limits` at
            the end of the episode (1 where crashes let tasks read again).
    """
    if warmth is None:
        read_mb = np.zeros(len(episode.shard_hot_set_mb))
        np.add.at(read_mb, episode.shard, episode.cacheable_read_mb)
        if scenario.failure.compute_failures_per_hour > 0:
            read_mb = np.full(len(read_mb), np.inf)
        warmth = warmth_limits(scenario, episode, read_mb)
    miss_mb = episode.scan_read_mb + episode.cacheable_read_mb * (1.0 - warmth[episode.shard])
    wait_s = miss_mb / scenario.storage.read_stream_mb_per_s + episode.write_mb / scenario.storage.write_stream_mb_per_s
    alone = episode.cores * episode.base_time_s / (episode.base_time_s + wait_s)
    return np.minimum(alone, max(t.cores for t in scenario.cluster.compute_nodes))


def fluid_work(
    release_s: NDArray[np.float64],
    rate_cores: NDArray[np.float64],
    work_core_s: NDArray[np.float64],
    capacity_cores: float | NDArray[np.float64],
    start_s: float,
    end_s: float,
    step_s: float = 1.0,
) -> float:
    """Most work that one divisible server can do in [start, end].

    Task i can be served from its release on, at most at its rate and at most its work in all; the server's rate is
    limited too. This is a maximum flow from tasks to instants. The cuts that separate the instants before a time s from
    those after it have the values

        sum_i min(work_i, rate_i (s - max(release_i, start))+)  +  (capacity from s to end).

    Every cut bounds the flow. With constant capacity some minimum cut is of this form, as tasks only ever become
    available: the smallest value is exact. With a capacity that changes it is a bound. The expression is piecewise
    linear in s and evaluated at all its corners.

    Args:
        release_s: when each task becomes available, ``[tasks]``.
        rate_cores: largest rate of each task, positive, ``[tasks]``.
        work_core_s: work of each task, ``inf`` for no limit, ``[tasks]``.
        capacity_cores: largest rate of the server, or one for each step from time 0 to at least ``end_s``, ``[steps]``.
        start_s: start of the interval.
        end_s: end of the interval.
        step_s: length of the steps of ``capacity_cores``.

    Returns:
        Core-seconds.
    """
    capacity = np.atleast_1d(np.asarray(capacity_cores, dtype=np.float64))
    edges = np.array([start_s, end_s]) if len(capacity) == 1 else np.arange(len(capacity) + 1) * step_s
    offered = np.concatenate(([0.0], np.cumsum(capacity * np.diff(edges))))
    inner = np.clip(edges, start_s, end_s)
    release = np.maximum(release_s, start_s)
    corners = np.concatenate((inner, release, release + work_core_s / rate_cores))
    slope_change = np.concatenate((np.zeros(len(inner)), rate_cores, -rate_cores))
    corners = np.minimum(corners, end_s)
    order = np.argsort(corners, kind="stable")
    corners, slope = corners[order], np.cumsum(slope_change[order])
    served = np.concatenate(([0.0], np.cumsum(slope[:-1] * np.diff(corners))))
    left = np.interp(end_s, edges, offered) - np.interp(corners, edges, offered)
    return max(0.0, float(np.min(served + left)))


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


def least_cost(scenario: Scenario) -> float:
    """Least that the cores of nodes which are not asleep take off the team reward, in every step.

    The fewest nodes that may stay on do, the smallest ones; 0 where nodes cannot sleep. A node that crashes is not
    asleep, so crashes do not lower it.
    """
    if not scenario.elastic.enabled:
        return 0.0
    cores = sorted(t.cores for t in scenario.cluster.compute_nodes for _ in range(t.count))
    return scenario.elastic.cost_weight * sum(cores[: scenario.elastic.minimum_nodes]) / sum(cores)


def upper_bound(scenario: Scenario, episode: Episode, capacity_cores: NDArray[np.float64] | None = None) -> UpperBound:
    """Upper bounds of the team reward, its terms, useful utilisation and goodput, over the counted steps.

    Goodput counts a task only if it could finish on time inside the counted steps when run alone from its release
    on; such tasks may be served before the counted steps begin, so their fluid interval starts at 0.

    Args:
        scenario: the cluster.
        episode: its work.
        capacity_cores: cores of all nodes together in each step, ``[steps]``;
            utilisation and goodput stay relative to the scenario's cores. By default what the episode's background load
            leaves of them.

    Raises:
        ValueError: if ``capacity_cores`` has not one entry for each step.
    """
    cores = np.repeat(
        [t.cores for t in scenario.cluster.compute_nodes], [t.count for t in scenario.cluster.compute_nodes]
    )
    nominal = float(cores.sum())
    step_s, steps = scenario.time.step_s, scenario.time.horizon_steps
    if capacity_cores is not None and np.shape(capacity_cores) != (steps,):
        raise ValueError(
            f"capacity_cores has shape {np.shape(capacity_cores)}: expected one value per step, ({steps},)"
        )
    if capacity_cores is None and len(episode.background_step):
        capacity_cores = cores @ core_shares(scenario, episode)
    capacity = nominal if capacity_cores is None else capacity_cores
    first, end = scenario.time.warmup_steps * step_s, scenario.duration_s
    counted = nominal * (end - first)

    rate = fastest_rates(scenario, episode)
    work = episode.cores * episode.base_time_s
    release = release_times(scenario, episode)

    net = fluid_work(release, rate, work, capacity, first, end, step_s) / counted
    crashes = scenario.failure.compute_failures_per_hour > 0
    again = np.full_like(work, np.inf)
    gross = fluid_work(release, rate, again, capacity, first, end, step_s) / counted if crashes else net

    latest = np.minimum(end, episode.arrival_s + episode.deadline_s) + _SLACK_S
    on_time = (release + work / rate <= latest) & (latest >= first)
    goodput = fluid_work(release[on_time], rate[on_time], work[on_time], capacity, 0.0, end, step_s) / counted

    waiting = least_waiting(scenario, episode)[scenario.time.warmup_steps :]
    reward = scenario.reward
    scale = episode.tasks / scenario.duration_s * reward.latency_scale_s
    latency = float(np.mean(1.0 / (1.0 + waiting / scale))) if scale > 0 else 1.0
    mixed = (
        reward.useful_weight * gross
        + reward.goodput_weight * goodput
        + reward.latency_weight * latency
        + reward.fairness_weight
    )
    return UpperBound(
        # Shares of entitlement are at most 1, and are 1 as long as the cluster keeps up with the demand.
        team_reward={"mixed": mixed, "goodput": goodput}.get(reward.team, 1.0) - least_cost(scenario),
        useful_utilisation=net,
        goodput=goodput,
        useful_term=gross,
        latency_term=latency,
        fairness_term=1.0,
    )
