"""MAPPO: PPO with a centralised critic (Yu et al. 2022, arXiv 2103.01955), one policy for each role.

Reference implementation: ``marlbenchmark/on-policy``. Runner, connector, learner and policy networks are those of HRAC;
what makes it MAPPO are settings. The details that its authors found to matter, and where they are:

- *Value normalisation*, here one normaliser for each role: `cloudsched_env.rllib.value_normalisation`. The critic
  learns normalised returns, advantages are formed from denormalised values (`connector.HRACBatchConnector`).
- *Agent-specific global state* for the critic: ``networks.critic=agent``, `networks.agent_critic.AgentCritic`, with
  death masking for failed nodes.
- *Ratio clip, value clip with the maximum of both losses, Huber loss*: `learner.HRACLearner._policy_loss` and
  ``_value_loss``; ``update.clip``, ``update.value_clip``, ``update.huber_delta`` = 10.
- *Active masks*: agents without a choice count neither in the policy loss nor in the mean and spread of advantages
  (`connector.decides`). Values are trained on all agents: a failed node comes back here.
- *GAE*: V-trace on the policy's own data is GAE(lambda) (`cloudsched_env.rllib.vtrace`); no replay.
- *Product of ratios* over the sub-actions of an agent: a policy's log-probability is the joint one
  (`networks.policy.NodePolicy`).
- *Orthogonal initialisation, gain 0.01 on the last layer, layer normalisation*: `networks.layers`.
- Every agent is trained on the team reward: ``lgrs.mode=mix``, ``lgrs.lambda=0``. No role attention.

Departures. All policy gradients here share what was found to help HRAC on `paper-v1`; nothing was tuned for MAPPO,
whose authors may want other values:

| here | setting | the paper |
|---|---|---|
| step size 1.5e-3 falling, after `update.warmup_epochs` epochs in which the critic alone learns; discount .998 | ``update``, ``discount`` | 5e-4, 5 to 15 passes, one minibatch, discount .99 |
| nodes of a role draw their levels with common noise, kept for 30 steps: choices of different agents and steps are not independent | ``exploration.common_noise_steps`` (0: independent) | independent |
| clusters of a group meet the same arrivals, and their advantages lose the mean over the others (input-dependent baseline); value targets keep a fifth of it | ``sampling.copies`` (1: none), ``vtrace.common_share`` (1) | none |
| rewards are centred before values are made of them | ``centre_rewards`` (false) | not centred |
| a minibatch trains on four agents of a role per env step, drawn at random | ``update.agents_per_role`` (0: all) | all |
| new policies prefer the scenario's initial levels and nodes with less load | ``networks.level_preference``, ``networks.load_aversion`` (0) | no prior |
| a policy for each role, with encoders and a pointer for schedulers | ``roles.map`` | one network, shared by all |
"""  # noqa: E501  (a table)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudsched_env.rllib.hrac import HRAC, HRACConfig
from cloudsched_env.rllib.settings import HRACSettings

__all__ = ["MAPPO", "MAPPOConfig"]


class MAPPOConfig(HRACConfig):
    """Configuration of MAPPO, as in ``MAPPOConfig().mappo({"scenario": "paper-v1"})``."""

    settings_name = "mappo"
    policy_name = "mappo"

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or MAPPO)

    @classmethod
    def default_settings(cls) -> HRACSettings:
        """Team reward, a value for each agent, no attention."""
        return HRACSettings().override(
            {"lgrs.mode": "mix", "lgrs.lambda": 0.0, "networks.critic": "agent", "networks.similarity": "off"}
        )

    def mappo(self, changes: Mapping[str, Any] | HRACSettings) -> MAPPOConfig:
        """Set our own settings, by dotted name or nested, or all at once.

        Raises:
            ValueError: for an unknown setting or a value that is not allowed.
        """
        return self.change_settings(changes)


class MAPPO(HRAC):
    """MAPPO; the module's docstring says what it consists of."""

    @classmethod
    def get_default_config(cls) -> MAPPOConfig:
        """The defaults."""
        return MAPPOConfig()
