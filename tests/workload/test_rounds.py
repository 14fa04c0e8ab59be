"""Jobs are recorded at rounds or ticks, and a fit finds these where a stream has them, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.workload.canonical import generate_trace
from cloudsched_env.workload.clusters import ClusterLevel, draw_clusters
from cloudsched_env.workload.marginal import continuous_marginal
from cloudsched_env.workload.profile import load_profile
from cloudsched_env.workload.rounds import Rounds, fit_rounds


def submitted(seed=0, count=6000, mean_gap_s=3.0):
    rng = np.random.default_rng(seed)
    start = np.sort(rng.random(count // 2)) * count * mean_gap_s
    levels = (ClusterLevel(0.02, 1.3), ClusterLevel(10.0, 1.4))
    return np.sort(draw_clusters(levels, start, rng)[0])


def rounds(interval_s: float, spread: float, seed=1) -> Rounds:
    rng = np.random.default_rng(seed)
    return Rounds.from_dict(
        {
            "interval_s": continuous_marginal(interval_s * (1.0 + spread * rng.standard_normal(4000))),
            "gap_s": continuous_marginal(rng.exponential(0.004, 4000)),
        }
    )


def test_jobs_are_recorded_at_the_next_round_one_after_the_other():
    sent = submitted()
    every = Rounds.from_dict(
        {
            "interval_s": {"discrete": True, "scores": [], "values": [2.0]},
            "gap_s": {"discrete": True, "scores": [], "values": [0.001]},
        }
    )
    found = every.record(sent, np.random.default_rng(0))
    assert (np.diff(found) > 0).all()
    first = np.diff(found, prepend=-9) > 0.5
    place = np.arange(len(found)) - np.flatnonzero(first)[np.cumsum(first) - 1]
    waited = found - 0.001 * place - sent
    assert ((waited >= 0) & (waited <= 2.0)).all()
    assert waited.mean() == pytest.approx(1.0, abs=0.03)  # of half a round, as times that know nothing of it
    phase = (found[first] - found[0]) / 2.0
    assert phase == pytest.approx(np.rint(phase), abs=1e-6)


def test_a_fit_finds_the_rounds_of_a_stream():
    found = Rounds.from_dict(fit_rounds(rounds(0.8, 0.08).record(submitted(), np.random.default_rng(2)), 0.1))
    grid = (np.arange(99) + 0.5) / 99
    assert np.median(found.interval_s.at_probability(grid)) == pytest.approx(0.8, rel=0.03)
    assert found.interval_s.at_probability(grid).std() == pytest.approx(0.064, rel=0.5)
    assert np.median(found.gap_s.at_probability(grid)) == pytest.approx(0.004 * np.log(2), rel=0.15)


def test_times_without_rounds_have_none():
    assert fit_rounds(submitted(), 0.1) is None
    assert fit_rounds(np.sort(np.random.default_rng(0).random(5000)) * 1000, 0.1) is None
    assert fit_rounds(submitted(count=100), 0.1) is None  # too few to tell


@pytest.mark.parametrize("tick_s", [1.0, 300.0])
def test_the_ticks_of_a_clock_are_rounds_without_time_between_jobs(tick_s):
    times = tick_s * np.floor(submitted(count=3000, mean_gap_s=tick_s) / tick_s)
    found = Rounds.from_dict(fit_rounds(times, 0.1))
    again = found.record(submitted(count=3000, mean_gap_s=tick_s), np.random.default_rng(0))
    gap = np.diff(again)
    assert gap / tick_s == pytest.approx(np.rint(gap / tick_s), abs=1e-6)
    assert (gap == 0).mean() == pytest.approx((np.diff(times) == 0).mean(), abs=0.03)


def test_streams_of_google_have_next_to_no_gaps_between_an_instant_and_a_round():
    trace = generate_trace(load_profile("google2011-nested"), 12.0, seed=1)
    gap = np.diff(trace.arrival_s[trace.first_of_job])
    assert 0.25 < (gap < 0.1).mean() < 0.4
    assert ((gap > 0.1) & (gap < 0.6)).mean() < 0.02
    assert ((gap > 0.6) & (gap < 1.1)).mean() > 0.08
