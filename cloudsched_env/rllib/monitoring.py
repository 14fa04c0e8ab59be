"""Quantities that are measured only to see whether training is healthy; `diagnostics` judges them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cloudsched_env.rllib.networks.attention import AttentionOutput, RoleAttention

__all__ = ["PlacementConflicts", "attention_statistics", "policy_attention_statistics"]

_ATTENTION_ROWS = 1024  # env steps that attention is looked at in; what is logged are means


@torch.no_grad()
def attention_statistics(modules: Any, critic_name: str, states: Tensor) -> dict[str, float]:
    """Whom roles attend to in the critic, and how sharply.

    Args:
        modules: an `HRACMultiModule`.
        critic_name: the critic's id.
        states: global states, [*, s].

    Returns:
        ``{"module/attention_entropy_role": value}``: entropy of the weights over the largest possible one, log(roles);
        1 is a plain mean, 0 looks at one role only. It is left out where the configuration allows one role only.
        ``{"module/attention_weight_role_to_other": value}``: mean weight that a role gives to each one, itself
        included; they sum to 1. Empty where nothing attends.
    """
    if critic_name not in modules:
        return {}
    network: Any = getattr(modules[critic_name].unwrapped(), "network", None)
    if getattr(network, "attention", None) is None or not hasattr(network, "with_attention"):
        return {}
    flat = states.reshape(-1, states.shape[-1])
    attended = network.with_attention(flat[_spread_rows(len(flat))])[1]
    return _statistics(critic_name, network.attention, attended)


@torch.no_grad()
def policy_attention_statistics(
    modules: Any, attention_name: str, roles: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, float]:
    """Whom the policies attended to while they acted, and how sharply.

    Args:
        modules: an `HRACMultiModule`.
        attention_name: id of the policies' attention.
        roles: columns of the same env steps by role, as recorded: ``observations`` [rows, n, d], ``memories``
            [rows, n, e] of agents that remember, and the ``summaries`` [rows, n, roles, s] that were delivered.

    Returns:
        As `attention_statistics`; empty where policies attend to nothing.
    """
    if attention_name not in modules:
        return {}
    chosen = _spread_rows(min(len(columns["observations"]) for columns in roles.values()))

    def column(name: str) -> dict[str, Tensor]:
        return {role: columns[name][chosen] for role, columns in roles.items() if name in columns}

    embeddings = modules.embeddings(column("observations"), column("memories"))
    attended = modules.attended(embeddings, column("summaries") or None)
    return _statistics(attention_name, modules[attention_name].unwrapped().network, attended)


def _spread_rows(count: int) -> Tensor:
    """Rows to look at, evenly spread."""
    return torch.linspace(0, count - 1, min(count, _ATTENTION_ROWS)).long()


def _statistics(module: str, attention: RoleAttention, attended: AttentionOutput) -> dict[str, float]:
    """Mean entropies and weights of an attention, by the names that they are logged under."""
    statistics: dict[str, float] = {}
    # Sparse attention may spread over k roles at most.
    largest = min(len(attention.roles), attention.config.attention_top_k or len(attention.roles))
    for role, entropy in attended.entropy.items():
        if largest > 1:
            statistics[f"{module}/attention_entropy_{role}"] = float(entropy.mean()) / math.log(largest)
        weights = attended.weights[role].flatten(0, -2).mean(0)
        for other, weight in zip(attention.roles, weights.tolist(), strict=True):
            statistics[f"{module}/attention_weight_{role}_to_{other}"] = weight
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
