from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.folding import hash_fold, zipf_fold
from cloudsched_env.workload.hot_shift import draw_shift_times, shift_shards, shift_stride
from cloudsched_env.workload.tasks import stable_hash
from tests.workload.test_window import episode_of, same_bytes


@pytest.mark.parametrize(("shards", "stride"), [(2, 1), (3, 1), (4, 1), (5, 2), (8, 3), (16, 7), (100, 39)])
def test_stride_is_the_coprime_number_nearest_to_the_golden_section(shards, stride):
    assert shift_stride(shards) == stride


@given(shards=st.integers(2, 200))
def test_jobs_use_all_shards_before_they_return(shards):
    stride = shift_stride(shards)
    assert math.gcd(stride, shards) == 1
    visited = [(k * stride) % shards for k in range(shards)]
    assert sorted(visited) == list(range(shards))
    with pytest.raises(ValueError, match="expected at least 2"):
        shift_stride(1)


@settings(max_examples=80)
@given(
    shards=st.integers(2, 20),
    shifts=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_exactly_the_tasks_after_a_shift_move_within_their_tenant(shards, shifts, seed):
    rng = np.random.default_rng(seed)
    shift_s = np.sort(shifts)
    arrival = rng.uniform(0.0, 65.0, 400)
    arrival[0] = shift_s[0]
    shard = rng.integers(5 * shards, size=400).astype(np.int32)
    moved = shift_shards(shard, arrival, shift_s, shards)
    assert moved.dtype == np.int32
    assert (moved // shards == shard // shards).all()
    past = (arrival[:, None] >= shift_s[None, :]).sum(axis=1)
    assert ((moved != shard) == (past % shards != 0)).all()
    # Jobs of one shard stay together.
    for epoch in set(past.tolist()):
        rows = past == epoch
        assert len(set(zip(shard[rows].tolist(), moved[rows].tolist(), strict=True))) == len(set(shard[rows].tolist()))


def test_shifts_come_at_the_interval_from_a_uniform_start():
    scenario = load_scenario("hot-shift-v1")
    firsts = []
    for seed in range(1000):
        times = draw_shift_times(scenario, np.random.default_rng(seed))
        assert np.diff(times) == pytest.approx(10.0)
        assert len(times) in (6, 7)
        assert 0 <= times[0] < 10
        assert times[-1] < 65 <= times[-1] + 10
        firsts.append(times[0])
    assert np.quantile(firsts, [0.25, 0.5, 0.75]) == pytest.approx([2.5, 5, 7.5], abs=0.6)


def test_an_episode_with_shifts_differs_in_shards_only_and_from_the_first_shift_on():
    still = load_scenario("hot-shift-v1", {"workload.hot_shift_interval_s": 0.0})
    shifting = load_scenario("hot-shift-v1")
    for seed in range(5):
        one, other = episode_of(still, seed=seed), episode_of(shifting, seed=seed)
        assert "hot_shift_s" not in one.details
        shifts = np.array(other.details["hot_shift_s"])
        assert ((one.shard != other.shard) == (one.arrival_s >= shifts[0])).all()
        for name in ("arrival_s", "cores", "base_time_s", "cacheable_read_mb", "write_mb", "shard_hot_set_mb"):
            assert (getattr(one, name) == getattr(other, name)).all()
        assert (one.shard_homes == other.shard_homes).all()


def test_a_shift_leaves_the_hot_shards_cold():
    """Of the work on the shards that were hottest before a shift, little is left there after it."""
    kept = []
    for seed in range(20):
        episode = episode_of(load_scenario("hot-shift-v1"), seed=seed)
        shift = episode.details["hot_shift_s"][1]
        before = (episode.arrival_s >= shift - 10) & (episode.arrival_s < shift)
        after = (episode.arrival_s >= shift) & (episode.arrival_s < shift + 10)
        for tenant in range(12):
            rows = episode.tenant == tenant
            counts = [np.bincount(episode.shard[rows & when] % 16, minlength=16) for when in (before, after)]
            if min(c.sum() for c in counts) >= 20:
                hot = np.argsort(-counts[0])[:3]
                kept.append([c[hot].sum() / c.sum() for c in counts])
    share_before, share_after = np.mean(kept, axis=0)
    assert share_before > 0.75
    assert share_after < 0.25


def test_without_shifts_and_skew_nothing_is_drawn_and_shards_are_hashed_evenly():
    scenario = load_scenario("paper-v1")
    rng = np.random.default_rng(0)
    assert draw_shift_times(scenario, rng).size == 0
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
    values = stable_hash(f"name {i}" for i in range(500))
    assert (zipf_fold(values, 3, 8, 0.0) == hash_fold(values, 3, 8)).all()
    zero = scenario.override({"workload.shard_skew": 0.0, "workload.hot_shift_interval_s": 0.0})
    assert same_bytes(episode_of(scenario), episode_of(zero))


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.5, 2.5])
def test_the_zipf_exponent_is_recovered(exponent):
    values = stable_hash(f"name {i}" for i in range(60_000))
    counts = np.bincount(zipf_fold(values, 11, 16, exponent), minlength=16)
    ranks = np.arange(1, 17)
    # Maximum likelihood: the exponent at which the expected log rank is the observed one.
    observed = counts @ np.log(ranks) / counts.sum()
    grid = np.linspace(0, 4, 4001)
    weights = ranks[None, :] ** -grid[:, None]
    expected = (weights @ np.log(ranks)) / weights.sum(axis=1)
    assert grid[np.abs(expected - observed).argmin()] == pytest.approx(exponent, abs=0.03)


@given(buckets=st.integers(1, 300), exponent=st.floats(0.0, 10.0), salt=st.integers(0, 2**63 - 1))
def test_folding_stays_in_range_and_equal_hashes_share_a_bucket(buckets, exponent, salt):
    values = np.array([0, 1, 2**64 - 1, 2**63, 5, 5], dtype=np.uint64)
    folded = zipf_fold(values, salt, buckets, exponent)
    assert folded.dtype == np.int32
    assert folded.min() >= 0
    assert folded.max() < buckets
    assert folded[4] == folded[5]
    assert (folded == zipf_fold(values, salt, buckets, exponent)).all()


def test_skew_of_an_episode_follows_the_exponent():
    shares = []
    for exponent in (0.0, 1.0, 3.0):
        episode = episode_of(load_scenario("paper-v1", {"workload.shard_skew": exponent}))
        shares.append(np.mean(episode.shard % 8 == 0))
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.7
