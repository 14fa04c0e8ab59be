"""Storage in the foresight bound: misses of a best cache, replicas, quorum and compaction debt.

Why each row keeps every policy is argued in `cloudsched_env.headroom.linear_program`; here are the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.headroom.certified import LinearProgram
from cloudsched_env.headroom.plan import Plan
from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode

__all__ = ["StorageVariables", "add_storage", "chord_slopes", "least_debt_mb"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Tangents of D / (D + D0) are taken where D is this many D0.
_TANGENTS_AT = (0.0, 0.5, 2.0, 8.0)


@dataclass(frozen=True)
class _Paths:
    """Shards with the same replicas share their paths; arrays are indexed by group, replica in the group, and bin.

    Attributes:
        of_shard: group of each shard, ``[shards]``.
        nodes: storage nodes of each group, ``[groups, replicas]``.
        reads: numbers of variables: MB read from each replica, ``[groups, replicas, bins]``.
        written: numbers of variables: MB written by tasks, ``[groups, bins]``.
        served: numbers of variables: MB of these that a replica serves in their own step, ``[groups, replicas, bins]``.
    """

    of_shard: Integers
    nodes: Integers
    reads: Integers
    written: Integers
    served: Integers


@dataclass(frozen=True)
class StorageVariables:
    """Numbers of the variables of storage nodes in the program; those of compaction are empty where it is off.

    Attributes:
        nodes: storage nodes of each group of shards with the same replicas, ``[groups, replicas]``.
        reads: MB read from each replica, before amplification, ``[groups, replicas, bins]``.
        background: MB by which compaction's share of the bandwidth exceeds its smallest, ``[nodes, bins]``.
        debt: MB of debt at the end of each bin, ``[nodes, bins]``.
        compacted: MB of debt taken off, ``[nodes, bins]``.
        extra: MB that amplification adds to reads, ``[nodes, bins]``; empty also where amplification is off.
    """

    nodes: Integers
    reads: Integers
    background: Integers
    debt: Integers
    compacted: Integers
    extra: Integers


def chord_slopes(scenario: Scenario, hot_set_mb: Floats, read_mb: Floats) -> Floats:
    """Smallest share of cacheable reads that miss when up to ``read_mb`` of each shard are read.

    That is f(X) / X of f(X) = (1 - w0) H (1 - exp(-X / H)), and 1 with the cache off.

    Args:
        scenario: for the initial warmth.
        hot_set_mb: H, ``[shards]``.
        read_mb: X, ``[shards, bins]``.
    """
    if not scenario.cache.enabled:
        return np.ones_like(read_mb)
    hot_sets = np.maximum(read_mb / hot_set_mb[:, None], 1e-12)
    return (1.0 - scenario.cache.initial_warmth) * -np.expm1(-hot_sets) / hot_sets


def least_debt_mb(scenario: Scenario, edges_steps: Integers) -> Floats:
    """Smallest debt that a replica can have at any step of each bin, ``[bins]``: full compaction, no writes.

    The debt after a step, D - c D / (D + D0) with c = u B dt, is convex in D and smallest at sqrt(c D0) - D0: from any
    debt of at least d it leaves at least the value at max(d, that point), or 0.
    """
    bandwidth, compaction = scenario.storage.bandwidth_mb_per_s, scenario.compaction
    done = max(scenario.storage.background_shares) * bandwidth * scenario.time.step_s
    half = compaction.efficient_debt_s * bandwidth
    debt = compaction.initial_debt * compaction.soft_limit_s * bandwidth
    by_step = np.empty(int(edges_steps[-1]))
    for step in range(len(by_step)):
        by_step[step] = debt
        turning = max(debt, np.sqrt(done * half) - half)
        share = turning / (turning + half) if turning + half > 0.0 else 0.0
        debt = max(0.0, turning - done * share)
    return np.minimum.reduceat(by_step, edges_steps[:-1])


def add_storage(
    program: LinearProgram, scenario: Scenario, episode: Episode, plan: Plan, x: Integers
) -> StorageVariables:
    """Add the variables and rows of all storage nodes.

    Args:
        program: has the work variables; gets more variables and rows.
        scenario: the cluster; bandwidth sharing must be on.
        episode: its work.
        plan: the bins and work variables.
        x: numbers of the work variables in the program, ``[variables of the plan]``.
    """
    replicas, of_shard = np.unique(np.sort(episode.shard_replicas, axis=1), axis=0, return_inverse=True)
    of_shard = of_shard.reshape(-1)
    storage = scenario.storage
    shares = storage.background_shares
    full_mb = storage.bandwidth_mb_per_s * plan.lengths_s
    foreground_mb = (1.0 - min(shares)) * full_mb

    writes_mb = np.zeros((len(replicas), plan.bins))  # most that can be written by the end of each bin
    np.add.at(writes_mb, of_shard[episode.shard], plan.progress * episode.write_mb[:, None])
    by_path = np.broadcast_to(foreground_mb, (*replicas.shape, plan.bins))
    paths = _Paths(
        of_shard=of_shard,
        nodes=replicas.astype(np.int64),
        reads=program.add_variables(by_path),
        written=program.add_variables(writes_mb),
        served=program.add_variables(by_path),
    )
    _add_reads(program, scenario, episode, plan, x, paths)
    _add_writes(program, scenario, episode, plan, x, paths)

    nodes = scenario.cluster.storage_nodes
    each_bin = np.arange(plan.bins)
    bandwidth = program.add_rows(np.broadcast_to(foreground_mb, (nodes, plan.bins)))
    rows = bandwidth[paths.nodes[:, :, None], each_bin]
    program.add_terms(rows, paths.reads, 1.0)
    program.add_terms(rows, paths.served, 1.0)
    if not scenario.compaction.enabled:
        none = np.empty((nodes, 0), dtype=np.int64)
        return StorageVariables(paths.nodes, paths.reads, none, none, none, none)
    background = program.add_variables(np.broadcast_to((max(shares) - min(shares)) * full_mb, bandwidth.shape))
    program.add_terms(bandwidth, background, 1.0)
    return _add_compaction(program, scenario, plan, paths, writes_mb, bandwidth, background)


def _add_reads(
    program: LinearProgram, scenario: Scenario, episode: Episode, plan: Plan, x: Integers, paths: _Paths
) -> None:
    """Bytes that replicas serve cover the scans and the misses of a best cache."""
    used = np.unique(episode.shard)
    row_of_shard = np.zeros(len(paths.of_shard), dtype=np.int64)
    row_of_shard[used] = np.arange(len(used))
    cacheable = episode.cacheable_read_mb / plan.work_core_s
    most = plan.read_mb[used]
    read = program.add_variables(most)  # cumulative cacheable bytes, [used shards, bins]
    sums = program.add_rows(np.zeros(read.shape))
    program.add_terms(sums[row_of_shard[episode.shard[plan.task]], plan.bin], x, cacheable[plan.task])
    program.add_terms(sums, read, -1.0)
    program.add_terms(sums[:, 1:], read[:, :-1], 1.0)

    # Cumulative misses of each group, at least those of its shards' chords.
    groups = len(paths.nodes)
    most_missed = np.zeros((groups, plan.bins))
    np.add.at(most_missed, paths.of_shard[used], most)
    missed = program.add_variables(most_missed)
    slopes = chord_slopes(scenario, episode.shard_hot_set_mb[used], most)
    chords = program.add_rows(np.zeros(missed.shape))
    program.add_terms(chords[paths.of_shard[used]], read, slopes)
    program.add_terms(chords, missed, -1.0)
    never_fewer = program.add_rows(np.zeros((groups, plan.bins - 1)))
    program.add_terms(never_fewer, missed[:, :-1], 1.0)
    program.add_terms(never_fewer, missed[:, 1:], -1.0)

    served = program.add_rows(np.zeros((groups, plan.bins)))
    scanned = episode.scan_read_mb / plan.work_core_s
    program.add_terms(served[paths.of_shard[episode.shard[plan.task]], plan.bin], x, scanned[plan.task])
    program.add_terms(served, missed, 1.0)
    program.add_terms(served[:, 1:], missed[:, :-1], -1.0)
    program.add_terms(served[:, None, :], paths.reads, -1.0)


def _add_writes(
    program: LinearProgram, scenario: Scenario, episode: Episode, plan: Plan, x: Integers, paths: _Paths
) -> None:
    """Every byte written is served in its own step by at least a quorum of replicas."""
    replicas = paths.nodes.shape[1]
    quorum = replicas // 2 + 1 if scenario.storage.quorum_enabled else 1
    written = episode.write_mb / plan.work_core_s
    sums = program.add_rows(np.zeros(paths.written.shape))
    program.add_terms(sums[paths.of_shard[episode.shard[plan.task]], plan.bin], x, written[plan.task])
    program.add_terms(sums, paths.written, -1.0)
    enough = program.add_rows(np.zeros(paths.written.shape))
    program.add_terms(enough, paths.written, float(quorum))
    program.add_terms(enough[:, None, :], paths.served, -1.0)
    once = program.add_rows(np.zeros(paths.served.shape))
    program.add_terms(once, paths.served, 1.0)
    program.add_terms(once, paths.written[:, None, :], -1.0)


def _add_compaction(
    program: LinearProgram,
    scenario: Scenario,
    plan: Plan,
    paths: _Paths,
    writes_mb: Floats,
    bandwidth: Integers,
    background: Integers,
) -> StorageVariables:
    """Debt at the end of each bin, what compaction takes off it, and the reads that it adds."""
    compaction, storage = scenario.compaction, scenario.storage
    nodes, bins = bandwidth.shape
    full_mb = storage.bandwidth_mb_per_s * plan.lengths_s
    soft = compaction.soft_limit_s * storage.bandwidth_mb_per_s
    half = compaction.efficient_debt_s * storage.bandwidth_mb_per_s
    initial = compaction.initial_debt * soft
    growth = compaction.write_amplification
    most = np.full((nodes, bins), initial)
    np.add.at(most, paths.nodes.ravel(), growth * np.repeat(writes_mb, paths.nodes.shape[1], axis=0))

    debt = program.add_variables(most)
    done = program.add_variables(np.broadcast_to(max(storage.background_shares) * full_mb, (nodes, bins)))
    first = np.zeros((nodes, bins))
    first[:, 0] = initial
    each_bin = np.arange(bins)
    on_node = paths.nodes[:, :, None]
    written = np.broadcast_to(paths.written[:, None, :], paths.served.shape)
    # debt before + growth x written - done <= debt
    balance = program.add_rows(-first)
    program.add_terms(balance[:, 1:], debt[:, :-1], 1.0)
    program.add_terms(balance[on_node, each_bin], written, growth)
    program.add_terms(balance, done, -1.0)
    program.add_terms(balance, debt, -1.0)
    # done <= u B x (largest D / (D + D0) in the bin)
    share = np.divide(most, most + half, out=np.ones_like(most), where=most + half > 0.0)
    effort = program.add_rows(share * min(storage.background_shares) * full_mb)
    program.add_terms(effort, done, 1.0)
    program.add_terms(effort, background, -share)
    if half > 0.0 and scenario.failure.compute_failures_per_hour == 0:
        for ratio in _TANGENTS_AT:
            # D / (D + D0) <= ratio^2 / (ratio + 1)^2 + D / D0 / (ratio + 1)^2, with D <= debt before + growth x written
            rate = max(storage.background_shares) * full_mb / (ratio + 1.0) ** 2
            tangent = program.add_rows(rate * ratio**2 + rate * first / half)
            program.add_terms(tangent, done, 1.0)
            program.add_terms(tangent[:, 1:], debt[:, :-1], -rate[1:] / half)
            program.add_terms(tangent[on_node, each_bin], written, -growth * rate / half)

    slope, cap = compaction.read_amplification_slope, compaction.read_amplification_cap
    if slope == 0.0 or cap == 0.0:
        none = np.empty((nodes, 0), dtype=np.int64)
        return StorageVariables(paths.nodes, paths.reads, background, debt, done, none)
    foreground_mb = (1.0 - min(storage.background_shares)) * full_mb
    extra = program.add_variables(np.broadcast_to(foreground_mb, (nodes, bins)))
    program.add_terms(bandwidth, extra, 1.0)
    # McCormick: extra >= slope x least depth x reads, ...
    least_depth = np.minimum(least_debt_mb(scenario, plan.edges_steps) / soft, cap)
    lower = program.add_rows(np.zeros((nodes, bins)))
    program.add_terms(lower[on_node, each_bin], paths.reads, slope * least_depth)
    program.add_terms(lower, extra, -1.0)
    # ... and extra >= slope x (largest depth x reads + largest reads x depth - their product), where the depth of every
    # step of the bin is at least chord x (debt before - done), as min(D / soft, cap) is concave.
    most_before = np.column_stack((np.full(nodes, initial), most[:, :-1]))
    largest = np.maximum(most, most_before)
    depth = np.minimum(largest / soft, cap)
    chord = np.divide(depth, largest, out=np.zeros_like(depth), where=largest > 0.0)
    upper = program.add_rows(slope * foreground_mb * (depth - chord * first))
    program.add_terms(upper[on_node, each_bin], paths.reads, slope * depth[on_node, each_bin])
    program.add_terms(upper[:, 1:], debt[:, :-1], (slope * foreground_mb * chord)[:, 1:])
    program.add_terms(upper, done, -slope * foreground_mb * chord)
    program.add_terms(upper, extra, -1.0)
    return StorageVariables(paths.nodes, paths.reads, background, debt, done, extra)
