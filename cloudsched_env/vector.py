"""The array face: B clusters stepped at once, one array per role.

The compiled step is assembled here from the mechanisms in `cloudsched_env.sim` and the observations in
`cloudsched_env.roles`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.roles.layout import Layout
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.result import EpisodeResult
from cloudsched_env.workload.episode import Split, WorkloadSource


class CloudSchedVectorEnv:
    """B clusters of one scenario in lockstep; outputs are arrays that every step overwrites in place.

    Args:
        scenario: an id such as ``"paper-v0"`` or a `Scenario`.
        num_envs: B, how many clusters.
        source: where episodes come from; the calibrated generator by default.
        split: which windows or seeds the default source draws from.
        overrides: scenario fields changed by dotted name.

    Attributes:
        scenario: the `Scenario`.
        num_envs: B.
        roles: ``("compute", "storage", "scheduler")``.
        role_counts: agents of each role.
        layouts: observation layout of each role.
        action_levels: choices of each sub-action, ``{role: int64 [sub-actions]}``.
        state_layout: layout of the global state.
        observations: ``{role: float32 [B, agents, observation size]}``.
        masks: ``{role: int8 [B, agents, sum of action levels]}``.
        state: float32 ``[B, state size]``.
        local_rewards: ``{role: float32 [B, agents]}``.
        team_reward: float32 ``[B]``.
    """

    roles: tuple[str, ...] = ("compute", "storage", "scheduler")
    scenario: Scenario
    num_envs: int
    role_counts: dict[str, int]
    layouts: dict[str, Layout]
    action_levels: dict[str, NDArray[np.int64]]
    state_layout: Layout
    observations: dict[str, NDArray[np.float32]]
    masks: dict[str, NDArray[np.int8]]
    state: NDArray[np.float32]
    local_rewards: dict[str, NDArray[np.float32]]
    team_reward: NDArray[np.float32]

    def __init__(
        self,
        scenario: str | Scenario = "paper-v0",
        num_envs: int = 1,
        *,
        source: WorkloadSource | None = None,
        split: Split = "train",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        raise NotImplementedError

    def reset(self, seeds: int | Sequence[int] | None = None) -> None:
        """Begin a new episode in every cluster.

        Args:
            seeds: one seed per cluster, or one integer s for seeds s, s + 1, …; without it the clusters' generators go on.
                The same seed gives the same bytes whatever B is and wherever in the batch the cluster stands.
        """
        raise NotImplementedError

    def step(self, actions: Mapping[str, NDArray[np.integer[Any]]]) -> bool:
        """Advance every cluster by one control interval.

        Args:
            actions: ``{role: integers [B, agents, sub-actions]}``.

        Returns:
            True when the horizon is reached (all clusters at once): outputs then show the final state, and
            `reset` must be called before the next step.
        """
        raise NotImplementedError

    def results(self) -> list[EpisodeResult]:
        """Raw records of the B episodes so far, for `cloudsched_env.evaluation`."""
        raise NotImplementedError
