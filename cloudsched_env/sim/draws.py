"""Random numbers inside a step: a counter-based generator, so that a step is a pure function of state and actions."""

from __future__ import annotations

import numpy as np

from cloudsched_env.sim.compiled import compiled

__all__ = ["random_bits", "random_index", "uniform"]


@compiled
def _mix(x):
    """SplitMix64's output function (Steele, Lea & Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def random_bits(key, stream, counter):
    """64 random bits that depend on nothing but the arguments.

    SplitMix64's output function over a counter, twice, as in counter-based generators: a step can draw without
    carrying a generator's state, in any order, for any batch.
    """
    x = np.uint64(key) + np.uint64(stream + 1) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(counter + 1) * np.uint64(0xD1B54A32D192ED03)
    return _mix(_mix(x))


@compiled
def uniform(key, stream, counter):
    """A uniform number in [0, 1) made of `random_bits`."""
    return np.float64(random_bits(key, stream, counter) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def random_index(seed, i, count):
    """The i-th of a sequence of indices below ``count``, which must be below 2^32.

    The upper half of SplitMix64's i-th output for this seed, scaled without a division (Lemire, ACM TOMACS 29(1),
    2019, without the rejection step: the bias is below count / 2^32).
    """
    upper = _mix(seed + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return np.int64((upper * np.uint64(count)) >> np.uint64(32))
