"""The loss of QMIX and VDN: squared error of the mixed value of the joint action that was taken.

    L = mean over steps of ( G_t - Q_tot(o_t, s_t, a_t) )^2

with G_t from `peng_q_lambda`, whose bootstrap value is that of the action which is greedy for the current networks, as
the target networks see it (double Q-learning: van Hasselt, Guez & Silver 2016, arXiv 1509.06461).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cloudsched_env.rllib.value_based.replay import FragmentBatch
from cloudsched_env.rllib.value_based.targets import peng_q_lambda
from cloudsched_env.rllib.value_based.utilities import agent_utilities, greedy_actions, open_branches

__all__ = ["Mixer", "td_loss"]

Mixer = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def td_loss(
    policies: Mapping[str, Any],
    mixer: Mixer,
    target_policies: Mapping[str, Any],
    target_mixer: Mixer,
    batch: FragmentBatch,
    *,
    gamma: float,
    lambda_: float,
    double: bool = True,
) -> tuple[Tensor, dict[tuple[str, str], Tensor]]:
    """The loss on a batch of fragments.

    Args:
        policies: for each role what scores choices: ``scores(observations, masks)`` and ``action_levels`` of
            `cloudsched_env.rllib.networks.RolePolicy`.
        mixer: ``mixer({role: [*, n]}, states [*, s])`` gives Q_tot ``[*]``.
        target_policies: slower copies of the policies; no gradient goes there.
        target_mixer: likewise.
        batch: rewards are used as they are: whoever standardises them does so before.
        gamma: discount.
        lambda_: of Peng's Q(λ).
        double: choose next actions by ``policies``; False lets the target networks choose, as in DQN.

    Returns:
        The loss (0 if no step has a target), and statistics by (role, name) or ("mixer", name), without gradient.
    """
    taken: dict[str, Tensor] = {}
    best: dict[str, Tensor] = {}
    statistics: dict[tuple[str, str], Tensor] = {}
    for role, policy in policies.items():
        columns, levels = batch.roles[role], policy.action_levels
        masks = columns["masks"]
        scores = policy.scores(columns["observations"], masks)
        taken[role] = agent_utilities(scores, masks, columns["actions"], levels)
        with torch.no_grad():
            target_scores = target_policies[role].scores(columns["observations"], masks)
            chosen = greedy_actions(scores if double else target_scores, masks, levels)
            best[role] = agent_utilities(target_scores, masks, chosen, levels)
            statistics.update(_utility_statistics(role, scores, masks, taken[role], levels))
    with torch.no_grad():
        values = target_mixer(best, batch.states)
    targets, valid = peng_q_lambda(
        batch.team_rewards, values, batch.terminated, batch.cut, gamma=gamma, lambda_=lambda_
    )
    joint = mixer(taken, batch.states)
    errors = (targets - joint) * valid
    count = valid.sum().clamp_min(1)
    loss = errors.square().sum() / count
    with torch.no_grad():
        statistics |= {
            ("mixer", "td_loss"): loss.detach(),
            ("mixer", "td_error_abs"): errors.abs().sum() / count,
            ("mixer", "q_tot_mean"): (joint * valid).sum() / count,
            ("mixer", "target_mean"): (targets * valid).sum() / count,
            ("mixer", "return_bound"): batch.team_rewards.abs().amax() / (1.0 - gamma),
        }
        if valid.sum() > 1:
            variance = targets[valid].var(correction=0)
            statistics["mixer", "target_std"] = variance.sqrt()
            unexplained = errors[valid].var(correction=0) / variance.clamp_min(1e-12)
            statistics["mixer", "explained_variance_q_tot"] = 1.0 - unexplained
    return loss, statistics


def _utility_statistics(
    role: str, scores: Tensor, masks: Tensor, taken: Tensor, levels: list[int]
) -> dict[tuple[str, str], Tensor]:
    """Mean utility of taken actions, and of best less worst choice, where there was a choice."""
    opened = open_branches(masks, levels)
    deciding = opened.any(-1)
    spread = torch.stack(
        [
            part.masked_fill(mask == 0, -torch.inf).amax(-1) - part.masked_fill(mask == 0, torch.inf).amin(-1)
            for part, mask in zip(scores.split(levels, -1), masks.split(levels, -1), strict=True)
        ],
        -1,
    )
    return {
        (role, "q_mean"): (taken.detach() * deciding).sum() / deciding.sum().clamp_min(1),
        (role, "q_spread"): (spread * opened).sum() / opened.sum().clamp_min(1),
        (role, "deciding_share"): deciding.float().mean(),
    }
