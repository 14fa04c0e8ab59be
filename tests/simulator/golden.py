"""Roll-outs whose every number is hashed, and one of a cluster that is strained in every way at once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloudsched_env.scenario import load_scenario, scenario_ids
from cloudsched_env.sim.failure import Outage
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode, WorkloadSource
from cloudsched_env.workload.source import make_source

STRESS = "tiny-v1 under stress"
# Much work and more writes for little memory and bandwidth; levels that matter; everything that may be shown is.
_STRAIN: dict[str, Any] = {
    "time.horizon_steps": 260,
    "cluster.compute_nodes": [
        {"count": 2, "cores": 8.0, "memory_gb": 3.0},
        {"count": 1, "cores": 4.0, "memory_gb": 1.5},
    ],
    "cluster.storage_nodes": 3,
    "cluster.schedulers": 2,
    "workload.replicas": 3,
    "workload.home_nodes": 2,
    "workload.task_rate_per_s": 24.0,
    "workload.memory_load": 0.5,
    "workload.read_load": 1.5,
    "workload.write_load": 4.0,
    # Many tasks have just this: 3 s would be an edge of a field of the state, 2.5 s halfway between two float32 sums.
    "workload.maximum_base_time_s": 2.7,
    "cache.hot_set_mean_gb": 0.3,
    "storage.bandwidth_mb_per_s": 600.0,
    "compaction.initial_debt": 2.7,
    "purge.initial_garbage": 4.0,
    "background.enabled": True,
    "background.quiet_mean_s": 5.0,
    "background.disturbed_mean_s": 3.0,
    "elastic.enabled": True,
    "elastic.minimum_nodes": 1,
    "telemetry.loss_probability": 0.2,
    "observation.engine_metrics": True,
    "observation.entitlement": True,
}
# Nodes 0 to 2 compute, 3 to 5 are storage: one replica is down for long, then the quorum, then a compute node.
_STRAIN_OUTAGES: list[Outage] = [(60, 4, 0), (110, 5, 0), (120, 5, 1), (140, 4, 1), (160, 1, 0), (180, 1, 1)]


@dataclasses.dataclass(frozen=True)
class Rollout:
    """What is played: a scenario, changes to it, and how long."""

    scenario: str
    steps: int
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outages: Sequence[Outage] | None = None


def rollouts() -> dict[str, Rollout]:
    """Roll-outs by name: every shipped scenario, and the strained cluster."""
    found = {STRESS: Rollout("tiny-v1", 260, _STRAIN, _STRAIN_OUTAGES)}
    for scenario in scenario_ids():
        agents = sum(load_scenario(scenario).role_counts.values())
        found[scenario] = Rollout(scenario, 200 if agents <= 60 else 100)
    return found


def cells(values: ArrayLike) -> bytes:
    """Which cell of width 1e-5 each number lies in.

    Processors differ in the last bits of exponentials and logarithms, so numbers are rounded before they are hashed.
    Cells begin at no round number: 0, or half a core of eight, is what it is up to noise, and noise must not carry it
    over an edge. Widths are absolute: what is left of a difference of equal numbers is all noise.
    """
    return np.floor(np.asarray(values, np.float64) * 1e5 + 0.381966).astype(np.int64).tobytes()


def shown(env: CloudSchedVectorEnv) -> list[bytes]:
    """Everything that the array face shows after a reset or a step."""
    per_role = [array for role in ROLES for array in (env.observations[role], env.local_rewards[role])]
    counted = [np.ascontiguousarray(array).tobytes() for array in (*env.masks.values(), env.candidates)]
    return [cells(array) for array in (*per_role, env.state, env.team_reward)] + counted


def recorded(env: CloudSchedVectorEnv) -> list[bytes]:
    """The raw record of the episode so far."""
    (result,) = env.results()
    times = [np.nan_to_num(column, nan=-1.0) for column in (result.start_s, result.finish_s)]
    # Sums have no common scale: their logarithm where they are large, themselves where they are small.
    sums = np.arcsinh([*result.totals.values(), *result.tenant_served_core_s, *result.tenant_arrived_core_s])
    return [cells(column) for column in (*times, sums)]


def random_actions(env: CloudSchedVectorEnv, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Any level of every sub-action, whether or not masks allow it."""
    return {
        role: rng.integers(0, env.action_levels[role], (1, env.role_counts[role], len(env.action_levels[role])))
        for role in ROLES
    }


class _Adjusted:
    """A source whose episodes are changed by a function."""

    def __init__(self, source: WorkloadSource, adjust: Callable[[Episode], Episode]) -> None:
        self.scenario, self.split, self.data_tag = source.scenario, source.split, source.data_tag
        self._source, self._adjust = source, adjust

    def episode(self, rng: np.random.Generator) -> Episode:
        return self._adjust(self._source.episode(rng))


def rollout_hash(
    rollout: Rollout, changes: Mapping[str, Any] | None = None, adjust: Callable[[Episode], Episode] | None = None
) -> str:
    """Hash of all that is shown in each step and of what is recorded in the end.

    Args:
        rollout: what to play.
        changes: further fields of the scenario to change.
        adjust: what to do to the episode before it is played.
    """
    scenario = load_scenario(rollout.scenario, {**rollout.overrides, **(changes or {})})
    source = None if adjust is None else _Adjusted(make_source(scenario), adjust)
    env = CloudSchedVectorEnv(scenario, source=source)
    env.reset([0], outages=None if rollout.outages is None else [list(rollout.outages)])
    rng = np.random.default_rng(1)
    digest = hashlib.sha256()
    for _ in range(rollout.steps):
        env.step(random_actions(env, rng))
        for part in shown(env):
            digest.update(part)
    for part in recorded(env):
        digest.update(part)
    return digest.hexdigest()
