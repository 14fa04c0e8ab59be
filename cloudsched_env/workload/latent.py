"""A Gaussian series that remembers on several time scales, and how strongly it must, so that what is made of it does.

A stationary series with a given distribution and autocorrelation is a function of a Gaussian series ("ARTA"; M. C.
Cario, B. L. Nelson. Autoregressive to anything: time-series input processes for simulation. Operations Research Letters
19, 1996). Here the Gaussian series is a sum of first-order autoregressive ones, whose correlations are exponentials:
sums of these come near to slowly falling correlations (A. Feldmann, W. Whitt. Fitting mixtures of exponentials to
long-tail distributions to analyze network performance models. Performance Evaluation 31, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.normal import normal_quantile

__all__ = ["LatentSeries", "fit_latent", "lags_up_to", "latent_correlation"]

Floats = NDArray[np.float64]

_GRID = 20_000  # points at which a function of a normal variable is looked at
_TERMS = 80  # of its Hermite expansion
_SCALE_RATIO = 10**0.5  # between neighbouring time scales
_ROUNDS = 5000  # of the search for the weights, at most
_PRECISION = 1e-6  # at which it ends
_LEAST_WEIGHT = 1e-3  # smaller ones are dropped


@dataclass(frozen=True)
class LatentSeries:
    """A stationary Gaussian series of variance 1; what the scales leave of the variance has no memory.

    Attributes:
        scales: time in which the correlation of each part falls to 1/e, in intervals, ``[parts]``.
        weights: share of the variance that is each part's, at least 0, sum at most 1, ``[parts]``.
    """

    scales: Floats
    weights: Floats

    def correlation(self, lags: Floats | NDArray[np.int64]) -> Floats:
        """Autocorrelation at lags of at least 1 interval, ``[lags]``."""
        return np.exp(-np.asarray(lags, dtype=np.float64)[:, None] / self.scales) @ self.weights

    def draw(self, count: int, length: int, rng: np.random.Generator) -> Floats:
        """Independent series of so many intervals, ``[count, length]``."""
        rest = max(0.0, 1.0 - float(self.weights.sum()))
        series = np.sqrt(rest) * rng.standard_normal((length, count))
        for scale, weight in zip(self.scales, self.weights, strict=True):
            factor = np.exp(-1.0 / scale)
            shocks = rng.standard_normal((length, count))
            shocks[1:] *= np.sqrt(1.0 - factor * factor)
            for place in range(1, length):
                shocks[place] += factor * shocks[place - 1]
            series += np.sqrt(weight) * shocks
        return series.T


def lags_up_to(longest: int) -> NDArray[np.int64]:
    """Lags at which autocorrelations are fitted: all short ones, then about a dozen in each power of ten."""
    return np.unique(np.rint(np.geomspace(1, max(1, longest), 12 * int(np.log10(max(longest, 10))))).astype(np.int64))


def latent_correlation(values: Floats, correlation: Floats) -> Floats:
    """Correlation of normal variables such that these values, at their ranks, have a given correlation.

    With the Hermite expansion of the quantile function of the values, ``f(z) = sum a_k h_k(z)``, two values have
    covariance ``sum a_k^2 r^k`` if their normal variables have correlation ``r``, which rises from 0 to 1 with it.

    Args:
        values: a sample, ``[values]``.
        correlation: correlations of values; negative ones count as 0, ``[lags]``.

    Returns:
        Correlations from 0 to 1, ``[lags]``; 0 where all values are equal.
    """
    probability = (np.arange(_GRID) + 0.5) / _GRID
    function = np.quantile(values, probability)
    function = function - function.mean()
    variance = float((function**2).mean())
    if not variance > 0:
        return np.zeros(len(correlation))
    z = normal_quantile(probability)
    before, polynomial = np.zeros(_GRID), np.ones(_GRID)
    shares = np.empty(_TERMS)
    for k in range(_TERMS):
        before, polynomial = polynomial, (z * polynomial - np.sqrt(k) * before) / np.sqrt(k + 1)
        shares[k] = float((function * polynomial).mean()) ** 2 / variance
    # Terms that are cut off matter near correlation 1 only, as the last one does.
    shares[-1] += max(0.0, 1.0 - float(shares.sum()))
    grid = np.linspace(0.0, 1.0, 2001)
    reached = (grid[:, None] ** np.arange(1, _TERMS + 1)) @ shares
    return np.interp(np.maximum(correlation, 0.0), reached / reached[-1], grid)


def fit_latent(lags: NDArray[np.int64], correlation: Floats) -> LatentSeries:
    """The series whose autocorrelation is nearest to a given one, in squares over the lags.

    Args:
        lags: in intervals, ascending, at least 1, ``[lags]``.
        correlation: of the Gaussian series at the lags, from 0 to 1, ``[lags]``.
    """
    count = 1 + int(np.log(max(lags[-1], 1)) / np.log(_SCALE_RATIO) + 1e-9)
    scales = np.rint(100.0 * _SCALE_RATIO ** np.arange(count)) / 100.0
    design = np.exp(-lags[:, None] / scales)
    # Each weight in turn takes its best value of at least 0: the squares are convex, so that this ends at their least.
    reached, gram = design.T @ correlation, design.T @ design
    weights = np.zeros(count)
    for _ in range(_ROUNDS):
        before = weights.copy()
        for k in range(count):
            weights[k] = max(0.0, weights[k] + (reached[k] - gram[k] @ weights) / gram[k, k])
        if np.abs(weights - before).max() < _PRECISION:
            break
    # What is left of the variance has no memory; where nothing is, the correlation at lag 0 would be above 1.
    weights /= max(1.0, float(weights.sum()))
    kept = np.flatnonzero(weights >= _LEAST_WEIGHT)
    return LatentSeries(scales[kept], np.floor(1e4 * weights[kept]) / 1e4)
