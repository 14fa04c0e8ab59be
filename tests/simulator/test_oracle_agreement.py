"""The compiled kernel against the slow reference implementation: every number, every step.

Both are written from `docs/simulator.md`; a difference means that one of them, or the page, is wrong.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from numpy.typing import NDArray

from cloudsched_env.roles.layout import Layout
from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.sim.result import TOTALS, EpisodeResult
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.episode import DataTag, Episode, Split
from tests.oracle import SUMMARY, Agent, OracleCluster
from tests.simulator.actions import random_actions, random_masked_actions
from tests.simulator.episodes import disturbed_episode, simple_episode

OUTPUT_TOLERANCE = 1e-5  # float32 outputs
TIME_TOLERANCE_S = 1e-9
MOST_AGE_SHOWN = 8.0  # where the ages of telemetry in observations are cut off
TOTALS_TOLERANCE = 1e-9  # relative
# The standard deviation of equal usages is the root of rounding errors: the kernel takes it as the mean square less
# the square of the mean, the oracle from the differences.
DEVIATION_TOLERANCE = 3e-8  # for each counted step


def assert_same_numbers(what: str, names: list[str], kernel: NDArray[Any], oracle: list[float]) -> None:
    expected = np.array(oracle, dtype=np.float64)
    assert kernel.shape == expected.shape, f"{what}: kernel has shape {kernel.shape}, oracle {expected.shape}"
    wrong = np.flatnonzero(~(np.abs(kernel.astype(np.float64) - expected) <= OUTPUT_TOLERANCE))
    listed = [f"{names[i]}: kernel {kernel[i]:.9g}, oracle {expected[i]:.9g}" for i in wrong[:8]]
    assert not len(wrong), f"{what}: {len(wrong)} numbers differ, first " + "; ".join(listed)


def assert_same_outputs(env: CloudSchedVectorEnv, b: int, oracle: OracleCluster) -> None:
    """Everything that the array face shows of cluster b."""
    where = f"cluster {b} after step {oracle.k}"
    chosen = [agent.candidates for agent in oracle.schedulers]
    np.testing.assert_array_equal(env.candidates[b], chosen, err_msg=f"{where}: candidates")
    for role, rows in oracle.masks().items():
        np.testing.assert_array_equal(env.masks[role][b], rows, err_msg=f"{where}: mask of {role}")
    for role, observed in oracle.observations().items():
        names = env.layouts[role].names()
        for agent, row in enumerate(observed):
            assert_same_numbers(f"{where}: {role}_{agent}", names, env.observations[role][b, agent], row)
    assert_same_numbers(f"{where}: state", env.state_layout.names(), env.state[b], oracle.state())
    if oracle.k > 0:
        assert_same_numbers(f"{where}: reward", ["team"], env.team_reward[b : b + 1], [oracle.team_reward])
        for role, rewards in oracle.local_rewards.items():
            names = [f"{role}_{agent}" for agent in range(len(rewards))]
            assert_same_numbers(f"{where}: local reward", names, env.local_rewards[role][b], rewards)


def assert_same_record(result: EpisodeResult, oracle: OracleCluster) -> None:
    """The raw record from which metrics are computed."""
    for name, kernel in (("start", result.start_s), ("finish", result.finish_s)):
        times = [getattr(task, name) for task in oracle.tasks]
        np.testing.assert_allclose(kernel, times, rtol=0, atol=TIME_TOLERANCE_S, err_msg=name)
    assert tuple(result.totals) == TOTALS
    for name, total in oracle.totals.items():
        tolerance = DEVIATION_TOLERANCE * oracle.totals["steps"] if name == "usage_deviation" else 1e-9
        assert result.totals[name] == pytest.approx(total, rel=TOTALS_TOLERANCE, abs=tolerance), name
    np.testing.assert_allclose(result.tenant_served_core_s, oracle.tenant_served, rtol=TOTALS_TOLERANCE, atol=1e-9)
    np.testing.assert_allclose(result.tenant_arrived_core_s, oracle.tenant_arrived, rtol=TOTALS_TOLERANCE, atol=1e-9)


class DrawnSource:
    """Random hand-made episodes in place of the workload generator."""

    split: Split = "train"
    data_tag: DataTag = "generated"

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def episode(self, rng: np.random.Generator) -> Episode:
        return simple_episode(self.scenario, rng)


class Deliveries:
    """Which snapshots of telemetry the kernel delivered, read off the ages that its observations show.

    The oracle takes the losses from here, after the kernel's step, so that both see the same telemetry.
    """

    def __init__(self, env: CloudSchedVectorEnv, b: int) -> None:
        self.env, self.b = env, b
        self.known: dict[tuple[Agent, Agent], list[bool]] = {}

    def age_s(self, observer: Agent, publisher: Agent) -> float:
        role, index = observer
        config = self.env.scenario.scheduling
        if publisher != SUMMARY and self.env.role_counts[publisher[0]] > config.candidate_nodes:
            return self.age_that_is_not_shown(observer, publisher)
        name = "node.telemetry_age"
        if publisher != SUMMARY:
            block = "nodes" if publisher[0] == "compute" else "storage"
            name = f"{block}[{publisher[1]}].telemetry_age"
        column = self.env.layouts[role].names().index(name)
        shown = float(self.env.observations[role][self.b, index, column])
        return 10.0 * shown if shown < MOST_AGE_SHOWN else self.age_that_is_not_shown(observer, publisher)

    def age_that_is_not_shown(self, observer: Agent, publisher: Agent) -> float:
        """Of a node that is no candidate, or beyond the range of the field."""
        state, counts, (role, index) = self.env.simulator_state, self.env.role_counts, observer
        telemetry, b = state.telemetry, self.b
        if publisher == SUMMARY:
            stamps = telemetry.summary_stamp[b]
            own = len(stamps) - counts["compute"] - counts["storage"] + index + (role == "storage") * counts["compute"]
        else:
            columns = {"compute": telemetry.compute_stamp, "storage": telemetry.storage_stamp}[publisher[0]][b]
            stamps = columns[:, publisher[1]]
            own = len(stamps) - counts["scheduler"] + index
        lossless = self.env.scenario.telemetry.loss_probability == 0
        stamp = stamps[state.clock.held_slot[b] if lossless else own]
        return float(state.clock.step[b] - stamp) * self.env.scenario.time.step_s

    def lost(self, observer: Agent, publisher: Agent, stamp: int) -> bool:
        telemetry, dt = self.env.scenario.telemetry, self.env.scenario.time.step_s
        gone = abs(self.age_s(observer, publisher) - telemetry.delay_steps * dt) > 1e-3 * dt
        if stamp > 0:  # a second copy of the snapshot that everyone holds from the start tells nothing
            self.known.setdefault((observer, publisher), []).append(gone)
        return gone


def assert_agreement(
    scenario: Scenario,
    episodes: list[Episode],
    *,
    masked: bool,
    steps: int,
    outages: list[tuple[str, int, int, int]] | None = None,
    watch: Callable[[list[OracleCluster]], None] = lambda oracles: None,
    seed: int = 0,
) -> tuple[list[OracleCluster], list[Deliveries]]:
    """Step kernel and oracle side by side with the same random actions; the batch holds one cluster per episode."""
    env = CloudSchedVectorEnv(scenario, num_envs=len(episodes), source=DrawnSource(scenario))
    outages = outages or []
    first = {"compute": 0, "storage": scenario.compute_count}
    events = [(down, first[role] + i, 0) for role, i, down, _ in outages]
    events += [(up, first[role] + i, 1) for role, i, _, up in outages]
    env.reset(seeds=seed, episodes=episodes, outages=[sorted(events)] * len(episodes))
    deliveries = [Deliveries(env, b) for b in range(len(episodes))]
    oracles = [
        OracleCluster(scenario, episode, lost=delivery.lost, outages=outages, key=int(key))
        for episode, delivery, key in zip(episodes, deliveries, env.simulator_state.clock.episode_key, strict=True)
    ]
    rngs = [np.random.default_rng([7, b]) for b in range(len(episodes))]
    for b, oracle in enumerate(oracles):
        assert_same_outputs(env, b, oracle)
    for step in range(steps):
        chosen = [
            random_masked_actions(scenario, oracle.masks(), rng) if masked else random_actions(scenario, rng)
            for oracle, rng in zip(oracles, rngs, strict=True)
        ]
        done = env.step({role: np.array([actions[role] for actions in chosen]) for role in env.roles})
        assert done is (step + 1 == scenario.time.horizon_steps)
        for b, (oracle, actions) in enumerate(zip(oracles, chosen, strict=True)):
            oracle.step(actions)
            assert_same_outputs(env, b, oracle)
        watch(oracles)
    for result, oracle in zip(env.results(), oracles, strict=True):
        assert_same_record(result, oracle)
        oracle.check_invariants()
    return oracles, deliveries


def drawn_episodes(scenario: Scenario, count: int, tasks: int) -> list[Episode]:
    return [simple_episode(scenario, np.random.default_rng([11, seed]), tasks) for seed in range(count)]


@pytest.mark.parametrize("masked", [True, False])
def test_whole_tiny_episodes_agree(masked: bool) -> None:
    scenario = load_scenario("tiny-v1")
    oracles, _ = assert_agreement(scenario, drawn_episodes(scenario, 6, 80), masked=masked, steps=110)
    # The comparison means something only if much happened.
    assert all(len(oracle.finished) >= 15 for oracle in oracles)
    assert all((oracle.totals["invalid_actions"] == 0) == masked for oracle in oracles)


@pytest.mark.parametrize(
    "changes",
    [
        {"compute.spill_enabled": False},
        {"compute.contention_enabled": False},
        {"cache.enabled": False},
        {"cache.invalidation_enabled": False},
        {"storage.sharing_enabled": False},
        {"storage.quorum_enabled": False},
        {"compaction.enabled": False},
        {"purge.enabled": False},
        {"purge.shares": [0.0], "purge.initial_level": 0},
        {"telemetry.delay_steps": 0, "telemetry.publish_every_steps": 1},
        {"telemetry.delay_steps": 7, "telemetry.publish_every_steps": 3},
        {"scheduling.dispatch_delay_s": 0.0},
        {"storage.bandwidth_mb_per_s": 400.0},
        {"cluster.schedulers": 2, "cluster.storage_nodes": 4, "workload.replicas": 3, "workload.home_nodes": 2},
        {"time.warmup_steps": 0, "time.step_s": 0.25},
    ],
    ids=lambda changes: ",".join(f"{name}={value}" for name, value in changes.items()),
)
def test_every_switch_and_its_kind_agree(changes: dict[str, Any]) -> None:
    scenario = load_scenario("tiny-v1", changes)
    oracles, _ = assert_agreement(scenario, drawn_episodes(scenario, 2, 80), masked=False, steps=110)
    assert all(oracle.finished for oracle in oracles)


THREE = {"cluster.storage_nodes": 3, "workload.replicas": 3}
# Little bandwidth, for which no task waits; a replica that was down catches up with it all the same.
UNSHARED = {"storage.sharing_enabled": False, "storage.bandwidth_mb_per_s": 60.0}
OUTAGES = [("compute", 0, 25, 48), ("compute", 1, 31, 37), ("storage", 1, 20, 45), ("storage", 0, 40, 44)]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("changes", [{}, THREE, {**THREE, **UNSHARED}], ids=["two", "three", "no sharing"])
def test_crashes_and_repairs_agree(changes: dict[str, Any], masked: bool) -> None:
    scenario = load_scenario("tiny-v1", {"time.warmup_steps": 5, **changes})
    oracles, _ = assert_agreement(scenario, drawn_episodes(scenario, 4, 80), masked=masked, steps=110, outages=OUTAGES)
    assert all(oracle.totals["requeued"] > 0 for oracle in oracles)
    assert sum(oracle.totals["bounced"] for oracle in oracles) > 0


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("backoff_steps", [0, 1, 10])
@pytest.mark.parametrize("crashes", [False, True], ids=["up", "crashes"])
def test_back_off_and_noisy_neighbours_agree(backoff_steps: int, crashes: bool, masked: bool) -> None:
    scenario = load_scenario(
        "tiny-v1",
        {"time.warmup_steps": 5, "scheduling.backoff_steps": backoff_steps, "cluster.schedulers": 2},
    )
    episodes = [disturbed_episode(scenario, np.random.default_rng([13, seed]), 80) for seed in range(2)]
    outages = OUTAGES if crashes else []
    oracles, _ = assert_agreement(scenario, episodes, masked=masked, steps=110, outages=outages)
    assert all(oracle.finished for oracle in oracles)
    assert all((oracle.totals["requeued"] > 0) == crashes for oracle in oracles)
    backing_off = sum(len(scheduler.backing_off) for oracle in oracles for scheduler in oracle.schedulers)
    assert (backing_off > 0) == (backoff_steps > 1)  # after a back-off of one step a task is back at once


MUCH = {"purge.initial_garbage": 2.8, "purge.garbage_per_written": 4.0, "purge.soft_limit_mb_per_core": 20.0}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("crashes", [False, True], ids=["up", "crashes"])
@pytest.mark.parametrize(
    ("purge", "deepest"),
    [
        ({}, (0.0, 3.0)),
        (MUCH, (3.5, np.inf)),  # far beyond the cap of the slow-down
        ({**MUCH, "purge.slowdown_slope": 2.0, "purge.slowdown_cap": 1.0}, (1.5, np.inf)),
        ({"purge.rate_mb_per_core_s": 5e3, "purge.efficient_garbage": 0.0}, (0.0, 3.0)),  # often all is purged
        ({"purge.enabled": False, "purge.initial_garbage": 2.0}, (0.0, 0.0)),
    ],
    ids=["default", "much", "steep", "fast", "off"],
)
def test_garbage_and_purging_agree(
    purge: dict[str, Any], deepest: tuple[float, float], crashes: bool, masked: bool
) -> None:
    """Random levels every few steps, on nodes with noisy neighbours that crash in the second variant."""
    changes = {"time.warmup_steps": 5, "compute.decision_interval_steps": 3, **purge}
    scenario = load_scenario("tiny-v1", changes)
    episodes = [disturbed_episode(scenario, np.random.default_rng([19, seed]), 80) for seed in range(2)]
    levels, depths, lost = set(), [], 0

    def watch(oracles: list[OracleCluster]) -> None:
        nonlocal lost
        for oracle in oracles:
            oracle.check_invariants()
            levels.update((n, node.purge_level) for n, node in enumerate(oracle.compute))
            depths.extend(node.garbage / oracle.garbage_limit(node) for node in oracle.compute)
            lost += sum(not node.alive and node.garbage == 0.0 for node in oracle.compute)

    outages = OUTAGES if crashes else []
    assert_agreement(scenario, episodes, masked=masked, steps=110, outages=outages, watch=watch)
    assert len(levels) == 2 * len(scenario.purge.shares)
    assert deepest[0] <= max(depths) <= deepest[1]
    assert (lost > 0) == crashes
    if scenario.purge.enabled:
        assert np.ptp(depths) > 0.1


def test_repaired_storage_with_lag_behind_heavy_traffic_agrees() -> None:
    """Little bandwidth: the lag of repaired replicas has to wait for reads and writes, step after step."""
    changes = {
        "cluster.storage_nodes": 3,
        "workload.replicas": 3,
        "storage.bandwidth_mb_per_s": 500.0,
        "scheduling.backoff_steps": 1,
    }
    scenario = load_scenario("tiny-v1", changes)
    episodes = [disturbed_episode(scenario, np.random.default_rng([17, seed]), 80) for seed in range(3)]
    for episode in episodes:
        episode.write_mb[:] *= 2.0
    lagging = 0

    def watch(oracles: list[OracleCluster]) -> None:
        nonlocal lagging
        lagging += sum(node.alive and node.lag > 0 for oracle in oracles for node in oracle.storage)

    outages = [("storage", 0, 10, 30), ("storage", 1, 40, 60), ("compute", 0, 30, 40)]
    assert_agreement(scenario, episodes, masked=True, steps=110, outages=outages, watch=watch)
    assert lagging > 30


@pytest.mark.parametrize(("loss", "burst"), [(0.0, 1.0), (0.4, 1.0), (0.4, 3.0), (1.0, 1.0)])
def test_lossy_telemetry_agrees_and_is_lost_as_often_as_declared(loss: float, burst: float) -> None:
    changes = {
        "telemetry.loss_probability": loss,
        "telemetry.loss_burst_length": burst,
        "telemetry.publish_every_steps": 1,
        "telemetry.delay_steps": 2,
        "cluster.schedulers": 2,
    }
    scenario = load_scenario("tiny-v1", changes)
    _, deliveries = assert_agreement(scenario, drawn_episodes(scenario, 4, 80), masked=True, steps=110)
    runs = [gone for cluster in deliveries for gone in cluster.known.values()]
    assert len(runs) == 4 * (2 * 4 + 4)  # two schedulers watch four nodes, four nodes get the summary
    drawn = np.array(runs)
    # 48 pairs of 107 deliveries: the standard error of the share is below 0.02 even in bursts.
    assert drawn.mean() == pytest.approx(loss, abs=0.08)
    if 0 < loss < 1:
        ends = (drawn[:, :-1] & ~drawn[:, 1:]).sum()
        expected = burst if burst > 1 else 1 / (1 - loss)  # independent losses come in geometric runs
        assert drawn[:, :-1].sum() / ends == pytest.approx(expected, rel=0.25)
        assert len({tuple(row) for row in drawn.tolist()}) == len(runs), "each pair has draws of its own"


def test_crowded_paper_cluster_agrees() -> None:
    scenario = load_scenario("paper-v1", {"time.horizon_steps": 150})
    (oracle,), _ = assert_agreement(scenario, drawn_episodes(scenario, 1, 700), masked=True, steps=150)
    assert len(oracle.finished) > 50
    assert len(oracle.running) > 50


def test_sampled_paper_episode_agrees() -> None:
    scenario = load_scenario("paper-v1")
    sampler = CloudSchedVectorEnv(scenario)
    sampler.reset(seeds=3)
    (result,) = sampler.results()
    (oracle,), _ = assert_agreement(scenario, [result.episode], masked=True, steps=150)
    assert len(oracle.finished) > 50


FEW = {
    "cluster.compute_nodes": [
        {"count": 4, "cores": 8.0, "memory_gb": 16.0},
        {"count": 3, "cores": 4.0, "memory_gb": 8.0},
    ],
    "cluster.storage_nodes": 5,
    "cluster.schedulers": 2,
    "workload.tenants": 3,
    "workload.replicas": 3,
    "workload.home_nodes": 2,
}
FEW_OUTAGES = [("compute", 1, 20, 45), ("compute", 5, 31, 37), ("storage", 3, 20, 45)]


@pytest.mark.parametrize("candidates", [1, 3, 4, 6])
@pytest.mark.parametrize("loss", [0.0, 0.4])
def test_fewer_candidates_than_nodes_agree(candidates: int, loss: float) -> None:
    changes = {"scheduling.candidate_nodes": candidates, "telemetry.loss_probability": loss}
    scenario = load_scenario("tiny-v1", {**FEW, **changes})
    episodes = drawn_episodes(scenario, 2, 120)
    for masked in (True, False):
        oracles, _ = assert_agreement(scenario, episodes, masked=masked, steps=90, outages=FEW_OUTAGES)
        assert all(oracle.finished for oracle in oracles)
        sent_to = {n for oracle in oracles for agent in oracle.schedulers for _, n, _, _ in agent.sent}
        assert sent_to == set(range(scenario.compute_count))


@settings(max_examples=25)
@given(data=strategies.data())
def test_any_small_cluster_agrees(data: strategies.DataObject) -> None:
    integers = strategies.integers
    storage_nodes, schedulers = data.draw(integers(1, 7), "storage"), data.draw(integers(1, 3), "schedulers")
    types = data.draw(strategies.lists(strategies.tuples(integers(1, 4), integers(4, 16)), min_size=1, max_size=3))
    nodes = sum(count for count, _ in types)
    every = data.draw(integers(1, 4), "publish every")
    changes = {
        "cluster.compute_nodes": [{"count": count, "cores": float(cores)} for count, cores in types],
        "cluster.storage_nodes": storage_nodes,
        "cluster.schedulers": schedulers,
        "workload.tenants": schedulers + data.draw(integers(0, 2), "more tenants"),
        "workload.shards_per_tenant": data.draw(integers(1, 3), "shards"),
        "workload.replicas": data.draw(integers(1, min(4, storage_nodes)), "replicas"),
        "workload.home_nodes": data.draw(integers(1, min(3, nodes)), "homes"),
        "scheduling.candidate_nodes": data.draw(integers(1, 8), "candidates"),
        "scheduling.window_slots": data.draw(integers(1, 5), "slots"),
        "telemetry.publish_every_steps": every,
        "telemetry.delay_steps": data.draw(integers(0, 9), "delay"),
        "telemetry.loss_probability": data.draw(strategies.sampled_from([0.0, 0.3, 1.0]), "loss"),
    }
    scenario = load_scenario("tiny-v1", {"time.warmup_steps": 5, "time.horizon_steps": 40, **changes})
    seed = data.draw(integers(0, 2**32), "seed")
    episode = simple_episode(scenario, np.random.default_rng(seed), 60)
    down = data.draw(integers(0, nodes - 1), "crashing node")
    outages = [("compute", down, 12, 25), ("storage", data.draw(integers(0, storage_nodes - 1)), 9, 20)]
    assert_agreement(scenario, [episode], masked=data.draw(strategies.booleans()), steps=40, outages=outages, seed=seed)


def test_a_fully_cached_task_does_not_wait_for_storage_because_of_rounding() -> None:
    nodes = [{"count": 2, "cores": 4.0}, {"count": 4, "cores": 8.0}]
    changes = {
        "time.horizon_steps": 40,
        "cluster.compute_nodes": nodes,
        "cluster.storage_nodes": 6,
        "workload.tenants": 3,
        "workload.shards_per_tenant": 1,
        "workload.replicas": 1,
        "scheduling.candidate_nodes": 3,
        "scheduling.window_slots": 1,
        "telemetry.publish_every_steps": 1,
        "telemetry.delay_steps": 0,
    }
    scenario = load_scenario("tiny-v1", changes)
    seed = 402172  # its task 8 misses 2e-14 MB in one of the two and nothing in the other
    episode = simple_episode(scenario, np.random.default_rng(seed), 60)
    outages = [("compute", 0, 12, 25), ("storage", 0, 9, 20)]
    assert_agreement(scenario, [episode], masked=False, steps=40, outages=outages, seed=seed)


def test_layout_sizes_are_those_of_the_outputs() -> None:
    scenario = load_scenario("tiny-v1")
    env = CloudSchedVectorEnv(scenario, num_envs=2, source=DrawnSource(scenario))
    env.reset(seeds=0)
    shown: dict[str, tuple[Layout, int]] = {
        role: (env.layouts[role], env.observations[role].shape[-1]) for role in env.roles
    }
    shown["state"] = (env.state_layout, env.state.shape[-1])
    assert all(layout.size == size for layout, size in shown.values())
