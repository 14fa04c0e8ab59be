from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow

from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload import GeneratedSource
from cloudsched_env.workload.bound import (
    fastest_rates,
    fluid_work,
    least_waiting,
    release_times,
    upper_bound,
    warmth_limits,
)
from tests.simulator.episodes import hand_made_episode, simple_episode


def served_by_maximum_flow(release, rate, work, capacity, start, end) -> int:
    """Brute force for integers: a network source -> tasks -> unit slots -> sink."""
    tasks, slots = len(release), end - start
    nodes = 2 + tasks + slots
    graph = np.zeros((nodes, nodes), dtype=np.int32)
    for i in range(tasks):
        graph[0, 2 + i] = work[i]
        for t in range(slots):
            if start + t >= release[i]:
                graph[2 + i, 2 + tasks + t] = rate[i]
    graph[2 + tasks :, 1] = capacity
    return maximum_flow(csr_matrix(graph), 0, 1).flow_value


@settings(max_examples=300)
@given(
    tasks=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4), st.integers(1, 20)), min_size=1, max_size=7),
    capacity=st.integers(1, 8),
    start=st.integers(0, 6),
    length=st.integers(1, 8),
)
def test_fluid_work_is_the_maximum_flow(tasks, capacity, start, length):
    release, rate, work = (np.array(column, dtype=float) for column in zip(*tasks, strict=True))
    # Continuous time can do no better than unit slots if work x 1 is cut into units: a rate-limited flow in
    # continuous time averages over each slot to a feasible slotted flow, and the other way round.
    expected = served_by_maximum_flow(
        release.astype(int), rate.astype(int), work.astype(int), capacity, start, start + length
    )
    assert fluid_work(release, rate, work, float(capacity), start, start + length) == pytest.approx(expected)


def test_fluid_work_by_hand():
    # One task of 4 core-seconds at 2 cores from t = 1 on: done at t = 3, on 8 cores.
    one = (np.array([1.0]), np.array([2.0]), np.array([4.0]))
    assert fluid_work(*one, 8.0, 0.0, 10.0) == pytest.approx(4.0)
    assert fluid_work(*one, 8.0, 0.0, 2.0) == pytest.approx(2.0)
    assert fluid_work(*one, 1.0, 0.0, 4.0) == pytest.approx(3.0)
    assert fluid_work(*one, 8.0, 2.5, 10.0) == pytest.approx(4.0)  # idle before: all work is still there
    empty = np.empty(0)
    assert fluid_work(empty, empty, empty, 8.0, 0.0, 10.0) == 0.0


def test_fluid_work_with_capacity_that_varies():
    one = (np.array([0.5]), np.array([2.0]), np.array([4.0]))
    # 8 cores, nothing, 1 core in seconds 0, 1 and 2: 1 core-second from 0.5 on, none, 1.
    capacity = np.array([8.0, 0.0, 1.0])
    assert fluid_work(*one, capacity, 0.0, 3.0) == pytest.approx(2.0)
    assert fluid_work(*one, capacity, 0.0, 2.5) == pytest.approx(1.5)
    assert fluid_work(*one, capacity, 1.5, 3.0) == pytest.approx(1.0)
    # Half-second steps: the same three values within 1.5 s.
    assert fluid_work(*one, capacity, 0.0, 1.5, 0.5) == pytest.approx(0.5)


@settings(max_examples=100)
@given(
    tasks=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.integers(1, 20)), min_size=1, max_size=5),
    capacity=st.lists(st.integers(0, 8), min_size=8, max_size=8),
    start=st.integers(0, 4),
)
def test_fluid_work_bounds_the_maximum_flow_under_varying_capacity(tasks, capacity, start):
    release, rate, work = (np.array(column, dtype=int) for column in zip(*tasks, strict=True))
    expected = served_by_maximum_flow(release, rate, work, np.array(capacity[start:]), start, 8)
    found = fluid_work(*(a.astype(float) for a in (release, rate, work)), np.array(capacity, float), start, 8.0)
    assert found >= expected - 1e-9
    assert found <= sum(capacity[start:]) + 1e-9


def test_constant_capacity_is_the_same_by_step():
    scenario = load_scenario("tiny-v1")
    episode = GeneratedSource(scenario, "test").evaluation_episodes(1)[0]
    by_step = upper_bound(scenario, episode, np.full(scenario.time.horizon_steps, 12.0))
    assert dataclasses.astuple(by_step) == pytest.approx(dataclasses.astuple(upper_bound(scenario, episode)))
    halved = upper_bound(scenario, episode, np.full(scenario.time.horizon_steps, 6.0))
    assert 0.49 < halved.useful_utilisation <= 0.5
    with pytest.raises(ValueError, match=r"shape \(3,\): expected one value per step, \(210,\)"):
        upper_bound(scenario, episode, np.ones(3))


SWITCHES = (
    "storage.sharing_enabled",
    "storage.quorum_enabled",
    "cache.enabled",
    "cache.invalidation_enabled",
    "compaction.enabled",
    "compute.spill_enabled",
    "compute.contention_enabled",
)


@pytest.mark.parametrize("off", ["", *SWITCHES])
@pytest.mark.parametrize("failures", [0.0, 100.0])
def test_no_task_is_faster_than_its_fastest_rate(off, failures):
    changes = {
        "storage.bandwidth_mb_per_s": 4000.0,
        "storage.read_stream_mb_per_s": 1000.0,
        "storage.write_stream_mb_per_s": 500.0,
        "failure.compute_failures_per_hour": failures,
        "failure.storage_failures_per_hour": failures,
        "cache.initial_warmth": 0.2,
    }
    scenario = load_scenario("tiny-v1").override(changes | ({off: False} if off else {}))
    rng = np.random.default_rng(3)
    episodes = [simple_episode(scenario, rng, tasks=25) for _ in range(4)]
    env = CloudSchedVectorEnv(scenario, len(episodes))
    env.reset(list(range(len(episodes))), episodes=episodes)
    warmest = np.zeros((len(episodes), scenario.shards))
    over = False
    while not over:
        over = env.step(greedy_actions(env, rng))
        compute = env.simulator_state.compute
        valid = compute.valid_mb.swapaxes(1, 2) * compute.valid_scale[:, :, None] * compute.shard_validity[:, None, :]
        hot = np.stack([episode.shard_hot_set_mb for episode in episodes])
        warmest = np.maximum(warmest, (valid / hot[:, None, :]).max(axis=1))
    closest = 0.0
    for b, result in enumerate(env.results()):
        episode = result.episode
        finished = ~np.isnan(result.finish_s)
        least_s = (episode.cores * episode.base_time_s / fastest_rates(scenario, episode))[finished]
        taken_s = (result.finish_s - result.start_s)[finished]
        assert finished.sum() > (10 if failures == 0.0 else 3)
        assert (taken_s >= least_s - 1e-9).all()
        assert (result.start_s >= release_times(scenario, episode))[finished].all()
        closest = max(closest, float((least_s / taken_s).max()))
        if failures == 0.0:
            read_mb = np.bincount(episode.shard, episode.cacheable_read_mb, scenario.shards)
            assert (warmest[b] <= warmth_limits(scenario, episode, read_mb) + 1e-9).all()
    assert closest > 0.98, "no task comes near the bound: it is too loose to be worth anything"


@pytest.mark.parametrize(
    ("task", "changes", "seconds"),
    [
        ({"scan_read_mb": 2000.0}, {}, 1.0 + 2000 / 4000),
        ({"write_mb": 300.0}, {}, 1.0 + 300 / 1500),
        ({"cacheable_read_mb": 2000.0}, {"cache.enabled": False}, 1.0 + 2000 / 4000),
        # 400 of a hot set of 500 MB, from warmth 0.5: never warmer than 0.5 + 0.5 x 0.8 = 0.9.
        ({"cacheable_read_mb": 400.0}, {}, 1.0 + 0.1 * 400 / 4000),
        # After a crash it may read again: its cache may have become warm.
        ({"cacheable_read_mb": 400.0}, {"failure.compute_failures_per_hour": 1.0}, 1.0),
        # Eight cores are what the largest node has; waiting for storage does not need them.
        ({"cores": 16.0, "scan_read_mb": 4000.0}, {}, 2.0),
        ({"cores": 16.0}, {}, 2.0),
    ],
)
def test_time_that_storage_takes_by_hand(task, changes, seconds):
    scenario = load_scenario("tiny-v1", changes)
    episode = hand_made_episode(scenario, [task])
    work = episode.cores * episode.base_time_s
    assert work / fastest_rates(scenario, episode) == pytest.approx([seconds])


def test_a_task_that_cannot_meet_its_deadline_because_of_storage_adds_nothing_to_goodput():
    scenario = load_scenario("tiny-v1")
    tasks = [{"arrival_s": 2.0, "deadline_s": 1.3, "scan_read_mb": mb} for mb in (800.0, 1600.0)]
    # Just 0.02 s of dispatch, 1 s of work, and 0.2 or 0.4 s for the bytes.
    bounds = [upper_bound(scenario, hand_made_episode(scenario, [task])) for task in tasks]
    assert bounds[0].goodput == pytest.approx(1.0 / (12 * 20))
    assert bounds[1].goodput == 0.0
    assert bounds[1].useful_utilisation == pytest.approx(1.0 / (12 * 20))


def simple_waiting(scenario, episode) -> list[int]:
    steps, step_s, slots = scenario.time.horizon_steps, scenario.time.step_s, scenario.scheduling.window_slots
    queues = [0] * scenario.cluster.schedulers
    owners = [int(episode.tenant_scheduler[g]) for g in episode.tenant]
    waiting, following = [], 0
    for k in range(steps + 1):
        if k > 0:
            queues = [max(0, q - slots) for q in queues]
        while following < episode.tasks and episode.arrival_s[following] <= k * step_s:
            queues[owners[following]] += 1
            following += 1
        waiting.append(sum(queues))
    return waiting[1:]


@pytest.mark.parametrize(("name", "slots"), [("tiny-v1", 1), ("tiny-v1", 4), ("paper-v1", 2)])
def test_least_waiting_is_lindleys_recursion(name, slots):
    scenario = load_scenario(name).override({"scheduling.window_slots": slots})
    episode = GeneratedSource(scenario, "test").evaluation_episodes(1)[0]
    assert least_waiting(scenario, episode).tolist() == simple_waiting(scenario, episode)


def greedy_actions(env: CloudSchedVectorEnv, rng: np.random.Generator):
    """Spread tasks at random over nodes at once, with generous admission: fast, if not wise."""
    actions = {}
    for role in env.roles:
        levels = np.asarray(env.action_levels[role])
        shape = (env.num_envs, env.role_counts[role], len(levels))
        actions[role] = (rng.random(shape) * levels).astype(np.int64)
    nodes = env.role_counts["compute"]
    scheduler = actions["scheduler"]
    scheduler[...] = rng.integers(nodes, size=scheduler.shape)
    return actions


@pytest.mark.parametrize(
    ("failures", "team"), [(0.0, "mixed"), (400.0, "mixed"), (0.0, "goodput"), (0.0, "alpha_fair"), (0.0, "min_share")]
)
def test_no_simulated_episode_exceeds_the_bound(failures, team):
    scenario = load_scenario("tiny-v1").override(
        {
            "workload.task_rate_per_s": 12.0,
            "workload.maximum_base_time_s": 3.0,
            "workload.read_load": 0.05,
            "workload.write_load": 0.05,
            "failure.compute_failures_per_hour": failures,
            "reward.team": team,
        }
    )
    episodes = GeneratedSource(scenario, "train").evaluation_episodes(8)
    env = CloudSchedVectorEnv(scenario, 8)
    env.reset(list(range(8)), episodes=episodes)
    rng = np.random.default_rng(1)
    while not env.step(greedy_actions(env, rng)):
        pass
    capacity = 12.0 * (scenario.time.horizon_steps - scenario.time.warmup_steps) * scenario.time.step_s
    closest = 0.0
    for result in env.results():
        bound = upper_bound(scenario, result.episode)
        totals = {name: value / result.totals["steps"] for name, value in result.totals.items()}
        assert totals["useful_term"] <= bound.useful_term + 1e-9
        assert totals["goodput_term"] <= bound.goodput + 1e-9
        assert totals["latency_term"] <= bound.latency_term + 1e-9
        assert 0.0 < totals["team_reward"] <= bound.team_reward + 1e-9
        if team == "goodput":
            assert bound.team_reward == bound.goodput
            assert totals["team_reward"] == pytest.approx(totals["goodput_term"])
        useful = (result.totals["useful_core_s"] - result.totals["lost_core_s"]) / capacity
        assert useful <= bound.useful_utilisation + 1e-9
        closest = max(closest, totals["useful_term"] / bound.useful_term)
    assert closest > 0.4, "the bound is too far from what a random policy reaches to be worth anything"


def test_latency_bound_is_attained_when_tasks_start_at_once():
    # One task every second step, never more than the slots: at the end of each step in which one arrives, one waits.
    scenario = load_scenario("tiny-v1")
    episode = GeneratedSource(scenario, "test").evaluation_episodes(1)[0]
    count = 20
    some = {
        f.name: getattr(episode, f.name)[:count]
        for f in dataclasses.fields(episode)
        if isinstance(getattr(episode, f.name), np.ndarray) and len(getattr(episode, f.name)) == episode.tasks
    }
    some["arrival_s"] = 1.05 + 0.2 * np.arange(count)
    spaced = dataclasses.replace(episode, **some)
    scale = count / scenario.duration_s * scenario.reward.latency_scale_s
    counted = scenario.time.horizon_steps - scenario.time.warmup_steps
    expected = (count / (1 + 1 / scale) + counted - count) / counted
    assert upper_bound(scenario, spaced).latency_term == pytest.approx(expected)


def test_tasks_that_cannot_finish_on_time_add_nothing_to_goodput():
    scenario = load_scenario("tiny-v1")
    episode = GeneratedSource(scenario, "test").evaluation_episodes(1)[0]
    hopeless = dataclasses.replace(episode, deadline_s=0.9 * episode.base_time_s)
    assert upper_bound(scenario, hopeless).goodput == 0.0
    assert upper_bound(scenario, hopeless).useful_utilisation == upper_bound(scenario, episode).useful_utilisation
