"""Utilities of branches: choosing by them, exploring, and joining them to one utility for each agent.

An agent's action has several sub-actions (branches). Each has a utility of its own for each of its choices, as in
branching dueling Q-networks (Tavakoli, Pardo & Kormushev 2018, arXiv 1711.08946), and the agent's utility is their mean
over the branches that leave a choice. The mean grows with every branch's utility, so the best joint action is the best
choice of every branch. Where no branch leaves a choice (a node that holds its levels until its next turn, a scheduler
with an empty queue), the utility is the mean over all branches of the one choice that there is: Q_tot of such a step
still has to say what the agent's situation is worth, or values would jump from step to step with whose turn it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cloudsched_env.rllib.networks.layers import INVALID_LOGIT

__all__ = ["agent_utilities", "epsilon_greedy", "greedy_actions", "open_branches"]


def open_branches(masks: Tensor, levels: Sequence[int]) -> Tensor:
    """Which sub-actions leave a choice, bool ``[*, k]``.

    Args:
        masks: ``[*, L]``, non-zero = allowed.
        levels: choices of each sub-action; their sum is L.
    """
    return torch.stack([(part != 0).sum(-1) > 1 for part in masks.split(list(levels), -1)], -1)


def greedy_actions(scores: Tensor, masks: Tensor, levels: Sequence[int]) -> Tensor:
    """The allowed choice with the highest utility in each branch, int64 ``[*, k]``; the first one of equals.

    Args:
        scores: utilities of all choices, ``[*, L]``.
        masks: ``[*, L]``.
        levels: choices of each sub-action.
    """
    allowed = scores.detach().masked_fill(masks == 0, INVALID_LOGIT)
    return torch.stack([part.argmax(-1) for part in allowed.split(list(levels), -1)], -1)


def epsilon_greedy(
    scores: Tensor, masks: Tensor, levels: Sequence[int], epsilon: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Each branch takes its best choice, or with probability epsilon one of its allowed choices at random.

    Branches explore on their own: one that tries something while the others are greedy shows what its choice does.

    Args:
        scores: ``[*, L]``.
        masks: ``[*, L]``.
        levels: choices of each sub-action.
        epsilon: from 0 (greedy) to 1 (random).
        generator: where randomness comes from.

    Returns:
        Actions int64 ``[*, k]`` and the log-probability of the joint action of all branches ``[*]``.
    """
    best = greedy_actions(scores, masks, levels)
    if epsilon <= 0.0:
        return best, scores.new_zeros(scores.shape[:-1])
    explores = torch.rand(best.shape, generator=generator) < epsilon
    keys = torch.rand(scores.shape, generator=generator).masked_fill(masks == 0, -1.0)
    drawn = torch.stack([part.argmax(-1) for part in keys.split(list(levels), -1)], -1)
    actions = torch.where(explores, drawn, best)
    choices = torch.stack([(part != 0).sum(-1) for part in masks.split(list(levels), -1)], -1)
    probability = epsilon / choices + (1.0 - epsilon) * (actions == best)
    return actions, probability.log().sum(-1)


def agent_utilities(scores: Tensor, masks: Tensor, actions: Tensor, levels: Sequence[int]) -> Tensor:
    """The utility of each agent's action ``[*]``; the module's docstring says how branches are joined.

    Args:
        scores: ``[*, L]``.
        masks: ``[*, L]``.
        actions: int64 ``[*, k]``.
        levels: choices of each sub-action.
    """
    starts = torch.tensor([0, *levels[:-1]], device=actions.device).cumsum(0)
    taken = scores.gather(-1, actions + starts)
    counts = open_branches(masks, levels)
    counts = counts | ~counts.any(-1, keepdim=True)
    return (taken * counts).sum(-1) / counts.sum(-1)
