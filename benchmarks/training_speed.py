"""Whole training iterations, sampling and learning, of the role-batched path and of stock RLlib PPO."""

from __future__ import annotations

import time
from collections.abc import Iterator

import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from cloudsched_env.rllib import HRACConfig
from cloudsched_env.rllib.environments import register_environments
from cloudsched_env.rllib.masked_module import MaskedPPOModule
from cloudsched_env.vector import ROLES

__all__ = ["role_batched_training", "stock_training"]

Iteration = tuple[int, float]
"""Env steps, and CPU seconds of this process."""


def role_batched_training(scenario: str) -> Iterator[Iteration]:
    """HRAC + LGRS with its default settings, without validation."""
    config = HRACConfig().hrac({"scenario": scenario, "validation.every_epochs": 0}).env_runners(num_env_runners=0)
    yield from _iterations(config)


def stock_training(scenario: str) -> Iterator[Iteration]:
    """RLlib's PPO through ``ParallelPettingZooEnv``, a policy per role, as many passes over the data as HRAC."""
    register_environments()
    epochs = HRACConfig().settings.update.epochs
    config = (
        PPOConfig()
        .environment(f"cloudsched/{scenario}", env_config={"reward": "team"})
        .env_runners(num_env_runners=0, rollout_fragment_length=650)
        .multi_agent(policies=set(ROLES), policy_mapping_fn=lambda agent, *args, **kwargs: agent.rsplit("_", 1)[0])
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={role: RLModuleSpec(module_class=MaskedPPOModule) for role in ROLES}
            )
        )
        .training(train_batch_size_per_learner=650, minibatch_size=512, num_epochs=epochs)
    )
    yield from _iterations(config)


def _iterations(config: AlgorithmConfig) -> Iterator[Iteration]:
    torch.set_num_threads(1)
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    algorithm = config.build_algo()
    sampled = 0
    try:
        while True:
            begun = time.process_time()
            result = algorithm.train()
            spent = time.process_time() - begun
            total = int(result["num_env_steps_sampled_lifetime"])
            yield total - sampled, spent
            sampled = total
    finally:
        algorithm.stop()
