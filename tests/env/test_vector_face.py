import numpy as np
import pytest

from cloudsched_env import vector
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv


def random_actions(env, rng):
    return {
        role: rng.integers(0, env.action_levels[role], (1, env.role_counts[role], len(env.action_levels[role])))
        for role in ROLES
    }


def outputs(env, b):
    arrays = [env.observations[r][b] for r in ROLES] + [env.masks[r][b] for r in ROLES]
    arrays += [env.local_rewards[r][b] for r in ROLES] + [env.state[b], env.team_reward[b : b + 1]]
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


@pytest.mark.parametrize("scenario", ["tiny-v1", "paper-v1"])
def test_a_seed_gives_the_same_bytes_alone_and_anywhere_in_a_batch(scenario):
    steps, seeds = 80, [7, 3, 11]
    overrides = {"telemetry.loss_probability": 0.3, "failure.compute_failures_per_hour": 60.0}
    single = {}
    for seed in seeds:
        env = CloudSchedVectorEnv(scenario, 1, overrides=overrides)
        env.reset([seed])
        rng = np.random.default_rng(seed)
        single[seed] = [outputs(env, 0)]
        for _ in range(steps):
            env.step(random_actions(env, rng))
            single[seed].append(outputs(env, 0))
    order = [3, 11, 7, *range(100, 161)]
    batch = CloudSchedVectorEnv(scenario, 64, overrides=overrides)
    batch.reset(order)
    rngs = [np.random.default_rng(seed) for seed in order]
    for step in range(steps + 1):
        for b, seed in enumerate(order[:3]):
            assert outputs(batch, b) == single[seed][step], (seed, step)
        if step < steps:
            drawn = [random_actions(batch, rng) for rng in rngs]
            batch.step({role: np.concatenate([d[role] for d in drawn]) for role in ROLES})


def test_counts_seeds_from_an_integer():
    one, two = CloudSchedVectorEnv("tiny-v1", 2), CloudSchedVectorEnv("tiny-v1", 2)
    one.reset(5)
    two.reset([5, 6])
    assert outputs(one, 1) == outputs(two, 1)


def test_goes_on_with_new_episodes_when_no_seed_is_given():
    env = CloudSchedVectorEnv("tiny-v1", 1)
    env.reset(5)
    first = env.episodes[0].arrival_s
    env.reset()
    assert not np.array_equal(first, env.episodes[0].arrival_s)
    env.reset(5)
    assert np.array_equal(first, env.episodes[0].arrival_s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("storage"), "no actions for role 'storage'"),
        (
            lambda a: a.update(storage=a["storage"][:, :1]),
            r"role 'storage' have shape \(1, 1, 2\): expected \(1, 2, 2\)",
        ),
        (lambda a: a.update(storage=a["storage"] * 1.0), "dtype float64: expected integers"),
        (lambda a: a.update(scheduler=a["scheduler"] * 0 + 3), "action 3 of scheduler_0 .* expected 0 to 2"),
    ],
)
def test_refuses_wrong_actions(change, message):
    env = CloudSchedVectorEnv("tiny-v1", 1)
    env.reset(0)
    actions = random_actions(env, np.random.default_rng(0))
    change(actions)
    with pytest.raises(ValueError, match=message):
        env.step(actions)


def test_refuses_to_step_outside_an_episode_and_wrong_lengths():
    env = CloudSchedVectorEnv("tiny-v1", 2)
    actions = {r: np.zeros((2, env.role_counts[r], len(env.action_levels[r])), int) for r in ROLES}
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(actions)
    with pytest.raises(ValueError, match="seeds has length 3: expected one per cluster, 2"):
        env.reset([1, 2, 3])
    with pytest.raises(ValueError, match="num_envs is 0"):
        CloudSchedVectorEnv("tiny-v1", 0)
    env.reset(0)
    for _ in range(env.scenario.time.horizon_steps - 1):
        assert not env.step(actions)
    assert env.step(actions)
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(actions)


def test_refuses_an_episode_of_another_scenario():
    tiny, paper = CloudSchedVectorEnv("tiny-v1", 1), CloudSchedVectorEnv("paper-v1", 1)
    paper.reset(0)
    with pytest.raises(ValueError, match="does not belong to scenario 'tiny-v1'"):
        tiny.reset(episodes=paper.episodes)


def test_masked_actions_do_nothing_and_are_counted():
    always = {"compute.decision_interval_steps": 1, "storage.decision_interval_steps": 1}
    env = CloudSchedVectorEnv("tiny-v1", 1, overrides={"time.warmup_steps": 0, **always})
    env.reset(0)
    deferred = env.action_levels["scheduler"][0] - 1
    actions = {r: np.zeros((1, env.role_counts[r], len(env.action_levels[r])), int) for r in ROLES}
    actions["scheduler"][:] = deferred
    empty_slots = int((env.masks["scheduler"][0, 0].reshape(-1, deferred + 1)[:, 0] == 0).sum())
    actions["scheduler"][:] = 0  # a node, also for empty slots
    env.step(actions)
    assert empty_slots > 0
    assert env.results()[0].totals["invalid_actions"] == empty_slots


def test_a_node_may_change_its_levels_only_when_it_is_its_turn():
    env = CloudSchedVectorEnv("tiny-v1", 1, overrides={"storage.decision_interval_steps": 4})
    env.reset(0)
    actions = {r: np.zeros((1, env.role_counts[r], len(env.action_levels[r])), int) for r in ROLES}
    actions["scheduler"][:] = env.action_levels["scheduler"][0] - 1
    levels = int(env.action_levels["storage"].sum())
    for step in range(9):
        wanted = (step // 4) % 2
        actions["storage"][0, :, 0] = 3 if wanted == 0 else 4
        before = env.simulator_state.storage.background_level[0].copy()
        for node in range(env.role_counts["storage"]):
            turn = step % 4 == node % 4
            assert env.masks["storage"][0, node].sum() == (levels if turn else 2), (step, node)
        env.step(actions)
        after = env.simulator_state.storage.background_level[0]
        for node in range(env.role_counts["storage"]):
            turn = step % 4 == node % 4
            assert after[node] == (actions["storage"][0, node, 0] if turn else before[node]), (step, node)


def test_actions_that_cannot_be_written_to_do_not_compile_the_simulator_again():
    env = CloudSchedVectorEnv("tiny-v1")
    env.reset(0)
    plain = {role: np.zeros((1, n, len(env.action_levels[role])), np.int64) for role, n in env.role_counts.items()}
    env.step(plain)
    before = len(vector._advance_batch.signatures)
    # Contiguous already, so that it need not be copied for that.
    shared = {**plain, "compute": np.broadcast_to(plain["compute"][0], plain["compute"].shape)}
    env.step(shared)
    env.step({**plain, "storage": plain["storage"].astype(np.int32)})
    assert len(vector._advance_batch.signatures) == before
