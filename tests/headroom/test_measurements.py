from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.linear import LinearParameters, linear_agent
from cloudsched_env.agents.linear.parameters import Kind
from cloudsched_env.agents.mixed import MixedAgent
from cloudsched_env.headroom import couplings
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.by_type import make_by_type, pick_by_type
from cloudsched_env.headroom.couplings import switch_off, switches
from cloudsched_env.headroom.families import (
    best_constants,
    block,
    constant_pairs,
    deviations,
    make_linear,
    packaged,
    pick_constants,
    pick_nodes_on,
    with_constants,
    with_nodes_on,
)
from cloudsched_env.headroom.joint import SLEEP_LOADS, Combination, best_joint_heuristic, grid, halving, measure
from cloudsched_env.headroom.knockout import replaced
from cloudsched_env.headroom.local_rewards import RewardTrace, episode_correlations
from cloudsched_env.headroom.play import team_reward
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.scenario import load_scenario

SCENARIO = load_scenario(
    "tiny-v1",
    {
        "time.warmup_steps": 5,
        "time.horizon_steps": 60,
        "compute.decision_interval_steps": 1,
        "storage.decision_interval_steps": 1,
        "workload.cpu_load": 1.2,
        "purge.shares": (0.0, 0.12),
    },
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(SCENARIO, None, 0, 2) as made:
        yield made


def rewards(bench: Bench, *specs: str, windows: int = 2) -> np.ndarray:
    return bench.rewards("test", [lambda s=spec: load_agent(s) for spec in specs], "validation", windows)


@pytest.mark.parametrize(
    "combination",
    [
        Combination("locality", (0, 3, 1), (4, 2)),
        Combination("locality", None, (4, 2)),
        Combination("locality", (0, 3, 0), None),
        Combination("locality", None, None),
    ],
)
def test_the_grid_plays_a_combination_as_its_name_does(bench: Bench, combination: Combination):
    # Other combinations share the batch: they must not rub off.
    others = [Combination("locality", (4, 0, 0), (0, 0)), Combination("balanced", None, None)]
    played = measure(bench, [others[0], combination, others[1]], 2)
    alone = rewards(bench, combination.spec)
    # Ties between equal nodes are broken at random, row by row, so that rare placements may differ.
    assert played[1] == pytest.approx(alone[0], abs=0.02)
    assert abs(played[0] - alone[0]).max() > 0.02


def test_the_grid_holds_every_pair_of_levels_and_reactive_knobs(bench: Bench):
    points = grid(bench, ("locality", "random"))
    levels = SCENARIO.compute
    compute = len(levels.cache_fractions) * len(levels.memory_overcommit) * len(SCENARIO.purge.shares) + 1
    storage = len(SCENARIO.storage.background_shares) * len(SCENARIO.storage.serve_weights) + 1
    assert len(points) == len(set(points)) == 2 * compute * storage
    assert len({point.spec for point in points}) == len(points)


def test_halving_ends_with_the_best_of_those_that_played_all_windows(bench: Bench):
    points = [p for p in grid(bench, ("locality",)) if p.storage == (2, 1)]
    winner, rounds = halving(bench, points, first_windows=1, windows=4, reduction=3)
    assert [r["windows"] for r in rounds] == [1, 2, 4]
    assert [r["combinations"] for r in rounds] == [40 + 1, 14, 5]
    assert rounds[-1]["leaders"][0] == winner.spec
    on_all = measure(bench, points, 4).mean(axis=1)
    assert on_all[points.index(winner)] >= np.sort(on_all)[-5] - 0.01
    assert on_all[points.index(winner)] > np.median(on_all)


def test_constant_knobs_are_played_as_levels_whatever_the_state(bench: Bench):
    policy = LinearParameters.packaged("static").as_feedback()
    wild = {**policy.weights, "cache_level": dict.fromkeys(policy.weights["cache_level"], 2.0)}
    policy = LinearParameters("feedback", wild, "test")
    fixed = with_constants(
        policy, {"cache_level": 1, "admission_level": 3, "purge_level": 0, "background_level": 4, "serve_level": 0}
    )
    spec = "linear_feedback+static(cache_level=1,admission_level=3,purge_level=0,background_level=4,serve_level=0)"
    packaged = load_agent(spec)
    packaged.placement = linear_agent("x", policy).placement
    played = bench.rewards("t", [make_linear("x", fixed), lambda: packaged], "validation", 2)
    np.testing.assert_array_equal(played[0], played[1])
    assert policy.weights["cache_level"]["bias"] == 2.0, "the policy itself must not change"


def test_the_best_constant_is_the_best_of_all_pairs(bench: Bench):
    policy = LinearParameters.packaged("feedback")
    best, levels, values = pick_constants(bench, policy, "compute", 2)
    pairs = constant_pairs(bench, "compute")
    assert len(values) == len(pairs)
    assert levels == pairs[int(np.argmax(values))]
    again = bench.rewards("t", [make_linear("x", best)], "validation", 2).mean()
    assert again == max(values)
    assert max(values) > min(values)


def test_constants_are_replaced_only_by_better_ones(bench: Bench):
    bad = with_constants(LinearParameters.packaged("static"), {"cache_level": 4, "admission_level": 0})
    before = bench.rewards("t", [make_linear("x", bad)], "validation", 2).mean()
    better, value = best_constants(bench, bad, 2)
    assert value > before
    same, again = best_constants(bench, better, 2)
    assert again == value
    assert same.weights == better.weights


def test_equal_constants_of_all_node_types_are_that_constant(bench: Bench):
    policy = LinearParameters.packaged("feedback")
    fixed = with_constants(policy, {"cache_level": 3, "admission_level": 2, "purge_level": 1})
    makers = [
        make_linear("x", fixed),
        make_by_type(policy, ((3, 2, 1), (3, 2, 1))),
        make_by_type(policy, ((3, 2, 1), (0, 0, 0))),
    ]
    same, by_type, other = bench.rewards("t", makers, "validation", 2)
    np.testing.assert_array_equal(same, by_type)
    assert (other != same).any()


def test_constants_by_node_type_are_no_worse_than_one_for_all(bench: Bench):
    policy = LinearParameters.packaged("feedback")
    start = bench.rewards("t", [make_by_type(policy, ((0, 0, 0), (0, 0, 0)))], "validation", 2).mean()
    levels, value = pick_by_type(bench, policy, (0, 0, 0), 2)
    assert value >= start
    assert bench.rewards("t", [make_by_type(policy, levels)], "validation", 2).mean() == value


def test_levels_for_the_wrong_number_of_node_types_are_refused(bench: Bench):
    with pytest.raises(ValueError, match="expected 2, as the scenario has"):
        bench.rewards("t", [make_by_type(LinearParameters.packaged("feedback"), ((0, 0, 0),))], "validation", 1)


def test_a_role_that_is_replaced_by_itself_changes_nothing(bench: Bench):
    policy = LinearParameters.packaged("feedback")
    makers = [make_linear("x", policy), *(replaced(policy, role, "linear_feedback") for role in ("compute", "storage"))]
    whole, *same = bench.rewards("t", makers, "validation", 2)
    for row in same:
        np.testing.assert_array_equal(row, whole)
    at_random = bench.rewards("t", [replaced(policy, "scheduler", "random")], "validation", 2)[0]
    assert (at_random != whole).all()


def test_the_other_roles_stay_with_the_policy():
    agent = replaced(LinearParameters.packaged("feedback"), "compute", "random")()
    assert isinstance(agent, MixedAgent)
    assert agent.agents["compute"].name == "random"
    assert agent.agents["scheduler"] is agent.agents["storage"]
    assert agent.agents["scheduler"].name == "rest"


def test_every_weight_is_searched_and_belongs_to_one_role():
    policy = LinearParameters.packaged("feedback")
    assert (deviations(policy, HeadroomSettings()) > 0).all()
    owners = sum(block(policy, role).astype(int) for role in ("scheduler", "compute", "storage"))
    assert (owners == 1).all()


@pytest.fixture(scope="module")
def elastic_bench() -> Iterator[Bench]:
    changes = {
        "elastic.enabled": True,
        "elastic.minimum_nodes": 1,
        "elastic.cost_weight": 0.5,
        "cluster.compute_nodes": [{"count": 5, "cores": 8.0, "memory_gb": 16.0}],
        "workload.cpu_load": 0.2,
    }
    with Bench(SCENARIO.override(changes), None, 0, 2) as made:
        yield made


def test_where_nodes_can_sleep_that_is_searched_too(bench: Bench, elastic_bench: Bench):
    assert not packaged(bench, "feedback").has_power
    policy = packaged(elastic_bench, "feedback")
    assert policy.has_power
    assert (deviations(policy, HeadroomSettings()) > 0).all()
    owners = {role: block(policy, role).astype(int) for role in ("scheduler", "compute", "storage")}
    assert (sum(owners.values()) == 1).all()
    names = np.array(LinearParameters.names("feedback", True))
    of_power = [name for name in names if name.startswith("power_level.")]
    assert {"power_level.bias", "power_level.rank", "power_level.load_of_on"} <= set(of_power)
    assert set(of_power) <= set(names[owners["compute"] == 1])


@pytest.mark.parametrize(("number", "on"), [(5, "11111"), (3, "11100"), (1, "10000"), (-4, "01111"), (-1, "00001")])
def test_a_constant_number_of_nodes_is_on_from_either_end(elastic_bench: Bench, number: int, on: str):
    for kind in ("static", "feedback"):
        policy = with_nodes_on(packaged(elastic_bench, kind), number, 5)
        bias, rank, *others = policy.group("power_level")
        assert "".join(str(int(bias + rank * place / 4 >= 0.5)) for place in range(5)) == on
        assert not any(others)


def test_the_best_constant_has_the_best_number_of_nodes_on(elastic_bench: Bench):
    policy = packaged(elastic_bench, "static")
    fixed, number, value = pick_nodes_on(elastic_bench, policy, 2)
    for other in (5, 4, 3, 2, 1, -4, -3, -2, -1):
        played = elastic_bench.rewards("t", [make_linear("x", with_nodes_on(policy, other, 5))], "validation", 2)
        assert played.mean() <= value
    assert value == elastic_bench.rewards("t", [make_linear("x", fixed)], "validation", 2).mean()
    assert abs(number) < 5, "at a fifth of the load and half the reward for nodes that sleep, not all should be on"
    best, levels, values = pick_constants(elastic_bench, policy, "compute", 2)
    assert levels["nodes_on"] == number
    assert best.weights["power_level"] == fixed.weights["power_level"]
    assert max(values) >= value - 1e-12


def test_the_best_joint_heuristic_may_have_an_autoscaler(elastic_bench: Bench):
    combination = Combination("balanced", None, (1, 1), 0.7)
    assert combination.spec == (
        'mixed(compute="balanced+reactive(sleep_load=0.7)", '
        'storage="balanced+static(background_level=1,serve_level=1)", scheduler="balanced")'
    )
    settings = replace(HeadroomSettings().quick(), grid_placements=("balanced",), episodes=2)
    result = best_joint_heuristic(elastic_bench, settings)
    grid_round, autoscalers = result["rounds"][-2:]
    assert autoscalers["combinations"] == 1 + len(SLEEP_LOADS)
    assert autoscalers["best"] > grid_round["best"]
    assert "sleep_load" in result["winner"]
    load_agent(result["winner"])


def test_switches_are_those_that_are_on_and_turn_their_mechanism_off():
    found = switches(SCENARIO)
    assert {"cache.enabled", "compaction.enabled", "storage.sharing_enabled", "compute.spill_enabled"} <= set(found)
    off = SCENARIO.override(dict.fromkeys(found, False))
    assert switches(off) == []
    assert switches(SCENARIO.override({"cache.enabled": False})) == [n for n in found if n != "cache.enabled"]


def test_a_variant_has_the_same_windows(bench: Bench):
    with bench.variant({"compaction.enabled": False}) as variant:
        for one, other in zip(bench.episodes("test", 3), variant.episodes("test", 3), strict=True):
            np.testing.assert_array_equal(one.arrival_s, other.arrival_s)
            np.testing.assert_array_equal(one.shard, other.shard)


def test_traced_rewards_add_up_to_those_of_the_record(bench: Bench):
    episodes = bench.episodes("validation", 3)
    trace = RewardTrace(SCENARIO.time.warmup_steps)
    bench.player.batch_size, before = 2, bench.player.batch_size  # two batches: episodes must stay in order
    try:
        records = bench.player.records(load_agent("balanced"), episodes, 0, trace)
    finally:
        bench.player.batch_size = before
    assert trace.team.shape == (3, 55)
    assert trace.team.mean(axis=1) == pytest.approx([team_reward(record) for record in records], rel=1e-5)
    assert trace.local("storage").max() <= SCENARIO.cluster.storage_nodes
    assert trace.local("scheduler").shape == (3, 55)


def test_correlations_are_of_blocks_within_an_episode():
    team = np.array([[1.0, 2.0, 3.0, 4.0, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    local = np.array([[2.0, 4.0, 6.0, 8.0, -9.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    assert episode_correlations(local, team, 2) == [pytest.approx(1.0), None]
    per_step = episode_correlations(local, team, 1)
    assert per_step[0] == pytest.approx(np.corrcoef(local[0], team[0])[0, 1])
    assert episode_correlations(-local, team, 2)[0] == pytest.approx(-1.0)
    assert episode_correlations(local, team, 5) == [None, None]


def packaged_result(kind: Kind) -> dict[str, Any]:
    """What a stage that tuned nothing would have stored."""
    policy = LinearParameters.packaged(kind)
    return {"parameters": {"kind": kind, "weights": policy.weights, "origin": policy.origin}}


def test_an_interrupted_stage_goes_on_at_the_coupling_where_it_stopped(tmp_path, monkeypatch):
    scenario = load_scenario("tiny-v1")
    asked: list[str] = []

    def measure(bench, settings, name, changes, tuned, folder):
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"overrides": changes, "team_reward": {"random": [len(asked) / 3]}}

    monkeypatch.setattr(couplings, "_measure", measure)
    tuned = {kind: packaged_result(kind) for kind in ("static", "feedback")}
    with Bench(scenario, None, 0, 1) as bench:
        with pytest.raises(KeyboardInterrupt):
            switch_off(bench, HeadroomSettings(), tuned["static"], tuned["feedback"], tmp_path)
        found = switch_off(bench, HeadroomSettings(), tuned["static"], tuned["feedback"], tmp_path)["variants"]
    names = switches(scenario)
    assert list(found) == [couplings.ALL_ON, *(f"{name} off" for name in names), couplings.ALL_OFF]
    assert len(asked) == len(found) + 1, "only what had not been measured was"
    assert found[couplings.ALL_ON]["team_reward"]["random"] == [1 / 3]
    assert found[couplings.ALL_OFF]["overrides"] == dict.fromkeys(names, False)


def test_couplings_need_not_be_switched_off_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(couplings, "_measure", lambda bench, settings, name, *rest: {"name": name})
    tuned = {kind: packaged_result(kind) for kind in ("static", "feedback")}
    with Bench(load_scenario("tiny-v1"), None, 0, 1) as bench:
        settings = HeadroomSettings(single_couplings=False)
        found = switch_off(bench, settings, tuned["static"], tuned["feedback"], tmp_path)["variants"]
    assert list(found) == [couplings.ALL_ON, couplings.ALL_OFF]
