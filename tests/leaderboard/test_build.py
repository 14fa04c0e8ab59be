"""What continuous integration does with submissions: `benchmarks/leaderboard/build.py` and the hosted workflow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cloudsched_env.leaderboard.store import Results
from cloudsched_env.leaderboard.suites import load_suite
from cloudsched_env.leaderboard.verify import Verification
from tests.scripts import load_script

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "leaderboard.yml"


@pytest.fixture
def build():
    """The module, which is no part of the package."""
    return load_script("leaderboard/build.py", "leaderboard_build")


def call(build, *arguments):
    app = typer.Typer()
    app.command()(build.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def repository(tmp_path):
    """A git repository with one committed folder, and its commit."""
    folder = tmp_path / "repository"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "agent.json").write_text("{}")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_a_folder_has_changed_if_a_file_did_or_is_new(build, repository):
    mine = repository / "mine"
    assert not build.changed(mine, "HEAD")
    (repository / "other.txt").write_text("elsewhere")
    assert not build.changed(mine, "HEAD")
    (mine / "policy.onnx").write_text("not known to git yet")
    assert build.changed(mine, "HEAD")
    (mine / "policy.onnx").unlink()
    (mine / "agent.json").write_text("{ }")
    assert build.changed(mine, "HEAD")
    assert not build.changed(mine, "HEAD", "policies")
    with pytest.raises(typer.BadParameter, match="no-such-commit"):
        build.changed(mine, "no-such-commit")


@pytest.fixture
def submissions(played, tmp_path):
    """Three submissions with results of the small suite: the same agent under three names."""
    for name in ("first", "second", "third"):
        folder = tmp_path / "submissions" / name
        shutil.copytree(played / "small-v1", folder / "results" / "small-v1")
        own = folder / "results" / "small-v1" / "agents" / name
        shutil.move(own.with_name("linear_static"), own)
        declaration = json.loads((own / "agent.json").read_text()) | {"name": name}
        for file in (own / "agent.json", folder / "agent.json"):
            file.write_text(json.dumps(declaration))
    return tmp_path / "submissions"


def test_only_changed_submissions_are_played_again_unless_the_simulator_changed(
    build, played, submissions, tmp_path, monkeypatch
):
    seen = []

    def verify(folder, **options):
        seen.append(folder.name)
        return Verification(folder.name, episodes=1, reproduced_episodes=1)

    simulator_changed = False

    def changed(folder, since, *parts):
        assert since == "abc"
        return simulator_changed if parts else folder.name == "second"

    monkeypatch.setattr(build, "verify_submission", verify)
    monkeypatch.setattr(build, "changed", changed)
    folders = ("--results", played, "--submissions", submissions, "--out", tmp_path / "site")
    result = call(build, *folders, "--changed-since", "abc")
    assert result.exit_code == 0, result.output
    assert seen == ["second"]
    page = (tmp_path / "site" / "index.html").read_text()
    assert all(f"agents/{name}.html" in page for name in ("first", "second", "third"))
    seen.clear()
    simulator_changed = True
    call(build, *folders, "--changed-since", "abc")
    assert seen == ["first", "second", "third"]


def test_what_breaks_a_submission_leaves_the_others_on_the_page(build, played, submissions, tmp_path, monkeypatch):
    def verify(folder, **options):
        if folder.name == "first":
            raise RuntimeError("anything at all")
        return Verification(folder.name, episodes=1, reproduced_episodes=1)

    monkeypatch.setattr(build, "verify_submission", verify)
    shutil.rmtree(submissions / "second" / "results")
    result = call(build, "--results", played, "--submissions", submissions, "--out", tmp_path / "site")
    assert result.exit_code == 1
    assert "first: RuntimeError: anything at all" in result.output
    assert "left out: first, second" in result.output
    page = (tmp_path / "site" / "index.html").read_text()
    assert "agents/third.html" in page
    assert "agents/first.html" not in page


def test_results_on_a_trace_that_is_not_here_are_not_shown(build, played, submissions, tmp_path, capsys):
    header = submissions / "first" / "results" / "small-v1" / "run.json"
    content = json.loads(header.read_text())
    suite = json.loads(Path(content["suite"]).read_text())
    suite["workload"] = {"kind": "trace", "operator": "google2011"}
    for entry in suite["scenarios"]:
        entry["windows"] = [window | {"start_s": 0.0} for window in entry["windows"]]
    (tmp_path / "small-v1.json").write_text(json.dumps(suite))
    content |= {
        "suite": str(tmp_path / "small-v1.json"),
        "digest": load_suite(str(tmp_path / "small-v1.json")).digest,
        "data": {"tag": "excerpt", "operator": "google2011", "digest": "0123456789ab"},
    }
    header.write_text(json.dumps(content))
    build.gather(submissions / "first", tmp_path / "together", None)
    assert "left out: without its --trace" in capsys.readouterr().out
    assert not (tmp_path / "together").exists()
    build.gather(submissions / "second", tmp_path / "together", None)
    assert Results(tmp_path / "together" / "small-v1").folder("second").runs("tiny-v1") == [0, 1]


@pytest.fixture(scope="module")
def workflow():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def test_the_hosted_job_gives_strangers_code_no_rights(workflow):
    triggers = workflow[True]  # YAML 1.1 reads "on" as a truth value
    assert set(triggers) == {"pull_request", "push", "workflow_dispatch"}
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["verify"]
    assert "secrets" not in re.sub(r"(?m)^\s*#.*$", "", WORKFLOW.read_text(encoding="utf-8"))
    (checkout,) = [s for s in workflow["jobs"]["verify"]["steps"] if s.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] is False
    # What may write runs nothing of the repository, and never for a pull request.
    publish = workflow["jobs"]["publish"]
    assert not any("run" in step for step in publish["steps"])
    assert "github.event_name != 'pull_request'" in publish["if"]
    assert "github.ref == 'refs/heads/main'" in publish["if"]


def test_the_hosted_job_is_bounded_pinned_and_calls_make(workflow):
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            assert "${{" not in step.get("run", "")  # texts of a pull request must not become commands
    commands = [step["run"] for step in workflow["jobs"]["verify"]["steps"] if "run" in step]
    assert any('make leaderboard BASE="$BASE"' in command for command in commands)
    assert "\nleaderboard:" in (ROOT / "Makefile").read_text(encoding="utf-8")
