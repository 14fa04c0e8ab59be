"""Runs of a node that may sleep through a pause between two bursts of work."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloudsched_env.vector import CloudSchedVectorEnv
from tests.simulator.drive import make_episode
from tests.simulator.isolated import isolated

WAKE_S = 2.0
COST = 0.3
STEP_S = 0.1
CORES = 2.0
TASK_S = 1.0


def run_pause(pause_s: float, *, sleep: bool, wake_s: float = WAKE_S, cost: float = COST) -> float:
    """Team reward summed over time, in s, of two tasks of a core with a pause between them.

    Two nodes of one core; the second takes both tasks, and sleeps between them (until the second one has arrived) or
    does not. The reward is useful work plus latency, less the cost of the cores that are not asleep.
    """
    second_s = TASK_S + pause_s
    steps = round((second_s + wake_s + 2 * TASK_S + 1.0) / STEP_S)
    scenario = isolated(
        cluster__compute_nodes=({"count": 2, "cores": CORES / 2, "memory_gb": 100.0},),
        elastic__enabled=True,
        elastic__wake_s=wake_s,
        elastic__minimum_nodes=1,
        elastic__cost_weight=cost,
        scheduling__backoff_steps=0,
        reward__useful_weight=0.0,
        reward__goodput_weight=0.0,
        reward__latency_weight=1.0,
        reward__fairness_weight=0.0,
        reward__latency_scale_s=1e-3 * steps * STEP_S,  # a waiting task takes the whole term
        time__horizon_steps=steps,
    )
    env = CloudSchedVectorEnv(scenario)
    env.reset(0, episodes=[make_episode(scenario, base_time_s=TASK_S, arrival_s=[0.0, second_s - 1e-6])])
    total = 0.0
    for step in range(steps):
        asleep = sleep and 0.5 * STEP_S < step * STEP_S < second_s - 1e-6
        env.step(
            {
                "compute": np.array([[[0, 0, 0, 1], [0, 0, 0, 0 if asleep else 1]]]),
                "storage": np.zeros((1, 1, 2), np.int64),
                "scheduler": np.full((1, 1, scenario.scheduling.window_slots), 1),
            }
        )
        total += float(env.team_reward[0]) * STEP_S
    return total


def waiting_loss(horizon_s: float) -> float:
    """What a task that waits takes off the latency term: 1 - 1 / (1 + Q / (rate x scale)) with Q = 1."""
    rate, scale_s = 2.0 / horizon_s, 1e-3 * horizon_s
    return 1.0 - 1.0 / (1.0 + 1.0 / (rate * scale_s))


def expected_gain(pause_s: ArrayLike, wake_s: float = WAKE_S, cost: float = COST) -> NDArray[np.float64]:
    """What sleeping gains: the cost of half of the cores in the pause, less the wait of one task for the lead time.

    The loss by waiting does not depend on the horizon; sleep begins with the step after the first task.
    """
    return cost / 2 * np.asarray(pause_s, float) - wake_s * waiting_loss(1.0)


def break_even_s(wake_s: float = WAKE_S, cost: float = COST) -> float:
    """The pause beyond which sleeping pays."""
    return wake_s * waiting_loss(1.0) / (cost / 2)
