"""Back-off: when deferred tasks come back, and what they cost the others, by Little's law."""

import numpy as np
import pytest

from tests.simulator.mechanisms.backoff import held_back_wait_steps, run_deferral

SLOTS, HELD = 8, 60


@pytest.mark.parametrize("backoff_steps", [1, 2, 5, 17])
def test_a_deferred_task_is_away_for_exactly_the_back_off(backoff_steps):
    run = run_deferral(held=SLOTS, rate_per_step=0.01, slots=SLOTS, backoff_steps=backoff_steps, steps=100)
    # Deferred at step 0, and at once again whenever they are back; the flow of arrivals is too thin to matter.
    back = np.arange(50) % backoff_steps == 0
    np.testing.assert_array_equal(run.queue_length[:50], np.where(back, SLOTS, 0))
    np.testing.assert_array_equal(run.backing_off[:50], np.where(back, 0, SLOTS))


def test_without_back_off_deferred_tasks_hold_their_slots():
    """Head-of-line blocking: nothing gets past as many deferred tasks as there are slots, part of it past fewer."""
    blocked = run_deferral(held=SLOTS, rate_per_step=4.0, slots=SLOTS, backoff_steps=0, steps=100, held_at_s=2.0)
    started = blocked.start_s[np.isfinite(blocked.start_s)]
    # What came before them, and what arrived just before them; every later task waits for ever.
    np.testing.assert_array_equal(np.isfinite(blocked.start_s), blocked.arrival_s < 2.0)
    assert started.max() <= 2.0 + 1e-9
    partly = run_deferral(held=SLOTS - 3, rate_per_step=4.0, slots=SLOTS, backoff_steps=0, steps=100)
    np.testing.assert_allclose(np.diff(partly.queue_length[10:]), 4.0 - 3.0, atol=1e-12)


@pytest.mark.parametrize("backoff_steps", [5, 10])
@pytest.mark.parametrize("rate", [4.0, 5.0, 6.0])
def test_waits_follow_littles_law_of_the_tasks_that_come_back(rate, backoff_steps):
    run = run_deferral(held=HELD, rate_per_step=rate, slots=SLOTS, backoff_steps=backoff_steps, steps=900)
    wait = held_back_wait_steps(rate, held=HELD, slots=SLOTS, backoff_steps=backoff_steps)
    assert wait >= 5
    settled = slice(600, None)
    # Between steps a task that waits w steps is seen w + 1 times in the queue, one that backs off b - 1 times aside;
    # visits per step are the slots that arrivals leave.
    assert run.queue_length[settled].mean() == pytest.approx(SLOTS * (wait + 1), rel=0.02)
    assert run.backing_off[settled].mean() == pytest.approx((SLOTS - rate) * (backoff_steps - 1), rel=0.01)
    waited = (run.start_s - run.arrival_s)[run.arrival_s > 60.0] / 0.1
    # Arrivals in even distances lie half a step before the next decision on average.
    assert np.nanmean(waited) == pytest.approx(wait + 0.5, abs=0.25)


def test_a_back_off_that_is_long_enough_costs_the_others_no_throughput_and_hardly_a_wait():
    run = run_deferral(held=HELD, rate_per_step=4.0, slots=SLOTS, backoff_steps=30, steps=900)
    assert held_back_wait_steps(4.0, held=HELD, slots=SLOTS, backoff_steps=30) == 0.0
    settled = (run.arrival_s > 30.0) & (run.arrival_s < 85.0)
    waited = (run.start_s - run.arrival_s)[settled] / 0.1
    assert np.isfinite(waited).all()
    assert waited.mean() < 2.0  # bursts of those that come back together, beside the half step to the next decision


@pytest.mark.parametrize("backoff_steps", [0, 1, 7])
def test_every_task_is_queued_or_backs_off_until_it_is_placed(backoff_steps):
    run = run_deferral(held=20, rate_per_step=3.0, slots=SLOTS, backoff_steps=backoff_steps, steps=200)
    time_s = np.arange(201) * 0.1
    arrived = 20 + (run.arrival_s <= time_s[:, None] + 1e-12).sum(axis=1)
    placed = (run.start_s < time_s[:, None] - 1e-9).sum(axis=1)
    np.testing.assert_array_equal(run.queue_length + run.backing_off, arrived - placed)
