"""Agents: what one is, the heuristics that come with the package, and how to load one by name."""

from cloudsched_env.agents.check import AgentError, check_actions
from cloudsched_env.agents.protocol import Actions, Agent, ClusterInfo, Masks, Observations
from cloudsched_env.agents.registry import AgentEntry, list_agents, load_agent

__all__ = [
    "Actions",
    "Agent",
    "AgentEntry",
    "AgentError",
    "ClusterInfo",
    "Masks",
    "Observations",
    "check_actions",
    "list_agents",
    "load_agent",
]
