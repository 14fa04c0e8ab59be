"""Telemetry: snapshots that are published, delayed, and lost (`docs/simulator.md`, step 14)."""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.draws import uniform
from cloudsched_env.sim.in_flight import keep_shown
from cloudsched_env.sim.memory import execution_memory_gb
from cloudsched_env.sim.power import accepts, active_share

__all__ = [
    "ACTIVE_SHARE",
    "ALIVE",
    "APPLY_LAG",
    "AVAILABLE",
    "DEBT",
    "EFFICIENCY",
    "EXECUTION_MEMORY",
    "HIT_RATIO",
    "IO_WAIT",
    "LOAD_OF_ON",
    "MEAN_DEBT",
    "MEAN_READ_RATE",
    "MEAN_STREAM_FACTOR",
    "MEAN_WRITE_RATE",
    "QUEUED_CORES",
    "QUEUED_MEMORY",
    "READ_RATE",
    "RUNNING_CORES",
    "RUNNING_MEMORY",
    "SPILL",
    "STREAM_FACTOR",
    "WAITING_OF_ON",
    "WORKING_SET",
    "WORST_APPLY_LAG",
    "WRITE_FACTOR",
    "circulate",
    "held_row",
    "is_lost",
]

# Columns of a compute node's snapshot...
ALIVE, RUNNING_CORES, QUEUED_CORES, RUNNING_MEMORY, QUEUED_MEMORY, EFFICIENCY, IO_WAIT, EXECUTION_MEMORY, AVAILABLE = (
    range(9)
)
HIT_RATIO, WORKING_SET, SPILL = 9, 10, 11  # with engine metrics
# ...of a storage node's (after ALIVE)...
DEBT, STREAM_FACTOR, WRITE_FACTOR, READ_RATE = 1, 2, 3, 4
APPLY_LAG = 5  # with engine metrics
# ...and of the storage summary.
MEAN_STREAM_FACTOR, MEAN_DEBT, MEAN_READ_RATE, MEAN_WRITE_RATE = range(4)
WORST_APPLY_LAG = 4  # with engine metrics
ACTIVE_SHARE, LOAD_OF_ON, WAITING_OF_ON = 5, 6, 7  # with elastic nodes


@compiled
def held_row(parameters, clock, b, observer):
    """Row of the telemetry arrays in which ``observer`` finds what it holds: its own, or the ring's without losses."""
    return parameters.telemetry_ring + observer if parameters.loss_probability > 0.0 else clock.held_slot[b]


@compiled
def is_lost(parameters, clock, telemetry, b, link, stamp):
    """Whether the delivery of snapshot ``stamp`` over ``link`` is lost; advances the link's burst state.

    Independent losses, or a Gilbert-Elliott chain (Gilbert 1960) that loses everything in its bad state: it leaves
    that state with probability 1 / burst length and enters it so that the long-run share is the same.
    """
    probability = parameters.loss_probability
    u = uniform(clock.episode_key[b], link, stamp)
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
def _publish_engine(parameters, compute, storage, telemetry, b, slot):
    """Add the engine metrics to the snapshot in ring slot ``slot``."""
    for n in range(compute.alive.shape[1]):
        row = telemetry.compute_view[b, slot, n]
        seen_mb = compute.cacheable_mb_decayed[b, n]
        row[HIT_RATIO] = compute.hit_mb_decayed[b, n] / seen_mb if seen_mb > 0.0 else 0.0
        row[WORKING_SET] = compute.working_set_mb[b, n] / (1000.0 * parameters.memory_gb[n])
        row[SPILL] = compute.spill_gb[b, n] / parameters.memory_gb[n]
    worst = 0.0
    for r in range(storage.alive.shape[1]):
        lag = storage.lag_mb[b, r] / parameters.bandwidth_mb_per_s
        telemetry.storage_view[b, slot, r, APPLY_LAG] = lag
        worst = max(worst, lag)
    telemetry.summary_view[b, slot, WORST_APPLY_LAG] = worst


@compiled
def _publish_power(parameters, compute, schedulers, telemetry, b, slot):
    """Add what sleeping nodes have to know to the summary in ring slot ``slot``."""
    cores = 0.0
    requested = 0.0
    for n in range(compute.alive.shape[1]):
        if accepts(compute, b, n):  # what nodes that drain still do is no demand on the others
            requested += compute.running_cores[b, n] + compute.queued_cores[b, n]
            cores += parameters.cores[n]
    waiting = 0.0
    for s in range(schedulers.queued_cores.shape[1]):
        waiting += schedulers.queued_cores[b, s]
    row = telemetry.summary_view[b, slot]
    row[ACTIVE_SHARE] = active_share(parameters, compute, b)
    row[LOAD_OF_ON] = requested / cores if cores > 0.0 else 0.0
    row[WAITING_OF_ON] = waiting / cores if cores > 0.0 else 0.0


@compiled
def _publish(parameters, clock, data, compute, storage, schedulers, telemetry, b, slot):
    """Write a snapshot of every node into ring slot ``slot``."""
    stamp = clock.step[b]
    nodes = compute.alive.shape[1]
    for n in range(nodes):
        row = telemetry.compute_view[b, slot, n]
        row[ALIVE] = 1.0 if accepts(compute, b, n) else 0.0
        row[RUNNING_CORES] = compute.running_cores[b, n]
        row[QUEUED_CORES] = compute.queued_cores[b, n]
        row[RUNNING_MEMORY] = compute.running_memory_gb[b, n]
        row[QUEUED_MEMORY] = compute.queued_memory_gb[b, n]
        row[EFFICIENCY] = compute.efficiency[b, n]
        row[IO_WAIT] = compute.io_wait[b, n]
        row[EXECUTION_MEMORY] = execution_memory_gb(parameters, compute, b, n)
        row[AVAILABLE] = compute.available_cores[b, n] * parameters.per_core[n]
        telemetry.compute_stamp[b, slot, n] = stamp
    for m in range(data.hot_set_mb.shape[1]):
        # One contiguous row at a time, so that the compiler takes several nodes at once.
        valid, scale, warmth = compute.valid_mb[b, m], compute.valid_scale[b], telemetry.warmth_view[b, slot, m]
        validity, per_hot_set = compute.shard_validity[b, m], data.per_hot_set[b, m]
        for n in range(nodes):
            warmth[n] = min(1.0, valid[n] * scale[n] * validity * per_hot_set)
    count = storage.alive.shape[1]
    mean_stream_factor = 0.0
    mean_debt = 0.0
    mean_read_rate = 0.0
    mean_write_rate = 0.0
    for r in range(count):
        debt = storage.debt_mb[b, r] / parameters.soft_limit_mb
        row = telemetry.storage_view[b, slot, r]
        row[ALIVE] = storage.alive[b, r]
        row[DEBT] = debt
        row[STREAM_FACTOR] = storage.stream_factor[b, r]
        row[WRITE_FACTOR] = storage.write_factor[b, r]
        row[READ_RATE] = storage.read_rate[b, r]
        telemetry.storage_stamp[b, slot, r] = stamp
        mean_stream_factor += storage.stream_factor[b, r] / count
        mean_debt += debt / count
        mean_read_rate += storage.read_rate[b, r] / count
        mean_write_rate += storage.write_rate_decayed[b, r] / count
    summary = telemetry.summary_view[b, slot]
    summary[MEAN_STREAM_FACTOR] = mean_stream_factor
    summary[MEAN_DEBT] = mean_debt
    summary[MEAN_READ_RATE] = mean_read_rate
    summary[MEAN_WRITE_RATE] = mean_write_rate
    telemetry.summary_stamp[b, slot] = stamp
    if parameters.engine_metrics:
        _publish_engine(parameters, compute, storage, telemetry, b, slot)
    if parameters.elastic_enabled:
        _publish_power(parameters, compute, schedulers, telemetry, b, slot)


@compiled
def _deliver(parameters, clock, data, schedulers, telemetry, b, slot, stamp):
    """Hand the snapshot in ring slot ``slot`` to every observer that does not lose it; nobody loses the first."""
    first = parameters.telemetry_ring
    count = schedulers.queue_head.shape[1]
    nodes, storages = telemetry.compute_stamp.shape[2], telemetry.storage_stamp.shape[2]
    for s in range(count):
        link = s * (nodes + storages)
        for n in range(nodes):
            if stamp > 0 and is_lost(parameters, clock, telemetry, b, link + n, stamp):
                continue
            for j in range(telemetry.compute_view.shape[3]):
                telemetry.compute_view[b, first + s, n, j] = telemetry.compute_view[b, slot, n, j]
            telemetry.compute_stamp[b, first + s, n] = stamp
            keep_shown(parameters, schedulers, telemetry, b, s, n, slot, stamp)
        for r in range(storages):
            if stamp > 0 and is_lost(parameters, clock, telemetry, b, link + nodes + r, stamp):
                continue
            for j in range(telemetry.storage_view.shape[3]):
                telemetry.storage_view[b, first + s, r, j] = telemetry.storage_view[b, slot, r, j]
            telemetry.storage_stamp[b, first + s, r] = stamp
    shards_per_tenant = data.hot_set_mb.shape[1] // data.tenant_scheduler.shape[1]
    for m in range(data.hot_set_mb.shape[1]):
        arrived = telemetry.compute_stamp[b, first + data.tenant_scheduler[b, m // shards_per_tenant]]
        news, view = telemetry.warmth_view[b, slot, m], telemetry.warmth_view[b, first, m]
        for n in range(nodes):
            if arrived[n] == stamp:
                view[n] = news[n]
    for j in range(nodes + storages):
        if stamp > 0 and is_lost(parameters, clock, telemetry, b, count * (nodes + storages) + j, stamp):
            continue
        for column in range(telemetry.summary_view.shape[2]):
            telemetry.summary_view[b, first + j, column] = telemetry.summary_view[b, slot, column]
        telemetry.summary_stamp[b, first + j] = stamp


@compiled
def circulate(parameters, clock, data, compute, storage, schedulers, telemetry, b):
    """Publish and deliver what is due at the current step; at step 0 everyone gets the first snapshot at once.

    Without losses there is nothing to deliver: everyone looks the snapshot up in the ring (`held_row`).
    """
    step = clock.step[b]
    every, delay, ring = parameters.publish_every_steps, parameters.delay_steps, parameters.telemetry_ring
    if step % every == 0:
        _publish(parameters, clock, data, compute, storage, schedulers, telemetry, b, (step // every) % ring)
    stamp = step - delay
    if stamp % every == 0:
        clock.held_slot[b] = (max(0, stamp) // every) % ring
    if parameters.loss_probability <= 0.0:
        return
    if step == 0:
        _deliver(parameters, clock, data, schedulers, telemetry, b, 0, 0)
    elif stamp > 0 and stamp % every == 0:
        _deliver(parameters, clock, data, schedulers, telemetry, b, (stamp // every) % ring, stamp)
