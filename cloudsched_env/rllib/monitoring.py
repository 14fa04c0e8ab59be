"""Quantities that are measured only to see whether training is healthy; `diagnostics` judges them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["PlacementConflicts", "attention_statistics"]

_ATTENTION_ROWS = 1024  # env steps that attention is looked at in; its entropy is a mean


@torch.no_grad()
def attention_statistics(
    modules: Any, critic_name: str, states: Tensor, observations: Mapping[str, Tensor]
) -> dict[str, float]:
    """How sharply roles attend, in the critic and, where policies attend, in the policies.

    Args:
        modules: an `HRACMultiModule`.
        critic_name: the critic's id.
        states: global states, [*, s].
        observations: ``{role: [*, n, d]}`` of the same env steps.

    Returns:
        ``{"module/attention_entropy_role": value}``: entropy of the weights over the largest possible one, log(roles);
        1 is a plain mean, 0 looks at one role only. Empty where nothing attends, or to one role by its configuration.
    """
    statistics: dict[str, float] = {}

    def take(module: str, attention: Any, attended: Any) -> None:
        for role, entropy in attended.entropy.items():
            # Sparse attention may spread over k roles at most.
            roles = min(attended.weights[role].shape[-1], attention.config.attention_top_k or math.inf)
            if roles > 1:
                statistics[f"{module}/attention_entropy_{role}"] = float(entropy.mean()) / math.log(roles)

    flat = states.reshape(-1, states.shape[-1])
    rows = torch.linspace(0, len(flat) - 1, min(len(flat), _ATTENTION_ROWS)).long()
    if critic_name in modules:
        network: Any = getattr(modules[critic_name].unwrapped(), "network", None)
        if getattr(network, "attention", None) is not None and hasattr(network, "with_attention"):
            take(critic_name, network.attention, network.with_attention(flat[rows])[1])
    if "attention" in modules:
        attention = modules["attention"].unwrapped().network
        seen = {role: values.reshape(-1, *values.shape[-2:])[rows] for role, values in observations.items()}
        take(
            "attention",
            attention,
            attention({role: modules.policy(role).encode(values) for role, values in seen.items()}),
        )
    return statistics


class PlacementConflicts:
    """How often several schedulers send tasks to the same node in the same step.

    Schedulers see telemetry that is late: a node that looks idle looks idle to all of them. A placement is in conflict
    if another scheduler places on its node in the same step. Some of that is chance: with the same numbers of
    placements, spread evenly over N nodes and independently, a task of scheduler s is in conflict with probability
    1 - (1 - 1/N)^m, m being what the others place in that step.
    """

    def __init__(self) -> None:
        self._placed = self._in_conflict = self._by_chance = 0.0

    def observe(
        self, actions: NDArray[np.int64], masks: NDArray[np.int8], candidates: NDArray[np.int32], nodes: int
    ) -> None:
        """Count the placements of one step.

        Args:
            actions: of the schedulers, [B, schedulers, slots]; candidate j, or their number to defer.
            masks: [B, schedulers, slots * (candidates + 1)], of this step.
            candidates: compute nodes behind the choices, [B, schedulers, candidates].
            nodes: compute nodes of a cluster.
        """
        batch, schedulers, slots = actions.shape
        if schedulers < 2:
            return
        choices = candidates.shape[-1]
        allowed = np.take_along_axis(masks.reshape(batch, schedulers, slots, choices + 1), actions[..., None], -1)
        placed = (actions < choices) & (allowed[..., 0] != 0)
        node = np.take_along_axis(candidates, np.minimum(actions, choices - 1), axis=-1)
        row = np.arange(batch * schedulers).reshape(batch, schedulers, 1) * nodes
        counts = np.bincount((row + node)[placed], minlength=batch * schedulers * nodes)
        counts = counts.reshape(batch, schedulers, nodes)
        others = counts.sum(axis=1, keepdims=True) - counts
        own = counts.sum(axis=-1)
        self._placed += float(own.sum())
        self._in_conflict += float(counts[others > 0].sum())
        self._by_chance += float((own * (1.0 - (1.0 - 1.0 / nodes) ** others.sum(axis=-1))).sum())

    def take(self) -> dict[str, float]:
        """Shares since the last call, as ``placement_conflicts`` and ``placement_conflicts_by_chance``."""
        if self._placed == 0:
            return {}
        shares = {
            "placement_conflicts": self._in_conflict / self._placed,
            "placement_conflicts_by_chance": self._by_chance / self._placed,
        }
        self._placed = self._in_conflict = self._by_chance = 0.0
        return shares
