from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.metrics import summarise
from cloudsched_env.evaluation.protocol import play
from cloudsched_env.headroom.hindsight import Hindsight, hindsight, tightness
from cloudsched_env.headroom.linear_program import foresight_bound
from cloudsched_env.headroom.windows import shorten
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload import GeneratedSource

FULL = load_scenario("tiny-v1")
CUT = [shorten(FULL, episode, 60) for episode in GeneratedSource(FULL, "train").evaluation_episodes(3)]
SCENARIO, EPISODES = CUT[0][0], [episode for _, episode in CUT]
PEAKS = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])  # the best parameters of each window, in the toy below


def toy_evaluate(vectors):
    return 0.5 - ((vectors[:, None, :] - PEAKS[None, :, :]) ** 2).sum(axis=2)


def halfway(episodes, start, budget):
    """Goes part of the way from the start to the window's peak, further with a larger budget."""
    window = [episode is episodes[0] for episode in EPISODES].index(True)
    return start + (1.0 - 0.5**budget) * (PEAKS[window] - start)


def test_each_window_gets_its_own_policy():
    starts = np.array([[0.0, 0.0], [4.0, 4.0]])
    found = hindsight(EPISODES, starts, halfway, toy_evaluate, budget=3)
    # From the nearer start, an eighth of the way is left.
    assert found.parameters == pytest.approx(0.875 * PEAKS)
    assert found.team_reward == pytest.approx(0.5 - (PEAKS**2).sum(axis=1) / 64)
    assert found.start_reward == pytest.approx(0.5 - (PEAKS**2).sum(axis=1))
    assert found.own_reward == pytest.approx(found.team_reward)


def test_a_policy_tuned_for_another_window_counts_where_it_is_better():
    def swap(episodes, start, budget):
        window = [episode is episodes[0] for episode in EPISODES].index(True)
        return PEAKS[(window + 1) % 3]

    found = hindsight(EPISODES, np.zeros((1, 2)), swap, toy_evaluate, budget=1)
    assert found.team_reward == pytest.approx([0.5] * 3)
    assert found.own_reward == pytest.approx([0.5 - ((PEAKS[(w + 1) % 3] - PEAKS[w]) ** 2).sum() for w in range(3)])


def test_a_useless_tuner_leaves_the_best_start():
    def lost(episodes, start, budget):
        return start + 100.0

    starts = np.array([[0.0, 0.0], [0.5, 0.0]])
    found = hindsight(EPISODES, starts, lost, toy_evaluate, budget=1)
    assert found.team_reward == pytest.approx(found.start_reward)
    assert found.parameters[0] == pytest.approx([0.5, 0.0])


def test_hindsight_in_the_simulator_lies_below_the_foresight_bound():
    # A toy family of one parameter: which of three rules plays; its tuner tries all of them on its window.
    rules = ["random", "least_allocated", "locality"]
    env = {size: CloudSchedVectorEnv(SCENARIO, size) for size in (1, len(EPISODES))}

    def rewards(rule, episodes):
        records, _ = play(load_agent(rules[rule]), env[len(episodes)], episodes, 0)
        return np.array([summarise(record)["team_reward"] for record in records])

    def tune(episodes, start, budget):
        assert budget == len(rules)
        return np.array([float(np.argmax([rewards(rule, episodes)[0] for rule in range(budget)]))])

    def evaluate(vectors):
        return np.stack([rewards(int(vector[0]), EPISODES) for vector in vectors])

    found = hindsight(EPISODES, np.zeros((1, 1)), tune, evaluate, budget=3)
    assert (found.team_reward >= found.start_reward).all()
    assert (found.parameters > 0).all(), "random is the best rule of a window: the test shows nothing"
    bounds = [foresight_bound(SCENARIO, episode) for episode in EPISODES]
    enclosed = tightness(bounds, found)
    assert (enclosed.fluid_gap >= 0.0).all()
    assert (enclosed.unknown > 0.0).all()
    assert enclosed.fluid == pytest.approx(enclosed.hindsight + enclosed.unknown + enclosed.fluid_gap)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="starts have shape"):
        hindsight(EPISODES, np.zeros(2), halfway, toy_evaluate, 1)
    with pytest.raises(ValueError, match="no windows"):
        hindsight([], np.zeros((1, 2)), halfway, toy_evaluate, 1)
    with pytest.raises(ValueError, match=r"tuner returned parameters of shape \(3,\)"):
        hindsight(EPISODES, np.zeros((1, 2)), lambda *_: np.zeros(3), toy_evaluate, 1)
    with pytest.raises(ValueError, match=r"evaluation returned shape \(3, 3\): expected \(4, 3\)"):
        hindsight(EPISODES, np.zeros((1, 2)), halfway, lambda vectors: toy_evaluate(vectors)[:-1], 1)


def test_a_reward_above_its_bound_is_an_error():
    bounds = [foresight_bound(SCENARIO, episode) for episode in EPISODES]
    above = np.array([0.1, 1.5, 0.1])
    impossible = Hindsight(above, np.zeros((3, 1)), above, above)
    with pytest.raises(ValueError, match=r"window 1: a policy reached J 1\.5"):
        tightness(bounds, impossible)
    with pytest.raises(ValueError, match="2 bounds for 3 windows"):
        tightness(bounds[:2], impossible)
