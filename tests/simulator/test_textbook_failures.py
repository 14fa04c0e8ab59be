"""Failures: an alternating renewal process, restarts, and that nothing gets lost."""

from functools import lru_cache

import numpy as np
import pytest

from tests.simulator.mechanisms.failure import (
    availability,
    mean_time_with_restarts,
    rounded_up_mean,
    run_availability,
    run_churn,
    run_restarts,
)

STEP_S = 0.1


@pytest.mark.parametrize("role", ["compute", "storage"])
def test_availability_follows_the_two_state_markov_chain_from_the_start(role):
    mtbf_s, mttr_s, nodes = 10.0, 4.0, 3000
    time_s, up = run_availability(mtbf_s=mtbf_s, mttr_s=mttr_s, role=role, steps=600, nodes=100, clusters=30, seed=3)
    # Times are rounded up to steps, which makes both half a step longer.
    expected = availability(time_s, rounded_up_mean(mtbf_s, STEP_S), rounded_up_mean(mttr_s, STEP_S))
    np.testing.assert_array_less(np.abs(up - expected), 4.5 * np.sqrt(0.25 / nodes))
    assert up[100:].mean() == pytest.approx(mtbf_s / (mtbf_s + mttr_s), abs=0.01)
    assert up[0] == 1.0


@pytest.mark.parametrize("mttr_s", [1.0, 3.0])
def test_mean_completion_time_with_restarts_is_exponential_in_the_work(mttr_s):
    run = run_restarts(2.0, mtbf_s=2.0, mttr_s=mttr_s, steps=800, clusters=800, seed=5)
    assert np.isfinite(run.finish_s).all()
    expected = mean_time_with_restarts(2.0, mtbf_s=2.0, mttr_s=mttr_s, step_s=STEP_S)
    error = run.finish_s.std(ddof=1) / np.sqrt(len(run.finish_s))
    assert abs(run.finish_s.mean() - expected) < 3.5 * error
    # Steps cost about step / MTBF: 5 %.
    assert expected == pytest.approx(mean_time_with_restarts(2.0, mtbf_s=2.0, mttr_s=mttr_s), rel=0.05)
    # exp(x / MTBF) - 1 restarts on average, for x - step because the last crash would come too late.
    assert run.requeued.mean() == pytest.approx(np.expm1((2.0 - STEP_S) / 2.0), abs=0.25)
    np.testing.assert_allclose(run.useful_core_s - run.lost_core_s, 2.0, rtol=1e-9)


@lru_cache
def churn(seed):
    return run_churn(seed=seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_task_is_lost_or_done_twice_while_nodes_come_and_go(seed):
    run = churn(seed)
    assert run.totals["requeued"] > 50
    np.testing.assert_array_equal(run.in_system + run.finished, run.arrived)
    assert np.isfinite(run.finish_s).all()
    assert run.totals["lost_core_s"] > 10
    assert run.totals["useful_core_s"] == pytest.approx(run.work_core_s.sum() + run.totals["lost_core_s"], rel=1e-9)
