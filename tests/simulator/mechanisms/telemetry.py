"""Runs of telemetry: what a scheduler knows of many nodes, how old it is, and how much of it is lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.simulator.drive import constant_actions, make_episode, play
from tests.simulator.isolated import isolated


class Views(NamedTuple):
    """What one scheduler per cluster holds and what was true, after the reset and after every step."""

    age_steps: NDArray[np.int64]  # [steps + 1, B, nodes], from the observation
    shown_load: NDArray[np.float64]  # [steps + 1, B, nodes], from the observation
    true_load: NDArray[np.float64]  # [steps + 1, B, nodes]
    every: int
    delay: int

    def losses(self) -> NDArray[np.int64]:
        """How many deliveries in a row each link has lost, up to the last due one, ``[deliveries, B, nodes]``.

        The first quarter of the deliveries is left out, because at the reset everyone knows everything.
        """
        steps = np.arange(len(self.age_steps))
        due = steps[(steps >= self.delay) & ((steps - self.delay) % self.every == 0)]
        missed = (self.age_steps[due] - self.delay) // self.every
        return missed[len(due) // 4 :]


def run_telemetry(
    *,
    loss: float,
    burst: float,
    every: int = 1,
    delay: int = 0,
    nodes: int = 50,
    clusters: int = 8,
    steps: int = 1000,
    seed: int = 0,
    arrivals_per_step: float = 4.0,
) -> Views:
    """Clusters whose load changes all the time, because tasks arrive and go to a node drawn at random."""
    scenario = isolated(
        time__horizon_steps=steps,
        time__step_s=0.01,
        cluster__compute_nodes=({"count": nodes, "cores": 8.0, "memory_gb": 16.0},),
        telemetry__publish_every_steps=every,
        telemetry__delay_steps=delay,
        telemetry__loss_probability=loss,
        telemetry__loss_burst_length=burst,
    )
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(clusters):
        count = int(arrivals_per_step * steps)
        arrival = np.sort(rng.uniform(0.0, scenario.duration_s, count))
        cores, base = rng.uniform(0.1, 1.0, count), rng.exponential(0.1, count)
        episodes.append(make_episode(scenario, arrival_s=arrival, cores=cores, base_time_s=base, memory_gb=1e-3))

    def actions(env, step):
        chosen = constant_actions(scenario, clusters)
        chosen["scheduler"][:] = rng.integers(0, nodes, chosen["scheduler"].shape)
        return chosen

    age, shown, true = [], [], []

    def watch(env, step):
        layout = env.layouts["scheduler"]
        view = layout.view(env.observations["scheduler"], "nodes")[:, 0]
        block = layout.block("nodes")
        # The observation is in units of 10 s.
        age.append(np.rint(view[..., block.index("telemetry_age")] * 10.0 / scenario.time.step_s).astype(np.int64))
        shown.append(view[..., block.index("running_cores_load")].astype(np.float64))
        true.append(env.simulator_state.compute.running_cores / 8.0)

    play(scenario, episodes, actions=actions, watch=watch, seed=seed)
    return Views(np.array(age), np.array(shown), np.array(true), every, delay)


def losses_in_a_row(loss: float, burst: float, most: int) -> NDArray[np.float64]:
    """P(the last n deliveries were lost and the one before was not) for n = 0 ... ``most``.

    A loss is followed by another with probability s: s = p for independent ones (burst 1), s = 1 - 1 / burst in a
    Gilbert-Elliott chain. So P(0) = 1 - p and P(n) = p (1 - s) s^(n - 1).
    """
    stay = loss if burst == 1.0 else 1.0 - 1.0 / burst
    n = np.arange(1, most + 1)
    return np.concatenate([[1.0 - loss], loss * (1.0 - stay) * stay ** (n - 1)])


def run_lengths(losing: NDArray[np.bool_], value: bool) -> NDArray[np.int64]:
    """Lengths of the complete runs of ``value`` along the first axis, all links together."""
    lengths = []
    for series in losing.reshape(len(losing), -1).T:
        changes = np.flatnonzero(np.diff(series)) + 1
        lengths.append(np.diff(changes)[series[changes[:-1]] == value])
    return np.concatenate(lengths)
