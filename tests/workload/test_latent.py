"""Gaussian series with memory on several time scales, against formulas that are known."""

import numpy as np
import pytest
from scipy.stats import norm

from cloudsched_env.workload.latent import LatentSeries, fit_latent, lags_up_to, latent_correlation
from cloudsched_env.workload.normal import normal_probability


def test_normal_probability_is_that_of_scipy():
    score = np.linspace(-5, 5, 4001)
    assert normal_probability(score) == pytest.approx(norm.cdf(score), abs=2e-6)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5])
def test_latent_correlation_inverts_the_formula_of_log_normal_values(sigma):
    """exp(sigma Z) of normal variables with correlation r has (exp(sigma^2 r) - 1) / (exp(sigma^2) - 1)."""
    values = np.exp(sigma * norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    correlation = np.array([0.0, 0.2, 0.5, 0.8, 0.95])
    seen = np.expm1(sigma**2 * correlation) / np.expm1(sigma**2)
    assert latent_correlation(values, seen) == pytest.approx(correlation, abs=0.015)


def test_latent_correlation_inverts_the_formula_of_an_indicator():
    """P(both above the median) = 1/4 + arcsin(r) / (2 pi), so that signs have correlation 2 arcsin(r) / pi."""
    correlation = np.array([0.1, 0.5, 0.9])
    seen = 2 * np.arcsin(correlation) / np.pi
    assert latent_correlation(np.repeat([0.0, 1.0], 50_000), seen) == pytest.approx(correlation, abs=0.02)


def test_values_that_are_all_equal_have_no_latent_correlation():
    assert latent_correlation(np.ones(10), np.array([0.5, 0.2])).tolist() == [0.0, 0.0]


def test_the_fit_of_a_latent_series_finds_the_correlation_it_was_given():
    true = LatentSeries(np.array([2.0, 60.0, 700.0]), np.array([0.3, 0.4, 0.2]))
    lags = lags_up_to(3000)
    found = fit_latent(lags, true.correlation(lags))
    assert np.abs(found.correlation(lags) - true.correlation(lags)).max() < 0.015
    assert found.weights.min() > 0
    assert found.weights.sum() <= 1.0


def test_a_drawn_series_has_its_correlation_and_is_standard_normal():
    series = LatentSeries(np.array([3.0, 50.0]), np.array([0.5, 0.3]))
    values = series.draw(300, 2000, np.random.default_rng(0))
    assert values.shape == (300, 2000)
    assert values.mean() == pytest.approx(0.0, abs=0.02)
    assert (values**2).mean() == pytest.approx(1.0, abs=0.02)
    for lag in (1, 5, 40):
        seen = (values[:, lag:] * values[:, :-lag]).mean()
        assert seen == pytest.approx(series.correlation(np.array([lag]))[0], abs=0.02)
    # Stationary from the first interval on.
    assert (values[:, 0] ** 2).mean() == pytest.approx(1.0, abs=0.25)
