"""The training loop behind ``cloudsched train`` and ``rllib train file``."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudsched_env.rllib.portable import portable
from cloudsched_env.rllib.run_folder import RunFolder, RunState

__all__ = ["TrainingOptions", "TrainingReport", "train"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to run, as opposed to what to train.

    Attributes:
        out: folder of the run; with ``resume`` the folder to go on in.
        resume: go on from the folder's last checkpoint.
        stop: criteria by slash-separated name of a result; ``training_iteration`` counts epochs.
        stop_minutes: wall time of training, earlier parts of a resumed run included.
        checkpoint_every: epochs between checkpoints; 0 leaves only the one at the end.
        address: of a Ray cluster; None trains on this machine.
        progress: show a progress bar (or, where output is no terminal, a line an epoch).
    """

    out: Path
    resume: bool = False
    stop: Mapping[str, float] = field(default_factory=dict)
    stop_minutes: float | None = None
    checkpoint_every: int = 5
    address: str | None = None
    progress: bool = True


@dataclass
class TrainingReport:
    """What a run came to.

    Attributes:
        folder: of the run.
        state: epochs, env steps, time, best validation score.
        interrupted: whether Ctrl-C ended it.
        last: what was logged for the last epoch.
    """

    folder: Path
    state: RunState
    interrupted: bool
    last: dict[str, float]


def train(config: Any, options: TrainingOptions) -> TrainingReport:
    """Train until a stop criterion is met or Ctrl-C; the last checkpoint and the policy are kept in either case.

    The first Ctrl-C ends the run after the current epoch's work has been saved, the second one at once.

    Args:
        config: a `RoleBatchedConfig`, or the config of any RLlib algorithm; ignored when resuming.
        options: how to run.

    Raises:
        ValueError: if nothing says when to stop, the folder already holds another run, or the checkpoint to resume
            from does not fit what is installed here (scenario, role or field are named).
        TrainingDivergedError: a loss or gradient was not finite; the minibatch is saved in the folder.
        OSError: something could not be written; the last checkpoint is whole.
        FileNotFoundError: if there is nothing to resume.
    """
    if not options.stop and options.stop_minutes is None:
        raise ValueError("nothing says when to stop: give a number of epochs, of minutes, or another stop criterion")
    folder = RunFolder(options.out)
    if not options.resume and (folder.path / "latest.json").exists():
        raise ValueError(f"{folder.path} holds a run already: resume it, or choose another folder")
    os.environ["CLOUDSCHED_RUN_DIR"] = str(folder.path)
    if options.resume:
        checkpoint, _ = folder.last_checkpoint()
        folder.publish_policy()
        workers = _recorded_workers(folder)
    else:
        checkpoint = None
        workers = _workers(config)
    from cloudsched_env.rllib.ray_session import ray_session

    with ray_session(options.address, workers):
        algorithm, state = _build(config, folder, checkpoint)
        try:
            return _loop(algorithm, state, folder, options)
        finally:
            algorithm.stop()
            folder.close()


def _build(config: Any, folder: RunFolder, checkpoint: Path | None) -> tuple[Any, RunState]:
    from ray.rllib.algorithms.algorithm import Algorithm

    from cloudsched_env.rllib.environments import register_environments

    register_environments()
    if checkpoint is not None:
        from cloudsched_env.rllib.compatibility import check_run, restored

        check_run(folder.path)
        _, state = folder.last_checkpoint()
        folder.continue_logs(state.epoch)
        return restored(checkpoint, lambda: Algorithm.from_checkpoint(str(checkpoint / "algorithm"))), state
    algorithm = config.build_algo()
    folder.write_description(_describe(config))
    return algorithm, RunState()


def _loop(algorithm: Any, state: RunState, folder: RunFolder, options: TrainingOptions) -> TrainingReport:
    from cloudsched_env.config_tree import nearest_names
    from cloudsched_env.rllib.diagnostics import Diagnostics
    from cloudsched_env.rllib.progress import EpochDisplay
    from cloudsched_env.rllib.results import epoch_row, result_named, validation_score
    from cloudsched_env.rllib.role_config import RoleBatchedConfig

    is_ours = isinstance(algorithm.config, RoleBatchedConfig)
    export = _exporter(algorithm, state) if is_ours and _exportable(algorithm) else None
    row: dict[str, float] = {"epoch": state.epoch, "env_steps": state.env_steps, "minutes": state.elapsed_s / 60}
    doubted: set[str] = set()
    diagnostics = Diagnostics()
    saved_epoch = state.epoch
    already = state.elapsed_s
    begun = time.monotonic()
    limit_s = math.inf if options.stop_minutes is None else 60 * options.stop_minutes

    def checkpoint() -> None:
        nonlocal saved_epoch
        folder.checkpoint(state, lambda path: _save(algorithm, path), export)
        saved_epoch = state.epoch

    display = EpochDisplay(options.progress, options.stop.get("training_iteration"), options.stop_minutes)
    with _interruptible() as interrupted, display:
        if is_ours:
            algorithm.on_warm_start = display.warm_start
        if state.epoch > 0:
            display.note(f"resumed after epoch {state.epoch}")
        while not _done(row, options.stop) and state.elapsed_s < limit_s and not interrupted():
            started = time.monotonic()
            result = algorithm.train()
            state.epoch += 1
            state.elapsed_s = already + time.monotonic() - begun
            interval = algorithm.config.evaluation_interval
            validated = bool(interval) and algorithm.iteration % interval == 0
            row = epoch_row(result, state.epoch, state.elapsed_s, validated)
            if state.epoch == 1 and getattr(algorithm, "warm_start_result", None) is not None:
                row.update(algorithm.warm_start_result.row())
            row["env_steps_per_s"] = (row["env_steps"] - state.env_steps) / (time.monotonic() - started)
            state.env_steps = int(row["env_steps"])
            score = validation_score(row)
            if score is not None and (state.best_score is None or score > state.best_score):
                state.best_score, state.best_epoch = score, state.epoch
            findings = diagnostics.check(row)
            row.update(diagnostics.columns(findings))
            folder.log(row)
            display.epoch(row, [finding.label for finding in findings])
            for finding in diagnostics.new(findings):
                display.note(f"{finding.label}: {finding.text}; docs/rllib.md says what to do")
            for name in {n for n in options.stop if result_named(row, n) is None} - doubted:
                # Some results come later than the first epoch, so this cannot be an error.
                display.note(f"stop criterion {name!r} is no result so far: {nearest_names(name, row)}")
                doubted.add(name)
            due = options.checkpoint_every and state.epoch % options.checkpoint_every == 0
            if due or state.best_epoch == state.epoch:
                checkpoint()
        if saved_epoch != state.epoch or not (folder.path / "latest.json").exists():
            checkpoint()
        if interrupted():
            display.note(f"stopped by Ctrl-C after epoch {state.epoch}; go on with --resume {folder.path}")
    return TrainingReport(folder.path, state, interrupted(), row)


def _done(row: Mapping[str, float], stop: Mapping[str, float]) -> bool:
    """As Ray Tune reads it: a run is over as soon as any result reaches its bound."""
    from cloudsched_env.rllib.results import result_named

    for name, bound in stop.items():
        reached = result_named(row, name)
        if reached is not None and reached >= bound:
            return True
    return False


def _save(algorithm: Any, path: Path) -> None:
    algorithm.save_to_path(str(path))


def _exportable(algorithm: Any) -> bool:
    settings = algorithm.config.settings
    # A folder of other networks than ours could not be loaded again.
    return settings.network_builder == type(settings)().network_builder


def _exporter(algorithm: Any, state: RunState) -> Callable[[Path], None]:
    from cloudsched_env import __version__
    from cloudsched_env.rllib.networks import ATTENTION, NetworkConfig, save_policy
    from cloudsched_env.scenario import load_scenario

    settings = algorithm.config.settings
    scenario = load_scenario(settings.scenario, settings.overrides)

    def export(path: Path) -> None:
        module = algorithm.env_runner.module
        networks = {role: module.policy(role) for role in module.roles()}
        if ATTENTION in module:
            networks[ATTENTION] = module[ATTENTION].unwrapped().network
        metadata = {
            "algorithm": algorithm.config.policy_name,
            "settings": portable(settings.to_dict()),
            "seed": algorithm.config.seed,
            "epoch": state.epoch,
            "env_steps": state.env_steps,
            "elapsed_s": state.elapsed_s,
            "deterministic": settings.validation.deterministic,  # how the policy acted when it was judged
            "validation_score": state.best_score if state.best_epoch == state.epoch else None,
            "version": __version__,
        }
        save_policy(path, networks, scenario, NetworkConfig.from_dict(settings.network_settings()), metadata)

    return export


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag; the second one interrupts at once, as usual."""
    flag = False

    def handle(number: int, frame: Any) -> None:
        nonlocal flag
        flag = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\nCtrl-C: finishing this epoch, then saving (press again to stop at once)", file=sys.stderr, flush=True)

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        yield lambda: flag
        return
    try:
        yield lambda: flag
    finally:
        signal.signal(signal.SIGINT, before)


def _workers(config: Any) -> int:
    return int(config.num_env_runners) + int(config.num_learners) + int(config.evaluation_num_env_runners or 0)


def _recorded_workers(folder: RunFolder) -> int:
    path = folder.path / "run.json"
    return int(json.loads(path.read_text(encoding="utf-8")).get("workers", 0)) if path.is_file() else 0


def _describe(config: Any) -> dict[str, Any]:
    import numpy
    import ray
    import torch

    from cloudsched_env import __version__
    from cloudsched_env.rllib.compatibility import describe_scenario

    settings = getattr(config, "settings", None)
    return {
        **(describe_scenario(settings) if settings is not None else {}),
        "algorithm": config.algo_class.__name__,
        "settings": settings.to_dict() if settings is not None else None,
        "seed": config.seed,
        "env": str(config.env),
        "num_env_runners": config.num_env_runners,
        "num_learners": config.num_learners,
        "workers": _workers(config),
        "command": sys.argv,
        "versions": {
            "cloudsched_env": __version__,
            "python": platform.python_version(),
            "ray": ray.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
    }
