"""The groups of a scenario's constants, one a mechanism: every constant with its unit, range and default.

The defaults written here are the calibrated cluster of the ``paper`` scenarios (16 compute, 6 storage, 3 schedulers).
`docs/simulator.md` has the equation that uses each constant, `docs/calibration.md` says where each value comes from.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import CHECKED, marked, number

__all__ = [
    "BackgroundConfig",
    "CacheConfig",
    "ClusterConfig",
    "CompactionConfig",
    "ComputeConfig",
    "ElasticConfig",
    "FailureConfig",
    "NodeType",
    "ObservationConfig",
    "PurgeConfig",
    "RewardConfig",
    "SchedulingConfig",
    "StorageConfig",
    "TelemetryConfig",
    "TimeConfig",
    "WorkloadConfig",
]


def _number(default: float, low: float, high: float, unit: str, doc: str) -> Any:
    return number(default, low, high, doc, unit)


def _option(doc: str) -> Any:
    """Something that is off unless asked for."""
    return marked(False, "option", doc)


def _switch(doc: str, default: bool = True) -> Any:
    """A mechanism's on/off switch, for ablations."""
    return marked(default, "switch", doc)


@dataclass(frozen=True, config=CHECKED)
class NodeType:
    """One kind of compute node and how many of it there are."""

    count: int = _number(1, 1, 100_000, "nodes", "how many nodes of this type")
    cores: float = _number(8.0, 0.25, 1024, "cores", "CPU cores of one node")
    memory_gb: float = _number(16.0, 0.25, 65536, "GB", "memory of one node, execution and cache together")


@dataclass(frozen=True, config=CHECKED)
class TimeConfig:
    """The clock of an episode."""

    step_s: float = _number(0.1, 1e-3, 60, "s", "control interval: one env step")
    warmup_steps: int = _number(50, 0, 100_000, "steps", "first steps, acted on but not counted in metrics")
    horizon_steps: int = _number(650, 1, 1_000_000, "steps", "length of an episode, warm-up included")


@dataclass(frozen=True, config=CHECKED)
class ClusterConfig:
    """How many agents of each role, and the machines behind them (mix of Google 2011 machine_events)."""

    compute_nodes: tuple[NodeType, ...] = (
        NodeType(8, 8.0, 16.0),
        NodeType(5, 8.0, 8.0),
        NodeType(1, 8.0, 24.0),
        NodeType(1, 16.0, 32.0),
        NodeType(1, 4.0, 8.0),
    )
    storage_nodes: int = _number(6, 1, 10_000, "nodes", "storage nodes")
    schedulers: int = _number(3, 1, 1_000, "schedulers", "schedulers; tenants are divided among them")


@dataclass(frozen=True, config=CHECKED)
class WorkloadConfig:
    """From tasks of a trace to the offered load of an episode (`docs/workload.md`)."""

    profile: str = marked(
        "google2011", "name", "what tasks are drawn from where there is no trace: a shipped profile, or a .json file"
    )
    tenants: int = _number(12, 1, 4096, "tenants", "tenants that the users of the trace are folded into")
    shards_per_tenant: int = _number(8, 1, 1024, "shards", "data shards of a tenant")
    replicas: int = _number(3, 1, 9, "replicas", "storage replicas of a shard (at most the storage nodes)")
    home_nodes: int = _number(2, 1, 64, "nodes", "compute nodes whose cache holds a shard at the start")
    task_rate_per_s: float = _number(60.0, 0.01, 1e6, "1/s", "target arrival rate, simulated time")
    fan_out_cap: int = _number(16, 1, 100_000, "tasks", "tasks kept of one job")
    time_compression: float = _number(90.0, 1e-3, 1e6, "1", "trace seconds per simulated second")
    cpu_load: float = _number(0.76, 0.01, 5, "1", "offered CPU work / (cores x horizon)")
    memory_load: float = _number(0.14, 0.001, 5, "1", "offered memory x time / (memory x horizon)")
    read_load: float = _number(0.45, 0.0, 10, "1", "reads without any cache / storage bandwidth")
    write_load: float = _number(0.65, 0.0, 10, "1", "multiplier of the write rates of both phases")
    arrival_warp: float = _number(0.8, 0, 1, "1", "0 keeps arrival times, 1 spreads CPU work evenly in time")
    minimum_base_time_s: float = _number(0.3, 1e-3, 1e4, "s", "shortest run time at full speed")
    maximum_base_time_s: float = _number(12.0, 1e-3, 1e5, "s", "longest run time at full speed")
    minimum_cores: float = _number(0.25, 1e-3, 1024, "cores", "smallest CPU request")
    maximum_cores: float = _number(4.0, 1e-3, 1024, "cores", "largest CPU request")
    cores_of_largest_machine: float = _number(16.0, 0.1, 1024, "cores", "what a trace request of 1.0 stands for")
    phase_minimum_s: float = _number(10.0, 0.1, 1e5, "s", "shortest stay in a read or write phase")
    phase_maximum_s: float = _number(18.0, 0.1, 1e5, "s", "longest stay in a read or write phase")
    antiphase_probability: float = _number(0.1, 0, 1, "1", "chance that a tenant runs against the phase")
    estimate_error: float = _number(0.5, 0, 3, "1", "sigma of the lognormal error of planner estimates")
    shard_skew: float = _number(0.0, 0, 10, "1", "Zipf exponent of a tenant's shards over job names (0: even)")
    hot_shift_interval_s: float = _number(0.0, 0, 1e6, "s", "time between moves of all jobs to other shards (0: none)")
    flash_crowds: int = _number(0, 0, 1_000, "crowds", "flash crowds in an episode, all after the warm-up")
    flash_crowd_factor: float = _number(4.0, 1, 1e4, "1", "arrival intensity of a hit tenant inside / outside")
    flash_crowd_duration_s: float = _number(5.0, 1e-3, 1e6, "s", "length of a flash crowd")
    flash_crowd_tenant_share: float = _number(0.5, 0, 1, "1", "share of tenants that a crowd hits, at least one")
    tenant_weights: Literal["equal", "skewed"] = marked(
        "equal", "choice", "how the cluster is to be divided among tenants"
    )


@dataclass(frozen=True, config=CHECKED)
class SchedulingConfig:
    """Placement: what a scheduler sees and how a decision travels."""

    window_slots: int = _number(8, 1, 64, "slots", "head of the queue a scheduler sees and places per step")
    candidate_nodes: int = _number(
        16, 1, 4096, "nodes", "nodes of a kind that a scheduler observes in a step; on larger clusters a sample"
    )
    dispatch_delay_s: float = _number(0.02, 0, 10, "s", "from a decision to the node's queue; below one step")
    backoff_steps: int = _number(
        10, 0, 10_000, "steps", "a deferred task comes back to the queue after so long; 0: it stays"
    )


@dataclass(frozen=True, config=CHECKED)
class ComputeConfig:
    """CPU processor sharing, memory split, admission and spill."""

    cache_fractions: tuple[float, ...] = (0.15, 0.30, 0.45, 0.60, 0.75)
    memory_overcommit: tuple[float, ...] = (0.8, 1.0, 1.3, 1.7)
    core_overcommit: tuple[float, ...] = (1.1, 1.5, 2.0, 3.0)
    initial_cache_level: int = _number(2, 0, 63, "level", "index into cache_fractions at the start")
    initial_admission_level: int = _number(1, 0, 63, "level", "index into *_overcommit at the start")
    decision_interval_steps: int = _number(10, 1, 10_000, "steps", "a node may change its levels this often")
    cache_slew_per_step: float = _number(0.05, 1e-4, 1, "1", "largest change of the cache fraction in a step")
    memory_split_enabled: bool = _switch("off: the cache takes no memory from tasks")
    spill_enabled: bool = _switch("spilling slows a node whose execution memory is over-committed")
    spill_slope: float = _number(3.0, 0, 100, "1", "slow-down per unit of memory over-commitment")
    contention_enabled: bool = _switch("running many more tasks than cores costs efficiency")
    contention_slope: float = _number(0.7, 0, 100, "1", "slow-down per squared core over-commitment")
    contention_onset: float = _number(1.5, 1, 100, "1", "core over-commitment at which contention starts")


@dataclass(frozen=True, config=CHECKED)
class CacheConfig:
    """Buffer cache of a compute node, per shard, with random replacement."""

    enabled: bool = _switch("off: every cacheable read misses")
    invalidation_enabled: bool = _switch("writes by other nodes invalidate cached pages")
    hot_set_mean_gb: float = _number(0.6, 1e-3, 1e4, "GB", "mean hot set of a shard")
    hot_set_sigma: float = _number(0.6, 0, 3, "1", "lognormal sigma of the hot set")
    hot_set_minimum_gb: float = _number(0.15, 1e-3, 1e4, "GB", "smallest hot set")
    hot_set_maximum_gb: float = _number(2.5, 1e-3, 1e4, "GB", "largest hot set")
    initial_warmth: float = _number(0.5, 0, 1, "1", "cached part of each hot set on its home nodes at the start")


@dataclass(frozen=True, config=CHECKED)
class StorageConfig:
    """Bandwidth sharing, replicas and quorum."""

    bandwidth_mb_per_s: float = _number(6000.0, 1, 1e7, "MB/s", "bandwidth of one storage node")
    read_stream_mb_per_s: float = _number(4000.0, 1, 1e9, "MB/s", "fastest read stream of one task")
    write_stream_mb_per_s: float = _number(1500.0, 1, 1e9, "MB/s", "fastest write stream of one task")
    minimum_stream_factor: float = _number(0.02, 1e-6, 1, "1", "floor of the stream factor under overload")
    background_shares: tuple[float, ...] = (0.03, 0.10, 0.20, 0.35, 0.50)
    serve_weights: tuple[float, ...] = (0.3, 1.0, 2.5)
    initial_background_level: int = _number(3, 0, 63, "level", "index into background_shares at the start")
    initial_serve_level: int = _number(1, 0, 63, "level", "index into serve_weights at the start")
    decision_interval_steps: int = _number(10, 1, 10_000, "steps", "a node may change its levels this often")
    sharing_enabled: bool = _switch("off: no task waits for storage bandwidth")
    quorum_enabled: bool = _switch("off: a write waits for the fastest replica only")


@dataclass(frozen=True, config=CHECKED)
class CompactionConfig:
    """Compaction debt: write amplification, read amplification and write stalls."""

    enabled: bool = _switch("off: writes leave no debt")
    write_amplification: float = _number(2.0, 0, 100, "1", "bytes of compaction per written byte")
    read_amplification_slope: float = _number(0.8, 0, 100, "1", "extra read bytes per debt / soft limit")
    read_amplification_cap: float = _number(2.5, 0, 100, "1", "debt / soft limit beyond which it stops growing")
    soft_limit_s: float = _number(1.0, 1e-3, 1e4, "s of bandwidth", "debt at which writes begin to slow")
    hard_limit_s: float = _number(2.5, 1e-3, 1e4, "s of bandwidth", "debt at which writes (nearly) stop")
    efficient_debt_s: float = _number(0.3, 0, 1e4, "s of bandwidth", "debt at which compaction is half efficient")
    minimum_write_factor: float = _number(0.05, 0, 1, "1", "write speed that is left at the hard limit")
    initial_debt: float = _number(0.3, 0, 10, "soft limits", "debt at the start")


@dataclass(frozen=True, config=CHECKED)
class FailureConfig:
    """Crashes and repairs; 0 crashes per hour turns them off."""

    compute_failures_per_hour: float = _number(0.0, 0, 1e5, "1/h", "crash rate of one compute node, simulated time")
    storage_failures_per_hour: float = _number(0.0, 0, 1e5, "1/h", "crash rate of one storage node, simulated time")
    repair_mean_s: float = _number(10.0, 0.1, 1e6, "s", "mean of the exponential repair time")


@dataclass(frozen=True, config=CHECKED)
class PurgeConfig:
    """Multi-version garbage of a compute node: what writes leave behind, and the cores that purge it."""

    enabled: bool = _switch("off: writes leave no old versions behind")
    shares: tuple[float, ...] = (0.0, 0.06, 0.12, 0.22, 0.35)
    initial_level: int = _number(1, 0, 63, "level", "index into shares at the start")
    garbage_per_written: float = _number(1.0, 0, 100, "1", "old versions per byte written by tasks of the node")
    rate_mb_per_core_s: float = _number(120.0, 1e-3, 1e6, "MB per core-second", "garbage that one core purges")
    soft_limit_mb_per_core: float = _number(100.0, 1e-3, 1e6, "MB per core", "garbage whose slow-down is the slope")
    slowdown_slope: float = _number(0.15, 0, 100, "1", "slow-down of all tasks per garbage / soft limit")
    slowdown_cap: float = _number(3.0, 0, 100, "1", "garbage / soft limit beyond which it stops growing")
    efficient_garbage: float = _number(0.2, 0, 100, "soft limits", "garbage at which purging is half efficient")
    initial_garbage: float = _number(0.3, 0, 100, "soft limits", "garbage at the start")


@dataclass(frozen=True, config=CHECKED)
class BackgroundConfig:
    """Noisy neighbours: other tenants of the host, or throttling, take cores from compute nodes for a while."""

    enabled: bool = _switch("off: nodes always have all their cores")
    quiet_mean_s: float = _number(40.0, 0.1, 1e6, "s", "mean time between two disturbances of a node")
    disturbed_mean_s: float = _number(10.0, 0.1, 1e6, "s", "mean length of a disturbance")
    minimum_loss: float = _number(0.2, 0, 0.95, "1", "smallest share of the cores that a disturbance takes")
    maximum_loss: float = _number(0.5, 0, 0.95, "1", "largest share of the cores that a disturbance takes")


@dataclass(frozen=True, config=CHECKED)
class ElasticConfig:
    """Compute nodes that sleep when they are not needed, and what it costs to keep them on."""

    enabled: bool = _switch("compute nodes decide whether to sleep; off: all are always on", default=False)
    # 97 s from request to login of a Linux machine on EC2 (Mao & Humphrey, IEEE CLOUD 2012), compressed 90 times.
    wake_s: float = _number(1.1, 0, 1e5, "s", "from the decision to wake until the node accepts tasks")
    minimum_nodes: int = _number(2, 1, 100_000, "nodes", "nodes that accept tasks and may not sleep")
    cost_weight: float = _number(0.3, 0, 10, "1", "team reward lost per share of the cores that is not asleep")


@dataclass(frozen=True, config=CHECKED)
class TelemetryConfig:
    """Who sees what of the other nodes, how late, and how much of it is lost."""

    publish_every_steps: int = _number(5, 1, 10_000, "steps", "interval between snapshots of a node")
    delay_steps: int = _number(5, 0, 10_000, "steps", "from snapshot to delivery")
    loss_probability: float = _number(0.0, 0, 1, "1", "long-run share of deliveries lost, for each pair apart")
    loss_burst_length: float = _number(1.0, 1, 1e6, "deliveries", "mean run of losses (1: independent losses)")


@dataclass(frozen=True, config=CHECKED)
class ObservationConfig:
    """What agents see beyond the fields that are always there."""

    engine_metrics: bool = _option("what engines say of themselves: working set, churn, spill, stalls, lag")
    working_set_window_s: float = _number(5.0, 1e-3, 1e6, "s", "time constant of the working-set estimate")
    entitlement: bool = _option(
        "tenants' shares of their entitlement; always on with the rewards that are made of them"
    )


@dataclass(frozen=True, config=CHECKED)
class RewardConfig:
    """The team reward and what goes into the local ones."""

    team: Literal["mixed", "goodput", "alpha_fair", "min_share"] = marked(
        "mixed", "choice", "team reward: the weighted terms, or one objective"
    )
    fairness_alpha: float = _number(
        1.0, 0, 100, "1", "alpha_fair: 0 mean share, 1 geometric, 2 harmonic, towards max-min"
    )
    useful_weight: float = _number(0.30, 0, 1, "1", "weight of useful CPU utilisation")
    goodput_weight: float = _number(0.40, 0, 1, "1", "weight of on-time work completed / capacity")
    latency_weight: float = _number(0.15, 0, 1, "1", "weight of 1 / (1 + waiting tasks / scale)")
    fairness_weight: float = _number(0.15, 0, 1, "1", "weight of Jain's index over tenants")
    latency_scale_s: float = _number(0.25, 1e-3, 1e4, "s", "mean wait at which the latency term is one half")
    fairness_decay: float = _number(0.98, 0, 1, "per step", "decay of served and arrived work per tenant")
    scheduler_goodput_weight: float = _number(0.3, 0, 1, "1", "weight of own goodput in a scheduler's reward")
