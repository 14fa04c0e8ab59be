"""What all four trainings have in common, and the settings of ours that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig
from cloudsched_env.rllib.algorithms.qmix import QMIXConfig
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.rllib.value_based.settings import ValueSettings
from cloudsched_env.scenario import load_scenario

FRAGMENTS_OF_AN_EPISODE = 10
GRADIENT_STEPS_OF_AN_EPISODE = 16
# Without them an untrained network of ours does as well as a good rule, and TorchRL's do not have them.
WITHOUT_PREFERENCES = {"networks.level_preference": 0.0, "networks.load_aversion": 0.0}


@dataclass(frozen=True)
class Epoch:
    """What a training says of itself, before the first epoch and after each.

    Attributes:
        team_reward: mean over counted steps of this epoch's training episodes; None before the first epoch.
        agent: the current networks, acting greedily.
    """

    team_reward: float | None
    agent: Any


@dataclass(frozen=True)
class Plan:
    """Data, budget and update settings of all four.

    Attributes:
        scenario: id.
        epochs: of each training.
        episodes: whole training episodes of an epoch.
        validate_every: epochs between validations.
        validation_episodes: fixed episodes of the validation split, the same for everyone.
    """

    scenario: str = "tiny-v1"
    epochs: int = 24
    episodes: int = 5
    validate_every: int = 3
    validation_episodes: int = 16

    def __post_init__(self) -> None:
        """Check what the settings cannot express.

        Raises:
            ValueError: if gradient steps cannot be shared evenly.
        """
        if GRADIENT_STEPS_OF_AN_EPISODE * self.episodes % FRAGMENTS_OF_AN_EPISODE:
            raise ValueError(f"episodes is {self.episodes}: expected a multiple of 5, so that gradient steps come out")

    @cached_property
    def horizon_steps(self) -> int:
        """Env steps of an episode."""
        return load_scenario(self.scenario).time.horizon_steps

    @cached_property
    def warmup_steps(self) -> int:
        """First env steps of an episode, which do not count."""
        return load_scenario(self.scenario).time.warmup_steps

    @property
    def epoch_env_steps(self) -> int:
        """Env steps of an epoch."""
        return self.episodes * self.horizon_steps

    @property
    def fragment_steps(self) -> int:
        """Env steps of a fragment in the replay buffers."""
        return self.horizon_steps // FRAGMENTS_OF_AN_EPISODE

    @cached_property
    def mappo(self) -> HRACSettings:
        """Our MAPPO as the textbook has it: independent arrivals and exploration, constant step sizes."""
        return MAPPOConfig.default_settings().override(
            {
                "scenario": self.scenario,
                "sampling.clusters": self.episodes,
                "sampling.phases": 1,
                "sampling.copies": 1,
                "sampling.rollout_steps": self.horizon_steps,
                "exploration.common_noise_steps": {"compute": 0, "storage": 0},
                "epoch_env_steps": self.epoch_env_steps,
                "update.minibatch_steps": self.horizon_steps,
                "update.warmup_epochs": 0,
                "update.anneal_epochs": 0,
                "validation.every_epochs": 0,
                **WITHOUT_PREFERENCES,
            }
        )

    @cached_property
    def qmix(self) -> ValueSettings:
        """Our QMIX; the target networks choose next actions themselves, as in TorchRL's loss."""
        return QMIXConfig().settings.override(
            {
                "scenario": self.scenario,
                "sampling.clusters": self.episodes,
                "sampling.phases": 1,
                "sampling.copies": 1,
                "sampling.rollout_steps": self.fragment_steps,
                "exploration.anneal_env_steps": self.epochs * self.epoch_env_steps // 2,
                "epoch_env_steps": self.epoch_env_steps,
                "replay.minimum_env_steps": self.epoch_env_steps,
                "update.steps": GRADIENT_STEPS_OF_AN_EPISODE * self.episodes // FRAGMENTS_OF_AN_EPISODE,
                "update.double": False,
                "update.anneal_epochs": 0,
                "validation.every_epochs": 0,
                **WITHOUT_PREFERENCES,
            }
        )

    def describe(self) -> dict[str, Any]:
        """What results must agree in to stand side by side."""
        return {**asdict(self), "epoch_env_steps": self.epoch_env_steps}


Trainer = Callable[[Plan, int], Iterator[Epoch]]
"""From a plan and a seed to what the training says of itself."""
