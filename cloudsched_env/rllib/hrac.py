"""`HRACConfig` and `HRAC`: heterogeneous role-based actor-critic with LGRS (arXiv 2508.10253), as RLlib knows it.

Where its parts are:

- *Role map*, which agents share a policy: ``roles.map``, `role_map`.
- *Role networks and the pointer of schedulers*: `networks.policy`, `networks.scheduler`; a GRU in `networks.base`.
- *Role attention* in the critic and, if ``networks.execution`` says so, in policies: `networks.attention`,
  `networks.critic.CentralCritic`, `networks.channel`. By default policies act on their own observations.
- *V-trace over a circular buffer*: `vtrace`, `connector.HRACBatchConnector`; off by default (``replay.rollouts=0``),
  where its targets are those of GAE(lambda).
- *LGRS*, five modes and lambda: `lgrs`, with the lagged potential in `modules.CriticModule`. By default ``td`` with
  lambda 0: team reward plus the difference of potentials, no local reward, which harmed on `paper-v1`
  (benchmarks/results/ablations).
- *Update*: decoupled PPO, `learner.HRACLearner`.

What the paper does not have and MAPPO here has too (common noise, baseline over copies, centred rewards, a random share
of agents, preferences of new networks) is listed in `cloudsched_env.rllib.algorithms.mappo`, each with its setting.
"""

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
    source = make_source(scenario, env_config["split"], settings.trace, settings.storage_load.load())
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

    def _derive(self) -> None:
        super()._derive()
        s = self.settings
        specs: MultiRLModuleSpec = module_specs(s, self.seed or 0)
        self.rl_module(rl_module_spec=specs)
        self.learners(
            learner_class=self.learner_type,
            learner_connector=ConnectorFactory(s, self.seed or 0),
            add_default_connectors_to_learner_pipeline=False,
        )
        self.training(
            lambda_=s.vtrace.lambda_,
            minibatch_size=max(1, s.update.minibatch_steps // max(1, self.num_learners)),
            num_epochs=s.update.epochs,
        )


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
