"""`RolloutRecorder`: the arrays that a roll-out is written into, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cloudsched_env.rllib.role_map import RoleMap
from cloudsched_env.rllib.rollout import RoleRollout

__all__ = ["RolloutRecorder"]


class RolloutRecorder:
    """The arrays of one roll-out, allocated once; policies read each step's observations from them.

    Args:
        envs: groups of clusters.
        steps: of the roll-out.
        role_map: which agents belong to which role.
        keeps_observations: whether what agents see after the last step, and after the end of an episode, is kept: for
            critics that read observations.
    """

    def __init__(self, envs: list[Any], steps: int, role_map: RoleMap, keeps_observations: bool = False) -> None:
        first = envs[0]
        self.role_map = role_map
        self.steps = steps
        self.keeps_observations = keeps_observations
        clusters = sum(env.num_envs for env in envs)
        self.roles: dict[str, dict[str, NDArray[Any]]] = {}
        for name, role in role_map.roles.items():
            agents = (steps, clusters, role.count)
            self.roles[name] = {
                "observations": np.empty((*agents, role.layout.size), np.float32),
                "masks": np.empty((*agents, sum(role.action_levels)), np.int8),
                "actions": np.empty((*agents, len(role.action_levels)), np.int64),
                "log_probs": np.empty(agents, np.float32),
                "local_rewards": np.empty(agents, np.float32),
            }
        self.states = np.empty((steps, clusters, first.state.shape[-1]), np.float32)
        self.last_states = np.empty(self.states.shape[1:], np.float32)
        self.team_rewards = np.empty((steps, clusters), np.float32)
        self.truncated = np.zeros((steps, clusters), np.bool_)
        self._cut_states: list[NDArray[np.float32]] = []
        self._cut_index: list[tuple[int, int]] = []
        self._cut_observations: list[dict[str, NDArray[np.float32]]] = []
        self._last_observations: list[dict[str, NDArray[np.float32]]] = []

    def add_summaries(self, roles: list[str], size: int) -> None:
        """Make room for the role summaries that agents were given."""
        for role in roles:
            agents = self.roles[role]["log_probs"].shape
            self.roles[role]["summaries"] = np.empty((*agents, len(roles), size), np.float32)

    def add_memories(self, size: int) -> None:
        """Make room for the recurrent states that agents had before each step."""
        for columns in self.roles.values():
            columns["memories"] = np.empty((*columns["log_probs"].shape, size), np.float32)

    def record_before(self, t: int, part: slice, env: Any) -> None:
        """What agents see and the state before a step."""
        observations, masks = self.role_map.observations(env.observations), self.role_map.masks(env.masks)
        for role, columns in self.roles.items():
            columns["observations"][t, part] = observations[role]
            columns["masks"][t, part] = masks[role]
        self.states[t, part] = env.state

    def record_after(self, t: int, part: slice, env: Any) -> None:
        """Rewards of a step."""
        rewards = self.role_map.values(env.local_rewards)
        for role, columns in self.roles.items():
            columns["local_rewards"][t, part] = rewards[role]
        self.team_rewards[t, part] = env.team_reward

    def record_end(self, t: int, part: slice, env: Any, ended: bool) -> None:
        """What a group shows after a step that ended its episodes or the roll-out; before it is reset."""
        last = t == self.steps - 1
        if not (ended or last):
            return
        if self.keeps_observations:
            seen = {role: values.copy() for role, values in self.role_map.observations(env.observations).items()}
            (self._last_observations if last else self._cut_observations).append(seen)
        self.truncated[t, part] = ended
        if last:
            self.last_states[part] = env.state
        else:
            self._cut_states.append(env.state.copy())
            self._cut_index += [(t, cluster) for cluster in range(part.start, part.stop)]

    def finish(self, weights_seq_no: int, inputs: NDArray[np.int64]) -> RoleRollout:
        """The roll-out.

        Args:
            weights_seq_no: of the policies that acted.
            inputs: number of what each cluster met (`SamplingSettings.inputs`).
        """
        width = self.states.shape[-1]
        return RoleRollout(
            roles=self.roles,
            states=self.states,
            team_rewards=self.team_rewards,
            truncated=self.truncated,
            last_states=self.last_states,
            cut_states=np.concatenate(self._cut_states) if self._cut_states else np.empty((0, width), np.float32),
            cut_index=np.array(self._cut_index, dtype=np.int64).reshape(-1, 2),
            weights_seq_no=weights_seq_no,
            last_observations=_joined(self._last_observations),
            cut_observations=_joined(self._cut_observations),
            inputs=inputs,
        )

    def observations(self, t: int) -> dict[str, torch.Tensor]:
        """Observations of a step as tensors that share memory."""
        return {role: torch.from_numpy(columns["observations"][t]) for role, columns in self.roles.items()}

    def masks(self, t: int) -> dict[str, torch.Tensor]:
        """Masks of a step as tensors that share memory."""
        return {role: torch.from_numpy(columns["masks"][t]) for role, columns in self.roles.items()}


def _joined(parts: list[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    """Arrays of several groups of clusters one after the other; nothing of nothing."""
    return {role: np.concatenate([part[role] for part in parts]) for role in parts[0]} if parts else {}
