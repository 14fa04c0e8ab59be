"""Progress of running tasks, cache fill, and exact completion times (`docs/simulator.md`, steps 9-10)."""

from __future__ import annotations

from cloudsched_env.sim.cache import fit_cache, insert, invalidate_elsewhere
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.engine import begin_engine_step, book_engine_task, book_evictions
from cloudsched_env.sim.state import FINISHED

__all__ = ["advance_tasks", "vacate"]

_HIT_DECAY = 0.9
# What rounding leaves of a fully cached hot set is no read: waiting for storage must not depend on the last bit.
_NEGLIGIBLE_MB = 1e-9


@compiled
def vacate(running, b, k):
    """Free running slot ``k``: the last slot moves into it."""
    last = running.slots_used[b] - 1
    running.slots_used[b] = last
    if k == last:
        return
    running.task[b, k] = running.task[b, last]
    running.node[b, k] = running.node[b, last]
    running.shard[b, k] = running.shard[b, last]
    running.tenant[b, k] = running.tenant[b, last]
    running.cores[b, k] = running.cores[b, last]
    running.base_time_s[b, k] = running.base_time_s[b, last]
    running.memory_gb[b, k] = running.memory_gb[b, last]
    running.cacheable_mb[b, k] = running.cacheable_mb[b, last]
    running.scan_mb[b, k] = running.scan_mb[b, last]
    running.write_mb[b, k] = running.write_mb[b, last]
    running.start_s[b, k] = running.start_s[b, last]
    running.remaining[b, k] = running.remaining[b, last]


@compiled
def advance_tasks(parameters, tasks, data, running, compute, ledger, scratch, b, step, now_s):
    """Advance every running task by what its processor and storage allowed, and finish those that are done.

    Fills the shards' actual reads and writes for `settle_storage`, the tenants' useful work and the schedulers'
    on-time work of the step.
    """
    nodes = parameters.cores.shape[0]
    end_s = now_s + parameters.step_s
    for m in range(data.hot_set_mb.shape[1]):
        scratch.read_demand_mb[m] = 0.0
        scratch.write_demand_mb[m] = 0.0
    scratch.tenant_work[:] = 0.0
    scratch.hit_mb[:] = 0.0
    scratch.seen_mb[:] = 0.0
    scratch.written_mb[:] = 0.0
    ledger.on_time_core_s[b, :] = 0.0
    for n in range(nodes):
        compute.useful_core_s[b, n] = 0.0
        compute.read_mb[b, n] = 0.0
        compute.running_tasks[b, n] = 0
        compute.running_cores[b, n] = 0.0
        compute.running_memory_gb[b, n] = 0.0
        if parameters.engine_metrics:
            begin_engine_step(parameters, compute, scratch, b, n)

    for k in range(running.slots_used[b]):
        n = running.node[b, k]
        m = running.shard[b, k]
        miss = scratch.miss_mb[k]
        write = running.write_mb[b, k]
        gate = 1.0
        if miss > _NEGLIGIBLE_MB:
            gate = min(gate, scratch.read_gate[m])
        if write > 0.0:
            gate = min(gate, scratch.write_gate[m])
        possible = scratch.wanted[k] * gate
        remaining = running.remaining[b, k]
        advance = min(remaining, possible)
        scratch.wanted[k] = possible
        work = running.cores[b, k] * running.base_time_s[b, k] * advance
        compute.useful_core_s[b, n] += work
        compute.read_mb[b, n] += advance * miss
        scratch.tenant_work[running.tenant[b, k]] += work
        scratch.read_demand_mb[m] += advance * miss
        scratch.write_demand_mb[m] += advance * write
        scratch.written_mb[n] += advance * write
        cacheable = advance * running.cacheable_mb[b, k]
        if cacheable > 0.0:
            warmth = scratch.warmth[k]
            scratch.seen_mb[n] += cacheable
            scratch.hit_mb[n] += cacheable * warmth
            if parameters.cache_enabled:
                insert(compute, b, n, m, data.hot_set_mb[b, m], cacheable * (1.0 - warmth))
        if parameters.engine_metrics:
            unread_mb = (remaining - advance) * miss
            book_engine_task(parameters, compute, b, n, m, step, data.hot_set_mb[b, m], cacheable, unread_mb)
        if write > 0.0 and parameters.cache_enabled and parameters.invalidation_enabled and advance > 0.0:
            invalidate_elsewhere(compute, b, n, m, advance * write * data.per_hot_set[b, m])

    k = 0
    while k < running.slots_used[b]:
        remaining = running.remaining[b, k]
        possible = scratch.wanted[k]
        if possible >= remaining:
            i = running.task[b, k]
            available = scratch.available_s[k]
            finish_s = end_s - available + available * (remaining / possible)
            tasks.finish_s[b, i] = finish_s
            tasks.place[b, i] = FINISHED
            if finish_s - tasks.arrival_s[b, i] <= tasks.deadline_s[b, i]:
                scheduler = data.tenant_scheduler[b, tasks.tenant[b, i]]
                ledger.on_time_core_s[b, scheduler] += tasks.cores[b, i] * tasks.base_time_s[b, i]
            last = running.slots_used[b] - 1
            scratch.wanted[k] = scratch.wanted[last]
            scratch.available_s[k] = scratch.available_s[last]
            vacate(running, b, k)
        else:
            running.remaining[b, k] = remaining - possible
            n = running.node[b, k]
            compute.running_tasks[b, n] += 1
            compute.running_cores[b, n] += running.cores[b, k]
            compute.running_memory_gb[b, n] += running.memory_gb[b, k]
            k += 1

    for n in range(nodes):
        compute.hit_mb_decayed[b, n] = _HIT_DECAY * compute.hit_mb_decayed[b, n] + scratch.hit_mb[n]
        compute.cacheable_mb_decayed[b, n] = _HIT_DECAY * compute.cacheable_mb_decayed[b, n] + scratch.seen_mb[n]
        if parameters.engine_metrics:
            book_evictions(parameters, compute, b, n)
        fit_cache(parameters, compute, b, n)
