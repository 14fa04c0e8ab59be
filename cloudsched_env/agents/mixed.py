"""An agent whose roles are played by different agents: to replace one role of a policy and keep the others."""

from __future__ import annotations

from collections.abc import Mapping

from cloudsched_env.agents.protocol import Actions, Agent, ClusterInfo, Masks, Observations

__all__ = ["MixedAgent"]

# From nothing to everything that agents may tell one another while they act.
_EXECUTION_ORDER = ("none", "role_summary", "full")


class MixedAgent:
    """Each role acts as the agent given for it; the agents do not know of one another.

    Args:
        name: what results call it.
        agents: ``{role: agent}`` for the roles compute, storage and scheduler. An agent given for several roles is
            asked once in a step; one whose ``acts_role_by_role`` is true is shown its own roles only, which saves the
            rest of its work, and one that draws actions then draws other ones than it would for all roles.

    Raises:
        ValueError: if a role is missing or unknown.
    """

    def __init__(self, name: str, agents: Mapping[str, Agent]) -> None:
        roles = ("compute", "storage", "scheduler")
        if set(agents) != set(roles):
            raise ValueError(f"agent {name!r}: expected one agent for each of {', '.join(roles)}, got {list(agents)}")
        self.name = name
        self.agents = {role: agents[role] for role in roles}
        self._distinct = {id(agent): agent for agent in self.agents.values()}
        self._roles = {key: tuple(r for r in roles if id(self.agents[r]) == key) for key in self._distinct}
        modes = [str(getattr(agent, "execution", "none")) for agent in self._distinct.values()]
        unknown = [mode for mode in modes if mode not in _EXECUTION_ORDER]
        self.execution = unknown[0] if unknown else max(modes, key=_EXECUTION_ORDER.index)

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """Begin ``batch_size`` new episodes with every agent."""
        for agent in self._distinct.values():
            agent.reset(info, batch_size, seed)

    def act(self, observations: Observations, masks: Masks) -> Actions:
        """Ask every agent and take from each the roles that it plays."""
        actions: Actions = {}
        for key, agent in self._distinct.items():
            mine = self._roles[key]
            if getattr(agent, "acts_role_by_role", False):
                chosen = agent.act({role: observations[role] for role in mine}, {role: masks[role] for role in mine})
            else:
                chosen = agent.act(observations, masks)
            actions |= {role: chosen[role] for role in mine}
        return actions
