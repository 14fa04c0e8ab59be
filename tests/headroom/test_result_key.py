"""Results are measured again when something that they depend on changed, and only then."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cloudsched_env.headroom import result_key
from cloudsched_env.headroom.result_key import data_digest
from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.tasks import RawTasks

SOURCE = '''"""A module."""

def price(hours, rate=2.0):
    """What it costs."""
    return hours * rate  # euros
'''


@pytest.mark.parametrize(
    "same",
    [
        SOURCE.replace("A module.", "Another text."),
        SOURCE.replace("What it costs.", "Costs."),
        SOURCE.replace("  # euros", "\n    # pounds"),
        SOURCE.replace("(hours, rate=2.0)", "(\n    hours,\n    rate=2.0,\n)"),
        SOURCE.replace('    """What it costs."""\n', ""),
    ],
)
def test_comments_docstrings_and_layout_are_no_part_of_the_code(same: str):
    assert same != SOURCE
    assert result_key._meaning(same) == result_key._meaning(SOURCE)


@pytest.mark.parametrize("changed", [SOURCE.replace("2.0", "3.0"), SOURCE.replace("*", "+"), SOURCE + "x = 1\n"])
def test_what_python_runs_is(changed: str):
    assert result_key._meaning(changed) != result_key._meaning(SOURCE)


def tasks(**changes: object) -> RawTasks:
    count = 4
    built = RawTasks.from_columns(
        arrival_s=np.arange(count, dtype=float),
        user=np.array(["a", "b", "a", "b"]),
        name=np.array(["x", "x", "y", "y"]),
        job=np.arange(count),
        task_index=np.zeros(count, dtype=np.int64),
        slo_class=np.zeros(count, dtype=np.int32),
        cpu_cores=np.ones(count),
        memory_gb=np.ones(count),
        duration_s=np.array([1.0, 2.0, 3.0, np.nan]),
        censored=np.zeros(count, dtype=bool),
    )
    return dataclasses.replace(built, **changes)


def test_data_are_the_same_tasks_whatever_file_they_come_from():
    assert data_digest(tasks()) == data_digest(tasks())
    assert data_digest(None) == "generator"


@pytest.mark.parametrize(
    "changes",
    [
        {"duration_s": np.array([1.0, 2.0, 3.5, np.nan])},
        {"cores_of_largest_machine": 64.0},
        {"data_tag": "generated"},
    ],
)
def test_other_tasks_are_other_data(changes: dict[str, object]):
    assert data_digest(tasks(**changes)) != data_digest(tasks())


def test_each_part_changes_the_key():
    scenario = load_scenario("tiny-v1")
    common = ("static", scenario, "generator", {"seed": 0}, ("policies",), ())
    others = [
        ("feedback", *common[1:]),
        ("static", load_scenario("paper-v1"), *common[2:]),
        (*common[:2], "tasks", *common[3:]),
        (*common[:3], {"seed": 1}, *common[4:]),
        (*common[:4], ("policies", "tuning"), ()),
        (*common[:5], ("a needed key",)),
    ]
    keys = {result_key.result_key(*parts) for parts in (common, *others)}
    assert len(keys) == 1 + len(others)
