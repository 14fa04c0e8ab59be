"""Scenarios in which everything is off but the mechanism under test.

Every on/off switch that a scenario has is turned off without being named here; what has no switch is listed in
`OFF_VALUES` with the value that removes its effect. A new mechanism with a switch needs nothing; one without needs
one line.
"""

from __future__ import annotations

from typing import Any

from cloudsched_env.scenario import Scenario, switch_names

OFF_VALUES: dict[str, Any] = {
    # One node of one core, one tenant with one shard on one storage node: tests ask for what they need.
    "cluster.compute_nodes": ({"count": 1, "cores": 1.0, "memory_gb": 100.0},),
    "cluster.storage_nodes": 1,
    "cluster.schedulers": 1,
    "workload.tenants": 1,
    "workload.shards_per_tenant": 1,
    "workload.replicas": 1,
    "workload.home_nodes": 1,
    "time.warmup_steps": 0,
    # Schedulers look at every node, and decisions take effect at once and always.
    "scheduling.candidate_nodes": 4096,
    "scheduling.dispatch_delay_s": 0.0,
    "scheduling.backoff_steps": 0,
    "compute.decision_interval_steps": 1,
    "storage.decision_interval_steps": 1,
    "compute.cache_slew_per_step": 1.0,
    # No memory is kept for the cache, and admission lets everything in.
    "compute.cache_fractions": (0.0,),
    "compute.memory_overcommit": (100.0,),
    "compute.core_overcommit": (100.0,),
    "compute.initial_cache_level": 0,
    "compute.initial_admission_level": 0,
    "cache.initial_warmth": 0.0,
    # A stream moves a gigabyte in a microsecond, and nothing is reserved for compaction.
    "storage.read_stream_mb_per_s": 1e9,
    "storage.write_stream_mb_per_s": 1e9,
    "storage.background_shares": (0.0,),
    "storage.serve_weights": (1.0,),
    "storage.initial_background_level": 0,
    "storage.initial_serve_level": 0,
    "compaction.initial_debt": 0.0,
    # No core purges what nobody leaves behind.
    "purge.shares": (0.0,),
    "purge.initial_level": 0,
    "purge.initial_garbage": 0.0,
    # Nothing fails, and everyone knows everything at once.
    "failure.compute_failures_per_hour": 0.0,
    "failure.storage_failures_per_hour": 0.0,
    "telemetry.publish_every_steps": 1,
    "telemetry.delay_steps": 0,
    "telemetry.loss_probability": 0.0,
}


def isolated(**overrides: Any) -> Scenario:
    """An ideal cluster of one core, with fields changed as in ``isolated(storage__sharing_enabled=True)``."""
    changes = dict.fromkeys(switch_names(), False) | OFF_VALUES
    changes |= {name.replace("__", "."): value for name, value in overrides.items()}
    return Scenario(id="isolated-v0").override(changes)
