"""Garbage of multi-version concurrency control, and the cores that purge it (`docs/simulator.md`, steps 7 and 11).

Every write leaves an old version behind, which slows down all that reads over it until it is purged: InnoDB's history
list and its purge threads, PostgreSQL's dead tuples and vacuum. Purging takes cores that tasks then lack.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["cores_for_tasks", "garbage_slowdown", "relative_garbage", "settle_garbage"]


@compiled
def relative_garbage(parameters, compute, b, n):
    """Garbage of node ``n`` in units of its soft limit."""
    return compute.garbage_mb[b, n] * parameters.per_core[n] / parameters.garbage_soft_mb_per_core


@compiled
def cores_for_tasks(parameters, compute, b, n):
    """Cores of node ``n`` that are left for tasks: what noisy neighbours and purging do not take."""
    cores = compute.available_cores[b, n]
    if parameters.purge_enabled:
        cores *= 1.0 - parameters.purge_shares[compute.purge_level[b, n]]
    return cores


@compiled
def garbage_slowdown(parameters, compute, b, n):
    """Factor on the time that tasks of node ``n`` need."""
    if not parameters.purge_enabled:
        return 1.0
    depth = min(relative_garbage(parameters, compute, b, n), parameters.garbage_cap)
    return 1.0 + parameters.garbage_slope * depth


@compiled
def settle_garbage(parameters, compute, scratch, b):
    """Add what the step's writes left behind and take off what was purged; a node that is down keeps nothing.

    Purging little garbage is inefficient, as most pages that are visited hold none: the rate is
    r v C G / (G + G0).
    """
    if not parameters.purge_enabled:
        return
    for n in range(compute.alive.shape[1]):
        if compute.alive[b, n] == 0:
            continue
        garbage = compute.garbage_mb[b, n]
        depth = relative_garbage(parameters, compute, b, n)
        purged = 0.0
        if depth > 0.0:
            cores = parameters.purge_shares[compute.purge_level[b, n]] * compute.available_cores[b, n]
            rate = parameters.purge_rate_mb_per_core_s * cores * parameters.step_s
            purged = rate * depth / (depth + parameters.efficient_garbage)
        left = parameters.garbage_per_written * scratch.written_mb[n]
        compute.garbage_mb[b, n] = max(0.0, garbage + left - purged)
