"""`benchmarks/role_exchange.py`: which teams are played, what is kept, and that the search finds the best exchange."""

import itertools
import json

import numpy as np
import pytest

pytest.importorskip("ray")  # the comparison's machinery, which the script shares

import typer
from typer.testing import CliRunner

from tests.scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("role_exchange.py")


def run(script, *arguments):
    app = typer.Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, [*map(str, arguments), "--scenario", "tiny-v1", "--windows", "2"])


def said_by(result):
    return " ".join(result.output.replace("│", " ").split())


def test_each_policy_plays_whole_with_one_role_and_without_one(script):
    assert script.exchanges("a", "p") == {
        "all its own": ("a", "a", "a"),
        "its scheduler": ("a", "p", "p"),
        "its compute": ("p", "a", "p"),
        "its storage": ("p", "p", "a"),
        "all but its scheduler": ("p", "a", "a"),
        "all but its compute": ("a", "p", "a"),
        "all but its storage": ("a", "a", "p"),
    }


def test_a_team_is_what_evaluate_makes_of_the_same_agents(script, tmp_path):
    from cloudsched_env.evaluation.protocol import evaluate

    file = tmp_path / "kept.json"
    result = run(script, "b=balanced", "--partner", "random", "--team", "b,random,b", "--json", file)
    assert result.exit_code == 0, result.output
    kept = json.loads(file.read_text())
    mixed = 'mixed(scheduler="balanced",compute="random",storage="balanced")'
    expected = evaluate([mixed], "tiny-v1", episodes=2, split="validation", seed=0).agents[0].metrics["team_reward"]
    assert kept["team_reward"]["scheduler=balanced compute=random storage=balanced"] == pytest.approx(expected)
    assert len(kept["team_reward"]) == 2  # the team, and the partner that it is compared with


def test_what_was_played_is_not_played_again(script, tmp_path, monkeypatch):
    file = tmp_path / "kept.json"
    assert run(script, "b=balanced", "--partner", "random", "--json", file).exit_code == 0
    before = file.read_bytes()
    assert len(json.loads(before)["team_reward"]) == 7
    monkeypatch.setattr(script.Windows, "play", lambda *_: pytest.fail("played again"))
    again = run(script, "b=balanced", "--partner", "random", "--json", file)
    assert again.exit_code == 0, again.output
    assert file.read_bytes() == before
    other = run(script, "b=balanced", "--split", "test", "--json", file)
    assert other.exit_code == 2
    assert "windows.split is 'test' now, but was 'validation'" in said_by(other)


def test_a_file_says_of_all_runs_what_they_were(script, tmp_path, monkeypatch):
    file = tmp_path / "kept.json"
    for agent in ("balanced", "least_allocated"):
        monkeypatch.setattr(script, "portable_command", lambda _, agent=agent: f"role_exchange.py b={agent}")
        result = run(script, f"b={agent}", "--partner", "random", "--team", "b,b,b", "--json", file)
        assert result.exit_code == 0, result.output
    kept = json.loads(file.read_text())
    assert kept["agents"] == {"b": ["balanced", "least_allocated"], "random": ["random"]}
    assert kept["commands"] == ["role_exchange.py b=balanced", "role_exchange.py b=least_allocated"]
    assert len(kept["team_reward"]) == 3


class Known:
    """Rewards of all teams, given."""

    def __init__(self, reward):
        self.reward, self.played = reward, []

    def play(self, team):
        self.played.append(team)
        return np.array([self.reward(team)])


def test_the_search_finds_the_best_team_where_roles_add_up(script):
    worth = {("a", 0): 3.0, ("b", 1): 2.0, ("a", 2): 0.5, ("b", 2): 1.0}
    known = Known(lambda team: sum(worth.get((name, place), 0.0) for place, name in enumerate(team)))
    assert script.search(known, ["p", "a", "b"], ("p", "p", "p")) == ("a", "b", "b")


def test_the_search_ends_where_no_single_exchange_is_better(script):
    """Roles that only fit together: the search may miss the best team, but not a better neighbour."""
    rng = np.random.default_rng(3)
    table = {team: rng.random() for team in itertools.product("pab", repeat=3)}
    found = script.search(Known(table.__getitem__), ["p", "a", "b"], ("p", "p", "p"))
    neighbours = [(*found[:i], name, *found[i + 1 :]) for i in range(3) for name in "pab"]
    assert table[found] == max(table[team] for team in neighbours)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["balanced"], "NAME=AGENT"),
        (["a=balanced", "a=random"], "NAME=AGENT"),
        (["a=balanced", "--team", "a,b,a"], "expected three of linear_feedback, a"),
        (["a=balanced", "--split", "all"], "train, validation or test"),
    ],
)
def test_mistakes_are_told_before_anything_is_played(script, monkeypatch, arguments, said):
    monkeypatch.setattr(script.Windows, "play", lambda *_: pytest.fail("played"))
    result = run(script, *arguments)
    assert result.exit_code == 2
    assert said in said_by(result)


def saved_policy(folder, seed, **changes):
    import torch

    from cloudsched_env.rllib.networks import CRITIC, NetworkConfig, build_networks, save_policy
    from cloudsched_env.scenario import load_scenario

    torch.manual_seed(seed)
    scenario, config = load_scenario("tiny-v1"), NetworkConfig(last_layer_gain=1.0, **changes)
    networks = {name: net for name, net in build_networks(scenario, config).items() if name != CRITIC}
    save_policy(folder, networks, scenario, config, {"seed": seed, "deterministic": True})
    return folder


def test_a_team_of_policies_is_saved_as_one_that_acts_alike(script, tmp_path):
    from pathlib import Path

    one, two = (saved_policy(tmp_path / name, seed) for seed, name in enumerate("ab"))
    arguments = [f"a={one}", f"b={two}", "--partner", "random", "--team", "b,a,a", "--json", tmp_path / "kept.json"]
    result = run(script, *arguments, "--save", tmp_path / "team")
    assert result.exit_code == 0, result.output
    windows = script.Windows("tiny-v1", None, "generated", "validation", 2)
    kept = json.loads((tmp_path / "kept.json").read_text())["team_reward"]
    (rewards,) = (values for name, values in kept.items() if name != "scheduler=random compute=random storage=random")
    assert windows.play(str(tmp_path / "team")).metrics["team_reward"] == pytest.approx(rewards)
    assert rewards != pytest.approx(windows.play(str(one)).metrics["team_reward"])
    metadata = json.loads((Path(tmp_path) / "team" / "policy.json").read_text())["metadata"]
    assert {role: member["seed"] for role, member in metadata["members"].items()} == {
        "scheduler": 1,
        "compute": 0,
        "storage": 0,
    }


def test_only_policies_with_the_same_networks_make_one(script, tmp_path):
    one, two = saved_policy(tmp_path / "a", 0), saved_policy(tmp_path / "b", 1, pointer_size=8)
    teams = {"b,a,a": "pointer_size", "random,a,a": "random holds no trained policy"}
    for team, said in teams.items():
        result = run(script, f"a={one}", f"b={two}", "--partner", "random", "--team", team, "--save", tmp_path / "team")
        assert result.exit_code == 2
        assert said in said_by(result)
        assert not (tmp_path / "team").exists()
