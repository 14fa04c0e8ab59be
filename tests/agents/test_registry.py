from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from cloudsched_env.agents import Agent, AgentError, check_actions, list_agents, load_agent, registry
from tests.agents.observations import blank, equal_nodes

AGENT_FILE = """
import numpy as np

class Fixed:
    def __init__(self, level=0):
        self.name = f"fixed_{level}"
        self.level = level

    def reset(self, info, batch_size, seed):
        self.info, self.batch_size = info, batch_size

    def act(self, observations, masks):
        return {role: np.full((self.batch_size, count, len(self.info.action_levels[role])), self.level)
                for role, count in self.info.role_counts.items()}

class Nameless(Fixed):
    def __init__(self):
        pass

class Mute:
    name = "mute"
    def reset(self, info, batch_size, seed):
        pass
"""


@pytest.fixture
def agent_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(AGENT_FILE)
    return file


def test_every_listed_agent_loads_and_keeps_its_spec_as_its_name():
    for entry in list_agents():
        if entry.origin in ("placement", "linear"):
            agent = load_agent(entry.name)
            assert isinstance(agent, Agent)
            assert agent.name == entry.name
            assert entry.summary


def test_parameters_reach_the_placement_and_the_knobs():
    agent = load_agent("delay_scheduling(delay_s=1.5, warm=0.1)+static(background_level=3,admission_level=2)")
    assert (agent.placement.delay_s, agent.placement.warm) == (1.5, 0.1)
    assert (agent.knobs.background_level, agent.knobs.admission_level, agent.knobs.cache_level) == (3, 2, None)


def test_random_sets_random_knobs_and_others_static_ones_by_default():
    assert isinstance(load_agent("random").knobs, registry.KNOBS["random"])
    assert isinstance(load_agent("locality").knobs, registry.KNOBS["static"])
    assert isinstance(load_agent("random+static").knobs, registry.KNOBS["static"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("least_alocated", "expected one of random, round_robin"),
        ("least_allocated+adaptive", "expected one of static, reactive, random"),
        ("least_allocated+static+reactive", "at most one '\\+'"),
        ("least_allocated(cpu=1)", "unknown parameter 'cpu', expected one of: core_limit"),
        ("least_allocated(core_limit=0.2)", "core_limit is 0.2, expected 1.0 to 8.0"),
        ("least_allocated(core_limit='x')", "expected a number"),
        ("power_of_two(choices=1.5)", "expected an integer"),
        ("least_allocated+static(cache_level=1.5)", "expected an integer"),
        ("least_allocated(1.5)", "expected parameters as name=value"),
        ("linear_static(file='x')", "expected linear_static\\(parameters="),
        ("linear_static(parameters='missing.json')", "missing.json"),
        ("no_such_package.agents:Mine", "no module 'no_such_package'"),
        ("no_such_file.py:Mine", "no file no_such_file.py"),
    ],
)
def test_a_wrong_spec_says_what_was_expected(spec, message):
    with pytest.raises(AgentError, match=message):
        load_agent(spec)


def test_an_agent_comes_from_a_file_with_arguments(agent_file):
    assert load_agent(f"{agent_file}:Fixed").name == "fixed_0"
    assert load_agent(f"{agent_file}:Fixed(level=2)").level == 2


def test_an_agent_comes_from_a_module(agent_file, monkeypatch):
    monkeypatch.syspath_prepend(str(agent_file.parent))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert load_agent("mine:Fixed(level=1)").level == 1


def test_a_missing_class_or_method_or_name_is_reported(agent_file):
    with pytest.raises(AgentError, match=r"has no 'Fxied', its classes are \['Fixed', 'Nameless', 'Mute'\]"):
        load_agent(f"{agent_file}:Fxied")
    with pytest.raises(AgentError, match="Mute has no method act"):
        load_agent(f"{agent_file}:Mute")
    with pytest.raises(AgentError, match="has no name"):
        load_agent(f"{agent_file}:Nameless")
    with pytest.raises(AgentError, match="unexpected keyword argument 'speed'"):
        load_agent(f"{agent_file}:Fixed(speed=1)")


def test_plug_ins_are_found_by_their_entry_point(agent_file, monkeypatch):
    monkeypatch.syspath_prepend(str(agent_file.parent))
    point = EntryPoint("their_agent", "mine:Fixed", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINT_GROUP else [])
    assert load_agent("their_agent(level=3)").level == 3
    assert "their_agent" in [entry.name for entry in list_agents()]
    with pytest.raises(AgentError, match="their_agent"):
        load_agent("unknown_agent")


def test_a_policy_folder_without_torch_names_the_extra_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, registry.POLICY_MODULE, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    for name in [name for name in sys.modules if name.startswith("cloudsched_env.rllib")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(AgentError, match=r'needs torch.*pip install "cloudsched-env\[rllib\]"'):
        load_agent(str(tmp_path))


def test_a_folder_that_is_no_policy_is_refused(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(AgentError, match="not the folder of a trained policy"):
        load_agent(str(tmp_path))


def valid_actions(info, batch=2):
    return {
        role: np.zeros((batch, count, len(info.action_levels[role])), dtype=np.int32)
        for role, count in info.role_counts.items()
    }


def test_checked_actions_come_back_as_int64():
    info = equal_nodes()
    assert {array.dtype for array in check_actions(valid_actions(info), info, 2, "mine").values()} == {
        np.dtype(np.int64)
    }


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("storage", lambda a: a[:1], r"'mine', role 'storage': actions have shape \(1, 2, 2\), expected \(2, 2, 2\)"),
        ("compute", lambda a: a.astype(float), "role 'compute': actions are float64, expected integers"),
        ("scheduler", lambda a: a + 5, "sub-action 0 of scheduler_0 is 5, expected 0 to 4"),
        ("compute", lambda a: a - 1, "sub-action 0 of compute_0 is -1, expected 0 to 4"),
    ],
)
def test_wrong_actions_are_reported_with_role_shape_and_range(role, change, message):
    info = equal_nodes()
    actions = valid_actions(info)
    actions[role] = change(actions[role])
    with pytest.raises(AgentError, match=message):
        check_actions(actions, info, 2, "mine")


def test_a_missing_role_is_reported():
    info = equal_nodes()
    actions = valid_actions(info)
    del actions["storage"]
    with pytest.raises(
        AgentError, match=r"roles \['compute', 'storage', 'scheduler'\], got \['compute', 'scheduler'\]"
    ):
        check_actions(actions, info, 2, "mine")


def test_acting_before_reset_says_what_to_do():
    info = equal_nodes()
    with pytest.raises(RuntimeError, match="call reset"):
        load_agent("locality").act(*blank(info))
