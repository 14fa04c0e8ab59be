"""Runs of schedulers: how long a decision travels, how many there can be, and what a dead node does to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.simulator.drive import constant_actions, make_episode, play, times
from tests.simulator.isolated import isolated

_MANY_CORES = {"cores": 1000.0, "memory_gb": 1000.0}


class Dispatch(NamedTuple):
    """Times of every task, and the scheduler's queue step by step."""

    arrival_s: NDArray[np.float64]
    start_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    queue_length: NDArray[np.int64]  # [steps + 1]


def run_dispatch(
    arrival_s: NDArray[np.float64],
    *,
    slots: int,
    delay_s: float = 0.0,
    schedulers: int = 1,
    steps: int = 300,
    base_time_s: float = 0.25,
) -> Dispatch:
    """Tasks on a node that is never busy; with several schedulers their tenants take turns with the tasks."""
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=({"count": 1, **_MANY_CORES},),
        cluster__schedulers=schedulers,
        workload__tenants=schedulers,
        scheduling__window_slots=slots,
        scheduling__dispatch_delay_s=delay_s,
    )
    shard = np.arange(len(arrival_s)) % schedulers
    episode = make_episode(
        scenario, arrival_s=arrival_s, shard=shard, base_time_s=base_time_s, memory_gb=1e-6, cores=0.01
    )
    queue = []

    def watch(env, step):
        queue.append(int(env.simulator_state.schedulers.queue_length[0].sum()))

    start, finish = times(play(scenario, [episode], watch=watch))
    return Dispatch(arrival_s, start[0], finish[0], np.array(queue))


class Refusals(NamedTuple):
    """What sending everything to a node that is down comes to."""

    bounced: NDArray[np.int64]  # [steps], in each step
    masked: NDArray[np.int64]
    order: NDArray[np.int64]  # tasks in the order in which they started


def run_refusals(
    *, slots: int, every: int, delay: int, crash_step: int, repair_step: int, steps: int, tasks: int
) -> Refusals:
    """Tasks that are all there at the beginning are sent to node 0, which crashes and comes back.

    Tasks are long, and the node is never busy.
    """
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=({"count": 2, **_MANY_CORES},),
        scheduling__window_slots=slots,
        telemetry__publish_every_steps=every,
        telemetry__delay_steps=delay,
    )
    episode = make_episode(scenario, base_time_s=[1000.0] * tasks, memory_gb=1e-6, cores=0.01)
    totals = []

    def watch(env, step):
        now = env.results()[0].totals
        totals.append((now["bounced"], now["invalid_actions"]))

    outage = [[(crash_step, 0, 0), (repair_step, 0, 1)]]
    env = play(scenario, [episode], outages=outage, watch=watch, actions=constant_actions(scenario, 1))
    start, _ = times(env)
    bounced, masked = np.diff(np.array(totals), axis=0).astype(np.int64).T
    started = np.flatnonzero(~np.isnan(start[0]))
    return Refusals(bounced, masked, started[np.argsort(start[0, started], kind="stable")])


def blind_steps(every: int, delay: int, event_step: int) -> int:
    """Steps from a crash until schedulers see it: until the next snapshot is taken, and its way."""
    return -(-event_step // every) * every - event_step + delay
