from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.cli.check import app
from cloudsched_env.leaderboard.conformance import check_conformance
from cloudsched_env.leaderboard.isolation import Limits
from cloudsched_env.vector import CloudSchedVectorEnv


def levels(agents_file, name, steps=12):
    found = check_conformance(f"{agents_file}:{name}", ("tiny-v1",), steps)
    return {entry.what: (entry.level, entry.message) for entry in found}


def test_a_good_agent_passes_everything(agents_file):
    found = levels(agents_file, "Good")
    assert {level for level, _ in found.values()} == {"ok"}, found
    assert set(found) == {
        "loads", "spaces", "state", "masks", "determinism", "episodes", "batch", "locality", "time"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "what", "level", "message"),
    [
        ("Dice", "determinism", "error", "first in step 0: sub-action . of scheduler_0"),
        ("Remembers", "episodes", "error", "reset must forget everything"),
        ("Peeks", "locality", "error", "storage_0 acts otherwise"),
        ("Scribbles", "inputs", "error", "observations of role compute"),
        ("Stubborn", "masks", "warning", "storage_"),
        ("WrongShape", "runs", "error", "expected"),
        ("Aborts", "runs", "error", "SIGABRT"),
        ("OutOfRange", "runs", "error", "sub-action 2 of compute_1 is 9, expected 0 to 4"),
        ("Explodes", "loads", "error", "weights.bin is missing .agents.py, line"),
        ("NoReset", "loads", "error", "has no method reset"),
    ],
)
def test_each_fault_is_found_and_placed(agents_file, name, what, level, message):
    import re

    found = levels(agents_file, name)
    assert found[what][0] == level, found
    assert re.search(message, found[what][1]), found[what][1]


def test_an_agent_that_hangs_is_ended_and_said_to(agents_file):
    (loads, hangs) = check_conformance(f"{agents_file}:Hangs", ("tiny-v1",), 8, Limits(call_s=1.0))
    assert (loads.level, hangs.level) == ("ok", "error")
    assert hangs.message.startswith("hang: ")


def test_the_clusters_state_is_not_in_the_agents_process(agents_file):
    env = CloudSchedVectorEnv("tiny-v1", 1)
    here = load_agent(f"{agents_file}:Searches")
    here.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), 1, 0)
    with pytest.raises(RuntimeError, match="found the cluster's state"):
        here.act(env.observations, env.masks)  # the search is good for something
    found = levels(agents_file, "Searches", 8)
    assert found["spaces"][0] == found["determinism"][0] == "ok", found
    assert "error" not in {level for level, _ in found.values()}, found


def test_the_command_ends_with_an_error_where_there_is_one(agents_file):
    result = CliRunner().invoke(app, [f"{agents_file}:WrongShape", "--scenario", "tiny-v1"])
    assert result.exit_code == 1
    assert "1 errors" in result.stdout
