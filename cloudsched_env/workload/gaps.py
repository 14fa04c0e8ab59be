"""Fit to the times between jobs what indices of dispersion leave open.

Counts in bins of a second or more say how many pairs of jobs are close, but not how they are spread: an instant of
nine jobs has as many pairs as thirty-six instants of two. Two more numbers are therefore taken from the gaps: the mean
number of jobs of an instant, and how many pairs of jobs are seconds apart, such that the Kolmogorov distance between
gaps of the trace and of a drawn stream is least (minimum-distance estimation, J. Wolfowitz, Ann. Math. Stat. 28, 1957).
Both depend on jobs that meet by chance and on the rounds in which they are recorded, so that they are measured on a
drawn stream, always from the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.burstiness import ks_distance
from cloudsched_env.workload.clusters import ClusterLevel, draw_clusters, with_single
from cloudsched_env.workload.rounds import Rounds

__all__ = ["match_gaps"]

_JOBS = 40_000  # of a drawn stream
_LEAST_GAPS = 200
_CORRECTIONS = 4
_MOST_PAIRS, _STEP_PAIRS = 1.0, 0.05  # of the level of seconds, for each job

Floats = NDArray[np.float64]
Levels = tuple[ClusterLevel, ...]


def match_gaps(
    arrival_s: Floats,
    length_s: float,
    fitted: Callable[[Sequence[float]], Levels],
    alone: float,
    rounds: dict[str, Any] | None,
    instant_s: float,
    seed: int,
) -> Levels:
    """Levels with the dispersion of a trace and, as far as that leaves it open, with its times between jobs.

    Args:
        arrival_s: of the trace's jobs, ascending in [0, length), ``[jobs]``.
        length_s: how long was observed.
        fitted: levels fitted to the dispersion, given pairs of jobs of the finest levels.
        alone: part of the jobs that comes alone.
        rounds: at which jobs are recorded (`rounds.fit_rounds`).
        instant_s: jobs of one instant are closer than this.
        seed: of the streams that are drawn.
    """
    gap = np.diff(arrival_s)
    apart = gap[gap >= instant_s]
    levels = fitted(())
    if min(len(apart), len(gap) - len(apart)) < _LEAST_GAPS:
        return levels
    recorded = None if rounds is None else Rounds.from_dict(rounds)

    def draw(found: Levels) -> Floats:
        """Times between the jobs of a stream of these levels."""
        rng = np.random.default_rng(seed)
        visits = alone + (1.0 - alone) / float(np.prod([level.mean_children for level in found]))
        start = np.sort(rng.random(max(1, round(_JOBS * visits)))) * (_JOBS * length_s / len(arrival_s))
        lonely = rng.random(len(start)) < alone / visits
        time = np.sort(np.concatenate((start[lonely], draw_clusters(found, start[~lonely], rng)[0])))
        return np.diff(time if recorded is None else np.sort(recorded.record(time, rng)))

    def with_instants(found: Levels) -> tuple[Levels, Floats]:
        """The same pairs, but with as many jobs to an instant as the trace has; and the gaps that result."""
        wanted = _jobs_of_an_instant(gap, instant_s)
        aim, changed, drawn = wanted, found, gap
        for _ in range(_CORRECTIONS):
            # A part of the jobs is alone: what is wanted of all instants has to come from the others.
            changed = with_single(found, max(1.0 - alone, 1e-3) / max(1.0 / aim - alone, 1e-3))
            drawn = draw(changed)
            aim = 1.0 + (aim - 1.0) * (wanted - 1.0) / max(_jobs_of_an_instant(drawn, instant_s) - 1.0, 1e-3)
        return changed, drawn

    instants, least = levels[0].pairs, levels[1].pairs * levels[0].mean_children
    best, drawn = with_instants(levels)
    distance = ks_distance(drawn, gap)
    if rounds is None:
        return best
    for pairs in np.arange(least + _STEP_PAIRS, _MOST_PAIRS, _STEP_PAIRS).tolist():
        changed, drawn = with_instants(fitted((instants, pairs)))
        found = ks_distance(drawn, gap)
        if found < distance:
            best, distance = changed, found
    return best


def _jobs_of_an_instant(gap_s: Floats, instant_s: float) -> float:
    """Mean number of jobs that follow one another in less than an instant."""
    return (len(gap_s) + 1) / (1.0 + float(np.count_nonzero(gap_s >= instant_s)))
