"""What roles attend to, recorded over an episode and drawn."""

import dataclasses

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cloudsched_env.cli.attention import app
from cloudsched_env.rllib.attention_record import AttentionRecord, draw_attention, record_attention
from cloudsched_env.rllib.networks import CRITIC, NetworkConfig, TrainedAgent, build_networks, save_policy
from cloudsched_env.workload import RawTasks
from tests.rllib.toy_env import HORIZON, ToyVectorEnv
from tests.workload.streams import stream

CONFIG = NetworkConfig(hidden_sizes=(16,), embedding_size=8, pointer_size=8, context_size=8)
ROLES = ("compute", "storage", "scheduler")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def saved(folder, **changes):
    env = ToyVectorEnv(3)
    config = dataclasses.replace(CONFIG, **changes)
    networks = build_networks(env.scenario, config)
    save_policy(folder, networks, env.scenario, config, {})
    return env, networks, TrainedAgent(folder)


@pytest.mark.parametrize("execution", ["role_summary", "full"])
def test_the_policies_weights_of_an_episode_are_distributions_over_roles(tmp_path, execution):
    env, _, agent = saved(tmp_path, execution=execution)
    record = record_attention(env, agent)
    assert record.roles == ROLES
    assert record.weights.shape == (HORIZON, 3, 3)
    np.testing.assert_allclose(record.weights.sum(-1), 1, atol=1e-5)
    assert ((record.entropy > 0) & (record.entropy <= 1 + 1e-6)).all()
    again = record_attention(env, agent)
    np.testing.assert_array_equal(record.weights, again.weights)


def test_a_critic_that_is_made_to_look_at_storage_is_recorded_so(tmp_path):
    env, networks, agent = saved(tmp_path, attention_heads=1, count_bias=True, attention_top_k=1)
    critic = networks[CRITIC]
    with torch.no_grad():  # queries and keys such that storage is always the most similar
        for role in ROLES:
            critic.attention.query[role].weight.zero_()
            critic.attention.query[role].bias.fill_(1.0)
            critic.attention.key[role].weight.fill_(1.0 if role == "storage" else 0.0)
            critic.attention.summarise[role].weight.zero_()
            critic.attention.summarise[role].bias.fill_(1.0)
    record = record_attention(env, agent, critic)
    np.testing.assert_allclose(record.weights[:, :, 1], 1)
    np.testing.assert_allclose(record.entropy, 0, atol=1e-6)


def test_policies_without_attention_say_where_it_is(tmp_path):
    env, _, agent = saved(tmp_path)
    with pytest.raises(ValueError, match="folder of the run"):
        record_attention(env, agent)
    critic = build_networks(env.scenario, dataclasses.replace(CONFIG, similarity="off"))[CRITIC]
    with pytest.raises(ValueError, match="attends to nothing"):
        record_attention(env, agent, critic)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_record_is_drawn(tmp_path, ending):
    pytest.importorskip("matplotlib")
    weights = np.full((20, 3, 3), 1 / 3)
    record = AttentionRecord(ROLES, weights, np.ones((20, 3)), 0.1)
    draw_attention(record, tmp_path / "deep" / f"a.{ending}", "title")
    content = (tmp_path / "deep" / f"a.{ending}").read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_the_command_draws_a_policys_attention_and_refuses_what_has_none(tmp_path):
    pytest.importorskip("matplotlib")
    saved(tmp_path / "with", execution="full")
    saved(tmp_path / "without")
    done = CliRunner().invoke(app, [str(tmp_path / "with"), "--out", str(tmp_path / "a.png"), "--clusters", "2"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert "scheduler: compute" in done.output
    refused = CliRunner().invoke(app, [str(tmp_path / "without"), "--out", str(tmp_path / "b.png")])
    assert refused.exit_code == 2
    assert not (tmp_path / "b.png").exists()


def test_the_command_draws_windows_of_a_trace_if_one_is_named(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from cloudsched_env.rllib import attention_record

    saved(tmp_path / "policy", execution="full")
    (tmp_path / "trace.parquet").write_text("stands for a table")
    seen = []

    def recorded(env, *arguments, **options):
        record = record_attention(env, *arguments, **options)
        seen.append((env.source.split, {episode.data_tag for episode in env.episodes}))
        return record

    monkeypatch.setattr(attention_record, "record_attention", recorded)
    command = [str(tmp_path / "policy"), "--out", str(tmp_path / "a.png"), "--clusters", "2"]
    on_trace = [*command, "--trace", str(tmp_path / "trace.parquet")]
    monkeypatch.setattr(RawTasks, "from_file", lambda path: stream())
    for arguments in (command, on_trace, [*on_trace, "--split", "test"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert seen == [("validation", {"generated"}), ("validation", {"excerpt"}), ("test", {"excerpt"})]
    monkeypatch.setattr(RawTasks, "from_file", lambda path: stream(hours=0.01))
    short = CliRunner().invoke(app, on_trace)
    assert short.exit_code == 2
    assert "import a longer trace" in short.output
    assert "Traceback" not in short.output
