"""Disks of a block trace on the storage nodes of an episode."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.evaluation.protocol import evaluate
from cloudsched_env.scenario import load_scenario
from cloudsched_env.traces.load_table import LoadTable
from cloudsched_env.workload.background import bandwidth_shares, core_shares
from cloudsched_env.workload.source import make_source
from cloudsched_env.workload.storage_load import MOST_SHARE, StorageLoad
from tests.traces.test_task_table import METADATA

SCENARIO = load_scenario("tiny-v1")
STEP_S = SCENARIO.time.step_s * SCENARIO.workload.time_compression


def load_table(traffic, interval_s=10.0, empty=0.0):
    """A table of disks that move so many MB/s in one interval after the other, ``[disks, intervals]``."""
    traffic = np.asarray(traffic, float)
    device, interval = np.nonzero(traffic > empty)
    rates = traffic[device, interval]
    columns = {
        "start_s": interval * interval_s,
        "interval_s": np.full(len(rates), interval_s),
        "device": device.astype(np.int32),
        "read_mb_per_s": 0.25 * rates,
        "write_mb_per_s": 0.75 * rates,
    }
    span = {"span_start_s": 0.0, "span_end_s": interval_s * traffic.shape[1]}
    metadata = dataclasses.replace(METADATA, format="cloudphysics", **span)
    return LoadTable(columns, {"device": tuple(f"disk_{i}" for i in range(len(traffic)))}, metadata)


def shares_taken(load, scenario=SCENARIO, split="train", seed=0):
    episode = make_source(scenario, split).episode(np.random.default_rng(seed))
    loaded = load.add_to(episode, scenario, split, np.random.default_rng(seed))
    np.testing.assert_array_equal(core_shares(scenario, loaded), core_shares(scenario, episode))
    return 1.0 - bandwidth_shares(scenario, loaded), loaded


def test_steady_disks_take_their_mean_share_at_every_step():
    taken, _ = shares_taken(StorageLoad(load_table(np.full((6, 2000), 3.0)), 0.3))
    np.testing.assert_allclose(taken, 0.3, rtol=1e-6)


def test_a_node_loses_what_its_disks_move_when_they_move_it():
    """One disk that works half of the time, one node's share against the trace's own intervals."""
    scenario = load_scenario("tiny-v1", {"cluster.storage_nodes": 1, "workload.replicas": 1})
    busy = (np.arange(4000) // 20) % 2 == 0
    load = StorageLoad(load_table([np.where(busy, 5.0, 0.0)]), 0.25)
    taken, loaded = shares_taken(load, scenario)
    start_s = loaded.details["storage_load"]["window_start_s"][0]
    edges = start_s + np.arange(scenario.time.horizon_steps + 1) * STEP_S
    fine = np.linspace(edges[:-1], edges[1:], 2001)[:-1] + STEP_S / 4000
    end_s = load.splits.train_end_s  # the split repeats from there
    share_busy = busy[((fine % end_s) // 10).astype(int)].mean(axis=0)
    np.testing.assert_allclose(taken[0], 0.25 * share_busy / share_busy.mean(), atol=0.01)


def test_no_node_loses_more_than_nine_tenths_and_the_mean_is_kept():
    rng = np.random.default_rng(0)
    load = StorageLoad(load_table(rng.pareto(1.1, (12, 3000))), 0.3)
    taken, loaded = shares_taken(load)
    assert taken.max() == pytest.approx(MOST_SHARE)
    assert taken.mean() == pytest.approx(0.3, rel=1e-6)
    assert loaded.details["storage_load"]["mean_share"] == pytest.approx(0.3, rel=1e-6)


def test_what_cannot_be_had_is_as_near_as_can_be_and_recorded():
    """A single burst cannot fill the episode's mean, and a stretch without traffic takes nothing."""
    traffic = np.zeros((6, 4000))
    traffic[:, ::400] = 1.0
    _, loaded = shares_taken(StorageLoad(load_table(traffic), 0.5))
    assert loaded.details["storage_load"]["mean_share"] < 0.1
    traffic = np.zeros((6, 4000))
    traffic[:, -1] = 1.0
    taken, loaded = shares_taken(StorageLoad(load_table(traffic), 0.5), split="train")
    assert (taken == 0).all()
    assert loaded.details["storage_load"]["mean_share"] == 0.0


def test_splits_do_not_share_a_stretch_of_the_trace():
    """Disks whose level tells the time: each split sees only its own."""
    levels = np.arange(1.0, 4001.0)
    load = StorageLoad(load_table([levels] * 6), 0.2)
    borders = [0.0, load.splits.train_end_s, load.splits.validation_end_s, 40_000.0]
    for split, first, end in zip(("train", "validation", "test"), borders[:-1], borders[1:], strict=True):
        rates, _ = load._rates(6, 100, SCENARIO, split, np.random.default_rng(1))
        assert rates.min() >= first / 10
        assert rates.max() <= end / 10 + 1


@settings(max_examples=25)
@given(
    disks=st.integers(1, 9),
    intervals=st.integers(1, 60),
    share=st.floats(0.01, 0.8),
    seed=st.integers(0, 2**16),
)
def test_any_table_gives_a_valid_episode(disks, intervals, share, seed):
    rng = np.random.default_rng(seed)
    traffic = rng.exponential(1.0, (disks, intervals)) * (rng.random((disks, intervals)) < 0.5)
    traffic[0, 0] = 1.0
    taken, loaded = shares_taken(StorageLoad(load_table(traffic), share), seed=seed)
    assert ((taken >= 0) & (taken <= MOST_SHARE + 1e-12)).all()
    assert (np.diff(loaded.background_step) >= 0).all()
    assert taken.mean() <= share * (1 + 1e-6)


def test_a_source_with_a_load_changes_nothing_else_and_keeps_it_for_other_scenarios():
    load = StorageLoad(load_table(np.full((6, 2000), 3.0)))
    plain, loaded = make_source("tiny-v1", "test"), make_source("tiny-v1", "test", storage_load=load)
    one, other = plain.evaluation_episodes(1)[0], loaded.evaluation_episodes(1)[0]
    for field in dataclasses.fields(one):
        if not field.name.startswith("background") and field.name != "details":
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    assert loaded.with_scenario(SCENARIO).storage_load is load
    again = make_source("tiny-v1", "test", storage_load=load).evaluation_episodes(1)[0]
    np.testing.assert_array_equal(again.background_share, other.background_share)


def test_agents_feel_the_load_and_results_say_so():
    changes = {"time.horizon_steps": 200, "workload.read_load": 0.6}
    load = StorageLoad(load_table(np.full((6, 2000), 3.0)), 0.7)
    plain = evaluate(["balanced"], "tiny-v1", episodes=3, overrides=changes)
    felt = evaluate(["balanced"], "tiny-v1", episodes=3, overrides=changes, storage_load=load)
    assert felt.agents[0].metrics["team_reward"].mean() < plain.agents[0].metrics["team_reward"].mean() - 0.02
    assert plain.storage_load is None
    assert felt.storage_load["mean_share"] == 0.7


@pytest.mark.parametrize("share", [0.0, -0.1, 0.9, float("nan")])
def test_a_share_that_cannot_be_had_is_refused(share):
    with pytest.raises(ValueError, match=r"mean_share is .*expected more than 0"):
        StorageLoad(load_table([[1.0]]), share)


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="no row"):
        StorageLoad(load_table([[0.0]]))
