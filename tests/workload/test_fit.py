"""A fit finds again what a profile puts into a stream, and keeps the values of a trace as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cloudsched_env.workload.burstiness import DISPERSION_SCALES_S, ks_distance
from cloudsched_env.workload.canonical import generate_trace
from cloudsched_env.workload.clusters import expected_dispersion
from cloudsched_env.workload.comparison import sample_profile, sample_trace
from cloudsched_env.workload.fit import FitConfig, common_share, fit_profile, hour_factors, job_table
from cloudsched_env.workload.kinds import cluster_jobs, k_means
from cloudsched_env.workload.marginal import continuous_marginal, discrete_marginal
from cloudsched_env.workload.normal import normal_quantile, normal_scores
from cloudsched_env.workload.profile import load_profile
from cloudsched_env.workload.repetition import fit_names, repetition
from cloudsched_env.workload.stream_profile import StreamProfile
from cloudsched_env.workload.tasks import RawTasks
from tests.workload.streams import stream


def as_tasks(trace) -> RawTasks:
    return RawTasks.from_columns(
        arrival_s=trace.arrival_s,
        user=trace.user.astype(np.uint64),
        name=trace.name.astype(np.uint64),
        job=trace.job,
        task_index=trace.task_index,
        slo_class=trace.slo_class,
        cpu_cores=trace.cpu_cores,
        memory_gb=trace.memory_gb,
        duration_s=trace.duration_s,
        censored=np.zeros(len(trace), dtype=bool),
        span_s=(0.0, trace.length_s),
        cores_of_largest_machine=trace.machine_cores,
        source="generated",
    )


@pytest.fixture(scope="module")
def google():
    profile = load_profile("google2011-nested")
    trace = generate_trace(profile, 48.0, seed=3)
    jobs = job_table(as_tasks(trace), (0.0, trace.length_s), trace.priority, trace.scheduling_class)
    return profile, trace, fit_profile(jobs, "again", {"source": "test"})


def test_fit_of_a_generated_stream_finds_its_profile_again(google):
    profile, _, data = google
    again = StreamProfile.from_dict(data)
    assert again.jobs_per_s == pytest.approx(profile.jobs_per_s, rel=0.12)
    assert again.tasks_per_job(16) == pytest.approx(profile.tasks_per_job(16), rel=0.1)
    mean = [level.mean_children for level in profile.levels]
    assert [level.mean_children for level in again.levels[:2]] == pytest.approx(mean[:2], rel=0.15)
    # Coarse levels stand in for one another, and for the slow factor; what they do together has to be the same.
    dispersion = expected_dispersion(profile.levels, DISPERSION_SCALES_S, 1.0 - profile.alone)
    found = expected_dispersion(again.levels, DISPERSION_SCALES_S, 1.0 - again.alone)
    assert found[:3] == pytest.approx(dispersion[:3], rel=0.15)
    assert found[3] == pytest.approx(dispersion[3], rel=0.35)  # 48 hours differ by 10 % from the next 48, and more
    assert again.rounds is not None
    assert np.median(again.rounds.interval_s.values) == pytest.approx(
        np.median(profile.rounds.interval_s.values), rel=0.05
    )
    assert again.levels[0].span_s == pytest.approx(profile.levels[0].span_s, rel=0.4)
    assert again.other_user_probability == pytest.approx(profile.other_user_probability, abs=0.1)
    assert again.fresh_name_probability == pytest.approx(profile.fresh_name_probability, abs=0.1)
    assert np.sort(again.user_share)[::-1][:5].sum() == pytest.approx(
        np.sort(profile.user_share)[::-1][:5].sum(), abs=0.06
    )


def test_fit_reproduces_the_marginals_of_what_it_was_fitted_to(google):
    _, trace, data = google
    again = StreamProfile.from_dict(data)
    real = sample_trace(as_tasks(trace), (0.0, trace.length_s), 3600.0, "drawn")
    made = sample_profile(again, 150, 3600.0, np.random.default_rng(0))
    for key in ("cpu_request", "memory_gb", "duration_s", "tasks"):
        assert ks_distance(real.marginal(key), made.marginal(key)) < 0.04, key
    for found, wanted, tolerance in zip(made.dispersion(), real.dispersion(), (0.05, 0.1, 0.2, 0.35), strict=True):
        assert found == pytest.approx(wanted, rel=tolerance)


def test_priorities_go_with_the_share_of_tasks_they_had(google):
    _, trace, data = google
    drawn = generate_trace(StreamProfile.from_dict(data), 48.0, seed=9)
    for priority in (0, 2, 9):
        shares = [np.mean(t.priority[t.first_of_job] == priority) for t in (trace, drawn)]
        assert shares[1] == pytest.approx(shares[0], abs=0.06)


def test_every_drawn_request_pair_is_one_of_the_trace():
    tasks = stream(hours=4.0, jobs_per_s=0.4)
    data = fit_profile(job_table(tasks, (0.0, 4 * 3600.0)), "t", {})
    drawn = generate_trace(StreamProfile.from_dict(data), 1.0, seed=0)
    known = set(np.round(np.append(np.unique(tasks.cpu_cores[~np.isnan(tasks.cpu_cores)]), 0.48), 6).tolist())
    assert set(np.round(drawn.cpu_cores, 6).tolist()) <= known


def test_a_pair_of_a_single_task_is_not_in_the_profile():
    tasks = stream(hours=2.0)
    cpu = tasks.cpu_cores.copy()
    cpu[np.flatnonzero(np.bincount(tasks.job)[tasks.job] == 1)[0]] = 7.77  # a job of one task: no other has the pair
    data = fit_profile(job_table(RawTasks(**{**vars(tasks), "cpu_cores": cpu}), (0.0, 7200.0)), "t", {})
    values = {round(16 * v, 4) for entry in data["kinds"] for v in entry["requests"]["cpu"]}
    assert 7.77 not in values
    assert 8.0 in values


def test_a_fit_is_a_function_of_the_trace():
    tasks = stream(hours=3.0)
    one, other = (fit_profile(job_table(tasks, (0.0, 10_800.0)), "t", {}) for _ in range(2))
    assert json.dumps(one) == json.dumps(other)


def test_only_the_chosen_stretch_enters_the_fit():
    tasks = stream(hours=4.0)
    late = tasks.arrival_s >= 7200.0
    changed = RawTasks(**{**vars(tasks), "duration_s": np.where(late, 1.0, tasks.duration_s)})
    one, other = (fit_profile(job_table(t, (0.0, 7200.0)), "t", {}) for t in (tasks, changed))
    assert one == other


def test_many_users_are_folded():
    tasks = stream(hours=2.0)
    many = RawTasks(**{**vars(tasks), "user": tasks.job.astype(np.uint64)})
    data = fit_profile(job_table(many, (0.0, 7200.0)), "t", {}, FitConfig(most_users=20, folded_users=5))
    assert len(data["users"]["share"]) == 25
    assert sum(data["users"]["share"]) == pytest.approx(1.0, abs=1e-4)


def test_the_hour_of_the_day_is_measured_from_whole_days():
    rng = np.random.default_rng(0)
    factors = 1.0 + 0.5 * np.sin(2 * np.pi * np.arange(24) / 24)
    times = np.concatenate(
        [rng.uniform(3600 * h, 3600 * (h + 1), rng.poisson(3000 * factors[h % 24])) for h in range(60)]
    )
    assert hour_factors(times, 60 * 3600.0, 0.0) == pytest.approx(factors, abs=0.06)
    assert hour_factors(times, 60 * 3600.0, 6.0)[6:] == pytest.approx(factors[:18], abs=0.06)
    assert hour_factors(times[times < 80_000], 80_000.0, 0.0) is None


def test_a_profile_with_hours_of_the_day_is_drawn_with_them():
    data = fit_profile(job_table(stream(hours=2.0), (0.0, 7200.0)), "t", {})
    factors = [0.2] * 12 + [1.8] * 12
    data["arrivals"] |= {"hour_factors": factors, "slow_factor": {"bin_s": 3600.0, "squared_cv": 0.0}}
    trace = generate_trace(StreamProfile.from_dict(data), 48.0, seed=1, start_hour=6.0)
    hour = np.floor(trace.arrival_s[trace.first_of_job] / 3600.0 + 6.0).astype(int) % 24
    counts = np.bincount(hour, minlength=24) / 2
    rate = data["arrivals"]["jobs_per_s"] * 3600
    assert counts[:12].mean() == pytest.approx(0.2 * rate, rel=0.15)
    assert counts[12:].mean() == pytest.approx(1.8 * rate, rel=0.1)


def test_an_empty_stretch_is_refused():
    with pytest.raises(ValueError, match="no task arrives"):
        job_table(stream(hours=1.0), (1e6, 2e6))


def test_k_means_separates_groups_that_are_apart():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    points = 10.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[truth] + rng.normal(size=(200, 2))
    label = k_means(points, 4, np.random.default_rng(1))
    for group in range(4):
        assert len(np.unique(label[truth == group])) == 1
    assert len(np.unique(label)) == 4
    assert k_means(np.zeros((5, 2)), 3, rng).tolist() == [0] * 5


def test_kinds_never_mix_strata():
    rng = np.random.default_rng(0)
    stratum = rng.integers(3, size=300)
    kind = cluster_jobs(stratum, rng.normal(size=(300, 2)), 12, rng)
    for k in np.unique(kind):
        assert len(np.unique(stratum[kind == k])) == 1
    assert kind.max() + 1 == len(np.unique(kind)) > 6


def test_variance_within_groups_is_told_from_that_between():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(400), 10)
    score = np.sqrt(0.7) * rng.normal(size=400)[group] + np.sqrt(0.3) * rng.normal(size=4000)
    assert common_share(score, group) == pytest.approx(0.7, abs=0.05)
    assert common_share(rng.normal(size=4000), group) == pytest.approx(0.0, abs=0.05)


def test_normal_scores_are_those_of_scipy():
    scipy_stats = pytest.importorskip("scipy.stats")
    p = np.concatenate((np.logspace(-8, -1, 50), np.linspace(0.1, 0.9, 50), 1 - np.logspace(-1, -8, 50)))
    assert normal_quantile(p) == pytest.approx(scipy_stats.norm.ppf(p), abs=2e-4)
    scores = normal_scores(np.array([3.0, 1.0, 2.0]), np.random.default_rng(0))
    assert scores == pytest.approx(scipy_stats.norm.ppf([5 / 6, 1 / 6, 0.5]), abs=1e-4)


def test_marginals_give_back_quantiles_and_frequencies():
    from cloudsched_env.workload.marginal import Marginal

    rng = np.random.default_rng(0)
    values = rng.lognormal(3.0, 1.5, 20_000)
    smooth = Marginal.from_dict(continuous_marginal(values))
    assert ks_distance(smooth.at(rng.standard_normal(20_000)), values) < 0.02
    atoms = rng.choice([0.1, 0.25, 4.0], p=[0.5, 0.3, 0.2], size=5000)
    steps = Marginal.from_dict(discrete_marginal(atoms))
    drawn = steps.at(rng.standard_normal(20_000))
    assert [np.mean(drawn == v) for v in (0.1, 0.25, 4.0)] == pytest.approx([0.5, 0.3, 0.2], abs=0.02)
    few = Marginal.from_dict(discrete_marginal(np.array([1.0, 1.0, 2.0, 2.0, 2.1]), most=2))
    assert few.values.tolist() == [1.0, 2.0]


def test_names_are_fitted_to_their_repetition():
    rng = np.random.default_rng(0)
    jobs, length = 4000, 4 * 3600.0
    user, kind = rng.integers(20, size=jobs), rng.integers(3, size=jobs)
    name = (user * 3 + kind) * 4 + rng.integers(4, size=jobs)
    fresh = rng.random(jobs) < 0.4
    name[fresh] = 10_000 + np.arange(fresh.sum())
    times = np.sort(rng.uniform(0, length, jobs))
    found = fit_names(times, user, kind, name, 3600.0, length)
    assert found["fresh_probability"] == pytest.approx(0.4, abs=0.08)
    assert found["recurring"] in (3, 4, 6)
    assert repetition(np.array([1, 1, 2, 3])) == pytest.approx([0.75, 0.5, 0.5, 1.0, 1.0])
