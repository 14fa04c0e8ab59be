"""What a scheduler has sent to a node since the snapshot that it holds of it (`docs/simulator.md`, step 14).

Counters only grow; what is in flight is the difference to their value at the snapshot's stamp. That value is written
down when a counter changes for the first time after a stamp, so that a snapshot costs nothing for pairs of scheduler
and node between which nothing happens. An entry of ``shown_*`` means something only while the pair's last dispatch is
not older than the entry's stamp; otherwise nothing is in flight.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["count_dispatch", "in_flight", "keep_shown"]


@compiled
def _write_down(schedulers, telemetry, b, row, s, n):
    """Keep the present counters in ``row`` of what was sent before a stamp."""
    telemetry.shown_cores[b, row, s, n] = schedulers.sent_cores[b, s, n]
    telemetry.shown_memory_gb[b, row, s, n] = schedulers.sent_memory_gb[b, s, n]


@compiled
def count_dispatch(parameters, clock, schedulers, telemetry, b, s, n, cores, memory_gb):
    """Count a task that scheduler ``s`` sends to node ``n`` in the present step."""
    step, every, ring = clock.step[b], parameters.publish_every_steps, parameters.telemetry_ring
    last = schedulers.sent_step[b, s, n]
    newest = step // every
    for age in range(min(ring, newest + 1)):
        if (newest - age) * every <= last:
            break
        _write_down(schedulers, telemetry, b, (newest - age) % ring, s, n)
    if parameters.loss_probability > 0.0 and last < telemetry.compute_stamp[b, ring + s, n]:
        _write_down(schedulers, telemetry, b, ring, s, n)
    schedulers.sent_step[b, s, n] = step
    schedulers.sent_cores[b, s, n] += cores
    schedulers.sent_memory_gb[b, s, n] += memory_gb


@compiled
def keep_shown(parameters, schedulers, telemetry, b, s, n, slot, stamp):
    """Take over what the snapshot ``stamp`` in ring slot ``slot`` shows, for a scheduler with a view of its own."""
    if schedulers.sent_step[b, s, n] >= stamp:
        telemetry.shown_cores[b, parameters.telemetry_ring, s, n] = telemetry.shown_cores[b, slot, s, n]
        telemetry.shown_memory_gb[b, parameters.telemetry_ring, s, n] = telemetry.shown_memory_gb[b, slot, s, n]


@compiled
def in_flight(parameters, schedulers, telemetry, b, s, n, row, stamp):
    """Cores and GB that scheduler ``s`` sent to node ``n`` since the snapshot ``stamp``, which it finds in ``row``."""
    if schedulers.sent_step[b, s, n] < stamp:
        return 0.0, 0.0
    row = min(row, parameters.telemetry_ring)  # with losses each pair has one entry, behind the ring
    cores = schedulers.sent_cores[b, s, n] - telemetry.shown_cores[b, row, s, n]
    memory_gb = schedulers.sent_memory_gb[b, s, n] - telemetry.shown_memory_gb[b, row, s, n]
    return cores, memory_gb
