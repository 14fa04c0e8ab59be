"""What an agent is: something that maps batched observations of each role to actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.roles.layout import Layout
from cloudsched_env.scenario import Scenario

__all__ = ["Actions", "Agent", "ClusterInfo", "Masks", "Observations"]

Observations = Mapping[str, NDArray[np.float32]]
Masks = Mapping[str, NDArray[np.int8]]
Actions = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class ClusterInfo:
    """What an agent may know of the cluster before the first step.

    Attributes:
        scenario: the constants of the cluster.
        layouts: how each role's observation is laid out.
        action_levels: choices of each sub-action of each role, ``{role: int64 [sub-actions]}``.
        role_counts: number of agents of each role.
    """

    scenario: Scenario
    layouts: Mapping[str, Layout]
    action_levels: Mapping[str, NDArray[np.int64]]
    role_counts: Mapping[str, int]


@runtime_checkable
class Agent(Protocol):
    """A policy for all agents of a cluster, batched over clusters.

    Each row of a role acts on its own observation only: execution is decentralised unless an agent says otherwise
    in ``execution``.
    """

    name: str

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """Begin ``batch_size`` new episodes; all randomness of the agent comes from ``seed``."""
        ...

    def act(self, observations: Observations, masks: Masks) -> Actions:
        """Choose actions.

        Args:
            observations: ``{role: float32 [batch, agents of the role, observation size]}``.
            masks: ``{role: int8 [batch, agents of the role, sum of the role's action levels]}``, 1 = allowed;
                the levels of the sub-actions follow one another.

        Returns:
            ``{role: int64 [batch, agents of the role, sub-actions]}``.
        """
        ...
