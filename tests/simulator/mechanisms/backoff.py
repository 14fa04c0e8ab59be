"""Runs of a scheduler that defers some of its tasks for good: a queue with a finite source beside its arrivals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.simulator.drive import constant_actions, make_episode, play, times
from tests.simulator.isolated import isolated

_NEVER, _AT_ONCE = 2, 0  # classes of tasks, by which the policy of these runs tells them apart


class Deferral(NamedTuple):
    """Queues of one scheduler after each step, ``[steps + 1]``, and when the tasks that it places started."""

    queue_length: NDArray[np.int64]
    backing_off: NDArray[np.int64]
    start_s: NDArray[np.float64]  # [tasks that are placed]
    arrival_s: NDArray[np.float64]


def run_deferral(
    *, held: int, rate_per_step: float, slots: int, backoff_steps: int, steps: int, held_at_s: float = 0.0
) -> Deferral:
    """Tasks that come in even distances and are placed at once, beside ``held`` ones that are deferred every time."""
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=({"count": 1, "cores": 1000.0, "memory_gb": 1000.0},),
        scheduling__window_slots=slots,
        scheduling__backoff_steps=backoff_steps,
    )
    step_s = scenario.time.step_s
    flow = (np.arange(int(rate_per_step * steps)) + 0.5) / rate_per_step * step_s
    arrival = np.concatenate((np.full(held, held_at_s), flow))
    order = np.argsort(arrival, kind="stable")
    kind = np.concatenate((np.full(held, _NEVER), np.full(len(flow), _AT_ONCE)))[order]
    episode = make_episode(
        scenario, arrival_s=arrival[order], slo_class=kind, base_time_s=0.25, cores=0.01, memory_gb=1e-6
    )
    queues = []

    def watch(env, step):
        schedulers = env.simulator_state.schedulers
        queues.append((schedulers.queue_length[0, 0], schedulers.backoff_length[0, 0]))

    def actions(env, step):
        chosen = constant_actions(scenario, 1)
        layout = env.layouts["scheduler"]
        slot = layout.view(env.observations["scheduler"], "slots")
        column = layout.block("slots").index
        place = (slot[..., column("present")] == 1) & (slot[..., column("slo_class")] == _AT_ONCE / 2)
        chosen["scheduler"] = np.where(place, 0, scenario.compute_count)
        return chosen

    start, _ = times(play(scenario, [episode], actions=actions, watch=watch))
    queue, aside = np.array(queues).T
    return Deferral(queue, aside, start[0, kind == _AT_ONCE], flow)


def held_back_wait_steps(rate_per_step: ArrayLike, *, held: int, slots: int, backoff_steps: int) -> NDArray[np.float64]:
    """Steps that tasks wait for a slot, in D/D/1 beside ``held`` tasks that come back b steps after each visit.

    The held tasks take all slots that arrivals leave, if they can: slots - rate visits a step. Little's law for them,
    held = visits x (b + wait), gives the wait of everyone, as the queue is first in, first out. Where there are more
    slots than they can use, there is no wait but within bursts.
    """
    visits = slots - np.asarray(rate_per_step, float)
    return np.maximum(0.0, held / visits - backoff_steps)
