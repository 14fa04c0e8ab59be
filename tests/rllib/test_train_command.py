"""`cloudsched train` and `rllib train file`, mostly through a toy configuration file."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

from typer.testing import CliRunner

from cloudsched_env.cli.rllib_train import app as rllib_app
from cloudsched_env.cli.train import app, parse_value
from cloudsched_env.rllib.config_files import load_experiment, shipped_configs
from cloudsched_env.rllib.hrac import HRACConfig
from cloudsched_env.rllib.run_folder import RunFolder, RunState
from cloudsched_env.rllib.training import TrainingOptions, train

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "tests" / "rllib" / "toy_experiment.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def rows(folder):
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(ray_local, tmp_path_factory):
    """A short run, resumed once."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    experiment = load_experiment(EXPERIMENT)
    first = train(experiment.config, TrainingOptions(folder, stop=experiment.stop, checkpoint_every=1, progress=False))
    before = rows(folder)
    resumed = train(None, TrainingOptions(folder, resume=True, stop={"training_iteration": 5}, progress=False))
    return folder, first, before, resumed


@pytest.mark.ray
def test_a_run_logs_every_epoch_and_validates_when_due(trained):
    folder, first, before, _ = trained
    assert [row["epoch"] for row in before] == ["1.0", "2.0", "3.0"]
    assert [bool(row["validation/team_reward"]) for row in before] == [False, True, False]
    assert first.state.best_epoch == 2
    assert first.state.best_score == pytest.approx(float(before[1]["validation/team_reward"]))
    assert list(folder.glob("events.out.tfevents.*"))
    description = json.loads((folder / "run.json").read_text())
    assert description["settings"]["epoch_env_steps"] == 800
    assert description["versions"]["ray"]


@pytest.mark.ray
def test_resuming_goes_on_with_the_epoch_counter_the_steps_and_the_clock(trained):
    folder, first, before, resumed = trained
    after = rows(folder)
    assert [row["epoch"] for row in after] == [f"{e}.0" for e in range(1, 6)]
    assert [float(row["env_steps"]) for row in after] == [800.0 * e for e in range(1, 6)]
    assert after[0]["minutes"] == before[0]["minutes"]
    assert resumed.state.elapsed_s > first.state.elapsed_s
    assert float(after[3]["validation/team_reward"]) > 0


@pytest.mark.ray
def test_only_the_last_and_the_best_checkpoint_are_kept_and_each_is_whole(trained):
    folder, _, _, resumed = trained
    pointer = json.loads((folder / "latest.json").read_text())
    assert pointer == {"last": "epoch_000005", "best": f"epoch_{resumed.state.best_epoch:06d}"}
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == set(pointer.values())
    for name in names:
        parts = {path.name for path in (folder / "checkpoints" / name).iterdir()}
        assert parts == {"algorithm", "policy", "state.json"}


@pytest.mark.ray
def test_the_exported_policy_is_the_best_one_and_acts_without_ray(trained):
    folder, _, _, resumed = trained
    script = f"""
import sys
import numpy as np
from cloudsched_env.agents.protocol import ClusterInfo
from cloudsched_env.rllib.networks import TrainedAgent
from tests.rllib.toy_env import ToyVectorEnv
env = ToyVectorEnv(3)
env.reset(0)
agent = TrainedAgent({str(folder / "policy")!r}, deterministic=True)
agent.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), 3, 0)
done = False
while not done:
    done = env.step(agent.act(env.observations, env.masks))
assert "ray" not in sys.modules, "ray was imported"
print(agent.metadata["epoch"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == resumed.state.best_epoch


@pytest.mark.ray
def test_a_folder_that_holds_a_run_is_not_overwritten(trained):
    with pytest.raises(ValueError, match="holds a run already"):
        train(None, TrainingOptions(trained[0], stop={"training_iteration": 9}))


@pytest.mark.ray
def test_ctrl_c_leaves_a_checkpoint_that_resumes_and_a_policy(tmp_path):
    command = [sys.executable, "-m", "cloudsched_env.cli.rllib", "train", "file", str(EXPERIMENT)]
    command += ["--stop", '{"training_iteration": 100000}', "--local-dir", str(tmp_path), "--checkpoint-freq", "0"]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "toy_experiment"
    try:
        deadline = time.monotonic() + 60
        while not (folder / "progress.csv").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert output.strip() == str(folder)
    checkpoint, state = RunFolder(folder).last_checkpoint()
    assert state.epoch == len(rows(folder)) >= 1
    assert (checkpoint / "policy" / "weights.safetensors").is_file()
    assert (folder / "policy" / "policy.json").is_file()
    from ray.rllib.core.rl_module.rl_module import RLModule

    restored = RLModule.from_checkpoint(str(checkpoint / "algorithm" / "learner_group" / "learner" / "rl_module"))
    assert "central_critic" in restored


def test_training_without_a_stop_criterion_is_refused(tmp_path):
    with pytest.raises(ValueError, match="when to stop"):
        train(HRACConfig(), TrainingOptions(tmp_path))


def test_a_crash_while_writing_a_checkpoint_leaves_the_one_before(tmp_path):
    folder = RunFolder(tmp_path)

    def save(path):
        path.mkdir()
        (path / "weights").write_text("good")

    folder.checkpoint(RunState(epoch=1), save, None)

    def crash(path):
        path.mkdir()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.checkpoint(RunState(epoch=2), crash, None)
    checkpoint, state = RunFolder(tmp_path).last_checkpoint()
    assert state.epoch == 1
    assert (checkpoint / "algorithm" / "weights").read_text() == "good"
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch_000001"]


def test_logs_take_columns_that_appear_later(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log({"epoch": 1, "a": 0.5})
    folder.log({"epoch": 2, "a": 0.25, "b": 3.0})
    folder.close()
    assert rows(tmp_path) == [{"epoch": "1.0", "a": "0.5", "b": ""}, {"epoch": "2.0", "a": "0.25", "b": "3.0"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hrac_lgrs", "--set", "lgrs.mdoe=td", "--stop-epochs", "1"], "did you mean 'lgrs.mode'"),
        (["hrac_lgrs", "--set", "lgrs.mode", "--stop-epochs", "1"], "expected NAME=VALUE"),
        (["hrac_lgrs", "--set", "networks.embeding_size=8", "--stop-epochs", "1"], "embedding_size"),
        (["hrac_lgrs", "--override", "telemetry.loss=0.3", "--stop-epochs", "1"], "telemetry.loss"),
        (["hrac_lgrs", "--trace", "nowhere.parquet", "--stop-epochs", "1"], "nowhere.parquet"),
        (["hrac_lgrs", "--scenario", "papre-v0", "--stop-epochs", "1"], "papre-v0"),
        (["harc", "--stop-epochs", "1"], "hrac_lgrs"),
        (["--resume", "nowhere", "--stop-epochs", "1"], "no checkpoint"),
        (["--resume", "runs/a", "--seed", "3"], "--seed"),
        (["hrac_lgrs", "--resume", "runs/a"], "not both"),
    ],
)
def test_mistakes_on_the_command_line_end_with_one_clear_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_help_shows_examples():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert "cloudsched train hrac_lgrs --stop-epochs 60" in result.output
    result = CliRunner().invoke(rllib_app, ["train", "file", "--help"], env={"COLUMNS": "200"})
    assert "rllib train file rllib_configs/hrac_lgrs.py" in result.output


def test_rllib_refuses_stop_criteria_that_are_no_json():
    result = CliRunner().invoke(rllib_app, ["train", "file", "x.py", "--stop", "training_iteration=3"])
    assert result.exit_code == 2
    assert "JSON" in result.output


def test_values_of_the_command_line_are_json_where_they_can_be():
    assert [parse_value(text) for text in ("0.5", "3", "true", "null", "td", "[1, 2]")] == [
        0.5,
        3,
        True,
        None,
        "td",
        [1, 2],
    ]


def test_shipped_configurations_load_by_name():
    assert "hrac_lgrs" in shipped_configs()
    for name in shipped_configs():
        experiment = load_experiment(name)
        assert experiment.stop
    by_yaml = load_experiment(shipped_configs()["hrac_lgrs"].with_suffix(".yaml"))
    by_python = load_experiment("hrac_lgrs")
    assert by_yaml.config.settings == by_python.config.settings
    assert by_yaml.stop == by_python.stop


YAML = "mine:\n  run: {run}\n  env: {env}\n  stop: {{training_iteration: 2}}\n  config: {config}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (YAML.format(run="HRAC", env="tiny-v1", config="{num_env_runers: 1}"), "num_env_runners"),
        (YAML.format(run="HRAC", env="tiny-v1", config="{hrac: {lgrs.mdoe: td}}"), "lgrs.mode"),
        (YAML.format(run="PPOO", env="x", config="{}"), "'PPO'"),
        (YAML.format(run="PPO", env="x", config="{lr: {grid_search: [1, 2]}}"), "tune.Tuner"),
        ("mine: {run: PPO, stopp: {}}", "'stop'"),
        ("mine: {env: x}", "which algorithm"),
        ("a: {run: PPO}\nb: {run: PPO}", "2 experiments"),
        ("- a", "list"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_faulty_yaml_file_is_refused_by_what_is_wrong(text, message, tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_experiment(path)


def test_yaml_sets_our_settings_and_rllibs(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(YAML.format(run="HRAC", env="cloudsched/tiny-v1", config="{seed: 7, hrac: {lgrs: {lambda: 1.0}}}"))
    experiment = load_experiment(path)
    assert experiment.name == "mine"
    assert experiment.config.settings.scenario == "tiny-v1"
    assert experiment.config.settings.lgrs.lambda_ == 1.0
    assert experiment.config.seed == 7
    assert experiment.stop == {"training_iteration": 2}


def test_a_python_file_must_define_a_config(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("stop = {}\n")
    with pytest.raises(ValueError, match="define `config`"):
        load_experiment(path)


@pytest.mark.ray
def test_initial_weights_do_not_depend_on_the_hash_seed_of_the_process():
    code = (
        "import hashlib, logging\n"
        "logging.disable(logging.WARNING)\n"
        "from cloudsched_env.rllib.hrac import HRACConfig\n"
        "config = HRACConfig().hrac({'scenario': 'tiny-v1'}).debugging(seed=3)\n"
        "config.validate()\n"
        "module = config.rl_module_spec.build()\n"
        "digest = hashlib.sha256()\n"
        "for name in sorted(module.keys()):\n"
        "    for key, value in sorted(module[name].state_dict().items()):\n"
        "        digest.update(key.encode() + value.numpy().tobytes())\n"
        "print(digest.hexdigest())\n"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        digests.add(done.stdout.split()[-1])
    assert len(digests) == 1
