"""`ValueDecomposition`: what QMIX and VDN have in common as algorithms of RLlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from cloudsched_env.rllib.hrac import VECTOR_ENV, register_vector_env
from cloudsched_env.rllib.modules import ROLES
from cloudsched_env.rllib.role_config import RoleBatchedConfig
from cloudsched_env.rllib.value_based.learner import ValueLearner
from cloudsched_env.rllib.value_based.modules import UtilityModule, value_module_specs
from cloudsched_env.rllib.value_based.settings import ValueSettings

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ValueDecomposition", "ValueDecompositionConfig"]


class ValueDecompositionConfig(RoleBatchedConfig):
    """Configuration of QMIX and VDN, which differ in the mixer only.

    Our own settings (`ValueSettings`) are set by `change_settings`, everything about resources by RLlib's methods.

    Attributes:
        mixing: the ``mixing.kind`` that makes the algorithm what its name says.
    """

    mixing: str

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or ValueDecomposition)
        self.settings = ValueSettings().override({"mixing.kind": self.mixing})
        self.num_env_runners = 0
        self.num_learners = 0
        self.env = VECTOR_ENV
        self.seed = 0
        self._derive()

    def change_settings(self, changes: Mapping[str, Any] | ValueSettings) -> Self:
        """See `RoleBatchedConfig.change_settings`.

        Raises:
            ValueError: also for another ``mixing.kind`` than the algorithm's.
        """
        super().change_settings(changes)
        if self.settings.mixing.kind != self.mixing:
            raise ValueError(
                f"setting 'mixing.kind' is {self.settings.mixing.kind!r}: {self.settings_name} is {self.mixing!r}, "
                "and the other kind is another algorithm (monotonic: qmix, sum: vdn)"
            )
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """What a module is unless `value_module_specs` says otherwise."""
        return RLModuleSpec(module_class=UtilityModule)

    def get_default_learner_class(self) -> type[ValueLearner]:
        """The learner."""
        return ValueLearner

    def _derive(self) -> None:
        super()._derive()
        self.rl_module(rl_module_spec=value_module_specs(self.settings, self.seed or 0))
        # Roll-outs reach the learner as they are: it keeps them, and draws its batches itself.
        self.learners(learner_class=ValueLearner, add_default_connectors_to_learner_pipeline=False)


class ValueDecomposition(Algorithm):
    """Off-policy training of one value for the joint action; one iteration is one epoch."""

    def training_step(self) -> None:
        """Sample a roll-out on every runner, let learners remember it and train on what they remember."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=self.config.total_train_batch_size,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
            if not rollouts:  # all runners failed; RLlib restarts them
                return
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        env_steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            learned = self.learner_group.update(
                episodes=rollouts, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps}
            )
            self.metrics.aggregate(learned, key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, policies=set(ROLES), inference_only=True
            )


# Restoring a checkpoint imports this module for its class, and then needs the environment's name.
register_vector_env()
