"""An agent in a process of its own, with limits on memory and time: its crash is an exception here and no more.

The simulator stays in this process. What the agent gets are copies of observations and masks, so it has no way to the
state of the cluster. This is protection against mistakes, not against malice: the process may read files and use the
network, so run code of strangers where that does no harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents import Actions, ClusterInfo, Masks, Observations

__all__ = ["AgentFailedError", "IsolatedAgent", "Limits"]

_SERVER = "cloudsched_env.leaderboard.agent_server"
_LONGEST_HEADER = 1 << 20
_LOG_TAIL = 600
# What a contributed agent's process gets to see of the environment: enough to import packages, no secrets.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
                "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "SYSTEMROOT")  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a contributed agent may use.

    Attributes:
        memory_mb: address space of its process (libraries included: torch alone maps some GB).
        file_mb: largest file that it may write.
        load_s: time to import and create it.
        call_s: time of one call of ``reset`` or ``act``, for a whole batch.
        batch_s: time of one batch of episodes.
    """

    memory_mb: int = 8192
    file_mb: int = 256
    load_s: float = 180.0
    call_s: float = 30.0
    batch_s: float = 900.0


class AgentFailedError(RuntimeError):
    """An isolated agent failed.

    Args:
        kind: ``crash``, ``hang``, ``memory`` or ``contract``.
        message: for people.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return AgentFailedError, (self.kind, str(self))


class IsolatedAgent:
    """An agent whose code runs in another process; implements `cloudsched_env.agents.protocol.Agent`.

    Args:
        spec: what `cloudsched_env.agents.load_agent` takes.
        limits: of its process.
        watch: also find out whether the agent writes into its inputs, see `changed`.

    Attributes:
        name: of the agent.
        execution: of the agent.
        changed: inputs that the agent wrote into, with ``watch``.

    Raises:
        AgentFailedError: it could not be loaded.
    """

    def __init__(self, spec: str, limits: Limits | None = None, *, watch: bool = False) -> None:
        self.limits = limits or Limits()
        self.spec = spec
        self.changed: set[str] = set()
        self._watch = watch
        self._batch_ends = float("inf")
        self._times_s: list[float] = []
        self._batch = 1
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Where this process finds its modules, the other one does too: the package may be imported from a source tree.
        paths = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", _SERVER, str(requests), str(replies)],
            pass_fds=(requests, replies),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=environment,
        )
        os.close(requests)
        os.close(replies)
        os.set_blocking(self._replies, False)
        os.set_blocking(self._requests, False)
        self._buffer = b""
        try:
            answer, _ = self._ask(
                {"do": "load", "spec": spec, "memory_mb": self.limits.memory_mb, "file_mb": self.limits.file_mb},
                [],
                self.limits.load_s,
                "load",
            )
        except BaseException:
            self.close()
            raise
        self.name = str(answer["name"])
        self.execution = str(answer["execution"])

    def __enter__(self) -> IsolatedAgent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """See the protocol.

        Raises:
            AgentFailedError: what went wrong in the other process.
        """
        self._batch = batch_size
        self._times_s = []
        self._batch_ends = time.monotonic() + self.limits.batch_s
        message = {"do": "reset", "scenario": info.scenario.to_dict(), "batch": batch_size, "seed": int(seed)}
        self._ask(message, [], self.limits.call_s, "reset")

    def act(self, observations: Observations, masks: Masks) -> Actions:
        """See the protocol.

        Raises:
            AgentFailedError: what went wrong in the other process.
        """
        inputs: dict[str, Mapping[str, NDArray[Any]]] = {"observations": observations, "masks": masks}
        shapes = {kind: {role: array.shape for role, array in arrays.items()} for kind, arrays in inputs.items()}
        payload = [np.ascontiguousarray(array).tobytes() for arrays in inputs.values() for array in arrays.values()]
        left = self._batch_ends - time.monotonic()
        if left <= 0:
            raise self._failure("hang", f"a batch of episodes took longer than {self.limits.batch_s:g} s")
        answer, read = self._ask({"do": "act", "watch": self._watch, **shapes}, payload, self.limits.call_s, "act")
        self._times_s.append(float(answer["elapsed_ns"]) * 1e-9 / self._batch)
        self.changed.update(map(str, answer["changed"]))
        actions: Actions = {}
        for role, shape in answer["actions"].items():
            size = int(np.prod(shape))
            if not 0 <= size <= 10_000_000:
                raise self._failure("contract", f"actions of {role} have shape {shape}")
            actions[role] = np.frombuffer(read(8 * size), np.int64).reshape(shape)
        return actions

    def decision_times_s(self) -> NDArray[np.float64]:
        """Wall time of each ``act`` since ``reset``, measured where it ran, divided by the batch, ``[steps]``."""
        return np.array(self._times_s)

    def close(self) -> None:
        """End the other process and all that it started."""
        for end in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                os.close(end)
        self._requests = self._replies = -1
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _ask(self, header: dict[str, Any], payload: list[bytes], patience_s: float, what: str) -> tuple[dict, Any]:
        """Send a message and wait for the header of the reply; the rest is read by the function returned."""
        if self._requests < 0:
            raise AgentFailedError("crash", f"agent {self.spec!r}: its process has ended")
        ends = min(time.monotonic() + patience_s, self._batch_ends)

        def read(count: int) -> bytes:
            while len(self._buffer) < count:
                self._receive(ends, what)
            data, self._buffer = self._buffer[:count], self._buffer[count:]
            return data

        self._send(b"".join([json.dumps(header).encode() + b"\n", *payload]), ends, what)
        while b"\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_HEADER:
                raise self._failure("contract", "it sent what is no reply")
            self._receive(ends, what)
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise self._failure("contract", "it sent what is no reply") from error
        if "failure" in answer:
            raise AgentFailedError(str(answer["failure"]), f"{answer['message']}{self._tail()}")
        return answer, read

    def _send(self, data: bytes, ends: float, what: str) -> None:
        view = memoryview(data)
        while view:
            if not select.select([], [self._requests], [], max(0.0, ends - time.monotonic()))[1]:
                raise self._late(what)
            try:
                view = view[os.write(self._requests, view[: 1 << 16]) :]
            except BrokenPipeError:
                raise self._ended(what) from None

    def _receive(self, ends: float, what: str) -> None:
        if not select.select([self._replies], [], [], max(0.0, ends - time.monotonic()))[0]:
            raise self._late(what)
        data = os.read(self._replies, 1 << 20)
        if not data:
            raise self._ended(what)
        self._buffer += data

    def _late(self, what: str) -> AgentFailedError:
        limit = {"load": self.limits.load_s}.get(what, self.limits.call_s)
        if time.monotonic() >= self._batch_ends:
            return self._failure("hang", f"a batch of episodes took longer than {self.limits.batch_s:g} s")
        return self._failure("hang", f"{what} took longer than {limit:g} s")

    def _ended(self, what: str) -> AgentFailedError:
        """The process is gone: say by which signal or with which status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        status = self._process.poll()
        if status is not None and status < 0:
            how = f"was ended by signal {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        return self._failure("crash", f"its process {how} in {what}")

    def _failure(self, kind: str, message: str) -> AgentFailedError:
        failure = AgentFailedError(kind, f"{message}{self._tail()}")
        self.close()
        return failure

    def _tail(self) -> str:
        """The end of what the agent printed."""
        if self._log.closed:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL))
        text = self._log.read().decode(errors="replace").strip()
        return f"; it printed last: …{text}" if text else ""
