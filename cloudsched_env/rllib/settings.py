"""The settings of a run of HRAC with LGRS, in one validated tree of frozen dataclasses (groups: `setting_groups`).

Settings are addressed by dotted name, as in ``lgrs.mode``; an unknown name is refused together with the nearest
known ones (`cloudsched_env.config_tree`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import CHECKED, changed, from_plain, number, to_plain
from cloudsched_env.rllib.role_map import AGENT_TYPES, DEFAULT_MAP, check_map_name
from cloudsched_env.rllib.setting_groups import (
    ExplorationSettings,
    LGRSSettings,
    ReplaySettings,
    RoleSettings,
    SamplingSettings,
    StorageLoadSettings,
    UpdateSettings,
    ValidationSettings,
    VTraceSettings,
    WarmStartSettings,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HRACSettings", "SettingsTree"]

SETTING = "setting"


class SettingsTree:
    """What the settings of every method can do: change by dotted name, become JSON, be made from it."""

    sampling: SamplingSettings
    network_builder: str

    def override(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with settings changed by dotted name or by nested mappings.

        Values of ``overrides`` and ``networks`` are merged by key; ``networks.hidden`` sets one key of a mapping.

        Raises:
            ValueError: for an unknown name (the nearest known ones are suggested), a wrong type or a value out of
                range.
        """
        return changed(self, changes, SETTING)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON types, under their public names."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; missing names keep their defaults."""
        return from_plain(cls, values, SETTING)

    @property
    def role_map(self) -> str:
        """Which agents share networks (`cloudsched_env.rllib.role_map`); only policy gradients have a choice."""
        return DEFAULT_MAP

    @property
    def by_role(self) -> dict[str, Mapping[str, float]]:
        """The settings that are given for single roles, by name."""
        return {}

    def check_roles(self, names: Collection[str]) -> None:
        """Check that the settings given for single roles are for roles that there are.

        Raises:
            ValueError: naming the setting, the role and those that there are.
        """
        for setting, values in self.by_role.items():
            types = AGENT_TYPES if setting == "exploration.common_noise_steps" else ()
            for role in set(values) - {*names, *types}:
                raise ValueError(f"setting {setting!r} is given for {role!r}: expected roles among {', '.join(names)}")

    def _check_run(self) -> None:
        """Check the relations between settings that every method has."""
        sampling, builder = self.sampling, self.network_builder
        if sampling.clusters % sampling.phases:
            raise ValueError(
                f"setting 'sampling.clusters' is {sampling.clusters}: expected a multiple of "
                f"sampling.phases ({sampling.phases})"
            )
        group = sampling.clusters // sampling.phases
        if sampling.copies and group % sampling.copies:
            raise ValueError(
                f"setting 'sampling.copies' is {sampling.copies}: expected a divisor of the clusters of a group, "
                f"sampling.clusters / sampling.phases = {group}"
            )
        if ":" not in builder:
            raise ValueError(f"setting 'network_builder' is {builder!r}: expected 'module:function'")


@dataclass(frozen=True, config=CHECKED)
class HRACSettings(SettingsTree):
    """All settings of one HRAC training run.

    Attributes:
        scenario: id of a named scenario.
        overrides: scenario fields changed by dotted name.
        trace: path of a canonical task table (Parquet); None draws from the calibrated generator.
        storage_load: other volumes on the storage nodes.
        epoch_env_steps: env steps, summed over clusters and runners, that count as one epoch.
        discount: discount factor per env step.
        centre_rewards: train on rewards less their running mean (`cloudsched_env.rllib.reward_centring`).
        networks: settings of the networks (`cloudsched_env.rllib.networks.NetworkConfig`).
        network_builder: ``module:function`` that builds the networks; one's own may be named here.
    """

    scenario: str = "paper-v1"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    trace: str | None = None
    storage_load: StorageLoadSettings = field(default_factory=StorageLoadSettings)
    epoch_env_steps: int = number(10_000, 1, 1_000_000_000, "env steps of an epoch")
    discount: float = number(0.998, 0.0, 1.0, "discount factor per env step")
    centre_rewards: bool = True
    roles: RoleSettings = field(default_factory=RoleSettings)
    lgrs: LGRSSettings = field(default_factory=LGRSSettings)
    vtrace: VTraceSettings = field(default_factory=VTraceSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    update: UpdateSettings = field(default_factory=UpdateSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    exploration: ExplorationSettings = field(default_factory=ExplorationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    warm_start: WarmStartSettings = field(default_factory=WarmStartSettings)
    networks: Mapping[str, Any] = field(default_factory=dict)
    network_builder: str = "cloudsched_env.rllib.modules:build_default_networks"

    def __post_init__(self) -> None:
        """Check ranges and relations.

        Raises:
            ValueError: naming the setting, its value and what was expected.
        """
        self._check_run()
        if self.replay.passes > self.replay.rollouts:
            raise ValueError(
                f"setting 'replay.passes' is {self.replay.passes}: expected at most replay.rollouts "
                f"({self.replay.rollouts}), an update draws older roll-outs without replacement"
            )
        check_map_name(self.roles.map)
        if "role_map" in self.networks:
            raise ValueError(
                "setting 'networks.role_map': set roles.map instead, critics and normalisers follow it too"
            )
        critic = self.networks.get("critic", "role")
        if critic != "role" and self.lgrs.mode not in ("mix", "off"):
            raise ValueError(
                f"setting 'lgrs.mode' is {self.lgrs.mode!r}: with networks.critic={critic} expected 'mix' or 'off', "
                "because the potential of the other modes is the team value of the critic 'role'"
            )
        if critic == "team" and (self.lgrs.mode, self.lgrs.lambda_, any(self.lgrs.lambda_by_role.values())) != (
            "mix",
            0.0,
            False,
        ):
            raise ValueError(
                "setting 'networks.critic' is 'team', one value for all agents: expected one reward for all agents, "
                "lgrs.mode=mix and lgrs.lambda=0"
            )
        if self.warm_start.wanted:
            if self.roles.map != DEFAULT_MAP:
                raise ValueError(
                    f"setting 'roles.map' is {self.roles.map!r}: expected {DEFAULT_MAP!r} with a warm start, "
                    "trajectories and policies are those of agent types"
                )
            if self.networks.get("memory", "none") != "none":
                raise ValueError(
                    f"setting 'networks.memory' is {self.networks['memory']!r}: expected 'none' with a warm start, "
                    "cloning takes steps one by one"
                )
        if self.warm_start.policies and self.networks.get("execution", "none") != "none":
            raise ValueError(
                f"setting 'networks.execution' is {self.networks['execution']!r}: expected 'none' with "
                "warm_start.policies, another run's policy cannot read what the roles here publish"
            )
        if self.warm_start.rule and not self.networks.get("rule_features", False):
            raise ValueError(
                f"setting 'warm_start.rule' is {self.warm_start.rule!r}: expected networks.rule_features=true, without "
                "which a scheduler has no weights for it"
            )
        cloned_and_loaded = sorted(set(self.warm_start.roles) & set(self.warm_start.policies))
        if cloned_and_loaded:
            raise ValueError(
                f"setting 'warm_start.roles' names {', '.join(cloned_and_loaded)}: warm_start.policies says what that "
                "begins with"
            )

    @property
    def role_map(self) -> str:
        """Setting ``roles.map``."""
        return self.roles.map

    @property
    def by_role(self) -> dict[str, Mapping[str, float]]:
        """See `SettingsTree.by_role`."""
        return {
            "lgrs.lambda_by_role": self.lgrs.lambda_by_role,
            "vtrace.lambda_by_role": self.vtrace.lambda_by_role,
            "update.entropy_by_role": self.update.entropy_by_role,
            "exploration.common_noise_steps": self.exploration.common_noise_steps,
            "update.roles": dict.fromkeys(self.update.roles, 1.0),
        }

    def learns(self, role: str) -> bool:
        """Whether a role's policy learns."""
        return not self.update.roles or role in self.update.roles

    def network_settings(self) -> dict[str, Any]:
        """Fields of `cloudsched_env.rllib.networks.NetworkConfig`: ``networks`` and the role map."""
        return {**self.networks, "role_map": self.roles.map}

    def trace_decay_of(self, role: str) -> float:
        """Trace decay of a role."""
        return float(self.vtrace.lambda_by_role.get(role, self.vtrace.lambda_))

    def entropy_of(self, role: str) -> float:
        """Entropy bonus of a role."""
        return float(self.update.entropy_by_role.get(role, self.update.entropy))
