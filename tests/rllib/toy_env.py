"""A vector environment with the attributes of `CloudSchedVectorEnv`, a known optimum and next to no dynamics.

Every step shows fresh random contexts. A node's right level of each sub-action is written in one of its fields; a
scheduler should send the task of each slot to the node where its data is warm. The team reward is the share of right
sub-actions of each role, averaged over roles: 1 at the optimum. Local rewards are an agent's own share.
"""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.roles import state as state_roles
from cloudsched_env.scenario import load_scenario

OPTIMUM = 1.0
CLUES = {"compute": ("cache_fill", "hit_ratio", "processor_share"), "storage": ("stream_factor", "served_share")}
HORIZON, WARMUP = 20, 5


class ToyVectorEnv:
    roles = ("compute", "storage", "scheduler")
    horizon, warmup = HORIZON, WARMUP

    def __init__(self, num_envs, dead_storage=False):
        times = {"time.horizon_steps": self.horizon, "time.warmup_steps": self.warmup}
        self.scenario = load_scenario("tiny-v1", times)
        self.num_envs = num_envs
        self.dead_storage = dead_storage
        self.role_counts = dict(self.scenario.role_counts)
        declarations = {"compute": compute, "storage": storage, "scheduler": scheduler}
        self.layouts = {role: d.layout(self.scenario) for role, d in declarations.items()}
        self.action_levels = {role: d.action_levels(self.scenario) for role, d in declarations.items()}
        self.state_layout = state_roles.layout(self.scenario)
        B = num_envs
        self.observations = {r: np.zeros((B, n, self.layouts[r].size), np.float32) for r, n in self.role_counts.items()}
        self.masks = {
            r: np.ones((B, n, int(self.action_levels[r].sum())), np.int8) for r, n in self.role_counts.items()
        }
        if dead_storage:  # the first storage node may only keep level 0 of both sub-actions
            levels = self.action_levels["storage"]
            self.masks["storage"][:, 0] = 0
            self.masks["storage"][:, 0, [0, levels[0]]] = 1
        self.state = np.zeros((B, self.state_layout.size), np.float32)
        self.local_rewards = {r: np.zeros((B, n), np.float32) for r, n in self.role_counts.items()}
        self.team_reward = np.zeros(B, np.float32)
        self.resets = []

    def reset(self, seeds=None, *, episodes=None):
        seeds = range(seeds or 0, (seeds or 0) + self.num_envs) if seeds is None or isinstance(seeds, int) else seeds
        self.resets.append(list(seeds))
        self._rng = np.random.default_rng(list(seeds))
        self._step = 0
        self._draw()

    def _draw(self):
        self._right = {}
        for role, names in CLUES.items():
            node = self.layouts[role].view(self.observations[role], "node")
            block = self.layouts[role].block("node")
            node[..., block.index("alive")] = 1
            self._right[role] = np.stack(
                [self._rng.integers(0, level, size=node.shape[:-1]) for level in self.action_levels[role]], -1
            )
            for k, name in enumerate(names):  # one for each sub-action
                node[..., block.index(name)] = (self._right[role][..., k] + 0.5) / self.action_levels[role][k]
        layout, observation = self.layouts["scheduler"], self.observations["scheduler"]
        slots, nodes, pairs = (layout.view(observation, name) for name in ("slots", "nodes", "pairs"))
        slots[..., layout.block("slots").index("present")] = 1
        nodes[..., layout.block("nodes").index("alive")] = 1
        nodes[..., layout.block("nodes").index("cores")] = 1
        nodes[..., layout.block("nodes").index("execution_memory")] = 1
        right = self._rng.integers(0, nodes.shape[-2], size=slots.shape[:-1])
        self._right["scheduler"] = right
        pairs[..., layout.block("pairs").index("warmth")] = np.arange(nodes.shape[-2]) == right[..., None]
        self.state[:] = 0.1
        self.state_layout.view(self.state, "cluster")[:, 0] = self._step / HORIZON

    def step(self, actions):
        assert self._step < HORIZON, "reset must be called first"
        shares = []
        for role in self.roles:
            right = (actions[role] == self._right[role]).mean(-1)
            self.local_rewards[role][:] = right
            shares.append(right.mean(-1))
        self.team_reward[:] = np.mean(shares, axis=0)
        self._step += 1
        self._draw()
        return self._step >= HORIZON

    def results(self):
        return []


def make_toy_env(env_config):
    return ToyVectorEnv(env_config["num_envs"], dead_storage=env_config.get("dead_storage", False))


def toy_config(changes=None, config=None, **env_config):
    """HRAC, or another method's configuration, on the toy environment, sized for tests."""
    from ray.tune.registry import register_env

    from cloudsched_env.rllib.hrac import HRACConfig

    register_env("toy-vector", make_toy_env)
    settings = {
        "scenario": "tiny-v1",
        "sampling.clusters": 40,
        "sampling.phases": 4,
        "sampling.rollout_steps": 20,
        "sampling.copies": 1,  # contexts are drawn apart whatever the seeds
        "epoch_env_steps": 1600,
        "update.minibatch_steps": 400,
        "update.learning_rate": 3e-3,
        "update.critic_learning_rate": 3e-3,
        "validation.every_epochs": 0,
        "validation.episodes": 8,
        "update.warmup_epochs": 0,
        # What an action does shows at once, and each agent's right choice has nothing to do with that of others.
        "discount": 0.99,
        "exploration.common_noise_steps": {"compute": 0, "storage": 0},
        # The toy has no initial levels and no load: nothing to begin from but chance.
        "networks.level_preference": 0.0,
        "networks.load_aversion": 0.0,
    }
    config = config or HRACConfig()
    config.change_settings({**settings, **(changes or {})}).debugging(seed=0)
    config.environment("toy-vector", env_config=env_config)
    return config


def toy_value_config(algorithm="qmix", changes=None, **env_config):
    """QMIX or VDN on the toy environment, sized for tests."""
    from ray.tune.registry import register_env

    from cloudsched_env.rllib import QMIXConfig, VDNConfig

    register_env("toy-vector", make_toy_env)
    settings = {
        "scenario": "tiny-v1",
        "sampling.clusters": 40,
        "sampling.phases": 4,
        "sampling.rollout_steps": 20,
        "sampling.copies": 1,  # contexts are drawn apart whatever the seeds
        "epoch_env_steps": 1600,
        # What happens next does not depend on what agents do.
        "discount": 0.0,
        "exploration.anneal_env_steps": 8000,
        "replay.env_steps": 16_000,
        "replay.minimum_env_steps": 800,
        "update.steps": 8,
        "update.fragments": 20,
        "update.target_every": 20,
        "update.learning_rate": 5e-3,
        "validation.every_epochs": 0,
        "validation.episodes": 8,
    }
    config = {"qmix": QMIXConfig, "vdn": VDNConfig}[algorithm]().change_settings({**settings, **(changes or {})})
    config.debugging(seed=0)
    config.environment("toy-vector", env_config=env_config)
    return config
