"""Runs of one node whose tasks leave old versions behind, and the cores that purge them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from cloudsched_env.scenario import Scenario
from tests.simulator.drive import constant_actions, make_episode, play, times
from tests.simulator.isolated import isolated

CORES = 8.0
RATE_MB_PER_CORE_S = 100.0
SOFT_MB = 800.0
_LONG_S = 1e6


def purging(steps: int, share: float, **overrides) -> Scenario:
    """A node of 8 cores of which a share purges, 100 MB per core-second at most; garbage alone costs no time."""
    return isolated(
        **{
            "time__horizon_steps": steps,
            "cluster__compute_nodes": ({"count": 1, "cores": CORES, "memory_gb": 1000.0},),
            "scheduling__window_slots": 64,
            "purge__enabled": True,
            "purge__shares": (share,),
            "purge__rate_mb_per_core_s": RATE_MB_PER_CORE_S,
            "purge__soft_limit_mb_per_core": SOFT_MB / CORES,
            "purge__slowdown_slope": 0.0,
            **overrides,
        }
    )


class Garbage(NamedTuple):
    """Garbage and writes of one node in each cluster, step by step."""

    scenario: Scenario
    garbage_mb: NDArray[np.float64]  # [steps + 1, B]
    written_mb: NDArray[np.float64]  # [steps, B]
    useful_cores: NDArray[np.float64]  # [steps, B]


def run_writer(write_mb_per_s: ArrayLike, *, share: float, steps: int, tasks: int = 1, **overrides) -> Garbage:
    """Endless tasks in each cluster that compute on a core each and write at the given rate per core of progress."""
    rate = np.atleast_1d(np.asarray(write_mb_per_s, float))
    scenario = purging(steps, share, **overrides)
    # Small against what can be held exactly: a hundred thousandth of the work is done in a step.
    episodes = [
        make_episode(scenario, base_time_s=[_LONG_S] * tasks, write_mb=r * _LONG_S, memory_gb=1e-6) for r in rate
    ]
    garbage, remaining, useful = [], [], []

    def watch(env, step):
        state = env.simulator_state
        garbage.append(state.compute.garbage_mb[:, 0].copy())
        remaining.append(state.running.remaining[:, :tasks].sum(axis=1) if step else np.full(len(rate), float(tasks)))
        if step:
            useful.append(state.compute.useful_core_s[:, 0] / scenario.time.step_s)

    play(scenario, episodes, watch=watch)
    written = -np.diff(np.array(remaining), axis=0) * rate * _LONG_S
    return Garbage(scenario, np.array(garbage), written, np.array(useful))


def purged_mb_per_s(scenario: Scenario, share: float, garbage_mb: ArrayLike) -> NDArray[np.float64]:
    """Rate of purging r v C g / (g + g0), g the garbage in soft limits."""
    depth = np.asarray(garbage_mb, float) / SOFT_MB
    return RATE_MB_PER_CORE_S * share * CORES * depth / (depth + scenario.purge.efficient_garbage)


def stationary_garbage_mb(scenario: Scenario, garbage_mb_per_s: ArrayLike, share: float) -> NDArray[np.float64]:
    """Garbage at which purging removes what is left behind: g = g0 w / (r v C - w); infinite if it never does."""
    inflow = np.asarray(garbage_mb_per_s, float)
    most = RATE_MB_PER_CORE_S * share * CORES
    with np.errstate(divide="ignore"):
        settled = SOFT_MB * scenario.purge.efficient_garbage * inflow / np.abs(most - inflow)
    return np.where(inflow < most, settled, np.inf)


def slowdown(scenario: Scenario, depth: ArrayLike) -> NDArray[np.float64]:
    """Factor on run times at so many soft limits of garbage."""
    config = scenario.purge
    return 1.0 + config.slowdown_slope * np.minimum(np.asarray(depth, float), config.slowdown_cap)


def run_slowdown(depth: ArrayLike, *, slope: float, cap: float = 3.0) -> NDArray[np.float64]:
    """Run time of a task of 3 s at garbage that stays as it is, as a multiple of its base time."""
    ratio = []
    for level in np.asarray(depth, float):
        scenario = purging(
            400, 0.0, purge__slowdown_slope=slope, purge__slowdown_cap=cap, purge__initial_garbage=float(level)
        )
        finish = times(play(scenario, [make_episode(scenario, base_time_s=3.0)]))[1]
        ratio.append(float(finish[0, 0]) / 3.0)
    return np.array(ratio)


def saturated_depth(scenario: Scenario, write_mb_per_core_s: float, share: float) -> float:
    """Garbage in soft limits on a node whose cores are all busy: what the tasks that are slowed down still write.

    Useful cores are C (1 - v) / slowdown(g); g solves w C (1 - v) / slowdown(g) = r v C g / (g + g0). Infinite where
    purging does not keep up even with tasks at the cap of the slow-down.
    """

    def excess(depth: float) -> float:
        written = write_mb_per_core_s * CORES * (1.0 - share) / float(slowdown(scenario, depth))
        return written - float(purged_mb_per_s(scenario, share, depth * SOFT_MB))

    return float(brentq(excess, 0.0, 1e6, xtol=1e-12)) if excess(1e6) < 0.0 else np.inf


def saturated_useful_cores(scenario: Scenario, write_mb_per_core_s: float, share: float) -> float:
    """Useful cores of a node whose cores are all busy, once its garbage has settled."""
    depth = saturated_depth(scenario, write_mb_per_core_s, share)
    return float(CORES * (1.0 - share) / slowdown(scenario, depth))


def run_levels(
    cores: Sequence[float], base_time_s: float, step: Sequence[int], share: Sequence[float], *, steps: int = 400
) -> NDArray[np.float64]:
    """Finish times in s of tasks that start at 0 together while the node changes its share from the given steps on."""
    shares = (0.0, *share)
    scenario = purging(steps, 0.0, purge__shares=shares)
    episode = make_episode(scenario, cores=list(cores), base_time_s=base_time_s, memory_gb=1e-3)

    def actions(env, now):
        chosen = constant_actions(scenario, 1)
        chosen["compute"][..., 2] = np.searchsorted(step, now, side="right")
        return chosen

    return times(play(scenario, [episode], actions=actions))[1][0]


class Purging(NamedTuple):
    """Accounts of a node in every step, ``[steps]``, and of its tasks, ``[tasks]``."""

    left_cores: NDArray[np.float64]
    demand_cores: NDArray[np.float64]
    in_use_cores: NDArray[np.float64]
    useful_core_s: NDArray[np.float64]
    work_core_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    garbage_mb: NDArray[np.float64]  # [steps + 1]
    write_mb: NDArray[np.float64]  # [tasks]
    purge_share: NDArray[np.float64]


def run_purging_node(*, seed: int, tasks: int = 250, steps: int = 1500) -> Purging:
    """Tasks of many widths that write, on a node that changes its share at random; it begins and ends empty."""
    shares = (0.0, 0.1, 0.3, 0.6)
    scenario = purging(steps, 0.0, purge__shares=shares, purge__slowdown_slope=0.0, purge__initial_garbage=0.5)
    rng = np.random.default_rng(seed)
    step_s = scenario.time.step_s
    episode = make_episode(
        scenario,
        arrival_s=np.sort(rng.integers(0, steps // 2, tasks)) * step_s,
        cores=rng.uniform(0.25, 4.0, tasks),
        base_time_s=rng.lognormal(-0.4, 0.8, tasks),
        write_mb=rng.exponential(100.0, tasks),
        memory_gb=0.01,
    )
    level = np.repeat(rng.integers(0, len(shares), steps), rng.integers(1, 40, steps))[:steps]
    rows = []

    def watch(env, step):
        compute = env.simulator_state.compute
        rows.append((compute.in_use_cores[0, 0], compute.useful_core_s[0, 0], compute.garbage_mb[0, 0]))

    def actions(env, now):
        chosen = constant_actions(scenario, 1)
        chosen["compute"][..., 2] = level[now]
        return chosen

    start, finish = times(play(scenario, [episode], actions=actions, watch=watch))
    begin = np.arange(steps) * step_s
    present = (start[0] <= begin[:, None] + 1e-9) & (finish[0] > begin[:, None])
    in_use, useful, garbage = np.array(rows).T
    share = np.array(shares)[level]
    return Purging(
        CORES * (1.0 - share),
        present @ episode.cores,
        in_use[1:],
        useful[1:],
        episode.cores * episode.base_time_s,
        finish[0],
        garbage,
        episode.write_mb,
        share,
    )


def relay(low: float, high: float) -> Callable[[float, int], int]:
    """Purging with hysteresis, as vacuum is triggered: level 1 above ``high``, 0 below ``low`` soft limits."""

    def control(depth: float, before: int) -> int:
        return 1 if depth > high else 0 if depth < low else before

    return control


def run_relay(
    write_mb_per_s: float, *, low: float, high: float, share: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Garbage in soft limits, ``[steps + 1]``, and levels, ``[steps]``, of a writer whose node purges on and off.

    Purging is equally efficient at any amount of garbage here, so that it goes down on a straight line.
    """
    scenario = purging(steps, 0.0, purge__shares=(0.0, share), purge__efficient_garbage=0.0)
    episode = make_episode(scenario, base_time_s=_LONG_S, write_mb=write_mb_per_s * _LONG_S, memory_gb=1e-6)
    control, depths, levels = relay(low, high), [], []

    def watch(env, step):
        depths.append(env.simulator_state.compute.garbage_mb[0, 0] / SOFT_MB)

    def actions(env, step):
        chosen = constant_actions(scenario, 1)
        levels.append(control(depths[-1], levels[-1] if levels else 0))
        chosen["compute"][..., 2] = levels[-1]
        return chosen

    play(scenario, [episode], actions=actions, watch=watch)
    return np.array(depths), np.array(levels)
