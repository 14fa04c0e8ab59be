"""Our MAPPO and QMIX on the array face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from cloudsched_env.agents import ClusterInfo
from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig
from cloudsched_env.rllib.algorithms.qmix import QMIXConfig
from cloudsched_env.rllib.ray_session import ray_session
from torchrl_check.plan import Epoch, Plan


class ModuleAgent:
    """What an algorithm's runner acts with, acting greedily."""

    name = "ours"

    def __init__(self, module: Any) -> None:
        self.module = module

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """See `cloudsched_env.agents.Agent`."""

    def act(self, observations: Mapping[str, NDArray[Any]], masks: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """See `cloudsched_env.agents.Agent`."""
        seen = {role: torch.from_numpy(values) for role, values in observations.items()}
        allowed = {role: torch.from_numpy(values) for role, values in masks.items()}
        chosen = self.module.act(seen, allowed, deterministic=True)
        return {role: actions.numpy() for role, (actions, _) in chosen.items()}


def mappo(plan: Plan, seed: int) -> Iterator[Epoch]:
    """Train our MAPPO."""
    return _train(MAPPOConfig().mappo(plan.mappo), plan, seed)


def qmix(plan: Plan, seed: int) -> Iterator[Epoch]:
    """Train our QMIX."""
    return _train(QMIXConfig().qmix(plan.qmix), plan, seed)


def _train(config: Any, plan: Plan, seed: int) -> Iterator[Epoch]:
    with ray_session():
        algorithm = config.debugging(seed=seed).build_algo()
        try:
            agent = ModuleAgent(algorithm.env_runner.module)
            yield Epoch(None, agent)
            for _ in range(plan.epochs):
                episode = algorithm.train()["env_runners"]["episode"]
                yield Epoch(float(episode["team_reward"]), agent)
        finally:
            algorithm.stop()
