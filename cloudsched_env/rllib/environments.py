"""Names by which Ray finds our environments: the array face for our algorithms, the PettingZoo face for RLlib's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.registry import register_env

from cloudsched_env.scenario import scenario_ids

__all__ = ["make_parallel_env", "register_environments"]


def make_parallel_env(scenario: str, env_config: Mapping[str, Any]) -> Any:
    """The PettingZoo face of a scenario, wrapped for RLlib.

    Args:
        scenario: id of the scenario.
        env_config: keyword arguments of `cloudsched_env.parallel_env`.
    """
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    from cloudsched_env import parallel_env

    return ParallelPettingZooEnv(parallel_env(scenario, **dict(env_config)))


class _Creator:
    """Creates the environment of one scenario; a class, because Ray pickles it for its workers."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario

    def __call__(self, env_config: Mapping[str, Any]) -> Any:
        return make_parallel_env(self.scenario, env_config)


def register_environments() -> None:
    """Register ``cloudsched/<scenario>`` for every named scenario, and the array face."""
    from cloudsched_env.rllib.hrac import register_vector_env

    register_vector_env()
    for scenario in scenario_ids():
        register_env(f"cloudsched/{scenario}", _Creator(scenario))
