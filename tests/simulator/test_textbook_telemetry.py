"""Telemetry: how old views are under delay and loss, how losses cluster, and what is shown meanwhile."""

from functools import lru_cache

import numpy as np
import pytest

from tests.simulator.mechanisms.telemetry import losses_in_a_row, run_lengths, run_telemetry

CASES = [(0.3, 1.0, 1, 0), (0.6, 1.0, 3, 7), (0.3, 8.0, 1, 2), (0.7, 4.0, 2, 4)]


@lru_cache
def views(loss, burst, every, delay):
    return run_telemetry(loss=loss, burst=burst, every=every, delay=delay, steps=600 * every, clusters=6)


@pytest.mark.parametrize(("every", "delay"), [(1, 0), (1, 4), (5, 0), (5, 5), (5, 7)])
def test_without_loss_age_is_the_delay_plus_the_time_since_the_delivery(every, delay):
    run = run_telemetry(loss=0.0, burst=1.0, every=every, delay=delay, nodes=3, clusters=1, steps=80)
    step = np.arange(81)
    expected = np.where(step < delay, step, delay + (step - delay) % every)
    np.testing.assert_array_equal(run.age_steps, np.broadcast_to(expected[:, None, None], (81, 1, 3)))


@pytest.mark.parametrize("case", CASES)
def test_lost_deliveries_in_a_row_are_geometric(case):
    """Fraction of links that have missed the last n deliveries, against theory, for n = 0 ... 6."""
    lost = views(*case).losses()
    measured = np.bincount(lost.ravel(), minlength=7)[:7] / lost.size
    burst = case[1]
    # Deliveries of a link are correlated over a burst, so a sample counts for about one in 2 bursts' length.
    samples = lost.size / (2 * burst)
    expected = losses_in_a_row(case[0], burst, 6)
    np.testing.assert_array_less(np.abs(measured - expected), 4 * np.sqrt(expected / samples))


@pytest.mark.parametrize("case", CASES)
def test_bursts_of_losses_have_the_stated_mean_length_and_long_run_share(case):
    loss, burst = case[:2]
    losing = views(*case).losses() > 0
    mean_loss = 1 / (1 - loss) if burst == 1.0 else burst
    assert losing.mean() == pytest.approx(loss, abs=0.02)
    lost, passed = run_lengths(losing, True), run_lengths(losing, False)
    assert lost.mean() == pytest.approx(mean_loss, rel=0.05)
    assert passed.mean() == pytest.approx(mean_loss * (1 - loss) / loss, rel=0.05)
    # Geometric: the standard deviation is sqrt(m (m - 1)).
    assert lost.std() == pytest.approx(np.sqrt(mean_loss * (mean_loss - 1)), rel=0.08)


@pytest.mark.parametrize("case", CASES)
def test_links_lose_independently_of_each_other(case):
    """The number of links of a cluster that lose at once is binomial: its variance is n p (1 - p)."""
    losing = views(*case).losses() > 0
    together = losing.sum(axis=2)
    assert together.var() == pytest.approx(losing.shape[2] * case[0] * (1 - case[0]), rel=0.2)


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown_is_what_was_true_when_the_held_snapshot_was_taken(case):
    run = views(*case)
    stamp = np.arange(len(run.age_steps))[:, None, None] - run.age_steps
    assert (stamp % case[2] == 0).all()
    held = np.take_along_axis(run.true_load, stamp, axis=0)
    np.testing.assert_allclose(run.shown_load, held, atol=1e-6)
    assert np.abs(run.shown_load - run.true_load).mean() > 0.002  # the truth had moved on


def test_everything_lost_leaves_the_first_view_for_ever():
    run = run_telemetry(loss=1.0, burst=1.0, nodes=4, clusters=1, steps=50)
    np.testing.assert_array_equal(run.age_steps[:, 0, 0], np.arange(51))
    assert (run.shown_load == 0.0).all()


def test_losses_repeat_with_the_seed_and_differ_between_seeds():
    ages = [run_telemetry(loss=0.5, burst=1.0, clusters=1, steps=60, seed=s).age_steps for s in (1, 1, 2)]
    np.testing.assert_array_equal(ages[0], ages[1])
    assert (ages[0] != ages[2]).mean() > 0.2
