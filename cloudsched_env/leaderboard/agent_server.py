"""The other end of `isolation`: a process that holds one agent and answers over two pipes.

Started by `IsolatedAgent` as ``python -m cloudsched_env.leaderboard.agent_server IN OUT``. Messages are a line of JSON
and raw array bytes, never pickles: the side that holds the results unpacks nothing that could run code.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import Any, BinaryIO

import numpy as np

from cloudsched_env.agents import AgentError, ClusterInfo, check_actions, load_agent
from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.scenario import Scenario

__all__ = ["main", "scenario_from_dict"]

_ROLES = {"compute": compute, "storage": storage, "scheduler": scheduler}


def scenario_from_dict(values: dict[str, Any]) -> Scenario:
    """The inverse of `Scenario.to_dict`."""
    changes: dict[str, Any] = {}
    for group, value in values.items():
        if isinstance(value, dict):
            changes.update({f"{group}.{name}": entry for name, entry in value.items()})
        else:
            changes[group] = value
    return Scenario().override(changes)


def cluster_info(scenario: Scenario) -> ClusterInfo:
    """What an agent may know of the cluster, from its constants alone."""
    return ClusterInfo(
        scenario,
        {role: module.layout(scenario) for role, module in _ROLES.items()},
        {role: module.action_levels(scenario).astype(np.int64) for role, module in _ROLES.items()},
        scenario.role_counts,
    )


def main(arguments: list[str]) -> None:
    """Serve until the other end closes the pipe."""
    with os.fdopen(int(arguments[0]), "rb") as requests, os.fdopen(int(arguments[1]), "wb") as replies:
        server = _Server()
        for line in iter(requests.readline, b""):
            message = json.loads(line)
            try:
                header, payload = server.answer(message, requests)
            except AgentError as error:
                header, payload = {"failure": "contract", "message": str(error)}, []
            except MemoryError as error:
                header, payload = {"failure": "memory", "message": f"out of memory: {error}"}, []
            except (KeyboardInterrupt, SystemExit) as error:
                header, payload = {"failure": "crash", "message": f"the agent ended its process: {error!r}"}, []
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{os.path.basename(place.filename)}, line {place.lineno}, in {place.name}"
                header, payload = {"failure": "crash", "message": f"{type(error).__name__}: {error} ({where})"}, []
            replies.write(json.dumps(header).encode() + b"\n")
            for part in payload:
                replies.write(part)
            replies.flush()


class _Server:
    """One agent and the cluster that it was last told of."""

    def __init__(self) -> None:
        self._agent: Any = None
        self._info: ClusterInfo | None = None
        self._batch = 0

    def answer(self, message: dict[str, Any], requests: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
        if message["do"] == "load":
            _limit_resources(message["memory_mb"], message["file_mb"])
            self._agent = load_agent(message["spec"])
            return {"name": self._agent.name, "execution": str(getattr(self._agent, "execution", "none"))}, []
        if message["do"] == "reset":
            self._info = cluster_info(scenario_from_dict(message["scenario"]))
            self._batch = message["batch"]
            self._agent.reset(self._info, self._batch, message["seed"])
            return {}, []
        assert self._info is not None
        arrays = {kind: _read_arrays(message[kind], dtype, requests) for kind, dtype in _INPUTS.items()}
        before = {kind: {r: a.copy() for r, a in arrays[kind].items()} for kind in arrays} if message["watch"] else {}
        began = time.perf_counter_ns()
        chosen = self._agent.act(arrays["observations"], arrays["masks"])
        elapsed = time.perf_counter_ns() - began
        actions = check_actions(chosen, self._info, self._batch, self._agent.name)
        changed = [
            f"{kind} of role {role}"
            for kind, kept in before.items()
            for role, array in kept.items()
            if not np.array_equal(array, arrays[kind][role])
        ]
        shapes = {role: array.shape for role, array in actions.items()}
        return {"elapsed_ns": elapsed, "actions": shapes, "changed": changed}, [a.tobytes() for a in actions.values()]


_INPUTS: dict[str, Any] = {"observations": np.float32, "masks": np.int8}


def _read_arrays(shapes: dict[str, list[int]], dtype: Any, requests: BinaryIO) -> dict[str, np.ndarray]:
    """Arrays that the agent may do with what it likes: they are copies."""
    arrays = {}
    for role, shape in shapes.items():
        array = np.empty(shape, dtype)
        view = array.reshape(-1).view(np.uint8).data
        read = 0
        while read < len(view):
            count = requests.readinto(view[read:])  # type: ignore[attr-defined]
            if not count:
                raise EOFError("the other end closed the pipe")
            read += count
        arrays[role] = array
    return arrays


def _limit_resources(memory_mb: int, file_mb: int) -> None:
    """Limits of this process that it cannot raise again; where the system has none, only the clock limits it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, megabytes in ((resource.RLIMIT_AS, memory_mb), (resource.RLIMIT_FSIZE, file_mb)):
        wanted = megabytes * 2**20
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(
            limit, (wanted, wanted) if hard in (resource.RLIM_INFINITY,) or hard > wanted else (hard, hard)
        )


if __name__ == "__main__":
    main(sys.argv[1:])
