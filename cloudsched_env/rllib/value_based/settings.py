"""Every setting of QMIX and VDN, its default, range and meaning, in one validated tree of frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import CHECKED, number
from cloudsched_env.rllib.setting_groups import SamplingSettings, StorageLoadSettings, ValidationSettings
from cloudsched_env.rllib.settings import SettingsTree

__all__ = [
    "ExplorationSettings",
    "FragmentReplaySettings",
    "MixingSettings",
    "ValueSettings",
    "ValueUpdateSettings",
]


@dataclass(frozen=True, config=CHECKED)
class MixingSettings:
    """How utilities become one value (`cloudsched_env.rllib.networks.mixer`).

    Attributes:
        kind: ``monotonic`` is QMIX, ``sum`` is VDN; it follows from the algorithm.
    """

    kind: Literal["monotonic", "sum"] = "monotonic"
    embedding_size: int = number(32, 1, 100_000, "hidden units of the mixing network")
    hypernet_size: int = number(64, 1, 100_000, "hidden units of the networks that make its weights")


@dataclass(frozen=True, config=CHECKED)
class ExplorationSettings:
    """Epsilon-greedy, for every sub-action on its own; linear from start to end, where it stays."""

    start: float = number(1.0, 0.0, 1.0, "share of random choices at the beginning")
    end: float = number(0.05, 0.0, 1.0, "share of random choices from then on")
    anneal_env_steps: int = number(100_000, 0, 1_000_000_000, "env steps over which the share falls")

    def epsilon(self, env_steps: int) -> float:
        """Share of random choices after so many env steps."""
        if env_steps >= self.anneal_env_steps:
            return self.end
        return self.start + (self.end - self.start) * env_steps / self.anneal_env_steps


@dataclass(frozen=True, config=CHECKED)
class FragmentReplaySettings:
    """The buffer of fragments (`cloudsched_env.rllib.value_based.replay`), one on each learner.

    A fragment is ``sampling.rollout_steps`` long. An env step takes about 12 kB on paper-v1 (25 agents; 0.6 GB for the
    default number) and 1.2 kB on tiny-v1.
    """

    env_steps: int = number(50_000, 1, 1_000_000_000, "env steps that are remembered at most")
    memory_mb: float = number(1_000.0, 0.001, 1e9, "memory that they may take (10^6 bytes); the smaller bound counts")
    minimum_env_steps: int = number(2_500, 0, 1_000_000_000, "env steps in the buffer before the first update")


@dataclass(frozen=True, config=CHECKED)
class ValueUpdateSettings:
    """Gradient steps."""

    steps: int = number(16, 1, 100_000, "gradient steps after each roll-out")
    fragments: int = number(16, 1, 1_000_000, "fragments of a gradient step, over all learners")
    trace: float = number(0.9, 0.0, 1.0, "lambda of Peng's Q(lambda); 0: one-step targets")
    double: bool = True
    target_every: int = number(25, 1, 1_000_000_000, "gradient steps between copies to the target networks")
    learning_rate: float = number(1e-3, 0.0, 1.0, "Adam step size of the utility networks and the mixer")
    anneal_epochs: int = number(
        80, 0, 10_000_000, "epochs over which the step size falls linearly to a tenth, where it stays; 0: constant"
    )
    adam_epsilon: float = number(1e-5, 1e-12, 1.0, "Adam epsilon")
    max_gradient_norm: float = number(10.0, 1e-6, 1e9, "gradient norm limit of each module")


# Utilities are no logits: a preference is a first guess in units of standardised returns, which learning has to undo
# where it is wrong. It is small beside the differences that are learned, and large beside the noise of new weights.
_NETWORKS: Mapping[str, Any] = {"sequential_slots": False, "level_preference": 0.1, "load_aversion": 0.1}


@dataclass(frozen=True, config=CHECKED)
class ValueSettings(SettingsTree):
    """All settings of one training run of QMIX or VDN.

    Attributes:
        scenario: id of a named scenario.
        overrides: scenario fields changed by dotted name.
        trace: path of a canonical task table (Parquet); None draws from the calibrated generator.
        storage_load: other volumes on the storage nodes.
        epoch_env_steps: env steps, summed over clusters and runners, that count as one epoch.
        discount: discount factor per env step.
        standardise_rewards: train on (r - mean) / std of recent team rewards. Centring adds the same constant to all
            values as long as only time ends an episode; where the mean lags behind what policies gain, values climb
            after it (`cloudsched_env.rllib.reward_centring` tells what that does).
        networks: settings of the networks (`cloudsched_env.rllib.networks.NetworkConfig`).
        network_builder: ``module:function`` that builds the networks; one's own may be named here.
    """

    scenario: str = "paper-v1"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    trace: str | None = None
    storage_load: StorageLoadSettings = field(default_factory=StorageLoadSettings)
    epoch_env_steps: int = number(10_000, 1, 1_000_000_000, "env steps of an epoch")
    discount: float = number(0.998, 0.0, 1.0, "discount factor per env step")
    standardise_rewards: bool = True
    reward_decay: float = number(
        0.999, 0.0, 0.99999, "decay of the mean and the variance of rewards per roll-out (1,000 env steps by default)"
    )
    mixing: MixingSettings = field(default_factory=MixingSettings)
    exploration: ExplorationSettings = field(default_factory=ExplorationSettings)
    replay: FragmentReplaySettings = field(default_factory=FragmentReplaySettings)
    update: ValueUpdateSettings = field(default_factory=ValueUpdateSettings)
    sampling: SamplingSettings = field(
        default_factory=lambda: SamplingSettings(clusters=50, rollout_steps=20, copies=1)
    )
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    networks: Mapping[str, Any] = field(default_factory=lambda: dict(_NETWORKS))
    network_builder: str = "cloudsched_env.rllib.value_based.modules:build_value_networks"

    def __post_init__(self) -> None:
        """Check ranges and relations.

        Raises:
            ValueError: naming the setting, its value and what was expected.
        """
        self._check_run()
        if self.sampling.rollout_steps < 2:
            raise ValueError(
                "setting 'sampling.rollout_steps' is 1: expected at least 2; the last step of a fragment only serves "
                "to bootstrap the one before"
            )
        if self.networks.get("sequential_slots", True):
            raise ValueError(
                "setting 'networks.sequential_slots' is true: expected false; where the score of a task depends on the "
                "choices for earlier ones, the best joint action is not the best choice of every sub-action"
            )
        if self.networks.get("memory", "none") != "none":
            raise ValueError(
                f"setting 'networks.memory' is {self.networks['memory']!r}: expected 'none'; utilities are functions "
                "of one observation"
            )
        if self.networks.get("execution", "none") != "none":
            raise ValueError(
                f"setting 'networks.execution' is {self.networks['execution']!r}: expected 'none'; utilities are "
                "functions of an agent's own observation"
            )
        if not self.validation.deterministic:
            raise ValueError(
                "setting 'validation.deterministic' is false: expected true; a learned value is judged, and exported, "
                "by its greedy actions"
            )

    def network_settings(self) -> dict[str, Any]:
        """Fields of `cloudsched_env.rllib.networks.NetworkConfig`."""
        return dict(self.networks)
