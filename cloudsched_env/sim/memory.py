"""Memory of a compute node: its split between execution and cache, and admission (`docs/simulator.md`, steps 3-4)."""

from __future__ import annotations

from cloudsched_env.sim.cache import fit_cache
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.scheduling import leave_node_queue
from cloudsched_env.sim.state import RUNNING

__all__ = ["admit", "execution_memory_gb", "split_memory"]

_TOLERANCE = 1.0 + 1e-12  # sums of the same requests in another order must not change an admission


@compiled
def execution_memory_gb(parameters, compute, b, n):
    """Memory of node ``n`` that is not cache, in GB; all of it where the split is off."""
    if not parameters.memory_split_enabled:
        return parameters.memory_gb[n]
    return (1.0 - compute.cache_fraction[b, n]) * parameters.memory_gb[n]


@compiled
def split_memory(parameters, compute, b):
    """Move every live node's cache fraction towards its target; a shrinking cache evicts at random."""
    slew = parameters.cache_slew_per_step
    for n in range(parameters.cores.shape[0]):
        target = parameters.cache_fractions[compute.cache_level[b, n]]
        change = min(slew, max(-slew, target - compute.cache_fraction[b, n]))
        if change != 0.0:
            compute.cache_fraction[b, n] += change
            fit_cache(parameters, compute, b, n)


@compiled
def admit(parameters, tasks, running, compute, b, now_s):
    """Start queued tasks in order while the memory and core limits of the node's admission level allow."""
    for n in range(parameters.cores.shape[0]):
        if compute.alive[b, n] == 0 or compute.queue_length[b, n] == 0:
            continue
        level = compute.admission_level[b, n]
        memory_limit = parameters.memory_overcommit[level] * execution_memory_gb(parameters, compute, b, n) * _TOLERANCE
        core_limit = parameters.core_overcommit[level] * parameters.cores[n] * _TOLERANCE
        while compute.queue_length[b, n] > 0:
            i = compute.queue_head[b, n]
            fits = (
                compute.running_memory_gb[b, n] + tasks.memory_gb[b, i] <= memory_limit
                and compute.running_cores[b, n] + tasks.cores[b, i] <= core_limit
            )
            if compute.running_tasks[b, n] > 0 and not fits:
                break
            leave_node_queue(tasks, compute, b, n)
            start_s = max(now_s, tasks.ready_s[b, i])
            tasks.place[b, i] = RUNNING
            tasks.start_s[b, i] = start_s
            k = running.slots_used[b]
            running.task[b, k] = i
            running.node[b, k] = n
            running.shard[b, k] = tasks.shard[b, i]
            running.tenant[b, k] = tasks.tenant[b, i]
            running.cores[b, k] = tasks.cores[b, i]
            running.base_time_s[b, k] = tasks.base_time_s[b, i]
            running.memory_gb[b, k] = tasks.memory_gb[b, i]
            running.cacheable_mb[b, k] = tasks.cacheable_mb[b, i]
            running.scan_mb[b, k] = tasks.scan_mb[b, i]
            running.write_mb[b, k] = tasks.write_mb[b, i]
            running.start_s[b, k] = start_s
            running.remaining[b, k] = 1.0
            running.slots_used[b] += 1
            compute.running_tasks[b, n] += 1
            compute.running_cores[b, n] += tasks.cores[b, i]
            compute.running_memory_gb[b, n] += tasks.memory_gb[b, i]
