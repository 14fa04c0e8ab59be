"""Group the jobs of a trace into kinds that are alike: k-means on the logarithms of what they ask for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cluster_jobs", "k_means"]

Floats = NDArray[np.float64]
_ROUNDS = 100


def k_means(points: Floats, clusters: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Lloyd's algorithm from k-means++ seeds (D. Arthur and S. Vassilvitskii, SODA 2007).

    Args:
        points: ``[points, features]``.
        clusters: most clusters; fewer come out if there are fewer distinct points.
        rng: source of randomness.

    Returns:
        Cluster of each point, numbered from 0 without holes, ``[points]``.
    """
    centre = points[[int(rng.integers(len(points)))]]
    nearest = ((points - centre[0]) ** 2).sum(axis=1)
    while len(centre) < clusters and nearest.max() > 0:
        chosen = int(np.searchsorted(np.cumsum(nearest), rng.random() * nearest.sum(), side="right"))
        centre = np.vstack((centre, points[min(chosen, len(points) - 1)]))
        nearest = np.minimum(nearest, ((points - centre[-1]) ** 2).sum(axis=1))
    label = np.full(len(points), -1)
    for _ in range(_ROUNDS):
        distance = (centre**2).sum(axis=1) - 2.0 * points @ centre.T
        new = distance.argmin(axis=1)
        if (new == label).all():
            break
        label = new
        count = np.bincount(label, minlength=len(centre))
        for feature in range(points.shape[1]):
            total = np.bincount(label, points[:, feature], minlength=len(centre))
            centre[:, feature] = np.where(count > 0, total / np.maximum(count, 1), centre[:, feature])
    return np.unique(label, return_inverse=True)[1].reshape(-1)


def cluster_jobs(
    stratum: NDArray[np.int64], features: Floats, clusters: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Kinds of jobs, each within one stratum.

    The strata share the clusters in proportion to the square root of their jobs, so that small ones are not lumped.

    Args:
        stratum: what must not be mixed, such as the SLO class, of each job, ``[jobs]``.
        features: what jobs are compared by, on comparable scales, ``[jobs, features]``.
        clusters: about how many kinds.
        rng: source of randomness.

    Returns:
        Kind of each job, numbered from 0 without holes, ``[jobs]``.
    """
    kind = np.zeros(len(stratum), dtype=np.int64)
    present, counts = np.unique(stratum, return_counts=True)
    shares = np.sqrt(counts) / np.sqrt(counts).sum()
    used = 0
    for value, share in zip(present.tolist(), shares.tolist(), strict=True):
        rows = np.flatnonzero(stratum == value)
        label = k_means(features[rows], max(1, round(clusters * share)), rng)
        kind[rows] = used + label
        used += int(label.max()) + 1
    return kind
