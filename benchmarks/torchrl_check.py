"""An independent check: TorchRL's MAPPO on the PettingZoo face beside ours on the array face.

Two implementations that share nothing but the environment should learn about as much from as many env steps. TorchRL
brings its own networks (perceptrons with parameters shared within a role), value estimator (GAE), loss (`ClipPPOLoss`,
`MAPPO` in the sense of a critic of the global state) and collector. Its wrapper knows one categorical choice for an
agent, so the sub-actions of an agent are joined into one here, which is feasible on `tiny-v1` only.

    pip install torchrl tensordict
    python benchmarks/torchrl_check.py --epochs 20 --out torchrl_check.json

Both rows are the mean team reward of counted steps of training episodes, with drawn actions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from pettingzoo import ParallelEnv
from torch import nn

import cloudsched_env
from cloudsched_env.vector import ROLES

SCENARIO = "tiny-v1"
MOST_CHOICES = 10_000


class JointChoices(ParallelEnv):  # type: ignore[misc]
    """The PettingZoo face with the sub-actions of an agent joined into one categorical choice, masks included."""

    metadata = {"name": "cloudsched_joint", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, env: Any) -> None:
        self.env = env
        self.possible_agents, self.agents = env.possible_agents, []
        self.render_mode = None
        self._levels = {a: env.action_space(a).nvec.tolist() for a in self.possible_agents}
        self._choices = {a: np.array(list(itertools.product(*map(range, v)))) for a, v in self._levels.items()}
        largest = max(map(len, self._choices.values()))
        if largest > MOST_CHOICES:
            raise ValueError(f"an agent has {largest} joint choices: expected at most {MOST_CHOICES}; use tiny-v1")
        self.action_spaces = {a: gymnasium.spaces.Discrete(len(c)) for a, c in self._choices.items()}
        self.observation_spaces = {
            a: gymnasium.spaces.Dict(
                observation=env.observation_space(a)["observation"],
                action_mask=gymnasium.spaces.Box(0, 1, (len(self._choices[a]),), np.int8),
            )
            for a in self.possible_agents
        }
        self.state_space = env.state_space

    def observation_space(self, agent: str) -> Any:
        """The agent's vector and the mask of its joint choices."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """One number for each combination of the agent's sub-actions."""
        return self.action_spaces[agent]

    def state(self) -> Any:
        """The global state."""
        return self.env.state()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """See PettingZoo."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self.agents = self.env.agents
        return self._joined(observations), infos

    def step(self, actions: dict[str, int]) -> Any:
        """See PettingZoo."""
        chosen = {agent: self._choices[agent][int(action)] for agent, action in actions.items()}
        observations, *rest = self.env.step(chosen)
        self.agents = self.env.agents
        return (self._joined(observations), *rest)

    def _joined(self, observations: dict[str, Any]) -> dict[str, Any]:
        result = {}
        for agent, seen in observations.items():
            parts = np.split(np.asarray(seen["action_mask"]), np.cumsum(self._levels[agent])[:-1])
            allowed = [part[self._choices[agent][:, k]] for k, part in enumerate(parts)]
            result[agent] = {"observation": seen["observation"], "action_mask": np.prod(allowed, 0).astype(np.int8)}
        return result


def torchrl_rows(epochs: int, episodes: int, seed: int, settings: Any) -> Iterator[float]:
    """Team reward of each epoch of TorchRL's MAPPO, at our discount, trace decay, clip, passes and step size."""
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.envs.libs.pettingzoo import PettingZooWrapper
    from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor
    from torchrl.objectives import ClipPPOLoss, ValueEstimators

    torch.manual_seed(seed)
    base = JointChoices(cloudsched_env.parallel_env(SCENARIO, reward="team"))
    env = PettingZooWrapper(base, use_mask=True, return_state=True, categorical_actions=True, seed=seed)
    horizon, warmup = base.env.scenario.time.horizon_steps, base.env.scenario.time.warmup_steps
    counts = base.env.scenario.role_counts
    actors, losses, optimisers = {}, {}, {}
    for role in ROLES:
        first = f"{role}_0"
        size, choices = base.observation_space(first)["observation"].shape[0], int(base.action_space(first).n)
        logits = TensorDictModule(
            MultiAgentMLP(
                size,
                choices,
                counts[role],
                centralized=False,
                share_params=True,
                depth=2,
                num_cells=64,
                activation_class=nn.ReLU,
            ),
            in_keys=[(role, "observation", "observation")],
            out_keys=[(role, "logits")],
        )
        actors[role] = ProbabilisticActor(
            logits,
            in_keys={"logits": (role, "logits"), "mask": (role, "action_mask")},
            out_keys=[(role, "action")],
            distribution_class=MaskedCategorical,
            return_log_prob=True,
            log_prob_key=(role, "sample_log_prob"),
        )
        critic = TensorDictModule(
            _StateValue(base.state_space.shape[0], counts[role]), in_keys=["state"], out_keys=[(role, "state_value")]
        )
        loss = ClipPPOLoss(
            actors[role],
            critic,
            clip_epsilon=settings.update.clip,
            entropy_coeff=settings.update.entropy,
            normalize_advantage=True,
        )
        loss.set_keys(
            reward=(role, "reward"),
            action=(role, "action"),
            value=(role, "state_value"),
            done=(role, "done"),
            terminated=(role, "terminated"),
            sample_log_prob=(role, "sample_log_prob"),
            advantage=(role, "advantage"),
            value_target=(role, "value_target"),
        )
        loss.make_value_estimator(ValueEstimators.GAE, gamma=settings.discount, lmbda=settings.vtrace.lambda_)
        losses[role] = loss
        optimisers[role] = torch.optim.Adam(loss.parameters(), lr=settings.update.learning_rate, eps=1e-5)

    policy = TensorDictSequential(*actors.values())
    minibatch = min(settings.update.minibatch_steps, episodes * horizon)
    for _ in range(epochs):
        with torch.no_grad():
            played = torch.stack([env.rollout(horizon, policy, break_when_any_done=True) for _ in range(episodes)])
        yield float(played["next", "compute", "reward"][:, warmup:, 0].mean())
        for role, loss in losses.items():
            with torch.no_grad():
                loss.value_estimator(
                    played, params=loss.critic_network_params, target_params=loss.target_critic_network_params
                )
            rows = played.reshape(-1)
            for _ in range(settings.update.epochs):
                for index in torch.randperm(len(rows)).split(minibatch):
                    values = loss(rows[index])
                    total = values["loss_objective"] + values["loss_critic"] + values["loss_entropy"]
                    optimisers[role].zero_grad()
                    total.backward()
                    nn.utils.clip_grad_norm_(loss.parameters(), settings.update.max_gradient_norm)
                    optimisers[role].step()


class _StateValue(nn.Module):
    """One value of the global state for each agent of a role."""

    def __init__(self, size: int, agents: int) -> None:
        super().__init__()
        self.agents = agents
        self.body = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return self.body(state).unsqueeze(-2).expand(*state.shape[:-1], self.agents, 1)


def our_rows(epochs: int, episodes: int, seed: int, changes: dict[str, Any]) -> Iterator[float]:
    """Team reward of each epoch of our MAPPO on as many env steps an epoch."""
    from cloudsched_env.rllib import MAPPOConfig
    from cloudsched_env.rllib.ray_session import ray_session

    with ray_session():
        algorithm = MAPPOConfig().mappo(changes).debugging(seed=seed).build_algo()
        try:
            for _ in range(epochs):
                yield float(algorithm.train()["env_runners"]["episode"]["team_reward"])
        finally:
            algorithm.stop()


def main() -> None:
    """Train both and write what they reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=10, help="episodes of an epoch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("torchrl", "ours"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig

    horizon = cloudsched_env.parallel_env(SCENARIO).scenario.time.horizon_steps
    changes = {
        "scenario": SCENARIO,
        "sampling.clusters": options.episodes,
        "sampling.phases": 1,
        "sampling.rollout_steps": horizon,
        "epoch_env_steps": options.episodes * horizon,
        "update.anneal_epochs": 0,
        "validation.every_epochs": 0,
    }
    settings = MAPPOConfig.default_settings().override(changes)
    results: dict[str, list[float]] = {}
    makers = {
        "torchrl": lambda: torchrl_rows(options.epochs, options.episodes, options.seed, settings),
        "ours": lambda: our_rows(options.epochs, options.episodes, options.seed, changes),
    }
    for name, make in makers.items():
        if options.only not in (None, name):
            continue
        results[name] = []
        begun = time.monotonic()
        for epoch, score in enumerate(make(), 1):
            results[name].append(score)
            left = (time.monotonic() - begun) / epoch * (options.epochs - epoch)
            print(f"{name} epoch {epoch}/{options.epochs}: team reward {score:.4f}, {left:.0f} s left", flush=True)
    if options.out is not None:
        described = {"scenario": SCENARIO, "env_steps_per_epoch": options.episodes * horizon, "seed": options.seed}
        options.out.write_text(json.dumps({**described, "team_reward": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
