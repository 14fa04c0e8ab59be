"""What noisy neighbours take: cores of compute nodes, bandwidth of storage nodes (`docs/simulator.md`, step 12).

The schedule is the episode's.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["apply_background"]


@compiled
def apply_background(parameters, clock, data, compute, storage, b):
    """Carry out the changes of available cores and bandwidth due at the current step."""
    compute_nodes = compute.available_cores.shape[1]
    while clock.next_background[b] < data.changes[b]:
        change = clock.next_background[b]
        if data.background_step[b, change] > clock.step[b]:
            break
        clock.next_background[b] += 1
        n = data.background_node[b, change]
        share = data.background_share[b, change]
        if n < compute_nodes:
            compute.available_cores[b, n] = share * parameters.cores[n]
        else:
            storage.available_mb_per_s[b, n - compute_nodes] = share * parameters.bandwidth_mb_per_s
