"""Cooperative games for two agents with a known optimum, and what it takes to train value decomposition on them."""

import numpy as np
import torch
from torch import nn

from cloudsched_env.rllib.networks import NetworkConfig
from cloudsched_env.rllib.networks.mixer import MonotonicMixer, SumMixer
from cloudsched_env.rllib.rollout import RoleRollout
from cloudsched_env.rllib.value_based.loss import td_loss
from cloudsched_env.rllib.value_based.replay import FragmentReplay
from cloudsched_env.rllib.value_based.utilities import greedy_actions
from cloudsched_env.roles.layout import Block, Field, Layout

ROLES = ("compute", "storage")


class TwoStepGame:
    """Section 4.1 of the QMIX paper (arXiv 1803.11485): the first agent's first action chooses the second matrix.

    In 2A every joint action pays 7; in 2B they pay [[0, 1], [1, 8]]. States: 0 first, 1 = 2A, 2 = 2B.
    """

    states, steps, optimum = 3, 2, 8.0
    payoff_2a = np.full((2, 2), 7.0)
    payoff_2b = np.array([[0.0, 1.0], [1.0, 8.0]])

    def play(self, actions):
        """Rewards [2, B] and states [2, B] of the actions [2, B, agents]."""
        first, second = actions
        states = np.stack([np.zeros(len(first), np.int64), 1 + first[:, 0]])
        last = np.where(
            first[:, 0] == 0, self.payoff_2a[second[:, 0], second[:, 1]], self.payoff_2b[second[:, 0], second[:, 1]]
        )
        return np.stack([np.zeros(len(first)), last]), states


class OneStepGame:
    """A single matrix."""

    states, steps = 1, 1

    def __init__(self, payoff):
        self.payoff = np.array(payoff, float)
        self.optimum = self.payoff.max()

    def play(self, actions):
        (chosen,) = actions
        return self.payoff[chosen[:, 0], chosen[:, 1]][None], np.zeros((1, len(chosen)), np.int64)


class Utilities(nn.Module):
    """A small network that sees which state it is."""

    def __init__(self, states, choices):
        super().__init__()
        self.action_levels = [choices]
        self.net = nn.Sequential(nn.Linear(states, 32), nn.ReLU(), nn.Linear(32, choices))

    def scores(self, observations, masks):
        return self.net(observations)


def state_layout(states):
    """Each agent's row of the state is empty but for a constant; the cluster block says which state it is."""
    alive = (Field("alive", "1", 0, 1, "always 1"),)
    shown = tuple(Field(f"state_{i}", "1", 0, 1, "whether this is the state") for i in range(states))
    blocks = [Block(role, alive, ((role, 1),)) for role in ROLES]
    return Layout("state", (*blocks, Block("cluster", shown)))


def rollout_of(game, actions, choices):
    """Played histories [T, B, agents] as a roll-out."""
    rewards, states = game.play(actions)
    steps, batch = states.shape
    one_hot = np.eye(game.states, dtype=np.float32)[states]
    roles = {
        role: {
            "observations": one_hot[:, :, None],
            "masks": np.ones((steps, batch, 1, choices), np.int8),
            "actions": actions[:, :, None, [i]],
        }
        for i, role in enumerate(ROLES)
    }
    return RoleRollout(
        roles=roles,
        states=np.concatenate([np.ones((steps, batch, 2), np.float32), one_hot], -1),
        team_rewards=rewards.astype(np.float32),
        truncated=np.zeros((steps, batch), bool),
        last_states=np.zeros((batch, game.states + 2), np.float32),
        cut_states=np.zeros((0, game.states + 2), np.float32),
        cut_index=np.zeros((0, 2), np.int64),
    )


class Learned:
    """Value decomposition trained on a game from even play (the QMIX paper: epsilon = 1), every history as often."""

    def __init__(self, game, mixing, *, choices=2, updates=500, seed=0, target_every=50):
        torch.manual_seed(seed)
        self.game, self.choices = game, choices

        def build():
            policies = nn.ModuleDict({role: Utilities(game.states, choices) for role in ROLES})
            if mixing == "sum":
                return policies, SumMixer()
            config = NetworkConfig(hidden_sizes=(16,), embedding_size=8, standardise_inputs=False)
            return policies, MonotonicMixer(state_layout(game.states), config, 8, 16)

        self.policies, self.mixer = build()
        target_policies, target_mixer = build()
        replay = FragmentReplay(4096, 10, seed)
        shape = (choices,) * (2 * game.steps)
        histories = np.indices(shape).reshape(game.steps, 2, -1).swapaxes(1, 2)
        terminated = np.zeros(histories.shape[:2], bool)
        terminated[-1] = True
        replay.add(rollout_of(game, histories, choices), terminated)
        parameters = [*self.policies.parameters(), *self.mixer.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=5e-3)
        for update in range(updates):
            if update % target_every == 0:
                target_policies.load_state_dict(self.policies.state_dict())
                target_mixer.load_state_dict(self.mixer.state_dict())
            loss, self.statistics = td_loss(
                self.policies,
                self.mixer,
                target_policies,
                target_mixer,
                replay.sample(histories.shape[1]),
                gamma=1.0,
                lambda_=0.0,
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def values(self, state):
        """Q_tot of every joint action in a state, [choices, choices]."""
        seen = torch.eye(self.game.states)[state]
        utilities = [self.policies[role].net(seen) for role in ROLES]
        rows, columns = torch.meshgrid(*utilities, indexing="ij")
        full = torch.cat([torch.ones(2), seen]).expand(self.choices, self.choices, -1)
        return self.mixer(dict(zip(ROLES, (rows[..., None], columns[..., None]), strict=True)), full).numpy()

    @torch.no_grad()
    def greedy_return(self):
        """What both agents get when each takes its own best action."""
        actions = np.zeros((self.game.steps, 1, 2), np.int64)
        for step in range(self.game.steps):
            _, states = self.game.play(actions)  # the states up to this step hang on earlier actions only
            seen = torch.eye(self.game.states)[states[step]]
            for i, role in enumerate(ROLES):
                scores = self.policies[role].net(seen)
                actions[step, :, i] = greedy_actions(scores, torch.ones_like(scores), [self.choices])[:, 0].numpy()
        rewards, _ = self.game.play(actions)
        return float(rewards.sum())
