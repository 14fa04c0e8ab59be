"""How often logical names recur, and the two numbers of the generator that reproduce it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_names", "repetition", "top_shares"]

Integers = NDArray[np.int64]
_FRESH = tuple(np.round(np.arange(0.0, 1.0, 0.04), 2).tolist())
_RECURRING = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_MOST_WINDOWS = 12
_SEED = 8_191_131_071  # of the names that are tried out; any seed that nobody else draws with


def top_shares(group: NDArray[Any], most: tuple[int, ...]) -> list[float]:
    """Part of all members that the largest groups hold, for each number of groups.

    Args:
        group: group of each member, ``[members]``.
        most: numbers of groups, such as 1, 5 and 20.
    """
    count = np.sort(np.unique(group, return_counts=True)[1])[::-1]
    return [float(count[:k].sum() / count.sum()) for k in most]


def repetition(name: NDArray[Any]) -> NDArray[np.float64]:
    """Names per job, jobs whose name occurs once, and jobs of the top 1, 5 and 20 names, as shares of all jobs.

    Args:
        name: name of each job, ``[jobs]``.
    """
    count = np.unique(name, return_counts=True)[1]
    total = count.sum()
    return np.array([len(count) / total, (count == 1).sum() / total, *top_shares(name, (1, 5, 20))])


def fit_names(
    arrival_s: NDArray[np.float64],
    user: Integers,
    kind: Integers,
    name: Integers,
    window_s: float,
    length_s: float,
) -> dict[str, Any]:
    """Chance of a name of its own, and recurring names of a user and kind, that match repetition within windows.

    Args:
        arrival_s: of each job, ascending, ``[jobs]``.
        user: ``[jobs]``.
        kind: ``[jobs]``.
        name: ``[jobs]``.
        window_s: length of a window.
        length_s: how long was observed.

    Returns:
        ``fresh_probability`` and ``recurring``, as in a profile.
    """
    starts = np.arange(0.0, max(length_s - window_s, 0.0) + 1e-9, window_s)[:_MOST_WINDOWS]
    windows = [np.flatnonzero((arrival_s >= s) & (arrival_s < s + window_s)) for s in starts]
    windows = [w for w in windows if len(w) > 1]
    if not windows:
        return {"fresh_probability": 1.0, "recurring": 1}
    wanted = np.mean([repetition(name[w]) for w in windows], axis=0)
    owner = np.unique(np.stack((user, kind)), axis=1, return_inverse=True)[1].reshape(-1)
    best, least = (1.0, 1), np.inf
    for recurring in _RECURRING:
        for fresh in (*_FRESH, 1.0):
            rng = np.random.default_rng(_SEED)
            found = []
            for w in windows:
                drawn = owner[w] * recurring + rng.integers(recurring, size=len(w))
                own = rng.random(len(w)) < fresh
                drawn[own] = -1 - np.arange(int(own.sum()))
                found.append(repetition(drawn))
            error = float(np.abs(np.mean(found, axis=0) - wanted).sum())
            if error < least:
                best, least = (fresh, recurring), error
    return {"fresh_probability": best[0], "recurring": best[1]}
