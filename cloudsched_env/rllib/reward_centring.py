"""Rewards less their running mean (reward centring, Naik et al. 2024, arXiv 2405.09999).

A constant c in the reward adds c / (1 - gamma) to every value. At gamma = 0.998 that is 500 c: a critic spends hundreds
of updates on a number that says nothing of any action, and the spread that values are normalised to is that of the
climb and not that of the states. Taken off, values are of the size of what sets states apart. No policy is changed by
it as long as only time ends an episode and the critic speaks for what would have come after.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["RewardCentre"]


class RewardCentre(nn.Module):
    """The running mean of a role's or the team's rewards, in buffers and so in every checkpoint.

    Args:
        decay: of the mean per update, below 1; debiased, so the first update is taken whole.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is {decay}: expected at least 0 and below 1")
        self.decay = decay
        for name in ("moment", "weight"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.moment: Tensor
        self.weight: Tensor

    @property
    def mean(self) -> Tensor:
        """Running mean, a float64 scalar; 0 before the first update."""
        return self.moment / self.weight.clamp_min(1e-12)

    @torch.no_grad()
    def forward(self, rewards: Tensor, *, update: bool) -> Tensor:
        """Rewards less their running mean.

        Args:
            rewards: of any shape.
            update: take them into the mean first (leave it off when the same steps are seen again).
        """
        if update:
            self.moment.lerp_(rewards.mean().to(self.moment), 1.0 - self.decay)
            self.weight.lerp_(torch.ones_like(self.weight), 1.0 - self.decay)
        return rewards - self.mean.to(rewards)
