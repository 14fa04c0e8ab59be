"""Runs of one node whose memory is divided between execution and cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.simulator.drive import constant_actions, make_episode, play, times, valid_mb
from tests.simulator.isolated import isolated

MEMORY_GB = 10.0
CACHE_FRACTION = 0.5


def run_admission(
    memory_gb: Sequence[float], cores: Sequence[float], limits: Sequence[tuple[float, float]], split: bool = True
) -> list[int]:
    """How many of the tasks, sent at once, run after a step under each pair of limits (of memory and of cores).

    Memory has 10 GB, half of it cache, which tasks do without if it is split; the node has 8 cores.
    """
    scenario = isolated(
        cluster__compute_nodes=({"count": 1, "cores": 8.0, "memory_gb": MEMORY_GB},),
        compute__cache_fractions=(CACHE_FRACTION,),
        compute__memory_split_enabled=split,
        compute__memory_overcommit=tuple(memory for memory, _ in limits),
        compute__core_overcommit=tuple(core for _, core in limits),
        scheduling__window_slots=64,
    )
    episode = make_episode(scenario, memory_gb=memory_gb, cores=cores, base_time_s=100.0)
    actions = constant_actions(scenario, len(limits))
    actions["compute"][:, 0, 1] = np.arange(len(limits))
    # Levels count from the step in which they are chosen: the tasks must not be admitted under the initial ones.
    env = play(scenario, [episode] * len(limits), actions=actions, steps=1)
    return env.simulator_state.compute.running_tasks[:, 0].tolist()


def run_spill(
    memory_gb: Sequence[float], tasks: int, slope: float, base_time_s: float = 3.0, split: bool = True
) -> NDArray[np.float64]:
    """Run time of equal tasks that together occupy each of the given amounts, all running at once.

    Execution memory is half of 10 GB (all of it, if memory is not split), and there are as many cores as tasks.
    """
    worst = 1.0 + slope * max(0.0, max(memory_gb) / (CACHE_FRACTION * MEMORY_GB) - 1.0)
    scenario = isolated(
        time__horizon_steps=int(base_time_s * worst / 0.1) + 5,
        cluster__compute_nodes=({"count": 1, "cores": float(tasks), "memory_gb": MEMORY_GB},),
        compute__cache_fractions=(CACHE_FRACTION,),
        compute__memory_split_enabled=split,
        compute__spill_enabled=True,
        compute__spill_slope=slope,
        scheduling__window_slots=64,
    )
    episodes = [make_episode(scenario, memory_gb=[m / tasks] * tasks, base_time_s=base_time_s) for m in memory_gb]
    start, finish = times(play(scenario, episodes))
    np.testing.assert_array_equal(start, 0.0)
    return (finish - start).mean(axis=1)


def run_shrink(
    hot_set_mb: Sequence[float], fractions: tuple[float, float], slew_per_step: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Valid bytes of each shard, ``[steps + 1, shards]``, and the cache fraction, after the first level gives way.

    The node begins with every shard fully cached, if the cache of 10 GB x ``fractions[0]`` holds them.
    """
    scenario = isolated(
        cluster__compute_nodes=({"count": 1, "cores": 8.0, "memory_gb": MEMORY_GB},),
        workload__shards_per_tenant=len(hot_set_mb),
        compute__cache_fractions=fractions,
        compute__cache_slew_per_step=slew_per_step,
        cache__enabled=True,
        cache__initial_warmth=1.0,
    )
    episode = make_episode(scenario, hot_set_mb=hot_set_mb, arrival_s=1e6)
    actions = constant_actions(scenario, 1)
    actions["compute"][:, 0, 0] = 1
    valid, fraction = [], []

    def watch(env, step):
        valid.append(valid_mb(env)[0, 0])
        fraction.append(env.simulator_state.compute.cache_fraction[0, 0])

    play(scenario, [episode], actions=actions, watch=watch, steps=steps)
    return np.array(valid), np.array(fraction)
