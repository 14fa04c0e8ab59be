"""From a scenario to its networks."""

from __future__ import annotations

import torch
from torch import nn

from cloudsched_env.rllib.networks.agent_critic import AgentCritic
from cloudsched_env.rllib.networks.attention import RoleAttention
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.critic import CentralCritic
from cloudsched_env.rllib.networks.padded import PaddedPolicy, matched_config
from cloudsched_env.rllib.networks.policy import NodePolicy, RolePolicy, SchedulerPolicy
from cloudsched_env.rllib.role_map import DEFAULT_MAP, RoleMap
from cloudsched_env.roles import compute, state, storage
from cloudsched_env.scenario import Scenario

__all__ = ["ATTENTION", "CRITIC", "ROLES", "build_networks", "build_policy"]

ROLES = ("compute", "storage", "scheduler")
ATTENTION = "attention"
CRITIC = "critic"


def build_policy(role: str, scenario: Scenario, config: NetworkConfig) -> RolePolicy:
    """The policy network of one agent type.

    Raises:
        ValueError: for a role that does not exist.
    """
    if role == "scheduler":
        return SchedulerPolicy.for_scenario(scenario, config)
    nodes = {"compute": compute, "storage": storage}
    if role in nodes:
        module = nodes[role]
        levels = module.action_levels(scenario).tolist()
        return NodePolicy(module.layout(scenario), levels, config, module.initial_levels(scenario))
    raise ValueError(f"unknown role {role!r}: expected one of {', '.join(ROLES)}")


def build_networks(scenario: Scenario, config: NetworkConfig) -> dict[str, nn.Module]:
    """All networks of a scenario, freshly initialised from torch's global generator.

    Returns:
        A policy under each role's name, the critic under `CRITIC` (`CentralCritic`, or `AgentCritic` if each agent is
        to have a value of its own), and, if policies act on a context, `RoleAttention` under `ATTENTION`.
    """
    role_map = RoleMap(scenario, config.role_map)
    networks: dict[str, nn.Module] = dict(_policies(role_map, scenario, config))
    if config.policy_context_size:
        networks[ATTENTION] = RoleAttention(role_map.names, config.embedding_size, config)
    if config.critic in ("agent", "local"):
        layouts = {name: role.layout for name, role in role_map.roles.items()}
        networks[CRITIC] = AgentCritic(state.layout(scenario), layouts, config)
    else:
        plain = config.role_map == DEFAULT_MAP
        members = None if plain else {name: role.members for name, role in role_map.roles.items()}
        networks[CRITIC] = CentralCritic(state.layout(scenario), config, members)
    return networks


def _policies(role_map: RoleMap, scenario: Scenario, config: NetworkConfig) -> dict[str, RolePolicy]:
    roles = role_map.roles
    if not any(role.padded for role in roles.values()):
        return {name: build_policy(role.agent_type, scenario, config) for name, role in roles.items()}
    if len(roles) > 1:  # the control: as many parameters as the agent types' policies have
        with torch.random.fork_rng(devices=[]):
            ours = [build_policy(kind, scenario, config) for kind in ROLES]
        config = matched_config(roles, sum(p.numel() for policy in ours for p in policy.parameters()), config)
    return {name: PaddedPolicy(role, scenario, config) for name, role in roles.items()}
