"""Telemetry: snapshots that are published, delayed, and lost (`docs/simulator.md`, step 14)."""

from __future__ import annotations

import numpy as np

from cloudsched_env.sim.cache import valid_bytes_mb
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.memory import execution_memory_gb

__all__ = [
    "ALIVE",
    "AVAILABLE",
    "DEBT",
    "EFFICIENCY",
    "EXECUTION_MEMORY",
    "IO_WAIT",
    "MEAN_DEBT",
    "MEAN_READ_RATE",
    "MEAN_STREAM_FACTOR",
    "MEAN_WRITE_RATE",
    "QUEUED_CORES",
    "QUEUED_MEMORY",
    "READ_RATE",
    "RUNNING_CORES",
    "RUNNING_MEMORY",
    "STREAM_FACTOR",
    "WRITE_FACTOR",
    "circulate",
    "is_lost",
    "uniform",
]

# Columns of a compute node's snapshot...
ALIVE, RUNNING_CORES, QUEUED_CORES, RUNNING_MEMORY, QUEUED_MEMORY, EFFICIENCY, IO_WAIT, EXECUTION_MEMORY, AVAILABLE = range(9)
# ...of a storage node's (after ALIVE)...
DEBT, STREAM_FACTOR, WRITE_FACTOR, READ_RATE = 1, 2, 3, 4
# ...and of the storage summary.
MEAN_STREAM_FACTOR, MEAN_DEBT, MEAN_READ_RATE, MEAN_WRITE_RATE = range(4)


@compiled
def uniform(key, link, stamp):
    """A uniform number in [0, 1) that depends on nothing but its arguments.

    SplitMix64's output function (Steele, Lea & Flood, OOPSLA 2014) over a counter, as in counter-based generators:
    a step can draw without carrying a generator's state, in any order, for any batch.
    """
    x = np.uint64(key) + np.uint64(link + 1) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(stamp + 1) * np.uint64(0xD1B54A32D192ED03)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def is_lost(parameters, clock, telemetry, b, link, stamp):
    """Whether the delivery of snapshot ``stamp`` over ``link`` is lost; advances the link's burst state.

    Independent losses, or a Gilbert-Elliott chain (Gilbert 1960) that loses everything in its bad state: it leaves
    that state with probability 1 / burst length and enters it so that the long-run share is the same.
    """
    probability = parameters.loss_probability
    if probability <= 0.0:
        return False
    u = uniform(clock.loss_key[b], link, stamp)
    if parameters.loss_burst_length <= 1.0:
        return u < probability
    losing = telemetry.burst[b, link]
    if losing < 0:
        losing = 1 if u < probability else 0
    elif losing == 1:
        losing = 0 if u < 1.0 / parameters.loss_burst_length else 1
    else:
        odds = probability / max(1.0 - probability, 1e-12)
        losing = 1 if u < odds / parameters.loss_burst_length else 0
    telemetry.burst[b, link] = losing
    return losing == 1


@compiled
def _publish(parameters, data, compute, storage, schedulers, telemetry, b, slot):
    """Write a snapshot of every node into ring slot ``slot``."""
    nodes, shards = data.home.shape[1], data.home.shape[2]
    ring = telemetry.ring_compute
    for n in range(nodes):
        ring[b, slot, n, ALIVE] = compute.alive[b, n]
        ring[b, slot, n, RUNNING_CORES] = compute.running_cores[b, n]
        ring[b, slot, n, QUEUED_CORES] = compute.queued_cores[b, n]
        ring[b, slot, n, RUNNING_MEMORY] = compute.running_memory_gb[b, n]
        ring[b, slot, n, QUEUED_MEMORY] = compute.queued_memory_gb[b, n]
        ring[b, slot, n, EFFICIENCY] = compute.efficiency[b, n]
        ring[b, slot, n, IO_WAIT] = compute.io_wait[b, n]
        ring[b, slot, n, EXECUTION_MEMORY] = execution_memory_gb(parameters, compute, b, n)
        ring[b, slot, n, AVAILABLE] = compute.available_cores[b, n] * parameters.per_core[n]
        for m in range(shards):
            warmth = min(1.0, valid_bytes_mb(compute, b, n, m) * data.per_hot_set[b, m])
            telemetry.ring_warmth[b, slot, n, m] = warmth
    count = storage.alive.shape[1]
    mean_stream_factor = 0.0
    mean_debt = 0.0
    mean_read_rate = 0.0
    mean_write_rate = 0.0
    for r in range(count):
        debt = storage.debt_mb[b, r] / parameters.soft_limit_mb
        telemetry.ring_storage[b, slot, r, ALIVE] = storage.alive[b, r]
        telemetry.ring_storage[b, slot, r, DEBT] = debt
        telemetry.ring_storage[b, slot, r, STREAM_FACTOR] = storage.stream_factor[b, r]
        telemetry.ring_storage[b, slot, r, WRITE_FACTOR] = storage.write_factor[b, r]
        telemetry.ring_storage[b, slot, r, READ_RATE] = storage.read_rate[b, r]
        mean_stream_factor += storage.stream_factor[b, r] / count
        mean_debt += debt / count
        mean_read_rate += storage.read_rate[b, r] / count
        mean_write_rate += storage.write_rate_decayed[b, r] / count
    telemetry.ring_summary[b, slot, MEAN_STREAM_FACTOR] = mean_stream_factor
    telemetry.ring_summary[b, slot, MEAN_DEBT] = mean_debt
    telemetry.ring_summary[b, slot, MEAN_READ_RATE] = mean_read_rate
    telemetry.ring_summary[b, slot, MEAN_WRITE_RATE] = mean_write_rate
    for s in range(schedulers.sent_cores.shape[1]):
        for n in range(nodes):
            telemetry.ring_sent_cores[b, slot, s, n] = schedulers.sent_cores[b, s, n]
            telemetry.ring_sent_memory_gb[b, slot, s, n] = schedulers.sent_memory_gb[b, s, n]


@compiled
def _deliver(parameters, clock, telemetry, b, slot, stamp, lossless):
    """Hand the snapshot in ring slot ``slot`` to every observer that does not lose it."""
    schedulers, nodes = telemetry.compute_stamp.shape[1], telemetry.compute_stamp.shape[2]
    storages = telemetry.storage_stamp.shape[2]
    for s in range(schedulers):
        for n in range(nodes):
            if lossless or not is_lost(parameters, clock, telemetry, b, s * (nodes + storages) + n, stamp):
                for j in range(telemetry.compute_view.shape[3]):
                    telemetry.compute_view[b, s, n, j] = telemetry.ring_compute[b, slot, n, j]
                for m in range(telemetry.warmth_view.shape[3]):
                    telemetry.warmth_view[b, s, n, m] = telemetry.ring_warmth[b, slot, n, m]
                telemetry.shown_cores[b, s, n] = telemetry.ring_sent_cores[b, slot, s, n]
                telemetry.shown_memory_gb[b, s, n] = telemetry.ring_sent_memory_gb[b, slot, s, n]
                telemetry.compute_stamp[b, s, n] = stamp
        for r in range(storages):
            if lossless or not is_lost(parameters, clock, telemetry, b, s * (nodes + storages) + nodes + r, stamp):
                for j in range(telemetry.storage_view.shape[3]):
                    telemetry.storage_view[b, s, r, j] = telemetry.ring_storage[b, slot, r, j]
                telemetry.storage_stamp[b, s, r] = stamp
    for j in range(nodes + storages):
        link = schedulers * (nodes + storages) + j
        if lossless or not is_lost(parameters, clock, telemetry, b, link, stamp):
            for column in range(telemetry.summary_view.shape[2]):
                telemetry.summary_view[b, j, column] = telemetry.ring_summary[b, slot, column]
            telemetry.summary_stamp[b, j] = stamp


@compiled
def circulate(parameters, clock, data, compute, storage, schedulers, telemetry, b):
    """Publish and deliver what is due at the current step; at step 0 everyone gets the first snapshot at once."""
    step = clock.step[b]
    every, delay = parameters.publish_every_steps, parameters.delay_steps
    ring = telemetry.ring_summary.shape[1]
    if step % every == 0:
        _publish(parameters, data, compute, storage, schedulers, telemetry, b, (step // every) % ring)
    if step == 0:
        _deliver(parameters, clock, telemetry, b, 0, 0, True)
        return
    stamp = step - delay
    if stamp > 0 and stamp % every == 0:
        _deliver(parameters, clock, telemetry, b, (stamp // every) % ring, stamp, False)
