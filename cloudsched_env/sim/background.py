"""Cores that noisy neighbours take from compute nodes (`docs/simulator.md`, step 12); the schedule is the episode's."""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["apply_background"]


@compiled
def apply_background(parameters, clock, data, compute, b):
    """Carry out the changes of available cores due at the current step."""
    while clock.next_background[b] < data.changes[b]:
        change = clock.next_background[b]
        if data.background_step[b, change] > clock.step[b]:
            break
        clock.next_background[b] += 1
        n = data.background_node[b, change]
        compute.available_cores[b, n] = data.background_share[b, change] * parameters.cores[n]
