"""How role summaries reach agents: published in intervals, delivered late, and lost like any other telemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloudsched_env.scenario import Scenario

__all__ = ["SummaryDelivery"]


class SummaryDelivery:
    """The views that agents hold of the roles' summaries, in B clusters in lockstep.

    Follows the scenario's telemetry (`docs/simulator.md`, item 14): a snapshot is published every
    ``publish_every_steps``, delivered ``delay_steps`` later and lost with ``loss_probability``, for each pair of
    receiving agent and publishing role apart; bursts follow a Gilbert-Elliott chain. The snapshot of step 0 arrives
    at once and without loss, so that a view is always defined.

    Args:
        scenario: the cluster.
        roles: publishing roles, in the order of the summaries.
        role_counts: receiving agents of each role.
        num_envs: B.
    """

    def __init__(self, scenario: Scenario, roles: Sequence[str], role_counts: Mapping[str, int], num_envs: int) -> None:
        self._telemetry = scenario.telemetry
        self._roles = list(roles)
        self._counts = {role: role_counts[role] for role in self._roles}
        self._num_envs = num_envs
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin a new episode; all losses of it follow from the seed."""
        self._rng = np.random.default_rng(seed)
        self._published: dict[int, Tensor] = {}
        self._views: dict[str, Tensor] = {}
        links = {role: (self._num_envs, count, len(self._roles)) for role, count in self._counts.items()}
        self._bad = {role: self._rng.random(shape) < self._telemetry.loss_probability for role, shape in links.items()}

    def size(self, module: Any, observations: Mapping[str, Tensor]) -> int:
        """Numbers in the summary of one role."""
        one = {role: torch.zeros_like(values[:1]) for role, values in observations.items()}
        return int(module.summaries(one).shape[-1])

    def deliver(self, summaries: Tensor, step: int) -> dict[str, Tensor]:
        """Publish if it is time, deliver what is due, return the views.

        Args:
            summaries: fresh summaries of all roles, [B, roles, s].
            step: steps since the start of the episode.

        Returns:
            ``{role: [B, n, roles, s]}``.
        """
        telemetry = self._telemetry
        if step == 0:
            for role, count in self._counts.items():
                self._views[role] = summaries.unsqueeze(1).repeat(1, count, 1, 1)
        if step % telemetry.publish_every_steps == 0:
            self._published[step] = summaries.clone()
        due = self._published.pop(step - telemetry.delay_steps, None)
        if due is not None and step > 0:
            for role in self._roles:
                arrived = torch.from_numpy(~self._lost(role)).unsqueeze(-1)
                self._views[role] = torch.where(arrived, due.unsqueeze(1), self._views[role])
        return dict(self._views)

    def _lost(self, role: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which deliveries to the agents of a role are lost now, [B, n, roles]."""
        probability, burst = self._telemetry.loss_probability, self._telemetry.loss_burst_length
        draw = self._rng.random(self._bad[role].shape)
        if burst <= 1 or probability >= 1:
            return draw < probability
        leave, enter = 1 / burst, probability / ((1 - probability) * burst)
        self._bad[role] = np.where(self._bad[role], draw >= leave, draw < enter)
        return self._bad[role]
