"""Memory: admission limits, the price of spilling, and what a shrinking cache evicts."""

import numpy as np
import pytest

from tests.simulator.mechanisms.memory import CACHE_FRACTION, MEMORY_GB, run_admission, run_shrink, run_spill

EXECUTION_GB = (1 - CACHE_FRACTION) * MEMORY_GB


def test_memory_admits_what_fits_the_level_s_share_of_execution_memory():
    limits = [(0.8, 100.0), (1.0, 100.0), (1.3, 100.0), (1.7, 100.0)]
    admitted = run_admission([1.0] * 40, [0.1] * 40, limits)
    assert admitted == [int(EXECUTION_GB * memory) for memory, _ in limits] == [4, 5, 6, 8]


def test_cores_admit_what_fits_the_level_s_multiple_of_cores():
    limits = [(100.0, 1.1), (100.0, 1.5), (100.0, 2.0), (100.0, 3.0)]
    assert run_admission([0.01] * 40, [1.0] * 40, limits) == [8, 12, 16, 24]


def test_an_idle_node_takes_a_task_that_is_too_large_and_nothing_beside_it():
    assert run_admission([8.0, 0.1], [30.0, 1.0], [(1.0, 1.0), (100.0, 100.0)]) == [1, 2]


def test_admission_is_in_order_so_a_large_head_holds_up_small_tasks():
    assert run_admission([1.0, 4.5, 0.1, 0.1], [0.1] * 4, [(1.0, 1.0)]) == [1]


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_run_time_grows_linearly_with_memory_beyond_execution_memory(slope):
    used = np.array([2.5, 5.0, 5.5, 7.5, 10.0, 20.0])
    ratio = run_spill(used, tasks=4, slope=slope) / 3.0
    np.testing.assert_allclose(ratio, 1 + slope * np.maximum(0.0, used / EXECUTION_GB - 1), rtol=1e-5)


def test_without_the_split_tasks_have_all_memory_whatever_the_cache_takes():
    limits = [(0.8, 100.0), (1.0, 100.0), (1.3, 100.0), (1.7, 100.0)]
    assert run_admission([1.0] * 40, [0.1] * 40, limits, split=False) == [8, 10, 13, 17]
    used = np.array([5.5, 10.0, 20.0])
    ratio = run_spill(used, tasks=4, slope=2.0, split=False) / 3.0
    np.testing.assert_allclose(ratio, [1.0, 1.0, 3.0], rtol=1e-5)


def test_a_shrinking_cache_keeps_the_same_share_of_every_shard():
    hot = np.array([500.0, 1000.0, 1500.0])
    valid, fraction = run_shrink(hot, (0.5, 0.1), slew_per_step=0.05, steps=12)
    np.testing.assert_allclose(fraction, np.maximum(0.1, 0.5 - 0.05 * np.arange(13)), atol=1e-12)
    kept = np.minimum(1.0, 1000.0 * MEMORY_GB * fraction / hot.sum())
    assert kept[5] < 1.0 == kept[4]
    np.testing.assert_allclose(valid, kept[:, None] * hot, rtol=1e-12)


def test_a_growing_cache_changes_no_contents():
    valid, fraction = run_shrink([500.0, 1500.0], (0.1, 0.5), slew_per_step=0.05, steps=12)
    assert fraction[-1] == pytest.approx(0.5)
    np.testing.assert_allclose(valid, np.tile([250.0, 750.0], (13, 1)), rtol=1e-12)
