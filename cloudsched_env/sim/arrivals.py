"""Arrivals from the workload into the schedulers' queues (`docs/simulator.md`, step 13)."""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.scheduling import enter_fifo

__all__ = ["admit_arrivals"]

_ARRIVAL_DECAY = 0.9


@compiled
def admit_arrivals(clock, tasks, data, schedulers, ledger, b, now_s, decay, counted):
    """Let every task with arrival up to ``now_s`` into the queue of its tenant's scheduler.

    The tenants' arrived work decays by ``decay`` first; with ``counted`` it is added to the metrics too.
    """
    for s in range(schedulers.arrivals_decayed.shape[1]):
        schedulers.arrivals_decayed[b, s] *= _ARRIVAL_DECAY
    for g in range(ledger.arrived_decayed.shape[1]):
        ledger.arrived_decayed[b, g] *= decay
    i = clock.next_arrival[b]
    while i < tasks.task_count[b] and tasks.arrival_s[b, i] <= now_s:
        tenant = tasks.tenant[b, i]
        s = data.tenant_scheduler[b, tenant]
        enter_fifo(tasks, schedulers, b, s, i)
        work = tasks.cores[b, i] * tasks.base_time_s[b, i]
        ledger.arrived_decayed[b, tenant] += work
        if counted:
            ledger.tenant_arrived[b, tenant] += work
        schedulers.arrivals_decayed[b, s] += 1.0 - _ARRIVAL_DECAY
        i += 1
    clock.next_arrival[b] = i
