"""Nodes that sleep and wake: the life of one node step by step, what it costs, and agreement with the oracle."""

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario
from cloudsched_env.sim.state import ASLEEP, DRAINING, ON, WAKING
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.bound import least_cost, upper_bound
from tests.simulator.drive import make_episode
from tests.simulator.episodes import simple_episode
from tests.simulator.isolated import isolated
from tests.simulator.mechanisms.elastic import break_even_s, expected_gain, run_pause
from tests.simulator.test_oracle_agreement import OUTAGES, assert_agreement

WAKE_S = 0.5
DEFER = 2


def two_nodes(**overrides):
    """Two nodes of one core, half of the cost each; decisions in every step."""
    return isolated(
        cluster__compute_nodes=({"count": 2, "cores": 1.0, "memory_gb": 100.0},),
        elastic__enabled=True,
        elastic__wake_s=WAKE_S,
        elastic__minimum_nodes=1,
        elastic__cost_weight=0.4,
        **overrides,
    )


def step(env, power, node=0):
    env.step(
        {
            "compute": np.array([[[0, 0, 0, level] for level in power]]),
            "storage": np.zeros((1, 1, 2), np.int64),
            "scheduler": np.full((1, 1, env.scenario.scheduling.window_slots), node),
        }
    )
    return env.simulator_state.compute.power[0].tolist()


def test_a_node_drains_sleeps_without_cache_and_wakes_after_the_lead_time():
    scenario = two_nodes(
        cache__enabled=True, cache__initial_warmth=1.0, compute__cache_fractions=(0.5,), workload__home_nodes=2
    )
    env = CloudSchedVectorEnv(scenario)
    episode = make_episode(scenario, base_time_s=0.35, arrival_s=[0.0, 0.05, 0.3])
    env.reset(0, episodes=[episode])
    compute = env.simulator_state.compute
    assert step(env, [1, 1]) == [ON, ON]
    # The second task is sent in the step in which the node begins to drain: it is refused and stays with its scheduler.
    assert step(env, [0, 1]) == [DRAINING, ON]
    assert env.results()[0].totals["bounced"] == 1
    choices = env.masks["scheduler"][0, 0].reshape(-1, 3)
    assert choices[0].tolist() == [0, 1, 1]
    assert env.masks["compute"][0, 0, -2:].tolist() == [1, 0]  # while it drains there is nothing to decide
    assert compute.occupied_mb[0, 0] > 0
    assert step(env, [0, 1], node=1) == [DRAINING, ON]
    assert env.results()[0].totals["active_core_share"] == 3.0
    assert step(env, [0, 1], node=1) == [ASLEEP, ON]  # the task that ran has finished, at 0.35 s
    assert not np.isnan(env.results()[0].finish_s[0])
    assert compute.occupied_mb[0, 0] == 0
    assert compute.occupied_mb[0, 1] > 0
    assert env.results()[0].totals["active_core_share"] == 3.5
    assert env.masks["compute"][0, 0, -2:].tolist() == [1, 1]
    states = [step(env, [1, 1], node=1)[0] for _ in range(5)]
    assert states == [WAKING] * 4 + [ON]  # 0.5 s
    assert env.masks["scheduler"][0, 0].reshape(-1, 3)[:, 0].any() == (
        env.simulator_state.schedulers.queue_length[0, 0] > 0
    )
    assert compute.occupied_mb[0, 0] == 0


def test_cost_is_taken_off_the_team_reward_and_sleepers_earn_nothing():
    scenario = two_nodes()
    env = CloudSchedVectorEnv(scenario)
    env.reset(0, episodes=[make_episode(scenario, arrival_s=100.0)])
    step(env, [1, 1])
    idle = float(env.team_reward[0])
    assert env.local_rewards["compute"][0].tolist() == pytest.approx([-0.4, -0.4])
    step(env, [0, 1])
    assert float(env.team_reward[0]) == pytest.approx(idle + 0.4 / 2)
    assert env.local_rewards["compute"][0].tolist() == pytest.approx([0.0, -0.4])


def test_the_last_nodes_may_not_sleep():
    scenario = two_nodes()
    env = CloudSchedVectorEnv(scenario)
    env.reset(0, episodes=[make_episode(scenario, arrival_s=100.0)])
    assert step(env, [0, 0], DEFER) == [
        ASLEEP,
        ON,
    ]  # in the order of the nodes; the refused one stays on, and that is no error
    assert env.results()[0].totals["invalid_actions"] == 0
    assert step(env, [0, 0], DEFER) == [ASLEEP, ON]
    assert step(env, [1, 0], DEFER) == [WAKING, ON]  # a node that wakes does not count as on yet
    assert env.masks["compute"][0, 0, -2:].tolist() == [0, 1]
    step(env, [0, 1], DEFER)
    assert env.results()[0].totals["invalid_actions"] == 1


@pytest.mark.parametrize(("pause_s", "pays"), [(2.0, False), (12.0, False), (15.0, True), (20.0, True)])
def test_sleeping_through_a_pause_gains_the_cost_of_the_pause_less_the_wait_for_the_node(pause_s, pays):
    """The cost saved grows with the pause, the delay of the lead time does not: there is a break-even, at 13.3 s."""
    gain = run_pause(pause_s, sleep=True) - run_pause(pause_s, sleep=False)
    assert gain == pytest.approx(expected_gain(pause_s), abs=1e-5)  # rewards are float32
    assert (gain > 0) == (pause_s > break_even_s()) == pays


@pytest.mark.parametrize(("wake_s", "cost"), [(0.5, 0.3), (2.0, 0.9)])
def test_what_sleeping_gains_goes_with_the_lead_time_and_the_cost(wake_s, cost):
    runs = [run_pause(6.0, sleep=sleep, wake_s=wake_s, cost=cost) for sleep in (True, False)]
    assert runs[0] - runs[1] == pytest.approx(expected_gain(6.0, wake_s, cost), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "outages"),
    [
        ({}, []),
        ({"elastic.minimum_nodes": 1, "elastic.wake_s": 0.0, "time.warmup_steps": 0}, []),
        ({"compute.decision_interval_steps": 1, "time.warmup_steps": 5}, OUTAGES),
        ({"compute.decision_interval_steps": 1, "observation.engine_metrics": True, "reward.team": "min_share"}, []),
    ],
)
def test_kernel_and_oracle_agree_on_elastic_nodes(changes, outages):
    node = {"cores": 6.0, "memory_gb": 12.0, "count": 4}
    scenario = load_scenario(
        "tiny-v1", {"elastic.enabled": True, "elastic.minimum_nodes": 2, "cluster.compute_nodes": [node], **changes}
    )
    rng = np.random.default_rng(8)
    episodes = [simple_episode(scenario, rng, 40) for _ in range(2)]
    bounced = 0.0
    for masked in (True, False):
        oracles, _ = assert_agreement(scenario, episodes, masked=masked, steps=110, outages=outages)
        for oracle in oracles:
            assert oracle.finished
            assert oracle.totals["active_core_share"] < oracle.totals["steps"], "nobody slept"
            bounced += oracle.totals["bounced"]
    assert bounced > 0


def test_the_bound_of_an_elastic_cluster_counts_the_nodes_that_have_to_stay_on():
    scenario = load_scenario("elastic-v1")
    cores = sorted(t.cores for t in scenario.cluster.compute_nodes for _ in range(t.count))
    share = sum(cores[: scenario.elastic.minimum_nodes]) / sum(cores)
    assert least_cost(scenario) == pytest.approx(scenario.elastic.cost_weight * share)
    env = CloudSchedVectorEnv(scenario)
    env.reset(0)
    rigid = scenario.override({"elastic.enabled": False})
    difference = upper_bound(rigid, env.episodes[0]).team_reward - upper_bound(scenario, env.episodes[0]).team_reward
    assert difference == pytest.approx(least_cost(scenario))
