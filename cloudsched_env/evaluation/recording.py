"""Playing agents on train windows and keeping what every role observed and did (``cloudsched record``)."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents import Agent, ClusterInfo, check_actions, load_agent
from cloudsched_env.agents.check import check_agent
from cloudsched_env.evaluation.interface import describe_roles, first_difference
from cloudsched_env.evaluation.trajectories import (
    DESCRIPTION,
    FORMAT,
    Trajectories,
    TrajectoryError,
    part_name,
    read_description,
    write_description,
    write_part,
)
from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode
from cloudsched_env.workload.source import GeneratedSource, TraceSource, make_source
from cloudsched_env.workload.storage_load import StorageLoad

__all__ = ["BATCH_SIZE", "record"]

BATCH_SIZE = 8  # episodes of a part: they are in memory together

Progress = Callable[[str, int, int], None]
"""Called after every step with the agent's name, the episode-steps done, and the total."""


def record(
    agents: Sequence[str | Agent],
    out: str | os.PathLike[str],
    scenario: str | Scenario = "paper-v1",
    episodes: int = 16,
    seed: int = 0,
    trace: Any = None,
    *,
    overrides: dict[str, Any] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    storage_load: StorageLoad | None = None,
) -> dict[str, Any]:
    """Record agents on the same train windows.

    Only train windows: what is cloned from a recording must not have seen those that judge it. Parts that the folder
    already holds are passed over, so an interrupted recording goes on where it ended, and agents can be added later.

    Args:
        agents: agents, or strings for `cloudsched_env.agents.load_agent`.
        out: folder of the trajectories.
        scenario: an id or a `Scenario`.
        episodes: how many of the fixed list of train windows.
        seed: of the episode list, the clusters' telemetry and failures, and the agents.
        trace: task table of an imported trace; the calibrated generator without it.
        overrides: scenario fields changed by dotted name.
        batch_size: episodes that are played at once and written together.
        progress: called after every step.
        storage_load: disks of a block trace that compete for the storage nodes.

    Returns:
        The description that was written.

    Raises:
        TrajectoryError: the folder holds trajectories of another scenario, source, seed or batch size.
        ValueError: for a wrong argument, or an agent that does not keep to the contract.
        OSError: a part cannot be written; the parts before it are kept.
    """
    for name, value in (("episodes", episodes), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}: expected at least 1")
    loaded = [load_agent(agent) if isinstance(agent, str) else agent for agent in agents]
    for agent in loaded:
        check_agent(agent, "record")
    cluster = load_scenario(scenario, overrides)
    source = cast("GeneratedSource | TraceSource", make_source(cluster, "train", trace, storage_load))
    fixed = source.evaluation_episodes(episodes, seed)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    description = _begin(folder, cluster, fixed[0], seed, batch_size, trace, storage_load)
    total, done = len(loaded) * len(fixed) * cluster.time.horizon_steps, 0
    for agent in loaded:
        recording = _recording_of(description, agent)
        parts = {part["folder"]: part for part in recording["parts"]}
        for number, first in enumerate(range(0, len(fixed), batch_size)):
            chunk = fixed[first : first + batch_size]
            name = f"{recording['folder']}/part_{number:04d}"
            known = parts.get(name)
            if known is None or len(known["episodes"]) < len(chunk) or not (folder / name).is_dir():

                def report(step: int, who: str = agent.name, before: int = done, size: int = len(chunk)) -> None:
                    if progress is not None:
                        progress(who, before + step * size, total)

                env = CloudSchedVectorEnv(cluster, len(chunk), source=source)
                played = _play(agent, env, chunk, seed + first, report)
                write_part(folder / name, played)
                parts[name] = {
                    "folder": name,
                    "seed": seed + first,
                    "episodes": [_episode_entry(episode) for episode in chunk],
                    "mean_team_reward": float(played.team_rewards[cluster.time.warmup_steps :].mean()),
                }
                recording["parts"] = [parts[key] for key in sorted(parts)]
                write_description(folder, description)
            done += len(chunk) * cluster.time.horizon_steps
    return description


def _begin(
    folder: Path, cluster: Scenario, episode: Episode, seed: int, batch_size: int, trace: Any, storage_load: Any
) -> dict[str, Any]:
    """The folder's description: the one that is there, if it is of the same kind, or a new one."""
    wanted = {
        "format": FORMAT,
        "scenario": cluster.to_dict(),
        "roles": describe_roles(cluster),
        "source": {
            "split": "train",
            "data_tag": episode.data_tag,
            "trace": Path(trace).name if isinstance(trace, (str, os.PathLike)) else None,
            "name": episode.details.get("source"),
            **({} if storage_load is None else {"storage_load": storage_load.description}),
        },
        "seed": seed,
        "batch_size": batch_size,
    }
    if (folder / DESCRIPTION).exists():
        found = read_description(folder)
        for name, value in wanted.items():
            difference = first_difference(found.get(name), value, name)
            if difference is not None:
                raise TrajectoryError(f"{folder} holds other trajectories: {difference}; choose another folder")
        return found
    packages = {name: _version(name) for name in ("cloudsched-env", "numpy", "numba", "pyarrow", "torch")}
    return {**wanted, "versions": {**packages, "python": platform.python_version()}, "recordings": []}


def _recording_of(description: dict[str, Any], agent: Agent) -> dict[str, Any]:
    for entry in description["recordings"]:
        if entry["agent"] == agent.name:
            return cast("dict[str, Any]", entry)
    entry = {
        "agent": agent.name,
        "execution": str(getattr(agent, "execution", "none")),
        "folder": part_name(len(description["recordings"]), agent.name),
        "parts": [],
    }
    description["recordings"].append(entry)
    return entry


def _play(
    agent: Agent, env: CloudSchedVectorEnv, episodes: Sequence[Episode], seed: int, report: Callable[[int], None]
) -> Trajectories:
    """Play one batch of episodes to the horizon, as `cloudsched_env.evaluation.protocol.play` does, and keep all."""
    info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
    steps, batch = env.scenario.time.horizon_steps, env.num_envs
    roles: dict[str, dict[str, NDArray[Any]]] = {}
    for role, count in env.role_counts.items():
        shape = (steps, batch, count)
        roles[role] = {
            "observations": np.empty((*shape, env.layouts[role].size), np.float32),
            "masks": np.empty((*shape, int(env.action_levels[role].sum())), np.int8),
            "actions": np.empty((*shape, len(env.action_levels[role])), np.int64),
            "local_rewards": np.empty(shape, np.float32),
        }
    states = np.empty((steps + 1, batch, env.state_layout.size), np.float32)
    rewards = np.empty((steps, batch), np.float32)
    env.reset([seed + index for index in range(batch)], episodes=episodes)
    agent.reset(info, batch, seed)
    for step in range(steps):
        states[step] = env.state
        for role, columns in roles.items():
            columns["observations"][step] = env.observations[role]
            columns["masks"][step] = env.masks[role]
        actions = check_actions(agent.act(env.observations, env.masks), info, batch, agent.name)
        env.step(actions)
        for role, columns in roles.items():
            columns["actions"][step] = actions[role]
            columns["local_rewards"][step] = env.local_rewards[role]
        rewards[step] = env.team_reward
        report(step + 1)
    states[steps] = env.state
    return Trajectories(agent.name, roles, states, rewards)


def _episode_entry(episode: Episode) -> dict[str, Any]:
    """Which window this was: place in the fixed list, and start on the trace's clock."""
    return {"window_start_s": episode.details.get("window_start_s"), **episode.details.get("evaluation", {})}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
