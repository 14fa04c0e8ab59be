"""Nested Poisson clusters: arrivals with a chosen index of dispersion at several time scales.

A *visit* of a user is a Poisson event. It has a geometric number of sub-clusters, spread uniformly over the span of
the level, each of which has sub-clusters of the next level, down to the jobs of one instant: a Neyman-Scott process
(J. Neyman and E. L. Scott, J. R. Stat. Soc. B 20, 1958) repeated level by level. Counts N(s) in bins of s seconds have

    Var N(s) / E N(s) = 1 + sum over levels k of  p_k h_k(s),

where p_k is the mean number of other jobs that a job meets in its cluster of level k but not in its cluster of level
k - 1, and h_k(s) = E (1 - |d| / s)^+ with d the time between two such jobs. The sum is linear in p, so that the p_k
that give measured indices of dispersion follow from non-negative least squares; geometric numbers with mean m_k have
p_k = 2 (m_k - 1) m_0 ... m_{k-1}, which is solved from the finest level up. Where only a part of the jobs comes in
clusters and the rest alone, that part divides the p_k.

The jobs of an instant have a heavier tail than that: more instants hold a single job, and the others more of them. A
level may therefore be single with some probability z, and geometric with mean g otherwise. Its mean is then
m = z + (1 - z) g, and a job meets 2 (1 - z) g (g - 1) / m others; mean and pairs together give z and g.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FIT_SCALES_S",
    "SECONDS_SPAN_S",
    "SPANS_S",
    "ClusterLevel",
    "draw_clusters",
    "expected_dispersion",
    "fit_levels",
    "slow_dispersion",
    "with_single",
]

# From an instant to five minutes, one level a scale at which the dispersion is fitted.
SPANS_S = (0.05, 4.0, 10.0, 60.0, 300.0)
FIT_SCALES_S = (1.0, 3.0, 10.0, 60.0, 300.0)
SECONDS_SPAN_S = 10.0
"""Jobs of a user in a cluster of this span, or a shorter one, tend to be of one kind."""
_PAIRS = 40_000  # pairs of jobs whose distances stand for their distribution

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterLevel:
    """One level of the nesting.

    Attributes:
        span_s: sub-clusters lie uniformly within so many seconds after the start of their cluster.
        mean_children: mean of their number, at least 1.
        single: probability that there is just one; the number is geometric otherwise.
    """

    span_s: float
    mean_children: float
    single: float = 0.0

    @property
    def geometric_mean(self) -> float:
        """Mean of the geometric number."""
        return (self.mean_children - self.single) / (1.0 - self.single)

    @property
    def pairs(self) -> float:
        """Other sub-clusters that a sub-cluster meets in its cluster, in the mean."""
        mean = self.geometric_mean
        return 2.0 * (1.0 - self.single) * mean * (mean - 1.0) / self.mean_children


@functools.lru_cache(maxsize=64)
def _pair_kernel(spans_s: tuple[float, ...], scales_s: tuple[float, ...]) -> Floats:
    """h_k(s) for each scale and level, ``[scales, levels]``."""
    # Numbers of a fixed seed: a quadrature rule, not randomness of the workload.
    offsets = np.random.default_rng(0).random((len(spans_s), 2, _PAIRS)) * np.asarray(spans_s)[:, None, None]
    distance = np.abs(np.cumsum(offsets[:, 0] - offsets[:, 1], axis=0))
    return np.stack([np.maximum(1.0 - distance / scale, 0.0).mean(axis=1) for scale in scales_s])


def slow_dispersion(scale_s: float, bin_s: float, block_s: float | None = None) -> float:
    """What a slow factor of the rate adds to the index of dispersion, for a rate of 1 and a squared variation of 1.

    The factor is constant within bins of ``bin_s`` seconds, which begin at a random time, and independent between.

    Args:
        scale_s: bin of the counts.
        bin_s: bin of the factor.
        block_s: variances are about the mean of blocks of this length; about that of the whole time by default.
    """

    def free(seconds: float) -> float:
        ratio = seconds / bin_s
        return seconds * (1.0 - ratio / 3.0 if ratio <= 1.0 else (1.0 - 1.0 / (3.0 * ratio)) / ratio)

    if block_s is None:
        return free(scale_s)
    bins = np.floor(block_s / scale_s + 1e-9)
    return float((bins * free(scale_s) - free(block_s)) / (bins - 1.0))


def expected_dispersion(levels: Sequence[ClusterLevel], scales_s: Sequence[float], clustered: float = 1.0) -> Floats:
    """Index of dispersion of the process at each scale, ``[scales]``.

    Args:
        levels: from the finest to the coarsest.
        scales_s: bins in seconds.
        clustered: part of the jobs that comes in clusters; the others come alone.
    """
    mean = np.array([level.mean_children for level in levels])
    pairs = np.array([level.pairs for level in levels]) * np.concatenate(([1.0], np.cumprod(mean)[:-1]))
    return 1.0 + clustered * (_pair_kernel(tuple(level.span_s for level in levels), tuple(scales_s)) @ pairs)


def fit_levels(
    dispersion: Sequence[float],
    scales_s: Sequence[float],
    block_s: float,
    clustered: float = 1.0,
    spans_s: Sequence[float] = SPANS_S,
    known_pairs: Sequence[float] = (),
) -> tuple[ClusterLevel, ...]:
    """Levels whose index of dispersion within blocks is the one measured.

    A variance about the mean of a block of n bins expects (n D(s) - D(block)) / (n - 1).

    Args:
        dispersion: `dispersion_within_blocks` at each scale, ``[scales]``; NaN where it could not be measured.
        scales_s: bins in seconds, ``[scales]``.
        block_s: length of the blocks.
        clustered: part of the jobs that comes in clusters, above 0.
        spans_s: spans of the levels, ascending.
        known_pairs: pairs of jobs of the finest levels, where they are known; the others are fitted.

    Returns:
        Levels from the finest to the coarsest. Where no clusters have this dispersion (below that of a Poisson
        process, or falling with the scale) the nearest one is taken, in relative least squares.
    """
    wanted, scales = np.asarray(dispersion, dtype=np.float64), np.asarray(scales_s, dtype=np.float64)
    measured = np.isfinite(wanted)
    wanted, scales = wanted[measured], scales[measured]
    bins = np.floor(block_s / scales + 1e-9)[:, None]
    spans = tuple(spans_s)
    kernel = (bins * _pair_kernel(spans, tuple(scales.tolist())) - _pair_kernel(spans, (block_s,))) / (bins - 1.0)
    kernel = clustered * kernel
    matrix, target = kernel / wanted[:, None], (wanted - 1.0) / wanted
    known = np.asarray(known_pairs, dtype=np.float64)
    rest = _non_negative_least_squares(matrix[:, len(known) :], target - matrix[:, : len(known)] @ known)
    pairs = np.concatenate((known, rest))
    levels, inner = [], 1.0
    for span, pair in zip(spans_s, pairs, strict=True):
        mean = 1.0 + pair / (2.0 * inner)
        levels.append(ClusterLevel(span, float(mean)))
        inner *= mean
    return tuple(levels)


def with_single(levels: Sequence[ClusterLevel], mean_children: float) -> tuple[ClusterLevel, ...]:
    """The same pairs of jobs at every level, but another mean number of jobs of an instant.

    Args:
        levels: from the finest to the coarsest, all geometric.
        mean_children: wanted of the finest level. No less than 1.02 is taken, nor more than it has already, since a
            geometric number has the most mean for its pairs.
    """
    finest, pairs = levels[0], levels[0].pairs
    most = 1.0 + pairs / 2.0
    wanted = min(max(mean_children, 1.02), most)
    if wanted >= most - 1e-9:
        return tuple(levels)
    geometric = pairs * wanted / (2.0 * (wanted - 1.0))
    single = 1.0 - (wanted - 1.0) / (geometric - 1.0)
    found, inner, before = [ClusterLevel(finest.span_s, wanted, single)], wanted, finest.mean_children
    for level in levels[1:]:
        found.append(ClusterLevel(level.span_s, 1.0 + (level.mean_children - 1.0) * before / inner))
        inner *= found[-1].mean_children
        before *= level.mean_children
    return tuple(found)


def _non_negative_least_squares(matrix: Floats, target: Floats) -> Floats:
    """The x >= 0 with the least squared residual, by trying every set of positive entries (there are few)."""
    best, least = np.zeros(matrix.shape[1]), float(target @ target)
    for size in range(1, matrix.shape[1] + 1):
        for chosen in itertools.combinations(range(matrix.shape[1]), size):
            part = matrix[:, chosen]
            x = np.linalg.lstsq(part, target, rcond=None)[0]
            residual = float(np.sum((part @ x - target) ** 2))
            if (x >= 0).all() and residual < least - 1e-12:
                best, least = np.zeros(matrix.shape[1]), residual
                best[list(chosen)] = x
    return best


def draw_clusters(
    levels: Sequence[ClusterLevel], start_s: Floats, rng: np.random.Generator
) -> tuple[Floats, list[NDArray[np.intp]]]:
    """Draw the jobs of visits.

    Args:
        levels: from the finest to the coarsest.
        start_s: start of each visit, ``[visits]``.
        rng: source of randomness.

    Returns:
        Times of the jobs ``[jobs]``, not sorted, and for each level, from the coarsest to the finest, the cluster of
        that level that each job is in: ``[jobs]`` each; the first is the visit.
    """
    time = start_s
    owners: list[NDArray[np.intp]] = []
    for level in reversed(levels):
        children = rng.geometric(1.0 / level.geometric_mean, size=len(time))
        if level.single > 0.0:
            children[rng.random(len(time)) < level.single] = 1
        parent = np.repeat(np.arange(len(time)), children)
        owners = [owner[parent] for owner in owners] + [parent]
        time = time[parent]
        if level.mean_children > 1.0:  # moving the points of a Poisson process one by one changes nothing
            time = time + level.span_s * rng.random(len(parent))
    return time, owners
