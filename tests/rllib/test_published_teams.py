"""`baselines/hrac_lgrs+team*`: configurations and curves are those of the policies that lie beside them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")
pytest.importorskip("yaml")

import yaml

from cloudsched_env.agents.identity import policy_digest
from cloudsched_env.rllib.config_files import load_experiment

BASELINES = Path(__file__).parents[2] / "baselines"
TEAM, RULE = BASELINES / "hrac_lgrs+team", BASELINES / "hrac_lgrs+team+rule"


def description(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())[folder.name]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def members():
    return json.loads((TEAM / "policy" / "policy.json").read_text())["metadata"]["members"]


@pytest.mark.parametrize("role", ["scheduler", "compute", "storage"])
def test_each_role_has_the_policy_configuration_and_curve_of_its_training(role):
    named, member = description(TEAM)["roles"][role], members()[role]
    assert named["identity"] == member["identity"] == policy_digest(TEAM / named["policy"])
    settings = load_experiment(TEAM / named["config"]).config.settings.to_dict()
    trained = {name: value for name, value in member["settings"].items() if name not in ("scenario", "trace")}
    trained["warm_start"] = {**trained["warm_start"], "trajectories": None}
    assert trained["networks"] == {}  # the defaults, which the settings spell out
    trained.pop("networks")
    assert _known(json.loads(json.dumps(settings)), trained) == trained
    validations = {int(row["epoch"]): float(row["validation/team_reward"]) for row in rows(TEAM / named["curve"])}
    assert validations[member["epoch"]] == pytest.approx(member["validation_score"], abs=1e-9)
    assert max(validations.values()) == validations[member["epoch"]]


def _known(values, like):
    """Values of the settings that were there when it was trained."""
    return {
        name: _known(values[name], value) if isinstance(value, dict) and value else values[name]
        for name, value in like.items()
    }


def test_the_search_is_that_of_the_results_and_ends_at_the_team():
    search = description(TEAM)["search"]
    results = json.loads((TEAM / search["results"]).read_text())
    assert (results["key"]["split"], results["key"]["episodes"]) == (search["split"], search["windows"])
    played = rows(TEAM / search["curve"])
    rewards = [np.mean(values) for values in results["team_reward"].values()]
    assert [float(row["validation/team_reward"]) for row in played] == pytest.approx(rewards, abs=1e-9)
    best = max(played, key=lambda row: float(row["validation/team_reward"]))
    named = description(TEAM)["roles"]
    roles = {role: named[role]["policy"].removeprefix("../").removesuffix("/policy") for role in named}
    assert {role: best[role] for role in roles} == roles


def test_the_rule_beside_the_scheduler_is_the_best_of_its_scales():
    found = description(RULE)
    policy = json.loads((RULE / "policy" / "policy.json").read_text())
    assert policy["network"]["rule_features"] is found["networks.rule_features"]
    assert policy["metadata"]["search"]["rule_scale"] == found["rule_scale"]
    assert policy_digest(RULE / found["begun_from"]["policy"]) == found["begun_from"]["identity"]
    results = json.loads((RULE / found["search"]["results"]).read_text())
    assert results["begun_from"] == found["begun_from"]["identity"]
    curve = {float(row["rule_scale"]): float(row["validation/team_reward"]) for row in rows(RULE / "curve.csv")}
    assert {s: curve[s] for s in curve if s} == pytest.approx({float(s): v for s, v in results["rule_scales"].items()})
    assert max(curve, key=curve.get) == found["rule_scale"]
    assert [s for s in curve if s] == found["search"]["rule_scales"]
