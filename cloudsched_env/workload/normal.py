"""Normal scores without scipy."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["normal_probability", "normal_quantile", "normal_scores"]

_PROBABILITY = np.concatenate((np.logspace(-9, -2, 1500, endpoint=False), np.linspace(1e-2, 0.5, 2001)))
_SCORE = np.array([NormalDist().inv_cdf(p) for p in _PROBABILITY])


def normal_quantile(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantile of the standard normal distribution, to about 1e-4 between 1e-9 and 1 - 1e-9, clipped outside."""
    p = np.asarray(probability, dtype=np.float64)
    lower = np.interp(np.minimum(p, 1.0 - p), _PROBABILITY, _SCORE)
    return np.where(p <= 0.5, lower, -lower)


def normal_scores(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Normal scores of ranks, ties broken at random; same shape as ``values``, ``[values]``."""
    rank = np.empty(len(values))
    rank[np.lexsort((rng.random(len(values)), values))] = np.arange(len(values))
    return normal_quantile((rank + 0.5) / len(values))


def normal_probability(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that a standard normal variable is below a score: the inverse of `normal_quantile`, same shape."""
    lower = np.interp(-np.abs(score), _SCORE, _PROBABILITY)
    return np.where(score <= 0.0, lower, 1.0 - lower)
