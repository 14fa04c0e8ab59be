"""Point estimates and bootstrap intervals over episodes and training seeds.

These are the estimators of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(NeurIPS 2021), as in the library rliable, written on numpy so that a plain installation gives the same numbers as one
with rliable; the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Interval",
    "bootstrap_interval",
    "interquartile_mean",
    "mean",
    "optimality_gap",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
]

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; all NaN without data, no width with a single observation."""

    estimate: float
    low: float
    high: float


def mean(values: Floats) -> Floats:
    """Mean over the last axis."""
    return values.mean(axis=-1)


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half over the last axis: a quarter of the values, rounded down, is cut from each end."""
    size = values.shape[-1]
    cut = int(0.25 * size)
    return np.sort(values, axis=-1)[..., cut : size - cut].mean(axis=-1)


def optimality_gap(values: Floats, target: float = 1.0) -> Floats:
    """How far values fall short of a target on average, over the last axis; what is beyond it counts as reaching it."""
    return target - np.minimum(values, target).mean(axis=-1)


def bootstrap_interval(
    values: ArrayLike,
    generator: np.random.Generator,
    statistic: Statistic = mean,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile bootstrap interval of a statistic of all values.

    Args:
        values: ``[episodes]``, resampled with replacement; or ``[runs, tasks]``, where runs (training seeds) are
            resampled within each task (fixed evaluation episode) apart: the stratified bootstrap of rliable. NaNs are
            left out of a vector; a matrix must have none.
        generator: source of the resamples.
        statistic: maps ``[..., n]`` to ``[...]``.
        confidence: level of the interval.
        resamples: number of bootstrap samples.

    Raises:
        ValueError: for an array of another rank, or a matrix with NaNs.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim == 1:
        data = data[~np.isnan(data)][:, None]
    elif data.ndim != 2:
        raise ValueError(f"values have {data.ndim} dimensions: expected [episodes] or [runs, tasks]")
    elif np.isnan(data).any():
        raise ValueError("a [runs, tasks] matrix must have no NaN: a run without a result for a task is missing data")
    runs, tasks = data.shape
    if data.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    estimate = float(statistic(data.reshape(-1)))
    rows = generator.integers(0, runs, size=(resamples, runs, tasks))
    samples = statistic(data[rows, np.arange(tasks)].reshape(resamples, -1))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(samples, [tail, 100.0 - tail])
    return Interval(estimate, float(low), float(high))


def paired_difference(
    values: ArrayLike,
    baseline: ArrayLike,
    generator: np.random.Generator,
    statistic: Statistic = mean,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """Interval of a statistic of ``values - baseline``, episode by episode; both ran on the same episodes.

    Pairing removes the variation between episodes, which is larger than that between good policies.

    Raises:
        ValueError: if the shapes differ.
    """
    first, second = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"cannot pair {first.shape} with {second.shape}: expected the same episodes")
    return bootstrap_interval(first - second, generator, statistic, confidence=confidence, resamples=resamples)


def probability_of_improvement(values: ArrayLike, baseline: ArrayLike) -> float:
    """Share of paired episodes in which ``values`` is larger, ties counted half; NaN without pairs."""
    difference = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    difference = difference[~np.isnan(difference)]
    return float(((np.sign(difference) + 1) / 2).mean()) if difference.size else float("nan")


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Share of scores above each threshold, ``[thresholds]``: the run-score distribution of rliable."""
    flat = np.asarray(scores, dtype=np.float64).reshape(-1)
    return (flat[None, :] > np.asarray(thresholds, dtype=np.float64)[:, None]).mean(axis=1)
