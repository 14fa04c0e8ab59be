"""QMIX: monotonic mixing of utilities (Rashid et al. 2018, arXiv 1803.11485), with what was found to matter since.

| detail | source | where |
|---|---|---|
| monotonic mixer, weights made from the state by hypernetworks, made positive by abs | QMIX | `networks/mixer.py` |
| hypernetworks of two layers, 64 hidden units; 32 in the mixing network | pymarl2 (Hu et al. 2021, arXiv 2102.03479) | `MixingSettings` |
| one utility network for each role, shared by its agents, with the encoders and the pointer of the policies | no padding of observations and actions to one size | `value_based/modules.py` |
| several sub-actions: a utility for each, their mean enters the mixer, each takes its best allowed choice | branching Q-networks (Tavakoli et al. 2018, arXiv 1711.08946) | `value_based/utilities.py` |
| Peng's Q(lambda), Adam; lambda 0.9, where pymarl2 has 0.6 | pymarl2 | `value_based/targets.py` |
| double Q-learning: the current networks choose, the targets value | van Hasselt et al. 2016 | `value_based/loss.py` |
| target networks, copied every so many gradient steps | DQN | `value_based/learner.py` |
| epsilon-greedy 1 to 0.05 over 100,000 env steps, for every sub-action on its own | pymarl2 | `value_based/utilities.py` |
| standardised team reward | epymarl (Papoudakis et al. 2021, arXiv 2006.07869) | `value_based/learner.py` |
| buffer of fragments, not of episodes: values are functions of one observation | | `value_based/replay.py` |

Departures from the original: utility networks have no memory; the mixer's weights are made for each agent from what the
state says of it (the original: by its position), so that one mixer fits every cluster; gradient norms are limited
for each module. Lambda is .9 and the discount .998 (pymarl2: .6 and .99), the best of four short trials on `paper-v1`
(docs/dev/learning-log.md), where what a node's levels do shows over hundreds of steps. New utility
networks prefer the scenario's initial levels and nodes with less load a little (``networks.level_preference`` and
``networks.load_aversion``, .1): before any training they play much like ``least_allocated``.
"""  # noqa: E501  (a table)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudsched_env.rllib.value_based.algorithm import ValueDecomposition, ValueDecompositionConfig
from cloudsched_env.rllib.value_based.settings import ValueSettings

__all__ = ["QMIX", "QMIXConfig"]


class QMIXConfig(ValueDecompositionConfig):
    """Configuration of QMIX, as in ``QMIXConfig().qmix({"scenario": "tiny-v1"}).env_runners(num_env_runners=2)``."""

    settings_name = "qmix"
    policy_name = "qmix"
    mixing = "monotonic"

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or QMIX)

    def qmix(self, changes: Mapping[str, Any] | ValueSettings) -> QMIXConfig:
        """Set our own settings, by dotted name or nested, or all at once.

        Raises:
            ValueError: for an unknown setting or a value that is not allowed.
        """
        return self.change_settings(changes)


class QMIX(ValueDecomposition):
    """QMIX; the module's docstring says what it consists of."""

    @classmethod
    def get_default_config(cls) -> QMIXConfig:
        """The defaults."""
        return QMIXConfig()
