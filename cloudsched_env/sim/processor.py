"""I/O wait and CPU processor sharing (`docs/simulator.md`, steps 6-7)."""

from __future__ import annotations

from cloudsched_env.sim.cache import valid_bytes_mb
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.memory import execution_memory_gb
from cloudsched_env.sim.purge import cores_for_tasks, garbage_slowdown

__all__ = ["share_processors"]


@compiled
def share_processors(parameters, data, running, compute, scratch, b, now_s):
    """Find each running task's misses, duration and available time, and each node's speed.

    A task on a node of C cores that it shares with wanted processor shares psi_i advances by
    ``available * c * e / duration`` with c = min(1, C / sum psi) and e the efficiency under spill and contention.
    """
    nodes = parameters.cores.shape[0]
    end_s = now_s + parameters.step_s
    step_s = parameters.step_s
    wanted, in_use = scratch.wanted_cores, scratch.in_use
    wanted[:] = 0.0
    in_use[:] = 0.0
    for k in range(running.slots_used[b]):
        n = running.node[b, k]
        m = running.shard[b, k]
        warmth = 0.0
        if parameters.cache_enabled:
            warmth = min(1.0, valid_bytes_mb(compute, b, n, m) * data.per_hot_set[b, m])
        base_time = running.base_time_s[b, k]
        miss = running.cacheable_mb[b, k] * (1.0 - warmth) + running.scan_mb[b, k]
        duration = base_time + miss * scratch.read_time[m] + running.write_mb[b, k] * scratch.write_time[m]
        per_duration = 1.0 / duration
        available = min(step_s, end_s - running.start_s[b, k])
        share = running.cores[b, k] * base_time * per_duration
        scratch.warmth[k] = warmth
        scratch.miss_mb[k] = miss
        scratch.per_duration[k] = per_duration
        scratch.available_s[k] = available
        wanted[n] += share
        in_use[n] += share * available
    for n in range(nodes):
        cores = cores_for_tasks(parameters, compute, b, n)
        running_cores = compute.running_cores[b, n]
        share = min(1.0, cores / wanted[n]) if wanted[n] > 0.0 else 1.0
        scratch.allocated_cores[n] = running_cores
        scratch.allocated_memory_gb[n] = compute.running_memory_gb[b, n]
        pressure = compute.running_memory_gb[b, n] / execution_memory_gb(parameters, compute, b, n)
        spill = 1.0 + parameters.spill_slope * max(0.0, pressure - 1.0)
        excess = max(0.0, running_cores / cores - parameters.contention_onset)
        contention = 1.0 + parameters.contention_slope * excess * excess
        efficiency = 1.0 / (spill * contention * garbage_slowdown(parameters, compute, b, n))
        compute.processor_share[b, n] = share
        compute.efficiency[b, n] = efficiency
        compute.io_wait[b, n] = 1.0 - wanted[n] / running_cores if running_cores > 0.0 else 0.0
        compute.in_use_cores[b, n] = share * in_use[n] / step_s
        scratch.speed[n] = share * efficiency
