"""`benchmarks/policy_search.py`: what it searches, that the start is measured as it is, and that it goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cloudsched_env.evaluation.protocol import evaluate
from cloudsched_env.scenario import load_scenario
from tests.scripts import BENCHMARKS, load_script

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

SIZE = ["--population", "4", "--windows", "1", "--validation", "2", "--jobs", "1", "--scenario", "tiny-v1"]


@pytest.fixture(scope="module")
def script():
    return load_script("policy_search.py")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "policy"
    from cloudsched_env.rllib.networks import NetworkConfig, build_networks, save_policy

    scenario, config = load_scenario("tiny-v1"), NetworkConfig()
    torch.manual_seed(0)
    save_policy(folder, build_networks(scenario, config), scenario, config, {"deterministic": True})
    return folder


def run(script, *arguments):
    app = typer.Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, [*map(str, arguments), *SIZE])


def test_a_vector_is_the_last_layers_and_nothing_else(script, policy):
    from cloudsched_env.rllib.networks import load_policy

    networks = load_policy(policy).networks
    tensors = script.searched_tensors(networks, ["scheduler", "storage"])
    vector = script.to_vector(tensors)
    other = np.arange(len(vector), dtype=np.float64)
    script.put(other, tensors)
    assert (script.to_vector(tensors) == other).all()
    before = load_policy(policy).networks
    changed = {
        f"{role}.{name}"
        for role in networks
        for name, tensor in networks[role].state_dict().items()
        if not torch.equal(tensor, before[role].state_dict()[name])
    }
    assert changed == {f"{role}.{name}" for role in ("scheduler", "storage") for name in script.SEARCHED[role]}
    assert script.deviations(script.searched_tensors(before, ["scheduler"]), 0.0).max() == 0.0


def test_the_search_keeps_the_best_on_validation_windows_and_goes_on(script, policy, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # the processes that play import the script by its name
    result = run(script, policy, "--out", tmp_path, "--generations", "2", "--roles", "scheduler")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "search_result.json").read_text())
    started = evaluate([str(policy)], "tiny-v1", "validation", 2).agents[0].metrics["team_reward"].mean()
    assert found["curve"][0][1] == pytest.approx(started, rel=1e-9)
    assert found["validation_score"] == max(value for _, value in found["curve"])
    ended = evaluate([str(tmp_path / "policy")], "tiny-v1", "validation", 2).agents[0].metrics["team_reward"].mean()
    assert found["validation_score"] == pytest.approx(ended, rel=1e-6)  # weights are stored as float32
    state = json.loads((tmp_path / "search.json").read_text())
    (tmp_path / "search_result.json").unlink()
    assert run(script, policy, "--out", tmp_path, "--generations", "2", "--roles", "scheduler").exit_code == 0
    assert json.loads((tmp_path / "search_result.json").read_text())["curve"] == found["curve"]
    assert json.loads((tmp_path / "search.json").read_text()) == state


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--roles", "broker"], "broker"),
        (["--roles", "compute", "--rule", "linear_static"], "expected the scheduler among them"),
        (["--rule", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_searched_is_refused(script, policy, tmp_path, options, said):
    result = run(script, policy, "--out", tmp_path, *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_a_rule_can_be_added_and_is_what_is_searched_then(script, policy, tmp_path, monkeypatch):
    from cloudsched_env.agents.linear import LinearParameters
    from cloudsched_env.rllib.networks import load_policy

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    options = ["--rule", "linear_static", "--rule-scale", "2", "--generations", "1", "--roles", "scheduler"]
    result = run(script, policy, "--out", tmp_path, *options)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "search_result.json").read_text())
    assert found["rule"] == "linear_static"
    start = load_policy(tmp_path / "start").networks["scheduler"]
    rule = LinearParameters.packaged("static").as_feedback()
    np.testing.assert_allclose(start.rule.weight[0].tolist(), 2.0 * rule.group("placement"), rtol=1e-6)
    assert found["parameters"] == start.rule.weight.numel() + start.rule_defer.weight.numel()
    own = load_policy(policy).networks["scheduler"].state_dict()
    ended = load_policy(tmp_path / "policy").networks["scheduler"].state_dict()
    assert all(torch.equal(ended[name], value) for name, value in own.items())


def test_the_scale_of_a_rule_is_the_best_on_validation_windows(script, policy, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    scales = [part for scale in ("0", "0.5", "4") for part in ("--rule-scale", scale)]
    result = run(script, policy, "--out", tmp_path, "--rule", "linear_feedback", *scales, "--generations", "0")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "search_result.json").read_text())
    measured = {float(scale): value for scale, value in found["rule_scales"].items()}
    own = evaluate([str(policy)], "tiny-v1", "validation", 2).agents[0].metrics["team_reward"].mean()
    assert measured[0.0] == pytest.approx(own, rel=1e-9)
    assert len(set(measured.values())) == 3
    assert found["rule_scale"] == max(measured, key=measured.get)
    ended = evaluate([str(tmp_path / "policy")], "tiny-v1", "validation", 2).agents[0].metrics["team_reward"].mean()
    assert ended == pytest.approx(max(measured.values()), rel=1e-9)


def test_candidates_that_play_together_get_what_each_gets_alone(script, policy, tmp_path):
    from cloudsched_env.agents.linear import LinearParameters
    from cloudsched_env.rllib.networks import load_policy, save_policy
    from cloudsched_env.rllib.networks.residual import with_rule

    loaded = with_rule(load_policy(policy), LinearParameters.packaged("feedback"), 1.0)
    save_policy(tmp_path, loaded.networks, loaded.scenario, loaded.config, loaded.metadata)
    player = script.Player(str(tmp_path), ("scheduler", "compute", "storage"), "tiny-v1", None, (2, 1))
    start = script.to_vector(script.searched_tensors(loaded.networks, player.roles))
    vectors = start + np.random.default_rng(0).normal(0.0, 0.5, (3, len(start)))
    together = player.play(vectors, [1, 0], seed=5)
    alone = np.concatenate([player.play(vector[None], [1, 0], seed=5) for vector in vectors])
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    assert together.shape == (3, 2)
    assert len(np.unique(together.round(9))) == 6, "candidates that all do the same show nothing"
