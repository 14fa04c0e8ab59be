"""RLModules of QMIX and VDN: one utility network for each role, and the mixer with all target networks.

The utility networks are the policies of `cloudsched_env.rllib.networks`, whose scores are read as utilities. Runners
get them with the current share of random choices (a buffer); the mixer and the targets stay with the learners. All of
it is in RLlib's checkpoints.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from cloudsched_env.rllib.modules import ROLES, HRACMultiModule, spaces
from cloudsched_env.rllib.networks import NetworkConfig, build_policy
from cloudsched_env.rllib.networks.mixer import MonotonicMixer, SumMixer
from cloudsched_env.rllib.value_based.settings import ValueSettings
from cloudsched_env.rllib.value_based.utilities import epsilon_greedy, greedy_actions
from cloudsched_env.rllib.value_normalisation import ValueNormaliser
from cloudsched_env.roles import state as state_roles
from cloudsched_env.scenario import Scenario, load_scenario

__all__ = ["MIXER", "MixerModule", "UtilityModule", "ValueMultiModule", "build_value_networks", "value_module_specs"]

MIXER = "mixer"


def build_value_networks(scenario: Scenario, settings: ValueSettings) -> dict[str, nn.Module]:
    """The networks of this package, freshly initialised from torch's global generator.

    Args:
        scenario: the cluster.
        settings: of the run.

    Returns:
        A utility network for each role under its name, and `MonotonicMixer` or `SumMixer` under `MIXER`.
    """
    config = NetworkConfig.from_dict(settings.network_settings())
    networks: dict[str, nn.Module] = {role: build_policy(role, scenario, config) for role in ROLES}
    mixing = settings.mixing
    networks[MIXER] = (
        SumMixer()
        if mixing.kind == "sum"
        else MonotonicMixer(state_roles.layout(scenario), config, mixing.embedding_size, mixing.hypernet_size)
    )
    return networks


def value_module_specs(settings: ValueSettings, seed: int = 0) -> MultiRLModuleSpec:
    """What RLlib needs to know to build the modules on runners and learners, with initial weights drawn by ``seed``."""
    scenario = load_scenario(settings.scenario, settings.overrides)
    if settings.network_builder == ValueSettings().network_builder:
        NetworkConfig.from_dict(
            settings.network_settings()
        )  # a wrong name is told now, not when a worker builds its networks
    model_config = {"settings": settings.to_dict(), "seed": seed}
    specs = {
        role: RLModuleSpec(
            module_class=UtilityModule,
            observation_space=observation_space,
            action_space=action_space,
            model_config={**model_config, "role": role},
        )
        for role, (observation_space, action_space) in spaces(scenario).items()
    }
    state = state_roles.layout(scenario)
    specs[MIXER] = RLModuleSpec(
        module_class=MixerModule,
        observation_space=gym.spaces.Box(state.low(), state.high(), dtype=np.float32),
        action_space=gym.spaces.Discrete(1),
        learner_only=True,  # runners need neither the mixer nor the targets
        model_config=model_config,
    )
    return MultiRLModuleSpec(multi_rl_module_class=ValueMultiModule, rl_module_specs=specs)


class _ValueModule(TorchRLModule):
    """An RLModule that holds some of the networks of a scenario."""

    framework = "torch"

    def _build(self) -> tuple[ValueSettings, dict[str, nn.Module]]:
        """All networks of the run; every module draws the same initial weights."""
        settings = ValueSettings.from_dict(self.model_config["settings"])
        scenario = load_scenario(settings.scenario, settings.overrides)
        module_name, _, function_name = settings.network_builder.partition(":")
        builder = getattr(importlib.import_module(module_name), function_name)
        # RLlib builds modules in the order of a set, which differs between processes: weights must not hang on it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.model_config["seed"]))
            networks = builder(scenario, settings)
        missing = sorted({*ROLES, MIXER} - set(networks))
        if missing:
            raise KeyError(f"{settings.network_builder} built no networks {missing}: it built {sorted(networks)}")
        return settings, networks

    def set_state(self, state: dict[str, Any]) -> None:
        """Load weights and buffers as they are: RLlib would round float64 moments to float32."""
        self.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in state.items()})

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError(
            f"{type(self).__name__} reads all agents of its role at once: call act() of the ValueMultiModule instead "
            "of the forward pass of a single module"
        )


class UtilityModule(_ValueModule):
    """The utility network of one role, shared by its agents, and how much they explore."""

    network: Any
    epsilon: Tensor

    def setup(self) -> None:
        """Build the network of ``model_config["role"]``."""
        settings, networks = self._build()
        self.network = networks[str(self.model_config["role"])]
        self.register_buffer("epsilon", torch.tensor(settings.exploration.start, dtype=torch.float64))


class MixerModule(_ValueModule):
    """The mixer, the target networks of all roles and of the mixer, and the running scale of the team reward."""

    network: Any
    targets: nn.ModuleDict
    rewards: ValueNormaliser
    gradient_steps: Tensor

    def setup(self) -> None:
        """Build the mixer and the target networks, which begin as the utility networks begin."""
        settings, networks = self._build()
        _, copies = self._build()
        self.network = networks[MIXER]
        self.targets = nn.ModuleDict(copies)
        # Standard deviations of a team reward in [0, 1] are far below the floor that returns need.
        self.rewards = ValueNormaliser(settings.reward_decay, minimum_variance=1e-6, name="team_rewards")
        self.register_buffer("gradient_steps", torch.zeros((), dtype=torch.int64))
        for parameter in self.targets.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def copy_to_targets(self, utilities: Mapping[str, nn.Module]) -> None:
        """Let the target networks equal the utility networks ``{role: network}`` and the mixer."""
        for role, network in utilities.items():
            self.targets[role].load_state_dict(network.state_dict())
        self.targets[MIXER].load_state_dict(self.network.state_dict())


class ValueMultiModule(HRACMultiModule):
    """All modules together. The runner asks it for actions as it asks a policy."""

    def roles(self) -> list[str]:
        """The roles that have a utility network here, in the order of agents."""
        return [role for role in ROLES if role in self]

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        *,
        deterministic: bool,
        generator: torch.Generator | None = None,
        summaries: Mapping[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Epsilon-greedy (or greedy) actions [*, n, k] and their log-probabilities [*, n], by role."""
        chosen: dict[str, tuple[Tensor, Tensor]] = {}
        for role in self.roles():
            network = self.policy(role)
            scores = network.scores(observations[role], masks[role])
            if deterministic:
                actions = greedy_actions(scores, masks[role], network.action_levels)
                chosen[role] = actions, scores.new_zeros(scores.shape[:-1])
            else:
                epsilon = float(self[role].unwrapped().epsilon)
                chosen[role] = epsilon_greedy(scores, masks[role], network.action_levels, epsilon, generator)
        return chosen

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError(
            "value decomposition has no forward pass of a batch by itself: the learner calls "
            "cloudsched_env.rllib.value_based.loss.td_loss"
        )
