"""`benchmarks/ablations.py`: which runs there are, what is repeated, what the table says; the commands are replaced."""

import json
from pathlib import Path

import pytest

pytest.importorskip("ray")

import itertools

from typer.testing import CliRunner

from cloudsched_env.rllib.settings import HRACSettings
from tests.scripts import load_script


@pytest.fixture(scope="module")
def ablations():
    return load_script("ablations.py")


@pytest.fixture
def commands(ablations, monkeypatch):
    """Stands for `cloudsched`: notes the commands and writes what they would write."""
    noted = []

    def call(arguments, log):
        noted.append(list(arguments))
        options = dict(itertools.pairwise(arguments))
        if arguments[0] == "train" and "--out" in options:
            folder = Path(options["--out"])
            folder.mkdir(parents=True)
            (folder / "latest.json").write_text("{}")
        if arguments[0] == "evaluate":
            path = Path(options["--json"])
            name = arguments[1].partition('name="')[2].rstrip('")')
            seed = int(path.parent.name.removeprefix("seed_"))
            score = [0.1 * seed + 0.5, 0.1 * seed + 0.6]
            runs = {"seed_0": {"step_1": {}, "absolute_metrics": {"score": score, "team_reward": score}}}
            path.write_text(json.dumps({"cloudsched": {"tiny-v1/test": {name: runs, "random": runs}}}))
            path.with_name("partial.metadata.json").write_text("{}")

    monkeypatch.setattr(ablations, "call", call)
    return noted


def invoke(ablations, *arguments):
    import typer

    app = typer.Typer()
    app.command()(ablations.main)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})


def test_every_variant_is_accepted_by_the_settings_and_different_ones_have_different_folders(ablations):
    from cloudsched_env.rllib.networks import NetworkConfig

    seen = {}
    for name, variants in ablations.studies().items():
        for variant in variants:
            assert variant.study == name
            settings = HRACSettings().override(dict(variant.changes))
            NetworkConfig.from_dict(settings.networks)
            assert seen.setdefault(variant.key, variant.changes) == variant.changes
    assert len(seen) > 25
    assert {k for k, changes in seen.items() if not changes} == {"default"}


def test_lambda_one_is_run_once_whatever_the_mode(ablations):
    names = [variant.name for variant in ablations.studies()["lambda"]]
    assert names.count("td 1.0") == 1
    assert "mix 1.0" not in names
    assert {"td 0.0", "td 0.2", "td 0.5", "td 0.8", "mix 0.5", "literal 0.5", "pbrs 0.5"} < set(names)


def test_what_is_done_is_not_repeated_and_what_had_begun_is_resumed(ablations, commands, tmp_path):
    arguments = ("--study", "warm_start", "--study", "replay", "--scenario", "tiny-v1", "--epochs", "1")
    arguments = (*arguments, "--seeds", "2", "--out", str(tmp_path / "a"))
    result = invoke(ablations, *arguments)
    assert result.exit_code == 0, result.output
    kinds = [command[0] for command in commands]
    # Six different variants (cold and on-policy are the default) by two seeds, and one recording for all.
    assert (kinds.count("record"), kinds.count("train"), kinds.count("evaluate")) == (1, 12, 12)
    assert kinds[0] == "record"
    warm = [c for c in commands if c[0] == "train" and any("warm_start.trajectories" in part for part in c)]
    assert all(f"--set=warm_start.trajectories={tmp_path / 'a' / 'trajectories'}" in c for c in warm)
    commands.clear()
    (tmp_path / "a" / "default" / "seed_1" / "result.json").unlink()
    assert invoke(ablations, *arguments).exit_code == 0
    assert [command[0] for command in commands] == ["evaluate"]  # its training was finished
    commands.clear()
    (tmp_path / "a" / "default" / "seed_1" / "result.json").unlink()
    (tmp_path / "a" / "default" / "seed_1" / "trained").unlink()
    assert invoke(ablations, *arguments).exit_code == 0
    assert next(command[:2] for command in commands) == ["train", "--resume"]


def test_the_table_gives_the_interquartile_mean_of_all_seeds(ablations, commands, tmp_path):
    arguments = ("--study", "execution", "--scenario", "tiny-v1", "--epochs", "1", "--seeds", "2")
    result = invoke(ablations, *arguments, "--out", str(tmp_path / "a"))
    text = (tmp_path / "a" / "table.md").read_text()
    assert text.strip() in result.output
    rows = [line for line in text.splitlines() if line.startswith("| execution")]
    assert len(rows) == 3
    assert rows[0].startswith("| execution | none (default) | 2 | 0.600 [")  # of .5, .6, .6, .7
    content = json.loads((tmp_path / "a" / "default" / "seed_1" / "result.json").read_text())
    assert list(content["cloudsched"]["tiny-v1/test"]) == ["default"]
    assert list(content["cloudsched"]["tiny-v1/test"]["default"]) == ["seed_1"]
    again = invoke(ablations, "--table", "--study", "execution", "--seeds", "2", "--out", str(tmp_path / "a"))
    assert text.strip() in again.output


def test_runs_of_another_plan_are_not_mixed(ablations, commands, tmp_path):
    arguments = ("--study", "execution", "--seeds", "1", "--out", str(tmp_path / "a"))
    assert invoke(ablations, *arguments, "--scenario", "tiny-v1", "--epochs", "1").exit_code == 0
    result = invoke(ablations, *arguments, "--scenario", "tiny-v1", "--epochs", "2")
    assert result.exit_code == 2
    assert "stop" in result.output
    assert invoke(ablations, "--table", "--out", str(tmp_path / "b")).exit_code == 2


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(ablations, commands, tmp_path, monkeypatch):
    working = ablations.call

    def call(arguments, log):
        if arguments[0] == "train" and any("role_summary" in part for part in arguments):
            raise RuntimeError("cloudsched train failed")
        working(arguments, log)

    monkeypatch.setattr(ablations, "call", call)
    result = invoke(ablations, "--study", "execution", "--seeds", "1", "--epochs", "1", "--out", str(tmp_path / "a"))
    assert result.exit_code == 1
    assert "execution: role_summary, seed 0: cloudsched train failed" in result.output
    assert "| role_summary | 0 | not run | not run |" in (tmp_path / "a" / "table.md").read_text()
    assert (tmp_path / "a" / "default" / "seed_0" / "result.json").is_file()


def test_a_failing_command_shows_the_end_of_its_output(ablations, tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)cloudsched agents failed.*no_such_option"):
        ablations.call(["agents", "--no_such_option"], tmp_path / "log.txt")
