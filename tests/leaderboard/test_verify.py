from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudsched_env.leaderboard import verify
from cloudsched_env.leaderboard.anchors import compute_anchors
from cloudsched_env.leaderboard.declaration import Declaration
from cloudsched_env.leaderboard.run import run_suite
from cloudsched_env.leaderboard.suites import load_suite
from cloudsched_env.leaderboard.verify import verify_submission

DECLARED = {
    "kind": "heuristic",
    "description": "A rule",
    "authors": "Somebody",
    "code": "https://example.org/code",
    "tuning_budget": "none",
    "validation_use": "none",
}


@pytest.fixture
def submission(tmp_path, small_suite, agents_file, monkeypatch):
    """A function that makes a submission of an agent."""
    monkeypatch.setattr(verify, "_published", lambda suite: suite.id == "small-v1")

    def make(name, **changes):
        (tmp_path / "agents.py").write_text(agents_file.read_text())
        content = {"name": name.lower(), "spec": f"{{here}}/agents.py:{name}", **DECLARED, **changes}
        (tmp_path / "agent.json").write_text(json.dumps(content))
        run_suite(small_suite, [Declaration.load(tmp_path / "agent.json")], tmp_path / "results")
        compute_anchors(small_suite).write(tmp_path / "results" / "small-v1" / "anchors.json")
        return tmp_path

    return make


def tamper(folder, change):
    """Change the first number of every raw file's team rewards."""
    for file in folder.rglob("raw/**/*.json"):
        content = json.loads(file.read_text())
        ((_, algorithms),) = content["cloudsched"].items()
        for runs in algorithms.values():
            for run in runs.values():
                for values in run.values():
                    values["team_reward"] = [change(value) for value in values["team_reward"]]
        file.write_text(json.dumps(content))


def test_honest_results_are_reproduced_and_polished_ones_are_not(submission):
    folder = submission("Good")
    honest = verify_submission(folder, share=0.3)
    assert honest.reproduced, list(honest.lines())
    assert honest.episodes == honest.reproduced_episodes > 0
    tamper(folder, lambda value: value + 1e-4)
    polished = verify_submission(folder, share=0.3)
    assert not polished.reproduced
    assert polished.reproduced_episodes == 0
    assert "team_reward is" in polished.differences[0]
    assert list(polished.lines())[-1] == "good: NOT reproduced"
    tamper(folder, lambda value: 2.0)
    assert any("above 1" in problem for problem in verify_submission(folder).problems)


def test_an_agent_that_draws_its_own_dice_is_compared_by_an_interval(submission):
    folder = submission("Dice", deterministic=False)
    found = verify_submission(folder, share=1.0)
    assert found.reproduced, list(found.lines())
    assert found.reproduced_episodes < found.episodes
    tamper(folder, lambda value: value + 0.2)
    assert not verify_submission(folder, share=1.0).reproduced


def test_every_scenario_is_in_the_sample(submission, monkeypatch):
    folder = submission("Good")
    seen = []
    monkeypatch.setattr(verify, "_compare", lambda found, result, *rest: seen.append(result.batch.scenario))
    verify_submission(folder, share=0.0)
    assert sorted(seen) == ["tenants-4-per-tenant-v1", "tiny-v1"]


def test_what_is_missing_is_listed(submission):
    folder = submission("Good", code="", tuning_budget="")
    (missing,) = folder.rglob("raw/tiny-v1/seed_1.json")
    missing.unlink()
    problems = verify_submission(folder).problems
    assert "agent.json: code is not declared" in problems
    assert "agent.json: tuning_budget is not declared" in problems
    assert any("tiny-v1 has runs [0], expected [0, 1]" in problem for problem in problems)


def test_a_changed_declaration_needs_a_new_run(submission):
    folder = submission("Good")
    content = json.loads((folder / "agent.json").read_text())
    (folder / "agent.json").write_text(json.dumps(content | {"spec": "{here}/agents.py:Stubborn"}))
    assert any("another agent.json" in problem for problem in verify_submission(folder).problems)


def test_results_under_the_name_of_another_suite_are_refused(submission):
    folder = submission("Good")
    (folder / "results" / "small-v1").rename(folder / "results" / "standard-v1")
    problems = verify_submission(folder).problems
    assert any("the folder of small-v1 has another name" in problem for problem in problems), problems


def test_a_trained_agent_has_to_declare_its_budget(tmp_path):
    content = {"name": "a", "spec": "balanced", **DECLARED, "kind": "learned"}
    (tmp_path / "agent.json").write_text(json.dumps(content))
    problems = verify_submission(tmp_path).problems
    assert "agent.json: training.env_steps is not declared" in problems
    assert any("holds no results" in problem for problem in problems)


def test_a_list_of_ones_own_under_a_published_name_is_refused(small_suite, tmp_path):
    assert verify._published(load_suite("quick"))
    content = json.loads(Path(small_suite).read_text()) | {"name": "quick"}
    file = tmp_path / "quick-v1.json"
    file.write_text(json.dumps(content))
    assert not verify._published(load_suite(str(file)))
