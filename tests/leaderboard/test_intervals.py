"""Intervals cover the truth as often as they say, on synthetic results whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.evaluation.statistics import bootstrap_interval, interquartile_mean, mean, optimality_gap
from cloudsched_env.leaderboard.intervals import (
    mean_over_scenarios,
    paired_interval,
    seeds_interval,
    seeds_intervals_of_means,
    trainings_interval,
)

REPEATS = 400
# 95 % of 400 has a standard deviation of 1.1 %: three of them either way.
LEAST, MOST = 0.95 - 0.033, 0.95 + 0.033


def coverage(draw, interval, truth):
    """Share of synthetic results whose interval holds the truth."""
    generator = np.random.default_rng(7)
    found = [interval(draw(generator)) for _ in range(REPEATS)]
    return np.mean([i.low <= truth <= i.high for i in found])


def windows_and_noise(runs, windows, noise):
    """Windows of very different level, played with other seeds."""
    levels = [np.random.default_rng(1).uniform(0.2, 0.9, size=count) for count in windows]

    def draw(generator):
        return [level + noise * generator.standard_normal((runs, len(level))) for level in levels]

    return levels, draw


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_intervals_over_seeds_cover_on_fixed_windows(runs):
    levels, draw = windows_and_noise(runs, (30, 20), 0.1)
    truth = np.mean([level.mean() for level in levels])
    assert LEAST <= coverage(draw, lambda d: seeds_interval(d, mean, resamples=500), truth) <= MOST


def test_intervals_over_seeds_cover_the_interquartile_mean():
    levels, draw = windows_and_noise(10, (30,), 0.1)
    many = levels[0] + 0.1 * np.random.default_rng(0).standard_normal((20_000, 30))
    truth = interquartile_mean(many.reshape(-1))
    assert LEAST <= coverage(draw, lambda d: seeds_interval(d, interquartile_mean, resamples=500), truth) <= MOST


def test_without_the_correction_for_few_runs_intervals_over_seeds_would_cover_too_rarely():
    levels, draw = windows_and_noise(3, (30,), 0.1)
    plain = coverage(
        draw, lambda d: bootstrap_interval(d[0], np.random.default_rng(0), resamples=500), levels[0].mean()
    )
    assert plain < LEAST


def with_luck_of_the_training(trainings, windows, luck, noise):
    level = np.random.default_rng(1).uniform(0.2, 0.9, size=windows)

    def draw(generator):
        shared = luck * generator.standard_normal((trainings, 1))
        return [level + shared + noise * generator.standard_normal((trainings, windows)) for _ in range(2)]

    return level.mean(), draw


@pytest.mark.parametrize("trainings", [3, 10])
def test_intervals_over_trainings_cover_although_a_training_is_lucky_everywhere(trainings):
    truth, draw = with_luck_of_the_training(trainings, 20, luck=0.05, noise=0.05)
    assert LEAST <= coverage(draw, lambda d: trainings_interval(d, mean), truth) <= MOST


def test_resampling_within_windows_would_take_one_lucky_training_for_many():
    truth, draw = with_luck_of_the_training(10, 20, luck=0.05, noise=0.05)
    assert coverage(draw, lambda d: seeds_interval(d, mean, resamples=300), truth) < 0.6


@pytest.mark.parametrize(("luck_of_runs", "luck_of_windows"), [(0.0, 0.1), (0.1, 0.1), (0.1, 0.0)])
def test_paired_intervals_cover_over_other_seeds_and_other_windows(luck_of_runs, luck_of_windows):
    def draw(generator):
        run = luck_of_runs * generator.standard_normal((8, 1))
        return [
            0.03 + run + luck_of_windows * generator.standard_normal((1, w)) + 0.1 * generator.standard_normal((8, w))
            for w in (30, 10)
        ]

    assert LEAST <= coverage(draw, paired_interval, 0.03) <= 0.995


def test_paired_intervals_of_variants_cover_when_the_variants_share_their_windows():
    def draw(generator):
        window = 0.1 * generator.standard_normal((1, 12))
        return [0.03 + window + 0.02 * generator.standard_normal((5, 12)) for _ in range(6)]

    shared = coverage(draw, lambda d: paired_interval(d, same_windows=True), 0.03)
    assert LEAST <= shared <= 0.99
    assert coverage(draw, paired_interval, 0.03) < 0.8  # taking the same windows for other ones


def test_pairing_takes_away_what_windows_have_in_common():
    generator = np.random.default_rng(0)
    windows = generator.standard_normal((1, 30))
    first, second = (windows + 0.01 * generator.standard_normal((5, 30)) + shift for shift in (0.02, 0.0))
    found = paired_interval([first - second])
    assert 0 < found.low < 0.02 < found.high < 0.04


def test_equal_results_differ_by_nothing():
    found = paired_interval([np.zeros((3, 4))])
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_every_scenario_counts_the_same():
    assert mean_over_scenarios([np.zeros((2, 30)), np.ones((2, 3))], mean) == pytest.approx(0.5)


def test_one_run_has_no_interval():
    found = seeds_interval([np.ones((1, 4))], mean)
    assert found.estimate == 1.0
    assert np.isnan(found.low)
    assert np.isnan(trainings_interval([np.ones((1, 4))], mean).high)
    assert np.isnan(seeds_intervals_of_means([np.ones((1, 4, 2))])[0].low)


def test_many_means_at_once_have_the_intervals_of_each():
    generator = np.random.default_rng(0)
    stacked = [generator.standard_normal((6, 9, 2)), generator.standard_normal((6, 5, 2)) + 1]
    together = seeds_intervals_of_means(stacked, resamples=4000)
    for figure in range(2):
        alone = seeds_interval([matrix[..., figure] for matrix in stacked], mean, resamples=4000)
        width = alone.high - alone.low
        assert together[figure].estimate == pytest.approx(alone.estimate)
        assert together[figure].low == pytest.approx(alone.low, abs=0.08 * width)
        assert together[figure].high == pytest.approx(alone.high, abs=0.08 * width)


def test_means_leave_out_what_does_not_exist():
    values = np.ones((3, 4, 1))
    values[0, :, 0] = np.nan
    assert seeds_intervals_of_means([values])[0].estimate == 1.0


def rliable():
    try:
        from rliable import library, metrics
    except (ImportError, TypeError) as error:  # its dependency arch does not import beside pandas 3
        pytest.skip(f"rliable cannot be imported: {error}")
    return library, metrics


def test_the_interval_over_seeds_is_that_of_rliable_at_the_expanded_level():
    library, metrics = rliable()
    scores = np.random.default_rng(0).normal(loc=np.linspace(0.2, 0.8, 6), scale=0.1, size=(5, 6))
    from statistics import NormalDist

    normal = NormalDist()
    level = 2 * normal.cdf(normal.inv_cdf(0.975) * np.sqrt(5 / 4)) - 1
    _, theirs = library.get_interval_estimates(
        {"a": scores},
        lambda values: np.array([metrics.aggregate_iqm(values)]),
        reps=4000,
        confidence_interval_size=level,
        random_state=np.random.RandomState(1),
    )
    low, high = theirs["a"][:, 0]
    ours = seeds_interval([scores], interquartile_mean, resamples=4000)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_the_optimality_gap_is_that_of_rliable():
    _, metrics = rliable()
    scores = np.random.default_rng(0).normal(0.8, 0.4, size=(5, 6))
    assert optimality_gap(scores.reshape(-1)) == pytest.approx(metrics.aggregate_optimality_gap(scores))
