"""Trajectories of an expert in the toy environment, whose right actions are known."""

import numpy as np

from cloudsched_env.evaluation.interface import describe_roles
from cloudsched_env.evaluation.trajectories import FORMAT, Trajectories, write_description, write_part
from tests.rllib.toy_env import HORIZON, ToyVectorEnv


def expert_trajectories(episodes, seed=0, noise=0.0, team_reward=None):
    """The expert takes the right level of every sub-action, or with probability ``noise`` any."""
    env, rng = ToyVectorEnv(episodes), np.random.default_rng(seed)
    env.reset(seed)
    kept = {role: {"observations": [], "masks": [], "actions": [], "local_rewards": []} for role in env.roles}
    states, rewards = [], []
    done = False
    while not done:
        states.append(env.state.copy())
        actions = {}
        for role, columns in kept.items():
            drawn = rng.integers(0, env.action_levels[role], size=env._right[role].shape)
            actions[role] = np.where(rng.random(drawn.shape) < noise, drawn, env._right[role])
            columns["observations"].append(env.observations[role].copy())
            columns["masks"].append(env.masks[role].copy())
            columns["actions"].append(actions[role])
        step = env._step
        done = env.step(actions)
        for role, columns in kept.items():
            columns["local_rewards"].append(env.local_rewards[role].copy())
        rewards.append(env.team_reward.copy() if team_reward is None else np.full(episodes, team_reward(step)))
    states.append(env.state.copy())
    return Trajectories(
        "expert",
        {role: {name: np.stack(values) for name, values in columns.items()} for role, columns in kept.items()},
        np.stack(states),
        np.stack(rewards).astype(np.float32),
    )


def write_expert(folder, episodes=40, noise=0.0):
    """A folder as `cloudsched record` would write it."""
    scenario = ToyVectorEnv(1).scenario
    write_part(folder / "000_expert" / "part_0000", expert_trajectories(episodes, noise=noise))
    parts = [{"folder": "000_expert/part_0000", "seed": 0, "episodes": [{}] * episodes, "mean_team_reward": 1.0}]
    recordings = [{"agent": "expert", "execution": "none", "folder": "000_expert", "parts": parts}]
    write_description(
        folder,
        {
            "format": FORMAT,
            "scenario": {"time": {"horizon_steps": HORIZON}},
            "roles": describe_roles(scenario),
            "recordings": recordings,
        },
    )
    return folder
