"""`tiny-v1` with couplings off and work that fits exactly: an optimum worked out by hand (`docs/scenarios/tiny.md`).

In every step of 1/8 s (a number that binary fractions hold exactly) three tasks arrive that keep 4 cores busy for one
step each. Two of them fill the node of 8 cores, one that of 4, and all are done before the next three may start: U =
G = F = 1. Tasks that have just arrived wait at the end of a step whatever anyone does: Q = 3 at the end of all but
the last. With 24 tasks/s and a latency scale of 0.25 s, L = 1 / (1 + 3 / 6) = 2/3.
"""

import numpy as np
import pytest

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.agents.registry import LINEAR, PLACEMENTS
from cloudsched_env.evaluation.metrics import summarise
from cloudsched_env.evaluation.protocol import play
from cloudsched_env.scenario import load_scenario, switch_names
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload import GeneratedSource
from cloudsched_env.workload.bound import upper_bound
from tests.simulator.episodes import hand_made_episode

CHANGES = dict.fromkeys(switch_names(), False) | {
    "time.step_s": 0.125,
    "time.warmup_steps": 0,
    "scheduling.dispatch_delay_s": 0.0,
    "workload.tenants": 1,
}
SCENARIO = load_scenario("tiny-v1", CHANGES)
STEPS = 210
TASK = {"cores": 4.0, "base_time_s": 0.125, "memory_gb": 0.1, "deadline_s": 0.2}
EPISODE = hand_made_episode(
    SCENARIO, [{**TASK, "arrival_s": max(0.0, 0.125 * (step - 0.5))} for step in range(STEPS) for _ in range(3)]
)
OPTIMUM = 0.30 * 1 + 0.40 * 1 + 0.15 * (209 * 2 / 3 + 1) / 210 + 0.15 * 1
BIG, SMALL, DEFER = 0, 1, 2


class Fixed:
    """The same places for the slots of the window in every step, and initial levels."""

    name = "fixed"

    def __init__(self, slots):
        self.slots = slots

    def reset(self, info: ClusterInfo, batch_size, seed):
        self.batch, self.counts = batch_size, info.role_counts

    def act(self, observations, masks):
        levels = {"compute": [2, 1, 1], "storage": [3, 1], "scheduler": self.slots}
        return {role: np.tile(levels[role], (self.batch, self.counts[role], 1)) for role in levels}


@pytest.fixture(scope="module")
def team_reward():
    env = CloudSchedVectorEnv(SCENARIO, 1, source=GeneratedSource(SCENARIO, "test"))

    def play_one(agent):
        records, _ = play(agent, env, [EPISODE], 0)
        return summarise(records[0])["team_reward"]

    return play_one


def test_the_scenario_is_the_one_of_the_calculation():
    assert [(kind.count, kind.cores) for kind in SCENARIO.cluster.compute_nodes] == [(1, 8.0), (1, 4.0)]
    assert SCENARIO.time.horizon_steps == STEPS
    weights = SCENARIO.reward
    assert (weights.useful_weight, weights.goodput_weight) == (0.30, 0.40)
    assert (weights.latency_weight, weights.fairness_weight, weights.latency_scale_s) == (0.15, 0.15, 0.25)


def test_a_policy_reaches_the_optimum(team_reward):
    assert team_reward(Fixed([BIG, BIG, SMALL, DEFER])) == pytest.approx(OPTIMUM, abs=1e-9)


def test_the_upper_bound_is_the_optimum_so_that_no_policy_exceeds_it():
    assert upper_bound(SCENARIO, EPISODE).team_reward == pytest.approx(OPTIMUM, abs=1e-6)


@pytest.mark.parametrize(
    "slots", [[BIG, BIG, BIG, DEFER], [BIG, SMALL, SMALL, DEFER], [BIG, SMALL, DEFER, DEFER]], ids=str
)
def test_other_placements_lose(team_reward, slots):
    assert team_reward(Fixed(slots)) < OPTIMUM - 0.01


@pytest.mark.parametrize("name", ["random", *PLACEMENTS, *LINEAR])
def test_no_agent_exceeds_the_optimum(team_reward, name):
    assert team_reward(load_agent(name)) <= OPTIMUM + 1e-9
