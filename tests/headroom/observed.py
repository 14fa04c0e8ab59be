"""What a policy did in the simulator, task by task: the point of the linear program that it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudsched_env.vector import CloudSchedVectorEnv


def random_actions(env: CloudSchedVectorEnv, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Any levels for nodes; tasks go to random nodes at once."""
    actions = {}
    for role in env.roles:
        levels = np.asarray(env.action_levels[role])
        shape = (env.num_envs, env.role_counts[role], len(levels))
        actions[role] = (rng.random(shape) * levels).astype(np.int64)
    nodes = env.role_counts["compute"]
    actions["scheduler"] = rng.integers(nodes, size=actions["scheduler"].shape)
    return actions


def remaining(env: CloudSchedVectorEnv) -> np.ndarray:
    """Part of each task of the first cluster that is left to do, ``[tasks]``."""
    state, tasks = env.simulator_state, env.episodes[0].tasks
    left = np.where(np.isnan(state.tasks.finish_s[0, :tasks]), 1.0, 0.0)
    used = state.running.slots_used[0]
    left[state.running.task[0, :used]] = state.running.remaining[0, :used]
    return left


@dataclass(frozen=True)
class Observed:
    """One episode as it went; arrays by step.

    Attributes:
        work_core_s: work done on each task, ``[tasks, steps]``.
        reads_mb: bytes read from each storage node, before amplification, ``[storage nodes, steps]``.
        extra_mb: what amplification added to them, ``[storage nodes, steps]``.
        background: share of the bandwidth for compaction, ``[storage nodes, steps]``.
        debt_mb: debt after each step, ``[storage nodes, steps]``.
        written_mb: bytes written to each storage node by tasks, ``[storage nodes, steps]``.
    """

    work_core_s: np.ndarray
    reads_mb: np.ndarray
    extra_mb: np.ndarray
    background: np.ndarray
    debt_mb: np.ndarray
    written_mb: np.ndarray


def play_and_observe(env: CloudSchedVectorEnv, episode, choose, seed: int = 0) -> Observed:
    """Play one episode with ``choose(env)`` as policy."""
    scenario = env.scenario
    compaction, per_step = scenario.compaction, scenario.storage.bandwidth_mb_per_s * scenario.time.step_s
    soft = compaction.soft_limit_s * scenario.storage.bandwidth_mb_per_s
    slope = compaction.read_amplification_slope if compaction.enabled else 0.0
    env.reset([seed], episodes=[episode])
    storage = env.simulator_state.storage
    before, over = remaining(env), False
    work, reads, extra, background, debts, written = [], [], [], [], [], []
    while not over:
        added = slope * np.minimum(storage.debt_mb[0] / soft, compaction.read_amplification_cap)
        over = env.step(choose(env))
        after = remaining(env)
        work.append(before - after)
        before = after
        reads.append(storage.read_rate[0] * per_step / (1.0 + added))
        extra.append(added * reads[-1])
        background.append(np.asarray(scenario.storage.background_shares)[storage.background_level[0]])
        debts.append(storage.debt_mb[0].copy())
        of_task = work[-1] * episode.write_mb
        written.append(np.zeros(len(reads[-1])))
        np.add.at(written[-1], episode.shard_replicas[episode.shard], of_task[:, None])
    return Observed(
        np.stack(work, axis=1) * (episode.cores * episode.base_time_s)[:, None],
        *(np.stack(columns, axis=1) for columns in (reads, extra, background, debts, written)),
    )
