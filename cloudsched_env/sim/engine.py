"""What a database engine says of itself beyond load and cache: working set, churn, spill, stalls, lag.

These quantities change nothing in the dynamics; they are kept only with ``observation.engine_metrics``
(`docs/simulator.md`, "Engine metrics").
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.memory import execution_memory_gb

__all__ = ["begin_engine_step", "book_engine_task", "book_evictions", "forget_engine"]

_CHURN_DECAY = 0.9


@compiled
def begin_engine_step(parameters, compute, scratch, b, n):
    """Age the working set of node ``n`` by a step, and note what spilled in it."""
    compute.working_set_mb[b, n] *= parameters.working_set_decay
    compute.pending_read_mb[b, n] = 0.0
    spilled = scratch.allocated_memory_gb[n] - execution_memory_gb(parameters, compute, b, n)
    compute.spill_gb[b, n] = max(0.0, spilled)


@compiled
def book_engine_task(parameters, compute, b, n, m, step, hot_set_mb, read_mb, unread_mb):
    """Book what a task of node ``n`` read of the cacheable bytes of shard ``m``, and what it has still to fetch.

    The working set is the expected number of distinct bytes touched, as in the windowed estimates that size the file
    cache of cloud databases, with an exponential window: reading x hot sets of a shard at random touches the part x of
    what was not touched before, and a touch counts less the longer ago it was.
    """
    compute.pending_read_mb[b, n] += unread_mb
    if read_mb <= 0.0:
        return
    age = step - compute.touched_step[b, n, m]
    before = compute.touched[b, n, m] * parameters.working_set_decay**age
    added = (1.0 - before) * min(1.0, read_mb / hot_set_mb)
    compute.touched[b, n, m] = before + added
    compute.touched_step[b, n, m] = step
    compute.working_set_mb[b, n] += added * hot_set_mb


@compiled
def book_evictions(parameters, compute, b, n):
    """Note the bytes that replacement is about to evict from the cache of node ``n``."""
    size_mb = 1000.0 * compute.cache_fraction[b, n] * parameters.memory_gb[n]
    evicted = max(0.0, compute.occupied_mb[b, n] - size_mb)
    churn = compute.evicted_mb_decayed[b, n]
    compute.evicted_mb_decayed[b, n] = _CHURN_DECAY * churn + (1.0 - _CHURN_DECAY) * evicted


@compiled
def forget_engine(compute, b, n):
    """A node that lost its memory has lost its statistics too."""
    for m in range(compute.touched.shape[2]):
        compute.touched[b, n, m] = 0.0
    compute.working_set_mb[b, n] = 0.0
    compute.evicted_mb_decayed[b, n] = 0.0
    compute.pending_read_mb[b, n] = 0.0
    compute.spill_gb[b, n] = 0.0
