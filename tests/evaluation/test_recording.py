"""`cloudsched record`: what is on disk is what the agents saw and did, whole or absent."""

import errno
import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.cli.record import app
from cloudsched_env.evaluation import recording
from cloudsched_env.evaluation.recording import record
from cloudsched_env.evaluation.trajectories import TrajectoryError, load_trajectories
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.source import make_source

SHORT = {"time.horizon_steps": 40}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectories")
    description = record(
        ["linear_feedback", "random"], folder, "tiny-v1", episodes=5, seed=3, overrides=SHORT, batch_size=2
    )
    return folder, description


def test_playing_the_recorded_actions_shows_the_recorded_observations_and_rewards(recorded):
    folder, _ = recorded
    scenario = load_scenario("tiny-v1", SHORT)
    part = load_trajectories(folder, scenario)[1]
    assert (part.agent, part.shape) == ("linear_feedback", (40, 2))
    episodes = make_source(scenario, "train").evaluation_episodes(4, 3)[2:]
    env = CloudSchedVectorEnv(scenario, 2)
    env.reset([5, 6], episodes=episodes)
    for step in range(40):
        np.testing.assert_array_equal(part.states[step], env.state)
        for role, columns in part.roles.items():
            np.testing.assert_array_equal(columns["observations"][step], env.observations[role])
            np.testing.assert_array_equal(columns["masks"][step], env.masks[role])
        env.step({role: columns["actions"][step] for role, columns in part.roles.items()})
        np.testing.assert_array_equal(part.team_rewards[step], env.team_reward)
        for role, columns in part.roles.items():
            np.testing.assert_array_equal(columns["local_rewards"][step], env.local_rewards[role])
    np.testing.assert_array_equal(part.states[40], env.state)


def test_the_recorded_agent_is_the_one_that_was_asked_for(recorded):
    folder, _ = recorded
    scenario = load_scenario("tiny-v1", SHORT)
    part = load_trajectories(folder, scenario)[0]
    agent, env = load_agent("linear_feedback"), CloudSchedVectorEnv(scenario, 2)
    agent.reset(ClusterInfo(scenario, env.layouts, env.action_levels, env.role_counts), 2, 3)
    for step in range(40):
        chosen = agent.act(
            {role: columns["observations"][step] for role, columns in part.roles.items()},
            {role: columns["masks"][step] for role, columns in part.roles.items()},
        )
        for role, actions in chosen.items():
            np.testing.assert_array_equal(actions, part.roles[role]["actions"][step])


def test_the_description_says_what_is_needed_to_repeat_it(recorded):
    folder, description = recorded
    assert json.loads((folder / "trajectories.json").read_text()) == description
    assert description["source"] == {
        "split": "train",
        "data_tag": "generated",
        "trace": None,
        "name": "generated:google2011",
    }
    assert description["scenario"]["time"]["horizon_steps"] == 40
    assert [(r["agent"], len(r["parts"])) for r in description["recordings"]] == [("linear_feedback", 3), ("random", 3)]
    places = [e["place"] for part in description["recordings"][0]["parts"] for e in part["episodes"]]
    assert len(places) == 5
    assert places == sorted(set(places))
    assert description["versions"]["pyarrow"]


def test_a_row_is_an_agent_in_a_step_and_masks_are_bits(recorded):
    folder, description = recorded
    table = pq.read_table(folder / description["recordings"][0]["parts"][0]["folder"] / "compute.parquet")
    assert table.num_rows == 2 * 40 * 2
    assert table.column_names == ["episode", "step", "agent", "observation", "mask", "action", "local_reward"]
    assert table.slice(79, 2).select(["episode", "step", "agent"]).to_pylist() == [
        {"episode": 0, "step": 39, "agent": 1},
        {"episode": 1, "step": 0, "agent": 0},
    ]
    assert table.schema.field("mask").type.byte_width == 2  # 14 levels


def test_recording_goes_on_where_it_ended_and_takes_more_agents_and_episodes(tmp_path, monkeypatch):
    played = []
    original = recording._play

    def counting(agent, env, *rest):
        played.append((agent.name, env.num_envs))
        if len(played) == 2:
            raise KeyboardInterrupt
        return original(agent, env, *rest)

    monkeypatch.setattr(recording, "_play", counting)
    arguments = {"scenario": "tiny-v1", "overrides": SHORT, "batch_size": 2}
    with pytest.raises(KeyboardInterrupt):
        record(["random"], tmp_path, episodes=3, **arguments)
    assert len(load_trajectories(tmp_path, load_scenario("tiny-v1", SHORT))) == 1
    record(["random"], tmp_path, episodes=3, **arguments)
    record(["random", "locality"], tmp_path, episodes=4, **arguments)
    assert played == [("random", 2), ("random", 1), ("random", 1), ("random", 2), ("locality", 2), ("locality", 2)]
    description = record(["random"], tmp_path, episodes=1, **arguments)  # fewer: what is there stays
    assert [len(r["parts"]) for r in description["recordings"]] == [2, 2]
    assert [part.shape for part in load_trajectories(tmp_path, load_scenario("tiny-v1", SHORT))] == [(40, 2)] * 4


def test_a_full_disk_leaves_the_parts_before_it_and_nothing_half(tmp_path, monkeypatch):
    arguments = {"scenario": "tiny-v1", "overrides": SHORT, "batch_size": 2}
    record(["random"], tmp_path, episodes=2, **arguments)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    synchronise, calls = os.fsync, []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    result = CliRunner().invoke(
        app,
        [
            "random",
            "--scenario",
            "tiny-v1",
            "--override",
            "time.horizon_steps=40",
            "--episodes",
            "4",
            "--batch-size",
            "2",
            "--out",
            str(tmp_path),
        ],
        env={"COLUMNS": "300"},
    )
    assert result.exit_code == 1
    assert "No space left on device" in result.output
    assert "repeat the command" in result.output
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert len(load_trajectories(tmp_path, load_scenario("tiny-v1", SHORT))) == 1


def test_a_folder_of_another_recording_is_not_mixed(recorded):
    folder, _ = recorded
    with pytest.raises(TrajectoryError, match=r"scenario\.time\.horizon_steps is 50 now, but was 40"):
        record(["random"], folder, "tiny-v1", 5, 3, overrides={"time.horizon_steps": 50}, batch_size=2)
    with pytest.raises(TrajectoryError, match="seed is 4 now, but was 3"):
        record(["random"], folder, "tiny-v1", 5, 4, overrides=SHORT, batch_size=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduling.window_slots": 3}, r"role 'scheduler', block 'slots': length of axes"),
        ({"cluster.storage_nodes": 3}, r"(role 'storage': agents|'scheduler', block 'storage': length of axes)"),
        ({"observation.engine_metrics": True}, r"role 'compute', block 'node': number of fields is 31 now, but was 26"),
        ({"storage.serve_weights": [0.5, 1.0]}, r"role 'storage': action_levels is \[5, 2\]"),
    ],
)
def test_trajectories_of_another_cluster_are_refused_by_role_and_field(recorded, changes, message):
    if "storage.serve_weights" in changes:
        levels = len(load_scenario("tiny-v1").storage.background_shares)
        message = message.replace("5", str(levels))
    with pytest.raises(TrajectoryError, match=message):
        load_trajectories(recorded[0], load_scenario("tiny-v1", {**SHORT, **changes}))


def test_other_dynamics_with_the_same_observations_are_accepted(recorded):
    scenario = load_scenario("tiny-v1", {**SHORT, "telemetry.loss_probability": 0.5})
    assert len(load_trajectories(recorded[0], scenario)) == 6


def test_absent_and_damaged_folders_are_named(tmp_path):
    scenario = load_scenario("tiny-v1", SHORT)
    with pytest.raises(TrajectoryError, match="cloudsched record"):
        load_trajectories(tmp_path, scenario)
    description = record(["random"], tmp_path, "tiny-v1", 1, overrides=SHORT)
    path = tmp_path / description["recordings"][0]["parts"][0]["folder"] / "compute.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(TrajectoryError, match=r"part_0000 are damaged"):
        load_trajectories(tmp_path, scenario)


def test_mistakes_on_the_command_line_end_with_one_clear_line(tmp_path):
    result = CliRunner().invoke(app, ["no_such_agent", "--out", str(tmp_path)], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "no_such_agent" in result.output
    assert "Traceback" not in result.output
