"""`RoleRollout`: what a runner hands to the learners, one block of T steps in B clusters for each role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.rllib.not_finite import NotFiniteError

__all__ = ["RoleRollout", "SampledSteps"]

# Columns of a role with real numbers; what policies attend to or remember is there only where they do.
_MEASURED = ("observations", "local_rewards", "summaries", "memories", "log_probs")


@dataclass
class SampledSteps:
    """Counts of sampled steps, where the experience itself is not kept (validation).

    Attributes:
        environment: env steps, summed over clusters.
        agent: agent steps, summed over clusters and agents.
    """

    environment: int
    agent: int

    def __len__(self) -> int:
        """Env steps, which is what RLlib counts episodes by."""
        return self.environment

    def env_steps(self) -> int:
        """Env steps, summed over clusters."""
        return self.environment

    def agent_steps(self) -> int:
        """Agent steps, summed over clusters and agents."""
        return self.agent


@dataclass
class RoleRollout:
    """T consecutive steps of B clusters, time-major; row (t, b) of every array belongs to the same env step.

    RLlib treats it as an episode: it asks for ``len`` and, to share it among learners, cuts it with ``[:n]`` and
    ``slice``. Cuts are made along B, so that every learner gets whole time sequences.

    Attributes:
        roles: for each role ``observations`` [T, B, n, d], ``masks`` [T, B, n, levels], ``actions`` [T, B, n, k],
            ``log_probs`` [T, B, n], ``local_rewards`` [T, B, n] and, where policies read role summaries,
            ``summaries`` [T, B, n, roles, s] as they were delivered.
        states: global state before each step, [T, B, s].
        team_rewards: [T, B].
        truncated: whether the episode was cut after the step, [T, B] bool; the horizon never terminates.
        last_states: state after step T - 1, before any reset, [B, s].
        cut_states: state after each truncated step before T - 1, before the reset, [K, s].
        cut_index: (t, b) of these steps, [K, 2].
        last_observations: for each role what agents saw after step T - 1, before any reset, [B, n, d]; empty unless
            critics look at observations.
        cut_observations: likewise after each step of ``cut_index``, [K, n, d].
        inputs: which clusters met the same arrivals, disturbances and failures: these have the same number, [B].
    """

    roles: dict[str, dict[str, NDArray[np.generic]]]
    states: NDArray[np.float32]
    team_rewards: NDArray[np.float32]
    truncated: NDArray[np.bool_]
    last_states: NDArray[np.float32]
    cut_states: NDArray[np.float32]
    cut_index: NDArray[np.int64]
    weights_seq_no: int = field(default=0)
    last_observations: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    cut_observations: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    inputs: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        """Without `inputs`, every cluster has met its own."""
        if not self.inputs.size:
            self.inputs = np.arange(self.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        return self.team_rewards.shape[0], self.team_rewards.shape[1]

    def __len__(self) -> int:
        """Env steps."""
        return self.team_rewards.size

    def env_steps(self) -> int:
        """Env steps, summed over clusters."""
        return len(self)

    def agent_steps(self) -> int:
        """Agent steps, summed over clusters and agents."""
        return sum(columns["log_probs"].size for columns in self.roles.values())

    def check_finite(self) -> None:
        """Refuse numbers that would spoil normalisers and weights for good.

        Raises:
            NotFiniteError: naming the array, the step and the cluster.
        """
        arrays: dict[str, NDArray[Any]] = {"states": self.states, "team_rewards": self.team_rewards}
        for role, columns in self.roles.items():
            arrays |= {f"{role}.{name}": columns[name] for name in _MEASURED if name in columns}
        for name, values in arrays.items():
            if (bad := _first_not_finite(values)) is not None:
                raise NotFiniteError(f"{name} is not finite at step {bad[0]} of cluster {bad[1]}")
        arrays = {f"{role}.last_observations": seen for role, seen in self.last_observations.items()}
        for name, values in {"last_states": self.last_states, **arrays}.items():
            if (bad := _first_not_finite(values)) is not None:
                raise NotFiniteError(f"{name} is not finite after the last step of cluster {bad[0]}")
        arrays = {f"{role}.cut_observations": seen for role, seen in self.cut_observations.items()}
        for name, values in {"cut_states": self.cut_states, **arrays}.items():
            if (bad := _first_not_finite(values)) is not None:
                t, b = self.cut_index[bad[0]]
                raise NotFiniteError(f"{name} is not finite after step {t} of cluster {b}")

    def clusters(self, first: int, last: int) -> RoleRollout:
        """The part of clusters ``first`` to ``last - 1``, as views."""
        inside = (self.cut_index[:, 1] >= first) & (self.cut_index[:, 1] < last)
        return RoleRollout(
            roles={r: {k: v[:, first:last] for k, v in columns.items()} for r, columns in self.roles.items()},
            states=self.states[:, first:last],
            team_rewards=self.team_rewards[:, first:last],
            truncated=self.truncated[:, first:last],
            last_states=self.last_states[first:last],
            cut_states=self.cut_states[inside],
            cut_index=self.cut_index[inside] - np.array([0, first]),
            weights_seq_no=self.weights_seq_no,
            last_observations={role: seen[first:last] for role, seen in self.last_observations.items()},
            cut_observations={role: seen[inside] for role, seen in self.cut_observations.items()},
            inputs=self.inputs[first:last],
        )

    def _clusters_of(self, env_steps: int) -> int:
        steps, clusters = self.shape
        return min(clusters, max(1, round(env_steps / steps)))

    def __getitem__(self, part: slice) -> RoleRollout:
        """The first clusters, ``part.stop`` env steps in all (rounded to whole clusters)."""
        return self.clusters(0, self._clusters_of(part.stop))

    def slice(self, part: slice, len_lookback_buffer: int | None = None) -> RoleRollout:
        """The clusters that ``self[:part.start]`` leaves over; without memory there is nothing to look back for."""
        return self.clusters(self._clusters_of(part.start), self.shape[1])


def _first_not_finite(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """Index of the first number that is not finite."""
    finite = np.isfinite(values)
    return None if finite.all() else np.argwhere(~finite)[0]
