"""Noisy neighbours: when and by how much other load on the hosts takes cores from compute nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode

__all__ = ["bandwidth_shares", "core_shares", "draw_background"]


def draw_background(
    scenario: Scenario, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Draw the schedule of one episode: for each node an alternating renewal process that begins in equilibrium.

    Sojourns are exponential, in whole steps of at least one; each disturbance takes a uniform share of the cores.

    Args:
        scenario: the cluster.
        rng: source of randomness.

    Returns:
        Steps (ascending), nodes, and the share of its cores that the node has from then on, ``[changes]`` each.
    """
    config, time = scenario.background, scenario.time
    events: list[tuple[int, int, float]] = []
    if config.enabled:
        disturbed_share = config.disturbed_mean_s / (config.disturbed_mean_s + config.quiet_mean_s)
        for node in range(scenario.compute_count):
            step, disturbed = 0, bool(rng.random() < disturbed_share)
            while step < time.horizon_steps:
                share = 1.0 - rng.uniform(config.minimum_loss, config.maximum_loss) if disturbed else 1.0
                if step > 0 or disturbed:
                    events.append((step, node, share))
                mean_s = config.disturbed_mean_s if disturbed else config.quiet_mean_s
                step += max(1, round(rng.exponential(mean_s) / time.step_s))
                disturbed = not disturbed
    events.sort()
    return (
        np.array([event[0] for event in events], dtype=np.int64),
        np.array([event[1] for event in events], dtype=np.int32),
        np.array([event[2] for event in events], dtype=np.float64),
    )


def core_shares(scenario: Scenario, episode: Episode) -> NDArray[np.float64]:
    """Share of its cores that each compute node has in each step, ``[compute nodes, steps]``."""
    return _shares(scenario, episode)[: scenario.compute_count]


def bandwidth_shares(scenario: Scenario, episode: Episode) -> NDArray[np.float64]:
    """Share of its bandwidth that each storage node has in each step, ``[storage nodes, steps]``."""
    return _shares(scenario, episode)[scenario.compute_count :]


def _shares(scenario: Scenario, episode: Episode) -> NDArray[np.float64]:
    shares = np.ones((scenario.compute_count + scenario.cluster.storage_nodes, scenario.time.horizon_steps))
    for step, node, share in zip(
        episode.background_step, episode.background_node, episode.background_share, strict=True
    ):
        shares[node, step:] = share
    return shares
