"""`HRACConfig` and `HRAC`: the algorithm as RLlib knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.tune.registry import register_env

from cloudsched_env.rllib.connector import ConnectorFactory
from cloudsched_env.rllib.learner import HRACLearner
from cloudsched_env.rllib.modules import module_specs
from cloudsched_env.rllib.role_config import RoleBatchedConfig
from cloudsched_env.rllib.role_map import RoleMap
from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.rllib.warm_start import WarmStart
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.source import make_source

__all__ = ["HRAC", "VECTOR_ENV", "HRACConfig", "make_vector_env", "register_vector_env"]

VECTOR_ENV = "cloudsched-vector"


def make_vector_env(env_config: Mapping[str, Any]) -> Any:
    """Create the clusters of a runner.

    Args:
        env_config: ``settings`` (an `HRACSettings`), ``num_envs`` and ``split``.
    """
    settings: HRACSettings = env_config["settings"]
    scenario = load_scenario(settings.scenario, settings.overrides)
    source = make_source(scenario, env_config["split"], settings.trace)
    return CloudSchedVectorEnv(scenario, env_config["num_envs"], source=source)


def register_vector_env() -> None:
    """Tell Ray about the environment; a checkpoint can be restored only afterwards."""
    register_env(VECTOR_ENV, make_vector_env)


class HRACConfig(RoleBatchedConfig, PPOConfig):
    """Configuration of HRAC with LGRS.

    Our own settings (`HRACSettings`) are set by `hrac`, everything about resources by RLlib's methods::

        config = HRACConfig().hrac({"scenario": "paper-v1", "lgrs.mode": "td"}).env_runners(num_env_runners=2)

    RLlib fields that follow from our settings (discount, roll-out length, batch sizes, epochs, modules, learner,
    connector, validation) are derived by `hrac` and again when the config is validated, so there is one place for each.
    """

    settings_name = "hrac"
    policy_name = "hrac_lgrs"
    learner_type: type[HRACLearner] = HRACLearner

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or HRAC)
        self.settings = self.default_settings()
        self.num_env_runners = 0
        self.num_learners = 0
        self.env = VECTOR_ENV
        self.seed = 0
        self._derive()

    @classmethod
    def default_settings(cls) -> HRACSettings:
        """What a new configuration begins with; algorithms that differ in settings only say so here."""
        return HRACSettings()

    def hrac(self, changes: Mapping[str, Any] | HRACSettings) -> HRACConfig:
        """Set our own settings, by dotted name or nested, or all at once.

        Raises:
            ValueError: for an unknown setting or a value that is not allowed.
        """
        return self.change_settings(changes)

    def validate(self) -> None:
        """Check the settings against the resources.

        Raises:
            ValueError: naming the setting and what was expected.
        """
        self._derive()
        super().validate()
        clusters = self.settings.sampling.clusters * max(1, self.num_env_runners)
        if self.num_learners > 1 and clusters % self.num_learners:
            raise ValueError(
                f"{clusters} clusters cannot be shared equally by {self.num_learners} learners: expected "
                "sampling.clusters x env runners to be a multiple of num_learners"
            )

    def _derive(self) -> None:
        s = self.settings
        sampling, update = s.sampling, s.update
        steps = sampling.rollout_steps * sampling.clusters * max(1, self.num_env_runners)
        learners = max(1, self.num_learners)
        self.api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        self.framework("torch")
        self.env_runners(
            env_runner_cls=RoleBatchedEnvRunner,
            num_envs_per_env_runner=sampling.clusters,
            rollout_fragment_length=sampling.rollout_steps,
        )
        specs: MultiRLModuleSpec = module_specs(s, self.seed or 0)
        role_map = RoleMap(load_scenario(s.scenario, s.overrides), s.roles.map)
        self.multi_agent(policies=set(role_map.names), policy_mapping_fn=_RoleOf(role_map))
        self.rl_module(rl_module_spec=specs)
        self.learners(
            learner_class=self.learner_type,
            learner_connector=ConnectorFactory(s, self.seed or 0),
            add_default_connectors_to_learner_pipeline=False,
        )
        self.training(
            gamma=s.discount,
            lambda_=s.vtrace.lambda_,
            lr=update.learning_rate,
            train_batch_size_per_learner=steps // learners,
            minibatch_size=max(1, update.minibatch_steps // learners),
            num_epochs=update.epochs,
        )
        self.evaluation(
            evaluation_interval=s.validation.every_epochs or None,
            evaluation_duration=s.validation.episodes,
            evaluation_duration_unit="episodes",
            evaluation_config={"explore": not s.validation.deterministic},
        )
        self.reporting(min_sample_timesteps_per_iteration=s.epoch_env_steps, min_time_s_per_iteration=0)


class _RoleOf:
    """The role of an agent by its name; a class, because Ray pickles it."""

    def __init__(self, role_map: RoleMap) -> None:
        self.role_map = role_map

    def __call__(self, agent_id: str, *args: Any, **kwargs: Any) -> str:
        return self.role_map.role_of(agent_id)


class HRAC(WarmStart, PPO):
    """Heterogeneous role-based actor-critic with LGRS (arXiv 2508.10253); one iteration is one epoch.

    ``training_step`` is PPO's: sample, update, synchronise weights. What makes it HRAC is in the runner
    (`RoleBatchedEnvRunner`), the connector (`HRACBatchConnector`: LGRS, V-trace, replay) and the learner
    (`HRACLearner`). With ``warm_start.trajectories`` it begins as a clone of recorded agents (`WarmStart`).
    """

    @classmethod
    def get_default_config(cls) -> HRACConfig:
        """The defaults."""
        return HRACConfig()


# Restoring a checkpoint imports this module for its class, and then needs the environment's name.
register_vector_env()
