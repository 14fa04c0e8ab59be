from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.evaluation.statistics import (
    bootstrap_interval,
    interquartile_mean,
    mean,
    paired_difference,
    performance_profile,
    probability_of_improvement,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_interquartile_mean_drops_a_quarter_at_each_end():
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, 3.0, -100.0, 4.0, 5.0, 60.0])) == pytest.approx(3.5)
    assert interquartile_mean(np.array([1.0, 2.0, 30.0])) == pytest.approx(11.0)  # too few to drop any


def test_the_interquartile_mean_is_that_of_rliable():
    metrics = pytest.importorskip("rliable.metrics")
    scores = rng().lognormal(size=(7, 9))
    assert interquartile_mean(scores.reshape(-1)) == pytest.approx(metrics.aggregate_iqm(scores))


def test_the_stratified_interval_resamples_runs_within_each_task():
    scores = rng().normal(loc=np.arange(6), size=(5, 6))  # tasks of very different level
    ours = bootstrap_interval(scores, rng(), resamples=4000)
    # The mean of task means, each resampled apart: its standard error is known without any resampling.
    standard_error = np.sqrt((scores.var(axis=0) / 5).sum()) / 6
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * standard_error, rel=0.06)
    # Without the strata the difference between tasks would count as noise.
    pooled = bootstrap_interval(scores.reshape(-1), rng())
    assert ours.high - ours.low < 0.8 * (pooled.high - pooled.low)


def test_the_stratified_interval_is_that_of_rliable():
    try:
        from rliable import library
    except (ImportError, TypeError) as error:  # its dependency arch 7 fails to import beside pandas 3
        pytest.skip(f"rliable cannot be imported: {error}")
    scores = rng().normal(loc=np.arange(6), size=(5, 6))
    _, intervals = library.get_interval_estimates(
        {"agent": scores}, lambda values: np.array([np.mean(values)]), reps=4000, random_state=np.random.RandomState(1)
    )
    low, high = intervals["agent"][:, 0]
    ours = bootstrap_interval(scores, rng(), resamples=4000)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_intervals_of_the_mean_cover_the_truth_about_as_often_as_they_claim():
    draws = rng(1)
    covered = 0
    for _ in range(300):
        interval = bootstrap_interval(draws.exponential(size=30), draws, resamples=400)
        covered += interval.low <= 1.0 <= interval.high
    # The percentile bootstrap of 30 skewed values covers a little less than its 95 %; three standard errors are 0.04.
    assert 0.88 <= covered / 300 <= 0.98


def test_higher_confidence_is_wider_and_the_estimate_is_inside():
    values = rng().normal(size=40)
    narrow, wide = (bootstrap_interval(values, rng(), confidence=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high
    assert narrow.estimate == pytest.approx(values.mean())


def test_the_same_generator_gives_the_same_interval():
    values = rng(3).normal(size=20)
    assert bootstrap_interval(values, rng(5)) == bootstrap_interval(values, rng(5))


def test_missing_values_are_left_out_of_a_vector_and_refused_in_a_matrix():
    with_gap = bootstrap_interval([1.0, np.nan, 3.0], rng())
    assert with_gap == bootstrap_interval([1.0, 3.0], rng())
    assert np.isnan(bootstrap_interval([np.nan, np.nan], rng()).estimate)
    with pytest.raises(ValueError, match="missing data"):
        bootstrap_interval([[1.0, np.nan]], rng())
    with pytest.raises(ValueError, match="3 dimensions"):
        bootstrap_interval(np.zeros((2, 2, 2)), rng())


def test_pairing_sees_a_small_gain_through_large_differences_between_episodes():
    episodes = rng(1).normal(scale=10.0, size=30)
    better = episodes + 0.1 + 0.01 * rng(2).normal(size=30)
    paired = paired_difference(better, episodes, rng())
    assert 0.09 < paired.low < paired.high < 0.11
    unpaired = bootstrap_interval(better, rng())
    assert unpaired.high - unpaired.low > 1.0
    with pytest.raises(ValueError, match="expected the same episodes"):
        paired_difference([1.0, 2.0], [1.0], rng())


def test_probability_of_improvement_counts_ties_half():
    assert probability_of_improvement([1.0, 2.0, 3.0, np.nan], [0.0, 2.0, 4.0, 1.0]) == pytest.approx(0.5)
    assert np.isnan(probability_of_improvement([np.nan], [1.0]))


def test_the_performance_profile_falls_from_one_to_zero():
    profile = performance_profile([[0.2, 0.4], [0.6, 0.8]], [0.0, 0.4, 0.5, 0.9])
    assert profile.tolist() == [1.0, 0.5, 0.5, 0.0]


def test_statistics_work_on_batches_of_resamples():
    values = rng().normal(size=(3, 8))
    for statistic in (mean, interquartile_mean):
        assert statistic(values) == pytest.approx([float(statistic(row)) for row in values])
