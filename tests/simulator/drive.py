"""Hand-made episodes in columns, and a loop that plays them through the compiled kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloudsched_env.roles import compute, storage
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.failure import Outage
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode
from tests.simulator.episodes import LABELS, ONE_TASK

Actions = dict[str, NDArray[np.int64]]


def make_episode(
    scenario: Scenario,
    *,
    hot_set_mb: ArrayLike = 500.0,
    replicas: ArrayLike | None = None,
    homes: ArrayLike | None = None,
    **columns: ArrayLike,
) -> Episode:
    """Tasks as columns in order of arrival; a column that is left out is that of `ONE_TASK`.

    Shard m lies on the replicas m, m + 1, ... and has its homes on the compute nodes m, m + 1, ... unless given.
    """
    unknown = columns.keys() - ONE_TASK.keys()
    if unknown:
        raise ValueError(f"unknown task columns {sorted(unknown)}: expected some of {sorted(ONE_TASK)}")
    count = max(np.size(column) for column in columns.values())
    filled: dict[str, Any] = {
        name: np.broadcast_to(
            np.asarray(columns.get(name, default), np.int32 if name in LABELS else np.float64), count
        ).copy()
        for name, default in ONE_TASK.items()
    }
    shards = np.arange(scenario.shards)[:, None]
    if replicas is None:
        replicas = (shards + np.arange(scenario.workload.replicas)) % scenario.cluster.storage_nodes
    if homes is None:
        homes = (shards + np.arange(scenario.workload.home_nodes)) % scenario.compute_count
    return Episode(
        **filled,
        tenant=(filled["shard"] // scenario.workload.shards_per_tenant).astype(np.int32),
        shard_hot_set_mb=np.broadcast_to(np.asarray(hot_set_mb, np.float64), scenario.shards).copy(),
        shard_replicas=np.asarray(replicas, np.int32),
        shard_homes=np.asarray(homes, np.int32),
        tenant_scheduler=(np.arange(scenario.workload.tenants) % scenario.cluster.schedulers).astype(np.int32),
        data_tag="generated",
        details={"source": "hand-made for tests"},
    )


def constant_actions(scenario: Scenario, batch: int, node: int = 0) -> Actions:
    """Initial levels everywhere, and every visible task to compute node ``node``."""
    counts = scenario.role_counts
    return {
        "compute": np.tile(compute.initial_levels(scenario), (batch, counts["compute"], 1)),
        "storage": np.tile(storage.initial_levels(scenario), (batch, counts["storage"], 1)),
        "scheduler": np.full((batch, counts["scheduler"], scenario.scheduling.window_slots), node),
    }


def play(
    scenario: Scenario,
    episodes: Sequence[Episode],
    *,
    actions: Mapping[str, NDArray[np.int64]] | Callable[[CloudSchedVectorEnv, int], Actions] | None = None,
    outages: Sequence[list[Outage]] | None = None,
    watch: Callable[[CloudSchedVectorEnv, int], None] | None = None,
    prepare: Callable[[CloudSchedVectorEnv], None] | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> CloudSchedVectorEnv:
    """Play the episodes side by side, one cluster each, and return the environment at the end.

    Args:
        scenario: the cluster.
        episodes: one per cluster.
        actions: fixed actions, or a function of the environment and the step; all tasks to node 0 by default.
        outages: one schedule of crashes and repairs per cluster; drawn at the scenario's rates by default.
        watch: called with the number of steps taken: after the reset (0) and after every step.
        prepare: called once after the reset, to put a cluster into a state that is tedious to reach.
        steps: how many steps; the whole horizon by default.
        seed: of outages and telemetry losses.
    """
    env = CloudSchedVectorEnv(scenario, len(episodes))
    env.reset(seed, episodes=episodes, outages=outages)
    if prepare is not None:
        prepare(env)
    if watch is not None:
        watch(env, 0)
    fixed = constant_actions(scenario, len(episodes)) if actions is None else actions
    for step in range(scenario.time.horizon_steps if steps is None else steps):
        env.step(fixed(env, step) if callable(fixed) else fixed)
        if watch is not None:
            watch(env, step + 1)
    return env


def times(env: CloudSchedVectorEnv) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and finish times of all tasks, ``[B, tasks]``, NaN where there is none; the episodes have equal sizes."""
    results = env.results()
    return np.array([r.start_s for r in results]), np.array([r.finish_s for r in results])


def valid_mb(env: CloudSchedVectorEnv) -> NDArray[np.float64]:
    """Valid bytes of every shard in every cache, ``[B, nodes, shards]``."""
    nodes = env.simulator_state.compute
    valid = nodes.valid_mb.swapaxes(1, 2)
    return valid * nodes.valid_scale[:, :, None] * nodes.shard_validity[:, None, :]
