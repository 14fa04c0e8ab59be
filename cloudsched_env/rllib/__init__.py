"""Training through RLlib: our algorithms on the array face, RLlib's own on the PettingZoo face.

Importing a name from here imports ray and torch; the pure torch parts in `cloudsched_env.rllib.networks` do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudsched_env.rllib.algorithms.happo import HAPPO, HAPPOConfig
    from cloudsched_env.rllib.algorithms.ippo import IPPO, IPPOConfig
    from cloudsched_env.rllib.algorithms.mappo import MAPPO, MAPPOConfig
    from cloudsched_env.rllib.algorithms.qmix import QMIX, QMIXConfig
    from cloudsched_env.rllib.algorithms.vdn import VDN, VDNConfig
    from cloudsched_env.rllib.environments import register_environments
    from cloudsched_env.rllib.hrac import HRAC, HRACConfig
    from cloudsched_env.rllib.settings import HRACSettings
    from cloudsched_env.rllib.training import TrainingOptions, train

__all__ = [
    "HAPPO",
    "HRAC",
    "IPPO",
    "MAPPO",
    "QMIX",
    "VDN",
    "HAPPOConfig",
    "HRACConfig",
    "HRACSettings",
    "IPPOConfig",
    "MAPPOConfig",
    "QMIXConfig",
    "TrainingOptions",
    "VDNConfig",
    "register_environments",
    "train",
]

_HOMES = {
    "HAPPO": "algorithms.happo",
    "HAPPOConfig": "algorithms.happo",
    "HRAC": "hrac",
    "HRACConfig": "hrac",
    "HRACSettings": "settings",
    "QMIX": "algorithms.qmix",
    "QMIXConfig": "algorithms.qmix",
    "IPPO": "algorithms.ippo",
    "IPPOConfig": "algorithms.ippo",
    "MAPPO": "algorithms.mappo",
    "MAPPOConfig": "algorithms.mappo",
    "TrainingOptions": "training",
    "VDN": "algorithms.vdn",
    "VDNConfig": "algorithms.vdn",
    "register_environments": "environments",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    # Loaded on demand, so that a trained policy (cloudsched_env.rllib.networks) loads without Ray.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("ray", "torch"):
            raise ModuleNotFoundError(
                f"cloudsched_env.rllib needs {error.name}: pip install 'cloudsched-env[rllib]'", name=error.name
            ) from error
        raise
    return getattr(module, name)
