"""IPPO: each agent learns by PPO on what it observes itself (de Witt et al. 2020, arXiv 2011.09533).

As `cloudsched_env.rllib.algorithms.mappo`, whose docstring lists the details, but the critic sees the agent's own
observation only: ``networks.critic=local``, `networks.agent_critic.AgentCritic`. Parameters are shared within a role,
as in the paper's experiments; the reward is the team's. MAPPO's departures are IPPO's too: with the common noise of
their exploration and the baseline over copies, learners are less independent here than in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig
from cloudsched_env.rllib.hrac import HRAC
from cloudsched_env.rllib.settings import HRACSettings

__all__ = ["IPPO", "IPPOConfig"]


class IPPOConfig(MAPPOConfig):
    """Configuration of IPPO, as in ``IPPOConfig().ippo({"scenario": "paper-v1"})``."""

    settings_name = "ippo"
    policy_name = "ippo"

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or IPPO)

    @classmethod
    def default_settings(cls) -> HRACSettings:
        """MAPPO's with a critic of the local observation."""
        return super().default_settings().override({"networks.critic": "local"})

    def ippo(self, changes: Mapping[str, Any] | HRACSettings) -> IPPOConfig:
        """Set our own settings, by dotted name or nested, or all at once.

        Raises:
            ValueError: for an unknown setting or a value that is not allowed.
        """
        return self.change_settings(changes)


class IPPO(HRAC):
    """IPPO; the module's docstring says what it consists of."""

    @classmethod
    def get_default_config(cls) -> IPPOConfig:
        """The defaults."""
        return IPPOConfig()
