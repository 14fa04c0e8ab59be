"""Conservation in the compiled kernel itself, at every step, with no oracle in between."""

import numpy as np
import pytest

from cloudsched_env.sim.failure import draw_outages
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from tests.simulator.invariants import (
    TIGHT,
    before_step,
    check_capacities,
    check_every_task_is_in_one_place,
    check_outputs,
    check_record,
)


def random_actions(env, rng):
    shape = {role: (env.num_envs, env.role_counts[role], len(env.action_levels[role])) for role in ROLES}
    return {role: rng.integers(0, env.action_levels[role], shape[role]) for role in ROLES}


@pytest.mark.parametrize(
    ("scenario", "overrides"),
    [
        ("tiny-v1", {}),
        ("paper-v1", {}),
        ("paper-v1", {"scheduling.candidate_nodes": 5}),
        (
            "paper-v1",
            {"purge.rate_mb_per_core_s": 20.0, "purge.slowdown_slope": 1.0, "background.quiet_mean_s": 3.0},
        ),
        ("paper-v1", {"background.enabled": True, "background.quiet_mean_s": 3.0, "scheduling.backoff_steps": 3}),
        (
            "paper-v1",
            {
                "failure.compute_failures_per_hour": 120.0,
                "failure.storage_failures_per_hour": 120.0,
                "failure.repair_mean_s": 3.0,
                "storage.bandwidth_mb_per_s": 2000.0,
                "telemetry.loss_probability": 0.5,
            },
        ),
    ],
)
def test_tasks_work_and_capacity_are_conserved_at_every_step(scenario, overrides):
    env = CloudSchedVectorEnv(scenario, 2, overrides={"time.warmup_steps": 0, **overrides})
    env.reset(4)
    rng = np.random.default_rng(0)
    state = env.simulator_state
    over, useful = False, np.zeros(env.num_envs)
    while not over:
        before = [before_step(state, b) for b in range(env.num_envs)]
        over = env.step(random_actions(env, rng))
        check_outputs(env)
        useful += state.compute.useful_core_s.sum(axis=1)
        for b in range(env.num_envs):
            check_every_task_is_in_one_place(state, b, env.scenario.scheduling.backoff_steps)
            check_capacities(env.scenario, state, b, before[b])
    for b, result in enumerate(env.results()):
        check_record(result, state, b, useful[b], result.totals["lost_core_s"])
        assert result.totals["useful_core_s"] == pytest.approx(useful[b], rel=1e-9)


def test_storage_never_moves_more_than_its_bandwidth():
    env = CloudSchedVectorEnv("tiny-v1", 1, overrides={"workload.read_load": 4.0, "time.warmup_steps": 0})
    bandwidth = env.scenario.storage.bandwidth_mb_per_s
    env.reset(1)
    rng = np.random.default_rng(1)
    before, over, busiest = 0.0, False, 0.0
    per_step_mb = env.role_counts["storage"] * bandwidth * env.scenario.time.step_s
    while not over:
        over = env.step(random_actions(env, rng))
        moved = env.results()[0].totals["storage_served_mb"]
        shares = np.array(env.scenario.storage.background_shares)[env.simulator_state.storage.background_level[0]]
        assert moved - before <= (1 - shares).sum() * bandwidth * env.scenario.time.step_s * (1 + TIGHT)
        busiest = max(busiest, moved - before)
        before = moved
    assert busiest > 0.5 * per_step_mb


def test_outages_are_drawn_at_the_stated_rate():
    env = CloudSchedVectorEnv(
        "paper-v1",
        1,
        overrides={"failure.compute_failures_per_hour": 60.0, "failure.repair_mean_s": 2.0},
    )
    rng = np.random.default_rng(0)
    crashes, up_s, down_s = 0, 0.0, []
    for _ in range(200):
        events = draw_outages(env.scenario, rng)
        assert events == sorted(events)
        last = {}
        for step, node, up in events:
            assert node < env.role_counts["compute"]
            if up:
                down_s.append((step - last[node]) * env.scenario.time.step_s)
            else:
                crashes += 1
            last[node] = step
        up_s += env.role_counts["compute"] * env.scenario.duration_s
    up_s -= sum(down_s)
    expected = up_s / 60.0
    assert abs(crashes - expected) < 4 * np.sqrt(expected)
    assert np.mean(down_s) == pytest.approx(2.0 + env.scenario.time.step_s / 2, rel=0.1)


def test_a_crash_loses_progress_and_returns_tasks_to_their_scheduler():
    always = {"compute.decision_interval_steps": 1, "storage.decision_interval_steps": 1}
    env = CloudSchedVectorEnv("tiny-v1", 1, overrides={"time.warmup_steps": 0, **always})
    env.reset(2, outages=[[(30, 0, 0), (50, 0, 1)]])
    rng = np.random.default_rng(0)
    for _ in range(29):
        env.step(random_actions(env, rng))
    state = env.simulator_state
    running = state.running.task[0, : state.running.slots_used[0]][
        state.running.node[0, : state.running.slots_used[0]] == 0
    ]
    queued = state.compute.queue_length[0, 0]
    assert len(running) > 0
    env.step(random_actions(env, rng))
    totals = env.results()[0].totals
    assert totals["requeued"] >= queued
    assert totals["lost_core_s"] > 0
    levels = int(env.action_levels["compute"].sum())
    assert env.masks["compute"][0, 0].sum() == 3  # nothing but the levels that it has
    assert env.masks["compute"][0, 1].sum() == levels
    assert state.compute.occupied_mb[0, 0] == 0
    for _ in range(21):
        env.step(random_actions(env, rng))
    assert state.compute.alive[0, 0] == 1


def test_garbage_is_balanced_over_an_episode():
    """What tasks have left behind, less what was purged in each step, is how much more there is at the end."""
    overrides = {"background.enabled": True, "background.quiet_mean_s": 3.0, "workload.write_load": 8.0}
    env = CloudSchedVectorEnv("tiny-v1", 1, overrides=overrides)
    env.reset(5)
    config, state, rng = env.scenario.purge, env.simulator_state, np.random.default_rng(2)
    compute, tasks, soft_mb = state.compute, state.tasks, config.soft_limit_mb_per_core * np.array([8.0, 4.0])
    purged_mb, begin, over = np.zeros(2), compute.garbage_mb[0].copy(), False
    while not over:
        depth, cores = compute.garbage_mb[0] / soft_mb, compute.available_cores[0].copy()
        over = env.step(random_actions(env, rng))
        cores *= np.array(config.shares)[compute.purge_level[0]]
        rate = config.rate_mb_per_core_s * cores * depth / (depth + config.efficient_garbage)
        purged_mb += rate * env.scenario.time.step_s
        assert (compute.garbage_mb[0] > 0).all(), "the balance below holds where garbage is not cut off at 0"
    running = state.running.task[0, : state.running.slots_used[0]]
    written = tasks.write_mb[0, ~np.isnan(tasks.finish_s[0])].sum()
    written += (tasks.write_mb[0, running] * (1 - state.running.remaining[0, : len(running)])).sum()
    assert written > 1000.0
    assert purged_mb.sum() > 500.0
    left = compute.garbage_mb[0] - begin + purged_mb
    assert (left > 0).all()
    assert left.sum() == pytest.approx(config.garbage_per_written * written, rel=1e-9)
