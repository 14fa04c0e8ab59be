import subprocess
import sys

import gymnasium
import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils.conversions import parallel_to_aec

import cloudsched_env
from cloudsched_env.env import CloudSchedEnv
from cloudsched_env.vector import ROLES

SCENARIOS = ("paper-v1", "tiny-v1")  # the others: test_scenario_ladder.py


def masked_actions(env, observations):
    return {agent: env.action_space(agent).sample(observations[agent]["action_mask"]) for agent in env.agents}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_passes_pettingzoo_api_test(scenario):
    parallel_api_test(cloudsched_env.parallel_env(scenario), num_cycles=300)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_passes_pettingzoo_seed_test(scenario):
    parallel_seed_test(lambda: cloudsched_env.parallel_env(scenario), num_cycles=60)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_passes_pettingzoo_state_test(scenario):
    state_test(parallel_to_aec(cloudsched_env.parallel_env(scenario)), cloudsched_env.parallel_env(scenario))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_is_registered_with_pettingzoo(scenario):
    env = pettingzoo.make("parallel", f"cloudsched/{scenario}")
    assert env.unwrapped.scenario.id == scenario


def test_paper_has_25_agents_of_three_roles():
    env = cloudsched_env.parallel_env("paper-v1")
    assert len(env.possible_agents) == 25
    prefixes = [agent.rsplit("_", 1)[0] for agent in env.possible_agents]
    assert {role: prefixes.count(role) for role in ROLES} == {"compute": 16, "storage": 6, "scheduler": 3}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_observations_stay_inside_their_spaces_for_a_whole_episode(scenario):
    env = cloudsched_env.parallel_env(scenario)
    observations, _ = env.reset(seed=3)
    steps = 0
    while env.agents:
        for agent, observation in observations.items():
            assert env.observation_space(agent).contains(observation), (agent, steps)
        assert env.state_space.contains(env.state())
        observations, rewards, terminations, truncations, _ = env.step(masked_actions(env, observations))
        steps += 1
        assert not any(terminations.values())
        assert all(np.isfinite(list(rewards.values())))
    assert all(truncations.values())
    assert steps == env.scenario.time.horizon_steps
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_spaces_pass_gymnasium_checks():
    env = cloudsched_env.parallel_env("tiny-v1")
    for agent in env.possible_agents:
        observation = env.observation_space(agent)
        assert np.all(np.isfinite(observation["observation"].low))
        assert np.all(np.isfinite(observation["observation"].high))
        assert observation["observation"].is_bounded()
        action = env.action_space(agent)
        assert isinstance(action, gymnasium.spaces.MultiDiscrete)
        assert action.contains(action.sample())


def test_names_every_observed_number():
    env = cloudsched_env.parallel_env("paper-v1")
    for role in ROLES:
        names = env.observation_fields(role)
        assert len(names) == env.observation_space(f"{role}_0")["observation"].shape[0]
        assert len(set(names)) == len(names)
    assert "slots[3].cores" in env.observation_fields("scheduler")
    with pytest.raises(ValueError, match="expected one of compute, storage, scheduler"):
        env.observation_fields("driver")


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_mixes_local_and_team_reward(share):
    episodes = {}
    for reward in ("team", "local", share):
        env = CloudSchedEnv("tiny-v1", reward=reward)
        observations, _ = env.reset(seed=5)
        for agent in env.agents:
            env.action_space(agent).seed(0)
        total = []
        for _ in range(50):
            observations, rewards, *_ = env.step(masked_actions(env, observations))
            total.append([rewards[agent] for agent in env.possible_agents])
        episodes[reward] = np.array(total)
    assert np.allclose(np.ptp(episodes["team"], axis=1), 0)
    expected = share * episodes["local"] + (1 - share) * episodes["team"]
    assert np.allclose(episodes[share], expected, atol=1e-6)


def test_same_seed_gives_the_same_bytes_in_another_process():
    script = (
        "import hashlib, numpy as np, cloudsched_env\n"
        "env = cloudsched_env.CloudSchedVectorEnv('tiny-v1', 2)\n"
        "env.reset(11)\n"
        "digest, rng = hashlib.sha256(), np.random.default_rng(0)\n"
        "for _ in range(100):\n"
        "    env.step({r: rng.integers(0, env.action_levels[r], (2, env.role_counts[r], len(env.action_levels[r])))"
        " for r in env.roles})\n"
        "    for r in env.roles:\n"
        "        digest.update(env.observations[r].tobytes())\n"
        "    digest.update(env.state.tobytes() + env.team_reward.tobytes())\n"
        "print(digest.hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": str(h)}
        ).stdout
        for h in (1, 2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("storage_0"), "no action for agent 'storage_0'"),
        (lambda a: a.update(driver_0=0), r"unknown agents \['driver_0'\]"),
        (lambda a: a.update(compute_1=np.array([9, 0, 0])), "action 9 of compute_1 .* expected 0 to 4"),
        (lambda a: a.update(compute_1=np.array([-1, 0, 0])), "action -1 of compute_1"),
        (lambda a: a.update(compute_1=np.array([0])), r"must have shape \(3,\)"),
        (lambda a: a.update({f"compute_{i}": np.array([0.5, 0.5, 0.5]) for i in range(2)}), "expected integers"),
    ],
)
def test_refuses_wrong_actions_by_name(change, message):
    env = cloudsched_env.parallel_env("tiny-v1")
    env.reset(seed=0)
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    change(actions)
    with pytest.raises(ValueError, match=message):
        env.step(actions)


def test_refuses_unknown_scenarios_fields_and_modes():
    with pytest.raises(ValueError, match=r"unknown scenario 'papr-v0': expected one of .*paper-v1"):
        cloudsched_env.parallel_env("papr-v0")
    with pytest.raises(ValueError, match=r"telemetry\.los"):
        cloudsched_env.parallel_env("tiny-v1", overrides={"telemetry.los": 1})
    with pytest.raises(ValueError, match="reward is 'selfish'"):
        cloudsched_env.parallel_env("tiny-v1", reward="selfish")
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        cloudsched_env.parallel_env("tiny-v1", render_mode="human")
    with pytest.raises(RuntimeError, match="call reset"):
        cloudsched_env.parallel_env("tiny-v1").step({"compute_0": np.array([0, 0])})


def test_draws_the_cluster_as_text():
    env = cloudsched_env.parallel_env("tiny-v1", render_mode="ansi")
    observations, _ = env.reset(seed=0)
    env.step(masked_actions(env, observations))
    picture = env.render()
    assert "tiny-v1" in picture
    for agent in env.possible_agents:
        assert agent in picture
