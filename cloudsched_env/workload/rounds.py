"""Rounds: a cluster's master records what was submitted at its next turn, not at once.

In Google 2011 two jobs are either milliseconds apart or more than half a second: 31 % of the gaps are below 0.1 s, less
than 2 % between that and 0.65 s, and the density then peaks at 0.78 s and at multiples of it. Submissions wait for the
next round of the master's loop and are recorded one after the other. A clock that ticks in whole seconds (Alibaba), or
every five minutes (Azure), does the same to all times, with nothing between the jobs of a tick.

The model is a renewal process of rounds, at which all that was submitted since the round before is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.marginal import Marginal, continuous_marginal

__all__ = ["Rounds", "fit_rounds"]

_LEAST_GAPS = 200  # below and above an instant, that tell something
# By how much the 10 % quantile of gaps above an instant exceeds it, over the same of the 2 % quantile: 1.2 in Google
# 2011, 5.2 for the exponential gaps of a Poisson process.
_DEAD_TIME = 1.5
_ZERO_S = 1e-9  # stands for 0 where logarithms are taken

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rounds:
    """When submissions are recorded.

    Attributes:
        interval_s: time from one round to the next.
        gap_s: time between two jobs that are recorded in one round.
    """

    interval_s: Marginal
    gap_s: Marginal

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Rounds:
        """From a profile's JSON."""
        return cls(Marginal.from_dict(data["interval_s"]), Marginal.from_dict(data["gap_s"]))

    def record(self, submitted_s: Floats, rng: np.random.Generator) -> Floats:
        """When jobs are recorded that were submitted at these times.

        Args:
            submitted_s: ascending, ``[jobs]``.
            rng: source of randomness.

        Returns:
            Times in the same order, ascending unless a round takes longer than the time to the next, ``[jobs]``.
        """
        if len(submitted_s) == 0:
            return submitted_s
        rounds = self._rounds(float(submitted_s[0]), float(submitted_s[-1]), rng)
        place = np.searchsorted(rounds, submitted_s)
        gap = self.gap_s.at(rng.standard_normal(len(submitted_s)))
        gap[gap <= _ZERO_S] = 0.0
        first = np.diff(place, prepend=-1) > 0
        gap[first] = 0.0
        passed = np.cumsum(gap)
        before = passed[first][np.cumsum(first) - 1]
        return rounds[place] + (passed - before)

    def _rounds(self, start_s: float, end_s: float, rng: np.random.Generator) -> Floats:
        """Times of rounds, the first within one interval after the start, the last at or after the end."""
        parts: list[Floats] = []
        at = start_s
        mean = max(float(self.interval_s.at_probability((np.arange(99) + 0.5) / 99).mean()), 1e-6)
        while at < end_s or not parts:
            count = int(1.05 * max(end_s - at, 0.0) / mean) + 16
            interval = self.interval_s.at(rng.standard_normal(count))
            if not parts:
                interval[0] *= rng.random()
            parts.append(at + np.cumsum(interval))
            at = float(parts[-1][-1])
        return np.concatenate(parts)


def fit_rounds(arrival_s: Floats, instant_s: float) -> dict[str, Any] | None:
    """Rounds of a stream of jobs, as JSON; None if it shows none.

    Args:
        arrival_s: of jobs, ascending, ``[jobs]``.
        instant_s: jobs of one instant are closer than this.
    """
    gap = np.diff(arrival_s)
    tick = _tick_s(arrival_s)
    if tick >= instant_s:
        return {"interval_s": _constant(tick), "gap_s": _constant(0.0)}
    within, apart = gap[gap < instant_s], gap[gap >= instant_s]
    if min(len(within), len(apart)) < _LEAST_GAPS:
        return None
    least, low = np.quantile(apart, (0.02, 0.1))
    if low - instant_s > _DEAD_TIME * (least - instant_s):
        return None
    middle = float(np.median(apart[apart < _DEAD_TIME * least]))
    # From half of it to one and a half: what is one round, neither none nor two.
    one = apart[(apart > 0.5 * middle) & (apart < 1.5 * middle)]
    return {"interval_s": continuous_marginal(one), "gap_s": continuous_marginal(within, floor=_ZERO_S)}


def _tick_s(arrival_s: Floats) -> float:
    """Whole seconds of which all times apart are multiples; 0 if there are none."""
    since = arrival_s - arrival_s[0]
    whole = np.rint(since)
    if len(since) < 2 or np.abs(since - whole).max() > 1e-6:
        return 0.0
    return float(np.gcd.reduce(whole.astype(np.int64)))


def _constant(value: float) -> dict[str, Any]:
    return {"discrete": True, "scores": [], "values": [value]}
