from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cloudsched_env.workload.burstiness import (
    autocorrelation,
    dispersion_within_blocks,
    index_of_dispersion,
    ks_distance,
)

VALUES = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, 7.0]), min_size=1, max_size=40)


@settings(max_examples=200)
@given(VALUES, VALUES)
def test_ks_distance_is_that_of_scipy(one, other):
    a, b = np.array(one), np.array(other)
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_ks_distance_needs_values():
    with pytest.raises(ValueError, match="at least one value"):
        ks_distance(np.array([]), np.array([1.0]))


def test_a_poisson_process_has_dispersion_one_at_every_scale():
    rng = np.random.default_rng(0)
    times = rng.uniform(0, 200_000, rng.poisson(2 * 200_000))
    for scale in (1.0, 10.0, 60.0):
        assert index_of_dispersion(times, 200_000, scale) == pytest.approx(1.0, abs=0.05)


def test_dispersion_counts_by_hand():
    # Bins of 1 s over 4 s: 2, 0, 1, 1 arrivals; variance about the mean of 1 is 2 / 3 with n - 1.
    assert index_of_dispersion(np.array([0.1, 0.2, 2.0, 3.9]), 4.0, 1.0) == pytest.approx(2 / 3)
    # In blocks of 2 s: (2, 0) and (1, 1) have variances 2 and 0, the mean is 1.
    assert dispersion_within_blocks(np.array([0.1, 0.2, 2.0, 3.9]), 4.0, 1.0, 2.0) == pytest.approx(1.0)


def test_what_changes_from_block_to_block_is_left_out():
    rng = np.random.default_rng(0)
    times = np.concatenate([rng.uniform(3600 * k, 3600 * (k + 1), rng.poisson(200 * (1 + k))) for k in range(20)])
    assert index_of_dispersion(times, 72_000, 300.0) > 20
    assert dispersion_within_blocks(times, 72_000, 300.0, 3600.0) == pytest.approx(1.0, abs=0.25)


def test_what_cannot_be_measured_is_nan():
    assert np.isnan(index_of_dispersion(np.array([0.5]), 1.0, 1.0))
    assert np.isnan(index_of_dispersion(np.array([]), 10.0, 1.0))
    assert np.isnan(dispersion_within_blocks(np.array([0.5]), 100.0, 60.0, 60.0))


def test_autocorrelation_is_that_of_the_definition():
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 500, 800))
    counts = np.histogram(times, np.arange(0, 501, 5.0))[0].astype(float)
    centred = counts - counts.mean()
    expected = [(centred[k:] * centred[:-k]).sum() / (centred**2).sum() for k in (1, 2, 3)]
    assert autocorrelation(times, 500.0, 5.0, 3) == pytest.approx(expected)


def test_a_period_shows_in_the_autocorrelation():
    times = np.concatenate([np.full(10, 60.0 * k + 0.5) for k in range(50)])
    found = autocorrelation(times, 3000.0, 10.0, 12)
    assert found[5] > 0.9
    assert found[11] > 0.9
    assert found[2] < 0
