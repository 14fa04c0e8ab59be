"""`Scenario`: a complete, validated description of one simulated cluster, a tree of the groups of its constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import CHECKED, changed, field_names, to_plain, unit_of
from cloudsched_env.scenario.groups import (
    BackgroundConfig,
    CacheConfig,
    ClusterConfig,
    CompactionConfig,
    ComputeConfig,
    ElasticConfig,
    FailureConfig,
    ObservationConfig,
    PurgeConfig,
    RewardConfig,
    SchedulingConfig,
    StorageConfig,
    TelemetryConfig,
    TimeConfig,
    WorkloadConfig,
)
from cloudsched_env.scenario.relations import check_relations

__all__ = ["FIELD", "Scenario", "switch_names"]

FIELD = "scenario field"
_EXAMPLE = '{"telemetry.loss_probability": 0.3}'


@dataclass(frozen=True, config=CHECKED)
class Scenario:
    """A complete, validated description of one simulated cluster and its workload.

    Build one with `load_scenario`, change fields with `override`.

    Attributes:
        id: versioned name, such as ``paper-v1``; a change of behaviour is a new version.
        description: one line for people.
    """

    id: str = "custom-v0"
    description: str = ""
    time: TimeConfig = field(default_factory=TimeConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    workload: WorkloadConfig = field(default_factory=WorkloadConfig)
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    compaction: CompactionConfig = field(default_factory=CompactionConfig)
    failure: FailureConfig = field(default_factory=FailureConfig)
    purge: PurgeConfig = field(default_factory=PurgeConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    elastic: ElasticConfig = field(default_factory=ElasticConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    observation: ObservationConfig = field(default_factory=ObservationConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)

    def __post_init__(self) -> None:
        """Check the relations between fields; their ranges are checked before.

        Raises:
            ValueError: naming the field, its value and what was expected.
        """
        check_relations(self)

    @property
    def compute_count(self) -> int:
        """Number of compute nodes."""
        return sum(node_type.count for node_type in self.cluster.compute_nodes)

    @property
    def candidate_count(self) -> int:
        """Compute nodes that a scheduler observes, and can choose from, in one step."""
        return min(self.compute_count, self.scheduling.candidate_nodes)

    @property
    def observed_storage_count(self) -> int:
        """Storage nodes that a scheduler observes in one step."""
        return min(self.cluster.storage_nodes, self.scheduling.candidate_nodes)

    @property
    def shards(self) -> int:
        """Number of data shards of all tenants."""
        return self.workload.tenants * self.workload.shards_per_tenant

    @property
    def shows_entitlement(self) -> bool:
        """Whether shares of entitlement are kept and observed."""
        return self.observation.entitlement or self.reward.team in ("alpha_fair", "min_share")

    @property
    def duration_s(self) -> float:
        """Simulated seconds of one episode."""
        return self.time.horizon_steps * self.time.step_s

    @property
    def role_counts(self) -> dict[str, int]:
        """Agents of each role, in the order in which agents are listed."""
        return {
            "compute": self.compute_count,
            "storage": self.cluster.storage_nodes,
            "scheduler": self.cluster.schedulers,
        }

    def override(self, changes: Mapping[str, Any]) -> Scenario:
        """Return a copy with fields changed by dotted name, as in ``{"telemetry.loss_probability": 0.3}``.

        Groups may also be nested, as in ``{"telemetry": {"loss_probability": 0.3}}``. The id stays,
        unless it is among the changes.

        Raises:
            ValueError: for a name that no field has, a value of another type or outside its range, or a field that
                is changed twice.
        """
        if not isinstance(changes, Mapping):
            raise ValueError(f"overrides are {changes!r}: expected field names and values, such as {_EXAMPLE}")
        return changed(self, changes, FIELD)

    def to_dict(self) -> dict[str, Any]:
        """The scenario as plain JSON types."""
        return to_plain(self)


# Fields that came after results, checkpoints and digests had been recorded, with the value that changes nothing.
_ADDED: dict[str, dict[str, Any]] = {"compute": {"memory_split_enabled": True}}


def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """A scenario as `Scenario.to_dict` writes it, less what later versions added and leaves everything as it was.

    What was recorded before a field existed is compared with what is recorded now in this form.
    """

    def kept(group: str, name: str, value: Any) -> bool:
        return name not in _ADDED.get(group, {}) or value != _ADDED[group][name]

    return {
        group: {n: v for n, v in value.items() if kept(group, n, v)} if isinstance(value, Mapping) else value
        for group, value in values.items()
    }


def switch_names() -> list[str]:
    """Dotted names of the on/off switches of mechanisms."""
    names = [name for name in field_names(Scenario) if "." in name]
    groups = {f.name: type(getattr(Scenario(), f.name)) for f in dataclasses.fields(Scenario)}
    return [name for name in names if unit_of(groups[name.split(".")[0]], name.split(".")[1]) == "switch"]
