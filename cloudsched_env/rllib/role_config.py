"""`RoleBatchedConfig`: what the configurations of all our own algorithms have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from cloudsched_env.rllib.settings import nearest_names

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

    def _derive(self) -> None:
        """Set the RLlib fields that follow from our settings."""
        raise NotImplementedError
