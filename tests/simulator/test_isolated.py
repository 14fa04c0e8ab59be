"""The ideal cluster that the textbook tests start from really has nothing else switched on."""

import numpy as np
import pytest

from cloudsched_env.scenario import switch_names
from tests.simulator.drive import make_episode, play, times
from tests.simulator.isolated import isolated


def test_every_switch_of_a_scenario_is_off():
    scenario = isolated()
    assert {"cache.enabled", "compaction.enabled", "storage.sharing_enabled"} <= set(switch_names())
    for name in switch_names():
        group, field = name.split(".")
        assert getattr(getattr(scenario, group), field) is False, name


def test_an_override_switches_on_one_thing_only():
    scenario = isolated(cache__enabled=True)
    on = [name for name in switch_names() if getattr(getattr(scenario, name.split(".")[0]), name.split(".")[1])]
    assert on == ["cache.enabled"]


def test_a_task_takes_its_base_time_whatever_it_reads_and_writes():
    scenario = isolated(
        time__horizon_steps=60,
        cluster__compute_nodes=({"count": 1, "cores": 8.0, "memory_gb": 1.0},),
        cluster__storage_nodes=3,
        workload__replicas=3,
    )
    episode = make_episode(
        scenario,
        arrival_s=[0.0, 0.0, 1.0, 1.0],
        base_time_s=[0.73, 2.1, 1.0, 3.3],
        cores=2.0,
        memory_gb=5.0,
        cacheable_read_mb=[0.0, 4000.0, 0.0, 300.0],
        scan_read_mb=[0.0, 0.0, 4000.0, 300.0],
        write_mb=[0.0, 0.0, 1000.0, 300.0],
    )
    start, finish = times(play(scenario, [episode]))
    np.testing.assert_array_equal(start[0], episode.arrival_s)
    # A gigabyte a microsecond is not nothing: 4 GB take 4 us.
    np.testing.assert_allclose(finish[0] - start[0], episode.base_time_s, rtol=1e-5)
    assert np.isfinite(finish).all()


def test_unknown_task_columns_are_refused():
    with pytest.raises(ValueError, match="unknown task columns"):
        make_episode(isolated(), duration=1.0)
