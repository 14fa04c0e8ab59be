"""Networks on scenarios whose agents see more or decide more: engine metrics, entitlements, elastic nodes."""

import numpy as np
import pytest
import torch

from cloudsched_env.rllib.networks import NetworkConfig
from cloudsched_env.rllib.networks.build import build_networks, build_policy
from cloudsched_env.roles import compute
from cloudsched_env.roles import state as global_state
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv

CHANGES = {
    "observation.engine_metrics": True,
    "reward.team": "min_share",
    "time.horizon_steps": 60,
    "workload.flash_crowds": 0,
}


@pytest.fixture(scope="module")
def env():
    env = CloudSchedVectorEnv("elastic-v1", 2, overrides=CHANGES)
    env.reset(3)
    return env


def test_policies_decide_on_power_and_keep_to_masks(env):
    policies = {role: build_policy(role, env.scenario, NetworkConfig()) for role in ROLES}
    generator = torch.Generator().manual_seed(0)
    slept = 0
    for _ in range(60):
        actions = {}
        for role in ROLES:
            seen, mask = torch.from_numpy(env.observations[role]), torch.from_numpy(env.masks[role])
            chosen, log_prob = policies[role].act(seen, mask, generator=generator)
            assert torch.isfinite(log_prob).all()
            actions[role] = chosen.numpy().astype(np.int64)
        env.step(actions)
        slept = max(slept, int((env.observations["compute"][..., -5] > 0).sum()))
    assert actions["compute"].shape == (2, 16, 4)
    assert all(result.totals["invalid_actions"] == 0 for result in env.results())
    assert slept > 0, "a new policy tries standby now and then"


def test_a_new_policy_prefers_nodes_that_are_on(env):
    config = NetworkConfig()
    policy = build_policy("compute", env.scenario, config)
    seen = torch.from_numpy(env.observations["compute"])
    free = torch.ones(*seen.shape[:-1], sum(policy.action_levels), dtype=torch.int8)
    on, off = (torch.tensor([*compute.initial_levels(env.scenario)[:-1], power]) for power in (1, 0))
    levels = seen.new_zeros(*seen.shape[:-1], 4, dtype=torch.long)
    preference = policy.evaluate(seen, free, levels + on)[0] - policy.evaluate(seen, free, levels + off)[0]
    expected = torch.full_like(preference, config.level_preference)
    torch.testing.assert_close(preference, expected, atol=0.1, rtol=0)


def test_the_critic_sees_tenants_but_not_their_order(env):
    critic = build_networks(env.scenario, NetworkConfig())["critic"]
    layout = global_state.layout(env.scenario)
    state = torch.from_numpy(env.state)
    values = critic(state)
    tenants = layout.slice("tenants")
    shuffled, changed = state.clone(), state.clone()
    rows = state[:, tenants].reshape(2, *layout.block("tenants").shape)
    shuffled[:, tenants] = rows.flip(1).reshape(2, -1)
    changed[:, tenants] = (0.5 * rows).reshape(2, -1)
    for name, value in values.items():
        torch.testing.assert_close(critic(shuffled)[name], value)
        assert not torch.allclose(critic(changed)[name], value)
    assert set(values) >= set(ROLES)
    assert "tenants" not in values


def test_optional_fields_do_not_change_what_a_plain_scenario_shows():
    plain = load_scenario("paper-v1")
    assert [block.name for block in global_state.layout(plain).blocks] == ["compute", "storage", "scheduler", "cluster"]
