"""Trainings on the nodes of a Ray cluster: an actor a process, watched as processes of this machine are."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import ray

from comparison.trainings import COMMAND

__all__ = ["RemoteProcess", "spawn_on_cluster"]

_FAILED = 1

# The nodes of the cluster have the package installed, but not this script.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class _Process:
    """Runs a command on the node that the actor is on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._early: int | None = None

    def run(self, command: Sequence[str], log: str, folder: str, environment: Mapping[str, str]) -> int:
        """Run it to its end; returns its exit status."""
        with open(log, "a", encoding="utf-8") as file:
            with self._lock:
                if self._early is not None:
                    return -self._early
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=dict(environment),
                    start_new_session=True,
                )
            return self._process.wait()

    def send_signal(self, number: int) -> None:
        """Pass on a signal; a command that has not begun then never does."""
        with self._lock:
            if self._process is None:
                self._early = number
            else:
                self._process.send_signal(number)


class RemoteProcess:
    """A command on some node of the cluster, with what is asked of a `subprocess.Popen`.

    Args:
        command: to run.
        log: file for its output.
        folder: that it runs in, on every node.
        environment: of the process.
    """

    def __init__(self, command: Sequence[str], log: Path, folder: Path, environment: Mapping[str, str]) -> None:
        # A second thread passes signals on while the first waits for the process.
        self._actor = ray.remote(num_cpus=1, max_concurrency=2)(_Process).remote()
        self._code = self._actor.run.remote(list(command), str(log), str(folder), dict(environment))

    def poll(self) -> int | None:
        """Exit status; None while it runs. A node that is lost counts as a failure."""
        ready, _ = ray.wait([self._code], timeout=0)
        return self.wait() if ready else None

    def wait(self) -> int:
        """Exit status, when it has ended."""
        try:
            return int(ray.get(self._code))
        except ray.exceptions.RayError:
            return _FAILED

    def send_signal(self, number: int) -> None:
        """Pass a signal on to the process."""
        self._actor.send_signal.remote(number)


def spawn_on_cluster(command: Sequence[str], log: IO[str], lock: IO[str]) -> Any:
    """``cloudsched`` on a node with a free core, which must see this folder under the same path.

    Args:
        command: its arguments.
        log: for its output.
        lock: stays with this process, which watches.
    """
    log.write(f"$ cloudsched {' '.join(command)}\n")
    log.flush()
    # The training starts a Ray of its own, and must not take this one for it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    program = [sys.executable, "-c", COMMAND, *command]
    return RemoteProcess(program, Path(log.name).resolve(), Path.cwd(), {**environment, "OMP_NUM_THREADS": "1"})
