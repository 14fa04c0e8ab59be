from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.flash_crowd import FlashCrowds, draw_flash_crowds
from tests.workload.test_window import check_episode, episode_of, same_bytes


def crowds_of(start_s, length_s, hit, factor, duration_s) -> FlashCrowds:
    return FlashCrowds(np.array(start_s), length_s, np.array(hit), factor, duration_s)


def even(count, duration_s):
    return (np.arange(count) + 0.5) * duration_s / count


@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 50.0])
def test_intensity_inside_is_factor_times_that_outside(factor):
    crowds = crowds_of([10.0, 30.0], 5.0, [[True], [True]], factor, 60.0)
    arrival = even(100_000, 60.0)
    moved = crowds.move(arrival, np.zeros(100_000, dtype=np.int32))
    inside = ((moved >= 10) & (moved < 15)) | ((moved >= 30) & (moved < 35))
    assert (inside.sum() / 10.0) / ((~inside).sum() / 50.0) == pytest.approx(factor, rel=1e-3)
    # Both crowds alike, and the rate is even within each piece.
    counts, _ = np.histogram(moved, bins=[10, 12.5, 15, 30, 32.5, 35])
    assert counts[[0, 1, 3, 4]] == pytest.approx(np.full(4, counts[0]), abs=2)


def test_time_change_by_hand():
    # G(t): slope 1 to 4, slope 3 from 4 to 6, slope 1 to 10; G(10) = 14, so that time runs 1.4 times as fast.
    crowds = crowds_of([4.0], 2.0, [[True]], 3.0, 10.0)
    arrival = np.array([0.0, 2.0, 4.0 / 1.4, 5.0, 10.0 / 1.4, 9.0])
    expected = [0.0, 2.8, 4.0, 4.0 + (7.0 - 4.0) / 3.0, 6.0, 6.0 + (12.6 - 10.0)]
    assert crowds.move(arrival, np.zeros(6, dtype=np.int32)) == pytest.approx(expected)


def test_each_crowd_hits_its_own_tenants_and_leaves_the_others_alone():
    hit = [[True, False, False], [False, True, False]]
    crowds = crowds_of([10.0, 30.0], 5.0, hit, 6.0, 60.0)
    arrival = np.repeat(even(6_000, 60.0), 3)
    tenant = np.tile(np.arange(3, dtype=np.int32), 6_000)
    moved = crowds.move(arrival, tenant)
    rates = [
        [np.sum((moved[tenant == t] >= s) & (moved[tenant == t] < s + 5)) / 500 for s in (10, 30)] for t in range(3)
    ]
    busy, quiet = 6 / (1 + 5 * 5 / 60), 1 / (1 + 5 * 5 / 60)
    assert np.array(rates) == pytest.approx(np.array([[busy, quiet], [quiet, busy], [1, 1]]), rel=0.01)
    assert (moved[tenant == 2] == arrival[tenant == 2]).all()


@settings(max_examples=60)
@given(
    crowds=st.integers(1, 6),
    share_of_time=st.floats(0.01, 1.0),
    factor=st.floats(1.0, 1000.0),
    tenant_share=st.floats(0.0, 1.0),
    tenants=st.integers(1, 30),
    warmup=st.integers(0, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_crowds_do_not_overlap_lie_after_the_warm_up_and_keep_each_tenants_order(
    crowds, share_of_time, factor, tenant_share, tenants, warmup, seed
):
    counted_s = (210 - warmup) * 0.1
    scenario = load_scenario("tiny-v1").override(
        {
            "time.warmup_steps": warmup,
            "workload.tenants": tenants,
            "workload.flash_crowds": crowds,
            "workload.flash_crowd_duration_s": share_of_time * counted_s / crowds * (1 - 1e-9),
            "workload.flash_crowd_factor": factor,
            "workload.flash_crowd_tenant_share": tenant_share,
        }
    )
    drawn = draw_flash_crowds(scenario, np.random.default_rng(seed))
    borders = np.column_stack((drawn.start_s, drawn.start_s + drawn.length_s)).ravel()
    assert (np.diff(borders) > -1e-9).all()
    assert borders[0] >= warmup * 0.1
    assert borders[-1] <= scenario.duration_s + 1e-9
    assert (drawn.hit.sum(axis=1) == max(1, round(tenant_share * tenants))).all()
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.uniform(0, scenario.duration_s, 300))
    arrival[-1] = np.nextafter(scenario.duration_s, 0)
    tenant = rng.integers(tenants, size=300).astype(np.int32)
    moved = drawn.move(arrival, tenant)
    assert 0 <= moved.min() <= moved.max() < scenario.duration_s
    for t in range(tenants):
        assert (np.diff(moved[tenant == t]) >= 0).all()
        if not drawn.hit[:, t].any():
            assert (moved[tenant == t] == arrival[tenant == t]).all()


def test_positions_are_spread_over_the_counted_part():
    scenario = load_scenario("paper-v1", {"workload.flash_crowds": 1})
    starts = np.array([draw_flash_crowds(scenario, np.random.default_rng(s)).start_s[0] for s in range(2000)])
    # Uniform on [5, 60]: standard error of the mean 0.36, of quantiles 0.6 at most.
    assert np.quantile(starts, [0.25, 0.5, 0.75]) == pytest.approx([18.75, 32.5, 46.25], abs=2.5)
    assert 5.0 <= starts.min() < 5.5
    assert 59.5 < starts.max() <= 60.0


def task_rows(episode, names):
    return sorted(zip(*(getattr(episode, name).tolist() for name in names), strict=True))


@settings(max_examples=25)
@given(
    factor=st.floats(1.0, 100.0),
    crowds=st.integers(1, 4),
    share=st.floats(0.0, 1.0),
    shift=st.sampled_from([0.0, 2.0, 7.0]),
    skew=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_episodes_stay_valid_and_their_offered_load_exact(factor, crowds, share, shift, skew, seed):
    stress = {
        "workload.flash_crowds": crowds,
        "workload.flash_crowd_factor": factor,
        "workload.flash_crowd_tenant_share": share,
        "workload.flash_crowd_duration_s": 3.0,
        "workload.hot_shift_interval_s": shift,
        "workload.shard_skew": skew,
    }
    scenario = load_scenario("tiny-v1")
    stressed, plain = episode_of(scenario.override(stress), seed=seed), episode_of(scenario, seed=seed)
    check_episode(scenario.override(stress), stressed)
    # The same tasks: only when they arrive, in which phase that is, and on which shard they work may differ.
    names = ("tenant", "job", "cores", "base_time_s", "deadline_s", "estimated_time_s", "slo_class")
    assert task_rows(stressed, names) == task_rows(plain, names)
    for resource in ("cpu", "read", "memory"):
        load = [e.details["offered_load"][resource] for e in (stressed, plain)]
        assert load[0] == pytest.approx(load[1], rel=1e-9)


def test_all_columns_of_a_task_move_together():
    scenario = load_scenario("paper-v1", {"workload.antiphase_probability": 0.0})
    plain = episode_of(scenario)
    crowded = episode_of(scenario.override({"workload.flash_crowds": 2, "workload.flash_crowd_factor": 9.0}))
    assert (np.diff(crowded.arrival_s) >= 0).all()
    assert not (crowded.job == plain.job).all()
    names = ("base_time_s", "cores", "shard", "tenant", "job", "slo_class", "estimated_time_s", "deadline_s")
    assert task_rows(crowded, names) == task_rows(plain, names)
    # Written bytes are the task's own too, up to the phase in which it arrives; an estimate is unique to a task.
    written = dict(zip(plain.estimated_time_s.tolist(), plain.write_mb.tolist(), strict=True))
    assert len(written) == plain.tasks
    ratio = crowded.write_mb / np.array([written[key] for key in crowded.estimated_time_s.tolist()])
    assert set(np.round(np.log(ratio) / np.log(24.0), 6).tolist()) == {-1.0, 0.0, 1.0}


def test_a_crowd_shows_in_the_episode_where_details_say():
    scenario = load_scenario("flash-crowd-v1")
    ratios = []
    for seed in range(30):
        episode = episode_of(scenario, seed=seed)
        work = episode.cores * episode.base_time_s
        inside = np.zeros(episode.tasks, dtype=bool)
        hit = set(episode.details["flash_crowds"][0]["tenants"]) & set(episode.details["flash_crowds"][1]["tenants"])
        assert all(len(c["tenants"]) == 6 for c in episode.details["flash_crowds"])
        for crowd in episode.details["flash_crowds"]:
            assert crowd["end_s"] - crowd["start_s"] == pytest.approx(5.0)
            inside |= (episode.arrival_s >= crowd["start_s"]) & (episode.arrival_s < crowd["end_s"])
        of_hit = np.isin(episode.tenant, list(hit))
        ratios.append((work[of_hit & inside].sum() / 10.0, work[of_hit & ~inside].sum() / 55.0))
    inside_rate, outside_rate = np.sum(ratios, axis=0)
    assert inside_rate / outside_rate == pytest.approx(4.0, rel=0.15)


def test_without_crowds_nothing_is_drawn_and_episodes_keep_their_bytes():
    scenario = load_scenario("paper-v1")
    rng = np.random.default_rng(0)
    assert draw_flash_crowds(scenario, rng) is None
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
    other = {"workload.flash_crowd_factor": 7.0, "workload.flash_crowd_duration_s": 9.0}
    assert same_bytes(episode_of(scenario), episode_of(scenario.override(other)))
    assert "flash_crowds" not in episode_of(scenario).details
