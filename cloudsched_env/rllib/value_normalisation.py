"""Running normalisation of value targets, one per role (ValueNorm of MAPPO, Yu et al. 2022, arXiv 2103.01955)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.not_finite import NotFiniteError

__all__ = ["ValueNormaliser"]


class ValueNormaliser(nn.Module):
    """Debiased exponential mean and variance of returns.

    The critic learns normalised returns; advantages are formed from denormalised values. Returns of different traffic
    differ by an order of magnitude, and those of the roles by more, so each role has its own normaliser.

    The state is in buffers and so in every checkpoint. Moments are kept in float64: the variance is a difference of
    squares.

    Args:
        decay: of the moments per update, below 1. While fewer than 1 / (1 - decay) updates were seen, debiasing makes
            this a plain average.
        minimum_variance: floor of the variance, so that constant returns do not blow up.
        name: what is normalised, for messages.
    """

    def __init__(self, decay: float = 0.999, minimum_variance: float = 1e-2, name: str = "returns") -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is {decay}: expected at least 0 and below 1")
        if not minimum_variance > 0.0:
            raise ValueError(f"minimum_variance is {minimum_variance}: expected a positive number")
        self.decay = decay
        self.minimum_variance = minimum_variance
        self.name = name
        for buffer in ("first_moment", "second_moment", "weight"):
            self.register_buffer(buffer, torch.zeros((), dtype=torch.float64))
        self.first_moment: Tensor
        self.second_moment: Tensor
        self.weight: Tensor

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Take a batch of returns of any shape into the moments.

        Raises:
            ValueError: if the batch is empty.
            NotFiniteError: if it has values that are not finite.
        """
        batch = returns.detach().to(self.first_moment)
        if batch.numel() == 0:
            raise ValueError(f"{self.name}: expected a non-empty batch")
        if not bool(batch.isfinite().all()):
            count = int((~batch.isfinite()).sum())
            raise NotFiniteError(f"{self.name} is not finite in {count} of {batch.numel()} numbers")
        self.first_moment.lerp_(batch.mean(), 1.0 - self.decay)
        self.second_moment.lerp_(batch.square().mean(), 1.0 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1.0 - self.decay)

    @property
    def mean(self) -> Tensor:
        """Running mean, a float64 scalar; 0 before the first update."""
        return self.first_moment / self.weight.clamp_min(1e-12)

    @property
    def std(self) -> Tensor:
        """Running standard deviation, a float64 scalar; 1 before the first update."""
        if float(self.weight) == 0.0:
            return torch.ones_like(self.weight)
        variance = self.second_moment / self.weight - self.mean.square()
        return variance.clamp_min(self.minimum_variance).sqrt()

    def normalise(self, returns: Tensor) -> Tensor:
        """(returns - mean) / std, in the dtype of ``returns``."""
        return (returns - self.mean.to(returns)) / self.std.to(returns)

    def denormalise(self, values: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return values * self.std.to(values) + self.mean.to(values)
