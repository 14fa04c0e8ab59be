"""Noisy neighbours: an alternating renewal process, and that work is conserved on what it leaves."""

from functools import lru_cache

import numpy as np
import pytest

from tests.simulator.mechanisms.background import (
    disturbed_again,
    rounded_mean_steps,
    run_disturbed_node,
    run_neighbours,
    run_schedule,
    time_to_do,
)

STEP_S, QUIET_S, DISTURBED_S = 0.1, 4.0, 2.0
LOSS = (0.3, 0.6)


@lru_cache
def neighbours():
    """Share of cores left, ``[steps + 1, nodes]``."""
    shares = run_neighbours(quiet_s=QUIET_S, disturbed_s=DISTURBED_S, loss=LOSS, steps=400, nodes=200, clusters=15)
    return shares.reshape(len(shares), -1)


def rounded(mean_s):
    return STEP_S * rounded_mean_steps(mean_s / STEP_S)


def test_availability_is_that_of_the_renewal_process_from_the_first_step_on():
    disturbed = neighbours() < 1.0
    expected = DISTURBED_S / (QUIET_S + DISTURBED_S)
    # Independent nodes at every step: 3,000 trials.
    error = np.sqrt(expected * (1 - expected) / disturbed.shape[1])
    np.testing.assert_array_less(np.abs(disturbed.mean(axis=1) - expected), 4.5 * error)
    # Over all steps, with sojourns rounded to steps; about 40 s / (1.3 s) independent samples of each node.
    exact = rounded(DISTURBED_S) / (rounded(QUIET_S) + rounded(DISTURBED_S))
    assert exact == pytest.approx(expected, abs=0.003)
    assert disturbed.mean() == pytest.approx(exact, abs=4 * error / np.sqrt(15))


def test_disturbances_are_forgotten_at_the_sum_of_both_rates():
    disturbed = neighbours() < 1.0
    time_s = np.arange(len(disturbed)) * STEP_S
    expected = disturbed_again(time_s, rounded(QUIET_S), rounded(DISTURBED_S))
    first = disturbed[:, disturbed[0]]
    assert first.shape[1] > 800
    # Start and end of a sojourn are rounded to a step each.
    np.testing.assert_array_less(np.abs(first.mean(axis=1) - expected), 4.5 * np.sqrt(0.25 / first.shape[1]))
    assert first[40].mean() < 0.45 < first[5].mean()


def test_sojourns_have_the_stated_means_and_losses_are_uniform():
    shares = neighbours()
    disturbed = shares < 1.0
    changes = np.diff(disturbed.astype(int), axis=0)
    for mean_s, entering in ((DISTURBED_S, 1), (QUIET_S, -1)):
        lengths = []
        for node in range(shares.shape[1]):
            at = np.flatnonzero(changes[:, node])
            kind = changes[at, node]
            # Begun in the first half, so that hardly any is cut off by the end.
            lengths += [b - a for a, b, k in zip(at[:-1], at[1:], kind[:-1], strict=True) if k == entering and a < 200]
        assert np.mean(lengths) * STEP_S == pytest.approx(rounded(mean_s), rel=0.05)
        assert np.std(lengths) / np.mean(lengths) == pytest.approx(1.0, abs=0.06)  # exponential
    left = shares[200][disturbed[200]]
    assert left.min() >= 1 - LOSS[1]
    assert left.max() <= 1 - LOSS[0]
    grid = np.linspace(1 - LOSS[1], 1 - LOSS[0], 200)
    empirical = np.searchsorted(np.sort(left), grid) / len(left)
    distance = np.abs(empirical - (grid - grid[0]) / (grid[-1] - grid[0])).max()
    assert distance < 1.63 / np.sqrt(len(left))  # Kolmogorov-Smirnov at 1 %


def test_capacity_is_what_the_mean_loss_leaves():
    share = DISTURBED_S / (QUIET_S + DISTURBED_S)
    assert neighbours().mean() == pytest.approx(1 - share * sum(LOSS) / 2, abs=0.004)


SCHEDULES = [
    ([0], [1.0]),
    ([0], [0.35]),
    ([10, 30], [0.5, 1.0]),
    ([3, 50, 51, 90], [0.2, 0.9, 0.1, 0.7]),
]


@pytest.mark.parametrize("cores", [[8.0], [4.0], [4.0, 4.0, 8.0], [0.5] * 12])
@pytest.mark.parametrize(("step", "share"), SCHEDULES)
def test_tasks_end_when_the_cores_that_are_left_have_done_their_work(cores, step, share):
    """Alike tasks: finish at the t with the integral of min(1, cores left / demand) over [0, t] = their base time."""
    finish = run_schedule(cores, 6.0, step, share)
    np.testing.assert_allclose(finish, time_to_do(6.0, sum(cores), step, share), rtol=1e-9)


def test_neighbours_that_leave_enough_slow_nobody_down():
    np.testing.assert_allclose(run_schedule([2.0, 2.0], 6.0, [0, 20], [0.5, 0.7]), 6.0, rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_work_is_conserved_on_the_cores_that_are_left(seed):
    run = run_disturbed_node(seed=seed)
    assert (run.available_cores < run.demand_cores).mean() > 0.2
    assert (run.available_cores < 8.0).mean() > 0.2
    np.testing.assert_allclose(run.in_use_cores, np.minimum(run.available_cores, run.demand_cores), rtol=1e-9)
    assert np.isfinite(run.finish_s).all()
    assert run.useful_core_s.sum() == pytest.approx(run.work_core_s.sum(), rel=1e-12)
