"""Benchmark for multi-agent reinforcement learning on cloud-native database clusters.

Importing this package registers every scenario with PettingZoo, so that
``pettingzoo.make("parallel", "cloudsched/paper-v1")`` works. The environment itself, and numba with it, is loaded when
it is first asked for.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from pettingzoo import parallel_registry, register

from cloudsched_env.scenario import Scenario, load_scenario, scenario_ids

if TYPE_CHECKING:
    from cloudsched_env.env import CloudSchedEnv
    from cloudsched_env.vector import CloudSchedVectorEnv

__all__ = [
    "CloudSchedEnv",
    "CloudSchedVectorEnv",
    "Scenario",
    "load_scenario",
    "parallel_env",
    "scenario_ids",
]

__version__ = "0.1.0"

_HOMES = {"CloudSchedEnv": "cloudsched_env.env", "CloudSchedVectorEnv": "cloudsched_env.vector"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def parallel_env(scenario: str | Scenario = "paper-v1", **options: Any) -> CloudSchedEnv:
    """A PettingZoo ``ParallelEnv`` of the named scenario; options as for `cloudsched_env.env.CloudSchedEnv`.

    Raises:
        TypeError: for an option that there is not, naming the nearest one.
    """
    from cloudsched_env.config_tree import nearest_names
    from cloudsched_env.env import CloudSchedEnv

    known = [name for name in inspect.signature(CloudSchedEnv).parameters if name != "scenario"]
    for name in options:
        if name not in known:
            raise TypeError(f"parallel_env has no option {name!r}: {nearest_names(name, known)}")
    return CloudSchedEnv(scenario, **options)


for _id in scenario_ids():
    if f"cloudsched/{_id}" not in parallel_registry:  # reloading the package is no reason for a warning
        register("parallel", f"cloudsched/{_id}", "cloudsched_env:parallel_env", kwargs={"scenario": _id})
