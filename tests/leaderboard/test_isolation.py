from __future__ import annotations

import os
import time

import numpy as np
import pytest

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.leaderboard.isolation import AgentFailedError, IsolatedAgent, Limits
from cloudsched_env.vector import CloudSchedVectorEnv

LIMITS = Limits(memory_mb=4096, call_s=1.5)


@pytest.fixture(scope="module")
def env():
    env = CloudSchedVectorEnv("tiny-v1", 2)
    env.reset(0)
    return env


def info(env):
    return ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)


def act_often(agent, env, steps):
    for _ in range(steps):
        agent.act(env.observations, env.masks)


def failure_of(agents_file, name, env, steps=10, limits=LIMITS):
    def play():
        with IsolatedAgent(f"{agents_file}:{name}", limits) as agent:
            agent.reset(info(env), 2, 0)
            act_often(agent, env, steps)

    with pytest.raises(AgentFailedError) as caught:
        play()
    return caught.value


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Aborts", "crash", "SIGABRT"),
        ("Exits", "crash", "status 7"),
        ("Hoards", "memory", "out of memory"),
        ("Talks", "crash", "no such thing.*agents.py, line.*hello from the agent"),
        ("WrongShape", "contract", "expected"),
    ],
)
def test_what_goes_wrong_in_the_agent_is_told_by_kind_and_place(agents_file, env, name, kind, message):
    failure = failure_of(agents_file, name, env)
    assert failure.kind == kind
    import re

    assert re.search(message, str(failure), re.DOTALL), str(failure)


def test_an_agent_that_hangs_is_ended(agents_file, env):
    began = time.monotonic()
    failure = failure_of(agents_file, "Hangs", env)
    assert failure.kind == "hang"
    assert "1.5 s" in str(failure)
    assert time.monotonic() - began < 60


def test_a_slow_batch_is_ended_although_each_call_is_quick(agents_file, env):
    with IsolatedAgent(f"{agents_file}:Good", Limits(batch_s=0.3)) as agent:
        agent.reset(info(env), 2, 0)
        with pytest.raises(AgentFailedError, match="a batch of episodes took longer"):
            act_often(agent, env, 1_000_000)


def test_an_agent_that_cannot_be_loaded_says_so(agents_file):
    with pytest.raises(AgentFailedError, match="no 'Missing'"):
        IsolatedAgent(f"{agents_file}:Missing")


def test_it_acts_as_the_same_agent_here_and_measures_its_own_time(agents_file, env):
    here = load_agent("balanced")
    here.reset(info(env), 2, 5)
    with IsolatedAgent(f"{agents_file}:Good") as there:
        assert (there.name, there.execution) == ("good", "none")
        there.reset(info(env), 2, 5)
        for _ in range(3):
            mine, theirs = here.act(env.observations, env.masks), there.act(env.observations, env.masks)
            assert all((mine[role] == theirs[role]).all() for role in mine)
        times = there.decision_times_s()
    assert times.shape == (3,)
    assert (times > 0).all()


def test_secrets_of_the_environment_stay_here(tmp_path, monkeypatch):
    monkeypatch.setenv("VERY_SECRET_TOKEN", "x")
    file = tmp_path / "curious.py"
    file.write_text(
        "import os\nfrom cloudsched_env.agents import load_agent\n\ndef make():\n    agent = load_agent('balanced')\n"
        "    agent.name = str('VERY_SECRET_TOKEN' in os.environ)\n    return agent\n"
    )
    with IsolatedAgent(f"{file}:make") as agent:
        assert agent.name == "False"


def test_its_process_ends_with_it(agents_file):
    agent = IsolatedAgent(f"{agents_file}:Good")
    process = agent._process
    agent.close()
    assert process.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_writing_into_inputs_is_seen_and_harms_nobody(agents_file, env):
    before = env.observations["compute"].copy()
    with IsolatedAgent(f"{agents_file}:Scribbles", watch=True) as agent:
        agent.reset(info(env), 2, 0)
        agent.act(env.observations, env.masks)
        assert agent.changed == {"observations of role compute"}
    assert np.array_equal(before, env.observations["compute"])
