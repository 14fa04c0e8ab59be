"""Compute nodes that sleep and wake (`docs/simulator.md`, "Elastic nodes")."""

from __future__ import annotations

from cloudsched_env.sim.cache import drop_cache
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.engine import forget_engine
from cloudsched_env.sim.state import ASLEEP, DRAINING, ON, WAKING

__all__ = ["accepts", "active_share", "power_column", "set_power", "settle_power"]


@compiled
def accepts(compute, b, n):
    """Whether compute node ``n`` takes new tasks: it is up, and neither drains, sleeps nor wakes."""
    return compute.alive[b, n] == 1 and compute.power[b, n] == ON


@compiled
def power_column(parameters):
    """Where the power levels begin in the mask of a compute node."""
    return (
        parameters.cache_fractions.shape[0] + parameters.memory_overcommit.shape[0] + parameters.purge_shares.shape[0]
    )


@compiled
def set_power(parameters, clock, compute, actions, masks, b):
    """Carry out the last sub-action of compute nodes, in the order of the nodes; returns how many were masked.

    A node that should sleep begins to drain, unless fewer than ``elastic.minimum_nodes`` would be left that accept
    tasks. A node that should wake up is on after the lead time.
    """
    invalid = 0
    if not parameters.elastic_enabled:
        return invalid
    nodes = compute.power.shape[1]
    column = power_column(parameters)
    accepting = 0
    for n in range(nodes):
        if accepts(compute, b, n):
            accepting += 1
    for n in range(nodes):
        level = actions[n, 3]
        if masks[n, column + level] == 0:
            invalid += 1
        elif level == 0 and compute.power[b, n] == ON and accepting > parameters.minimum_nodes:
            compute.power[b, n] = DRAINING
            accepting -= 1
        elif level == 1 and compute.power[b, n] == ASLEEP:
            compute.power[b, n] = WAKING
            compute.wake_step[b, n] = clock.step[b] + parameters.wake_steps
    return invalid


@compiled
def settle_power(parameters, clock, compute, b):
    """Put drained nodes to sleep, which loses their cache, and let those go on whose lead time is over."""
    if not parameters.elastic_enabled:
        return
    for n in range(compute.power.shape[1]):
        if compute.power[b, n] == DRAINING:
            if compute.running_tasks[b, n] == 0 and compute.queue_length[b, n] == 0:
                compute.power[b, n] = ASLEEP
                drop_cache(compute, b, n)
                compute.garbage_mb[b, n] = 0.0
                forget_engine(compute, b, n)
        elif compute.power[b, n] == WAKING and clock.step[b] >= compute.wake_step[b, n]:
            compute.power[b, n] = ON


@compiled
def active_share(parameters, compute, b):
    """Cores of nodes that are not asleep / all cores."""
    if not parameters.elastic_enabled:
        return 1.0
    active = 0.0
    for n in range(compute.power.shape[1]):
        if compute.power[b, n] != ASLEEP:
            active += parameters.cores[n]
    return active / parameters.total_cores
