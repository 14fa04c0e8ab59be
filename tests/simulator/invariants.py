"""What `docs/simulator.md` promises of every step, checked on the arrays of the compiled kernel, no oracle between."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.result import EpisodeResult
from cloudsched_env.sim.state import (
    ABSENT,
    ASLEEP,
    FINISHED,
    IN_BACKOFF,
    IN_FIFO,
    IN_NODE_QUEUE,
    ON,
    RUNNING,
    State,
)
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv

TIGHT = 1e-9


class Before(NamedTuple):
    """What a step finds: failures and noisy neighbours come at its end."""

    available_cores: NDArray[np.float64]  # [compute nodes]
    storage_alive: NDArray[np.int8]  # [storage nodes]
    compute_alive: NDArray[np.int8]
    garbage_mb: NDArray[np.float64]


def before_step(state: State, b: int) -> Before:
    """Copy what `check_capacities` needs from before the step."""
    return Before(
        state.compute.available_cores[b].copy(),
        state.storage.alive[b].copy(),
        state.compute.alive[b].copy(),
        state.compute.garbage_mb[b].copy(),
    )


def nominal(scenario: Scenario, field: str) -> NDArray[np.float64]:
    """Cores or memory of every compute node."""
    kinds = scenario.cluster.compute_nodes
    return np.repeat([getattr(kind, field) for kind in kinds], [kind.count for kind in kinds])


def walk(next_task: NDArray[np.int32], head: int) -> list[int]:
    """The tasks of a linked queue."""
    tasks: list[int] = []
    while head >= 0:
        tasks.append(int(head))
        head = next_task[head]
        assert len(tasks) <= len(next_task), "a queue runs in a circle"
    return tasks


def _queues(state: State, b: int, heads: NDArray[np.int32]) -> list[list[int]]:
    return [walk(state.tasks.next_task[b], head) for head in heads]


def _check_queues(state: State, b: int, queues: list[list[int]], group: object, memory: bool) -> None:
    cores, memory_gb = state.tasks.cores[b], state.tasks.memory_gb[b]
    for i, queue in enumerate(queues):
        assert group.queue_length[b, i] == len(queue)
        np.testing.assert_allclose(group.queued_cores[b, i], cores[queue].sum(), rtol=TIGHT, atol=TIGHT)
        if memory:
            np.testing.assert_allclose(group.queued_memory_gb[b, i], memory_gb[queue].sum(), rtol=TIGHT, atol=TIGHT)


def check_every_task_is_in_one_place(state: State, b: int, backoff_steps: int) -> None:
    """FIFO, backing off, node queue, running or finished; and every list agrees with its counters."""
    tasks, schedulers = state.tasks, state.schedulers
    count, arrived = tasks.task_count[b], state.clock.next_arrival[b]
    fifo = _queues(state, b, schedulers.queue_head[b])
    aside = _queues(state, b, schedulers.backoff_head[b])
    queued = _queues(state, b, state.compute.queue_head[b])
    _check_queues(state, b, fifo, schedulers, memory=False)
    _check_queues(state, b, queued, state.compute, memory=True)
    for s, group in enumerate(aside):
        assert schedulers.backoff_length[b, s] == len(group)
        release = tasks.release_step[b, group]
        assert (np.diff(release) >= 0).all()
        assert ((release > state.clock.step[b]) & (release < state.clock.step[b] + max(1, backoff_steps))).all()
    for groups in (fifo, aside):
        for s, group in enumerate(groups):
            assert (state.data.tenant_scheduler[b, tasks.tenant[b, group]] == s).all()
    running = state.running.task[b, : state.running.slots_used[b]].tolist()
    finished = np.flatnonzero(~np.isnan(tasks.finish_s[b, :count])).tolist()
    places = {
        IN_FIFO: list(chain.from_iterable(fifo)),
        IN_BACKOFF: list(chain.from_iterable(aside)),
        IN_NODE_QUEUE: list(chain.from_iterable(queued)),
        RUNNING: running,
        FINISHED: finished,
    }
    assert sorted(chain.from_iterable(places.values())) == list(range(arrived)), (
        "every arrived task is in exactly one place"
    )
    for code, where in places.items():
        assert (tasks.place[b, where] == code).all()
    assert (tasks.place[b, arrived:count] == ABSENT).all()


def check_capacities(scenario: Scenario, state: State, b: int, before: Before) -> None:
    """Nobody uses more than there is, and nothing is negative."""
    dt = scenario.time.step_s
    memory_gb = nominal(scenario, "memory_gb")
    compute, storage = state.compute, state.storage
    assert (compute.available_cores[b] > 0).all()
    assert (compute.available_cores[b] <= nominal(scenario, "cores")).all()
    # Levels do not change between the purging of a step and its end.
    purging = np.array(scenario.purge.shares)[compute.purge_level[b]] if scenario.purge.enabled else 0.0
    assert (compute.in_use_cores[b] <= before.available_cores * (1 - purging) * (1 + TIGHT)).all()
    assert (compute.useful_core_s[b] <= compute.in_use_cores[b] * dt * (1 + TIGHT) + TIGHT**2).all()
    assert ((compute.efficiency[b] > 0) & (compute.efficiency[b] <= 1)).all()
    assert ((compute.processor_share[b] > 0) & (compute.processor_share[b] <= 1)).all()
    assert (compute.occupied_mb[b] <= 1000 * compute.cache_fraction[b] * memory_gb * (1 + TIGHT)).all()
    valid = compute.valid_mb[b].T * compute.valid_scale[b][:, None] * compute.shard_validity[b]
    assert (valid >= 0).all()
    assert (valid <= state.data.hot_set_mb[b] * (1 + TIGHT)).all()
    assert (valid.sum(axis=1) <= compute.occupied_mb[b] * (1 + TIGHT) + TIGHT).all()
    check_garbage(scenario, state, b, before)
    check_power(scenario, state, b)
    down = compute.alive[b] == 0
    assert (compute.queue_length[b, down] == 0).all()
    assert (compute.running_tasks[b, down] == 0).all()
    assert (compute.occupied_mb[b, down] == 0).all()

    assert (storage.debt_mb[b] >= 0).all()
    assert (storage.lag_mb[b] >= 0).all()
    assert (storage.stream_factor[b] >= scenario.storage.minimum_stream_factor).all()
    assert (storage.stream_factor[b] <= 1).all()
    if scenario.storage.sharing_enabled:
        share = np.array(scenario.storage.background_shares)[storage.background_level[b]]
        # Reads are gated: what was read, amplified, fits into what the node has for the foreground.
        room = (1 - share) * before.storage_alive
        assert (storage.read_rate[b] <= room * (1 + TIGHT) + TIGHT).all()

    used = slice(0, state.running.slots_used[b])
    remaining, node = state.running.remaining[b, used], state.running.node[b, used]
    assert ((remaining > 0) & (remaining <= 1)).all()
    cores = np.bincount(node, state.running.cores[b, used], minlength=len(memory_gb))
    np.testing.assert_allclose(compute.running_cores[b], cores, rtol=TIGHT, atol=TIGHT)
    memory = np.bincount(node, state.running.memory_gb[b, used], minlength=len(memory_gb))
    np.testing.assert_allclose(compute.running_memory_gb[b], memory, rtol=TIGHT, atol=TIGHT)
    np.testing.assert_array_equal(compute.running_tasks[b], np.bincount(node, minlength=len(memory_gb)))


def check_garbage(scenario: Scenario, state: State, b: int, before: Before) -> None:
    """No node has negative garbage, purges more than its cores can, or has more than was left behind."""
    garbage, config, up = state.compute.garbage_mb[b], scenario.purge, before.compute_alive == 1
    assert np.isfinite(garbage).all()
    assert (garbage >= 0).all()
    assert (garbage[~up] == 0).all()
    if not config.enabled:
        assert (garbage == 0).all()
        return
    change = garbage - before.garbage_mb
    cores = np.array(config.shares)[state.compute.purge_level[b]] * before.available_cores
    most_purged = config.rate_mb_per_core_s * cores * scenario.time.step_s
    slack = TIGHT * (1 + before.garbage_mb + most_purged)
    # A node that crashed or fell asleep in this step has lost it all, with its tasks.
    emptied = (garbage == 0) & (state.compute.running_tasks[b] == 0)
    assert ((change >= -np.minimum(most_purged, before.garbage_mb) - slack) | emptied)[up].all()


def served_capacity_mb(scenario: Scenario, state: State, b: int, before: Before) -> float:
    """Most that all storage nodes together can have moved for tasks in the last step."""
    share = np.array(scenario.storage.background_shares)[state.storage.background_level[b]]
    rate = (1 - share) * before.storage_alive * scenario.storage.bandwidth_mb_per_s
    return float(rate.sum() * scenario.time.step_s)


def check_outputs(env: CloudSchedVectorEnv) -> None:
    """Everything that agents see is finite and within its declared bounds, and everyone may do something."""
    for role in ROLES:
        layout, observed = env.layouts[role], env.observations[role]
        assert np.isfinite(observed).all(), f"{role} observes NaN or infinity"
        wrong = np.argwhere((observed < layout.low()) | (observed > layout.high()))
        assert not len(wrong), f"{role}: {layout.names()[wrong[0][-1]]} is out of bounds: {observed[tuple(wrong[0])]}"
        mask = env.masks[role]
        assert np.isin(mask, (0, 1)).all()
        starts = np.concatenate(([0], np.cumsum(env.action_levels[role])[:-1]))
        assert np.add.reduceat(mask.astype(np.int64), starts, axis=2).min() >= 1, f"{role} may do nothing"
        if role == "scheduler":
            assert (mask[..., starts + env.scenario.candidate_count] == 1).all(), "deferring is always allowed"
        assert np.isfinite(env.local_rewards[role]).all(), f"local reward of {role}"
    layout = env.state_layout
    assert np.isfinite(env.state).all()
    assert ((env.state >= layout.low()) & (env.state <= layout.high())).all()
    least, most = team_reward_bounds(env.scenario)
    slack = 1e-6 * (1 + most - least)  # rewards are float32
    assert ((env.team_reward >= least - slack) & (env.team_reward <= most + slack)).all()


def team_reward_bounds(scenario: Scenario) -> tuple[float, float]:
    """Between what the team reward lies: its kind, less what the nodes that are not asleep cost."""
    reward, elastic = scenario.reward, scenario.elastic
    mixed = reward.useful_weight + 2 * reward.goodput_weight + reward.latency_weight + reward.fairness_weight
    most = {"mixed": mixed, "goodput": 2.0}.get(reward.team, 1.0)
    return (-elastic.cost_weight if elastic.enabled else 0.0), most


def check_power(scenario: Scenario, state: State, b: int) -> None:
    """Who sleeps has nothing and holds nothing; without elastic nodes nobody does."""
    compute = state.compute
    asleep = compute.power[b] == ASLEEP
    for held in (compute.queue_length, compute.running_tasks, compute.occupied_mb, compute.garbage_mb):
        assert (held[b, asleep] == 0).all()
    if not scenario.elastic.enabled:
        assert (compute.power[b] == ON).all()


def check_record(result: EpisodeResult, state: State, b: int, useful_core_s: float, lost_core_s: float) -> None:
    """Work is done once, and nothing ends before it can.

    Args:
        result: record of an episode so far.
        state: arrays of the kernel.
        b: the cluster.
        useful_core_s: useful work of all steps.
        lost_core_s: work that crashes have undone.
    """
    episode = result.episode
    assert all(np.isfinite(value) for value in result.totals.values())
    # Nodes that are not asleep cost team reward.
    signed = {"steps", "team_reward"} if result.scenario.elastic.enabled else {"steps"}
    assert all(value >= 0 for name, value in result.totals.items() if name not in signed)
    finished, work = ~np.isnan(result.finish_s), episode.cores * episode.base_time_s
    running = state.running.task[b, : state.running.slots_used[b]]
    partial = (work[running] * (1 - state.running.remaining[b, : len(running)])).sum()
    done = work[finished].sum() + partial + lost_core_s
    np.testing.assert_allclose(useful_core_s, done, rtol=TIGHT, atol=TIGHT)
    assert np.array_equal(np.isnan(result.start_s[finished]), np.zeros(finished.sum(), bool))
    earliest = episode.arrival_s[finished] + result.scenario.scheduling.dispatch_delay_s
    assert (result.start_s[finished] >= earliest - TIGHT).all()
    taken = result.finish_s[finished] - result.start_s[finished]
    assert (taken >= episode.base_time_s[finished] * (1 - TIGHT) - TIGHT).all()
