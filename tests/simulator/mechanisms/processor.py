"""Runs of one node whose tasks share its cores: M/G/1 with processor sharing, and Little's law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.simulator.drive import make_episode, play, times
from tests.simulator.isolated import isolated

SIZES = ("deterministic", "exponential", "hyperexponential")
_SQUARED_VARIATION = 4.0


def draw_sizes(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Task sizes of mean 1 s; the hyperexponential ones have balanced means and squared variation 4."""
    if kind == "deterministic":
        return np.ones(shape)
    if kind == "exponential":
        return rng.exponential(1.0, shape)
    p = 0.5 * (1.0 + np.sqrt((_SQUARED_VARIATION - 1.0) / (_SQUARED_VARIATION + 1.0)))
    mean = np.where(rng.random(shape) < p, 0.5 / p, 0.5 / (1.0 - p))
    return mean * rng.exponential(1.0, shape)


class Sharing(NamedTuple):
    """Sizes and times from start to finish of the tasks that count, ``[B, tasks]``, in s."""

    size_s: NDArray[np.float64]
    response_s: NDArray[np.float64]

    def slowdown(self, low_s: float = 0.0, high_s: float = np.inf) -> tuple[float, float]:
        """Mean response / mean size of tasks with sizes in a range, and its standard error over clusters."""
        chosen = (self.size_s >= low_s) & (self.size_s < high_s)
        response, size = (self.response_s * chosen).sum(1), (self.size_s * chosen).sum(1)
        ratio = response.sum() / size.sum()
        error = np.sqrt(np.sum((response - ratio * size) ** 2)) / size.sum()
        return float(ratio), float(error)


def run_m_g_1(kind: str, load: float, *, step_s: float, clusters: int, tasks: int, seed: int) -> Sharing:
    """Poisson arrivals at one core, started at the beginning of the step after their arrival.

    The first fifth and the last tenth of the tasks do not count: the node begins empty, and ends without arrivals.
    """
    rng = np.random.default_rng(seed)
    size = draw_sizes(kind, (clusters, tasks), rng)
    arrival = np.cumsum(rng.exponential(1.0 / load, (clusters, tasks)), axis=1)
    horizon = int(np.ceil((arrival.max() + 120.0) / step_s))
    scenario = isolated(time__step_s=step_s, time__horizon_steps=horizon)
    episodes = [
        make_episode(scenario, arrival_s=a, base_time_s=x, memory_gb=0.001) for a, x in zip(arrival, size, strict=True)
    ]
    start, finish = times(play(scenario, episodes))
    counted = slice(tasks // 5, tasks - tasks // 10)
    return Sharing(size[:, counted], (finish - start)[:, counted])


def stepped_slowdown(load: float, step_s: float, mean_size_s: float = 1.0) -> float:
    """Mean slowdown of M/G/1-PS, 1 / (1 - load), with what steps of the clock cost, to first order in the step.

    Shares are set at the beginning of a step: when one of m + 1 tasks ends within it, its share of 1 / (m + 1) idles
    for half a step on average. Departures into state m happen at rate ``arrival rate x P(m)``, so state m >= 1 works at
    speed 1 - arrival rate x step / (2 (m + 1)). Queues with processor sharing at speeds that depend on their length are
    symmetric queues (Kelly 1979): their state probabilities, hence this mean, are insensitive to the distribution.
    """
    m = np.arange(0, int(40.0 / -np.log(load)) + 10)
    speed = 1.0 - 0.5 * load * (step_s / mean_size_s) / (m + 1.0)
    speed[0] = 1.0  # nobody is there who could have used the idle share
    weight = load**m / np.cumprod(speed)
    return float((m * weight).sum() / weight.sum() / load)


def run_over_commitment(tasks: Sequence[int], *, slope: float, onset: float, cores: int = 8) -> NDArray[np.float64]:
    """Tasks of one core and 2 s finished per second, as a multiple of one core's rate, when so many run at once."""
    scenario = isolated(
        time__horizon_steps=int(20.0 * max(tasks) / cores * (1.0 + slope * (max(tasks) / cores) ** 2)) + 50,
        cluster__compute_nodes=({"count": 1, "cores": float(cores), "memory_gb": 1000.0},),
        compute__contention_enabled=True,
        compute__contention_slope=slope,
        compute__contention_onset=onset,
        scheduling__window_slots=64,
    )
    finished = [
        times(play(scenario, [make_episode(scenario, base_time_s=[2.0] * count, memory_gb=1e-3)]))[1] for count in tasks
    ]
    return np.array([2.0 * count / finish.max() for count, finish in zip(tasks, finished, strict=True)])


def over_committed_throughput(load: ArrayLike, *, slope: float, onset: float, cores: int = 8) -> NDArray[np.float64]:
    """Useful cores C min(1, l) / (1 + slope max(0, l - onset)^2) at l running cores per core."""
    load = np.asarray(load, float)
    return cores * np.minimum(1.0, load) / (1.0 + slope * np.maximum(0.0, load - onset) ** 2)


class Accounts(NamedTuple):
    """What was counted at every step beginning with the state after reset, and the record of each task."""

    step_s: float
    in_system: NDArray[np.int64]  # [steps + 1]
    waiting: NDArray[np.int64]
    in_use_cores: NDArray[np.float64]
    useful_core_s: NDArray[np.float64]
    arrival_s: NDArray[np.float64]  # [tasks]
    start_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    cores: NDArray[np.float64]
    base_time_s: NDArray[np.float64]


def run_busy_period(*, node_cores: float, seed: int, tasks: int = 300, steps: int = 1500) -> Accounts:
    """Tasks of many widths on one node behind a scheduler with two slots a step; it begins and ends empty.

    Arrivals lie on steps, so that the counts at step boundaries can be compared with times exactly.
    """
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=({"count": 1, "cores": node_cores, "memory_gb": 1000.0},),
        compute__core_overcommit=(1.5,),
        compute__memory_overcommit=(1.0,),
        scheduling__window_slots=2,
    )
    step_s = scenario.time.step_s
    rng = np.random.default_rng(seed)
    arrival_step = np.sort(rng.integers(0, steps // 2, tasks))
    cores = rng.uniform(0.25, 4.0, tasks)
    base = rng.lognormal(-0.2, 0.8, tasks)
    episode = make_episode(scenario, arrival_s=arrival_step * step_s, cores=cores, base_time_s=base, memory_gb=0.1)
    rows = []

    def watch(env, step):
        state = env.simulator_state
        queued = int(state.schedulers.queue_length.sum() + state.compute.queue_length.sum())
        running = int(state.compute.running_tasks.sum())
        rows.append((running + queued, queued, state.compute.in_use_cores[0, 0], state.compute.useful_core_s[0, 0]))

    start, finish = times(play(scenario, [episode], watch=watch))
    in_system, waiting, in_use, useful = (np.array(column) for column in zip(*rows, strict=True))
    return Accounts(step_s, in_system, waiting, in_use, useful, episode.arrival_s, start[0], finish[0], cores, base)
