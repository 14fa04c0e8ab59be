"""VDN: value decomposition networks (Sunehag et al. 2018, arXiv 1706.05296), the value is the sum of the utilities.

Everything but the mixer (`cloudsched_env.rllib.networks.mixer.SumMixer`) is as in
`cloudsched_env.rllib.algorithms.qmix`, whose docstring lists the details. The state plays no part in the value;
utilities of agents without a choice take part in the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudsched_env.rllib.value_based.algorithm import ValueDecomposition, ValueDecompositionConfig
from cloudsched_env.rllib.value_based.settings import ValueSettings

__all__ = ["VDN", "VDNConfig"]


class VDNConfig(ValueDecompositionConfig):
    """Configuration of VDN, as in ``VDNConfig().vdn({"scenario": "paper-v1"}).env_runners(num_env_runners=2)``."""

    settings_name = "vdn"
    policy_name = "vdn"
    mixing = "sum"

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or VDN)

    def vdn(self, changes: Mapping[str, Any] | ValueSettings) -> VDNConfig:
        """Set our own settings, by dotted name or nested, or all at once.

        Raises:
            ValueError: for an unknown setting or a value that is not allowed.
        """
        return self.change_settings(changes)


class VDN(ValueDecomposition):
    """VDN; the module's docstring says what it consists of."""

    @classmethod
    def get_default_config(cls) -> VDNConfig:
        """The defaults."""
        return VDNConfig()
