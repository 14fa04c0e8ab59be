import dataclasses

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.episode import TASK_COLUMNS
from cloudsched_env.workload.source import GeneratedSource
from cloudsched_env.workload.validation import check_episode

SCENARIO = load_scenario("tiny-v1", {"background.enabled": True, "background.quiet_mean_s": 2.0})
EPISODE = GeneratedSource(SCENARIO, "train").episode(np.random.default_rng(0))
ARRAYS = [field.name for field in dataclasses.fields(EPISODE) if isinstance(getattr(EPISODE, field.name), np.ndarray)]


def changed(name, value):
    column = getattr(EPISODE, name).copy()
    column.flat[len(column) // 2] = value
    return dataclasses.replace(EPISODE, **{name: column})


def test_drawn_episodes_are_accepted():
    assert len(EPISODE.background_step) > 2
    check_episode(SCENARIO, EPISODE)


@pytest.mark.parametrize(
    "name", ["shard", "tenant", "slo_class", "shard_replicas", "shard_homes", "tenant_scheduler", "background_node"]
)
@pytest.mark.parametrize("index", [-1, 10_000])
def test_an_index_beyond_what_there_is_is_refused_by_name(name, index):
    with pytest.raises(ValueError, match=rf"its {name} {index} at \[.*: expected 0 to "):
        check_episode(SCENARIO, changed(name, index))


FLOATS = [name for name in ARRAYS if getattr(EPISODE, name).dtype == np.float64]


@pytest.mark.parametrize("name", FLOATS)
def test_nan_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"episode's {name} nan at"):
        check_episode(SCENARIO, changed(name, np.nan))


@pytest.mark.parametrize("name", sorted(set(FLOATS) - {"deadline_s"}))
def test_a_negative_number_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"episode's {name} "):
        check_episode(SCENARIO, changed(name, -1.0))


@pytest.mark.parametrize("name", ["cores", "base_time_s", "memory_gb", "shard_hot_set_mb", "background_share"])
def test_zero_is_refused_where_it_would_be_divided_by(name):
    with pytest.raises(ValueError, match=f"episode's {name} 0.0 at .*above 0"):
        check_episode(SCENARIO, changed(name, 0.0))


@pytest.mark.parametrize("name", ARRAYS)
def test_columns_of_another_length_are_refused_by_name(name):
    shorter = dataclasses.replace(EPISODE, **{name: getattr(EPISODE, name)[:-1]})
    # What is counted by the column itself makes the others look too long.
    named = {"arrival_s": TASK_COLUMNS[1], "background_step": "background_node"}.get(name, name)
    with pytest.raises(ValueError, match=f"its {named} has shape .* expected"):
        check_episode(SCENARIO, shorter)


@pytest.mark.parametrize("name", ["arrival_s", "background_step"])
def test_times_out_of_order_are_refused(name):
    backwards = dataclasses.replace(EPISODE, **{name: getattr(EPISODE, name)[::-1].copy()})
    with pytest.raises(ValueError, match=f"episode's {name} .*expected ascending order"):
        check_episode(SCENARIO, backwards)
