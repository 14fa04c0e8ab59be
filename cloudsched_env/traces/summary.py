"""What a task table contains, in numbers: arrivals over time, quantiles, shares and skew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.traces.table import TaskTable

__all__ = [
    "Histogram",
    "Quantiles",
    "Skew",
    "arrivals_per_hour",
    "log_histogram",
    "quantiles",
    "rebin",
    "shares",
    "skew",
]

LEVELS = (0.01, 0.10, 0.50, 0.90, 0.99)


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, ``[bins]`` and ``[bins + 1]``."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Quantiles:
    """Distribution of the values that are there.

    Attributes:
        count: values.
        nulls: tasks without a value.
        mean: mean of the values, NaN if there is none.
        maximum: largest value, NaN if there is none.
        levels: values at the probabilities of `LEVELS`, ``[levels]``.
    """

    count: int
    nulls: int
    mean: float
    maximum: float
    levels: NDArray[np.float64]


@dataclass(frozen=True)
class Skew:
    """How unequally tasks are spread over names.

    Attributes:
        order: codes from most to least tasks, ``[names]``.
        counts: tasks of each, in that order, ``[names]``.
        gini: Gini coefficient of the counts; 0 is equal.
    """

    order: NDArray[np.int64]
    counts: NDArray[np.int64]
    gini: float

    def top_share(self, names: int) -> float:
        """Share of all tasks that belong to the ``names`` most frequent names."""
        return float(self.counts[:names].sum() / max(1, self.counts.sum()))


def arrivals_per_hour(table: TaskTable) -> Histogram:
    """Tasks that arrive in each hour of the covered time; edges in seconds on the trace's clock.

    The last bin ends with the covered time and may be shorter than an hour.
    """
    start, end = table.metadata.span_start_s, table.metadata.span_end_s
    hours = max(1, int(np.ceil((end - start) / 3600)))
    edges = start + 3600.0 * np.arange(hours + 1, dtype=np.float64)
    edges[-1] = max(end, edges[-2])
    counts, _ = np.histogram(table["arrival_s"], bins=edges)
    return Histogram(edges, counts.astype(np.int64))


def rebin(counts: NDArray[Any], bins: int) -> NDArray[np.float64]:
    """Means of neighbouring counts, so that at most ``bins`` are left, ``[<= bins]``."""
    width = -(-len(counts) // bins)
    return np.array([counts[start : start + width].mean() for start in range(0, len(counts), width)])


def quantiles(values: NDArray[np.float64]) -> Quantiles:
    """Quantiles of the values that are not NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Quantiles(0, len(values), float("nan"), float("nan"), np.full(len(LEVELS), np.nan))
    return Quantiles(
        len(known), len(values) - len(known), float(known.mean()), float(known.max()), np.quantile(known, LEVELS)
    )


def log_histogram(values: NDArray[np.float64], bins: int = 16) -> Histogram:
    """Histogram with edges at equal ratios, of the values that are finite and above 0."""
    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        return Histogram(np.full(bins + 1, np.nan), np.zeros(bins, np.int64))
    low, high = known.min(), known.max()
    edges = np.geomspace(low, high if high > low else low * 2, bins + 1)
    edges[0] = low  # geomspace may miss it by a rounding error, and the value would fall out
    edges[-1] = max(edges[-1], high)
    counts, _ = np.histogram(known, bins=edges)
    return Histogram(edges, counts.astype(np.int64))


def shares(values: NDArray[Any]) -> list[tuple[Any, int, float]]:
    """Each distinct value in ascending order with its count and its share."""
    found, counts = np.unique(values, return_counts=True)
    return [(value.item(), int(count), float(count / len(values))) for value, count in zip(found, counts, strict=True)]


def skew(codes: NDArray[np.int32], names: int) -> Skew:
    """Skew of dictionary codes (-1, null, is left out) over ``names`` names."""
    counts = np.bincount(codes[codes >= 0], minlength=names)
    order = np.argsort(-counts, kind="stable")
    ranked = counts[order]
    total = ranked.sum()
    if not total:
        return Skew(order, ranked, 0.0)
    # Mean absolute difference over twice the mean, from the sorted counts.
    ascending = ranked[::-1]
    gini = float(2 * (np.arange(1, names + 1) * ascending).sum() / (names * total) - (names + 1) / names)
    return Skew(order, ranked, gini)
