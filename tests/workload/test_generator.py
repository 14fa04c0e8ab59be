from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cloudsched_env.workload.generator import draw_job_arrivals, generate_window
from cloudsched_env.workload.profile import Marginal, load_profile

PROFILE = load_profile()
HOUR_S = 3600.0


def windows(count: int = 60, length_s: float = 3900.0, least: float = 0.0, cap: int = 16):
    return [generate_window(PROFILE, length_s, least, cap, np.random.default_rng(seed)) for seed in range(count)]


@pytest.fixture(scope="module")
def drawn():
    return windows()


def stratum_of(window):
    _, first, size = np.unique(window.job, return_index=True, return_counts=True)
    return window.slo_class[first], size, first


@pytest.mark.parametrize("place", range(len(PROFILE.strata)))
@pytest.mark.parametrize("column", ["cpu_request", "memory_gb", "duration_s"])
def test_marginals_of_each_stratum_are_those_of_the_profile(drawn, place, column):
    entry = PROFILE.strata[place]
    several = entry.tasks.values[-1] > 1
    # One value a logical name: jobs of a name are alike by design, and users weigh on all their names, so that the
    # effective sample is far smaller than the number of jobs; average over 60 windows.
    values = []
    for w in drawn:
        slo, size, first = stratum_of(w)
        rows = first[(slo == entry.slo_class) & ((size > 1) == several)]
        _, own = np.unique(w.name[rows], return_index=True)
        values.append(getattr(w, column)[rows[own]])
    found = np.concatenate(values)
    expected = getattr(entry, column).at(np.random.default_rng(0).standard_normal(20_000))
    # Single tasks have no spread within the job; with several, the first task's run time has some.
    assert stats.ks_2samp(found, np.maximum(expected, found.min())).statistic < 0.13


def test_a_marginal_steps_or_interpolates():
    steps = Marginal(np.array([-1.0, 1.0]), np.array([0.1, 0.2, 0.5]), True)
    assert steps.at(np.array([-5.0, 0.0, 0.99, 1.01])).tolist() == [0.1, 0.2, 0.2, 0.5]
    smooth = Marginal(np.array([-1.0, 1.0]), np.array([1.0, 100.0]), False)
    assert smooth.at(np.array([-3.0, 0.0, 1.0])) == pytest.approx([1.0, 10.0, 100.0])


def test_jobs_come_at_the_rate_of_the_profile():
    expected = PROFILE.sessions_per_s * float(PROFILE.user_share @ PROFILE.user_session_jobs)
    counts = [len(draw_job_arrivals(PROFILE, 12 * HOUR_S, 1.0, np.random.default_rng(s))[0]) for s in range(30)]
    error = np.std(counts) / np.sqrt(len(counts))
    assert abs(np.mean(counts) - expected * 12 * HOUR_S) < 4 * error


def test_jobs_come_in_bursts_at_every_scale():
    def dispersion(scale):
        found = []
        for seed in range(8):
            arrival = draw_job_arrivals(PROFILE, 12 * HOUR_S, 1.0, np.random.default_rng(seed))[0]
            counts = np.histogram(arrival, np.arange(0, 12 * HOUR_S + 1, scale))[0]
            found.append(counts.var() / counts.mean())
        return np.mean(found)

    # Variance / mean of job counts in the train hours of the trace (docs/workload.md); Poisson has 1 at all scales.
    for scale, real in ((1.0, 1.9), (10.0, 2.4), (60.0, 4.3), (300.0, 9.4)):
        assert 0.65 * real < dispersion(scale) < 1.5 * real


def test_users_and_names_are_as_skewed_as_in_the_trace(drawn):
    top, own = [], []
    for w in drawn:
        users = np.sort(np.unique(w.user, return_counts=True)[1])[::-1]
        top.append(users[:5].sum() / users.sum())
        _, _, first = stratum_of(w)
        names = np.unique(w.name[first], return_counts=True)[1]
        own.append((names == 1).sum() / names.sum())
    assert np.mean(top) == pytest.approx(0.584, abs=0.08)
    assert np.mean(own) == pytest.approx(0.51, abs=0.06)


def test_jobs_of_one_name_are_alike(drawn):
    w = drawn[0]
    _, _, first = stratum_of(w)
    for name in np.unique(w.name[first])[:300]:
        rows = w.name == name
        assert len(np.unique(w.user[rows])) == 1
        assert len(np.unique(w.cpu_request[rows])) == 1
        assert len(np.unique(w.slo_class[rows])) == 1


def test_tasks_of_a_job_arrive_together_and_no_job_exceeds_the_cap():
    for cap in (1, 16, 200):
        w = windows(1, cap=cap)[0]
        _, size, first = stratum_of(w)
        assert size.max() == cap
        assert (w.offset_s == w.offset_s[first][np.unique(w.job, return_inverse=True)[1]]).all()
        assert (np.diff(w.offset_s) >= 0).all()


@pytest.mark.parametrize("wanted", [500.0, 10_000.0, 60_000.0])
def test_a_larger_community_is_drawn_where_more_tasks_are_wanted(wanted):
    counts = [len(w.job) for w in windows(12, least=wanted)]
    assert np.mean(counts) > 0.85 * wanted
    natural = np.mean([len(w.job) for w in windows(12)])
    if wanted < natural:
        assert counts == [len(w.job) for w in windows(12)]


def test_profile_declares_where_it_comes_from_and_holds_no_rows():
    provenance = PROFILE.provenance
    assert "CC-BY 4.0" in provenance["licence"]
    assert provenance["fitted_on_s"][1] <= 12 * HOUR_S
    assert PROFILE.user_share.sum() == pytest.approx(1.0)
    assert np.all(np.diff(PROFILE.user_share) <= 0)


def test_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of alibaba2017, .*google2011, "):
        load_profile("alibaba")
