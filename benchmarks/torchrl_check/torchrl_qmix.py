"""TorchRL's QMIX: `QMixerLoss` with one `QMixer` over the agents of all roles, and its TD(lambda) estimator.

The mixer needs all agents in one group of TorchRL's, and a group needs agents with the same spaces. So the environment
is padded (`joint.JointChoices`), and `RoleNetworks` gives every role its own perceptron on the part of the vector that
is the role's; choices that are padding are masked and have the lowest value besides. Everything after that is TorchRL's
own: masked `QValueModule`, `EGreedyModule`, `QMixer` on the global state, `QMixerLoss` with delayed networks, and a
replay buffer. TD(lambda) over the values of the target networks' greedy choices is Peng's Q(lambda), as in ours.

Fragments, gradient steps per env step, discount, lambda, step size, gradient limits, copies to the targets, share of
random choices and size of the buffer are those of our QMIX (`plan.Plan.qmix`); rewards are standardised by their
running moments, as ours are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.modules import EGreedyModule, MultiAgentMLP, QMixer, QValueModule, RunningValueNorm, SafeSequential
from torchrl.objectives import HardUpdate, ValueEstimators
from torchrl.objectives.multiagent import QMixerLoss

import cloudsched_env
from cloudsched_env.vector import ROLES
from torchrl_check.joint import JointAgent, JointChoices
from torchrl_check.plan import FRAGMENTS_OF_AN_EPISODE, GRADIENT_STEPS_OF_AN_EPISODE, Epoch, Plan

HIDDEN = 64
GROUP = "agents"
_LOWEST = torch.finfo(torch.float32).min


class RoleNetworks(nn.Module):
    """A network for each role on its rows of the padded group.

    Args:
        sizes: of the roles' observations.
        choices: joint choices of the roles.
        counts: agents of the roles, in the order of the group.
    """

    def __init__(self, sizes: Mapping[str, int], choices: Mapping[str, int], counts: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes, self.choices, self.counts = dict(sizes), dict(choices), dict(counts)
        self.networks = nn.ModuleDict(
            {
                role: MultiAgentMLP(
                    sizes[role],
                    choices[role],
                    counts[role],
                    centralized=False,
                    share_params=True,
                    depth=2,
                    num_cells=HIDDEN,
                    activation_class=nn.ReLU,
                )
                for role in counts
            }
        )

    def forward(self, observations: Tensor) -> Tensor:
        """``[*, agents, widest observation]`` to utilities ``[*, agents, most choices]``."""
        widest = max(self.choices.values())
        rows = []
        for role, part in zip(self.counts, observations.split(list(self.counts.values()), -2), strict=True):
            values = self.networks[role](part[..., : self.sizes[role]])
            rows.append(nn.functional.pad(values, (0, widest - values.shape[-1]), value=_LOWEST))
        return torch.cat(rows, -2)


def qmix(plan: Plan, seed: int) -> Iterator[Epoch]:
    """Train TorchRL's QMIX on the PettingZoo face."""
    torch.manual_seed(seed)
    settings = plan.qmix
    update = settings.update
    face = cloudsched_env.parallel_env(plan.scenario, reward="team")
    base = JointChoices(face, padded=True)
    env = PettingZooWrapper(
        base,
        group_map={GROUP: base.possible_agents},
        use_mask=True,
        return_state=True,
        categorical_actions=True,
        seed=seed,
    )
    counts = {role: face.scenario.role_counts[role] for role in ROLES}
    networks = RoleNetworks(
        {role: len(face.observation_fields(role)) for role in counts},
        {role: base.joint[f"{role}_0"].count for role in counts},
        counts,
    )
    action, values, mask = (GROUP, "action"), (GROUP, "action_value"), (GROUP, "action_mask")
    local = SafeSequential(
        TensorDictModule(networks, in_keys=[(GROUP, "observation", "observation")], out_keys=[values]),
        QValueModule(
            action_space="categorical",
            action_value_key=values,
            action_mask_key=mask,
            out_keys=[action, values, (GROUP, "chosen_action_value")],
        ),
    )
    explore = EGreedyModule(
        env.full_action_spec[action],
        eps_init=settings.exploration.start,
        eps_end=settings.exploration.end,
        annealing_num_steps=max(1, settings.exploration.anneal_env_steps),
        action_key=action,
        action_mask_key=mask,
    )
    mixer = TensorDictModule(
        QMixer(base.state_space.shape, settings.mixing.embedding_size, sum(counts.values()), "cpu"),
        in_keys=[(GROUP, "chosen_action_value"), "state"],
        out_keys=["chosen_action_value"],
    )
    loss = QMixerLoss(local, mixer, delay_value=True, action_space="categorical")
    loss.set_keys(action=action, action_value=values)
    loss.make_value_estimator(ValueEstimators.TDLambda, gamma=settings.discount, lmbda=update.trace)
    targets = HardUpdate(loss, value_network_update_interval=update.target_every)
    modules = [
        list(parameters.flatten_keys().values())
        for parameters in (loss.local_value_network_params, loss.mixer_network_params)
    ]
    optimiser = torch.optim.Adam(
        [p for part in modules for p in part], lr=update.learning_rate, eps=update.adam_epsilon
    )
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(max(2, settings.replay.env_steps // plan.fragment_steps)),
        batch_size=update.fragments,
    )
    policy = TensorDictSequential(local, explore)
    rewards = RunningValueNorm(shape=1)
    agent = JointAgent(dict(networks.networks.items()), "torchrl")

    def learn() -> None:
        batch = buffer.sample()
        batch["next", "reward"] = rewards.normalize(batch["next", "reward"])
        optimiser.zero_grad()
        loss(batch)["loss"].backward()
        for part in modules:
            nn.utils.clip_grad_norm_(part, update.max_gradient_norm)
        optimiser.step()
        targets.step()

    yield Epoch(None, agent)
    for _ in range(plan.epochs):
        scores = []
        for _ in range(plan.episodes):
            with torch.no_grad():
                played = env.rollout(plan.horizon_steps, policy)
            team = played["next", GROUP, "reward"][:, 0]
            scores.append(float(team[plan.warmup_steps :].mean()))
            rewards.update(team)
            explore.step(plan.horizon_steps)
            # After the last step nobody acts any more, and the wrapper calls all choices allowed, padding too.
            last = torch.stack([torch.from_numpy(base.masks[name]) for name in base.possible_agents])
            played["next", GROUP, "action_mask"][-1] = last.bool()
            kept = played.select(
                *((GROUP, "observation"), mask, action, "state"),
                *(("next", GROUP, "observation"), ("next", *mask), ("next", "state")),
                *(("next", "done"), ("next", "terminated")),
            )
            kept["next", "reward"] = team
            buffer.extend(kept.reshape(FRAGMENTS_OF_AN_EPISODE, plan.fragment_steps))
            if len(buffer) * plan.fragment_steps >= settings.replay.minimum_env_steps:
                for _ in range(GRADIENT_STEPS_OF_AN_EPISODE):
                    learn()
        yield Epoch(sum(scores) / len(scores), agent)
