"""Dispatch: the way of a decision, the scheduler as a server with a rate, and refusals by dead nodes."""

import numpy as np
import pytest

from tests.simulator.mechanisms.dispatch import blind_steps, run_dispatch, run_refusals

STEP_S = 0.1


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.099])
def test_a_decision_takes_its_delay_and_delays_nothing_else(delay_s):
    run = run_dispatch(np.array([0.0, 0.0, 1.0, 1.05]), slots=8, delay_s=delay_s)
    # Decisions are taken at steps: what arrives at 1.05 s is seen at 1.1 s.
    np.testing.assert_allclose(run.start_s, np.array([0.0, 0.0, 1.0, 1.1]) + delay_s, atol=1e-12)
    np.testing.assert_allclose(run.finish_s - run.start_s, 0.25, rtol=1e-6)


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_a_batch_leaves_in_order_at_window_slots_per_step(slots):
    tasks = 100
    run = run_dispatch(np.zeros(tasks), slots=slots, delay_s=0.02)
    np.testing.assert_allclose(run.start_s, STEP_S * (np.arange(tasks) // slots) + 0.02, atol=1e-9)
    np.testing.assert_array_equal(run.queue_length, np.maximum(0, tasks - slots * np.arange(301)))


@pytest.mark.parametrize("schedulers", [1, 2, 4])
def test_backlog_grows_at_the_rate_by_which_arrivals_exceed_the_schedulers(schedulers):
    """D/D/1: rate 400 / s in even distances against 8 slots per 0.1 s and scheduler."""
    rate, limit = 400.0, schedulers * 8 / STEP_S
    arrivals = (np.arange(int(rate * 20.0)) + 0.5) / rate
    run = run_dispatch(arrivals, slots=8, schedulers=schedulers, steps=200)
    time_s = np.arange(201) * STEP_S
    expected = np.maximum(0.0, rate - limit) * time_s
    # Beyond it at most what arrives in a step is waiting for the next decision.
    assert (run.queue_length >= expected - 1).all()
    assert (run.queue_length <= expected + rate * STEP_S + 1).all()
    if limit > rate:
        wait = run.start_s - run.arrival_s
        started = ~np.isnan(wait)
        assert started.sum() >= 19.8 * rate
        # Even distances: waits for the next decision are uniform over a step.
        assert wait[started].mean() == pytest.approx(STEP_S / 2, rel=0.02)
        assert wait[started].max() <= STEP_S


@pytest.mark.parametrize(("every", "delay"), [(1, 0), (1, 4), (4, 3), (5, 5)])
def test_a_dead_node_refuses_tasks_until_telemetry_shows_it(every, delay):
    slots, crash, repair = 3, 6, 41
    run = run_refusals(slots=slots, every=every, delay=delay, crash_step=crash, repair_step=repair, steps=80, tasks=200)
    blind, still_masked = blind_steps(every, delay, crash), blind_steps(every, delay, repair)
    step = np.arange(80)
    sent_in_vain = (step >= crash) & (step < crash + blind)
    np.testing.assert_array_equal(run.bounced, slots * sent_in_vain)
    masked = (step >= crash + blind) & (step < repair + still_masked)
    np.testing.assert_array_equal(run.masked, slots * masked)
    # Placed before the crash: lost with it and sent to the tail by it. Then those that were never refused come first.
    before = crash * slots
    placed = np.arange(before + blind * slots, 200)
    count = min(len(placed), len(run.order))
    np.testing.assert_array_equal(run.order[:count], placed[:count])
    assert len(run.order) == (80 - repair - still_masked) * slots
