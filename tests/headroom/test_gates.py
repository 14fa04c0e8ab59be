from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloudsched_env.headroom.gates import compute_gates, span_of
from cloudsched_env.headroom.span import ratio_interval

Change = Callable[[dict[str, Any]], None]


def good() -> dict[str, Any]:
    """Results with which every gate passes: the span is 0.5, feedback is 10 % of it above static."""

    def rewards(value: float) -> list[float]:
        return [value - 0.01, value, value + 0.01]

    def role(constant: float, at_random: float) -> dict[str, Any]:
        return {
            "best_constant": "best constant",
            "team_reward": {"best constant": rewards(constant), "random": rewards(at_random)},
        }

    def variant(simple: float, **tuned: float) -> dict[str, Any]:
        return {"team_reward": {"simple": rewards(simple), **{name: rewards(value) for name, value in tuned.items()}}}

    return {
        "heuristics": {
            "metrics": {"random": {"team_reward": rewards(0.4), "useful_utilisation": [0.5, 0.6, 0.55]}},
            "bound": {"team_reward": rewards(0.9), "useful_utilisation": [0.9, 0.95, 0.92]},
        },
        "static": {"metrics": {"team_reward": rewards(0.7)}},
        "feedback": {"metrics": {"team_reward": rewards(0.75)}},
        "knockout": {
            "feedback": rewards(0.75),
            "roles": {
                "scheduler": role(0.72, 0.6),
                "compute": role(0.73, 0.7),
                "storage": role(0.72, 0.69),
            },
        },
        "couplings": {
            "variants": {
                "all on": variant(0.6, static=0.7, feedback=0.75),
                "all off": variant(0.8, static=0.82, feedback=0.81, retuned=0.85),
            }
        },
        "local_rewards": {
            "correlation": {"all": {"step": [0.5, 0.6, 0.4], "second": [0.45, 0.55, 0.5]}},
            "turns": [{"team_reward": rewards(0.75)}, {"team_reward": rewards(0.70)}],
        },
    }


def shift(stage: str, *path: str | int, by: float) -> Change:
    """A change of one list of numbers."""

    def change(results: dict[str, Any]) -> None:
        place: Any = results[stage]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = [value + by for value in place[path[-1]]]

    return change


def test_good_results_pass_every_gate():
    gates = compute_gates(good(), seed=0)
    assert len(gates) == 13
    assert {gate.name: gate.passed for gate in gates if not gate.passed} == {}
    values = {gate.name: gate.value for gate in gates}
    assert values["random is bad"] == pytest.approx(1.65 / 2.77)
    assert values["feedback pays"] == pytest.approx(0.05 / 0.5)
    assert values["room is left"] == pytest.approx(0.15 / 0.5)
    assert values["scheduler adapts"] == pytest.approx(0.03 / 0.5)
    assert values["compute matters"] == pytest.approx(0.05 / 0.5)
    # The best tuned policy is 0.15 above the simple one, 0.05 with all couplings off.
    assert values["couplings make it"] == pytest.approx(1 - 0.05 / 0.15)
    assert values["selfishness costs"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("random is bad", shift("heuristics", "metrics", "random", "useful_utilisation", by=0.12)),
        ("feedback pays", shift("static", "metrics", "team_reward", by=0.015)),
        ("scheduler adapts", shift("knockout", "roles", "scheduler", "team_reward", "best constant", by=0.016)),
        ("compute adapts", shift("knockout", "roles", "compute", "team_reward", "best constant", by=0.006)),
        ("storage adapts", shift("knockout", "roles", "storage", "team_reward", "best constant", by=0.016)),
        ("scheduler matters", shift("knockout", "roles", "scheduler", "team_reward", "random", by=0.115)),
        ("compute matters", shift("knockout", "roles", "compute", "team_reward", "random", by=0.015)),
        ("storage matters", shift("knockout", "roles", "storage", "team_reward", "random", by=0.025)),
        ("couplings make it", shift("couplings", "variants", "all off", "team_reward", "retuned", by=0.03)),
        ("local rewards guide (step)", shift("local_rewards", "correlation", "all", "step", by=0.25)),
        ("local rewards guide (step)", shift("local_rewards", "correlation", "all", "step", by=-0.25)),
        ("local rewards guide (second)", shift("local_rewards", "correlation", "all", "second", by=0.25)),
        ("selfishness costs", shift("local_rewards", "turns", 1, "team_reward", by=0.05)),
    ],
)
def test_each_gate_fails_alone(gate: str, change: Change):
    results = good()
    change(results)
    assert [g.name for g in compute_gates(results, seed=0) if not g.passed] == [gate]


def test_a_policy_at_the_bound_leaves_no_room():
    results = good()
    results["feedback"]["metrics"]["team_reward"] = list(results["heuristics"]["bound"]["team_reward"])
    assert [g.name for g in compute_gates(results, seed=0) if not g.passed] == ["room is left"]


def test_couplings_cannot_make_a_gap_that_does_not_exist():
    results = good()
    results["couplings"]["variants"]["all on"]["team_reward"]["simple"] = [0.76, 0.77, 0.78]
    failed = {g.name: g.value for g in compute_gates(results, seed=0) if not g.passed}
    assert list(failed) == ["couplings make it"]
    assert np.isnan(failed["couplings make it"])


def test_tuning_that_fails_with_couplings_off_shows_nothing():
    results = good()
    off = results["couplings"]["variants"]["all off"]["team_reward"]
    for policy in ("static", "feedback", "retuned"):
        off[policy] = [0.69, 0.70, 0.71]  # 0.1 below the simple policy; with couplings on it is 0.15 below
    failed = {g.name: g.value for g in compute_gates(results, seed=0) if not g.passed}
    assert failed == {"couplings make it": pytest.approx(1 + 0.1 / 0.15)}


def test_selfishness_that_costs_only_on_average_is_not_shown():
    results = good()
    results["local_rewards"]["turns"][1]["team_reward"] = [0.74 - 0.3, 0.75 + 0.1, 0.76 + 0.1]
    gate = {g.name: g for g in compute_gates(results, seed=0)}["selfishness costs"]
    assert gate.value > 0
    assert not gate.passed


def test_gates_whose_stages_have_not_run_are_left_out():
    results = good()
    assert compute_gates({}, seed=0) == []
    only = {"heuristics": results["heuristics"], "knockout": results["knockout"]}
    assert {g.name.split()[-1] for g in compute_gates(only, seed=0)} == {"bad", "adapts", "matters"}


def test_a_missing_correlation_is_left_out_and_none_at_all_fails():
    results = good()
    results["local_rewards"]["correlation"]["all"]["step"] = [None, 0.5, None]
    gate = {g.name: g for g in compute_gates(results, seed=0)}["local rewards guide (step)"]
    assert gate.value == 0.5
    results["local_rewards"]["correlation"]["all"]["step"] = [None, None, None]
    gate = {g.name: g for g in compute_gates(results, seed=0)}["local rewards guide (step)"]
    assert not gate.passed
    assert gate.to_dict()["value"] is None


def test_the_interval_of_a_ratio_comes_from_windows_taken_together():
    width = np.array([0.2, 0.5, 1.0, 0.4])
    exact = ratio_interval(0.1 * width, width, seed=0)
    assert (exact.estimate, exact.low, exact.high) == pytest.approx((0.1, 0.1, 0.1))
    values = np.array([0.02, 0.07, 0.05, 0.06])
    interval = ratio_interval(values, width, seed=0)
    assert interval.estimate == pytest.approx(0.2 / 2.1)
    assert interval.low < interval.estimate < interval.high
    with pytest.raises(ValueError, match="the same windows"):
        ratio_interval(values, width[:3], seed=0)


def test_the_span_goes_from_the_random_agent_to_the_bound():
    results = copy.deepcopy(good())
    span = span_of(results, seed=0)
    assert span.score(results["heuristics"]["metrics"]["random"]["team_reward"]).estimate == 0
    assert span.score(results["heuristics"]["bound"]["team_reward"]).estimate == pytest.approx(1)
    assert span.loss([0.8, 0.8, 0.8], [0.7, 0.7, 0.7]).estimate == pytest.approx(0.2)
