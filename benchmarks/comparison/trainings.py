"""All trainings of the comparison: which are missing, in what order, several at a time, none of them lost.

RUNS/plan.json                       what all trainings share
RUNS/trajectories/                   recorded once for warm starts
RUNS/<variant>/seed_0/training.json  what this one is trained with
RUNS/<variant>/seed_0/run/           folder of `cloudsched train`
RUNS/<variant>/seed_0/log.txt        its output
RUNS/<variant>/seed_0/lock           held by the process that trains
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cloudsched_env.evaluation.interface import first_difference
from cloudsched_env.whole_file import write_whole
from comparison.variants import TRAJECTORIES, Variant

COMMAND = "from cloudsched_env.cli import main; main()"
_OF_THE_PLAN = ("scenario", "overrides", "trace", "storage_load")
FINISHED, BEGUN, NEW = "finished", "begun", "new"
_SPEED_WINDOW_S = 3600.0  # of the estimate of the time left: trainings of different algorithms differ in speed


@dataclass(frozen=True)
class Plan:
    """What all trainings share.

    Attributes:
        runs: folder of all of them.
        scenario: id.
        trace: task table; None draws from the generator.
        data: what tells the table from others.
        epochs: of a training.
        expert: agent that warm starts clone.
        recorded_episodes: episodes recorded of it.
    """

    runs: Path
    scenario: str
    trace: Path | None
    data: str
    epochs: int
    expert: str
    recorded_episodes: int

    @property
    def source(self) -> list[str]:
        """Arguments that name the workload."""
        return ["--scenario", self.scenario, *(["--trace", str(self.trace)] if self.trace else [])]

    @property
    def trajectories(self) -> Path:
        """Recorded once, for all warm starts."""
        return self.runs / "trajectories"

    def keep(self) -> None:
        """Write down what all trainings share, or compare it with what those that are there shared.

        Epochs are no part of it: the same command with more epochs goes on with finished trainings.

        Raises:
            ValueError: naming what differs.
        """
        path = self.runs / "plan.json"
        names = ("scenario", "data", "expert", "recorded_episodes")
        wanted = {name: getattr(self, name) for name in names}
        if path.is_file():
            different = first_difference(json.loads(path.read_text(encoding="utf-8")), wanted, "plan")
            if different:
                raise ValueError(f"{self.runs} holds trainings of another plan: {different}; choose another --runs")
            return
        write_whole(path, json.dumps(wanted, indent=1) + "\n")


@dataclass(frozen=True)
class Training:
    """One variant with one seed."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def run(self) -> Path:
        """Folder of `cloudsched train`."""
        return self.folder / "run"

    def state(self) -> dict[str, Any] | None:
        """State of the last whole checkpoint; None before the first."""
        pointer = self.run / "latest.json"
        if not pointer.is_file():
            return None
        last = json.loads(pointer.read_text(encoding="utf-8"))["last"]
        found: dict[str, Any] = json.loads((self.run / "checkpoints" / last / "state.json").read_text(encoding="utf-8"))
        return found

    def status(self, epochs: int) -> str:
        """`FINISHED`, `BEGUN` (has a checkpoint to go on from) or `NEW`.

        Raises:
            ValueError: it has had more epochs than are wanted, or was trained with other settings.
        """
        self.check()
        state = self.state()
        if state is None:
            return NEW
        if state["epoch"] > epochs:
            raise ValueError(
                f"{self.name} has had {state['epoch']} epochs, wanted are {epochs}: all trainings must have the same "
                f"number; ask for {state['epoch']}, or remove {self.folder}"
            )
        return FINISHED if state["epoch"] == epochs else BEGUN

    def check(self) -> None:
        """Compare what it was begun with with what the variant is now.

        Raises:
            ValueError: naming the setting that differs.
        """
        path = self.folder / "training.json"
        if path.is_file() and (self.run / "latest.json").is_file():
            different = first_difference(
                json.loads(path.read_text(encoding="utf-8")), self.variant.to_dict(), self.variant.name
            )
            if different:
                raise ValueError(
                    f"{self.name} was begun with other settings: {different}; give the variant another name, or remove "
                    f"{self.folder}"
                )

    def check_defaults(self, settings: Mapping[str, Any]) -> None:
        """Compare the settings that it was begun with with what they are now, defaults of the package included.

        Args:
            settings: all of the variant's, see `variants.check_settings`.

        Raises:
            ValueError: naming the setting that differs.
        """
        path = self.run / "run.json"
        if not path.is_file() or self.state() is None:
            return
        stored = json.loads(path.read_text(encoding="utf-8"))["settings"]
        different = different_default(stored, settings, self.variant.name)
        if different:
            raise ValueError(
                f"{self.name} was begun with other defaults: {different}; write the old value into the variant's "
                f"settings, or remove {self.folder} (all seeds of a row must have the same)"
            )

    @property
    def policy(self) -> Path:
        """The best policy on validation (the last one without validation), of a checkpoint, so whole or absent."""
        pointer = json.loads((self.run / "latest.json").read_text(encoding="utf-8"))
        return self.run / "checkpoints" / (pointer["best"] or pointer["last"]) / "policy"

    def epochs_done(self) -> int:
        """Epochs in its log; what came after the last checkpoint is done again if it is interrupted."""
        log = self.run / "progress.csv"
        return max(0, log.read_bytes().count(b"\n") - 1) if log.is_file() else 0


def different_default(stored: Mapping[str, Any], settings: Mapping[str, Any], name: str) -> str | None:
    """The first setting in which two trainings differ, in words.

    Scenario, data and recorded episodes are the plan's and do not count; nor do settings that came to the package
    since, whose defaults change nothing.

    Args:
        stored: all settings of a training that is there.
        settings: all settings now.
        name: of the variant.
    """
    owned = {key: value for key, value in json.loads(json.dumps(settings)).items() if key not in _OF_THE_PLAN}
    known = {key: value for key, value in stored.items() if key in owned}
    for values in (owned, known):
        if isinstance(values.get("warm_start"), Mapping):
            values["warm_start"] = {**values["warm_start"], "trajectories": None}
    return first_difference(known, _below(owned, known), name)


def _below(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of nested settings that a mapping like them has too."""
    both = (dict, Mapping)
    return {
        key: _below(value, known[key]) if isinstance(value, both) and isinstance(known[key], both) else value
        for key, value in values.items()
        if key in known
    }


def order(plan: Plan, variants: Sequence[Variant], seeds: int) -> list[Training]:
    """All trainings: every variant's seed 0 first, then seed 1 and so on, so that what is there can be compared."""
    return [Training(v, seed, plan.runs / v.name / f"seed_{seed}") for seed in range(seeds) for v in variants]


def arguments(plan: Plan, training: Training, status: str) -> list[str]:
    """Of ``cloudsched``, to begin a training or to go on with it."""
    stop = ["--stop-epochs", str(plan.epochs)]
    if status == BEGUN:
        return ["train", "--resume", str(training.run), *stop]
    settings: dict[str, Any] = dict(training.variant.settings)
    if training.variant.warm_start:
        settings[TRAJECTORIES] = str(plan.trajectories)
    changes = [f"--set={name}={v if isinstance(v, str) else json.dumps(v)}" for name, v in settings.items()]
    begin = ["train", training.variant.algorithm, *plan.source, "--seed", str(training.seed)]
    return [*begin, "--out", str(training.run), *stop, *changes]


def spawn(command: Sequence[str], log: IO[str], lock: IO[str]) -> subprocess.Popen[bytes]:
    """``cloudsched`` in a process of its own, which holds the lock as long as it lives.

    A session of its own keeps Ctrl-C of the terminal from it: it gets the signal once, from us, and saves.
    """
    log.write(f"$ cloudsched {shlex.join(command)}\n")
    log.flush()
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        pass_fds=[lock.fileno()],
        start_new_session=True,
    )


Spawn = Callable[[Sequence[str], IO[str], IO[str]], "subprocess.Popen[bytes]"]


class _Active:
    """A training that has one of the places: it runs, or waits for another process that trains it already."""

    def __init__(self, training: Training) -> None:
        training.folder.mkdir(parents=True, exist_ok=True)
        self.training = training
        self.lock = (training.folder / "lock").open("a", encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def locked(self) -> bool:
        """Try to get the lock."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def begin(self, plan: Plan, start: Spawn) -> bool:
        """Start the process; False if nothing is left to do."""
        training = self.training
        status = training.status(plan.epochs)
        if status == FINISHED:
            return False
        if status == NEW:
            shutil.rmtree(training.run, ignore_errors=True)  # it ended before its first checkpoint
            write_whole(training.folder / "training.json", json.dumps(training.variant.to_dict(), indent=1) + "\n")
        with (training.folder / "log.txt").open("a", encoding="utf-8") as log:
            self.process = start(arguments(plan, training, status), log, self.lock)
        return True


def train_all(
    plan: Plan, trainings: Sequence[Training], jobs: int, console: Console, *, start: Spawn = spawn, poll_s: float = 1.0
) -> tuple[list[str], bool]:
    """Do what is missing, ``jobs`` at a time.

    A training that fails is tried once more after all others: a busy machine may have kept Ray from starting. The first
    Ctrl-C (or termination) lets running trainings save and end, the second ends them at once. What is killed
    goes on from its last checkpoint when the command is repeated. A training that an earlier, killed command left
    running is waited for.

    Args:
        plan: what they share.
        trainings: in the order in which they are begun.
        jobs: processes at a time.
        console: of the progress bar and one line a training.
        start: starts ``cloudsched``.
        poll_s: seconds between looks at the processes.

    Returns:
        What failed, and whether it was interrupted.

    Raises:
        ValueError: a training that is there does not fit; nothing has been started.
    """
    missing = [t for t in trainings if t.status(plan.epochs) != FINISHED]
    waiting: deque[Training] = deque(missing)
    active: list[_Active] = []
    failures: list[str] = []
    tried: set[Path] = set()
    done = {t.folder: plan.epochs for t in trainings if t not in missing}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with (
        _signals() as presses,
        Progress(
            *columns, TextColumn("left"), TimeRemainingColumn(), console=console, speed_estimate_period=_SPEED_WINDOW_S
        ) as bar,
    ):
        task = bar.add_task("training", total=len(trainings) * plan.epochs, completed=len(done) * plan.epochs)
        passed_on = 0
        try:
            while active or (waiting and not presses):
                while waiting and len(active) < jobs and not presses:
                    active.append(_Active(waiting.popleft()))
                for entry in list(active):
                    outcome = _step(entry, plan, start, bool(presses))
                    training = entry.training
                    done[training.folder] = min(plan.epochs, training.epochs_done())
                    if outcome is None:
                        continue
                    entry.lock.close()
                    active.remove(entry)
                    if not outcome:
                        console.print(f"{training.name}: {training.status(plan.epochs)}", highlight=False)
                    elif training.folder in tried:
                        failures.append(outcome)
                    else:
                        tried.add(training.folder)
                        waiting.append(training)
                    if outcome:
                        console.print(f"{training.name}: failed, the others go on", style="red", highlight=False)
                if len(presses) > passed_on:
                    passed_on = len(presses)
                    console.print("saving the trainings that run; again to stop at once", style="yellow")
                    for entry in active:
                        if entry.process is not None:
                            entry.process.send_signal(signal.SIGINT)
                running = ", ".join(f"{e.training.name}: {done[e.training.folder]}" for e in active)
                bar.update(task, completed=sum(done.values()), description=running or "training")
                if active:
                    time.sleep(poll_s)
        finally:
            for entry in active:
                if entry.process is not None:
                    entry.process.send_signal(signal.SIGINT)
                    entry.process.wait()
                entry.lock.close()
    return failures, bool(presses)


def _step(entry: _Active, plan: Plan, start: Spawn, stopping: bool) -> str | None:
    """Look after one training; None while it keeps its place, then what went wrong, or nothing."""
    training = entry.training
    if entry.process is None:
        if stopping:
            return ""
        try:
            return None if not entry.locked() or entry.begin(plan, start) else ""
        except ValueError as error:  # what another process left does not fit
            return str(error)
    code = entry.process.poll()
    if code is None:
        return None
    entry.process = None
    if stopping or training.status(plan.epochs) == FINISHED:
        return ""
    log = training.folder / "log.txt"
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
    return "\n".join([f"{training.name}: exit status {code}; the end of {log}:", *tail])


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that ask to stop, as a list that grows."""
    presses: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda got, frame: presses.append(got)) for number in numbers}
    try:
        yield presses
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def record_expert(plan: Plan, console: Console) -> None:
    """Record the expert for warm starts, unless that was done.

    Raises:
        RuntimeError: it failed.
    """
    marker = plan.runs / "trajectories.done"
    if marker.is_file():
        return
    run_cloudsched(
        [
            "record",
            plan.expert,
            *plan.source,
            "--episodes",
            str(plan.recorded_episodes),
            "--out",
            str(plan.trajectories),
        ],
        console,
    )
    write_whole(marker, "")


def run_cloudsched(command: Sequence[str], console: Console) -> None:
    """A step of its own, with its own progress bar, as a user would type it.

    Raises:
        RuntimeError: it failed.
    """
    console.print(f"$ cloudsched {shlex.join(command)}", markup=False, highlight=False, soft_wrap=True)
    if subprocess.run([sys.executable, "-c", COMMAND, *command], check=False).returncode:
        raise RuntimeError(f"cloudsched {command[0]} failed: repeat the command to go on")
