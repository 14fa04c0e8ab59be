"""What happens when something breaks in the middle of a run: a clear line, and a last checkpoint that is whole."""

import contextlib
import errno
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

import torch
from typer.testing import CliRunner

from cloudsched_env.cli.train import app
from cloudsched_env.rllib.compatibility import IncompatibleCheckpointError, check_run
from cloudsched_env.rllib.learner import HRACLearner
from cloudsched_env.rllib.modules import CriticModule
from cloudsched_env.rllib.role_learner import TrainingDivergedError
from cloudsched_env.rllib.run_folder import RunFolder, RunState
from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from cloudsched_env.rllib.training import TrainingOptions, train
from tests.rllib.toy_env import toy_config

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
SMALL = {"epoch_env_steps": 800}


def begin(folder, epochs=1, **changes):
    options = TrainingOptions(folder, stop={"training_iteration": epochs}, checkpoint_every=1, progress=False)
    return train(toy_config({**SMALL, **changes}), options)


def resume(folder, epochs):
    return train(None, TrainingOptions(folder, resume=True, stop={"training_iteration": epochs}, progress=False))


def command_line(*arguments):
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "1000"})
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def one_epoch(ray_local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures") / "run"
    begin(folder)
    return folder


# -- not a number


@pytest.mark.ray
def test_a_loss_that_is_not_a_number_ends_the_run_with_its_batch_and_the_last_checkpoint(one_epoch, monkeypatch):
    original = HRACLearner._value_loss

    def broken(self, values, columns):
        loss, statistics = original(self, values, columns)
        return loss * math.nan, statistics

    with monkeypatch.context() as patch:
        patch.setattr(HRACLearner, "_value_loss", broken)
        code, text = command_line("--resume", str(one_epoch), "--stop-epochs", "2", "--quiet")
    assert code == 1
    assert "training diverged at update" in text
    assert "The checkpoint of epoch 1 is whole" in text
    assert f"--resume {one_epoch}" in text
    (saved,) = one_epoch.glob("diverged_batch_*.pt")
    assert saved.name in text
    assert torch.load(saved)["central_critic"]["states"].isfinite().all()
    saved.unlink()


def spoil_observations(patch):
    sample = RoleBatchedEnvRunner.sample

    def spoiled(self, **options):
        rollouts = sample(self, **options)
        rollouts[0].roles["storage"]["observations"][3, 5] = math.nan
        return rollouts

    patch.setattr(RoleBatchedEnvRunner, "sample", spoiled)


def spoil_values(patch):
    values = CriticModule.values

    def spoiled(self, *arguments):
        return {
            name: value * math.nan if name == "storage" else value for name, value in values(self, *arguments).items()
        }

    patch.setattr(CriticModule, "values", spoiled)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_observations, "storage.observations is not finite at step 3 of cluster 5"),
        (spoil_values, "storage.returns is not finite in"),
    ],
)
def test_data_that_is_not_a_number_ends_the_run_like_a_loss_that_is_not(one_epoch, monkeypatch, spoil, what):
    with monkeypatch.context() as patch:
        spoil(patch)
        code, text = command_line("--resume", str(one_epoch), "--stop-epochs", "2", "--quiet")
    assert code == 1
    assert "training diverged at update" in text
    assert what in text
    assert "The checkpoint of epoch 1 is whole" in text
    assert f"--resume {one_epoch}" in text
    (saved,) = one_epoch.glob("diverged_batch_*.pt")
    assert saved.name in text
    batch = torch.load(saved)
    assert batch["cluster"]["states"].isfinite().all()
    assert batch["storage"]["observations"][3, 5].isfinite().all() == (spoil is spoil_values)
    saved.unlink()


@pytest.mark.ray
def test_a_remote_learners_divergence_is_told_like_a_local_one(ray_local, tmp_path):
    from ray.exceptions import RayTaskError

    from cloudsched_env.rllib.failures import describe_failure

    wrapped = RayTaskError("update", "a long traceback", TrainingDivergedError("training diverged at update 3."))
    text = describe_failure(wrapped.as_instanceof_cause(), tmp_path)
    assert text == "training diverged at update 3. The run has no checkpoint yet."
    assert describe_failure(RuntimeError("a fault of the program"), tmp_path) is None


# -- a full disk


@pytest.mark.ray
def test_a_full_disk_leaves_the_last_checkpoint_whole_and_says_so(one_epoch):
    """Files cannot grow beyond 60 kB, as on a disk that fills up while a checkpoint is written."""
    before = contents(one_epoch / "checkpoints")
    pointer = (one_epoch / "latest.json").read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        code, text = command_line("--resume", str(one_epoch), "--stop-epochs", "2", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert f"cannot write to {one_epoch}: file too large. The checkpoint of epoch 1 is whole" in text
    assert contents(one_epoch / "checkpoints") == before
    assert (one_epoch / "latest.json").read_text() == pointer
    assert resume(one_epoch, 2).state.epoch == 2


@pytest.mark.parametrize("fails_at", ["the algorithm", "the policy", "the pointer"])
def test_wherever_the_disk_fills_up_the_pointer_shows_a_whole_checkpoint(tmp_path, monkeypatch, fails_at):
    folder = RunFolder(tmp_path / "run")

    def write(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "weights").write_text("whole")

    folder.checkpoint(RunState(epoch=1), write, write)

    def full(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "weights").write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    if fails_at == "the pointer":
        replace = os.replace

        def refuse(source, target):
            if str(target).endswith("latest.json"):
                raise OSError(errno.ENOSPC, "No space left on device")
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)
    save = full if fails_at == "the algorithm" else write
    export = full if fails_at == "the policy" else write
    with pytest.raises(OSError, match="No space"):
        folder.checkpoint(RunState(epoch=2), save, export)
    monkeypatch.undo()
    path, state = RunFolder(tmp_path / "run").last_checkpoint()
    assert state.epoch == 1
    assert (path / "algorithm" / "weights").read_text() == (path / "policy" / "weights").read_text() == "whole"
    assert not list((tmp_path / "run").rglob(".*tmp*"))
    folder.checkpoint(RunState(epoch=3), write, write)  # once there is room again
    assert RunFolder(tmp_path / "run").last_checkpoint()[1].epoch == 3


def write_policy(number):
    """Writes a policy of two files that both tell its number."""

    def write(path):
        path.mkdir(parents=True, exist_ok=True)
        for name in ("weights", "description"):
            (path / name).write_text(str(number))

    return write


def number_of(folder):
    """The number that all files of a policy tell."""
    files = contents(folder)
    assert set(files) == {"weights", "description"}
    (number,) = set(files.values())
    return int(number)


def best_number(folder):
    name = json.loads((folder / "latest.json").read_text())["best"]
    return number_of(folder / "checkpoints" / name / "policy")


def fail_at(monkeypatch, call):
    """Let one of the calls that change a disk fail, by its number; returns the list of those that were made."""
    made = []

    def refusing(name, original):
        def call_or_refuse(*arguments, **options):
            made.append(name)
            if len(made) - 1 == call:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments, **options)

        return call_or_refuse

    for module, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (os, "mkdir"), (shutil, "copyfile")):
        monkeypatch.setattr(module, name, refusing(name, getattr(module, name)))
    return made


@pytest.mark.parametrize("mended_by", ["opening it again", "the next checkpoint"])
def test_wherever_the_disk_fills_up_the_policy_is_whole_and_becomes_that_of_the_best_checkpoint(
    tmp_path, monkeypatch, mended_by
):
    seen = set()
    for call in range(100):
        path = tmp_path / str(call)
        RunFolder(path).checkpoint(RunState(epoch=1, best_epoch=1), write_policy(0), write_policy(1))
        with monkeypatch.context() as patch:
            made = fail_at(patch, call)
            with contextlib.suppress(OSError):
                RunFolder(path).checkpoint(RunState(epoch=2, best_epoch=2), write_policy(0), write_policy(2))
        if call >= len(made):
            break
        seen.add((made[call], best_number(path), number_of(path / "policy")))
        if mended_by == "opening it again":
            RunFolder(path).publish_policy()
        else:
            RunFolder(path).checkpoint(RunState(epoch=3, best_epoch=2), write_policy(0), write_policy(3))
        assert number_of(path / "policy") == best_number(path)
        assert not list(path.glob(".policy*"))
    assert number_of(path / "policy") == best_number(path) == 2
    # Before the pointer had moved, and between it and the policy.
    assert {(best, policy) for _, best, policy in seen} >= {(1, 1), (2, 1)}
    assert {"rename", "replace", "fsync", "mkdir", "copyfile"} == {name for name, *_ in seen}


def test_a_policy_that_a_killed_process_had_moved_aside_is_there_again_when_the_run_is_opened(tmp_path):
    folder = RunFolder(tmp_path)
    folder.checkpoint(RunState(epoch=1, best_epoch=1), write_policy(0), write_policy(1))
    (tmp_path / "policy").rename(tmp_path / ".policy.old4242")
    RunFolder(tmp_path).publish_policy()
    assert number_of(tmp_path / "policy") == 1
    assert not list(tmp_path.glob(".policy*"))


@pytest.mark.ray
def test_a_run_that_is_resumed_publishes_its_best_policy_before_it_trains(one_epoch):
    checkpoint, state = RunFolder(one_epoch).last_checkpoint()  # without validation the last one is the best
    right = contents(one_epoch / "policy")
    assert right == contents(checkpoint / "policy")
    (one_epoch / "policy" / "policy.json").write_text("{}")
    assert resume(one_epoch, state.epoch).state.epoch == state.epoch  # nothing is left to do
    assert contents(one_epoch / "policy") == right


# -- a killed process


@pytest.mark.ray
@pytest.mark.slow
def test_a_process_killed_while_it_writes_a_checkpoint_leaves_the_one_before_and_can_go_on(ray_local, tmp_path):
    script = (
        "from pathlib import Path\n"
        "from tests.rllib.test_failures import begin\n"
        f"begin(Path({str(tmp_path / 'run')!r}), epochs=1000)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT, cwd=tmp_path, stderr=subprocess.PIPE)
    root = tmp_path / "run" / "checkpoints"
    try:
        deadline = time.monotonic() + 120
        caught = False
        while not caught and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
            caught = (tmp_path / "run" / "latest.json").exists() and any(root.glob(".epoch_*.tmp*"))
        os.kill(process.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert caught, errors.decode()[-2000:]
    assert process.returncode == -signal.SIGKILL
    checkpoint, state = RunFolder(tmp_path / "run").last_checkpoint()
    assert {path.name for path in checkpoint.iterdir()} == {"algorithm", "policy", "state.json"}
    toy_config()  # registers the environment, which the killed process had done for itself only
    assert resume(tmp_path / "run", state.epoch + 1).state.epoch == state.epoch + 1
    assert not list(root.glob(".epoch_*"))  # what the killed process left behind is gone


# -- another scenario, other roles, another Ray


def changed(folder, tmp_path, change):
    """A copy of a run's description, edited as if it had been written elsewhere."""
    copy = tmp_path / "copy"
    copy.mkdir(parents=True)
    description = json.loads((folder / "run.json").read_text())
    change(description)
    (copy / "run.json").write_text(json.dumps(description))
    return copy


def rename_field(description):
    description["roles"]["compute"]["observes"]["node"]["fields"][3] = "temperature [K]"


def add_node(description):
    description["roles"]["storage"]["agents"] += 1


def other_levels(description):
    description["roles"]["storage"]["action_levels"][0] += 1


def other_horizon(description):
    description["scenario"]["time"]["horizon_steps"] = 77


def unknown_scenario(description):
    description["settings"]["scenario"] = "gone-v1"


def old_ray(description):
    description["versions"]["ray"] = "2.41.0"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_field, r"'compute', block 'node', field 3 is running_memory_load \[1\] now, but was temperature"),
        (add_node, r"role 'storage': agents is 2 now, but was 3"),
        (other_levels, r"role 'storage': action_levels is"),
        (other_horizon, r"scenario 'tiny-v1', field\.time\.horizon_steps is 210 now, but was 77"),
        (unknown_scenario, r"scenario 'gone-v1' does not load here"),
        (old_ray, r"written with ray 2\.41\.0"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_by_scenario_role_and_field(one_epoch, tmp_path, change, message):
    check_run(one_epoch)
    with pytest.raises(IncompatibleCheckpointError, match=message):
        check_run(changed(one_epoch, tmp_path, change))


@pytest.mark.ray
def test_a_run_from_before_a_switch_existed_goes_on_while_the_switch_changes_nothing(one_epoch, tmp_path):
    def before(description):
        del description["scenario"]["compute"]["memory_split_enabled"]

    def off(description):
        description["scenario"]["compute"]["memory_split_enabled"] = False

    check_run(changed(one_epoch, tmp_path / "before", before))
    with pytest.raises(IncompatibleCheckpointError, match=r"field\.compute\.memory_split_enabled"):
        check_run(changed(one_epoch, tmp_path / "off", off))


@pytest.mark.ray
def test_resuming_an_incompatible_run_ends_with_one_clear_line(one_epoch):
    path = one_epoch / "run.json"
    text = path.read_text()
    description = json.loads(text)
    rename_field(description)
    path.write_text(json.dumps(description))
    try:
        code, output = command_line("--resume", str(one_epoch), "--stop-epochs", "3", "--quiet")
    finally:
        path.write_text(text)
    assert code == 2
    assert "role 'compute', block 'node', field 3" in output


@pytest.mark.ray
def test_a_damaged_checkpoint_is_named(ray_local, tmp_path):
    begin(tmp_path / "run")
    checkpoint, _ = RunFolder(tmp_path / "run").last_checkpoint()
    for path in (checkpoint / "algorithm").rglob("*.pkl"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(IncompatibleCheckpointError, match="epoch_000001 cannot be restored"):
        resume(tmp_path / "run", 2)
