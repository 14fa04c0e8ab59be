"""Put an episode into a cluster's state, and take its record out again."""

from __future__ import annotations

import numpy as np

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.failure import Outage, outage_arrays
from cloudsched_env.sim.parameters import Parameters
from cloudsched_env.sim.result import TOTALS, EpisodeResult
from cloudsched_env.sim.state import State
from cloudsched_env.workload.episode import Episode

__all__ = ["load_episode", "record"]

_TASK_COLUMNS = {
    "arrival_s": "arrival_s",
    "cores": "cores",
    "base_time_s": "base_time_s",
    "memory_gb": "memory_gb",
    "cacheable_mb": "cacheable_read_mb",
    "scan_mb": "scan_read_mb",
    "write_mb": "write_mb",
    "deadline_s": "deadline_s",
    "estimated_time_s": "estimated_time_s",
    "estimated_read_mb": "estimated_read_mb",
    "shard": "shard",
    "tenant": "tenant",
    "job": "job",
    "slo_class": "slo_class",
}


def load_episode(
    state: State,
    b: int,
    scenario: Scenario,
    parameters: Parameters,
    episode: Episode,
    outages: list[Outage],
    episode_key: int,
) -> None:
    """Reset cluster ``b`` to the beginning of ``episode``, as `docs/simulator.md` describes it."""
    for group in state[:-1]:  # all but the scratch memory
        for array in group:
            array[b] = 0
    state.clock.episode_key[b] = np.uint64(episode_key)

    tasks = state.tasks
    count = episode.tasks
    tasks.task_count[b] = count
    for target, source in _TASK_COLUMNS.items():
        getattr(tasks, target)[b, :count] = getattr(episode, source)
    tasks.next_task[b] = -1
    tasks.start_s[b] = np.nan
    tasks.finish_s[b] = np.nan

    data = state.data
    data.hot_set_mb[b] = episode.shard_hot_set_mb
    data.per_hot_set[b] = 1.0 / episode.shard_hot_set_mb
    data.replicas[b] = episode.shard_replicas
    data.tenant_scheduler[b] = episode.tenant_scheduler
    data.tenant_weight[b] = episode.tenant_weight
    data.homes[b] = episode.shard_homes
    data.outage_step[b], data.outage_node[b], data.outage_up[b] = outage_arrays(outages, data.outage_step.shape[1])
    data.outages[b] = len(outages)

    changes = len(episode.background_step)
    data.background_step[b, :changes] = episode.background_step
    data.background_node[b, :changes] = episode.background_node
    data.background_share[b, :changes] = episode.background_share
    data.changes[b] = changes

    compute, config = state.compute, scenario.compute
    compute.available_cores[b] = parameters.cores
    compute.alive[b] = 1
    compute.cache_level[b] = config.initial_cache_level
    compute.admission_level[b] = config.initial_admission_level
    compute.purge_level[b] = scenario.purge.initial_level
    if scenario.purge.enabled:
        soft_mb = scenario.purge.soft_limit_mb_per_core * parameters.cores
        compute.garbage_mb[b] = scenario.purge.initial_garbage * soft_mb
    compute.cache_fraction[b] = config.cache_fractions[config.initial_cache_level]
    compute.valid_scale[b] = 1.0
    compute.shard_validity[b] = 1.0
    compute.queue_head[b] = compute.queue_tail[b] = -1
    compute.processor_share[b] = 1.0
    compute.efficiency[b] = 1.0
    if scenario.cache.enabled:
        held = np.zeros((scenario.shards, scenario.compute_count))
        warm_mb = episode.shard_hot_set_mb * scenario.cache.initial_warmth
        np.put_along_axis(held, episode.shard_homes.astype(np.int64), warm_mb[:, None], axis=1)
        size_mb = 1000.0 * compute.cache_fraction[b] * parameters.memory_gb
        occupied = np.ascontiguousarray(held.T).sum(axis=1)
        scale = np.minimum(1.0, size_mb / np.maximum(occupied, 1e-12))
        compute.valid_mb[b] = held * scale
        compute.occupied_mb[b] = occupied * scale

    storage = state.storage
    storage.alive[b] = 1
    storage.available_mb_per_s[b] = parameters.bandwidth_mb_per_s
    storage.background_level[b] = scenario.storage.initial_background_level
    storage.serve_level[b] = scenario.storage.initial_serve_level
    storage.stream_factor[b] = 1.0
    storage.served_share[b] = 1.0
    storage.write_factor[b] = 1.0
    if scenario.compaction.enabled:
        debt = scenario.compaction.initial_debt * parameters.soft_limit_mb
        span = max(parameters.hard_limit_mb - parameters.soft_limit_mb, 1e-9)
        storage.debt_mb[b] = debt
        factor = 1.0 - (debt - parameters.soft_limit_mb) / span
        storage.write_factor[b] = min(1.0, max(parameters.minimum_write_factor, factor))

    schedulers = state.schedulers
    schedulers.queue_head[b] = schedulers.queue_tail[b] = -1
    schedulers.backoff_head[b] = schedulers.backoff_tail[b] = -1
    schedulers.sent_step[b] = -1
    schedulers.candidates[b] = np.arange(scenario.candidate_count)
    schedulers.observed_storage[b] = np.arange(scenario.observed_storage_count)
    state.telemetry.burst[b] = -1


def record(state: State, b: int, scenario: Scenario, episode: Episode) -> EpisodeResult:
    """The raw record of what has happened in cluster ``b`` so far."""
    count = episode.tasks
    ledger = state.ledger
    return EpisodeResult(
        scenario=scenario,
        episode=episode,
        start_s=state.tasks.start_s[b, :count].copy(),
        finish_s=state.tasks.finish_s[b, :count].copy(),
        totals=dict(zip(TOTALS, ledger.totals[b].tolist(), strict=True)),
        tenant_served_core_s=ledger.tenant_served[b].copy(),
        tenant_arrived_core_s=ledger.tenant_arrived[b].copy(),
    )
