"""Two agents on the same episodes: the difference of every metric, its interval, and how often one is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.evaluation.statistics import Interval
from cloudsched_env.leaderboard.anchors import Anchors
from cloudsched_env.leaderboard.intervals import paired_interval
from cloudsched_env.leaderboard.store import AgentFolder

__all__ = ["ALL", "SCORE", "Comparison", "compare", "difference_matrices", "score_matrices"]

Floats = NDArray[np.float64]
SCORE = "score"
ALL = "all scenarios"


@dataclass(frozen=True)
class Comparison:
    """One metric on one scenario, or on all of them.

    Attributes:
        scenario: scenario id, or `ALL` (each scenario counts the same).
        metric: a metric, or `SCORE`.
        better: ``higher``, ``lower`` or empty.
        difference: first agent - second agent on the same episodes.
        improvement: probability that the first is better on a run and window, ties counted half; for metrics where
            neither direction is better, that it is larger.
        episodes: number of pairs.
    """

    scenario: str
    metric: str
    better: str
    difference: Interval
    improvement: Interval
    episodes: int

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``tie`` (the interval holds 0); ``larger`` or ``smaller`` without a direction."""
        low, high = self.difference.low, self.difference.high
        if not (low > 0 or high < 0):
            return "tie"
        if not self.better:
            return "larger" if low > 0 else "smaller"
        return "better" if (low > 0) == (self.better == "higher") else "worse"


def compare(first: AgentFolder, second: AgentFolder, anchors: Anchors, metrics: Sequence[str] = ()) -> list[Comparison]:
    """Compare two agents on the runs that both have.

    Args:
        first: results of one agent.
        second: results of the other on the same suite.
        anchors: of the suite.
        metrics: which; the score and all that have a better direction by default.

    Raises:
        ValueError: if they have no run in common, or a metric is unknown.
    """
    known = {entry.name: entry.better for entry in METRICS}
    wanted = list(metrics) or [SCORE, *(name for name, better in known.items() if better)]
    unknown = [name for name in wanted if name not in known and name != SCORE]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}: expected {SCORE} or one of {', '.join(known)}")
    found: list[Comparison] = []
    for metric in wanted:
        pairs = difference_matrices(first, second, metric, anchors)
        if not pairs:
            raise ValueError("the two agents have no scenario and run in common: play the same suite with both")
        better = "higher" if metric == SCORE else known[metric]
        shared = _same_windows(first)
        if len(pairs) > 1:
            found.append(_one(ALL, metric, better, list(pairs.values()), shared))
        found += [_one(scenario, metric, better, [matrix], False) for scenario, matrix in pairs.items()]
    return found


def score_matrices(folder: AgentFolder, anchors: Anchors) -> dict[str, Floats]:
    """Scores of all complete runs, ``{scenario: [runs, windows]}``."""
    found = {}
    for entry in folder.suite.scenarios:
        if folder.runs(entry.scenario):
            found[entry.scenario] = anchors.score(entry.scenario, folder.matrix(entry.scenario, "team_reward"))
    return found


def difference_matrices(first: AgentFolder, second: AgentFolder, metric: str, anchors: Anchors) -> dict[str, Floats]:
    """First - second on common runs, ``{scenario: [runs, windows]}``; windows where one has no number are left out."""
    found = {}
    for entry in first.suite.scenarios:
        runs = sorted(set(first.runs(entry.scenario)) & set(second.runs(entry.scenario)))
        if not runs:
            continue
        name = "team_reward" if metric == SCORE else metric
        values = [np.array([f.values(entry.scenario, run)[name] for run in runs]) for f in (first, second)]
        if metric == SCORE:
            values = [anchors.score(entry.scenario, each) for each in values]
        matrix = values[0] - values[1]
        matrix = matrix[:, ~np.isnan(matrix).any(axis=0)]
        if matrix.size:
            found[entry.scenario] = matrix
    return found


def _one(scenario: str, metric: str, better: str, matrices: list[Floats], shared: bool) -> Comparison:
    shared = shared and len({matrix.shape for matrix in matrices}) == 1
    sign = -1.0 if better == "lower" else 1.0
    wins = [(np.sign(sign * matrix) + 1.0) / 2.0 for matrix in matrices]
    difference = paired_interval(matrices, same_windows=shared)
    won = paired_interval(wins, same_windows=shared)
    improvement = Interval(won.estimate, max(0.0, won.low), min(1.0, won.high))
    return Comparison(scenario, metric, better, difference, improvement, sum(matrix.size for matrix in matrices))


def _same_windows(folder: AgentFolder) -> bool:
    """Whether the suite plays variants of one scenario on the same windows."""
    return len({entry.windows for entry in folder.suite.scenarios}) == 1
