"""`StoredRollouts`: what one update trains on, and the buffer keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloudsched_env.rllib.rollout import RoleRollout

__all__ = ["StoredRollouts"]


@dataclass
class StoredRollouts:
    """The roll-outs of all runners as tensors, clusters of all along one axis (T steps, B clusters)."""

    roles: dict[str, dict[str, Tensor]]
    states: Tensor
    team_rewards: Tensor
    truncated: Tensor
    last_states: Tensor
    cut_states: Tensor
    cut_index: Tensor
    last_observations: dict[str, Tensor]
    cut_observations: dict[str, Tensor]
    inputs: Tensor

    @classmethod
    def of(cls, rollouts: Sequence[RoleRollout]) -> StoredRollouts:
        """Join the roll-outs of all runners along B."""
        first = rollouts[0]
        if any(rollout.shape[0] != first.shape[0] for rollout in rollouts):
            raise ValueError(
                f"roll-outs of {sorted({r.shape[0] for r in rollouts})} steps cannot form one batch: "
                "all runners must use the same sampling.rollout_steps"
            )

        def join(get: Any, axis: int) -> Tensor:
            parts = [get(rollout) for rollout in rollouts]
            if len(parts) > 1:
                return torch.from_numpy(np.concatenate(parts, axis=axis))
            # What comes from a remote runner lies read-only in Ray's object store, where the buffer must not keep it.
            return torch.from_numpy(parts[0] if parts[0].flags.writeable else parts[0].copy())

        def columns_of(role: str) -> dict[str, Tensor]:
            columns = {name: join(lambda r, role=role, name=name: r.roles[role][name], 1) for name in first.roles[role]}
            if "memories" in columns:  # what was remembered ends with the episode
                cut = join(lambda r: r.truncated, 1)
                columns["begins"] = torch.cat((torch.zeros_like(cut[:1]), cut[:-1]))
            return columns

        offsets = np.cumsum([0, *(r.shape[1] for r in rollouts[:-1])])
        shifted = [r.cut_index + np.array([0, o]) for r, o in zip(rollouts, offsets, strict=True)]
        firsts = np.cumsum([0, *(r.inputs.max() + 1 for r in rollouts[:-1])])
        return cls(
            roles={role: columns_of(role) for role in first.roles},
            states=join(lambda r: r.states, 1),
            team_rewards=join(lambda r: r.team_rewards, 1),
            truncated=join(lambda r: r.truncated, 1),
            last_states=join(lambda r: r.last_states, 0),
            cut_states=join(lambda r: r.cut_states, 0),
            cut_index=torch.from_numpy(np.concatenate(shifted)),
            last_observations={
                role: join(lambda r, role=role: r.last_observations[role], 0) for role in first.last_observations
            },
            cut_observations={
                role: join(lambda r, role=role: r.cut_observations[role], 0) for role in first.cut_observations
            },
            inputs=torch.from_numpy(np.concatenate([r.inputs + f for r, f in zip(rollouts, firsts, strict=True)])),
        )

    def with_next(self, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """A function of the state, at each step and after it (before any reset), [T, B] each."""
        current, last = function(self.states), function(self.last_states)
        cut = function(self.cut_states) if len(self.cut_states) else None
        return current, self.following(current, last, cut)

    def following(self, current: Tensor, last: Tensor, cut: Tensor | None) -> Tensor:
        """What comes after each step: the value of the step after it, unless the roll-out ends or was cut there."""
        following = torch.empty_like(current)
        following[:-1] = current[1:]
        following[-1] = last
        if cut is not None:
            following[self.cut_index[:, 0], self.cut_index[:, 1]] = cut
        return following
