"""Policies, role attention and central critic in plain torch; nothing here knows RLlib."""

from cloudsched_env.rllib.networks.attention import AttentionOutput, RoleAttention
from cloudsched_env.rllib.networks.build import ATTENTION, CRITIC, ROLES, build_networks, build_policy
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.critic import TEAM, CentralCritic
from cloudsched_env.rllib.networks.policy import NodePolicy, RolePolicy, SchedulerPolicy

__all__ = [
    "ATTENTION",
    "CRITIC",
    "ROLES",
    "TEAM",
    "AttentionOutput",
    "CentralCritic",
    "NetworkConfig",
    "NodePolicy",
    "RoleAttention",
    "RolePolicy",
    "SchedulerPolicy",
    "build_networks",
    "build_policy",
]
