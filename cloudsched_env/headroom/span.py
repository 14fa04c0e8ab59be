"""Differences in team reward as a share of what lies between a random agent and the upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloudsched_env.evaluation.statistics import Interval, bootstrap_interval

__all__ = ["Span", "ratio_interval"]

Floats = NDArray[np.float64]


def ratio_interval(numerator: ArrayLike, denominator: ArrayLike, seed: int) -> Interval:
    """Ratio of two means over the same windows, with a 95 % bootstrap interval over windows.

    Each resample takes both numbers of a window together, so that what is common to them cancels.

    Args:
        numerator: ``[windows]``.
        denominator: ``[windows]``; its mean must not be 0.
        seed: of the bootstrap.

    Raises:
        ValueError: if the shapes differ.
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"shapes {top.shape} and {bottom.shape}: expected two vectors of the same windows")

    def ratio(rows: Floats) -> Floats:
        chosen = rows.astype(np.int64)
        return top[chosen].mean(axis=-1) / bottom[chosen].mean(axis=-1)

    return bootstrap_interval(np.arange(len(top)), np.random.default_rng(seed), ratio)


@dataclass(frozen=True)
class Span:
    """The random agent and the fluid upper bound on the test windows.

    Attributes:
        floor: J of the random agent, ``[windows]``.
        bound: upper bound of J, ``[windows]``.
        seed: of bootstrap intervals.
    """

    floor: Floats
    bound: Floats
    seed: int

    @property
    def width(self) -> Floats:
        """The bound less the floor, ``[windows]``."""
        return self.bound - self.floor

    def score(self, rewards: ArrayLike) -> Interval:
        """mean(J - floor) / mean(bound - floor)."""
        return self.share(np.asarray(rewards, dtype=np.float64) - self.floor)

    def share(self, difference: ArrayLike) -> Interval:
        """mean(difference) / mean(bound - floor)."""
        return ratio_interval(difference, self.width, self.seed)

    def loss(self, better: Sequence[float], worse: Sequence[float]) -> Interval:
        """What ``worse`` loses against ``better``, window by window, as a share of the span."""
        return self.share(np.asarray(better, dtype=np.float64) - np.asarray(worse, dtype=np.float64))
