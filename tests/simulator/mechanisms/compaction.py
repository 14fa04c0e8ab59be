"""Runs of one storage node under a constant stream of writes: compaction debt and write stalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from cloudsched_env.scenario import Scenario
from tests.simulator.drive import constant_actions, make_episode, play
from tests.simulator.isolated import isolated

BANDWIDTH_MB_PER_S = 1000.0
_LONG_S = 1e6


class Debt(NamedTuple):
    """Debt and writes of each cluster, step by step."""

    scenario: Scenario
    debt_mb: NDArray[np.float64]  # [steps + 1, B]
    write_factor: NDArray[np.float64]  # [steps + 1, B]
    written_mb: NDArray[np.float64]  # [steps, B]
    background_share: NDArray[np.float64]  # [steps, B]


def run_writer(
    rate_mb_per_s: ArrayLike,
    *,
    steps: int,
    saturating: bool = False,
    control: Callable[[NDArray[np.float64]], NDArray[np.int64]] | None = None,
    **overrides,
) -> Debt:
    """An endless writer in each cluster.

    Args:
        rate_mb_per_s: of each cluster's writer.
        steps: how many.
        saturating: whether the writers, all at the same rate, do nothing but write (the rate falls with the write
            factor), or compute all the time and write on the side (the rate is constant).
        control: from the debt in soft limits, ``[B]``, to the background level of each cluster.
        overrides: scenario fields.
    """
    rate = np.atleast_1d(np.asarray(rate_mb_per_s, float))
    if saturating and np.ptp(rate) > 0.0:
        raise ValueError(f"rates {rate} of saturating writers: expected equal ones, the stream limit is one for all")
    scenario = isolated(
        **{
            "time__horizon_steps": steps,
            "cluster__compute_nodes": ({"count": 1, "cores": 8.0, "memory_gb": 1.0},),
            "storage__bandwidth_mb_per_s": BANDWIDTH_MB_PER_S,
            "storage__write_stream_mb_per_s": float(rate.max()) if saturating else 1e9,
            "storage__background_shares": (0.2,),
            "compaction__enabled": True,
            **overrides,
        }
    )
    volume = rate * _LONG_S
    base_time_s = 1e-3 if saturating else _LONG_S
    episodes = [make_episode(scenario, base_time_s=base_time_s, write_mb=v, memory_gb=1e-6) for v in volume]
    debt, factor, remaining, share = [], [], [], []
    shares = np.array(scenario.storage.background_shares)

    def watch(env, step):
        state = env.simulator_state
        debt.append(state.storage.debt_mb[:, 0].copy())
        factor.append(state.storage.write_factor[:, 0].copy())
        remaining.append(state.running.remaining[:, 0].copy() if step else np.ones(len(rate)))
        if step:
            share.append(shares[state.storage.background_level[:, 0]])

    def actions(env, step):
        chosen = constant_actions(scenario, len(rate))
        if control is not None:
            soft_mb = scenario.compaction.soft_limit_s * scenario.storage.bandwidth_mb_per_s
            chosen["storage"][:, 0, 0] = control(env.simulator_state.storage.debt_mb[:, 0] / soft_mb)
        return chosen

    play(scenario, episodes, actions=actions, watch=watch)
    written = -np.diff(np.array(remaining), axis=0) * volume
    return Debt(scenario, np.array(debt), np.array(factor), written, np.array(share))


def stationary_debt(scenario: Scenario, rate_mb_per_s: ArrayLike, share: float) -> NDArray[np.float64]:
    """Debt D at which u B D / (D + D0) = WA w, in MB; infinite where compaction can never keep up."""
    compaction, bandwidth = scenario.compaction, scenario.storage.bandwidth_mb_per_s
    inflow = compaction.write_amplification * np.asarray(rate_mb_per_s, float)
    most = share * bandwidth
    with np.errstate(divide="ignore"):
        return np.where(inflow < most, compaction.efficient_debt_s * bandwidth * inflow / np.abs(most - inflow), np.inf)


def stall_threshold_mb_per_s(scenario: Scenario, share: float) -> float:
    """Constant write rate at which the stationary debt is the soft limit: writes above it are slowed down."""
    c = scenario.compaction
    efficiency = c.soft_limit_s / (c.soft_limit_s + c.efficient_debt_s)
    return share * scenario.storage.bandwidth_mb_per_s * efficiency / c.write_amplification


def throttled_debt(scenario: Scenario, stream_mb_per_s: float, share: float) -> float:
    """Debt in MB at which a writer slowed down by the write factor writes what compaction removes."""
    c, bandwidth = scenario.compaction, scenario.storage.bandwidth_mb_per_s
    soft, hard, half = c.soft_limit_s * bandwidth, c.hard_limit_s * bandwidth, c.efficient_debt_s * bandwidth

    def excess(debt: float) -> float:
        factor = min(1.0, max(c.minimum_write_factor, 1.0 - (debt - soft) / (hard - soft)))
        return c.write_amplification * stream_mb_per_s * factor - share * bandwidth * debt / (debt + half)

    return brentq(excess, 0.0, 10.0 * hard, xtol=1e-10)


def relay(low: float, high: float) -> Callable[[NDArray[np.float64]], NDArray[np.int64]]:
    """Compaction with hysteresis, as operators script it: level 1 above ``high``, 0 below ``low`` soft limits."""
    level: list[NDArray[np.int64]] = []

    def control(debt: NDArray[np.float64]) -> NDArray[np.int64]:
        before = level[-1] if level else np.zeros(len(debt), np.int64)
        level.append(np.where(debt > high, 1, np.where(debt < low, 0, before)))
        return level[-1]

    return control


def read_bytes(debt_in_soft_limits: ArrayLike) -> NDArray[np.float64]:
    """Bytes that a storage node moves for 1 GB that a task reads, in GB, at debts that stay as they are."""
    read_mb = 1000.0
    moved = []
    for debt in np.asarray(debt_in_soft_limits, float):
        scenario = isolated(
            compaction__enabled=True, compaction__initial_debt=float(debt), storage__read_stream_mb_per_s=100.0
        )
        episode = make_episode(scenario, base_time_s=1e-3, scan_read_mb=read_mb)
        moved.append(play(scenario, [episode], steps=120).results()[0].totals["storage_served_mb"])
    return np.array(moved) / read_mb
