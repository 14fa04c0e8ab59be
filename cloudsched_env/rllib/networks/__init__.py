"""Policies, role attention and central critic in plain torch; nothing here knows RLlib."""

from cloudsched_env.rllib.networks.agent import TrainedAgent
from cloudsched_env.rllib.networks.attention import AttentionOutput, RoleAttention
from cloudsched_env.rllib.networks.base import RolePolicy
from cloudsched_env.rllib.networks.build import ATTENTION, CRITIC, ROLES, build_networks, build_policy
from cloudsched_env.rllib.networks.channel import SummaryChannel
from cloudsched_env.rllib.networks.checkpoint import LoadedPolicy, load_policy, save_policy
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.critic import TEAM, CentralCritic
from cloudsched_env.rllib.networks.policy import NodePolicy, SchedulerPolicy

__all__ = [
    "ATTENTION",
    "CRITIC",
    "ROLES",
    "TEAM",
    "AttentionOutput",
    "CentralCritic",
    "LoadedPolicy",
    "NetworkConfig",
    "NodePolicy",
    "RoleAttention",
    "RolePolicy",
    "SchedulerPolicy",
    "SummaryChannel",
    "TrainedAgent",
    "build_networks",
    "build_policy",
    "load_policy",
    "save_policy",
]
