"""CPU: M/G/1 with processor sharing, and work conservation, through the compiled kernel.

At load 0.5 first-come-first-served would give mean slowdowns of 1.5 (deterministic), 2 (exponential) and 3.5
(hyperexponential sizes) instead of 2 for all three.
"""

from functools import lru_cache

import numpy as np
import pytest

from tests.simulator.drive import make_episode, play, times
from tests.simulator.isolated import isolated
from tests.simulator.mechanisms.processor import (
    SIZES,
    over_committed_throughput,
    run_busy_period,
    run_m_g_1,
    run_over_commitment,
    stepped_slowdown,
)

LOAD = 0.5
STEP_S = 0.14  # no divisor of the mean size: tasks must not always end with a step


@lru_cache
def runs(kind, step_s=STEP_S):
    return run_m_g_1(kind, LOAD, step_s=step_s, clusters=96, tasks=320, seed=1)


@pytest.mark.parametrize("kind", SIZES)
def test_mean_response_is_size_over_one_minus_load_whatever_the_size_distribution(kind):
    slowdown, error = runs(kind).slowdown()
    assert error < 0.05  # the test would notice 10 %
    assert abs(slowdown - stepped_slowdown(LOAD, STEP_S)) < 3.5 * error
    # What steps cost is itself small: 2.8 % with tasks of seven steps, in proportion less with longer ones.
    assert stepped_slowdown(LOAD, STEP_S) == pytest.approx(1 / (1 - LOAD), rel=0.029)
    assert stepped_slowdown(LOAD, STEP_S / 10) == pytest.approx(1 / (1 - LOAD), rel=0.0029)


def test_small_and_large_tasks_are_slowed_down_alike():
    for low, high in ((0.2, 0.7), (0.7, 1.5), (1.5, np.inf)):
        slowdown, error = runs("exponential").slowdown(low, high)
        assert error < 0.07
        assert abs(slowdown - stepped_slowdown(LOAD, STEP_S)) < 3.5 * error


def test_the_error_of_steps_is_of_first_order_and_of_the_derived_size():
    """Same arrivals and sizes, other steps: the noise cancels, what is left is the discretisation."""
    steps = (STEP_S, 2 * STEP_S, 4 * STEP_S)
    measured = [runs("exponential", step_s).slowdown()[0] for step_s in steps]
    for coarse, fine in ((1, 0), (2, 1)):
        ratio = measured[coarse] / measured[fine]
        expected = stepped_slowdown(LOAD, steps[coarse]) / stepped_slowdown(LOAD, steps[fine])
        assert ratio - 1 == pytest.approx(expected - 1, rel=0.3)


def test_tasks_with_wider_requests_get_proportionally_more():
    """Two tasks on 3 cores want 2 and 4 cores: each gets half of what it wants, so both run twice their base time."""
    scenario = isolated(cluster__compute_nodes=({"count": 1, "cores": 3.0, "memory_gb": 8.0},))
    start, finish = times(play(scenario, [make_episode(scenario, cores=[2.0, 4.0], base_time_s=[5.0, 5.0])]))
    np.testing.assert_allclose(finish - start, 10.0, rtol=1e-12)


def test_throughput_falls_with_the_square_of_over_commitment_beyond_the_onset():
    tasks = np.array([4, 8, 12, 16, 24, 40])
    measured = run_over_commitment(tasks, slope=0.7, onset=1.5)
    np.testing.assert_allclose(measured, over_committed_throughput(tasks / 8, slope=0.7, onset=1.5), rtol=1e-9)
    assert measured[2] > measured[3] > measured[4] > measured[5]


def test_busy_cores_are_the_smaller_of_cores_and_demand_at_every_step():
    accounts = run_busy_period(node_cores=8.0, seed=0)
    begin = np.arange(len(accounts.in_system) - 1) * accounts.step_s
    present = (accounts.start_s <= begin[:, None] + 1e-9) & (accounts.finish_s > begin[:, None])
    demand = present @ accounts.cores
    assert ((demand > 8.0).any(), ((demand > 0) & (demand < 8.0)).any()) == (True, True)
    np.testing.assert_allclose(accounts.in_use_cores[1:], np.minimum(8.0, demand), rtol=1e-12, atol=1e-9)


def test_all_work_is_done_once_and_what_a_task_leaves_idle_ends_with_its_step():
    accounts = run_busy_period(node_cores=8.0, seed=3)
    step_s = accounts.step_s
    work = (accounts.cores * accounts.base_time_s).sum()
    assert accounts.useful_core_s.sum() == pytest.approx(work, rel=1e-12)
    last = np.ceil(accounts.finish_s / step_s).astype(int)  # boundary at which the task's last step ends
    demand = np.array([
        accounts.cores[(accounts.start_s <= (k - 1) * step_s + 1e-9) & (accounts.finish_s > (k - 1) * step_s)].sum()
        for k in last
    ])  # fmt: skip
    idle = accounts.cores * np.minimum(1.0, 8.0 / demand) * (last * step_s - accounts.finish_s)
    assert accounts.in_use_cores.sum() * step_s == pytest.approx(work + idle.sum(), rel=1e-9)
