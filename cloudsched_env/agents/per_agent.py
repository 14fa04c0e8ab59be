"""PettingZoo-style policies as an agent: one function from an agent's observation and name to its action."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.check import AgentError
from cloudsched_env.agents.protocol import Actions, ClusterInfo, Masks, Observations
from cloudsched_env.agents.sampling import cluster_generators

__all__ = ["PerAgentPolicies", "is_policy_function"]

Policy = Callable[..., Any]
_PARAMETERS = ("observation", "agent")


def is_policy_function(target: Any) -> bool:
    """Whether something is a function whose first parameters are ``observation`` and ``agent``."""
    return inspect.isfunction(target) and tuple(inspect.signature(target).parameters)[:2] == _PARAMETERS


class PerAgentPolicies:
    """Each agent of the cluster acts by a function of its own observation.

    A function is called as ``policy(observation, agent)`` with ``observation = {"observation": float32 [size],
    "action_mask": int8 [sum of levels]}`` and the agent's name (``compute_0``, …), as the PettingZoo face gives them,
    and returns one integer for each sub-action. If it has a parameter ``rng``, it is given the cluster's
    `numpy.random.Generator`. It keeps nothing between steps: what has a memory is written as a class.

    Args:
        name: what results call it.
        policies: one function for all agents, or ``{agent's name or role: function}``; names come before roles.

    Raises:
        AgentError: if something else than functions is given.
    """

    execution = "none"

    def __init__(self, name: str, policies: Policy | Mapping[str, Policy]) -> None:
        self.name = name
        self._policies = dict(policies) if isinstance(policies, Mapping) else {"": policies}
        wrong = [key for key, policy in self._policies.items() if not callable(policy)]
        if wrong:
            raise AgentError(f"agent {name!r}: the policy of {wrong[0]!r} is not a function of observation and agent")
        self._info: ClusterInfo | None = None

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """Begin ``batch_size`` new episodes.

        Raises:
            AgentError: if an agent of the cluster has no policy.
        """
        self._info = info
        self._generators = cluster_generators(seed, batch_size)
        self._chosen: dict[str, list[tuple[str, Policy, bool]]] = {}
        for role, count in info.role_counts.items():
            self._chosen[role] = []
            for index in range(count):
                agent = f"{role}_{index}"
                policy = next((self._policies[key] for key in (agent, role, "") if key in self._policies), None)
                if policy is None:
                    raise AgentError(
                        f"agent {self.name!r}: no policy for {agent}, only for {', '.join(self._policies)}"
                    )
                self._chosen[role].append((agent, policy, "rng" in inspect.signature(policy).parameters))

    def act(self, observations: Observations, masks: Masks) -> Actions:
        """Ask the policy of every agent of every cluster.

        Raises:
            AgentError: naming the agent whose action has the wrong shape.
        """
        if self._info is None:
            raise RuntimeError(f"agent {self.name!r}: call reset(info, batch_size, seed) before act")
        actions: Actions = {}
        for role, policies in self._chosen.items():
            parts = len(self._info.action_levels[role])
            batch = observations[role].shape[0]
            chosen = np.empty((batch, len(policies), parts), np.int64)
            for cluster in range(batch):
                for index, (agent, policy, random) in enumerate(policies):
                    seen = {
                        "observation": observations[role][cluster, index].copy(),
                        "action_mask": masks[role][cluster, index].copy(),
                    }
                    extra = {"rng": self._generators[cluster]} if random else {}
                    chosen[cluster, index] = self._action(policy(seen, agent, **extra), agent, parts)
            actions[role] = chosen
        return actions

    def _action(self, action: Any, agent: str, parts: int) -> NDArray[np.int64]:
        array = np.asarray(action)
        if array.shape != (parts,) or not np.issubdtype(array.dtype, np.integer):
            raise AgentError(
                f"agent {self.name!r}: the policy of {agent} returned {array.dtype} of shape {array.shape}, expected "
                f"{parts} integers, one a sub-action"
            )
        return array.astype(np.int64)
