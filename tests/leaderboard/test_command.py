"""``cloudsched leaderboard`` from the command line."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloudsched_env.cli.leaderboard import app
from cloudsched_env.leaderboard.suites import suite_ids

ROOT = Path(__file__).parents[2]


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_suites_are_listed():
    text = call("suites")
    assert all(name in text for name in suite_ids())


def test_results_are_shown_compared_and_rendered(played, tmp_path):
    text = call("show", played)
    assert "balanced" in text
    assert "aborts: failed: crash" in text
    text = call("compare", "balanced", "random", "--results", played, "--metric", "score")
    assert "better" in text
    assert "tiny-v1" in text
    page = tmp_path / "page.md"
    page.write_text("<!-- leaderboard: begin -->\n<!-- leaderboard: end -->\n")
    call("render", played, "-o", tmp_path / "site", "--readme", page)
    assert (tmp_path / "site" / "index.html").exists()
    assert "| rank | agent |" in page.read_text()


def test_a_run_plays_and_says_who_failed(small_suite, agents_file, tmp_path):
    out = tmp_path / "out"
    agents = ("--agents", "random", "--agents", f"{agents_file}:WrongShape")
    text = call("run", "--suite", small_suite, *agents, "--out", out, "--runs", 1, "--jobs", 1, code=1)
    assert "5 episodes played" in text
    assert "agents.py:WrongShape: contract" in text
    assert "cloudsched leaderboard anchors" in text  # there are none of this suite
    call("anchors", small_suite, "--out", out, "--keep", tmp_path / "kept", "--jobs", 1)
    assert "random" in call("show", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--suite", "standart", "--agents", "random", "--out", "x"), "unknown suite"),
        (("run", "--suite", "trace", "--agents", "random", "--out", "x"), "--trace FILE"),
        (("show", "nowhere"), "holds no results"),
        (("verify", "nowhere"), "agent.json"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = call(*arguments, code=2)
    assert message in text
    assert "Traceback" not in text


def test_reference_agents_have_names_of_their_own_and_can_be_loaded():
    from cloudsched_env.agents import load_agent
    from cloudsched_env.agents.registry import PLACEMENTS
    from cloudsched_env.leaderboard.declaration import load_declarations

    found = load_declarations([str(ROOT / "benchmarks" / "leaderboard" / "reference.json")])
    assert set(PLACEMENTS) <= {declaration.name for declaration in found}
    for declaration in found:
        assert declaration.built_in == (declaration.kind == "heuristic")
        if declaration.built_in or find_spec("torch"):
            for run in range(declaration.trainings or 1):
                load_agent(declaration.resolved(run))


def test_the_template_is_a_declaration():
    from cloudsched_env.leaderboard.declaration import Declaration

    path = ROOT / "benchmarks" / "leaderboard" / "template" / "agent.json"
    assert Declaration.load(path).trainings == 10
    assert set(json.loads(path.read_text())) == set(Declaration.load(path).to_dict())
