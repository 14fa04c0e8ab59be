"""A cooperative game of two steps for all three roles, with a known optimum, in the place of `CloudSchedVectorEnv`.

The scheduler's first choice opens one of two second steps; at once it pays nothing, or a lure for the safe one. In the
safe one every joint action of the compute and the storage node pays the same; in the rich one they are paid by a matrix
that is no sum of what each of them did. So the scheduler's choice has to be credited with what others do a step later,
when they act together. Which of its choices opens the rich step is drawn anew for every game and shown to it alone: it
is the node that is the task's home, whether its data is warm there or not. Warmth is the stronger signal, so that a
scheduler that learned nothing follows it one way or the other, and opens half of the rich steps.

Games follow one another until time is up. Local rewards are the team reward with its sign turned.
"""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles import compute, storage
from tests.rllib.toy_env import ToyVectorEnv

FIRST, SAFE, RICH = range(3)
# What each role and the critic see of the stage: one field for the safe second step and one for the rich one.
STAGE_FIELDS = {
    "compute": ("node", ("cache_fill", "hit_ratio")),
    "storage": ("node", ("stream_factor", "background_share")),
    "scheduler": ("queue", ("oldest_age", "arrival_rate")),
}
STATE_FIELDS = ("goodput", "latency_term")
OPTIMUM = 8.0


class TwoStepGameEnv(ToyVectorEnv):
    """Games in step with one another in all clusters.

    Args:
        num_envs: clusters.
        safe: what the safe second step pays: one number, or a matrix as of the rich one.
        rich: what the rich one pays, by whether the compute node (rows) and the storage node (columns) leave their
            initial level.
        lure: what opening the safe second step pays at once: it is all that a short-sighted scheduler learns of.
    """

    warmup = 0

    def __init__(self, num_envs, safe, rich, lure=0.0):
        super().__init__(num_envs)
        self._lure = lure
        self._payoffs = {SAFE: np.broadcast_to(np.float32(safe), (2, 2)), RICH: np.array(rich, np.float32)}
        self._initial = {
            role: np.array(declaration.initial_levels(self.scenario))
            for role, declaration in (("compute", compute), ("storage", storage))
        }
        for role in ("compute", "storage"):  # the second node of each kind is down and never plays
            self._block(role, "node", "alive")[:, 0] = 1
        self._block("scheduler", "nodes", "alive")[:] = 1
        self._block("scheduler", "nodes", "cores")[:] = 1
        self._block("scheduler", "nodes", "execution_memory")[:] = 1

    def _block(self, role, block, field):
        """An observed field of a role, to be written to."""
        layout = self.layouts[role]
        return layout.view(self.observations[role], block)[..., layout.block(block).index(field)]

    def _draw(self):
        """Show the stage; at a first step draw which node opens the rich second step."""
        if self._step % 2 == 0:
            self._stage = np.full(self.num_envs, FIRST)
        self._show_stage()
        deciding = self._step % 2 == 0
        self._allow(deciding)
        self._block("scheduler", "slots", "present")[:] = 0
        self._block("scheduler", "pairs", "home")[:] = 0
        self._block("scheduler", "pairs", "warmth")[:] = 0
        if deciding:
            nodes = np.arange(self.role_counts["compute"])
            self._rich_node, warm_node = self._rng.integers(0, len(nodes), size=(2, self.num_envs))
            self._block("scheduler", "slots", "present")[:, 0, 0] = 1
            self._block("scheduler", "pairs", "home")[:, 0, 0] = nodes == self._rich_node[:, None]
            self._block("scheduler", "pairs", "warmth")[:, 0, 0] = nodes == warm_node[:, None]

    def _show_stage(self):
        cluster, layout = self.state_layout.view(self.state, "cluster"), self.state_layout.block("cluster")
        for k, stage in enumerate((SAFE, RICH)):
            for role, (block, fields) in STAGE_FIELDS.items():
                self._block(role, block, fields[k])[:, 0] = self._stage == stage
            cluster[:, layout.index(STATE_FIELDS[k])] = self._stage == stage

    def _allow(self, deciding):
        """Masks: at a first step the scheduler chooses between two nodes, at a second the nodes between two levels."""
        for role, initial in self._initial.items():
            starts = np.cumsum([0, *self.action_levels[role][:-1]])
            self.masks[role][:] = 0
            self.masks[role][..., starts + initial] = 1
            if not deciding:
                self.masks[role][:, 0, self._other_level(role)] = 1
        defer = self.role_counts["compute"]
        self.masks["scheduler"][:] = 0
        self.masks["scheduler"][..., defer :: defer + 1] = 1
        if deciding:
            self.masks["scheduler"][..., : defer + 1] = np.arange(defer + 1) < defer

    def _other_level(self, role):
        return 0 if self._initial[role][0] else 1

    def step(self, actions):
        assert self._step < self.horizon, "reset must be called first"
        if self._step % 2 == 0:
            self._stage = np.where(actions["scheduler"][:, 0, 0] == self._rich_node, RICH, SAFE)
            self.team_reward[:] = self._lure * (self._stage == SAFE)
        else:
            left = {role: (actions[role][:, 0, 0] != initial[0]).astype(int) for role, initial in self._initial.items()}
            joint = left["compute"], left["storage"]
            self.team_reward[:] = np.where(self._stage == RICH, self._payoffs[RICH][joint], self._payoffs[SAFE][joint])
        for rewards in self.local_rewards.values():
            rewards[:] = -self.team_reward[:, None]
        self._step += 1
        self._draw()
        return self._step >= self.horizon


def payoff_of_greedy_play(algorithm):
    """Mean payoff of a game when all agents take what they hold best."""
    algorithm.env_runner.sample(num_episodes=40, explore=False)
    return 2 * float(algorithm.env_runner.get_metrics()["episode"]["team_reward"].peek())  # a game is two steps


def make_game(env_config):
    names = ("num_envs", "safe", "rich", "lure")
    return TwoStepGameEnv(**{name: env_config[name] for name in names if name in env_config})


def play_game(config, **game):
    """Let a configuration train on the game that the arguments of `TwoStepGameEnv` describe."""
    from ray.tune.registry import register_env

    register_env("two-step-game", make_game)
    config.environment("two-step-game", env_config=game)
    return config
