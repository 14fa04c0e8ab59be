"""Confidence intervals of the leaderboard, each for the question that it answers.

* `seeds_interval`: how much would a figure change with other seeds *on these windows*? Runs of a rule are independent
  on every window, so they are resampled within each window: the stratified bootstrap of Agarwal et al. (NeurIPS 2021),
  as in rliable. A percentile interval of n runs is too narrow by sqrt((n - 1) / n); it is taken at the level that makes
  up for it (expanded percentiles: Hesterberg, The American Statistician 69(4), 2015).
* `trainings_interval`: the same for trained agents. One training gives one policy for all windows: its luck is in all
  of them, and resampling within windows would take it for many independent draws. Trainings are left out one at a time
  (delete-one-group jackknife; Efron and Tibshirani, 1993, ch. 11), with Student's t for their small number.
* `paired_interval`: is the difference between two agents one of these seeds and windows, or would it hold on others?
  Runs and windows are both taken as random, in a crossed analysis of variance with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.statistics import CONFIDENCE, RESAMPLES, Interval

__all__ = ["mean_over_scenarios", "paired_interval", "seeds_interval", "seeds_intervals_of_means", "trainings_interval"]

Floats = NDArray[np.float64]
Matrices = Sequence[Floats]
"""For each scenario ``[runs, windows]``; every scenario counts the same, however many windows it has."""
Statistic = Callable[[Floats], Floats]

_SEED = 0
_LEAST_SE = 1e-15


def mean_over_scenarios(matrices: Matrices, statistic: Statistic) -> float:
    """A statistic of all runs and windows of each scenario, averaged over scenarios; NaN without any."""
    values = [float(statistic(matrix.reshape(-1))) if matrix.size else math.nan for matrix in matrices]
    return float(np.mean(values)) if values else math.nan


def seeds_interval(
    matrices: Matrices, statistic: Statistic, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> Interval:
    """Stratified bootstrap over runs; without an interval (NaN bounds) if there is one run only.

    Args:
        matrices: for each scenario ``[runs, windows]``.
        statistic: maps ``[..., n]`` to ``[...]``.
        confidence: level.
        resamples: bootstrap samples.
    """
    estimate = mean_over_scenarios(matrices, statistic)
    runs = min((len(matrix) for matrix in matrices), default=0)
    if runs < 2 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    generator = np.random.default_rng(_SEED)
    total = np.zeros(resamples)
    for matrix in matrices:
        rows = generator.integers(0, len(matrix), size=(resamples, *matrix.shape))
        total += statistic(matrix[rows, np.arange(matrix.shape[1])].reshape(resamples, -1))
    low, high = np.percentile(total / len(matrices), _tails(confidence, runs))
    return Interval(estimate, float(low), float(high))


def seeds_intervals_of_means(
    matrices: Sequence[NDArray[np.float64]], confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> list[Interval]:
    """`seeds_interval` of the mean for many figures at once, which share their resamples.

    Args:
        matrices: for each scenario ``[runs, windows, figures]``; NaNs of a figure are left out of its mean.
        confidence: level.
        resamples: bootstrap samples.
    """
    runs = min((matrix.shape[0] for matrix in matrices), default=0)
    figures = matrices[0].shape[2] if matrices else 0
    estimates, samples = np.zeros(figures), np.zeros((resamples, figures))
    for matrix in matrices:
        flat = matrix.reshape(-1, figures)
        known = ~np.isnan(flat)
        values = np.where(known, flat, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            estimates += values.sum(0) / known.sum(0) / len(matrices)
            if runs >= 2:
                counts = _counts(matrix.shape[0], matrix.shape[1], resamples)
                samples += (counts @ values) / (counts @ known.astype(np.float64)) / len(matrices)
    if runs < 2:
        return [Interval(float(value), math.nan, math.nan) for value in estimates]
    lows, highs = np.percentile(samples, _tails(confidence, runs), axis=0)
    return [
        Interval(float(value), float(low), float(high)) for value, low, high in zip(estimates, lows, highs, strict=True)
    ]


def trainings_interval(matrices: Matrices, statistic: Statistic, confidence: float = CONFIDENCE) -> Interval:
    """Delete-one-training jackknife with Student's t; without an interval if there is one training only.

    Args:
        matrices: for each scenario ``[trainings, windows]``; row i is training i in every scenario.
        statistic: maps ``[..., n]`` to ``[...]``.
        confidence: level.

    Raises:
        ValueError: if scenarios have different numbers of trainings.
    """
    estimate = mean_over_scenarios(matrices, statistic)
    sizes = {len(matrix) for matrix in matrices}
    if len(sizes) > 1:
        raise ValueError(f"scenarios have different numbers of trainings: {sorted(sizes)}")
    count = sizes.pop() if sizes else 0
    if count < 2 or math.isnan(estimate):
        return Interval(estimate, math.nan, math.nan)
    without = np.array(
        [mean_over_scenarios([np.delete(matrix, i, axis=0) for matrix in matrices], statistic) for i in range(count)]
    )
    error = math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    reach = _student(confidence, count - 1) * error
    return Interval(estimate, estimate - reach, estimate + reach)


def paired_interval(differences: Matrices, confidence: float = CONFIDENCE, *, same_windows: bool = False) -> Interval:
    """Mean difference over scenarios, with runs and windows both taken as random.

    With D[r, w] the difference on run r and window w, and MS the mean squares of the two-way analysis of variance,
    Var(mean) = (MS_runs + MS_windows - MS_rest) / (R W), no less than what runs or windows alone give.

    Args:
        differences: for each scenario ``[runs, windows]`` of differences on the same episodes.
        confidence: level.
        same_windows: scenarios are variants played on the same windows, whose luck they share.
    """
    estimate = mean_over_scenarios(differences, _mean)
    if math.isnan(estimate):
        return Interval(math.nan, math.nan, math.nan)
    scenarios = len(differences)
    runs = min(len(matrix) for matrix in differences)
    matrices = [matrix[:runs] for matrix in differences]
    by_run = np.mean([matrix.mean(axis=1) for matrix in matrices], axis=0)
    of_runs = _variance(by_run) / runs if runs > 1 else 0.0
    if same_windows:
        by_window = np.mean([matrix.mean(axis=0) for matrix in matrices], axis=0)
        parts = [(_variance(by_window) / len(by_window), len(by_window) - 1)]
    else:
        parts = [
            (_variance(matrix.mean(axis=0)) / matrix.shape[1] / scenarios**2, matrix.shape[1] - 1)
            for matrix in matrices
        ]
    of_windows = sum(part for part, _ in parts)
    of_rest = sum(_rest(matrix) / matrix.size / scenarios**2 for matrix in matrices) if runs > 1 else 0.0
    variance = max(of_runs + of_windows - of_rest, of_runs, of_windows)
    degrees = [(of_runs, runs - 1), *parts]
    weight = sum(part**2 / freedom for part, freedom in degrees if freedom > 0)
    if runs == 1 and all(freedom == 0 for _, freedom in parts):
        return Interval(estimate, math.nan, math.nan)
    if variance < _LEAST_SE**2 or weight == 0.0:
        return Interval(estimate, estimate, estimate)
    reach = _student(confidence, variance**2 / weight) * math.sqrt(variance)
    return Interval(estimate, estimate - reach, estimate + reach)


def _mean(values: Floats) -> Floats:
    return values.mean(axis=-1)


def _variance(values: Floats) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _rest(matrix: Floats) -> float:
    """Mean square of what neither the run nor the window explains."""
    runs, windows = matrix.shape
    if runs < 2 or windows < 2:
        return 0.0
    rest = matrix - matrix.mean(axis=1, keepdims=True) - matrix.mean(axis=0, keepdims=True) + matrix.mean()
    return float((rest**2).sum()) / ((runs - 1) * (windows - 1))


def _tails(confidence: float, runs: int) -> tuple[float, float]:
    """Percentiles of the expanded interval."""
    normal = NormalDist()
    reach = normal.inv_cdf(0.5 + confidence / 2) * math.sqrt(runs / (runs - 1))
    return 100.0 * normal.cdf(-reach), 100.0 * normal.cdf(reach)


@lru_cache(maxsize=8)
def _counts(runs: int, windows: int, resamples: int) -> Floats:
    """How often each entry of ``[runs, windows]`` is in each stratified resample, ``[resamples, runs * windows]``."""
    generator = np.random.default_rng(_SEED)
    drawn = generator.multinomial(runs, np.full(runs, 1.0 / runs), size=(resamples, windows))
    return drawn.transpose(0, 2, 1).reshape(resamples, runs * windows).astype(np.float64)


def _student(confidence: float, freedom: float) -> float:
    """Quantile of Student's t for a two-sided interval."""
    try:
        from scipy.special import stdtrit
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "intervals of the leaderboard need scipy: pip install 'cloudsched-env[leaderboard]'", name="scipy"
        ) from error
    return float(stdtrit(freedom, 0.5 + confidence / 2))
