"""Storage nodes: replica paths, quorum, bandwidth sharing, apply lag (`docs/simulator.md`, steps 5, 8 and 11)."""

from __future__ import annotations

from math import sqrt

from cloudsched_env.sim.compaction import accrue_debt, read_amplification
from cloudsched_env.sim.compiled import compiled

__all__ = ["open_paths", "quorum_value", "settle_storage", "share_bandwidth"]

_NO_REPLICA_S_PER_MB = 1e6
_LEAST_WRITE_FACTOR = 1e-6
_WRITE_RATE_DECAY = 0.8
_STALL_DECAY = 0.9
_NEGLIGIBLE_MB = 1e-9


@compiled
def quorum_value(replicas, b, m, live_value, quorum):
    """The quorum-th largest of ``live_value`` over the replicas of shard ``m``.

    A write is acknowledged when ``quorum`` replicas have it, so it is as fast as the quorum-th fastest of them.
    """
    count = replicas.shape[2]
    for j in range(count):
        value = live_value[replicas[b, m, j]]
        above = 0
        ties_before = 0
        for j2 in range(count):
            other = live_value[replicas[b, m, j2]]
            above += other > value
            ties_before += j2 < j and other == value
        if above + ties_before == quorum - 1:
            return value
    return 0.0


@compiled
def open_paths(parameters, data, storage, scratch, b):
    """Read split, read time and write time per MB of every shard."""
    for r in range(storage.alive.shape[1]):
        live = storage.alive[b, r] == 1
        scratch.path_weight[r] = parameters.serve_weights[storage.serve_level[b, r]] if live else 0.0
        scratch.path_time[r] = 1.0 / (parameters.read_stream_mb_per_s * storage.stream_factor[b, r])
        scratch.live_value[r] = storage.write_factor[b, r] if live else 0.0
    replicas = data.replicas.shape[2]
    for m in range(data.replicas.shape[1]):
        total = 0.0
        for j in range(replicas):
            total += scratch.path_weight[data.replicas[b, m, j]]
        read_time = _NO_REPLICA_S_PER_MB
        if total > 0.0:
            per_total = 1.0 / total
            read_time = 0.0
            for j in range(replicas):
                r = data.replicas[b, m, j]
                split = scratch.path_weight[r] * per_total
                scratch.read_split[m, j] = split
                read_time += split * scratch.path_time[r]
        else:
            for j in range(replicas):
                scratch.read_split[m, j] = 0.0
        factor = quorum_value(data.replicas, b, m, scratch.live_value, parameters.quorum)
        scratch.read_time[m] = read_time
        scratch.write_time[m] = 1.0 / (parameters.write_stream_mb_per_s * max(factor, _LEAST_WRITE_FACTOR))
        scratch.read_demand_mb[m] = 0.0
        scratch.write_demand_mb[m] = 0.0


@compiled
def _spread(data, scratch, b):
    """Spread the shards' reads and writes over their replicas, before amplification."""
    scratch.reads_mb[:] = 0.0
    scratch.writes_mb[:] = 0.0
    for m in range(data.replicas.shape[1]):
        reads = scratch.read_demand_mb[m]
        writes = scratch.write_demand_mb[m]
        if reads == 0.0 and writes == 0.0:
            continue
        for j in range(data.replicas.shape[2]):
            r = data.replicas[b, m, j]
            scratch.reads_mb[r] += scratch.read_split[m, j] * reads
            scratch.writes_mb[r] += writes


@compiled
def share_bandwidth(parameters, data, running, storage, scratch, b):
    """Turn what tasks want to move into the share that each storage node can serve, and gates per shard."""
    for k in range(running.slots_used[b]):
        wanted = scratch.available_s[k] * scratch.speed[running.node[b, k]] * scratch.per_duration[k]
        m = running.shard[b, k]
        scratch.wanted[k] = wanted
        scratch.read_demand_mb[m] += wanted * scratch.miss_mb[k]
        scratch.write_demand_mb[m] += wanted * running.write_mb[b, k]
    _spread(data, scratch, b)
    throttled = False
    for r in range(storage.alive.shape[1]):
        amplification = read_amplification(parameters, storage, b, r)
        # A replica that lags catches up with what is left: it must not hold up the readers that it serves.
        demand = amplification * scratch.reads_mb[r] + scratch.writes_mb[r]
        capacity = 0.0
        if storage.alive[b, r] == 1:
            background = parameters.background_shares[storage.background_level[b, r]]
            capacity = storage.available_mb_per_s[b, r] * (1.0 - background) * parameters.step_s
            if not parameters.sharing_enabled:
                capacity = max(capacity, demand)
        served = min(1.0, capacity / demand) if demand > 0.0 else 1.0
        throttled = throttled or served < 1.0 or storage.alive[b, r] == 0
        scratch.read_amplification[r] = amplification
        scratch.demand_mb[r] = demand
        scratch.capacity_mb[r] = capacity
        storage.served_share[b, r] = served
        scratch.live_value[r] = served if storage.alive[b, r] == 1 else 0.0
    for m in range(data.replicas.shape[1]):
        if not throttled:
            scratch.read_gate[m] = 1.0
            scratch.write_gate[m] = 1.0
            continue
        gate = 1.0
        live = False
        for j in range(data.replicas.shape[2]):
            if scratch.read_split[m, j] > 0.0:
                live = True
                gate = min(gate, storage.served_share[b, data.replicas[b, m, j]])
        scratch.read_gate[m] = gate if live else 0.0
        scratch.write_gate[m] = quorum_value(data.replicas, b, m, scratch.live_value, parameters.quorum)


@compiled
def settle_storage(parameters, data, storage, scratch, b):
    """Book the bytes that tasks did move: served bytes, apply lag, debt, stream and write factors.

    Returns:
        Bytes that the storage nodes moved for tasks in this step, read amplification included, in MB.
    """
    _spread(data, scratch, b)
    moved = 0.0
    per_step_mb = parameters.bandwidth_mb_per_s * parameters.step_s
    for r in range(storage.alive.shape[1]):
        reads = scratch.read_amplification[r] * scratch.reads_mb[r]
        consumption = reads + scratch.writes_mb[r] + storage.lag_mb[b, r]
        served = min(scratch.capacity_mb[r], consumption)
        lag = consumption - served
        storage.lag_mb[b, r] = lag if lag >= _NEGLIGIBLE_MB else 0.0  # what rounding left is no demand
        moved += served
        storage.read_rate[b, r] = reads / per_step_mb
        rate = storage.write_rate_decayed[b, r]
        storage.write_rate_decayed[b, r] = (
            _WRITE_RATE_DECAY * rate + (1.0 - _WRITE_RATE_DECAY) * scratch.writes_mb[r] / per_step_mb
        )
        accrue_debt(parameters, storage, b, r, scratch.writes_mb[r])
        stall = 1.0 - storage.write_factor[b, r]
        storage.stall_decayed[b, r] = _STALL_DECAY * storage.stall_decayed[b, r] + (1.0 - _STALL_DECAY) * stall
        demand = scratch.demand_mb[r]
        if storage.alive[b, r] == 0:
            continue  # its streams begin again where they stood
        if demand > 0.0 and parameters.sharing_enabled:
            factor = storage.stream_factor[b, r] * sqrt(scratch.capacity_mb[r] / demand)
            storage.stream_factor[b, r] = min(1.0, max(parameters.minimum_stream_factor, factor))
        else:
            storage.stream_factor[b, r] = 1.0
    return moved
