"""What a policy did in the simulator, task by task: the point of the linear program that it gives."""

from __future__ import annotations

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


def play_and_observe(env: CloudSchedVectorEnv, episode, choose, seed: int = 0) -> np.ndarray:
    """Play one episode with ``choose(env)`` as policy; work done on each task in each step, ``[tasks, steps]``."""
    env.reset([seed], episodes=[episode])
    before, done, over = remaining(env), [], False
    while not over:
        over = env.step(choose(env))
        after = remaining(env)
        done.append(before - after)
        before = after
    return np.stack(done, axis=1) * (episode.cores * episode.base_time_s)[:, None]
