"""From a scenario to its networks."""

from __future__ import annotations

from torch import nn

from cloudsched_env.rllib.networks.attention import RoleAttention
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.critic import CentralCritic
from cloudsched_env.rllib.networks.policy import NodePolicy, RolePolicy, SchedulerPolicy
from cloudsched_env.roles import compute, state, storage
from cloudsched_env.scenario import Scenario

__all__ = ["ATTENTION", "CRITIC", "ROLES", "build_networks", "build_policy"]

ROLES = ("compute", "storage", "scheduler")
ATTENTION = "attention"
CRITIC = "critic"


def build_policy(role: str, scenario: Scenario, config: NetworkConfig) -> RolePolicy:
    """The policy network of one role.

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
        A policy under each role's name, `CentralCritic` under `CRITIC`, and, if policies act on a context,
        `RoleAttention` under `ATTENTION`.
    """
    networks: dict[str, nn.Module] = {role: build_policy(role, scenario, config) for role in ROLES}
    if config.policy_context_size:
        networks[ATTENTION] = RoleAttention(ROLES, config.embedding_size, config)
    networks[CRITIC] = CentralCritic(state.layout(scenario), config)
    return networks
