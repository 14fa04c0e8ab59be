"""Purging: balance of garbage, where it settles, what it costs, and that work is conserved on the cores it leaves."""

import numpy as np
import pytest

from tests.simulator.mechanisms.background import time_to_do
from tests.simulator.mechanisms.purge import (
    CORES,
    RATE_MB_PER_CORE_S,
    SOFT_MB,
    purged_mb_per_s,
    run_levels,
    run_purging_node,
    run_relay,
    run_slowdown,
    run_writer,
    saturated_depth,
    saturated_useful_cores,
    stationary_garbage_mb,
)

STEP_S = 0.1
SHARE = 0.25  # 200 MB/s at most


def test_garbage_changes_by_what_is_written_less_what_is_purged():
    rates = np.array([0.0, 50.0, 150.0, 400.0])
    run = run_writer(rates, share=SHARE, steps=300, purge__initial_garbage=0.5, purge__garbage_per_written=1.5)
    purged = purged_mb_per_s(run.scenario, SHARE, run.garbage_mb[:-1]) * STEP_S
    np.testing.assert_allclose(np.diff(run.garbage_mb, axis=0), 1.5 * run.written_mb - purged, atol=1e-6)
    np.testing.assert_allclose(run.written_mb.sum(axis=0), rates * 30.0, rtol=1e-4)
    assert run.garbage_mb[-1, 0] < 0.01 * run.garbage_mb[0, 0]  # without writes it goes away
    assert run.garbage_mb[-1, 3] > 12.0 * SOFT_MB  # and it grows without bound where purging cannot keep up


def test_garbage_settles_where_purging_keeps_up_with_writes():
    rates = np.array([10.0, 50.0, 100.0, 150.0])
    run = run_writer(rates, share=SHARE, steps=1500)
    expected = stationary_garbage_mb(run.scenario, rates, SHARE)
    np.testing.assert_allclose(run.garbage_mb[-1], expected, rtol=1e-4)
    np.testing.assert_allclose(expected, 160.0 * rates / (200.0 - rates))  # 0.2 soft limits of 800 MB are 160 MB


def test_garbage_settles_exponentially_at_the_rate_of_the_linearised_balance():
    """Near G* deviations die at the rate r v C G0 / (G* + G0)^2 per second."""
    run = run_writer(100.0, share=SHARE, steps=200)
    fixed = float(stationary_garbage_mb(run.scenario, 100.0, SHARE))
    rate = 200.0 * 160.0 / (fixed + 160.0) ** 2
    gap = fixed - run.garbage_mb[:, 0]
    measured = np.log(gap[60] / gap[120]) / (60 * STEP_S)
    assert measured == pytest.approx(-np.log1p(-rate * STEP_S) / STEP_S, rel=0.03)


def test_purging_never_removes_more_than_there_is():
    run = run_writer(10.0, share=0.5, steps=200, purge__initial_garbage=3.0, purge__efficient_garbage=0.0)
    assert (run.garbage_mb >= 0.0).all()
    # On a straight line down to nothing, and then each step purges what the step before has left behind.
    line = 3.0 * SOFT_MB - (RATE_MB_PER_CORE_S * 0.5 * CORES - 10.0) * STEP_S * np.arange(61)
    np.testing.assert_allclose(run.garbage_mb[:61, 0], line, rtol=1e-5)
    assert (run.garbage_mb[65:, 0] <= 10.0 * STEP_S * (1 + 1e-4)).all()


def test_garbage_stretches_run_times_up_to_its_cap():
    depth = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 50.0])
    np.testing.assert_allclose(run_slowdown(depth, slope=0.15), 1 + 0.15 * np.minimum(depth, 3.0), rtol=1e-9)
    np.testing.assert_allclose(run_slowdown(depth, slope=2.0, cap=1.5), 1 + 2.0 * np.minimum(depth, 1.5), rtol=1e-9)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.2, 0.35, 0.6])
def test_a_busy_node_works_as_fast_as_its_own_garbage_lets_it(share):
    """Sixteen tasks on the cores that purging leaves, each writing 20 MB per core-second of progress."""
    run = run_writer(20.0, share=share, steps=4000, tasks=16, purge__slowdown_slope=0.3)
    depth = saturated_depth(run.scenario, 20.0, share)
    useful = saturated_useful_cores(run.scenario, 20.0, share)
    if np.isfinite(depth):
        assert run.garbage_mb[-1, 0] / SOFT_MB == pytest.approx(depth, rel=1e-4)
    else:
        assert run.garbage_mb[-1, 0] / SOFT_MB > run.scenario.purge.slowdown_cap
    assert run.useful_cores[-1, 0] == pytest.approx(useful, rel=1e-5)


def test_the_best_share_lies_between_no_purging_and_much_of_it():
    shares = (0.0, 0.2, 0.6)
    useful = [run_writer(20.0, share=s, steps=1500, tasks=16, purge__slowdown_slope=0.3).useful_cores for s in shares]
    none, some, much = (float(run[-1, 0]) for run in useful)
    assert some > 1.15 * none
    assert some > 1.4 * much


SCHEDULES = [([0], [0.65]), ([10, 30], [0.5, 0.0]), ([3, 50, 51, 90], [0.8, 0.1, 0.9, 0.3])]


@pytest.mark.parametrize("cores", [[8.0], [4.0], [4.0, 4.0, 8.0], [0.5] * 12])
@pytest.mark.parametrize(("step", "share"), SCHEDULES)
def test_tasks_end_when_the_cores_that_purging_leaves_have_done_their_work(cores, step, share):
    """Alike tasks: finish at the t with the integral of min(1, C (1 - v) / demand) over [0, t] = their base time."""
    finish = run_levels(cores, 6.0, step, share)
    np.testing.assert_allclose(finish, time_to_do(6.0, sum(cores), step, [1 - v for v in share]), rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_work_is_conserved_and_so_is_garbage_while_the_share_changes(seed):
    run = run_purging_node(seed=seed)
    assert (run.left_cores < run.demand_cores).mean() > 0.1
    assert len(np.unique(run.left_cores)) == 4
    # To a microsecond, in which a task writes a gigabyte.
    np.testing.assert_allclose(run.in_use_cores, np.minimum(run.left_cores, run.demand_cores), rtol=1e-5)
    assert np.isfinite(run.finish_s).all()
    assert run.useful_core_s.sum() == pytest.approx(run.work_core_s.sum(), rel=1e-12)
    # Every task leaves behind what it writes, and what is not there at the end was purged at the stated rate.
    depth = run.garbage_mb[:-1] / SOFT_MB
    purged = RATE_MB_PER_CORE_S * run.purge_share * CORES * STEP_S * depth / (depth + 0.2)
    balance = run.garbage_mb[0] + run.write_mb.sum() - purged.sum()
    assert run.garbage_mb[-1] == pytest.approx(balance, rel=1e-9, abs=1e-6)
    assert (run.garbage_mb >= 0.0).all()


def test_purging_on_and_off_between_two_thresholds_is_a_relay_oscillator():
    """Garbage rises at w and falls at r v C - w between the thresholds."""
    depth, level = run_relay(100.0, low=0.3, high=0.7, share=0.5, steps=1200)
    switched_on = np.flatnonzero(np.diff(level) > 0)
    periods = np.diff(switched_on) * STEP_S
    span = 0.4 * SOFT_MB
    expected = span / 100.0 + span / (400.0 - 100.0)
    assert len(periods) >= 20
    # A relay acts a step late: up to two steps of overshoot at each end.
    assert (periods >= expected - STEP_S).all()
    assert (periods <= expected + 2 * STEP_S * (2 + 100 / 300 + 300 / 100)).all()
    assert 0.7 < depth.max() < 0.7 + 2 * 100.0 * STEP_S / SOFT_MB
