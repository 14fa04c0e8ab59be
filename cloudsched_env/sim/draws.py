"""Random numbers inside a step: a counter-based generator, so that a step is a pure function of state and actions."""

from __future__ import annotations

import numpy as np

from cloudsched_env.sim.compiled import compiled

__all__ = ["uniform"]


@compiled
def uniform(key, stream, counter):
    """A uniform number in [0, 1) that depends on nothing but its arguments.

    SplitMix64's output function (Steele, Lea & Flood, OOPSLA 2014) over a counter, as in counter-based generators:
    a step can draw without carrying a generator's state, in any order, for any batch.
    """
    x = np.uint64(key) + np.uint64(stream + 1) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(counter + 1) * np.uint64(0xD1B54A32D192ED03)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)
