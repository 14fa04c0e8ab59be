"""From recorded trajectories to what cloning trains on: actions as they took effect, and who had a choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloudsched_env.evaluation.trajectories import Trajectories

__all__ = ["Demonstrations", "demonstrations", "effective_actions"]


@dataclass(frozen=True)
class Demonstrations:
    """Whole episodes as tensors, time-major; T steps, B episodes, n agents of the role.

    Attributes:
        roles: for each role ``observations`` [T, B, n, d], ``masks`` int8 [T, B, n, levels], ``actions`` int64
            [T, B, n, k] as they took effect, ``choices`` bool [T, B, n, k] (more than one level was allowed),
            ``active`` bool [T, B, n] (a choice that can be imitated) and ``local_rewards`` [T, B, n].
        states: before each step and after the last one, [T + 1, B, s].
        team_rewards: [T, B].
        unclear: share of agent-steps with a choice that is left out because its effect is not known from the record.
        last_observations: what agents observed after the last step, for each role [B, n, d]; empty if not known.
    """

    roles: Mapping[str, Mapping[str, Tensor]]
    states: Tensor
    team_rewards: Tensor
    unclear: float
    last_observations: Mapping[str, Tensor] = field(default_factory=dict)

    def with_last_observations(self) -> Demonstrations:
        """The same episodes a step shorter: what was observed before the last step is then known after the one before.

        Critics of single agents bootstrap from it.
        """
        return Demonstrations(
            {role: {name: values[:-1] for name, values in columns.items()} for role, columns in self.roles.items()},
            self.states[:-1],
            self.team_rewards[:-1],
            self.unclear,
            {role: columns["observations"][-1] for role, columns in self.roles.items()},
        )

    def split(self, share: float, rng: np.random.Generator) -> tuple[Demonstrations, Demonstrations]:
        """Episodes to train on, and others that are held out (at least one each).

        Raises:
            ValueError: if there is only one episode.
        """
        count = self.team_rewards.shape[1]
        if count < 2:
            raise ValueError("cloning holds episodes out to judge by: expected at least 2 recorded episodes, got 1")
        order = torch.from_numpy(rng.permutation(count))
        held = min(count - 1, max(1, round(share * count)))
        return self._take(order[held:]), self._take(order[:held])

    def _take(self, episodes: Tensor) -> Demonstrations:
        return Demonstrations(
            {role: {k: v.index_select(1, episodes) for k, v in c.items()} for role, c in self.roles.items()},
            self.states.index_select(1, episodes),
            self.team_rewards.index_select(1, episodes),
            self.unclear,
            {role: seen.index_select(0, episodes) for role, seen in self.last_observations.items()},
        )


def demonstrations(parts: Sequence[Trajectories], action_levels: Mapping[str, Sequence[int]]) -> Demonstrations:
    """Join recorded parts along B.

    Args:
        parts: from `cloudsched_env.evaluation.trajectories.load_trajectories`.
        action_levels: choices of each sub-action of each role.
    """

    def join(arrays: Sequence[Any]) -> Tensor:
        return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1))

    roles: dict[str, dict[str, Tensor]] = {}
    left_out, with_choice = 0, 0
    for role in parts[0].roles:
        columns = {name: join([part.roles[role][name] for part in parts]) for name in parts[0].roles[role]}
        actions, choices, clear = effective_actions(role, columns["actions"], columns["masks"], action_levels[role])
        had_choice = choices.any(-1)
        left_out += int((had_choice & ~clear).sum())
        with_choice += int(had_choice.sum())
        roles[role] = {**columns, "actions": actions, "choices": choices, "active": had_choice & clear}
    return Demonstrations(
        roles,
        join([part.states for part in parts]),
        join([part.team_rewards for part in parts]),
        left_out / max(1, with_choice),
    )


def effective_actions(
    role: str, actions: Tensor, masks: Tensor, action_levels: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """What the simulator made of actions: heuristics also ask for what is masked at the moment.

    A masked action does nothing (docs/simulator.md): a scheduler's slot is deferred, which is its last level, and a
    node keeps its level, which the mask tells when it is the only one allowed.

    Args:
        role: who acted.
        actions: as given, int64 [*, k].
        masks: int8 [*, levels], the levels of the sub-actions one after the other.
        action_levels: choices of each sub-action.

    Returns:
        Actions as they took effect [*, k]; whether more than one level was allowed, bool [*, k]; whether all of an
        agent's actions are known, bool [*].
    """
    effective = torch.empty_like(actions)
    choices = torch.empty(actions.shape, dtype=torch.bool)
    clear = torch.ones(actions.shape[:-1], dtype=torch.bool)
    for k, allowed in enumerate(masks.split(list(map(int, action_levels)), -1)):
        count = (allowed != 0).sum(-1)
        asked = actions[..., k]
        possible = allowed.gather(-1, asked.unsqueeze(-1)).squeeze(-1) != 0
        kept = torch.full_like(asked, allowed.shape[-1] - 1) if role == "scheduler" else allowed.argmax(-1)
        effective[..., k] = torch.where(possible, asked, kept)
        choices[..., k] = count > 1
        if role != "scheduler":
            clear &= possible | (count == 1)
    return effective, choices, clear
