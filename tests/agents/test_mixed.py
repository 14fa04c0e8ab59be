from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloudsched_env.agents import AgentError, ClusterInfo, load_agent
from cloudsched_env.agents.mixed import MixedAgent
from cloudsched_env.rllib.networks import TrainedAgent
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv

SHORT = load_scenario("tiny-v1", {"time.warmup_steps": 2, "time.horizon_steps": 25})


class Counting:
    """Counts how often it is asked, and sends everything to level or node 0."""

    name = "counting"

    def __init__(self, execution: str = "none") -> None:
        self.execution = execution
        self.asked = self.begun = 0

    def reset(self, info, batch_size, seed):
        self.info, self.batch_size = info, batch_size
        self.begun += 1

    def act(self, observations, masks):
        self.asked += 1
        return {
            role: np.zeros((self.batch_size, self.info.role_counts[role], len(levels)), np.int64)
            for role, levels in self.info.action_levels.items()
        }


def play(agent, steps: int = 25):
    env = CloudSchedVectorEnv(SHORT, 2)
    env.reset([0, 1])
    agent.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), 2, 0)
    taken = []
    for _ in range(steps):
        actions = agent.act(env.observations, env.masks)
        taken.append({role: values.copy() for role, values in actions.items()})
        env.step(actions)
    return taken, [record.totals["team_reward"] for record in env.results()]


def test_each_role_acts_as_its_own_agent():
    mixed = load_agent('mixed(compute="random", storage="balanced+reactive", scheduler="locality")')
    taken, _ = play(mixed)
    env = CloudSchedVectorEnv(SHORT, 2)
    env.reset([0, 1])
    info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
    parts = {
        role: load_agent(spec)
        for role, spec in (("compute", "random"), ("storage", "balanced+reactive"), ("scheduler", "locality"))
    }
    for agent in parts.values():
        agent.reset(info, 2, 0)
    differs = False
    for actions in taken:
        own = {role: agent.act(env.observations, env.masks) for role, agent in parts.items()}
        for role, expected in own.items():
            np.testing.assert_array_equal(actions[role], expected[role])
        differs |= any((own["compute"][r] != own["storage"][r]).any() for r in own)
        env.step(actions)
    assert differs, "the parts agree on everything: the comparison would show nothing"


def test_an_agent_that_plays_all_roles_is_itself():
    _, whole = play(load_agent("least_allocated+reactive"))
    same = load_agent("least_allocated+reactive")
    _, mixed = play(MixedAgent("m", {"compute": same, "storage": same, "scheduler": same}))
    assert mixed == whole


def test_an_agent_that_plays_two_roles_is_asked_once():
    shared, other = Counting(), Counting()
    play(MixedAgent("m", {"compute": shared, "storage": other, "scheduler": shared}), steps=5)
    assert (shared.begun, shared.asked, other.begun, other.asked) == (1, 5, 1, 5)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [(("none", "none"), "none"), (("none", "role_summary"), "role_summary"), (("full", "role_summary"), "full")],
)
def test_a_mixture_exchanges_as_much_as_the_most_talkative_of_its_agents(modes: tuple[str, str], expected: str):
    first, second = (Counting(mode) for mode in modes)
    assert MixedAgent("m", {"compute": first, "storage": first, "scheduler": second}).execution == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ('mixed(compute="random")', "one agent for each of compute, storage, scheduler"),
        ('mixed(compute="random", storage="random", scheduler="random", queue="random")', "got .*queue"),
        ('mixed(compute=3, storage="random", scheduler="random")', "agents as text"),
        ('mixed(compute="nobody", storage="random", scheduler="random")', "unknown agent 'nobody'"),
        ("mixed", "one agent for each"),
    ],
)
def test_a_wrong_mixture_is_refused_by_name(spec: str, message: str):
    with pytest.raises(AgentError, match=message):
        load_agent(spec)


TEAM = Path(__file__).parents[2] / "baselines" / "hrac_lgrs+team" / "policy"


def test_a_trained_policy_acts_alike_for_some_roles_and_for_all():
    whole = TrainedAgent(TEAM)
    assert whole.deterministic
    taken, _ = play(MixedAgent("m", {"compute": whole, "storage": whole, "scheduler": load_agent("locality")}))
    again = TrainedAgent(TEAM)
    again_shown_everything = Shown(again)
    other = MixedAgent(
        "n", {"compute": again_shown_everything, "storage": again_shown_everything, "scheduler": load_agent("locality")}
    )
    expected, _ = play(other)
    for actions, wanted in zip(taken, expected, strict=True):
        for role, values in wanted.items():
            np.testing.assert_array_equal(actions[role], values)


def test_a_trained_policy_is_shown_only_the_roles_that_it_plays():
    whole = TrainedAgent(TEAM)
    shown = []
    act = whole.act
    whole.act = lambda observations, masks: shown.append(set(observations)) or act(observations, masks)
    play(MixedAgent("m", {"compute": whole, "storage": whole, "scheduler": load_agent("locality")}), steps=2)
    assert shown == [{"compute", "storage"}] * 2


class Shown:
    """Passes everything on to another agent; does not say that it can do with less."""

    name = "shown"

    def __init__(self, agent) -> None:
        self.agent = agent

    def reset(self, info, batch_size, seed):
        self.agent.reset(info, batch_size, seed)

    def act(self, observations, masks):
        assert set(observations) == {"compute", "storage", "scheduler"}
        return self.agent.act(observations, masks)
