"""What a scenario is: every constant of a simulated cluster, with its unit, range and default.

A scenario is a tree of frozen dataclasses, one a mechanism (`groups`, `tree`). The named scenarios in
``cloudsched_env/scenarios/*.json`` say only in what they differ: from the defaults, or from the scenario that they name
as ``"extends"`` (`files`).
"""

from cloudsched_env.scenario.files import load_scenario, scenario_chain, scenario_ids
from cloudsched_env.scenario.groups import (
    BackgroundConfig,
    CacheConfig,
    ClusterConfig,
    CompactionConfig,
    ComputeConfig,
    ElasticConfig,
    FailureConfig,
    NodeType,
    ObservationConfig,
    PurgeConfig,
    RewardConfig,
    SchedulingConfig,
    StorageConfig,
    TelemetryConfig,
    TimeConfig,
    WorkloadConfig,
)
from cloudsched_env.scenario.tree import Scenario, comparable, switch_names

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
    "Scenario",
    "SchedulingConfig",
    "StorageConfig",
    "TelemetryConfig",
    "TimeConfig",
    "WorkloadConfig",
    "comparable",
    "load_scenario",
    "scenario_chain",
    "scenario_ids",
    "switch_names",
]
