"""Storage bandwidth: processor sharing between streams, and how stream factors get there."""

import numpy as np
import pytest

from tests.simulator.mechanisms.processor import Sharing, draw_sizes
from tests.simulator.mechanisms.storage import (
    BANDWIDTH_MB_PER_S,
    DISCIPLINES,
    run_random_streams,
    run_streams,
    shared_stream_factor,
)

STEP_S = 0.1


@pytest.mark.parametrize("streams", [1, 2, 4, 10, 40])
@pytest.mark.parametrize("background_share", [0.0, 0.35])
@pytest.mark.parametrize("left_share", [1.0, 0.6])
def test_equal_streams_share_the_bandwidth_equally_and_use_all_of_it(streams, background_share, left_share):
    """What compaction and other volumes leave of it."""
    capacity = BANDWIDTH_MB_PER_S * left_share * (1 - background_share)
    run = run_streams(
        [1e-3] * streams,
        1000.0,
        steps=1200,
        stream_mb_per_s=500.0,
        background_share=background_share,
        left_share=left_share,
    )
    alone = 1e-3 + 1000.0 / 500.0
    np.testing.assert_allclose(run.finish_s, max(alone, streams * 1000.0 / capacity), rtol=1e-6)
    assert (run.served_mb <= capacity * STEP_S * (1 + 1e-12)).all()
    assert run.served_mb.sum() == pytest.approx(streams * 1000.0, rel=1e-9)
    if streams * 500.0 > capacity * 1.01:
        full = int(streams * 1000.0 / capacity / STEP_S) - 1
        np.testing.assert_allclose(run.served_mb[:full], capacity * STEP_S, rtol=1e-9)


def test_without_sharing_every_stream_runs_at_its_own_speed():
    run = run_streams([1e-3] * 40, 1000.0, steps=60, sharing=False)
    np.testing.assert_allclose(run.finish_s, 1e-3 + 1000.0 / 500.0, rtol=1e-9)


@pytest.mark.parametrize("base_time_s", [1e-6, 0.5, 2.0])
def test_the_stream_factor_closes_half_of_the_gap_per_step_of_what_is_spent_on_reading(base_time_s):
    """Near the fixed point the error shrinks by 1 - phi / 2 a step, phi = share of a task's time that it reads."""
    run = run_streams([base_time_s] * 10, 1000.0, steps=60)
    fixed = shared_stream_factor([base_time_s] * 10, 1000.0, 500.0, BANDWIDTH_MB_PER_S)
    assert fixed < 1.0
    error = run.stream_factor - fixed
    window = slice(8, 13) if base_time_s < 1 else slice(14, 19)
    reading = 1000.0 / (500.0 * fixed)
    contraction = 1 - 0.5 * reading / (base_time_s + reading)
    np.testing.assert_allclose(error[1:][window] / error[:-1][window], contraction, rtol=0.01)
    assert run.stream_factor[50] == pytest.approx(fixed, rel=1e-4)


def test_a_mix_of_streams_settles_where_all_read_at_the_same_rate():
    """Tasks of very unequal shares of reading; progress of each is step / (b + v / (s g)) with one common g."""
    base = np.repeat([200.0, 20.0, 2.0, 0.2], 4)
    read = np.full(16, 20000.0)
    run = run_streams(base, read, steps=200)
    factor = shared_stream_factor(base, read, 500.0, BANDWIDTH_MB_PER_S)
    assert run.stream_factor[150] == pytest.approx(factor, rel=1e-9)
    expected = STEP_S / (base + read / (500.0 * factor))
    np.testing.assert_allclose(run.progress[150], expected, rtol=1e-9)
    assert run.served_mb[150] == pytest.approx(BANDWIDTH_MB_PER_S * STEP_S, rel=1e-9)
    # The computing task keeps half of its speed, the reading one a seventh: what they share is the rate of reading.
    np.testing.assert_allclose(expected[[0, -1]] * (base + read / 500.0)[[0, -1]] / STEP_S, [0.50, 0.145], atol=0.01)


def test_the_stream_factor_recovers_when_streams_have_gone():
    """Forty streams for 4 s, then one alone: after ten steps it is back at full speed."""
    run = run_streams([1e-3] * 41, [100.0] * 40 + [2000.0], steps=200, arrival_s=[0.0] * 40 + [4.0])
    assert run.stream_factor[39] < 0.1
    assert run.stream_factor[50] == pytest.approx(1.0)
    # It lost less than six steps to the congestion before it.
    assert 2000.0 / 500.0 < run.finish_s[-1] - 4.0 < 2000.0 / 500.0 + 6 * STEP_S


def slowdowns(runs, discipline, low_s=0.0, high_s=np.inf):
    """Mean slowdown of reads of some sizes with each length of step."""
    return [getattr(run, discipline).slowdown(low_s, high_s)[0] for run in runs]


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("deterministic", [(0.0, np.inf)]),
        ("hyperexponential", [(0.0, np.inf), (0.2, 0.7), (0.7, 1.5), (1.5, np.inf)]),
    ],
)
def test_random_streams_take_the_time_of_equal_sharing_up_to_what_steps_cost(kind, classes):
    """M/G/1-PS at load 0.5, extrapolated to steps of no length; sizes for which waiting in a line takes other times.

    The same arrivals and sizes in continuous time are the reference, so that chance cancels: 2 % would be noticed,
    3 % in a class of sizes.
    """
    runs = [run_random_streams(0.5, step_s=s, clusters=16, tasks=200, seed=0, kind=kind) for s in (0.1, 0.05)]
    for low_s, high_s in classes:
        coarse, fine = slowdowns(runs, "stepped", low_s, high_s)
        expected = slowdowns(runs, "shared", low_s, high_s)[1]
        assert 2 * fine - coarse == pytest.approx(expected, rel=0.02 if low_s == 0 else 0.03), (low_s, high_s)
        # First come, first served would fail by far.
        assert abs(slowdowns(runs, "first_come", low_s, high_s)[1] / expected - 1) > 0.15, (low_s, high_s)
        # Stream factors lag behind what is there.
        assert 0.02 < coarse - fine < 0.12
    assert max(run.busiest.max() for run in runs) <= 1 + 1e-9


@pytest.mark.parametrize(("kind", "line"), [("deterministic", 1.5), ("exponential", 2.0), ("hyperexponential", 3.5)])
def test_the_disciplines_that_streams_are_compared_with_are_those_of_the_textbook(kind, line):
    """M/G/1 at load 0.5: 1 / (1 - load) when shared, 1 + load (1 + squared variation) / (2 (1 - load)) in a line."""
    rng = np.random.default_rng(5)
    size = draw_sizes(kind, (300, 300), rng)
    arrival = np.cumsum(rng.exponential(2.0, size.shape), axis=1)
    for discipline, expected in zip(DISCIPLINES, (2.0, line), strict=True):
        response = np.array([discipline(*row) for row in zip(arrival, size, strict=True)])
        slowdown, error = Sharing(size[:, 60:], response[:, 60:]).slowdown()
        assert error < 0.04 * expected
        assert abs(slowdown - expected) < 3.5 * error
