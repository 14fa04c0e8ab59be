"""Nested clusters have the dispersion that their formula says, and the fit finds those that a trace has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.workload.burstiness import DISPERSION_SCALES_S, dispersion_within_blocks, index_of_dispersion
from cloudsched_env.workload.clusters import (
    FIT_SCALES_S,
    SPANS_S,
    ClusterLevel,
    draw_clusters,
    expected_dispersion,
    fit_levels,
    slow_dispersion,
)

LEVELS = tuple(ClusterLevel(s, m) for s, m in zip(SPANS_S, (1.5, 1.1, 1.2, 1.4, 1.8), strict=True))
RATE, LENGTH_S = 0.3, 36_000.0


def arrivals(levels, seed, rate=RATE):
    rng = np.random.default_rng(seed)
    mean = float(np.prod([level.mean_children for level in levels]))
    lead = sum(level.span_s for level in levels)
    start = rng.uniform(-lead, LENGTH_S, rng.poisson(rate / mean * (LENGTH_S + lead)))
    time, _ = draw_clusters(levels, start, rng)
    return time[(time >= 0) & (time < LENGTH_S)]


def test_dispersion_of_drawn_clusters_is_the_expected_one():
    found = np.array(
        [[index_of_dispersion(arrivals(LEVELS, seed), LENGTH_S, s) for s in DISPERSION_SCALES_S] for seed in range(60)]
    )
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected_dispersion(LEVELS, DISPERSION_SCALES_S)) < 4.5 * error).all()
    assert expected_dispersion(LEVELS, DISPERSION_SCALES_S)[-1] > 4


def test_clusters_of_one_are_a_poisson_process():
    single = tuple(ClusterLevel(span, 1.0) for span in SPANS_S)
    assert expected_dispersion(single, DISPERSION_SCALES_S) == pytest.approx(np.ones(4))
    levels = fit_levels([1.0] * 5, FIT_SCALES_S, 3600.0)
    assert [level.mean_children for level in levels] == pytest.approx([1.0] * 5)


def test_one_level_is_the_textbook_neyman_scott_process():
    # Geometric number of children with mean m, uniform in [0, T]: Var N(s) / E N(s) = 1 + 2 (m - 1) E(1 - |d| / s)^+,
    # and for s > T the mean is 1 - T / (3 s).
    level, mean, scale = ClusterLevel(10.0, 3.0), 3.0, 60.0
    expected = 1.0 + 2.0 * (mean - 1.0) * (1.0 - 10.0 / (3.0 * scale))
    assert expected_dispersion([level], [scale])[0] == pytest.approx(expected, rel=0.005)


@settings(max_examples=60)
@given(
    means=st.lists(st.floats(1.0, 4.0), min_size=5, max_size=5),
    clustered=st.floats(0.3, 1.0),
    block_s=st.sampled_from([1800.0, 3600.0, 7200.0]),
)
def test_fit_finds_the_clusters_that_give_a_dispersion(means, clustered, block_s):
    levels = tuple(ClusterLevel(s, m) for s, m in zip(SPANS_S, means, strict=True))
    free, whole = (expected_dispersion(levels, scales, clustered) for scales in (FIT_SCALES_S, [block_s]))
    bins = block_s / np.array(FIT_SCALES_S)
    found = fit_levels((bins * free - whole) / (bins - 1), FIT_SCALES_S, block_s, clustered)
    assert [level.mean_children for level in found] == pytest.approx(means, rel=1e-3)


@settings(max_examples=40)
@given(st.lists(st.floats(0.2, 300.0), min_size=5, max_size=5))
def test_any_dispersion_gives_clusters_that_can_be_drawn(dispersion):
    for level in fit_levels(dispersion, FIT_SCALES_S, 3600.0):
        assert level.mean_children >= 1.0
        assert np.isfinite(level.mean_children)


def test_unmeasured_scales_are_left_out_of_the_fit():
    levels = fit_levels([2.0, 2.0, float("nan"), float("nan")], DISPERSION_SCALES_S, 3600.0)
    assert expected_dispersion(levels, [1.0, 10.0]) == pytest.approx([2.0, 2.0], rel=0.01)


@pytest.mark.parametrize("block_s", [3600.0, LENGTH_S])
def test_a_slow_factor_adds_what_its_formula_says(block_s):
    rate, squared_cv, bin_s, scale = 0.5, 0.4, 3600.0, 300.0
    found = []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        edges = np.unique(np.concatenate(([0.0, LENGTH_S], np.arange(bin_s * rng.random(), LENGTH_S, bin_s))))
        factor = rng.gamma(1 / squared_cv, squared_cv, len(edges) - 1)
        counts = rng.poisson(rate * factor * np.diff(edges))
        times = np.concatenate([rng.uniform(a, b, n) for a, b, n in zip(edges, edges[1:], counts, strict=False)])
        found.append(dispersion_within_blocks(times, LENGTH_S, scale, block_s) * len(times))
    # The index divides by each realisation's own mean; weighting by it removes that.
    mean = np.mean(found) / (rate * LENGTH_S)
    expected = 1.0 + rate * squared_cv * slow_dispersion(scale, bin_s, block_s)
    assert mean == pytest.approx(expected, rel=0.1)
    assert expected > 10


def test_owners_tell_which_jobs_came_together():
    rng = np.random.default_rng(0)
    start = np.array([0.0, 1000.0, 2000.0])
    time, owners = draw_clusters(LEVELS, start, rng)
    assert len(owners) == len(LEVELS)
    for level, owner in zip(reversed(LEVELS), owners, strict=True):
        assert (np.diff(owner) >= 0).all()
        spans = [np.ptp(time[owner == k]) for k in np.unique(owner)]
        below = sum(entry.span_s for entry in LEVELS if entry.span_s <= level.span_s)
        assert max(spans) <= below
    assert (np.abs(time - start[owners[0]]) <= sum(SPANS_S)).all()
