"""Learning curves, and when they converged: not all do within their budget, and those are not left out.

A training converges at the first evaluation from which its validation score stays at or above a threshold, fixed
before, for `PATIENCE` evaluations. One that never does is censored at its budget. The median over trainings is that of
Kaplan and Meier (1958); where fewer than half converge there is no median, only "later than the budget".
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["PATIENCE", "Convergence", "Curve", "converged_at", "convergence", "kaplan_meier_median", "read_curve"]

Floats = NDArray[np.float64]
PATIENCE = 5
STEPS, SCORE = "env_steps", "validation/team_reward"


@dataclass(frozen=True)
class Curve:
    """Validation of one training.

    Attributes:
        env_steps: of each evaluation, ascending.
        score: validation team reward.
    """

    env_steps: Floats
    score: Floats


@dataclass(frozen=True)
class Convergence:
    """When trainings reached a threshold.

    Attributes:
        threshold: validation team reward.
        converged: how many trainings did.
        trainings: of how many.
        median_env_steps: Kaplan-Meier median; None if fewer than half converged.
        budget_env_steps: the shortest budget at which one of the others was censored, or the longest of all.
    """

    threshold: float
    converged: int
    trainings: int
    median_env_steps: float | None
    budget_env_steps: float


def read_curve(path: Path) -> Curve:
    """Read a training curve.

    Raises:
        ValueError: naming the file, the line and what was expected.
    """
    steps, scores = [], []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {STEPS, SCORE} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name}: no column {' and no column '.join(sorted(missing))}")
        for row in reader:
            if row[SCORE] in (None, ""):
                continue
            try:
                steps.append(float(row[STEPS]))
                scores.append(float(row[SCORE]))
            except ValueError as error:
                raise ValueError(f"{path.name}, line {reader.line_num}: {error}") from error
    if not steps or (np.diff(steps) <= 0).any():
        raise ValueError(f"{path.name}: expected at least one evaluation, with ascending {STEPS}")
    return Curve(np.array(steps), np.array(scores))


def converged_at(curve: Curve, threshold: float, patience: int = PATIENCE) -> float | None:
    """Steps of the first evaluation of the first ``patience`` in a row at or above the threshold; None without one."""
    above = curve.score >= threshold
    for first in range(len(above) - patience + 1):
        if above[first : first + patience].all():
            return float(curve.env_steps[first])
    return None


def convergence(curves: Sequence[Curve], threshold: float) -> Convergence:
    """When trainings converged, with those that did not as censored."""
    times = [converged_at(curve, threshold) for curve in curves]
    budgets = [float(curve.env_steps[-1]) for curve in curves]
    censored = [budget for time, budget in zip(times, budgets, strict=True) if time is None]
    reached = [time for time in times if time is not None]
    return Convergence(
        threshold, len(reached), len(times), kaplan_meier_median(reached, censored), min(censored or [max(budgets)])
    )


def kaplan_meier_median(events: Sequence[float], censored: Sequence[float]) -> float | None:
    """First time at which at most half are estimated not to have had the event; None if that is never reached."""
    surviving = 1.0
    for time in sorted(set(events)):
        at_risk = sum(other >= time for other in events) + sum(other >= time for other in censored)
        surviving *= 1.0 - sum(other == time for other in events) / at_risk
        if surviving <= 0.5 + 1e-12:
            return time
    return None
