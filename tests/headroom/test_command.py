"""The whole command on a very short scenario; its numbers are checked against other ways to the same ones."""

from __future__ import annotations

import json
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloudsched_env.cli import build_app
from cloudsched_env.evaluation.protocol import evaluate
from cloudsched_env.headroom.provenance import command
from cloudsched_env.headroom.study import stage_names, with_needed

OVERRIDES = {"time.warmup_steps": 5, "time.horizon_steps": 30}
HAS_SOLVER = find_spec("highspy") is not None
STAGES = [name for name in stage_names() if name != "learned" and (name != "bounds" or HAS_SOLVER)]


def run(out: Path, *more: str) -> Any:
    overrides = [text for name, value in OVERRIDES.items() for text in ("--override", f"{name}={value}")]
    arguments = ["headroom", "tiny-v1", "--quick", "--threads", "2", "--out", str(out), *overrides, *more]
    if "--stages" not in more:
        arguments += ["--stages", ",".join(STAGES)]
    return CliRunner().invoke(build_app(), arguments, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("headroom")
    result = run(out, "--docs", str(out / "docs"))
    assert result.exit_code == 0, result.output
    for title in (
        "Gates",
        "Agents on test windows",
        "One role of the tuned feedback",
        "Couplings switched off",
        "Older telemetry",
    ):
        assert title in result.output
    for stage in STAGES:
        assert f"{stage}: measuring" in result.output
    return out


@pytest.fixture(scope="module")
def study(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "headroom.json").read_text(encoding="utf-8"))


def test_tables_json_and_figure_are_written(folder: Path, study: dict[str, Any]):
    assert list(study["results"]) == STAGES
    assert len(study["gates"]) == 13
    text = (folder / "headroom.md").read_text(encoding="utf-8")
    assert "# Headroom of `tiny-v1`" in text
    assert "![ladder, tuning, knock-out, staleness](headroom.png)" in text
    assert "(tiny-v1.png)" in (folder / "docs" / "tiny-v1.md").read_text(encoding="utf-8")
    for picture in (folder / "headroom.png", folder / "docs" / "tiny-v1.png"):
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert picture.stat().st_size > 20_000
    for row in text.split("## Agents on test windows")[1].split("##")[0].splitlines():
        assert row.count("|") in (0, 8), f"a broken row: {row}"


def test_the_page_gives_the_command_that_makes_the_study(folder: Path, study: dict[str, Any], tmp_path: Path):
    words = command(study)
    assert "--quick" in words
    assert shlex.join(words[:3]) in (folder / "headroom.md").read_text(encoding="utf-8")
    shutil.copytree(folder, tmp_path / "again")
    result = CliRunner().invoke(
        build_app(), [*words[1:], "--threads", "2", "--out", str(tmp_path / "again")], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    assert "nothing to do" in result.output, "the command asks for another study than the one it is made from"


def test_a_second_run_measures_and_writes_nothing(folder: Path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    result = run(folder, "--docs", str(folder / "docs"))
    assert result.exit_code == 0, result.output
    assert "nothing to do" in result.output
    assert "measuring" not in result.output
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_a_lost_stage_is_measured_again_with_the_same_result(folder: Path, study: dict[str, Any]):
    (folder / "stages" / "staleness.json").unlink()
    result = run(folder, "--threads", "1")
    assert result.exit_code == 0, result.output
    assert "staleness: measuring" in result.output
    assert result.output.count("measuring") == 1
    again = json.loads((folder / "headroom.json").read_text(encoding="utf-8"))
    assert again["results"] == study["results"]


def test_a_changed_setting_renews_what_reads_it_and_nothing_else(folder: Path, tmp_path: Path):
    (tmp_path / "stages").mkdir()
    for name in ("heuristics", "static"):
        (tmp_path / "stages" / f"{name}.json").write_bytes((folder / "stages" / f"{name}.json").read_bytes())
    result = run(tmp_path, "--population", "5", "--stages", "heuristics,static")
    assert result.exit_code == 0, result.output
    assert "heuristics: done before" in result.output
    assert "static: measuring" in result.output
    result = run(tmp_path, "--override", "workload.cpu_load=0.5", "--stages", "heuristics")
    assert "heuristics: measuring" in result.output


def test_numbers_are_those_of_the_evaluation_command(study: dict[str, Any]):
    stage = study["results"]["heuristics"]
    played = evaluate(["balanced", "tetris+reactive"], "tiny-v1", "test", 3, overrides=OVERRIDES)
    for agent in (*played.agents, played.random):
        for name in ("team_reward", "useful_utilisation", "scheduling_latency_mean_ms"):
            assert stage["metrics"][agent.name][name] == pytest.approx(agent.metrics[name].tolist(), rel=1e-12)
    for name, values in played.bound.items():
        assert stage["bound"][name] == pytest.approx(values.tolist(), rel=1e-12)


@pytest.mark.parametrize("kind", ["static", "feedback"])
def test_tuned_policies_are_files_that_the_evaluation_command_takes(folder: Path, study: dict[str, Any], kind: str):
    path = folder / f"linear_{kind}.json"
    played = evaluate([f'linear_{kind}(parameters="{path}")'], "tiny-v1", "test", 3, overrides=OVERRIDES)
    stored = study["results"][kind]["metrics"]["team_reward"]
    assert played.agents[0].metrics["team_reward"].tolist() == pytest.approx(stored, rel=1e-12)


def test_the_same_policy_on_the_same_windows_has_the_same_reward_in_every_stage(study: dict[str, Any]):
    results = study["results"]
    feedback = results["feedback"]["metrics"]["team_reward"]
    static = results["static"]["metrics"]["team_reward"]
    assert results["knockout"]["feedback"] == pytest.approx(feedback, rel=1e-12)
    assert results["couplings"]["variants"]["all on"]["team_reward"]["static"] == pytest.approx(static, rel=1e-12)
    no_loss = next(p for p in results["staleness"]["loss"] if p["overrides"]["telemetry.loss_probability"] == 0)
    assert no_loss["team_reward"]["feedback"] == pytest.approx(feedback, rel=1e-12)
    assert results["local_rewards"]["turns"][0]["team_reward"] == pytest.approx(feedback, rel=1e-5)
    random = results["heuristics"]["metrics"]["random"]["team_reward"]
    assert no_loss["team_reward"]["random"] == pytest.approx(random, rel=1e-12)


def test_the_sweeps_change_what_schedulers_see(study: dict[str, Any]):
    stage = study["results"]["staleness"]
    publish = study["scenario"]["telemetry"]["publish_every_steps"]
    assert [point["mean_age_steps"] for point in stage["delay"]] == [0, (publish - 1) / 2, 10 + (publish - 1) / 2]
    for axis in ("delay", "loss"):
        first, last = (stage[axis][place]["team_reward"] for place in (0, -1))
        assert first["kube_default"] != last["kube_default"]
        assert first["random"] == last["random"], "the random agent looks at nothing"


def test_a_knock_out_replaces_one_role(study: dict[str, Any]):
    stage = study["results"]["knockout"]
    assert list(stage["roles"]) == ["scheduler", "compute", "storage"]
    rewards = {role: tuple(stored["team_reward"]["random"]) for role, stored in stage["roles"].items()}
    # In these few steps one of the roles may not make a difference.
    assert len({tuple(stage["feedback"]), *rewards.values()}) >= 3
    assert rewards["scheduler"] != tuple(stage["feedback"])
    for role, stored in stage["roles"].items():
        assert stored["best_constant"] in stored["team_reward"]
        best = max(entry["validation"] for entry in stage["constants"][role])
        if role == "scheduler":
            chosen = {entry["name"]: entry["validation"] for entry in stage["constants"][role]}
            assert chosen[stored["best_constant"]] == best
        else:
            assert len(stage["constants"][role]) >= 15


def test_all_couplings_off_is_every_switch(study: dict[str, Any]):
    variants = study["results"]["couplings"]["variants"]
    single = [v["overrides"] for name, v in variants.items() if name not in ("all on", "all off")]
    assert variants["all off"]["overrides"] == {name: False for one in single for name in one}
    assert len(variants["all off"]["overrides"]) == len(single) >= 8
    assert "retuned" in variants["all off"]["team_reward"]
    rewards = [variant["team_reward"]["random"] for variant in variants.values()]
    assert len({tuple(values) for values in rewards}) > 2


@pytest.mark.skipif(not HAS_SOLVER, reason="the linear program needs highspy")
def test_bounds_enclose_every_policy_on_the_shortened_windows(study: dict[str, Any]):
    rewards = {name: np.array(v) for name, v in study["results"]["bounds"]["team_reward"].items()}
    for policy in ("random", "kube_default"):
        assert (rewards[policy] < rewards["foresight"]).all()
    for policy in ("static", "feedback"):
        assert (rewards[policy] <= rewards["hindsight"] + 1e-12).all()
    assert (rewards["hindsight"] <= rewards["foresight"]).all()
    assert (rewards["foresight"] <= rewards["fluid"]).all()


def test_stages_bring_those_that_they_build_on():
    assert [stage.name for stage in with_needed(["knockout"])] == ["heuristics", "static", "feedback", "knockout"]
    assert [stage.name for stage in with_needed([])] == stage_names()
    assert [stage.name for stage in with_needed([], learned_policy=False)] == [
        name for name in stage_names() if name != "learned"
    ]
    with pytest.raises(ValueError, match="unknown stage nonsense: expected some of heuristics"):
        with_needed(["nonsense"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "nonsense"], "unknown stage nonsense"),
        (["--override", "workload.cpu=3", "--stages", "heuristics"], "workload.cpu"),
        (["--windows", "500", "--stages", "static"], "asked for"),
        (["--set", "window=8"], "unknown setting 'window': did you mean 'windows'"),
        (["--set", "windows"], "--set 'windows': expected name=value with a JSON value"),
        (["--set", "windows=2.5"], "setting 'windows' is 2.5: expected int"),
        (["--set", "bound_windows=0"], "bound_windows is 0: expected at least 1"),
        (["--set", "losses=[0.5,1.5]"], "losses is (0.5, 1.5): expected one or more probabilities"),
        (["--set", 'grid_placements=["balancd"]'], "grid_placements is ('balancd',): expected some of random"),
    ],
)
def test_mistakes_end_with_one_line(tmp_path: Path, arguments: list[str], message: str):
    result = run(tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("package", "extra"), [("matplotlib", "viz"), ("highspy", "headroom")])
def test_a_missing_package_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
):
    from cloudsched_env.cli import headroom as command

    monkeypatch.setattr(command, "find_spec", lambda name: None if name == package else find_spec(name))
    result = run(tmp_path, "--stages", "bounds")
    assert result.exit_code == 2
    assert f'pip install "cloudsched-env[{extra}]"' in result.output
    assert not list(tmp_path.iterdir())


def test_an_interrupted_study_goes_on_where_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from cloudsched_env.headroom import tuning

    saved = 0
    write = tuning.write_whole

    def interrupt(path: Path, content: str) -> None:
        nonlocal saved
        write(path, content)
        saved += 1
        if saved == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "write_whole", interrupt)
    result = run(tmp_path, "--stages", "static")
    assert result.exit_code == 130
    assert "goes on from what is in" in result.output
    assert not (tmp_path / "stages" / "static.json").exists()
    result = run(tmp_path, "--stages", "static")
    assert result.exit_code == 0, result.output
    assert saved == 2, "of two generations one was done before"
    ends = [json.loads((f / "stages" / "static.json").read_text(encoding="utf-8")) for f in (folder, tmp_path)]
    assert ends[0]["result"] == ends[1]["result"]


def test_help_shows_examples_and_every_stage():
    result = CliRunner().invoke(build_app(), ["headroom", "--help"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    assert "--quick" in result.output
    assert "cloudsched headroom paper-v1 --trace" in result.output
    for name in stage_names():
        assert name in result.output


def test_a_policy_that_is_the_feedback_policy_loses_what_that_loses(
    folder: Path, study: dict[str, Any], tmp_path: Path
):
    shutil.copytree(folder / "stages", tmp_path / "stages")
    spec = f'linear_feedback(parameters="{folder / "linear_feedback.json"}")'
    result = run(tmp_path, "--stages", "knockout,learned", "--learned", spec)
    assert result.exit_code == 0, result.output
    assert "One role of the learned policy replaced" in result.output
    results = json.loads((tmp_path / "headroom.json").read_text(encoding="utf-8"))["results"]
    learned, knockout = results["learned"], results["knockout"]
    whole = learned["metrics"]["team_reward"]
    assert whole == knockout["feedback"]
    assert learned["validation"]["learned"] == learned["validation"]["feedback"]
    for role, replaced in learned["roles"].items():
        rewards, expected = replaced["team_reward"], knockout["roles"][role]["team_reward"]
        assert rewards["feedback policy's"] == whole
        assert rewards["random"] == expected["random"]
        if role == "scheduler":
            assert rewards["static policy's weights"] == expected["static policy's weights"]
        else:
            assert replaced["best_constant"] == knockout["roles"][role]["best_constant"]
            assert rewards[replaced["best_constant"]] == expected[replaced["best_constant"]]


@pytest.mark.parametrize("named", ["nope", "agent.py:OtherCluster"])
def test_a_learned_policy_that_cannot_act_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
):
    monkeypatch.chdir(tmp_path)
    Path("agent.py").write_text(
        "class OtherCluster:\n"
        "    name = 'other'\n"
        "    def reset(self, info, batch_size, seed):\n"
        "        raise ValueError('made for another cluster')\n"
        "    def act(self, observations, masks):\n"
        "        raise NotImplementedError\n",
        encoding="utf-8",
    )
    result = run(tmp_path / "out", "--stages", "learned", "--learned", named)
    assert result.exit_code == 2
    assert ("unknown agent 'nope'" if named == "nope" else "made for another cluster") in result.output
    assert "measuring" not in result.output
    assert not (tmp_path / "out").exists()


def test_the_learned_policy_has_to_be_named():
    result = run(Path("unused"), "--stages", "learned")
    assert result.exit_code == 2
    assert "--learned FOLDER" in result.output
