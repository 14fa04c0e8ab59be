"""Little's law L = lambda W over a whole busy period, for the queues alone and for the whole system.

Three records that the kernel keeps apart are compared: queue lengths, running tasks, and start and finish times.
"""

import numpy as np
import pytest

from tests.simulator.mechanisms.processor import run_busy_period


@pytest.fixture(scope="module", params=[0, 1, 2])
def accounts(request):
    return run_busy_period(node_cores=8.0, seed=request.param)


def test_the_busy_period_begins_and_ends_empty_and_has_queues(accounts):
    assert accounts.in_system[-1] == 0
    assert np.isfinite(accounts.finish_s).all()
    assert accounts.waiting.max() > 20


def test_tasks_in_the_system_sum_to_their_times_there(accounts):
    """Exact: a task is counted from the boundary at which it arrives to the last one before it finishes."""
    arrival_step = np.rint(accounts.arrival_s / accounts.step_s)
    steps_there = np.ceil(accounts.finish_s / accounts.step_s) - arrival_step
    assert accounts.in_system.sum() == steps_there.sum()


def test_waiting_tasks_sum_to_their_waiting_times(accounts):
    """Exact: a task is counted until it has started, hence also at the boundary at which it is about to start."""
    waits = np.rint((accounts.start_s - accounts.arrival_s) / accounts.step_s)
    assert accounts.waiting.sum() == (waits + 1).sum()


def test_little_s_law_holds_up_to_half_a_step_per_task(accounts):
    duration = (len(accounts.in_system) - 1) * accounts.step_s
    rate = len(accounts.arrival_s) / duration
    mean_number = accounts.in_system.sum() * accounts.step_s / duration
    mean_time = (accounts.finish_s - accounts.arrival_s).mean()
    # Finish times lie uniformly within their steps, and the step in which a task finishes counts in full.
    expected = rate * (mean_time + accounts.step_s / 2)
    assert mean_number == pytest.approx(expected, abs=rate * accounts.step_s / np.sqrt(12 * 300) * 4)
    assert mean_number == pytest.approx(rate * mean_time, rel=0.02)
