"""`RoleBatchedConfig`: what the configurations of all our own algorithms have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from cloudsched_env.config_tree import nearest_names
from cloudsched_env.rllib.role_map import RoleMap
from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from cloudsched_env.scenario import load_scenario

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RoleBatchedConfig"]


class RoleBatchedConfig(AlgorithmConfig):
    """An algorithm that trains on the array face and has settings of its own.

    Attributes:
        settings: a `cloudsched_env.rllib.settings.SettingsTree` with at least ``scenario``, ``overrides``, ``trace``,
            ``networks``, ``network_builder``, ``sampling``, ``validation`` and ``epoch_env_steps``.
        settings_name: key under which `update_from_dict`, and so YAML, takes them.
        policy_name: what exported policies say that they were trained with.
    """

    settings: Any
    settings_name: str
    policy_name: str

    def change_settings(self, changes: Mapping[str, Any] | Any) -> Self:
        """Set our own settings, by dotted name or nested, or all at once.

        RLlib fields that follow from them are derived here, and again when the config is validated.

        Raises:
            ValueError: for an unknown setting, a value that is not allowed, or settings of another algorithm.
        """
        if not isinstance(changes, (Mapping, type(self.settings))):
            raise ValueError(
                f"{type(self).__name__} was given {type(changes).__name__}: expected a mapping or "
                f"{type(self.settings).__name__}"
            )
        self.settings = self.settings.override(changes) if isinstance(changes, Mapping) else changes
        self._derive()
        return self

    def update_from_dict(self, config_dict: Mapping[str, Any]) -> AlgorithmConfig:
        """As RLlib's, with our settings under ``settings_name``; unknown keys are refused.

        Raises:
            ValueError: naming an unknown key and the nearest known ones.
        """
        values = dict(config_dict)
        known = {*self.keys(), self.settings_name, "multiagent", "callbacks", "num_workers"}
        for key in values:
            if key not in known and not str(key).startswith("__"):  # Tune adds keys of its own to a trial's config
                raise ValueError(f"unknown config key {key!r}: {nearest_names(str(key), known)}")
        settings = values.pop(self.settings_name, None)
        super().update_from_dict(values)
        if settings is not None:
            self.change_settings(settings)
        return self

    def validate(self) -> None:
        """Check the settings against the resources.

        Raises:
            ValueError: naming the setting and what was expected.
        """
        self._derive()
        super().validate()
        clusters = self.settings.sampling.clusters * max(1, self.num_env_runners)
        if self.num_learners > 1 and clusters % self.num_learners:
            raise ValueError(
                f"{clusters} clusters cannot be shared equally by {self.num_learners} learners: expected "
                "sampling.clusters x env runners to be a multiple of num_learners"
            )

    def _derive(self) -> None:
        """Set the RLlib fields that follow from our settings; algorithms add modules, learner and what is theirs."""
        s = self.settings
        sampling = s.sampling
        steps = sampling.rollout_steps * sampling.clusters * max(1, self.num_env_runners)
        self.api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        self.framework("torch")
        self.env_runners(
            env_runner_cls=RoleBatchedEnvRunner,
            num_envs_per_env_runner=sampling.clusters,
            rollout_fragment_length=sampling.rollout_steps,
        )
        role_map = RoleMap(load_scenario(s.scenario, s.overrides), s.role_map)
        self.multi_agent(policies=set(role_map.names), policy_mapping_fn=_RoleOf(role_map))
        self.training(
            gamma=s.discount,
            lr=s.update.learning_rate,
            train_batch_size_per_learner=steps // max(1, self.num_learners),
        )
        self.evaluation(
            evaluation_interval=s.validation.every_epochs or None,
            evaluation_duration=s.validation.episodes,
            evaluation_duration_unit="episodes",
            evaluation_config={"explore": not s.validation.deterministic},
        )
        self.reporting(min_sample_timesteps_per_iteration=s.epoch_env_steps, min_time_s_per_iteration=0)


class _RoleOf:
    """The role of an agent by its name; a class, because Ray pickles it."""

    def __init__(self, role_map: RoleMap) -> None:
        self.role_map = role_map

    def __call__(self, agent_id: str, *args: Any, **kwargs: Any) -> str:
        return self.role_map.role_of(agent_id)
