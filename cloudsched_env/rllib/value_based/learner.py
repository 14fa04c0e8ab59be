"""`ValueLearner`: gradient steps of QMIX and VDN on replayed fragments."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from cloudsched_env.rllib.role_learner import RoleLearner
from cloudsched_env.rllib.value_based.loss import td_loss
from cloudsched_env.rllib.value_based.modules import MIXER, MixerModule
from cloudsched_env.rllib.value_based.replay import FragmentBatch, FragmentReplay
from cloudsched_env.rllib.value_based.settings import ValueSettings

__all__ = ["ValueLearner"]


class ValueLearner(RoleLearner):
    """Remembers roll-outs and trains the utility networks and the mixer on fragments of them.

    The buffer is each learner's own and no part of checkpoints: a resumed run fills it again before it trains.
    """

    @property
    def settings(self) -> ValueSettings:
        """Settings of the run."""
        return self.config.settings

    def build(self) -> None:
        """Build modules, optimizers and the empty buffer."""
        super().build()
        settings = self.settings
        learners = max(1, self.config.num_learners)
        self.replay = FragmentReplay(
            settings.replay.env_steps // learners,
            settings.replay.memory_mb / learners,
            [self.config.seed or 0, int(self._learner_index)],
        )
        self._fragments = max(1, settings.update.fragments // learners)

    def _learn(self, data: TrainingData, epochs: int, minibatch_size: int | None, minibatches: int) -> None:
        """Remember roll-outs, then make the gradient steps that are due."""
        rollouts = [rollout for rollout in data.episodes or [] if len(rollout)]
        if not rollouts:
            raise ValueError("ValueLearner trains on roll-outs; no other data is supported")
        self._of_finite(rollouts, lambda: [rollout.check_finite() for rollout in rollouts])
        mixer = self._mixer()
        for rollout in rollouts:
            self.replay.add(rollout)
            mixer.rewards.update(torch.as_tensor(rollout.team_rewards))
        self._average_over_learners(mixer.rewards.buffers())
        sums: dict[tuple[str, str], Tensor] = {}
        steps = self._due_steps()
        for _ in range(steps):
            statistics = self._gradient_step(self.replay.sample(self._fragments))
            for key, value in statistics.items():
                sums[key] = sums[key] + value if key in sums else value
        for key, value in sums.items():
            self.metrics.log_value(key, float(value) / steps, window=1)

    def _mixer(self) -> MixerModule:
        return self.module[MIXER].unwrapped()

    def _due_steps(self) -> int:
        """Gradient steps after this roll-out; none before the buffer has its minimum.

        All learners hold equally many env steps, so that none waits for another's gradient for ever.
        """
        replay = self.settings.replay
        needed = min(replay.minimum_env_steps // max(1, self.config.num_learners), self.replay.capacity)
        return self.settings.update.steps if len(self.replay) >= needed else 0

    def _gradient_step(self, fragments: FragmentBatch) -> dict[Any, Tensor]:
        settings = self.settings
        mixer = self._mixer()
        if settings.standardise_rewards:
            rewards = mixer.rewards.normalise(fragments.team_rewards)
            fragments = FragmentBatch(fragments.roles, fragments.states, rewards, fragments.terminated, fragments.cut)
        utilities = {role: self.module[role].unwrapped().network for role in self._role_ids()}
        loss, statistics = td_loss(
            utilities,
            mixer.network,
            {role: mixer.targets[role] for role in utilities},
            mixer.targets[MIXER],
            fragments,
            gamma=settings.discount,
            lambda_=settings.update.trace,
            double=settings.update.double,
        )
        shown = {**fragments.roles, MIXER: {"states": fragments.states, "team_rewards": fragments.team_rewards}}
        self._step(loss, shown, statistics)
        mixer.gradient_steps += 1
        if int(mixer.gradient_steps) % settings.update.target_every == 0:
            mixer.copy_to_targets(utilities)
        return statistics

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set step sizes and the share of random choices for the next roll-out."""
        super().after_gradient_based_update(timesteps=timesteps)
        env_steps = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME) or 0)
        epsilon = self.settings.exploration.epsilon(env_steps)
        for role in self._role_ids():
            self.module[role].unwrapped().epsilon.fill_(epsilon)
            self.metrics.log_value((role, "epsilon"), epsilon, window=1)
        shown = {
            "replay_env_steps": float(len(self.replay)),
            "replay_capacity_env_steps": float(self.replay.capacity),
            "replay_claimed_mb": self.replay.claimed_mb,
            "reward_mean": float(self._mixer().rewards.mean),
            "reward_std": float(self._mixer().rewards.std),
        }
        for name, value in shown.items():
            self.metrics.log_value((MIXER, name), value, window=1)

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Tensor:
        """There is no loss of one module: utilities are trained through the mixer, all at once."""
        raise NotImplementedError("QMIX and VDN have one loss for all modules: see td_loss")
