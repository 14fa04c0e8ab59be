"""Runs of nodes that crash and are repaired: an alternating renewal process."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.simulator.drive import constant_actions, make_episode, play, times
from tests.simulator.isolated import isolated


def run_availability(
    *, mtbf_s: float, mttr_s: float, role: str, steps: int, nodes: int = 100, clusters: int = 20, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Time in s and the share of all nodes of a role that is up, ``[steps + 1]`` each."""
    many = {"cluster__storage_nodes": nodes}
    if role == "compute":
        many = {"cluster__compute_nodes": ({"count": nodes, "cores": 1.0, "memory_gb": 1.0},)}
    scenario = isolated(
        **{f"failure__{role}_failures_per_hour": 3600.0 / mtbf_s},
        failure__repair_mean_s=mttr_s,
        time__horizon_steps=steps,
        **many,
    )
    episode = make_episode(scenario, arrival_s=1e9)
    up = []

    def watch(env, step):
        up.append(getattr(env.simulator_state, role).alive.mean())

    play(scenario, [episode] * clusters, watch=watch, seed=seed)
    return np.arange(steps + 1) * scenario.time.step_s, np.array(up)


def availability(time_s: ArrayLike, mtbf_s: float, mttr_s: float) -> NDArray[np.float64]:
    """P(up at t | up at 0) for exponential times up and down (two-state Markov chain)."""
    steady = mtbf_s / (mtbf_s + mttr_s)
    return steady + (1.0 - steady) * np.exp(-np.asarray(time_s, float) * (1.0 / mtbf_s + 1.0 / mttr_s))


def rounded_up_mean(mean_s: float, step_s: float) -> float:
    """Mean of an exponential time that is rounded up to steps: geometric; half a step longer, to first order."""
    return step_s / -np.expm1(-step_s / mean_s)


class Restarts(NamedTuple):
    """One task on one node that keeps crashing, in each of many clusters."""

    finish_s: NDArray[np.float64]  # [clusters]
    lost_core_s: NDArray[np.float64]
    useful_core_s: NDArray[np.float64]
    requeued: NDArray[np.float64]


def run_restarts(
    base_time_s: float, *, mtbf_s: float, mttr_s: float, steps: int, clusters: int, seed: int = 0
) -> Restarts:
    """A task that loses its progress in every crash and waits for the repair, until it gets through."""
    scenario = isolated(
        failure__compute_failures_per_hour=3600.0 / mtbf_s,
        failure__repair_mean_s=mttr_s,
        time__horizon_steps=steps,
    )
    episode = make_episode(scenario, base_time_s=base_time_s)
    env = play(scenario, [episode] * clusters, seed=seed)
    totals = [result.totals for result in env.results()]
    columns = (np.array([t[name] for t in totals]) for name in ("lost_core_s", "useful_core_s", "requeued"))
    return Restarts(times(env)[1][:, 0], *columns)


def mean_time_with_restarts(base_time_s: float, *, mtbf_s: float, mttr_s: float, step_s: float = 0.0) -> float:
    """Mean completion time (MTBF + MTTR) (exp(x / MTBF) - 1) of work x that starts anew after every crash.

    With steps, crashes and repairs happen at their ends only: n = x / step steps must pass without a crash but in
    the last one, whose end comes too late to hurt.
    """
    if step_s == 0.0:
        return (mtbf_s + mttr_s) * float(np.expm1(base_time_s / mtbf_s))
    survive = np.exp(-step_s / mtbf_s)
    steps = int(np.ceil(base_time_s / step_s - 1e-9))
    if steps == 1:
        return base_time_s
    k = np.arange(1, steps)
    chance = (1.0 - survive) * survive ** (k - 1)
    success = survive ** (steps - 1)
    attempt = float((k * chance).sum() / chance.sum()) * step_s
    return base_time_s + (1.0 - success) / success * (attempt + rounded_up_mean(mttr_s, step_s))


class Churn(NamedTuple):
    """Tasks in a cluster whose nodes keep crashing."""

    in_system: NDArray[np.int64]  # [steps + 1], counted in all places
    arrived: NDArray[np.int64]
    finished: NDArray[np.int64]
    finish_s: NDArray[np.float64]
    totals: dict[str, float]
    work_core_s: NDArray[np.float64]


def run_churn(*, tasks: int = 400, steps: int = 1500, seed: int = 0) -> Churn:
    """Tasks spread over eight nodes that crash every 20 s and are repaired in 3 s on average; then the dust settles."""
    scenario = isolated(
        failure__compute_failures_per_hour=180.0,
        failure__repair_mean_s=3.0,
        time__horizon_steps=steps,
        cluster__compute_nodes=({"count": 8, "cores": 2.0, "memory_gb": 16.0},),
        compute__core_overcommit=(1.5,),
    )
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.uniform(0.0, 0.5 * scenario.duration_s, tasks))
    episode = make_episode(
        scenario, arrival_s=arrival, base_time_s=rng.exponential(1.5, tasks), cores=rng.uniform(0.2, 2.0, tasks)
    )
    rows = []

    def watch(env, step):
        state = env.simulator_state
        waiting = int(state.schedulers.queue_length.sum() + state.compute.queue_length.sum())
        present = waiting + int(state.running.slots_used[0])
        done = int((~np.isnan(state.tasks.finish_s[0, :tasks])).sum())
        rows.append((present, int(state.clock.next_arrival[0]), done))

    def actions(env, step):
        chosen = constant_actions(scenario, 1)
        chosen["scheduler"][:] = rng.integers(0, 8, chosen["scheduler"].shape)
        return chosen

    env = play(scenario, [episode], actions=actions, watch=watch, seed=seed)
    in_system, arrived, finished = (np.array(column) for column in zip(*rows, strict=True))
    result = env.results()[0]
    work = episode.cores * episode.base_time_s
    return Churn(in_system, arrived, finished, result.finish_s, result.totals, work)
