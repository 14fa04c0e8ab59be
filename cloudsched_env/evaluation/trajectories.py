"""Recorded trajectories on disk: what every agent of each role observed and did, in Parquet.

    trajectories.json                what was recorded: scenario, interface of the roles, source, seed, versions, agents
    000_least_allocated/             one folder an agent, in the order in which they were recorded
        part_0000/                   a few whole episodes
            compute.parquet          one row an agent and step, ordered by episode, step, agent
            storage.parquet
            scheduler.parquet
            cluster.parquet          one row a step and one after the last: global state, team reward

Columns of a role: ``episode`` (within the part), ``step``, ``agent``, ``observation`` (float32, one list a row),
``mask`` (its bits, packed), ``action`` (one level a sub-action, as the agent gave it), ``local_reward``.
Columns of the cluster: ``episode``, ``step``, ``state``, ``team_reward`` (null after the last step).

A part is written aside, synchronised with the disk and renamed: it is whole or absent. The description lists the
parts that count.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.interface import ROLE_MODULES, describe_roles, roles_difference
from cloudsched_env.roles import state
from cloudsched_env.scenario import Scenario
from cloudsched_env.traces.errors import require
from cloudsched_env.whole_file import write_whole

__all__ = [
    "DESCRIPTION",
    "FORMAT",
    "Trajectories",
    "TrajectoryError",
    "load_trajectories",
    "part_name",
    "read_description",
    "write_description",
    "write_part",
]

FORMAT = "cloudsched-trajectories/1"
DESCRIPTION = "trajectories.json"
_CLUSTER = "cluster"


class TrajectoryError(ValueError):
    """A folder of trajectories is absent, damaged, or does not fit the scenario it is to be used with."""


@dataclass(frozen=True)
class Trajectories:
    """Whole episodes of one agent, time-major; T steps, B episodes, n agents of the role.

    Attributes:
        agent: who was recorded.
        roles: for each role ``observations`` float32 [T, B, n, d], ``masks`` int8 [T, B, n, levels], ``actions`` int64
            [T, B, n, sub-actions] as the agent gave them, ``local_rewards`` float32 [T, B, n].
        states: global state before each step and after the last one, float32 [T + 1, B, s].
        team_rewards: float32 [T, B].
    """

    agent: str
    roles: Mapping[str, Mapping[str, NDArray[Any]]]
    states: NDArray[np.float32]
    team_rewards: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        return self.team_rewards.shape[0], self.team_rewards.shape[1]

    def episodes(self, chosen: slice) -> Trajectories:
        """Some of the episodes, as views."""
        return Trajectories(
            self.agent,
            {role: {name: v[:, chosen] for name, v in columns.items()} for role, columns in self.roles.items()},
            self.states[:, chosen],
            self.team_rewards[:, chosen],
        )


# ---- writing


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Replace the description of a folder in one step.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    text = json.dumps(description, indent=1, allow_nan=False) + "\n"
    write_whole(folder / DESCRIPTION, text)


def write_part(folder: Path, trajectories: Trajectories) -> None:
    """Write a few episodes; the folder appears under its name only when it is complete.

    Args:
        folder: of the part; replaced if it exists.
        trajectories: what to write.

    Raises:
        OSError: it cannot be written (a full disk); nothing of it is left.
        ModuleNotFoundError: pyarrow is not installed.
    """
    temporary = folder.with_name(f".{folder.name}.tmp{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for role, columns in trajectories.roles.items():
            _write_table(temporary / f"{role}.parquet", _role_table(columns))
        _write_table(temporary / f"{_CLUSTER}.parquet", _cluster_table(trajectories))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _role_table(columns: Mapping[str, NDArray[Any]]) -> Any:
    pa = require("pyarrow")
    # Episodes one after the other: [T, B, n, ...] to rows of (episode, step, agent).
    by_episode = {name: np.swapaxes(values, 0, 1) for name, values in columns.items()}
    episodes, steps, agents = by_episode["local_rewards"].shape
    episode, step, agent = np.indices((episodes, steps, agents), dtype=np.int32).reshape(3, -1)
    packed = np.packbits(by_episode["masks"] != 0, axis=-1)
    return pa.table(
        {
            "episode": pa.array(episode),
            "step": pa.array(step),
            "agent": pa.array(agent),
            "observation": _lists(by_episode["observations"], np.float32),
            "mask": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(packed.shape[-1]), episode.size, [None, pa.py_buffer(np.ascontiguousarray(packed))]
            ),
            "action": _lists(by_episode["actions"], np.int16),
            "local_reward": pa.array(by_episode["local_rewards"].reshape(-1)),
        }
    )


def _cluster_table(trajectories: Trajectories) -> Any:
    pa = require("pyarrow")
    states = np.swapaxes(trajectories.states, 0, 1)
    episode, step = np.indices(states.shape[:2], dtype=np.int32).reshape(2, -1)
    rewards = np.full(states.shape[:2], np.nan, np.float32)
    rewards[:, :-1] = trajectories.team_rewards.T
    after_last = np.zeros(states.shape[:2], np.bool_)
    after_last[:, -1] = True
    return pa.table(
        {
            "episode": pa.array(episode),
            "step": pa.array(step),
            "state": _lists(states, np.float32),
            "team_reward": pa.array(rewards.reshape(-1), mask=after_last.reshape(-1)),
        }
    )


def _lists(values: NDArray[Any], kind: Any) -> Any:
    """The last axis as fixed-size lists, one a row."""
    pa = require("pyarrow")
    flat = np.ascontiguousarray(values, dtype=kind).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[-1])


def _write_table(path: Path, table: Any) -> None:
    pq = require("pyarrow.parquet")
    floats = ("observation.list.element", "state.list.element", "local_reward", "team_reward")
    present = [name for name in floats if name.split(".")[0] in table.column_names]
    with open(path, "wb") as handle:
        pq.write_table(
            table,
            handle,
            compression="zstd",
            use_dictionary=[n for n in ("episode", "step", "agent", "mask") if n in table.column_names],
            use_byte_stream_split=present,  # floats of one field are alike in sign and exponent
        )
        handle.flush()
        os.fsync(handle.fileno())


# ---- reading


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The description of a folder of trajectories.

    Raises:
        TrajectoryError: there is none, or it is of another format.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise TrajectoryError(
            f"{folder} holds no trajectories: expected {DESCRIPTION}; `cloudsched record AGENT --out {folder}` makes it"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TrajectoryError(f"{path} is damaged: {error}; record the trajectories again") from error
    found = description.get("format") if isinstance(description, dict) else type(description).__name__
    if found != FORMAT:
        raise TrajectoryError(f"{path} has format {found!r}: this version reads {FORMAT!r}; record again")
    return dict(description)


def load_trajectories(folder: str | os.PathLike[str], scenario: Scenario) -> list[Trajectories]:
    """All recorded episodes, one `Trajectories` a part.

    Args:
        folder: what `cloudsched record` wrote.
        scenario: that they are to be used with; its constants may differ from those of the recording, but not what
            roles observe and choose, nor the number of agents.

    Raises:
        TrajectoryError: the folder does not hold what it should, or role and field that do not fit the scenario.
        ModuleNotFoundError: pyarrow is not installed.
    """
    description = read_description(folder)
    difference = roles_difference(description["roles"], describe_roles(scenario))
    if difference is not None:
        raise TrajectoryError(
            f"the trajectories in {folder} do not fit scenario {scenario.id!r}: {difference}; record them on this "
            "scenario"
        )
    parts: list[Trajectories] = []
    for recording in description["recordings"]:
        for part in recording["parts"]:
            parts.append(_read_part(Path(folder) / part["folder"], recording["agent"], scenario))
    if not parts:
        raise TrajectoryError(f"{folder} describes no recorded episode: record one with `cloudsched record`")
    return parts


def _read_part(folder: Path, agent: str, scenario: Scenario) -> Trajectories:
    pq = require("pyarrow.parquet")
    arrow_error = require("pyarrow").ArrowException
    try:
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in (*ROLE_MODULES, _CLUSTER)}
    except (OSError, arrow_error) as error:
        raise TrajectoryError(f"the trajectories in {folder} are damaged: {error}; record them again") from error
    cluster = tables[_CLUSTER]
    episodes = int(cluster["episode"].to_numpy().max()) + 1
    rows = {name: len(table) for name, table in tables.items()}
    steps = rows[_CLUSTER] // episodes - 1
    for role in ROLE_MODULES:
        expected = episodes * steps * scenario.role_counts[role]
        if rows[role] != expected or rows[_CLUSTER] != episodes * (steps + 1):
            raise TrajectoryError(f"{folder}/{role}.parquet has {rows[role]} rows: expected {expected}; record again")

    def time_major(values: NDArray[Any], *shape: int) -> NDArray[Any]:
        return np.ascontiguousarray(np.swapaxes(values.reshape(episodes, *shape), 0, 1))

    roles: dict[str, dict[str, NDArray[Any]]] = {}
    for role, module in ROLE_MODULES.items():
        table, count = tables[role], scenario.role_counts[role]
        levels = int(module.action_levels(scenario).sum())
        packed = np.frombuffer(b"".join(table["mask"].to_pylist()), np.uint8).reshape(len(table), -1)
        roles[role] = {
            "observations": time_major(_flat(table["observation"]), steps, count, module.layout(scenario).size),
            "masks": time_major(np.unpackbits(packed, axis=-1, count=levels).view(np.int8), steps, count, levels),
            "actions": time_major(
                _flat(table["action"]).astype(np.int64), steps, count, len(module.action_levels(scenario))
            ),
            "local_rewards": time_major(table["local_reward"].to_numpy(), steps, count),
        }
    states = time_major(_flat(cluster["state"]), steps + 1, state.layout(scenario).size)
    rewards = time_major(cluster["team_reward"].to_numpy(), steps + 1)[:-1]
    return Trajectories(agent, roles, states, rewards)


def _flat(column: Any) -> NDArray[Any]:
    return column.combine_chunks().flatten().to_numpy()


def part_name(index: int, agent: str) -> str:
    """Folder of an agent's recording: its number and a readable form of its name."""
    return f"{index:03d}_{re.sub(r'[^A-Za-z0-9._-]+', '_', agent).strip('_')[:60]}"
