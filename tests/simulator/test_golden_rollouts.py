"""Roll-outs of each scenario version, rounded and hashed: a change of behaviour needs a new version.

Regenerate with ``python -m tests.simulator.test_golden_rollouts`` after a deliberate change, together with a new
version of the scenario (or, before the first release, a line in CHANGELOG.md).
"""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario, scenario_ids, switch_names
from cloudsched_env.workload.episode import TASK_COLUMNS
from tests.simulator.drawn import numeric_fields
from tests.simulator.golden import STRESS, rollout_hash, rollouts

GOLDEN = pathlib.Path(__file__).with_name("golden_rollouts.json")
ROLLOUTS = rollouts()
MECHANISMS = ("compute", "cache", "storage", "compaction", "purge", "background", "elastic")
# Limits of the draw of hot sets, which none of the few shards of the strained cluster meets.
UNMET = {"cache.hot_set_minimum_gb", "cache.hot_set_maximum_gb"}


def golden_hashes():
    return json.loads(GOLDEN.read_text())


def strained():
    """The scenario of the strained cluster."""
    return load_scenario(ROLLOUTS[STRESS].scenario, ROLLOUTS[STRESS].overrides)


def value_of(scenario, name):
    group, leaf = name.split(".")
    return getattr(getattr(scenario, group), leaf)


def nearby(name, low, high, whole):
    """A value of a constant a little above what it is in the strained cluster, or below where that is not allowed."""
    value = value_of(strained(), name)
    above = value + 1 if whole else value * 1.05 or 0.05 * high
    return above if low <= above <= high else value - 1 if whole else value * 0.95


def test_every_shipped_scenario_is_guarded():
    assert sorted(golden_hashes()) == sorted([STRESS, *scenario_ids()])


@pytest.mark.parametrize("name", sorted(ROLLOUTS))
def test_behaviour_of_a_scenario_version_does_not_change(name):
    assert rollout_hash(ROLLOUTS[name]) == golden_hashes()[name]


@pytest.mark.parametrize("switch", switch_names())
def test_every_switch_changes_a_golden_rollout(switch):
    changed = rollout_hash(ROLLOUTS[STRESS], {switch: not value_of(strained(), switch)})
    assert changed != golden_hashes()[STRESS]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (STRESS, "compute.spill_slope", 0.3),
        (STRESS, "compaction.minimum_write_factor", 0.5),
        (STRESS, "compaction.hard_limit_s", 1.2),
        (STRESS, "storage.minimum_stream_factor", 0.2),
        (STRESS, "purge.slowdown_cap", 1.0),
        (STRESS, "telemetry.delay_steps", 50),
        ("paper-v1", "compute.spill_slope", 0.3),
        ("paper-v1", "storage.minimum_stream_factor", 0.2),
        ("paper-v1", "telemetry.delay_steps", 50),
        ("large-v1", "compute.spill_enabled", False),
    ],
)
def test_a_floor_a_cap_or_a_delay_changes_a_golden_rollout(name, field, value):
    assert rollout_hash(ROLLOUTS[name], {field: value}) != golden_hashes()[name]


@pytest.mark.parametrize("field", sorted(numeric_fields(MECHANISMS).keys() - UNMET))
def test_five_percent_of_any_constant_of_a_mechanism_change_the_golden_rollout_under_stress(field):
    changes = {field: nearby(field, *numeric_fields(MECHANISMS)[field])}
    assert rollout_hash(ROLLOUTS[STRESS], changes) != golden_hashes()[STRESS]


@pytest.mark.parametrize("name", [STRESS, "paper-v1"])
@pytest.mark.parametrize("seed", range(3))
def test_the_last_bits_of_numbers_change_no_golden_rollout(name, seed):
    """Exponentials and logarithms of another processor are that much off."""
    rng = np.random.default_rng(seed)

    def other_processor(episode):
        columns = {name: getattr(episode, name) for name in (*TASK_COLUMNS, "shard_hot_set_mb")}
        noisy = {
            name: column * (1 + 1e-15 * rng.standard_normal(len(column)))
            for name, column in columns.items()
            if column.dtype == np.float64
        }
        return dataclasses.replace(episode, **{**noisy, "arrival_s": np.sort(noisy["arrival_s"])})

    assert rollout_hash(ROLLOUTS[name], adjust=other_processor) == golden_hashes()[name]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: rollout_hash(ROLLOUTS[name]) for name in sorted(ROLLOUTS)}, indent=2) + "\n")
