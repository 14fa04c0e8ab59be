"""Relations between a scenario's constants that a range of one of them cannot express."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudsched_env.scenario.tree import Scenario

__all__ = ["check_relations"]


def check_relations(s: Scenario) -> None:
    """Check them all.

    Raises:
        ValueError: naming the fields, their values and what was expected.
    """

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(f"scenario {s.id!r}: {message}")

    require(len(s.cluster.compute_nodes) > 0, "cluster.compute_nodes is empty: expected at least one node type")
    require(
        s.time.warmup_steps < s.time.horizon_steps,
        f"time.warmup_steps {s.time.warmup_steps} must be below time.horizon_steps {s.time.horizon_steps}",
    )
    require(
        s.workload.replicas <= s.cluster.storage_nodes,
        f"workload.replicas {s.workload.replicas} exceeds cluster.storage_nodes {s.cluster.storage_nodes}",
    )
    require(
        s.workload.home_nodes <= s.compute_count,
        f"workload.home_nodes {s.workload.home_nodes} exceeds the {s.compute_count} compute nodes",
    )
    require(
        s.cluster.schedulers <= s.workload.tenants,
        f"cluster.schedulers {s.cluster.schedulers} exceeds workload.tenants {s.workload.tenants}: "
        "every scheduler owns at least one tenant",
    )
    require(
        not s.elastic.enabled or s.elastic.minimum_nodes <= s.compute_count,
        f"elastic.minimum_nodes {s.elastic.minimum_nodes} exceeds the {s.compute_count} compute nodes",
    )
    counted_s = s.duration_s - s.time.warmup_steps * s.time.step_s
    crowds, crowd_s = s.workload.flash_crowds, s.workload.flash_crowd_duration_s
    require(
        crowds * crowd_s <= counted_s,
        f"workload.flash_crowds {crowds} x workload.flash_crowd_duration_s {crowd_s} do not fit into the "
        f"{counted_s:g} s after the warm-up: expected fewer or shorter crowds",
    )
    shift_s = s.workload.hot_shift_interval_s
    require(
        shift_s == 0 or shift_s >= s.time.step_s,
        f"workload.hot_shift_interval_s {shift_s} must be 0 (no shifts) or at least time.step_s {s.time.step_s}",
    )
    require(
        shift_s == 0 or s.workload.shards_per_tenant >= 2,
        "workload.hot_shift_interval_s needs at least 2 workload.shards_per_tenant, to have somewhere to move",
    )
    require(
        s.scheduling.dispatch_delay_s < s.time.step_s,
        f"scheduling.dispatch_delay_s {s.scheduling.dispatch_delay_s} must be below time.step_s {s.time.step_s}",
    )
    require(
        len(s.compute.memory_overcommit) == len(s.compute.core_overcommit),
        "compute.memory_overcommit and compute.core_overcommit must have one entry per admission level each",
    )
    for low, high in (
        ("workload.minimum_base_time_s", "workload.maximum_base_time_s"),
        ("workload.minimum_cores", "workload.maximum_cores"),
        ("workload.phase_minimum_s", "workload.phase_maximum_s"),
        ("cache.hot_set_minimum_gb", "cache.hot_set_maximum_gb"),
        ("compaction.soft_limit_s", "compaction.hard_limit_s"),
        ("background.minimum_loss", "background.maximum_loss"),
    ):
        low_value, high_value = (_dotted(s, name) for name in (low, high))
        require(low_value <= high_value, f"{low} {low_value} must not exceed {high} {high_value}")
    for name, bounds in (
        ("compute.cache_fractions", (0.0, 0.95)),
        ("compute.memory_overcommit", (0.01, 100.0)),
        ("compute.core_overcommit", (0.01, 100.0)),
        ("purge.shares", (0.0, 0.95)),
        ("storage.background_shares", (0.0, 0.95)),
        ("storage.serve_weights", (1e-3, 1e3)),
    ):
        levels = _dotted(s, name)
        require(len(levels) > 0, f"{name} is empty: expected at least one level")
        require(all(bounds[0] <= v <= bounds[1] for v in levels), f"{name} {levels}: expected values in {bounds}")
    for name, levels_name in (
        ("compute.initial_cache_level", "compute.cache_fractions"),
        ("compute.initial_admission_level", "compute.memory_overcommit"),
        ("purge.initial_level", "purge.shares"),
        ("storage.initial_background_level", "storage.background_shares"),
        ("storage.initial_serve_level", "storage.serve_weights"),
    ):
        level, count = _dotted(s, name), len(_dotted(s, levels_name))
        require(level < count, f"{name} {level} must be below {count}, the levels of {levels_name}")
    loss, burst = s.telemetry.loss_probability, s.telemetry.loss_burst_length
    require(
        burst == 1 or loss / max(1e-12, 1 - loss) <= burst,
        f"telemetry.loss_burst_length {burst} is too short for loss_probability {loss}: "
        f"expected at least {loss / max(1e-12, 1 - loss):.3g}",
    )


def _dotted(s: Scenario, name: str) -> Any:
    group, leaf = name.split(".")
    return getattr(getattr(s, group), leaf)
