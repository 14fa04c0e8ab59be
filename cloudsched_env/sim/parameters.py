"""The constants of a scenario in the form that compiled code takes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario

__all__ = ["TEAM_REWARDS", "Parameters", "make_parameters", "telemetry_ring"]

TEAM_REWARDS = ("mixed", "goodput", "alpha_fair", "min_share")
"""Values of ``reward.team``; compiled code knows them by their position."""


class Parameters(NamedTuple):
    """Constants of one scenario; names follow `cloudsched_env.scenario`, limits are converted to MB.

    ``per_core`` is 1 / cores of each compute node; relative sizes are to the largest node. Divisions cost several times
    as much as multiplications, and these would be made for every node in every step.
    """

    step_s: float
    warmup_steps: int
    horizon_steps: int
    cores: NDArray[np.float64]
    memory_gb: NDArray[np.float64]
    total_cores: float
    per_core: NDArray[np.float64]
    relative_cores: NDArray[np.float64]
    relative_memory: NDArray[np.float64]
    largest_memory_gb: float
    window_slots: int
    candidate_nodes: int
    dispatch_delay_s: float
    backoff_steps: int
    cache_fractions: NDArray[np.float64]
    memory_overcommit: NDArray[np.float64]
    core_overcommit: NDArray[np.float64]
    cache_slew_per_step: float
    memory_split_enabled: bool
    compute_interval_steps: int
    storage_interval_steps: int
    spill_slope: float
    contention_slope: float
    contention_onset: float
    purge_enabled: bool
    purge_shares: NDArray[np.float64]
    garbage_per_written: float
    purge_rate_mb_per_core_s: float
    garbage_soft_mb_per_core: float
    garbage_slope: float
    garbage_cap: float
    efficient_garbage: float
    cache_enabled: bool
    invalidation_enabled: bool
    bandwidth_mb_per_s: float
    read_stream_mb_per_s: float
    write_stream_mb_per_s: float
    minimum_stream_factor: float
    background_shares: NDArray[np.float64]
    serve_weights: NDArray[np.float64]
    sharing_enabled: bool
    quorum: int
    compaction_enabled: bool
    write_amplification: float
    read_amplification_slope: float
    read_amplification_cap: float
    soft_limit_mb: float
    hard_limit_mb: float
    efficient_debt_mb: float
    minimum_write_factor: float
    publish_every_steps: int
    delay_steps: int
    telemetry_ring: int
    loss_probability: float
    loss_burst_length: float
    elastic_enabled: bool
    wake_steps: int
    minimum_nodes: int
    power_cost: float
    engine_metrics: bool
    working_set_decay: float
    team_reward: int
    fairness_alpha: float
    entitlement_enabled: bool
    useful_weight: float
    goodput_weight: float
    latency_weight: float
    fairness_weight: float
    latency_scale_s: float
    fairness_decay: float
    scheduler_goodput_weight: float


def telemetry_ring(scenario: Scenario) -> int:
    """Snapshots to keep: one lives until the delivery of the next, which may follow the publication of a later one."""
    return -(-scenario.telemetry.delay_steps // scenario.telemetry.publish_every_steps) + 1


def make_parameters(scenario: Scenario) -> Parameters:
    """Flatten a scenario; a mechanism that is switched off gets the constant that removes its effect."""
    s = scenario
    nodes = s.cluster.compute_nodes
    cores = np.repeat([node.cores for node in nodes], [node.count for node in nodes])
    memory = np.repeat([node.memory_gb for node in nodes], [node.count for node in nodes])
    bandwidth = s.storage.bandwidth_mb_per_s
    return Parameters(
        step_s=s.time.step_s,
        warmup_steps=s.time.warmup_steps,
        horizon_steps=s.time.horizon_steps,
        cores=cores.astype(np.float64),
        memory_gb=memory.astype(np.float64),
        total_cores=float(cores.sum()),
        per_core=1.0 / cores,
        relative_cores=cores / cores.max(),
        relative_memory=memory / memory.max(),
        largest_memory_gb=float(memory.max()),
        window_slots=s.scheduling.window_slots,
        candidate_nodes=s.scheduling.candidate_nodes,
        dispatch_delay_s=s.scheduling.dispatch_delay_s,
        backoff_steps=s.scheduling.backoff_steps,
        cache_fractions=np.array(s.compute.cache_fractions),
        memory_overcommit=np.array(s.compute.memory_overcommit),
        core_overcommit=np.array(s.compute.core_overcommit),
        cache_slew_per_step=s.compute.cache_slew_per_step,
        memory_split_enabled=s.compute.memory_split_enabled,
        compute_interval_steps=s.compute.decision_interval_steps,
        storage_interval_steps=s.storage.decision_interval_steps,
        spill_slope=s.compute.spill_slope if s.compute.spill_enabled else 0.0,
        contention_slope=s.compute.contention_slope if s.compute.contention_enabled else 0.0,
        contention_onset=s.compute.contention_onset,
        purge_enabled=s.purge.enabled,
        purge_shares=np.array(s.purge.shares),
        garbage_per_written=s.purge.garbage_per_written,
        purge_rate_mb_per_core_s=s.purge.rate_mb_per_core_s,
        garbage_soft_mb_per_core=s.purge.soft_limit_mb_per_core,
        garbage_slope=s.purge.slowdown_slope,
        garbage_cap=s.purge.slowdown_cap,
        efficient_garbage=s.purge.efficient_garbage,
        cache_enabled=s.cache.enabled,
        invalidation_enabled=s.cache.invalidation_enabled,
        bandwidth_mb_per_s=bandwidth,
        read_stream_mb_per_s=s.storage.read_stream_mb_per_s,
        write_stream_mb_per_s=s.storage.write_stream_mb_per_s,
        minimum_stream_factor=s.storage.minimum_stream_factor,
        background_shares=np.array(s.storage.background_shares),
        serve_weights=np.array(s.storage.serve_weights),
        sharing_enabled=s.storage.sharing_enabled,
        quorum=s.workload.replicas // 2 + 1 if s.storage.quorum_enabled else 1,
        compaction_enabled=s.compaction.enabled,
        write_amplification=s.compaction.write_amplification,
        read_amplification_slope=s.compaction.read_amplification_slope,
        read_amplification_cap=s.compaction.read_amplification_cap,
        soft_limit_mb=s.compaction.soft_limit_s * bandwidth,
        hard_limit_mb=s.compaction.hard_limit_s * bandwidth,
        efficient_debt_mb=s.compaction.efficient_debt_s * bandwidth,
        minimum_write_factor=s.compaction.minimum_write_factor,
        publish_every_steps=s.telemetry.publish_every_steps,
        delay_steps=s.telemetry.delay_steps,
        telemetry_ring=telemetry_ring(s),
        loss_probability=s.telemetry.loss_probability,
        loss_burst_length=s.telemetry.loss_burst_length,
        elastic_enabled=s.elastic.enabled,
        wake_steps=max(1, math.ceil(s.elastic.wake_s / s.time.step_s - 1e-9)),
        minimum_nodes=s.elastic.minimum_nodes,
        power_cost=s.elastic.cost_weight if s.elastic.enabled else 0.0,
        engine_metrics=s.observation.engine_metrics,
        working_set_decay=math.exp(-s.time.step_s / s.observation.working_set_window_s),
        team_reward=TEAM_REWARDS.index(s.reward.team),
        fairness_alpha=s.reward.fairness_alpha,
        entitlement_enabled=s.shows_entitlement,
        useful_weight=s.reward.useful_weight,
        goodput_weight=s.reward.goodput_weight,
        latency_weight=s.reward.latency_weight,
        fairness_weight=s.reward.fairness_weight,
        latency_scale_s=s.reward.latency_scale_s,
        fairness_decay=s.reward.fairness_decay,
        scheduler_goodput_weight=s.reward.scheduler_goodput_weight,
    )
