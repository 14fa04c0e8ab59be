"""How bursty a stream of arrivals is, and how far apart two samples are: the statistics behind fits and comparisons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DISPERSION_SCALES_S",
    "autocorrelation",
    "dispersion_within_blocks",
    "index_of_dispersion",
    "ks_distance",
]

DISPERSION_SCALES_S = (1.0, 10.0, 60.0, 300.0)
"""Bins, in seconds, at which burstiness is fitted and compared."""

Floats = NDArray[np.float64]


def _counts(arrival_s: Floats, start_s: float, bins: int, bin_s: float) -> NDArray[np.int64]:
    """Arrivals in each of ``bins`` bins from ``start_s`` on."""
    place = np.floor((arrival_s - start_s) / bin_s).astype(np.int64)
    return np.bincount(place[(place >= 0) & (place < bins)], minlength=bins)


def index_of_dispersion(arrival_s: Floats, length_s: float, bin_s: float) -> float:
    """Variance / mean of the counts in bins over [0, length); a Poisson process has 1.

    Args:
        arrival_s: times in [0, length), ``[arrivals]``.
        length_s: how long was observed.
        bin_s: length of a bin; what is left after the last whole bin is not used.

    Returns:
        The index; NaN with fewer than two bins or without arrivals.
    """
    return dispersion_within_blocks(arrival_s, length_s, bin_s, length_s)


def dispersion_within_blocks(arrival_s: Floats, length_s: float, bin_s: float, block_s: float) -> float:
    """Index of dispersion with each block's own mean: bursts, without what changes from block to block.

    The variance is unbiased within each block and pooled over blocks. What varies more slowly than a block, such as
    the hour of the day, is left out as far as it is constant in a block.

    Args:
        arrival_s: times in [0, length), ``[arrivals]``.
        length_s: how long was observed.
        bin_s: length of a bin.
        block_s: length of a block; a shorter rest at the end is not used.

    Returns:
        The index; NaN if no block holds two bins or there are no arrivals.
    """
    block_s = min(block_s, length_s)
    bins = int(block_s / bin_s + 1e-9)
    blocks = int(length_s / block_s + 1e-9)
    if bins < 2 or blocks < 1:
        return float("nan")
    counts = np.stack([_counts(arrival_s, k * block_s, bins, bin_s) for k in range(blocks)]).astype(np.float64)
    total = counts.sum()
    return float(counts.var(axis=1, ddof=1).sum() * bins / total) if total > 0 else float("nan")


def autocorrelation(arrival_s: Floats, length_s: float, bin_s: float, lags: int) -> Floats:
    """Autocorrelation of the counts in bins, at lags 1 to ``lags`` bins.

    Args:
        arrival_s: times in [0, length), ``[arrivals]``.
        length_s: how long was observed.
        bin_s: length of a bin.
        lags: how many lags.

    Returns:
        One correlation a lag, ``[lags]``; NaN where there are too few bins or all counts are equal.
    """
    bins = int(length_s / bin_s + 1e-9)
    found = np.full(lags, np.nan)
    if bins < 2:
        return found
    deviation = _counts(arrival_s, 0.0, bins, bin_s) - len(arrival_s) / bins
    variance = float(deviation @ deviation)
    for lag in range(1, min(lags, bins - 1) + 1):
        if variance > 0:
            found[lag - 1] = float(deviation[lag:] @ deviation[:-lag]) / variance
    return found


def ks_distance(one: Floats, other: Floats) -> float:
    """Two-sample Kolmogorov-Smirnov distance: the largest difference of the empirical distribution functions.

    Args:
        one: a sample, any length of at least 1.
        other: another sample.

    Raises:
        ValueError: if a sample is empty.
    """
    if len(one) == 0 or len(other) == 0:
        raise ValueError("ks_distance: both samples need at least one value")
    points = np.concatenate((one, other))
    below = [np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(below[0] - below[1]).max())
