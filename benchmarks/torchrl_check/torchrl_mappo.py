"""TorchRL's MAPPO: `MAPPOLoss` (its `ClipPPOLoss` with a centralised critic and value normalisation) for each role.

Networks are TorchRL's perceptrons with parameters shared within a role; critics see the global state. Discount, trace
decay, clip ranges, passes, minibatches, step sizes, entropy bonus and gradient limits are those of our MAPPO
(`plan.Plan.mappo`). Rewards are standardised by their running moments: ours are centred, and returns of rewards near
.5 at a discount of .998 are hundreds high otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.modules import MaskedCategorical, MultiAgentMLP, PopArtValueNorm, ProbabilisticActor, RunningValueNorm
from torchrl.objectives.multiagent import MAPPOLoss

import cloudsched_env
from cloudsched_env.vector import ROLES
from torchrl_check.joint import JointAgent, JointChoices
from torchrl_check.plan import Epoch, Plan

HIDDEN = 64


class StateValue(nn.Module):
    """One value of the global state, given to each agent of a role."""

    def __init__(self, size: int, agents: int) -> None:
        super().__init__()
        self.agents = agents
        self.body = nn.Sequential(
            nn.Linear(size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``[*, size]`` to ``[*, agents, 1]``."""
        return self.body(state).unsqueeze(-2).expand(*state.shape[:-1], self.agents, 1)


class RoleTrainer:
    """Actor, critic, loss and optimiser of one role."""

    def __init__(self, role: str, env: JointChoices, agents: int, settings: Any) -> None:
        self.role, self.settings = role, settings
        first = f"{role}_0"
        self.network = MultiAgentMLP(
            env.observation_space(first)["observation"].shape[0],
            int(env.action_space(first).n),
            agents,
            centralized=False,
            share_params=True,
            depth=2,
            num_cells=HIDDEN,
            activation_class=nn.ReLU,
        )
        logits = TensorDictModule(
            self.network, in_keys=[(role, "observation", "observation")], out_keys=[(role, "logits")]
        )
        self.actor = ProbabilisticActor(
            logits,
            in_keys={"logits": (role, "logits"), "mask": (role, "action_mask")},
            out_keys=[(role, "action")],
            distribution_class=MaskedCategorical,
            return_log_prob=True,
            log_prob_key=(role, "sample_log_prob"),
        )
        critic = TensorDictModule(
            StateValue(env.state_space.shape[0], agents), in_keys=["state"], out_keys=[(role, "state_value")]
        )
        update = settings.update
        self.loss = MAPPOLoss(
            self.actor,
            critic,
            value_norm=PopArtValueNorm(shape=1),
            clip_epsilon=update.clip,
            clip_value=update.value_clip,
            critic_coeff=update.value_weight,
            entropy_coeff=update.entropy,
        )
        names = ("reward", "action", "done", "terminated", "sample_log_prob", "advantage", "value_target")
        self.loss.set_keys(value=(role, "state_value"), **{name: (role, name) for name in names})
        self.loss.make_value_estimator(gamma=settings.discount, lmbda=settings.vtrace.lambda_)
        self._actor = list(self.loss.actor_network_params.flatten_keys().values())
        self._critic = list(self.loss.critic_network_params.flatten_keys().values())
        self._optimiser = torch.optim.Adam(
            [
                {"params": self._actor, "lr": update.learning_rate},
                {"params": self._critic, "lr": update.critic_learning_rate},
            ],
            eps=update.adam_epsilon,
        )

    def update(self, played: Any) -> None:
        """Passes over episodes ``[episodes, steps]``."""
        with torch.no_grad():
            self.loss.value_estimator(
                played, params=self.loss.critic_network_params, target_params=self.loss.target_critic_network_params
            )
        rows = played.reshape(-1)
        update = self.settings.update
        for _ in range(update.epochs):
            for index in torch.randperm(len(rows)).split(update.minibatch_steps):
                values = self.loss(rows[index])
                self._optimiser.zero_grad()
                (values["loss_objective"] + values["loss_critic"] + values["loss_entropy"]).backward()
                for parameters in (self._actor, self._critic):
                    nn.utils.clip_grad_norm_(parameters, update.max_gradient_norm)
                self._optimiser.step()


def mappo(plan: Plan, seed: int) -> Iterator[Epoch]:
    """Train TorchRL's MAPPO on the PettingZoo face."""
    torch.manual_seed(seed)
    base = JointChoices(cloudsched_env.parallel_env(plan.scenario, reward="team"))
    env = PettingZooWrapper(base, use_mask=True, return_state=True, categorical_actions=True, seed=seed)
    counts = base.env.scenario.role_counts
    roles = {role: RoleTrainer(role, base, counts[role], plan.mappo) for role in ROLES}
    policy = TensorDictSequential(*(trainer.actor for trainer in roles.values()))
    agent = JointAgent({role: trainer.network for role, trainer in roles.items()}, "torchrl")
    rewards = RunningValueNorm(shape=1)
    yield Epoch(None, agent)
    for _ in range(plan.epochs):
        with torch.no_grad():
            played = torch.stack([env.rollout(plan.horizon_steps, policy) for _ in range(plan.episodes)])
        team = played["next", ROLES[0], "reward"]
        score = float(team[:, plan.warmup_steps :, 0].mean())
        rewards.update(team[:, :, 0])
        for role, trainer in roles.items():
            played["next", role, "reward"] = rewards.normalize(played["next", role, "reward"])
            trainer.update(played)
        yield Epoch(score, agent)
