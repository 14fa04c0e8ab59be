"""RLModules around the networks: one policy for each role, the attention between roles, the centralised critic.

The mathematics is in `cloudsched_env.rllib.networks`; here it is made known to RLlib, so that weights are
synchronised, checkpointed and shared among learners.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule, MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from cloudsched_env.rllib.lgrs import LGRS, LGRSConfig
from cloudsched_env.rllib.networks import ATTENTION, ROLES, TEAM, NetworkConfig, build_networks
from cloudsched_env.rllib.networks.attention import AttentionOutput
from cloudsched_env.rllib.reward_centring import RewardCentre
from cloudsched_env.rllib.role_map import DEFAULT_MAP, RoleMap
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.rllib.value_normalisation import ValueNormaliser
from cloudsched_env.roles import state as state_roles
from cloudsched_env.scenario import Scenario, load_scenario

__all__ = [
    "ATTENTION",
    "CRITIC",
    "ROLES",
    "SEEN",
    "TEAM",
    "AttentionModule",
    "CriticModule",
    "HRACMultiModule",
    "PolicyModule",
    "build_default_networks",
    "module_specs",
    "spaces",
]

CRITIC = "central_critic"
SEEN = "observations_of_"  # columns of the critic, where it looks at observations


def build_default_networks(scenario: Scenario, settings: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks of this package.

    Args:
        scenario: the cluster.
        settings: fields of `cloudsched_env.rllib.networks.NetworkConfig`.

    Returns:
        A policy for each role under its name, ``"critic"`` and, where policies read role summaries, ``"attention"``.
    """
    return build_networks(scenario, NetworkConfig.from_dict(settings))


def spaces(scenario: Scenario, role_map: str = DEFAULT_MAP) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
    """Observation and action space of one agent of each role."""
    return {
        name: (
            gym.spaces.Box(role.layout.low(), role.layout.high(), dtype=np.float32),
            gym.spaces.MultiDiscrete(np.array(role.action_levels)),
        )
        for name, role in RoleMap(scenario, role_map).roles.items()
    }


def execution_mode(settings: HRACSettings) -> str:
    """What policies read of other agents: ``none``, ``role_summary`` or ``full``."""
    return str(settings.networks.get("execution", "none"))


def _is_ours(settings: HRACSettings) -> bool:
    """Whether the networks are those of this package; those of a user have no configuration that we know."""
    return settings.network_builder == HRACSettings().network_builder


def module_specs(settings: HRACSettings, seed: int = 0) -> MultiRLModuleSpec:
    """What RLlib needs to know to build the modules on runners and learners, with initial weights drawn by ``seed``."""
    scenario = load_scenario(settings.scenario, settings.overrides)
    if _is_ours(settings):
        # A wrong name is told now, not when a worker builds its networks.
        NetworkConfig.from_dict(settings.network_settings())
    model_config = {"settings": settings.to_dict(), "seed": seed}
    role_spaces = spaces(scenario, settings.roles.map)
    specs = {
        role: RLModuleSpec(
            module_class=PolicyModule,
            observation_space=observation_space,
            action_space=action_space,
            # RLlib does not keep the order of modules.
            model_config={**model_config, "role": role, "position": position},
        )
        for position, (role, (observation_space, action_space)) in enumerate(role_spaces.items())
    }
    state = state_roles.layout(scenario)
    state_space = gym.spaces.Box(state.low(), state.high(), dtype=np.float32)
    no_action: gym.spaces.Discrete = gym.spaces.Discrete(1)
    specs[CRITIC] = RLModuleSpec(
        module_class=CriticModule,
        observation_space=state_space,
        action_space=no_action,
        learner_only=True,  # runners never see the critic
        model_config=model_config,
    )
    if execution_mode(settings) != "none":
        specs[ATTENTION] = RLModuleSpec(
            module_class=AttentionModule,
            observation_space=state_space,
            action_space=no_action,
            model_config=model_config,
        )
    return MultiRLModuleSpec(multi_rl_module_class=HRACMultiModule, rl_module_specs=specs)


class _NetworkModule(TorchRLModule):
    """An RLModule that holds one of the networks of a scenario."""

    network: Any
    framework = "torch"

    def setup(self) -> None:
        """Build the network that ``model_config`` describes."""
        self._settings = settings = HRACSettings.from_dict(self.model_config["settings"])
        scenario = load_scenario(settings.scenario, settings.overrides)
        module_name, _, function_name = settings.network_builder.partition(":")
        builder = getattr(importlib.import_module(module_name), function_name)
        # RLlib builds modules in the order of a set, which differs between processes: weights must not hang on it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.model_config["seed"]))
            networks = builder(scenario, settings.network_settings())
        name = self._network_name()
        if name not in networks:
            raise KeyError(f"{settings.network_builder} built no network {name!r}: it built {sorted(networks)}")
        self.network = networks[name]

    def set_state(self, state: dict[str, Any]) -> None:
        """Load weights and buffers as they are: RLlib would round float64 moments to float32."""
        self.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in state.items()})

    def _network_name(self) -> str:
        raise NotImplementedError

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError(
            f"{type(self).__name__} reads all agents of its role at once: call forward_train of the HRACMultiModule, "
            "or act(), instead of the forward pass of a single module"
        )


class PolicyModule(_NetworkModule):
    """The policy of one role, shared by its agents."""

    def _network_name(self) -> str:
        return str(self.model_config["role"])


class AttentionModule(_NetworkModule):
    """Attention of agents over summaries of the roles, as part of the policies.

    Attributes:
        counts: agents of each role.
    """

    counts: dict[str, int]

    def setup(self) -> None:
        """Build the attention."""
        super().setup()
        settings = self._settings
        self.counts = RoleMap(load_scenario(settings.scenario, settings.overrides), settings.roles.map).counts

    def _network_name(self) -> str:
        return ATTENTION


class CriticModule(_NetworkModule):
    """The critic, its lagged copy (the potential of LGRS), reward scales and value normalisers.

    There is one normaliser for each role and one for the team return. The lagged copy keeps a lagged normaliser of
    its own: the potential must not move because the scale of the live critic does.
    """

    normalisers: nn.ModuleDict
    centres: nn.ModuleDict
    lgrs: LGRS
    lagged_network: nn.Module
    lagged_normaliser: ValueNormaliser

    def setup(self) -> None:
        """Build the critic, its lagged copy, the scales of LGRS and the normalisers."""
        super().setup()
        settings = self._settings
        roles = RoleMap(load_scenario(settings.scenario, settings.overrides), settings.roles.map).names
        decay = settings.update.normaliser_decay
        self.normalisers = nn.ModuleDict({r: ValueNormaliser(decay, name=f"{r}.returns") for r in (*roles, TEAM)})
        self.centres = nn.ModuleDict({name: RewardCentre() for name in (*roles, TEAM)})
        self.scope = NetworkConfig.from_dict(settings.network_settings()).critic if _is_ours(settings) else "role"
        lgrs = self._settings.lgrs
        self.lgrs = LGRS(
            roles,
            LGRSConfig(
                mode=lgrs.mode,
                weight=lgrs.lambda_,
                weight_by_role=lgrs.lambda_by_role,
                gamma=self._settings.discount,
                normalise=lgrs.normalise,
            ),
        )
        self.lagged_network = copy.deepcopy(self.network)
        self.lagged_normaliser = copy.deepcopy(self.normaliser(TEAM))
        for parameter in self.lagged_network.parameters():
            parameter.requires_grad_(False)

    def _network_name(self) -> str:
        return "critic"

    def normaliser(self, name: str) -> ValueNormaliser:
        """The normaliser of a role's returns, or of the team's."""
        return cast(ValueNormaliser, self.normalisers[name])

    def centred(self, name: str, rewards: Tensor, *, update: bool) -> Tensor:
        """Rewards of a role, or of the team, less their running mean if the settings ask for it."""
        return self.centres[name](rewards, update=update) if self._settings.centre_rewards else rewards

    @property
    def sees_observations(self) -> bool:
        """Whether each agent has a value of its own, which depends on what it observes."""
        return self.scope in ("agent", "local")

    def values(self, states: Tensor, observations: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Normalised values of states [*, s]: ``{role or "team": [*]}``.

        A critic of single agents is given their observations, ``{role: [*, n, d]}``, and returns ``{role: [*, n]}``.
        """
        return self.network(states, observations) if self.sees_observations else self.network(states)

    @torch.no_grad()
    def potential(self, states: Tensor) -> Tensor:
        """V_phi of LGRS: the lagged team value in units of the return, [*]."""
        return self.lagged_normaliser.denormalise(self.lagged_network(states)[TEAM])

    @torch.no_grad()
    def advance_potential(self, rate: float) -> None:
        """Move the lagged copy towards the live critic by Polyak averaging."""
        for lagged, live in (
            (self.lagged_network, self.network),
            (self.lagged_normaliser, self.normalisers[TEAM]),
        ):
            for mine, theirs in zip(_floating(lagged), _floating(live), strict=True):
                mine.lerp_(theirs, rate)


def _floating(module: nn.Module) -> list[Tensor]:
    """Floating-point parameters and buffers, in a fixed order."""
    return [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]


class HRACMultiModule(MultiRLModule):
    """All modules together; rows of all roles belong to the same env steps, so roles may attend to each other."""

    def roles(self) -> list[str]:
        """The roles that have a policy here, in the order of agents."""
        policies = {name: module.unwrapped() for name, module in self.items()}
        policies = {name: module for name, module in policies.items() if isinstance(module, PolicyModule)}
        return sorted(policies, key=lambda name: int(policies[name].model_config["position"]))

    def policy(self, role: str) -> Any:
        """The policy network of a role."""
        return self[role].unwrapped().network

    @property
    def remembers(self) -> bool:
        """Whether agents have a recurrent state."""
        return any(getattr(self.policy(role), "memory", None) is not None for role in self.roles())

    def embeddings(
        self, observations: Mapping[str, Tensor], memories: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What agents make of a step, [*, n, e]; with memory, these are their states after the step."""
        memories = memories or {}
        return {
            role: self.policy(role).remember(self.policy(role).encode(seen), memories.get(role))
            for role, seen in observations.items()
        }

    def _sequences(self, columns: Mapping[str, Tensor], role: str) -> Tensor:
        """Embeddings of recorded steps: rows that stand alone, or sequences [L, C, n, ...] with time first."""
        policy = self.policy(role)
        embedded = policy.encode(columns["observations"])
        if embedded.dim() < 4:
            return policy.remember(embedded, columns.get("memories"))
        if "memories" not in columns:
            raise ValueError(f"policy {role!r} has a memory: expected sequences to come with 'memories' and 'begins'")
        return policy.recall(embedded, columns["memories"][0], columns["begins"])

    def contexts(
        self,
        observations: Mapping[str, Tensor],
        summaries: Mapping[str, Tensor] | None,
        states: Mapping[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor | None], dict[str, Tensor | None]]:
        """Embeddings [*, n, e] and what each agent makes of the other roles, [*, n, c].

        Both are None where policies read nothing of others: there they encode for themselves.

        Args:
            observations: ``{role: [*, n, d]}``.
            summaries: ``{role: [*, n, roles, s]}`` as delivered to each agent; agents may then be left out. Without
                them fresh ones are computed from all agents, and gradients flow through them.
            states: of agents with memory, after the step.
        """
        if ATTENTION not in self:
            embedded = {role: None if states is None else states[role] for role in observations}
            return embedded, dict.fromkeys(observations)
        embeddings: dict[str, Any] = dict(states) if states is not None else self.embeddings(observations)
        contexts: dict[str, Any] = self.attended(embeddings, summaries).contexts
        return embeddings, contexts

    def attended(self, embeddings: Mapping[str, Tensor], summaries: Mapping[str, Tensor] | None) -> AttentionOutput:
        """What agents attend to, given `embeddings` and the summaries delivered to them as for `contexts`."""
        module: AttentionModule = self[ATTENTION].unwrapped()
        if summaries is None:
            return module.network(embeddings)
        views = {
            role: {sender: held[..., i, :] for i, sender in enumerate(self.roles())} for role, held in summaries.items()
        }
        return module.network.contexts(embeddings, views, module.counts)

    @torch.no_grad()
    def summaries(
        self, observations: Mapping[str, Tensor], memories: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What each role would publish now, ``{role: [*, s]}``."""
        attention = self[ATTENTION].unwrapped().network
        return attention.summaries(self.embeddings(observations, memories))

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        *,
        deterministic: bool,
        generator: torch.Generator | None = None,
        summaries: Mapping[str, Tensor] | None = None,
        states: Mapping[str, Tensor] | None = None,
        noise: Mapping[str, Tensor] | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Actions [*, n, k] and their log-probabilities [*, n], by role.

        Agents with memory act on ``states``, which `embeddings` returned for this step. ``noise`` is what the roles in
        it draw with (`cloudsched_env.rllib.common_noise`).
        """
        embeddings, contexts = self.contexts(observations, summaries, states)
        given = noise or {}
        return {
            role: self.policy(role).act(
                observations[role],
                masks[role],
                contexts[role],
                deterministic,
                generator,
                embeddings[role],
                given.get(role),
            )
            for role in self.roles()
        }

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Log-probability and entropy of the taken actions for each role, values for the critic."""
        roles = [role for role in self.roles() if role in batch]
        delivered = {role: batch[role]["summaries"] for role in roles if "summaries" in batch[role]}
        states = {role: self._sequences(batch[role], role) for role in roles} if self.remembers else None
        seen = {role: batch[role]["observations"] for role in roles}
        embeddings, contexts = self.contexts(seen, delivered or None, states)
        output: dict[str, Any] = {}
        for role in roles:
            columns = batch[role]
            log_probs, entropies = self.policy(role).evaluate(
                columns["observations"], columns["masks"], columns["actions"], contexts[role], embeddings[role]
            )
            output[role] = {"log_probs": log_probs, "entropies": entropies}
        if CRITIC in batch:
            columns = batch[CRITIC]
            seen = {name.removeprefix(SEEN): values for name, values in columns.items() if name.startswith(SEEN)}
            output[CRITIC] = self[CRITIC].unwrapped().values(columns["states"], seen or None)
        return output

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act_forward(batch, deterministic=True)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act_forward(batch, deterministic=False)

    def _act_forward(self, batch: dict[str, Any], deterministic: bool) -> dict[str, Any]:
        chosen = self.act(
            {role: batch[role]["observations"] for role in self.roles()},
            {role: batch[role]["masks"] for role in self.roles()},
            deterministic=deterministic,
        )
        return {role: {"actions": actions, "log_probs": log_probs} for role, (actions, log_probs) in chosen.items()}
