"""Compaction: balance of debt, its fixed point, write stalls, and the cycle that a relay makes of it."""

import numpy as np
import pytest

from tests.simulator.mechanisms.compaction import (
    BANDWIDTH_MB_PER_S,
    read_bytes,
    relay,
    run_writer,
    stall_threshold_mb_per_s,
    stationary_debt,
    throttled_debt,
)

STEP_S = 0.1
SHARE = 0.2


def test_debt_changes_by_what_is_written_times_amplification_less_what_is_compacted():
    rates = np.array([0.0, 20.0, 75.0, 150.0])
    run = run_writer(rates, steps=800, compaction__initial_debt=0.3)
    config = run.scenario.compaction
    debt = run.debt_mb[:-1]
    compacted = SHARE * BANDWIDTH_MB_PER_S * STEP_S * debt / (debt + config.efficient_debt_s * BANDWIDTH_MB_PER_S)
    balance = config.write_amplification * run.written_mb.sum(axis=0) - compacted.sum(axis=0)
    np.testing.assert_allclose(run.debt_mb[-1] - run.debt_mb[0], balance, atol=1e-3)
    np.testing.assert_allclose(run.written_mb.sum(axis=0), rates * 80.0, rtol=1e-4)
    assert run.debt_mb[-1, 0] < 0.02 * run.debt_mb[0, 0]  # without writes debt goes away


def test_debt_settles_where_compaction_keeps_up_with_writes():
    rates = np.array([10.0, 50.0, 75.0])
    run = run_writer(rates, steps=3000)
    expected = stationary_debt(run.scenario, rates, SHARE)
    np.testing.assert_allclose(run.debt_mb[-1], expected, rtol=1e-4)
    np.testing.assert_allclose(expected, 300.0 * 2 * rates / (200.0 - 2 * rates))


def test_debt_settles_exponentially_at_the_rate_of_the_linearised_balance():
    """Near D* deviations die at the rate u B D0 / (D* + D0)^2 per second."""
    run = run_writer(50.0, steps=1200)
    fixed = float(stationary_debt(run.scenario, 50.0, SHARE))
    rate = SHARE * BANDWIDTH_MB_PER_S * 300.0 / (fixed + 300.0) ** 2
    gap = fixed - run.debt_mb[:, 0]
    measured = np.log(gap[150] / gap[350]) / (200 * STEP_S)
    assert measured == pytest.approx(-np.log1p(-rate * STEP_S) / STEP_S, rel=0.03)


def test_writes_stall_above_the_rate_at_which_debt_settles_at_the_soft_limit():
    run = run_writer([50.0], steps=1)
    threshold = stall_threshold_mb_per_s(run.scenario, SHARE)
    assert threshold == pytest.approx(76.923, abs=1e-3)
    run = run_writer(threshold * np.array([0.97, 1.03]), steps=8000)
    assert run.write_factor[-1].tolist()[0] == 1.0
    assert run.write_factor[-1].tolist()[1] < 0.98


def test_a_writer_that_is_too_fast_is_slowed_down_to_what_compaction_removes():
    run = run_writer(300.0, steps=1500, saturating=True)
    config = run.scenario.compaction
    fixed = throttled_debt(run.scenario, 300.0, SHARE)
    soft, hard = config.soft_limit_s * BANDWIDTH_MB_PER_S, config.hard_limit_s * BANDWIDTH_MB_PER_S
    assert soft < fixed < hard
    assert run.debt_mb[-1, 0] == pytest.approx(fixed, rel=1e-6)
    assert run.written_mb[-1, 0] / STEP_S == pytest.approx(300.0 * (1 - (fixed - soft) / (hard - soft)), rel=1e-4)
    # The approach is monotone: no oscillation as long as a step's worth of writes is small against hard - soft.
    assert (np.diff(run.debt_mb[:, 0]) > -1e-9).all()


def test_writes_never_stop_entirely_and_debt_is_bounded_only_by_that():
    run = run_writer(300.0, steps=3000, saturating=True, storage__background_shares=(0.0,))
    assert run.write_factor[-1, 0] == run.scenario.compaction.minimum_write_factor
    assert run.written_mb[-1, 0] == pytest.approx(300.0 * 0.05 * STEP_S, rel=1e-3)


def test_hysteresis_makes_a_limit_cycle_of_the_period_of_a_relay():
    """Debt goes up at WA w - u1 B and down at u2 B - WA w between the thresholds, as in a relay oscillator."""
    options = {"compaction__efficient_debt_s": 0.0, "compaction__soft_limit_s": 10.0, "compaction__hard_limit_s": 25.0}
    run = run_writer(60.0, steps=6000, control=relay(0.5, 0.8), storage__background_shares=(0.05, 0.4), **options)
    switched_on = np.flatnonzero(np.diff(run.background_share[:, 0]) > 0)
    periods = np.diff(switched_on) * STEP_S
    span = 0.3 * 10.0 * BANDWIDTH_MB_PER_S
    expected = span / (120.0 - 50.0) + span / (400.0 - 120.0)
    assert len(periods) >= 8
    # A relay acts at the next step: up to two steps of overshoot at each end.
    assert (periods >= expected - STEP_S).all()
    assert (periods <= expected * (1 + 1e-6) + 2 * STEP_S * (2 + 70 / 280 + 280 / 70)).all()
    assert np.ptp(periods) < 6 * STEP_S


def test_read_amplification_multiplies_bytes_read_from_disk_up_to_its_cap():
    """Served bytes of one reader at debts of 0, 0.5, 1, 2.5 and 4 soft limits: 1 + 0.8 min(debt, 2.5)."""
    debts = np.array([0.0, 0.5, 1.0, 2.5, 4.0])
    np.testing.assert_allclose(read_bytes(debts), 1 + 0.8 * np.minimum(debts, 2.5), rtol=1e-9)
