"""Engine metrics: what they say on paper, that kernel and oracle agree, and that nothing else changes with them."""

import math

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from tests.simulator.drive import make_episode, play
from tests.simulator.episodes import simple_episode
from tests.simulator.isolated import isolated
from tests.simulator.test_oracle_agreement import OUTAGES, assert_agreement

ON = {"observation.engine_metrics": True}


def observed(env, role, field, agent=0):
    return env.observations[role][:, agent, env.layouts[role].names().index(field)]


def test_working_set_grows_to_what_is_touched_within_the_window():
    # A task that lasts 10 s reads a shard of 500 MB twice: 2 % of the hot set in every step of 0.1 s.
    scenario = isolated(observation__engine_metrics=True, observation__working_set_window_s=2.0)
    episode = make_episode(scenario, base_time_s=10.0, cacheable_read_mb=1000.0, deadline_s=100.0)
    seen = []
    env = play(scenario, [episode], watch=lambda env, _: seen.append(observed(env, "compute", "node.working_set")[0]))
    kept = math.exp(-0.1 / 2.0) * (1 - 0.02)
    touched = np.array([0.02 * (1 - kept**k) / (1 - kept) for k in range(1, 101)])
    assert np.array(seen[1:101]) * 100_000.0 == pytest.approx(500.0 * touched, rel=1e-4)
    # With nothing left to read it ages.
    assert np.diff(np.log(seen[102:140])) == pytest.approx(-0.1 / 2.0, rel=1e-3)
    assert env.scenario.cluster.compute_nodes[0].memory_gb == 100.0


def test_pending_reads_are_the_bytes_that_a_task_has_still_to_fetch():
    scenario = isolated(observation__engine_metrics=True, storage__read_stream_mb_per_s=100.0)
    episode = make_episode(scenario, base_time_s=1.0, scan_read_mb=400.0, deadline_s=100.0)  # 1 s of work, 4 s of reads
    seen = []
    play(scenario, [episode], watch=lambda env, _: seen.append(observed(env, "compute", "node.pending_reads")[0]))
    expected = 0.4 * (1 - np.arange(1, 51) / 50)  # in 10 s of the stream
    assert np.array(seen[1:51]) == pytest.approx(expected, abs=1e-6)


def test_time_to_compact_is_the_debt_over_the_rate_at_which_it_falls():
    scenario = isolated(
        observation__engine_metrics=True,
        compaction__enabled=True,
        compaction__initial_debt=0.5,
        storage__background_shares=(0.25,),
        storage__bandwidth_mb_per_s=1000.0,
    )
    env = CloudSchedVectorEnv(scenario)
    env.reset(0, episodes=[make_episode(scenario, base_time_s=1.0)])
    debt = env.simulator_state.storage.debt_mb
    before, shown = float(debt[0, 0]), float(observed(env, "storage", "node.compaction_time")[0])
    env.step(
        {role: np.zeros_like(env.observations[role], np.int64)[:, :, : len(env.action_levels[role])] for role in ROLES}
    )
    per_second = (before - float(debt[0, 0])) / scenario.time.step_s
    assert 10 * shown == pytest.approx(before / per_second, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "outages"),
    [
        ({}, []),
        ({"cluster.storage_nodes": 3, "workload.replicas": 3}, OUTAGES),
        ({"telemetry.loss_probability": 0.4, "telemetry.publish_every_steps": 1, "cluster.schedulers": 2}, None),
        ({"storage.bandwidth_mb_per_s": 400.0, "compute.initial_cache_level": 0, **{"reward.team": "min_share"}}, []),
    ],
)
def test_kernel_and_oracle_agree_on_engine_metrics(changes, outages):
    scenario = load_scenario("tiny-v1", {**ON, **changes})
    rng = np.random.default_rng(8)
    episodes = [simple_episode(scenario, rng, 120) for _ in range(2)]
    churned = []

    def watch(oracles):
        churned.append(any(node.evicted_decayed > 0 for oracle in oracles for node in oracle.compute))

    oracles, _ = assert_agreement(scenario, episodes, masked=False, steps=90, outages=outages, watch=watch)
    assert any(churned)
    assert any(node.touched for oracle in oracles for node in oracle.compute)


def test_engine_metrics_are_added_at_the_end_and_change_nothing_else():
    plain, rich = (CloudSchedVectorEnv("tiny-v1", overrides=changes) for changes in ({}, ON))
    for env in (plain, rich):
        env.reset(5)
    rng = np.random.default_rng(5)
    for _ in range(60):
        actions = {
            role: rng.integers(
                0, plain.action_levels[role], (1, plain.role_counts[role], len(plain.action_levels[role]))
            )
            for role in ROLES
        }
        for env in (plain, rich):
            env.step(actions)
        np.testing.assert_array_equal(plain.team_reward, rich.team_reward)
        for role in ROLES:
            for block in plain.layouts[role].blocks:
                fields = rich.layouts[role].block(block.name).fields
                assert fields[: len(block.fields)] == block.fields
                np.testing.assert_array_equal(
                    plain.layouts[role].view(plain.observations[role], block.name),
                    rich.layouts[role].view(rich.observations[role], block.name)[..., : len(block.fields)],
                )
    assert {role: rich.layouts[role].size - plain.layouts[role].size for role in ROLES} == {
        "compute": 5,
        "storage": 3,
        "scheduler": 3 * 2 + 2,
    }
