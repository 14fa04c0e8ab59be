"""Replicas and quorum: order statistics of write delays, and what crashes of replicas stop."""

import numpy as np
import pytest

from tests.simulator.mechanisms.storage import (
    BANDWIDTH_MB_PER_S,
    harmonic_gap,
    run_catch_up,
    run_outage,
    run_read_split,
    run_recovery,
    run_writes,
)

CLUSTERS = 1200


@pytest.mark.parametrize(("replicas", "quorum"), [(1, 1), (2, 2), (3, 2), (5, 3), (6, 4)])
def test_a_write_takes_as_long_as_the_quorum_th_fastest_replica(replicas, quorum):
    delay = 1 + np.random.default_rng(replicas).exponential(1.0, (CLUSTERS, replicas))
    measured = run_writes(delay, quorum=True)
    np.testing.assert_allclose(measured, np.sort(delay, axis=1)[:, quorum - 1], rtol=1e-9)
    # With independent exponential delays: 1 / R + 1 / (R - 1) + ... (Renyi). One order off would be 17 % or more.
    expected = 1 + harmonic_gap(replicas, quorum)
    error = measured.std(ddof=1) / np.sqrt(CLUSTERS)
    assert abs(measured.mean() - expected) < 3.5 * error
    assert 3.5 * error < 0.11


@pytest.mark.parametrize("replicas", [1, 3, 5])
def test_without_a_quorum_a_write_takes_as_long_as_the_fastest_replica(replicas):
    delay = 1 + np.random.default_rng(10 + replicas).exponential(1.0, (300, replicas))
    np.testing.assert_allclose(run_writes(delay, quorum=False), delay.min(axis=1), rtol=1e-9)


def test_equal_replicas_are_as_fast_as_one():
    np.testing.assert_allclose(run_writes(np.full((1, 5), 2.0), quorum=True), 2.0, rtol=1e-9)


@pytest.mark.parametrize("replicas", [3, 4, 5])
def test_writes_go_on_without_a_minority_and_stop_without_a_majority(replicas):
    tolerated = replicas - (replicas // 2 + 1)
    for down in range(replicas + 1):
        progress, finish = run_outage(replicas, range(down))
        if down <= tolerated:
            assert progress == pytest.approx(0.1, rel=1e-6)  # 1 s of 10 s
            assert finish == pytest.approx(10.0, abs=1e-6)
        else:
            assert progress == 0.0
            assert finish == pytest.approx(11.0, abs=1e-6)


def test_reads_and_writes_without_a_quorum_go_on_until_the_last_replica_is_down():
    for options in ({"reads": True}, {"quorum": False}):
        assert run_outage(3, [0, 2], **options)[1] == pytest.approx(10.0, abs=1e-6)
        assert run_outage(3, [0, 1, 2], **options)[1] == pytest.approx(11.0, abs=1e-6)


@pytest.mark.parametrize("rate", [100.0, 400.0])
def test_a_replica_that_comes_back_catches_up_with_the_bandwidth_that_writes_leave(rate):
    """What was written during the outage, rate x outage, is applied at B - rate after it."""
    lag = run_catch_up(rate, outage_s=5.0)
    assert lag[10] == 0.0
    assert lag.max() == pytest.approx(rate * 5.0, rel=1e-4)
    assert lag.argmax() == 60
    expected_s = rate * 5.0 / (BANDWIDTH_MB_PER_S - rate)
    caught_up = 60 + int(np.argmax(lag[60:] == 0.0))
    assert (caught_up - 60) * 0.1 == pytest.approx(expected_s, abs=0.11)


@pytest.mark.parametrize(("write", "read"), [(300.0, 100.0), (300.0, 900.0), (0.5, 1500.0)])
def test_recovery_gets_what_readers_and_writers_leave_and_slows_nobody_down(write, read):
    run = run_recovery(write, read, outage_s=5.0)
    # Both go on at the speed that they have when nothing is wrong, also while the replica catches up.
    for progress in (run.reader_progress, run.writer_progress):
        np.testing.assert_allclose(progress, progress[0], rtol=1e-6)
    owed = write * 5.0
    assert run.lag_mb.max() == pytest.approx(owed, rel=1e-4)
    assert run.lag_mb.argmax() == 60
    # Its third of the reads and all of the writes come first.
    spare = BANDWIDTH_MB_PER_S - write - read / 3
    expected = np.maximum(0.0, owed - spare * 0.1 * np.arange(len(run.lag_mb) - 60))
    np.testing.assert_allclose(run.lag_mb[60:], expected, rtol=1e-4, atol=0.1)


def test_lag_stays_while_the_foreground_takes_all_the_bandwidth():
    run = run_recovery(400.0, 1800.0, outage_s=5.0)  # 400 + 600 of 1000 MB/s
    assert run.lag_mb[60] > 1000.0
    np.testing.assert_allclose(run.lag_mb[60:], run.lag_mb[60], rtol=1e-3)


def test_reads_are_split_in_proportion_to_the_weights_of_the_live_replicas():
    np.testing.assert_allclose(run_read_split([1.0, 1.0, 2.0]), [0.25, 0.25, 0.5], rtol=1e-12)
    np.testing.assert_allclose(run_read_split([0.3, 2.5]), np.array([0.3, 2.5]) / 2.8, rtol=1e-12)
