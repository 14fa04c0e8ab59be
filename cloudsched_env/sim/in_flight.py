"""What a scheduler has sent to a node since the snapshot that it holds of it (`docs/simulator.md`, step 14).

Counters only grow; what is in flight is the difference to their value at the snapshot's stamp. That value is written
down when a counter changes for the first time after a stamp, so that a snapshot costs nothing for pairs of scheduler
and node between which nothing happens.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["count_dispatch", "in_flight", "sent_before"]


@compiled
def count_dispatch(parameters, clock, schedulers, telemetry, b, s, n, cores, memory_gb):
    """Count a task that scheduler ``s`` sends to node ``n`` in the present step."""
    step, every, ring = clock.step[b], parameters.publish_every_steps, parameters.telemetry_ring
    last = schedulers.sent_step[b, s, n]
    newest = step // every
    for age in range(min(ring, newest + 1)):
        if (newest - age) * every <= last:
            break
        slot = (newest - age) % ring
        telemetry.shown_cores[b, slot, s, n] = schedulers.sent_cores[b, s, n]
        telemetry.shown_memory_gb[b, slot, s, n] = schedulers.sent_memory_gb[b, s, n]
    schedulers.sent_step[b, s, n] = step
    schedulers.sent_cores[b, s, n] += cores
    schedulers.sent_memory_gb[b, s, n] += memory_gb


@compiled
def sent_before(parameters, schedulers, telemetry, b, s, n, stamp):
    """Cores and GB that scheduler ``s`` had sent to node ``n`` before the snapshot ``stamp``, one still in the ring."""
    if schedulers.sent_step[b, s, n] < stamp:
        return schedulers.sent_cores[b, s, n], schedulers.sent_memory_gb[b, s, n]
    slot = (stamp // parameters.publish_every_steps) % parameters.telemetry_ring
    return telemetry.shown_cores[b, slot, s, n], telemetry.shown_memory_gb[b, slot, s, n]


@compiled
def in_flight(parameters, schedulers, telemetry, b, s, n, stamp):
    """Cores and GB that scheduler ``s`` has sent to node ``n`` and that its view, of age ``stamp``, cannot show yet."""
    if parameters.loss_probability > 0.0:
        row = parameters.telemetry_ring
    elif schedulers.sent_step[b, s, n] < stamp:
        return 0.0, 0.0
    else:
        row = (stamp // parameters.publish_every_steps) % parameters.telemetry_ring
    cores = schedulers.sent_cores[b, s, n] - telemetry.shown_cores[b, row, s, n]
    memory_gb = schedulers.sent_memory_gb[b, s, n] - telemetry.shown_memory_gb[b, row, s, n]
    return cores, memory_gb
