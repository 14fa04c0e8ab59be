from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.workload import assumptions
from cloudsched_env.workload.index import TraceIndex
from cloudsched_env.workload.scaling import scale_to_target
from cloudsched_env.workload.tasks import stable_hash
from cloudsched_env.workload.window import (
    InfeasibleWindowError,
    assign_schedulers,
    build_episode,
    fan_out_limit,
    hash_fold,
    target_tasks,
    thin_by_job,
    warp_arrivals,
    window_length_s,
)
from tests.workload.streams import stream

STREAM = stream()


def episode_of(scenario: Scenario, start_s: float = 3600.0, seed: int = 0):
    tasks = TraceIndex(STREAM, fan_out_limit(scenario)).cut(start_s, window_length_s(scenario))
    return build_episode(tasks, scenario, np.random.default_rng(seed), "excerpt", {})


def same_bytes(one, other) -> bool:
    return all(
        getattr(one, f.name).tobytes() == getattr(other, f.name).tobytes()
        for f in dataclasses.fields(one)
        if isinstance(getattr(one, f.name), np.ndarray)
    )


def check_episode(scenario: Scenario, episode) -> None:
    """Everything that the contract of `Episode` promises."""
    w, cluster = scenario.workload, scenario.cluster
    capacity = sum(t.count * t.cores for t in cluster.compute_nodes)
    work = episode.cores * episode.base_time_s
    assert work.sum() == pytest.approx(w.cpu_load * capacity * scenario.duration_s, rel=1e-9)
    assert 1 <= episode.tasks <= target_tasks(scenario)
    assert (np.diff(episode.arrival_s) >= 0).all()
    assert episode.arrival_s[0] >= 0
    assert episode.arrival_s[-1] < scenario.duration_s
    assert ((episode.base_time_s >= w.minimum_base_time_s) & (episode.base_time_s <= w.maximum_base_time_s)).all()
    assert ((episode.cores >= w.minimum_cores) & (episode.cores <= w.maximum_cores)).all()
    smallest = min(t.memory_gb for t in cluster.compute_nodes)
    assert (episode.memory_gb > 0).all()
    assert (episode.memory_gb <= 0.45 * smallest).all()
    bandwidth = scenario.storage.bandwidth_mb_per_s * cluster.storage_nodes * scenario.duration_s
    reads = episode.cacheable_read_mb + episode.scan_read_mb
    assert reads.sum() == pytest.approx(w.read_load * bandwidth, rel=1e-9)
    assert (episode.tenant == episode.shard // w.shards_per_tenant).all()
    assert episode.shard.min() >= 0
    assert episode.shard.max() < scenario.shards
    assert np.bincount(episode.job).max() <= w.fan_out_cap
    assert set(np.unique(episode.job)) == set(range(episode.job.max() + 1))
    assert episode.shard_replicas.shape == (scenario.shards, w.replicas)
    assert episode.shard_homes.shape == (scenario.shards, w.home_nodes)
    for rows, count in ((episode.shard_replicas, cluster.storage_nodes), (episode.shard_homes, scenario.compute_count)):
        assert all(len(set(row)) == len(row) for row in rows.tolist())
        assert 0 <= rows.min() <= rows.max() < count
    assert set(episode.tenant_scheduler.tolist()) == set(range(cluster.schedulers))
    limits = 1000 * np.array([scenario.cache.hot_set_minimum_gb, scenario.cache.hot_set_maximum_gb])
    assert ((episode.shard_hot_set_mb >= limits[0]) & (episode.shard_hot_set_mb <= limits[1])).all()
    changes = episode.background_step, episode.background_node, episode.background_share
    assert len({len(column) for column in changes}) == 1
    assert (len(changes[0]) > 0) <= scenario.background.enabled
    for column, low, high in zip(
        changes, (0, 0, 1e-9), (scenario.time.horizon_steps - 1, scenario.compute_count - 1, 1), strict=True
    ):
        assert ((column >= low) & (column <= high)).all()
    assert (np.diff(episode.background_step) >= 0).all()
    for field in dataclasses.fields(episode):
        column = getattr(episode, field.name)
        if isinstance(column, np.ndarray):
            expected = (np.int64,) if field.name == "background_step" else (np.float64, np.int32)
            assert column.dtype in expected, field.name
            assert np.isfinite(column).all(), field.name


@pytest.mark.parametrize("name", ["paper-v1", "tiny-v1"])
def test_named_scenarios_give_valid_episodes_at_exact_load(name):
    scenario = load_scenario(name)
    episode = episode_of(scenario)
    check_episode(scenario, episode)
    assert episode.details["offered_load"]["cpu"] == pytest.approx(scenario.workload.cpu_load, rel=1e-9)
    assert episode.details["offered_load"]["memory"] == pytest.approx(scenario.workload.memory_load, rel=1e-9)
    assert episode.details["offered_load"]["read"] == pytest.approx(scenario.workload.read_load, rel=1e-9)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    tenants=st.integers(1, 20),
    shards=st.integers(1, 9),
    replicas=st.integers(1, 2),
    homes=st.integers(1, 2),
    rate=st.floats(2.0, 40.0),
    cap=st.integers(1, 50),
    load=st.floats(0.05, 1.2),
    warp=st.floats(0.0, 1.0),
    error=st.floats(0.0, 2.0),
    phase=st.floats(0.2, 30.0),
    reads=st.floats(0.0, 3.0),
    compression=st.floats(5.0, 200.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_scenario_gives_a_valid_episode_unless_no_base_times_give_its_load(
    tenants, shards, replicas, homes, rate, cap, load, warp, error, phase, reads, compression, seed
):
    scenario = load_scenario("tiny-v1").override(
        {
            "workload.tenants": tenants,
            "workload.shards_per_tenant": shards,
            "workload.replicas": replicas,
            "workload.home_nodes": homes,
            "workload.task_rate_per_s": rate,
            "workload.fan_out_cap": cap,
            "workload.cpu_load": load,
            "workload.arrival_warp": warp,
            "workload.estimate_error": error,
            "workload.phase_minimum_s": phase,
            "workload.phase_maximum_s": 2 * phase,
            "workload.read_load": reads,
            "workload.time_compression": compression,
        }
    )
    # Requests lie between 0.25 and 4 cores and base times between 0.3 and 12 s, so that these counts always do.
    w = scenario.workload
    available = len(TraceIndex(STREAM, fan_out_limit(scenario)).cut(3600.0, window_length_s(scenario)).job)
    limit = target_tasks(scenario)
    kept = available if available <= limit else limit - fan_out_limit(scenario)
    wanted = w.cpu_load * 12.0 * scenario.duration_s
    feasible = w.minimum_base_time_s * w.maximum_cores * limit <= wanted
    feasible &= wanted <= w.maximum_base_time_s * w.minimum_cores * kept
    try:
        episode = episode_of(scenario, seed=seed)
    except InfeasibleWindowError:
        assert not feasible
    else:
        check_episode(scenario, episode)


@settings(max_examples=100)
@given(
    values=st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=60),
    share=st.floats(0.0, 1.0),
    low=st.floats(1e-3, 10.0),
    width=st.floats(1.0, 1e3),
    seed=st.integers(0, 1000),
)
def test_scaling_meets_any_reachable_target_and_keeps_order(values, share, low, width, seed):
    values = np.array(values)
    weights = np.random.default_rng(seed).uniform(0.1, 4.0, len(values))
    high = low * width
    target = weights.sum() * (low + share * (high - low))
    scaled = scale_to_target(values, weights, low, high, target)
    assert weights @ scaled == pytest.approx(target, rel=1e-9)
    assert ((scaled >= low) & (scaled <= high)).all()
    order = np.argsort(values)
    assert (np.diff(scaled[order]) >= 0).all()
    free = (scaled > low * (1 + 1e-9)) & (scaled < high * (1 - 1e-9))
    if free.any():
        factors = scaled[free] / values[free]
        assert factors.max() == pytest.approx(factors.min(), rel=1e-9)


def test_scaling_stops_at_the_limits_when_the_target_is_out_of_reach():
    values, weights = np.array([1.0, 5.0]), np.array([1.0, 2.0])
    assert scale_to_target(values, weights, 0.5, 4.0, 100.0).tolist() == [4.0, 4.0]
    assert scale_to_target(values, weights, 0.5, 4.0, 0.1).tolist() == [0.5, 0.5]


def test_too_few_tasks_for_the_load_are_refused_with_a_remedy():
    scenario = load_scenario("tiny-v1").override({"workload.task_rate_per_s": 0.3})
    with pytest.raises(InfeasibleWindowError, match=r"too few tasks; raise workload\.time_compression"):
        episode_of(scenario)


def test_the_same_generator_state_gives_the_same_bytes_and_another_seed_does_not():
    scenario = load_scenario("paper-v1")
    assert same_bytes(episode_of(scenario, seed=7), episode_of(scenario, seed=7))
    assert not same_bytes(episode_of(scenario, seed=7), episode_of(scenario, seed=8))


def test_a_window_holds_the_first_tasks_of_each_job_up_to_the_cap():
    cap, start, length = 4, 5000.0, 2000.0
    window = TraceIndex(STREAM, cap).cut(start, length)
    inside = (STREAM.arrival_s >= start) & (STREAM.arrival_s < start + length)
    expected = {}
    for job, arrival in zip(STREAM.job[inside], STREAM.arrival_s[inside], strict=True):
        expected.setdefault(job, [])
        if len(expected[job]) < cap:
            expected[job].append(arrival - start)
    found = {}
    for job, offset in zip(window.job, window.offset_s, strict=True):
        found.setdefault(job, []).append(offset)
    assert found == expected
    assert max(len(v) for v in found.values()) == cap


def test_gaps_of_the_trace_are_filled_as_declared():
    window = TraceIndex(STREAM, len(STREAM)).cut(0.0, 6 * 3600.0)
    assert len(window.job) == len(STREAM)
    never_ran = np.isnan(STREAM.duration_s)
    assert (window.duration_s[never_ran] == 500.0).all()
    cut_off = STREAM.censored & ~never_ran
    assert cut_off.any()
    assert window.duration_s[cut_off] == pytest.approx(2 * STREAM.duration_s[cut_off])
    assert (window.cpu_request[np.isnan(STREAM.cpu_cores)] == 0.03).all()
    known = ~np.isnan(STREAM.cpu_cores)
    assert window.cpu_request[known] == pytest.approx(STREAM.cpu_cores[known] / 16)


@given(sizes=st.lists(st.integers(1, 16), min_size=1, max_size=50), limit=st.integers(16, 300), seed=st.integers(0, 99))
def test_thinning_keeps_whole_jobs_and_stops_only_when_the_next_would_not_fit(sizes, limit, seed):
    job = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    kept = thin_by_job(job, limit, np.random.default_rng(seed))
    left = np.bincount(job[kept], minlength=len(sizes))
    assert all(n in (0, size) for n, size in zip(left.tolist(), sizes, strict=True))
    assert kept.sum() <= limit
    if sum(sizes) <= limit:
        assert kept.all()
    else:
        assert kept.sum() > limit - max(sizes)


def test_thinning_prefers_no_job():
    job = np.repeat(np.arange(40), 5)
    chosen = np.zeros(40)
    for seed in range(400):
        chosen += np.bincount(job[thin_by_job(job, 100, np.random.default_rng(seed))], minlength=40) > 0
    # Binomial(400, 1/2): standard deviation 10.
    assert abs(chosen - 200).max() < 45


def test_warp_interpolates_between_the_trace_and_an_even_flow_of_work():
    arrival, work = np.array([1.0, 1.0, 5.0, 9.0]), np.array([2.0, 2.0, 4.0, 2.0])
    assert warp_arrivals(arrival, work, 10.0, 0.0).tolist() == [1.0, 1.0, 5.0, 9.0]
    assert warp_arrivals(arrival, work, 10.0, 1.0).tolist() == [0.0, 2.0, 4.0, 8.0]
    assert warp_arrivals(arrival, work, 10.0, 0.5) == pytest.approx([0.5, 1.5, 4.5, 8.5])


@given(loads=st.lists(st.integers(0, 50), min_size=1, max_size=30), data=st.data())
def test_tenants_are_balanced_and_every_scheduler_owns_one(loads, data):
    schedulers = data.draw(st.integers(1, len(loads)))
    owner = assign_schedulers(np.array(loads), schedulers)
    totals = np.bincount(owner, weights=loads, minlength=schedulers)
    assert set(owner.tolist()) == set(range(schedulers))
    # Graham's bound for list scheduling: the fullest exceeds the mean by less than one largest tenant.
    assert totals.max() <= sum(loads) / schedulers + max(loads)


def test_deadlines_follow_the_class():
    episode = episode_of(load_scenario("paper-v1"))
    for slo, slowdown, offset in ((0, 1.5, 0.5), (1, 2.0, 1.0), (2, 4.0, 2.0)):
        rows = episode.slo_class == slo
        assert rows.any()
        assert episode.deadline_s[rows] == pytest.approx(slowdown * episode.base_time_s[rows] + offset)


def test_estimates_are_unbiased_and_exact_without_error():
    scenario = load_scenario("paper-v1")
    ratios = [(e.estimated_time_s / e.base_time_s) for e in (episode_of(scenario, seed=s) for s in range(20))]
    ratio = np.concatenate(ratios)
    assert np.std(np.log(ratio)) == pytest.approx(scenario.workload.estimate_error, rel=0.02)
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    exact = episode_of(scenario.override({"workload.estimate_error": 0.0}))
    assert (exact.estimated_time_s == exact.base_time_s).all()
    assert exact.estimated_read_mb == pytest.approx(exact.cacheable_read_mb + exact.scan_read_mb)


def test_phases_alternate_and_shape_reads_and_writes():
    phases = {"workload.phase_minimum_s": 8.0, "workload.phase_maximum_s": 14.0}
    scenario = load_scenario("paper-v1").override({"workload.antiphase_probability": 0.0, **phases})
    episode = episode_of(scenario)
    reads = episode.cacheable_read_mb + episode.scan_read_mb
    scan_share = np.round(episode.scan_read_mb / reads, 9)
    assert set(scan_share.tolist()) == {0.05, 0.5}
    in_scan = scan_share == 0.5
    switches = np.flatnonzero(np.diff(in_scan.astype(int)))
    times = episode.arrival_s[switches]
    assert (np.diff(times) > 8.0 - 0.5).all()
    assert (np.diff(times) < 14.0 + 0.5).all()
    work = episode.cores * episode.base_time_s
    read_ratio = (reads[in_scan].sum() / work[in_scan].sum()) / (reads[~in_scan].sum() / work[~in_scan].sum())
    write_ratio = episode.write_mb[~in_scan].sum() / work[~in_scan].sum()
    write_ratio /= episode.write_mb[in_scan].sum() / work[in_scan].sum()
    assert read_ratio == pytest.approx(1.6 / 0.5, rel=0.15)
    assert write_ratio == pytest.approx(24.0, rel=0.15)


def test_a_tenant_in_antiphase_stays_so_for_the_whole_episode():
    scenario = load_scenario("paper-v1").override({"workload.antiphase_probability": 1.0})
    opposite = episode_of(scenario, seed=3)
    plain = episode_of(scenario.override({"workload.antiphase_probability": 0.0}), seed=3)
    share = [np.round(e.scan_read_mb / (e.scan_read_mb + e.cacheable_read_mb), 9) for e in (plain, opposite)]
    assert share[0] + share[1] == pytest.approx(0.55)


def test_folding_depends_on_the_salt_and_is_even():
    values = stable_hash([f"user {i}" for i in range(20_000)])
    folded = hash_fold(values, 5, 8)
    assert (folded == hash_fold(values, 5, 8)).all()
    assert np.mean(folded == hash_fold(values, 6, 8)) == pytest.approx(1 / 8, abs=0.02)
    assert np.bincount(folded, minlength=8) == pytest.approx(np.full(8, 2500), rel=0.08)


def test_string_hashes_are_stable_across_versions():
    # BLAKE2b-64 of the UTF-8 bytes, little endian, computed with `b2sum -l 64`.
    assert stable_hash(["", "user"]).tolist() == [
        int.from_bytes(bytes.fromhex("e4a6a0577479b2b4"), "little"),
        int.from_bytes(bytes.fromhex(USER_DIGEST), "little"),
    ]


USER_DIGEST = "afdf5c9a7bd48d63"


def test_constants_name_what_is_synthetic():
    columns = " ".join(assumptions.SYNTHETIC_COLUMNS)
    for name in ("cacheable_read_mb", "write_mb", "deadline_s", "estimated_time_s", "shard_replicas"):
        assert name in columns
