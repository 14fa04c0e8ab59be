"""Sub-actions joined into one categorical choice: all that TorchRL's wrapper and networks know of an agent."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from cloudsched_env.agents import ClusterInfo

MOST_CHOICES = 10_000


class JointChoice:
    """All combinations of the sub-actions of an agent, numbered.

    Args:
        levels: choices of each sub-action.

    Raises:
        ValueError: for more than `MOST_CHOICES` combinations.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        self.levels = [int(count) for count in levels]
        self.count = int(np.prod(self.levels))
        if self.count > MOST_CHOICES:
            raise ValueError(f"an agent has {self.count} joint choices: expected at most {MOST_CHOICES}; use tiny-v1")
        self.sub_actions = np.array(list(itertools.product(*map(range, self.levels))))

    def allowed(self, masks: NDArray[Any]) -> NDArray[np.bool_]:
        """Which combinations are allowed, ``[*, combinations]``: those whose sub-actions all are.

        Args:
            masks: of the sub-actions, one after the other, ``[*, sum of levels]``; non-zero = allowed.
        """
        parts = np.split(np.asarray(masks) != 0, np.cumsum(self.levels)[:-1], axis=-1)
        chosen = [part[..., self.sub_actions[:, k]] for k, part in enumerate(parts)]
        return np.logical_and.reduce(chosen)


class JointChoices(ParallelEnv):  # type: ignore[misc]
    """The PettingZoo face with one categorical choice for an agent, masks included.

    Args:
        env: the PettingZoo face.
        padded: give all agents the spaces of the widest one, so that agents of different roles fit into one group of
            TorchRL's. Observations are filled up with zeros; choices that an agent does not have are masked.
    """

    metadata = {"name": "cloudsched_joint", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, env: Any, *, padded: bool = False) -> None:
        self.env = env
        self.possible_agents, self.agents = env.possible_agents, []
        self.render_mode = None
        self.joint = {agent: JointChoice(env.action_space(agent).nvec) for agent in self.possible_agents}
        sizes = {agent: env.observation_space(agent)["observation"].shape[0] for agent in self.possible_agents}
        counts = {agent: choice.count for agent, choice in self.joint.items()}
        if padded:
            sizes = dict.fromkeys(sizes, max(sizes.values()))
            counts = dict.fromkeys(counts, max(counts.values()))
        self.action_spaces = {agent: gymnasium.spaces.Discrete(count) for agent, count in counts.items()}
        self.observation_spaces = {}
        for agent, size in sizes.items():
            seen = env.observation_space(agent)["observation"]
            more = size - seen.shape[0]
            self.observation_spaces[agent] = gymnasium.spaces.Dict(
                observation=gymnasium.spaces.Box(np.pad(seen.low, (0, more)), np.pad(seen.high, (0, more))),
                action_mask=gymnasium.spaces.Box(0, 1, (counts[agent],), np.int8),
            )
        self.state_space = env.state_space
        self.masks: dict[str, NDArray[np.int8]] = {}

    def observation_space(self, agent: str) -> Any:
        """The agent's vector and the mask of its joint choices."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """One number for each combination of the agent's sub-actions."""
        return self.action_spaces[agent]

    def state(self) -> Any:
        """The global state."""
        return self.env.state()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """See PettingZoo."""
        observations, _ = self.env.reset(seed=seed, options=options)
        self.agents = self.env.agents
        return self._joined(observations), self._no_infos()

    def step(self, actions: dict[str, int]) -> Any:
        """See PettingZoo."""
        chosen = {agent: self.joint[agent].sub_actions[int(action)] for agent, action in actions.items()}
        observations, rewards, terminations, truncations, _ = self.env.step(chosen)
        self.agents = self.env.agents
        return self._joined(observations), rewards, terminations, truncations, self._no_infos()

    def _joined(self, observations: dict[str, Any]) -> dict[str, Any]:
        result = {}
        for agent, seen in observations.items():
            space = self.observation_spaces[agent]
            vector, mask = seen["observation"], self.joint[agent].allowed(seen["action_mask"]).astype(np.int8)
            self.masks[agent] = np.pad(mask, (0, space["action_mask"].shape[0] - len(mask)))
            result[agent] = {
                "observation": np.pad(vector, (0, space["observation"].shape[0] - len(vector))),
                "action_mask": self.masks[agent],
            }
        return result

    def _no_infos(self) -> dict[str, dict[str, Any]]:
        # TorchRL's wrapper turns every info of every agent into a tensor in every step; nothing here reads them.
        return {agent: {} for agent in self.possible_agents}


class JointAgent:
    """Networks that score joint choices as an agent of the array face: the best allowed choice, no exploration.

    Args:
        scores: for each role what gives a score to every joint choice, ``[clusters, agents, size]`` to
            ``[clusters, agents, combinations]``.
        name: of the agent.
    """

    def __init__(self, scores: Mapping[str, Callable[[torch.Tensor], torch.Tensor]], name: str = "joint") -> None:
        self.name = name
        self.scores = scores

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """See `cloudsched_env.agents.Agent`."""
        self.joint = {role: JointChoice(info.action_levels[role]) for role in self.scores}

    @torch.no_grad()
    def act(self, observations: Mapping[str, NDArray[Any]], masks: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """See `cloudsched_env.agents.Agent`."""
        actions = {}
        for role, score in self.scores.items():
            joint = self.joint[role]
            values = score(torch.from_numpy(np.ascontiguousarray(observations[role]))).numpy()
            best = np.where(joint.allowed(masks[role]), values, -np.inf).argmax(-1)
            actions[role] = joint.sub_actions[best]
        return actions
