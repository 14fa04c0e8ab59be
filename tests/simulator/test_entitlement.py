"""Entitlements and the team rewards made of them: two tenants on one core, worked out on paper."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsched_env.scenario import load_scenario
from cloudsched_env.sim.entitlement import divide_max_min
from tests.simulator.drive import make_episode, play
from tests.simulator.episodes import simple_episode
from tests.simulator.isolated import isolated
from tests.simulator.test_oracle_agreement import assert_agreement

STEPS = 20


def two_tenants(work_core_s=(100.0, 100.0), weight=(1.0, 3.0), **overrides):
    """One task of one core for each tenant, both at time 0, sharing one core; rewards of every step."""
    scenario = isolated(workload__tenants=2, **overrides)
    episode = make_episode(scenario, shard=[0, 1], base_time_s=work_core_s, deadline_s=1e3)
    rewards = []
    env = play(
        scenario,
        [dataclasses.replace(episode, tenant_weight=np.array(weight))],
        watch=lambda env, step: rewards.append(float(env.team_reward[0])),
        steps=STEPS,
    )
    return env, np.array(rewards[1:])


def equal_share(alpha):
    """Each gets half of the core, entitled to 1/4 and 3/4: shares 1 and 2/3, with weights 1 and 3."""
    low, high = 0.01 + 0.99 * 2 / 3, 1.0
    if alpha == 1:
        return (low**0.75 * high**0.25 - 0.01) / 0.99
    return ((0.75 * low ** (1 - alpha) + 0.25 * high ** (1 - alpha)) ** (1 / (1 - alpha)) - 0.01) / 0.99


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 30.0])
def test_alpha_fair_reward_is_the_equally_good_equal_share(alpha):
    _, rewards = two_tenants(reward__team="alpha_fair", reward__fairness_alpha=alpha)
    assert rewards == pytest.approx(equal_share(alpha), abs=1e-6)


def test_alpha_goes_from_the_mean_share_to_the_smallest():
    assert equal_share(0.0) == pytest.approx(0.75 * 2 / 3 + 0.25)
    values = [equal_share(alpha) for alpha in (0.0, 1.0, 2.0, 30.0, 100.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(2 / 3, abs=0.003)


def test_minimum_share_is_that_of_the_tenant_furthest_from_its_entitlement():
    env, rewards = two_tenants(reward__team="min_share")
    assert rewards == pytest.approx(2 / 3, abs=1e-6)
    tenants = env.state_layout.view(env.state[0], "tenants")
    assert tenants[:, 0].tolist() == pytest.approx([1.0, 2 / 3], abs=1e-6)  # shares of the entitlement
    assert tenants[:, 1].tolist() == pytest.approx([0.25, 0.75], abs=1e-6)  # entitlements
    assert tenants[:, 3].tolist() == pytest.approx([0.25, 0.75], abs=1e-6)  # weights


def test_a_tenant_is_not_entitled_to_more_than_it_asks_for():
    # Tenant 1 wants a tenth of a second of work: it gets it in the first steps, and tenant 0 is entitled to the rest.
    env, rewards = two_tenants(work_core_s=(100.0, 0.1), reward__team="min_share", reward__fairness_decay=1.0)
    assert rewards[-1] == pytest.approx(1.0, abs=1e-6)
    tenants = env.state_layout.view(env.state[0], "tenants")
    assert tenants[:, 1].tolist() == pytest.approx([(2.0 - 0.1) / 2.0, 0.1 / 2.0], abs=1e-6)


def test_goodput_reward_is_the_goodput_term():
    env, rewards = two_tenants(work_core_s=(0.04, 0.04), reward__team="goodput")
    assert rewards.sum() == pytest.approx(0.08 / 0.1, rel=1e-5)  # of what a core does in a step
    assert env.results()[0].totals["goodput_term"] == pytest.approx(rewards.sum(), rel=1e-6)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10)), min_size=1, max_size=8),
    st.floats(0, 500),
)
def test_division_is_weighted_max_min_fair(claims, total):
    demand, weight = (np.array(column) for column in zip(*claims, strict=True))
    parts = np.empty(len(demand))
    divide_max_min.py_func(demand, weight, total, parts)
    assert parts.sum() == pytest.approx(min(total, demand.sum()), abs=1e-6)
    assert (parts <= demand + 1e-9).all()
    level = parts / weight
    # Whoever gets less than its demand has the highest level of all.
    assert all(level[i] >= level.max() - 1e-6 for i in np.flatnonzero(parts < demand - 1e-6))


@pytest.mark.parametrize(
    "changes",
    [
        {"observation.entitlement": True},
        {"reward.team": "goodput"},
        {"reward.team": "min_share", "workload.tenants": 4, "cluster.schedulers": 2},
        {"reward.team": "alpha_fair", "reward.fairness_alpha": 0.0, "workload.tenants": 3},
        {"reward.team": "alpha_fair", "workload.tenants": 3, "reward.fairness_decay": 1.0},
        {"reward.team": "alpha_fair", "reward.fairness_alpha": 2.0, "workload.tenants": 5, "cluster.schedulers": 3},
    ],
    ids=lambda changes: ",".join(f"{name}={value}" for name, value in changes.items()),
)
def test_kernel_and_oracle_agree_on_entitlements(changes):
    scenario = load_scenario("tiny-v1", changes)
    rng = np.random.default_rng(3)
    episodes = [
        dataclasses.replace(
            simple_episode(scenario, rng, 160), tenant_weight=rng.choice([1.0, 2.0, 4.0], scenario.workload.tenants)
        )
        for _ in range(2)
    ]
    oracles, _ = assert_agreement(scenario, episodes, masked=True, steps=60)
    assert all(oracle.finished for oracle in oracles)
