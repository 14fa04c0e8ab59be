"""Folding hashes of users and names into tenants and shards, evenly or with a Zipf skew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["hash_fold", "zipf_fold"]


def _mix(values: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """Mix hashes with a salt: the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = values + np.uint64((2 * salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def hash_fold(values: NDArray[np.uint64], salt: int, buckets: int) -> NDArray[np.int32]:
    """Fold hashes into equally likely buckets; another salt gives an independent folding.

    Args:
        values: uint64 hashes.
        salt: integer in [0, 2^63).
        buckets: how many.

    Returns:
        Bucket of each value, int32.
    """
    return (_mix(values, salt) % np.uint64(buckets)).astype(np.int32)


def zipf_fold(values: NDArray[np.uint64], salt: int, buckets: int, exponent: float) -> NDArray[np.int32]:
    """Fold hashes into buckets of which number k, counted from 1, is chosen in proportion to k ** -exponent.

    Equal hashes share a bucket, so the skew holds over distinct hashes; how much work a bucket gets also depends on how
    much work each hash stands for. Exponent 0 is `hash_fold`.

    Args:
        values: uint64 hashes.
        salt: integer in [0, 2^63).
        buckets: how many.
        exponent: 0 (even) or more.

    Returns:
        Bucket of each value, counted from 0, int32.
    """
    if exponent == 0.0:
        return hash_fold(values, salt, buckets)
    cumulative = np.cumsum(np.arange(1, buckets + 1, dtype=np.float64) ** -exponent)
    # The upper 53 bits of a mixed hash are a uniform number in [0, 1) without rounding.
    uniform = (_mix(values, salt) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(cumulative[:-1] / cumulative[-1], uniform, side="right").astype(np.int32)
