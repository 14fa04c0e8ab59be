"""Runs of nodes whose neighbours come and go: an alternating renewal process takes cores away."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.background import draw_background
from cloudsched_env.workload.episode import Episode
from tests.simulator.drive import make_episode, play, times
from tests.simulator.isolated import isolated


def with_changes(episode: Episode, step: ArrayLike, share: ArrayLike, node: ArrayLike = 0) -> Episode:
    """The episode with noisy neighbours that leave a node the given shares of its cores from the given steps on."""
    step = np.asarray(step, np.int64)
    return dataclasses.replace(
        episode,
        background_step=step,
        background_node=np.broadcast_to(np.asarray(node, np.int32), step.shape).copy(),
        background_share=np.asarray(share, np.float64),
    )


def drawn(scenario: Scenario, episode: Episode, rng: np.random.Generator) -> Episode:
    """The episode with a schedule of noisy neighbours as the workload draws it."""
    step, node, share = draw_background(scenario, rng)
    return with_changes(episode, step, share, node)


def run_neighbours(
    *,
    quiet_s: float,
    disturbed_s: float,
    loss: tuple[float, float] = (0.3, 0.6),
    steps: int,
    nodes: int = 100,
    clusters: int = 10,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Share of its cores that every node has after each step, ``[steps + 1, clusters, nodes]``, as in the kernel."""
    scenario = isolated(
        cluster__compute_nodes=({"count": nodes, "cores": 4.0, "memory_gb": 1.0},),
        background__enabled=True,
        background__quiet_mean_s=quiet_s,
        background__disturbed_mean_s=disturbed_s,
        background__minimum_loss=loss[0],
        background__maximum_loss=loss[1],
        time__horizon_steps=steps,
    )
    rng = np.random.default_rng(seed)
    idle = make_episode(scenario, arrival_s=1e9)
    shares = []

    def watch(env, step):
        shares.append(env.simulator_state.compute.available_cores / 4.0)

    play(scenario, [drawn(scenario, idle, rng) for _ in range(clusters)], watch=watch)
    return np.array(shares)


def rounded_mean_steps(mean_steps: float) -> float:
    """Mean of an exponential time that is rounded to steps, but to one at least."""
    half = np.exp(-0.5 / mean_steps)
    return float(half / -np.expm1(-1.0 / mean_steps) + 1.0 - half)


def disturbed_again(time_s: ArrayLike, quiet_s: float, disturbed_s: float) -> NDArray[np.float64]:
    """P(disturbed at t | disturbed at 0) of an alternating renewal process with exponential sojourns."""
    share = disturbed_s / (quiet_s + disturbed_s)
    return share + (1.0 - share) * np.exp(-np.asarray(time_s, float) * (1.0 / quiet_s + 1.0 / disturbed_s))


def run_schedule(
    cores: Sequence[float], base_time_s: float, step: Sequence[int], share: Sequence[float], *, steps: int = 400
) -> NDArray[np.float64]:
    """Finish times in s of tasks that start at 0 together on a node of 8 cores under a schedule of neighbours."""
    scenario = isolated(
        cluster__compute_nodes=({"count": 1, "cores": 8.0, "memory_gb": 100.0},),
        time__horizon_steps=steps,
        scheduling__window_slots=64,
    )
    episode = make_episode(scenario, cores=list(cores), base_time_s=base_time_s, memory_gb=1e-3)
    return times(play(scenario, [with_changes(episode, step, share)]))[1][0]


def time_to_do(
    work_s: float, demand_cores: float, step: Sequence[int], share: Sequence[float], *, step_s: float = 0.1
) -> float:
    """When a fluid of the given demand has had its work done, at speed min(1, cores left / demand), 8 cores in all."""
    begins = np.append(np.asarray(step, float), np.inf) * step_s
    left, now, speed = work_s, 0.0, min(1.0, 8.0 / demand_cores)
    for begin, following in zip(begins, [*share, np.nan], strict=True):
        if left <= speed * (begin - now):
            break
        left -= speed * (begin - now)
        now, speed = begin, min(1.0, 8.0 * following / demand_cores)
    return now + left / speed


class Disturbed(NamedTuple):
    """Accounts of a node in every step, ``[steps]``, and of its tasks, ``[tasks]``."""

    available_cores: NDArray[np.float64]
    demand_cores: NDArray[np.float64]
    in_use_cores: NDArray[np.float64]
    useful_core_s: NDArray[np.float64]
    work_core_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]


def run_disturbed_node(*, seed: int, tasks: int = 250, steps: int = 1500) -> Disturbed:
    """Tasks of many widths on one node of 8 cores with noisy neighbours; the node begins and ends empty."""
    scenario = isolated(
        cluster__compute_nodes=({"count": 1, "cores": 8.0, "memory_gb": 1000.0},),
        time__horizon_steps=steps,
        background__enabled=True,
        background__quiet_mean_s=3.0,
        background__disturbed_mean_s=2.0,
        background__maximum_loss=0.9,
    )
    rng = np.random.default_rng(seed)
    step_s = scenario.time.step_s
    episode = make_episode(
        scenario,
        arrival_s=np.sort(rng.integers(0, steps // 2, tasks)) * step_s,
        cores=rng.uniform(0.25, 4.0, tasks),
        base_time_s=rng.lognormal(-0.4, 0.8, tasks),
        memory_gb=0.01,
    )
    rows, cores_left = [], []

    def watch(env, step):
        compute = env.simulator_state.compute
        rows.append((compute.in_use_cores[0, 0], compute.useful_core_s[0, 0]))
        cores_left.append(compute.available_cores[0, 0])

    start, finish = times(play(scenario, [drawn(scenario, episode, rng)], watch=watch))
    begin = np.arange(steps) * step_s
    present = (start[0] <= begin[:, None] + 1e-9) & (finish[0] > begin[:, None])
    in_use, useful = np.array(rows)[1:].T
    return Disturbed(
        np.array(cores_left)[:-1],
        present @ episode.cores,
        in_use,
        useful,
        episode.cores * episode.base_time_s,
        finish[0],
    )
