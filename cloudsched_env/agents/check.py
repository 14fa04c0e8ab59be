"""Checks on what an agent returns, so that a mistake in one's own agent is reported in terms of roles and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudsched_env.agents.protocol import Actions, ClusterInfo

__all__ = ["AgentError", "check_actions", "check_agent"]


class AgentError(ValueError):
    """An agent does not keep to the contract of `cloudsched_env.agents.protocol.Agent`."""


def check_agent(agent: Any, where: str) -> None:
    """Refuse an object that lacks a part of the contract.

    Raises:
        AgentError: naming what is missing and what is expected.
    """
    missing = [method for method in ("reset", "act") if not callable(getattr(agent, method, None))]
    if missing:
        raise AgentError(
            f"{where}: {type(agent).__name__} has no method {' and no method '.join(missing)}: an agent has "
            "reset(info, batch_size, seed) and act(observations, masks) -> {role: int64 [batch, agents, sub-actions]}"
        )
    if not isinstance(getattr(agent, "name", None), str):
        raise AgentError(
            f'{where}: {type(agent).__name__} has no name: set a string attribute, as in name = "my_agent"'
        )


def check_actions(actions: Any, info: ClusterInfo, batch_size: int, agent_name: str) -> Actions:
    """Check and normalise the actions of one step.

    Args:
        actions: what `act` returned.
        info: the cluster.
        batch_size: number of clusters.
        agent_name: for error messages.

    Returns:
        ``{role: int64 [batch, agents, sub-actions]}`` with the roles in the order of ``info``.

    Raises:
        AgentError: naming the agent, the role, and the expected shape, type or range.
    """
    roles = list(info.role_counts)
    if not isinstance(actions, dict) or set(actions) != set(roles):
        got = sorted(map(str, actions)) if isinstance(actions, dict) else type(actions).__name__
        raise AgentError(f"agent {agent_name!r}: act must return a dict with the roles {roles}, got {got}")
    checked: Actions = {}
    for role in roles:
        levels = info.action_levels[role]
        array = np.asarray(actions[role])
        expected = (batch_size, info.role_counts[role], len(levels))
        if array.shape != expected:
            raise AgentError(
                f"agent {agent_name!r}, role {role!r}: actions have shape {array.shape}, expected {expected} "
                "(clusters, agents of the role, sub-actions)"
            )
        if not np.issubdtype(array.dtype, np.integer):
            raise AgentError(f"agent {agent_name!r}, role {role!r}: actions are {array.dtype}, expected integers")
        outside = (array < 0) | (array >= levels)
        if outside.any():
            cluster, agent, part = (int(i) for i in np.argwhere(outside)[0])
            raise AgentError(
                f"agent {agent_name!r}, role {role!r}: sub-action {part} of {role}_{agent} is "
                f"{int(array[cluster, agent, part])}, expected 0 to {int(levels[part]) - 1}"
            )
        checked[role] = array.astype(np.int64, copy=False)
    return checked
