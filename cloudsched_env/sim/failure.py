"""Crashes and repairs of nodes (`docs/simulator.md`, step 12); the schedule is drawn before the episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.cache import drop_cache
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.engine import forget_engine
from cloudsched_env.sim.progress import vacate
from cloudsched_env.sim.scheduling import enter_fifo, leave_node_queue

__all__ = ["Outage", "apply_outages", "draw_outages"]

Outage = tuple[int, int, int]
"""``(step, node, up)``: node counts compute nodes first, then storage nodes; up is 1 for a repair, 0 for a crash."""


def draw_outages(scenario: Scenario, rng: np.random.Generator) -> list[Outage]:
    """Draw the crashes and repairs of one episode: exponential up times and repair times, rounded up to steps."""
    counts = scenario.role_counts
    rates = [scenario.failure.compute_failures_per_hour] * counts["compute"]
    rates += [scenario.failure.storage_failures_per_hour] * counts["storage"]
    step_s, horizon = scenario.time.step_s, scenario.time.horizon_steps
    events: list[Outage] = []
    for node, per_hour in enumerate(rates):
        if per_hour == 0.0:
            continue
        step = 0
        while True:
            step += int(np.ceil(rng.exponential(3600.0 / per_hour) / step_s))
            if step >= horizon:
                break
            events.append((step, node, 0))
            step += max(1, int(np.ceil(rng.exponential(scenario.failure.repair_mean_s) / step_s)))
            if step >= horizon:
                break
            events.append((step, node, 1))
    return sorted(events)


def outage_arrays(events: list[Outage], capacity: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]]:
    """The schedule as arrays of length ``capacity``, padded at the end."""
    step, node, up = np.zeros(capacity, np.int64), np.zeros(capacity, np.int32), np.zeros(capacity, np.int8)
    for position, event in enumerate(sorted(events)):
        step[position], node[position], up[position] = event
    return step, node, up


@compiled
def _crash_compute(tasks, data, running, compute, schedulers, b, n):
    """Send running, then queued tasks of node ``n`` back to their schedulers; returns how many and the lost work."""
    returned = 0
    lost = 0.0
    # Two passes, because filling a freed slot with the last one would change the order in which tasks return.
    for k in range(running.slots_used[b]):
        if running.node[b, k] == n:
            i = running.task[b, k]
            lost += running.cores[b, k] * running.base_time_s[b, k] * (1.0 - running.remaining[b, k])
            tasks.start_s[b, i] = np.nan
            enter_fifo(tasks, schedulers, b, data.tenant_scheduler[b, tasks.tenant[b, i]], i)
            returned += 1
    k = 0
    while k < running.slots_used[b]:
        if running.node[b, k] == n:
            vacate(running, b, k)
        else:
            k += 1
    while compute.queue_length[b, n] > 0:
        i = leave_node_queue(tasks, compute, b, n)
        enter_fifo(tasks, schedulers, b, data.tenant_scheduler[b, tasks.tenant[b, i]], i)
        returned += 1
    drop_cache(compute, b, n)
    forget_engine(compute, b, n)
    compute.alive[b, n] = 0
    compute.garbage_mb[b, n] = 0.0
    compute.running_tasks[b, n] = 0
    compute.running_cores[b, n] = 0.0
    compute.running_memory_gb[b, n] = 0.0
    return returned, lost


@compiled
def apply_outages(clock, tasks, data, running, compute, storage, schedulers, b):
    """Carry out the crashes and repairs due at the current step.

    Returns:
        Tasks sent back to their schedulers, and the work in core-seconds that they lose.
    """
    nodes = compute.alive.shape[1]
    returned = 0
    lost = 0.0
    while clock.next_outage[b] < data.outages[b] and data.outage_step[b, clock.next_outage[b]] <= clock.step[b]:
        event = clock.next_outage[b]
        clock.next_outage[b] += 1
        node = data.outage_node[b, event]
        up = data.outage_up[b, event]
        if node >= nodes:
            storage.alive[b, node - nodes] = up
        elif up == 1:
            compute.alive[b, node] = 1
        else:
            tasks_back, work = _crash_compute(tasks, data, running, compute, schedulers, b, node)
            returned += tasks_back
            lost += work
    return returned, lost
