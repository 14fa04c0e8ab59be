"""`benchmarks/ablations.py`: which variants there are, and what the tables of studies say."""

import json

import pytest

pytest.importorskip("ray")
pytest.importorskip("yaml")

from typer.testing import CliRunner

from cloudsched_env.config_tree import to_plain
from cloudsched_env.rllib.networks import NetworkConfig
from tests.scripts import BENCHMARKS, load_script

ablations = load_script("ablations.py")

from comparison import steps, tables, variants  # noqa: E402

EXPERIMENT = variants.read_experiment(BENCHMARKS / "ablations.yaml")


def test_every_variant_is_accepted_belongs_to_a_study_and_differs_from_all_others():
    settings = variants.check_settings(EXPERIMENT.variants)
    for name, values in settings.items():
        settings[name] = values | {"networks": to_plain(NetworkConfig.from_dict(values["networks"]))}
    texts = {name: json.dumps(values, sort_keys=True) for name, values in settings.items()}
    cold = [v.name for v in EXPERIMENT.variants if not v.warm_start]
    assert len({texts[name] for name in cold}) == len(cold)
    assert {name for members in EXPERIMENT.studies.values() for name in members} == set(texts)
    assert all(members[0] == "default" for members in EXPERIMENT.studies.values())


def test_the_studies_that_are_promised_are_there():
    settings = {v.name: v.settings for v in EXPERIMENT.variants}
    weights = {
        (settings[name].get("lgrs.mode", "td"), settings[name].get("lgrs.lambda", 0.0))
        for name in EXPERIMENT.studies["lambda"]
    }
    assert {("td", w) for w in (0.0, 0.2, 0.5, 0.8, 1.0)} < weights
    assert {(mode, w) for mode in ("mix", "literal", "pbrs") for w in (0.0, 0.2, 0.5, 0.8)} < weights
    assert ("off", 0.0) in weights
    assert set(EXPERIMENT.studies) == {
        "lambda",
        "attention",
        "execution",
        "roles",
        "credit",
        "replay",
        "warm_start",
    }


def test_a_study_is_chosen_by_name():
    chosen = variants.of_studies(EXPERIMENT, ["replay", "roles"])
    assert [v.name for v in chosen] == [
        "default", "roles_node_size", "roles_shared", "roles_random", "replay_1_of_4", "replay_2_of_8",
    ]  # fmt: skip
    assert variants.of_studies(EXPERIMENT, []) == list(EXPERIMENT.variants)
    with pytest.raises(ValueError, match=r"no study lamda: expected some of .*lambda"):
        variants.of_studies(EXPERIMENT, ["lamda"])


def test_a_study_of_unknown_variants_is_refused(tmp_path):
    path = tmp_path / "v.yaml"
    path.write_text("variants: [{name: a, algorithm: vdn}]\nstudies: {s: [a, b]}\n")
    with pytest.raises(ValueError, match="no variant of study s b: expected some of a"):
        variants.read_experiment(path)


def row(name, *values):
    import numpy as np

    found = np.array(values, dtype=float)
    metrics = dict.fromkeys(tables.COLUMNS, found)
    return tables.Row(name, trained=True, seeds=list(range(len(found))), metrics=metrics)


def test_the_table_of_a_study_has_differences_from_its_first_variant():
    rows = {"default": row("default", [0.5, 0.6], [0.7, 0.8]), "off": row("off", [0.4, 0.5], [0.6, 0.7])}
    results = tables.Results({}, "generated", {}, rows, {}, ())
    text = tables.study_tables(results, {"attention": ("default", "off", "mean")})
    lines = text.strip().splitlines()
    assert lines[0] == "## attention"
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| default", "| off", "| mean"]
    assert lines[4].endswith("|  |")
    assert lines[5].endswith("| -0.1000 [-0.1000, -0.1000] |")
    assert lines[6] == "| mean | 0 | not run | not run | |"
    assert tables.study_tables(results, {}) == ""


def test_options_reach_the_steps(monkeypatch):
    seen = []
    monkeypatch.setattr(ablations, "run_steps", seen.append)
    import typer

    app = typer.Typer()
    app.command()(ablations.main)
    for arguments in (["--study", "lambda", "--seeds", "2", "--address", "local", "--jobs", "3"], ["--table"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    train, table = seen
    assert (train.studies, train.seeds, train.address, train.jobs, train.steps) == (["lambda"], 2, "local", 3, ())
    assert (table.studies, table.seeds, table.epochs, table.steps) == ((), 3, 60, (steps.EVALUATE, steps.TABLE))


@pytest.mark.ray
def test_commands_run_as_tasks_of_a_ray_cluster_and_get_signals(ray_local, tmp_path):
    import signal
    import time

    from comparison import remote, trainings

    with (tmp_path / "log.txt").open("a") as log, (tmp_path / "lock").open("a") as lock:
        good = remote.spawn_on_cluster(["agents"], log, lock)
        assert good.wait() == 0
        bad = remote.spawn_on_cluster(["no-such-command"], log, lock)
        assert bad.wait() == 2
        assert bad.poll() == 2
    text = (tmp_path / "log.txt").read_text()
    assert "$ cloudsched agents" in text
    assert "linear_feedback" in text
    sleeper = remote.RemoteProcess(["sleep", "60"], tmp_path / "s.txt", tmp_path, {"PATH": "/usr/bin:/bin"})
    assert sleeper.poll() is None
    time.sleep(0.5)
    sleeper.send_signal(signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM
    assert trainings.COMMAND.startswith("from cloudsched_env")
