"""Targets of the joint value: Peng's Q(λ).

With V_t the value of the greedy joint action after step t - 1 as the target networks see it:

    G_t = r_t + gamma [ (1 - λ) V_{t+1} + λ G_{t+1} ]

(Peng & Williams 1994, "Incremental multi-step Q-learning"). At λ = 0 this is one-step Q-learning. Above, returns of
exploring actions enter without correction: traces are not cut where an action was not greedy, as Watkins' Q(λ) does,
which with dozens of agents exploring would be nearly every step. The fixed point is biased towards the behaviour, and
yet it learns faster (Kozuno et al. 2021, arXiv 2103.00107); λ = 0.6 is what made QMIX strong again (Hu et al. 2021,
arXiv 2102.03479).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["peng_q_lambda"]


@torch.no_grad()
def peng_q_lambda(
    rewards: Tensor, values: Tensor, terminated: Tensor, cut: Tensor, *, gamma: float, lambda_: float
) -> tuple[Tensor, Tensor]:
    """Targets of fragments of roll-outs, without gradient.

    The last step of a fragment, and a step after which the episode was cut by time, have no target: what followed was
    not recorded. They serve as what the step before is bootstrapped from.

    Args:
        rewards: r_t, ``[T, ...]``.
        values: V_t of the state *before* step t, same shape.
        terminated: the step ended the episode for good, bool.
        cut: the episode was cut by time after the step, bool.
        gamma: discount in [0, 1].
        lambda_: λ in [0, 1].

    Returns:
        G_t (0 where there is none) and which steps have one, bool; both of the shape of ``rewards``.

    Raises:
        ValueError: if shapes differ, or gamma or lambda is outside [0, 1].
    """
    for name, number in (("gamma", gamma), ("lambda_", lambda_)):
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} is {number}: expected 0 to 1")
    shapes = {tuple(tensor.shape) for tensor in (rewards, values, terminated, cut)}
    if len(shapes) > 1:
        raise ValueError(f"expected rewards, values, terminated and cut of one shape, got {sorted(shapes)}")
    valid = terminated | ~cut
    valid[-1] = terminated[-1]
    targets = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])  # G_{t+1}, or V_{t+1} where step t + 1 has no target
    next_value = torch.zeros_like(rewards[0])
    for t in range(rewards.shape[0] - 1, -1, -1):
        bootstrap = (1.0 - lambda_) * next_value + lambda_ * following
        targets[t] = torch.where(valid[t], rewards[t] + gamma * bootstrap * ~terminated[t], targets[t])
        following = torch.where(valid[t], targets[t], values[t])
        next_value = values[t]
    return targets, valid
