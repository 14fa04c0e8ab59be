"""Team reward, local rewards and the sums behind every metric (`docs/simulator.md`, "Rewards")."""

from __future__ import annotations

from math import sqrt

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.entitlement import NEGLIGIBLE_CORE_S as _NEGLIGIBLE_CORE_S
from cloudsched_env.sim.entitlement import alpha_fair_share, smallest_share
from cloudsched_env.sim.memory import execution_memory_gb
from cloudsched_env.sim.parameters import TEAM_REWARDS
from cloudsched_env.sim.power import active_share
from cloudsched_env.sim.result import TOTALS
from cloudsched_env.sim.scheduling import waiting_tasks
from cloudsched_env.sim.state import ASLEEP

__all__ = ["book_step", "jain_index", "local_rewards", "team_reward", "tenant_share"]

_GOODPUT_CAP = 2.0
_SCHEDULER_QUEUE_SCALE = 16.0
_COMPUTE_QUEUE_SCALE = 4.0
_GOODPUT, _ALPHA_FAIR, _MIN_SHARE = (TEAM_REWARDS.index(name) for name in ("goodput", "alpha_fair", "min_share"))

(
    _STEPS, _TEAM, _USEFUL_TERM, _GOODPUT_TERM, _LATENCY_TERM, _FAIRNESS_TERM, _USEFUL, _BUSY, _ALLOCATED,
    _ALLOCATED_CAPPED, _MEMORY, _SERVED, _CACHEABLE, _HIT, _SPILL, _DEVIATION, _WAITING, _LOST, _REQUEUED, _BOUNCED,
    _INVALID, _ACTIVE,
) = range(len(TOTALS))  # fmt: skip


@compiled
def tenant_share(ledger, b, g):
    """Served over arrived work of tenant ``g``, both decayed, at most 1; 1 for a tenant that asked for nothing."""
    arrived = ledger.arrived_decayed[b, g]
    if arrived < _NEGLIGIBLE_CORE_S:
        return 1.0
    return min(1.0, ledger.served_decayed[b, g] / arrived)


@compiled
def jain_index(ledger, b):
    """Jain's fairness index (sum x)^2 / (n sum x^2) over the tenants that asked for something; 1 without any."""
    total = 0.0
    squares = 0.0
    count = 0
    for g in range(ledger.arrived_decayed.shape[1]):
        if ledger.arrived_decayed[b, g] >= _NEGLIGIBLE_CORE_S:
            x = tenant_share(ledger, b, g)
            total += x
            squares += x * x
            count += 1
    return total * total / (count * squares) if squares > 0.0 else 1.0


@compiled
def team_reward(parameters, tasks, data, compute, schedulers, ledger, b):
    """The team reward of the step, of the kind that ``reward.team`` names; four terms are left in ``ledger.terms``."""
    capacity = parameters.total_cores * parameters.step_s
    useful = 0.0
    for n in range(compute.alive.shape[1]):
        useful += compute.useful_core_s[b, n]
    on_time = 0.0
    for s in range(schedulers.queue_length.shape[1]):
        on_time += ledger.on_time_core_s[b, s]
    waiting = waiting_tasks(compute, schedulers, b)
    rate = tasks.task_count[b] / (parameters.horizon_steps * parameters.step_s)
    terms = ledger.terms[b]
    terms[0] = useful / capacity
    terms[1] = min(_GOODPUT_CAP, on_time / capacity)
    terms[2] = 1.0 / (1.0 + waiting / (rate * parameters.latency_scale_s)) if rate > 0.0 else 1.0
    terms[3] = jain_index(ledger, b)
    if parameters.team_reward == _GOODPUT:
        reward = terms[1]
    elif parameters.team_reward == _ALPHA_FAIR:
        reward = alpha_fair_share(parameters, data, ledger, b)
    elif parameters.team_reward == _MIN_SHARE:
        reward = smallest_share(ledger, b)
    else:
        reward = (
            parameters.useful_weight * terms[0]
            + parameters.goodput_weight * terms[1]
            + parameters.latency_weight * terms[2]
            + parameters.fairness_weight * terms[3]
        )
    return (
        reward - parameters.power_cost * active_share(parameters, compute, b) if parameters.elastic_enabled else reward
    )


@compiled
def local_rewards(parameters, compute, storage, schedulers, ledger, b, of_compute, of_storage, of_schedulers):
    """Write every agent's local reward into float32 arrays ``[nodes]``, ``[nodes]``, ``[schedulers]``."""
    capacity = parameters.total_cores * parameters.step_s
    for n in range(compute.alive.shape[1]):
        reward = 0.0
        if compute.alive[b, n] == 1:
            in_use = min(1.0, compute.in_use_cores[b, n] / parameters.cores[n])
            reward = in_use - 0.5 * min(1.0, compute.queue_length[b, n] / _COMPUTE_QUEUE_SCALE)
            if parameters.elastic_enabled:
                reward = reward - parameters.power_cost if compute.power[b, n] != ASLEEP else 0.0
        of_compute[n] = reward
    for r in range(storage.alive.shape[1]):
        reward = 0.0
        if storage.alive[b, r] == 1:
            debt = min(1.0, storage.debt_mb[b, r] / parameters.soft_limit_mb)
            reward = 0.5 * min(storage.stream_factor[b, r], storage.served_share[b, r]) + 0.5 * (1.0 - debt)
        of_storage[r] = reward
    count = schedulers.queue_length.shape[1]
    for s in range(count):
        goodput = min(_GOODPUT_CAP, ledger.on_time_core_s[b, s] / capacity) * count
        queued = schedulers.queue_length[b, s] + schedulers.backoff_length[b, s]
        waiting = min(1.0, queued / _SCHEDULER_QUEUE_SCALE)
        of_schedulers[s] = parameters.scheduler_goodput_weight * goodput - waiting


@compiled
def book_step(parameters, compute, schedulers, ledger, scratch, b, reward, moved_mb, invalid, bounced, requeued, lost):
    """Add a counted step to the sums behind the metrics."""
    step_s = parameters.step_s
    totals = ledger.totals[b]
    nodes = compute.alive.shape[1]
    mean = 0.0
    square = 0.0
    for n in range(nodes):
        usage = compute.useful_core_s[b, n] / (parameters.cores[n] * step_s)
        mean += usage / nodes
        square += usage * usage / nodes
        allocated = scratch.allocated_cores[n]
        memory = scratch.allocated_memory_gb[n]
        totals[_USEFUL] += compute.useful_core_s[b, n]
        totals[_BUSY] += compute.in_use_cores[b, n] * step_s
        totals[_ALLOCATED] += allocated * step_s
        totals[_ALLOCATED_CAPPED] += min(allocated, parameters.cores[n]) * step_s
        totals[_MEMORY] += min(memory, parameters.memory_gb[n]) * step_s
        totals[_SPILL] += max(0.0, memory - execution_memory_gb(parameters, compute, b, n)) * step_s
        totals[_HIT] += scratch.hit_mb[n]
        totals[_CACHEABLE] += scratch.seen_mb[n]
    totals[_DEVIATION] += sqrt(max(0.0, square - mean * mean))
    totals[_STEPS] += 1.0
    totals[_TEAM] += reward
    for j in range(4):
        totals[_USEFUL_TERM + j] += ledger.terms[b, j]
    totals[_SERVED] += moved_mb
    totals[_WAITING] += waiting_tasks(compute, schedulers, b)
    totals[_LOST] += lost
    totals[_REQUEUED] += requeued
    totals[_BOUNCED] += bounced
    totals[_INVALID] += invalid
    totals[_ACTIVE] += active_share(parameters, compute, b)
    for g in range(ledger.tenant_served.shape[1]):
        ledger.tenant_served[b, g] += scratch.tenant_work[g]
