"""A policy in a folder: stored without pickle, loaded into any fitting cluster, executed without Ray."""

import dataclasses
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from cloudsched_env.agents.protocol import Agent, ClusterInfo
from cloudsched_env.rllib.networks import (
    ATTENTION,
    CRITIC,
    ROLES,
    NetworkConfig,
    SummaryChannel,
    TrainedAgent,
    build_networks,
    load_policy,
    save_policy,
)
from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.roles.layout import Block, Field, Layout
from tests.rllib.random_observations import cluster, random_observations

CONFIG = NetworkConfig(hidden_sizes=(16,), embedding_size=8, pointer_size=8, context_size=8, last_layer_gain=1.0)
CONFIG = dataclasses.replace(CONFIG, level_preference=0.0, load_aversion=0.0)  # choices depend on weights alone


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def saved(folder, scenario=None, **changes):
    scenario, config = scenario or cluster(), dataclasses.replace(CONFIG, **changes)
    networks = build_networks(scenario, config)
    save_policy(folder, networks, scenario, config, {"algorithm": "hrac", "seed": 3})
    return scenario, config, networks


def info_of(scenario):
    modules = {"compute": compute, "storage": storage, "scheduler": scheduler}
    return ClusterInfo(
        scenario,
        {role: module.layout(scenario) for role, module in modules.items()},
        {role: module.action_levels(scenario) for role, module in modules.items()},
        scenario.role_counts,
    )


def numpy_batch(scenario, batch, seed):
    return tuple({k: v.numpy() for k, v in part.items()} for part in random_observations(scenario, batch, seed))


def play(agent, scenario, seed=5, batch=3, steps=4):
    agent.reset(info_of(scenario), batch, seed)
    return [agent.act(*numpy_batch(scenario, batch, step)) for step in range(steps)]


def same(one, other):
    return all(np.array_equal(a[role], b[role]) for a, b in zip(one, other, strict=True) for role in ROLES)


# -- storing


def test_a_policy_survives_the_round_trip_bit_by_bit(tmp_path):
    scenario, config, networks = saved(tmp_path / "p", execution="role_summary")
    loaded = load_policy(tmp_path / "p")
    assert loaded.scenario == scenario
    assert loaded.config == config
    assert loaded.metadata == {"algorithm": "hrac", "seed": 3}
    assert set(loaded.networks) == set(networks) == {*ROLES, ATTENTION, CRITIC}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(loaded.networks[name].state_dict()[key], value), f"{name}.{key}"
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["policy.json", "weights.safetensors"]


def test_the_critic_may_be_left_out(tmp_path):
    scenario, config = cluster(), CONFIG
    networks = build_networks(scenario, config)
    save_policy(tmp_path, {role: networks[role] for role in ROLES}, scenario, config)
    assert set(load_policy(tmp_path).networks) == set(ROLES)
    with pytest.raises(ValueError, match="storage"):
        save_policy(tmp_path, {"compute": networks["compute"], "scheduler": networks["scheduler"]}, scenario, config)


def test_an_interrupted_save_leaves_the_old_policy_whole(tmp_path, monkeypatch):
    saved(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def break_down(tensors, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    checkpoint = importlib.import_module("cloudsched_env.rllib.networks.checkpoint")
    monkeypatch.setattr(checkpoint, "save_file", break_down)
    with pytest.raises(OSError, match="no space"):
        saved(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_metadata_that_is_not_json_is_refused_before_anything_is_written(tmp_path):
    scenario = cluster()
    with pytest.raises(ValueError, match="JSON"):
        save_policy(tmp_path / "p", build_networks(scenario, CONFIG), scenario, CONFIG, {"when": object()})
    assert not (tmp_path / "p").exists()


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"policy\.json"):
        load_policy(tmp_path)
    saved(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="damaged"):
        load_policy(tmp_path)
    saved(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    (tmp_path / "policy.json").write_text(json.dumps({**description, "format": "cloudsched-policy/99"}))
    with pytest.raises(ValueError, match=r"cloudsched-policy/99.*cloudsched-policy/1"):
        load_policy(tmp_path)
    description["network"]["embedding_size"] = 9
    (tmp_path / "policy.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"weights of 'compute'.*do not fit"):
        load_policy(tmp_path)


def test_a_policy_trained_on_other_fields_is_refused_with_role_and_field(tmp_path, monkeypatch):
    saved(tmp_path)
    fields = (*compute.FIELDS[:3], Field("temperature", "K", 0, 400, "new"), *compute.FIELDS[4:])
    monkeypatch.setattr(compute, "layout", lambda _: Layout("compute", (Block("node", fields),)))
    with pytest.raises(ValueError, match=r"'compute', block 'node', field 3.*temperature \[K\].*running_memory_load"):
        load_policy(tmp_path)


def test_a_policy_with_other_levels_is_refused_with_role_and_action(tmp_path):
    scenario, _, _ = saved(tmp_path)
    other = scenario.override({"storage.serve_weights": [0.5, 1.0, 2.0, 4.0]})
    with pytest.raises(ValueError, match=r"'storage', action 'serve_level'.*4 levels.*3"):
        load_policy(tmp_path, other)


# -- acting


@pytest.mark.parametrize("execution", ["none", "role_summary", "full"])
def test_agent_follows_the_protocol_and_its_seed(tmp_path, execution):
    scenario, _, _ = saved(tmp_path, execution=execution)
    agent = TrainedAgent(tmp_path)
    assert isinstance(agent, Agent)
    assert (agent.name, agent.execution) == ("hrac", execution)
    first = play(agent, scenario)
    for actions in first:
        for role, levels in info_of(scenario).action_levels.items():
            assert actions[role].shape == (3, scenario.role_counts[role], len(levels))
            assert actions[role].dtype == np.int64
            assert (actions[role] >= 0).all()
            assert (actions[role] < levels).all()
    assert same(first, play(agent, scenario))
    assert not same(first, play(agent, scenario, seed=6))


def test_an_agent_acts_in_one_thread_and_leaves_the_number_as_it_was(tmp_path, monkeypatch):
    saved(tmp_path)
    agent, scenario = TrainedAgent(tmp_path), cluster()
    agent.reset(info_of(scenario), 2, 0)
    seen = []
    policy = agent._policies["compute"]
    original = policy.act
    monkeypatch.setattr(policy, "act", lambda *a, **k: (seen.append(torch.get_num_threads()), original(*a, **k))[1])
    torch.set_num_threads(2)
    agent.act(*numpy_batch(scenario, 2, 0))
    assert (seen, torch.get_num_threads()) == ([1], 2)


def test_deterministic_agent_does_not_depend_on_the_seed(tmp_path):
    scenario, _, _ = saved(tmp_path)
    agent = TrainedAgent(tmp_path, deterministic=True, name="greedy")
    assert agent.name == "greedy"
    assert same(play(agent, scenario, seed=1), play(agent, scenario, seed=2))


def test_agent_acts_in_clusters_of_other_sizes(tmp_path):
    saved(tmp_path, execution="role_summary")
    agent = TrainedAgent(tmp_path)
    larger = cluster(compute_nodes=9, storage_nodes=5, schedulers=4, window_slots=5)
    actions = play(agent, larger)[0]
    assert actions["scheduler"].shape == (3, 4, 5)
    assert actions["compute"].shape == (3, 9, 3)


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ({}, True),
        ({"execution": "role_summary"}, False),
        ({"execution": "full"}, False),
        ({"role_map": "shared"}, False),
    ],
)
def test_roles_act_alone_where_none_needs_to_know_of_the_others(tmp_path, changes, alone):
    scenario, _, _ = saved(tmp_path, **changes)
    agent = TrainedAgent(tmp_path, deterministic=True)
    assert agent.acts_role_by_role == alone
    if alone:
        agent.reset(info_of(scenario), 2, 0)
        observations, masks = numpy_batch(scenario, 2, seed=1)
        everything = agent.act(observations, masks)
        for role in ROLES:
            only = agent.act({role: observations[role]}, {role: masks[role]})
            assert set(only) == {role}
            np.testing.assert_array_equal(only[role], everything[role])


def test_acting_before_reset_says_what_to_do(tmp_path):
    scenario, _, _ = saved(tmp_path)
    with pytest.raises(RuntimeError, match="reset"):
        TrainedAgent(tmp_path).act(*numpy_batch(scenario, 1, 0))


@pytest.mark.parametrize(("execution", "listens"), [("none", False), ("role_summary", True), ("full", True)])
def test_what_other_agents_see_matters_only_where_execution_says_so(tmp_path, execution, listens):
    scenario, _, _ = saved(tmp_path, execution=execution)
    agent = TrainedAgent(tmp_path)
    observations, masks = numpy_batch(scenario, 200, 0)
    changed = {**observations, "storage": observations["storage"] * 0}
    chosen = []
    for seen in (observations, changed):
        agent.reset(info_of(scenario), 200, 1)
        chosen.append(agent.act(seen, masks)["compute"])
    assert (chosen[0] != chosen[1]).any() == listens


def test_role_summaries_are_late_and_full_ones_are_not(tmp_path):
    scenario = cluster().override({"telemetry.publish_every_steps": 1, "telemetry.delay_steps": 3})
    observations, masks = numpy_batch(scenario, 200, 0)
    other = {**observations, "storage": observations["storage"] * 0}
    for execution, expected in (("role_summary", [0, 0, 0, 0, 1, 1]), ("full", [0, 1, 1, 1, 1, 1])):
        saved(tmp_path / execution, scenario, execution=execution)
        agent = TrainedAgent(tmp_path / execution, deterministic=True)
        agent.reset(info_of(scenario), 200, 1)
        first = agent.act(observations, masks)["compute"]
        later = [agent.act(other, masks)["compute"] for _ in range(5)]
        assert [int((actions != first).any()) for actions in [first, *later]] == expected


def test_a_trained_agent_needs_no_ray(tmp_path):
    saved(tmp_path)
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from cloudsched_env.rllib.networks import TrainedAgent\n"
        f"assert TrainedAgent({str(tmp_path)!r}).name == 'hrac'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- channel


def numbered(step, batch):
    """Summaries whose content is the step at which they were made."""
    return {role: torch.full((batch, 2), float(step)) for role in ROLES}


def test_channel_publishes_in_intervals_and_delivers_late():
    scenario = cluster().override({"telemetry.publish_every_steps": 4, "telemetry.delay_steps": 2})
    channel = SummaryChannel(scenario)
    channel.reset(2, torch.Generator().manual_seed(0))
    held = []
    for step in range(12):
        views = channel.exchange(numbered(step, 2))
        assert views["scheduler"]["compute"].shape == (2, scenario.role_counts["scheduler"], 2)
        values = {float(v) for view in views.values() for summary in view.values() for v in summary.unique()}
        assert len(values) == 1
        held.append(values.pop())
    assert held == [0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


@pytest.mark.parametrize("burst", [1.0, 4.0])
def test_channel_loses_the_stated_share_in_runs_of_the_stated_length(burst):
    loss = 0.4
    scenario = cluster().override(
        {
            "telemetry.publish_every_steps": 1,
            "telemetry.delay_steps": 0,
            "telemetry.loss_probability": loss,
            "telemetry.loss_burst_length": burst,
        }
    )
    channel = SummaryChannel(scenario)
    channel.reset(60, torch.Generator().manual_seed(0))
    channel.exchange(numbered(0, 60))
    lost = []
    for step in range(1, 300):
        view = channel.exchange(numbered(step, 60))["compute"]
        lost.append(torch.stack([view[role][..., 0] < step for role in ROLES], -1).flatten())
    lost = torch.stack(lost)
    assert float(lost.float().mean()) == pytest.approx(loss, abs=0.02)
    starts = lost[1:] & ~lost[:-1]
    mean_run = float(lost[1:].sum() / starts.sum())
    assert mean_run == pytest.approx(burst if burst > 1 else 1 / (1 - loss), rel=0.05)
    # Links fail independently of each other.
    correlation = np.corrcoef(lost.numpy().T.astype(float)[:40])
    assert np.abs(correlation[~np.eye(40, dtype=bool)]).max() < 0.6
    assert abs(correlation[~np.eye(40, dtype=bool)].mean()) < 0.02


def test_what_a_channel_returned_is_not_changed_later():
    channel = SummaryChannel(cluster().override({"telemetry.publish_every_steps": 1, "telemetry.delay_steps": 0}))
    channel.reset(1, torch.Generator().manual_seed(0))
    first = channel.exchange(numbered(0, 1))
    channel.exchange(numbered(1, 1))
    assert float(first["compute"]["storage"].max()) == 0
