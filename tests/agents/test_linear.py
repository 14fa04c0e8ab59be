from __future__ import annotations

import json

import numpy as np
import pytest

from cloudsched_env.agents import AgentError, load_agent
from cloudsched_env.agents.linear import LinearParameters, linear_agent
from cloudsched_env.scenario import load_scenario
from tests.agents.observations import blank, cluster_info, equal_nodes, scheduling


def parameters(kind="static", power=False, **changes):
    names = LinearParameters.names(kind, power)
    vector = np.zeros(len(names))
    vector[names.index("defer.bias")] = -1e3
    for name, value in changes.items():
        vector[names.index(name.replace("__", "."))] = value
    return LinearParameters.from_vector(kind, vector, "test")


def first_choice(given, tasks, nodes, info=None):
    info = info or equal_nodes()
    agent = linear_agent("linear", given)
    agent.reset(info, 1, 0)
    return int(agent.act(*scheduling(info, tasks, nodes))["scheduler"][0, 0, 0])


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("kind", ["static", "feedback"])
def test_vector_file_and_parameters_are_the_same_thing(kind, power, tmp_path):
    vector = np.random.default_rng(0).normal(size=len(LinearParameters.names(kind, power)))
    made = LinearParameters.from_vector(kind, vector, "drawn")
    made.save(tmp_path / "p.json")
    loaded = LinearParameters.load(tmp_path / "p.json")
    np.testing.assert_array_equal(loaded.to_vector(), vector)
    assert loaded == made
    assert loaded.has_power == power


@pytest.mark.parametrize("kind", ["static", "feedback"])
def test_packaged_parameters_are_complete(kind):
    packaged = LinearParameters.packaged(kind)
    assert packaged.kind == kind
    assert np.isfinite(packaged.to_vector()).all()
    assert len(packaged.to_vector()) == len(LinearParameters.names(kind))


def test_a_file_with_missing_or_unknown_weights_is_refused_by_name(tmp_path):
    file = tmp_path / "p.json"
    parameters().save(file)
    content = json.loads(file.read_text())
    content["weights"]["placement"]["wamrth"] = content["weights"]["placement"].pop("warmth")
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"missing weights \['placement.warmth'\].*\['placement.wamrth'\]"):
        LinearParameters.load(file)
    with pytest.raises(AgentError, match=r"placement\.warmth"):
        load_agent(f'linear_static(parameters="{file}")')


def test_a_vector_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="expected 24 numbers, or 26 with power_level, got 3"):
        LinearParameters.from_vector("static", [1.0, 2.0, 3.0], "test")


def test_each_weight_steers_placement_by_its_own_feature():
    nodes = [
        {"running_cores_load": 0.1, "queued_cores_load": 0.4, "io_wait": 0.9},
        {"running_cores_load": 0.4, "queued_cores_load": 0.1, "in_flight_cores_load": 0.3},
        {"running_cores_load": 0.4, "queued_cores_load": 0.4, "running_memory_pressure": 0.9, "cores": 0.5},
        {"running_cores_load": 0.4, "queued_cores_load": 0.4, "in_flight_cores_load": 0.1},
    ]
    task = {"warmth": [0.2, 0.1, 0.9, 0.3], "home": [0, 0, 0, 1], "estimated_read_mb": 4000.0}
    for weight, best in (
        ({"placement__running_load": -1}, 0),
        ({"placement__queued_load": -1}, 1),
        ({"placement__own_unseen_load": 1}, 1),
        ({"placement__memory_pressure": 1}, 2),
        ({"placement__warmth": 1}, 2),
        ({"placement__expected_miss": -1}, 2),
        ({"placement__home": 1}, 3),
        ({"placement__io_wait": 1}, 0),
        ({"placement__node_cores": -1}, 2),
    ):
        assert first_choice(parameters(**weight), [task], nodes) == best, weight


def test_expected_misses_ignore_warmth_for_scans():
    nodes, task = [{}] * 4, {"warmth": [1.0, 0.0, 0.0, 0.0], "estimated_read_mb": 4000.0}
    # With all reads cacheable the warm node misses 0 and others 1; with scans only, all miss 1 and the home decides.
    given = parameters(placement__expected_miss=-1, placement__home=0.1)
    assert first_choice(given, [{**task, "home": [0, 0, 1, 0]}], nodes) == 0
    assert first_choice(given, [{**task, "home": [0, 0, 1, 0], "scan_share": 1.0}], nodes) == 2


def test_a_task_is_deferred_while_no_node_beats_the_defer_score():
    given = parameters(placement__running_load=-1, defer__bias=-0.5, defer__age=-1.0)
    busy = [{"running_cores_load": 0.9}] * 4
    assert first_choice(given, [{"age_s": 0.0}], busy) == 4
    assert first_choice(given, [{"age_s": 5.0}], busy) < 4


def test_a_job_may_be_kept_together():
    info = equal_nodes()
    agent = linear_agent("linear", parameters(placement__same_node_as_job=1.0))
    for seed in range(5):
        agent.reset(info, 1, seed)
        chosen = agent.act(*scheduling(info, [{}, {"same_job": 1}, {"same_job": 1}]))["scheduler"][0, 0]
        assert chosen[0] == chosen[1] == chosen[2]


def test_feedback_knobs_round_a_linear_form_of_the_nodes_own_state():
    info = equal_nodes()
    given = parameters("feedback", background_level__bias=1.0, background_level__debt=2.0, cache_level__hit_ratio=4.0)
    agent = linear_agent("linear", given)
    agent.reset(info, 1, 0)
    observations, masks = blank(info)
    observations["storage"][0, 0, info.layouts["storage"].block("node").index("debt")] = 0.6
    observations["compute"][0, 1, info.layouts["compute"].block("node").index("hit_ratio")] = 0.45
    actions = agent.act(observations, masks)
    assert actions["storage"][0, :, 0].tolist() == [2, 1]  # 1 + 2 x 0.6 = 2.2, and 1
    assert actions["compute"][0, :, 0].tolist() == [0, 2, 0, 0]  # 4 x 0.45 = 1.8


def test_a_static_policy_is_the_feedback_policy_without_feedback():
    info, rng = equal_nodes(), np.random.default_rng(3)
    static = LinearParameters.packaged("static")
    seen = scheduling(info, [{"warmth": rng.random(4)} for _ in range(4)], [{"running_cores_load": 0.3}] * 4)
    seen[0]["storage"][:] = rng.random(seen[0]["storage"].shape)
    chosen = []
    for given in (static, static.as_feedback()):
        agent = linear_agent("linear", given)
        agent.reset(info, 1, 0)
        chosen.append(agent.act(*seen))
    for role in chosen[0]:
        np.testing.assert_array_equal(chosen[0][role], chosen[1][role])


def power_levels(given, **fields):
    """What six nodes that can sleep choose where all observe these values (a list: node by node)."""
    changes = {"elastic.enabled": True, "cluster.compute_nodes": [{"count": 6, "cores": 8.0, "memory_gb": 16.0}]}
    info = cluster_info(load_scenario("tiny-v1", changes))
    agent = linear_agent("linear", given)
    agent.reset(info, 1, 0)
    observations, masks = blank(info)
    for name, value in fields.items():
        observations["compute"][0, :, info.layouts["compute"].block("node").index(name)] = value
    masks["compute"][0, 5, -2:] = (0, 1)  # the last node wakes: it cannot be sent to sleep
    return agent.act(observations, masks)["compute"][0, :, 3].tolist()


def test_a_static_policy_keeps_a_constant_number_of_nodes_on():
    assert power_levels(parameters(power=True, power_level__bias=0.95, power_level__rank=-1.0)) == [1, 1, 1, 0, 0, 1]
    assert power_levels(parameters(power=True, power_level__bias=0.05, power_level__rank=1.0)) == [0, 0, 0, 1, 1, 1]
    loaded = {"load_of_on": 3.0, "waiting_of_on": 1.0, "running_cores_load": 2.0}
    all_but_the_waking_sleep = parameters(power=True)
    assert power_levels(all_but_the_waking_sleep, **loaded) == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("kind", ["static", "feedback"])
def test_without_weights_for_it_and_with_those_a_search_begins_with_all_nodes_stay_on(kind):
    packaged = LinearParameters.packaged(kind)
    assert not packaged.has_power
    for given in (
        packaged,
        packaged.with_power(),
        packaged.as_feedback().with_power(),
        packaged.with_power().as_feedback(),
    ):
        assert power_levels(given) == [1] * 6


def test_a_feedback_policy_turns_nodes_on_with_the_load():
    given = parameters("feedback", power=True, power_level__rank=-1.0, power_level__load_of_on=1.0)
    assert [sum(power_levels(given, load_of_on=load)[:5]) for load in (0.0, 0.6, 1.0, 1.4)] == [0, 1, 3, 5]
    keeps = parameters("feedback", power=True, power_level__power_level=1.0)
    assert power_levels(keeps, power_level=[1, 0, 1, 0, 0, 1]) == [1, 0, 1, 0, 0, 1]


def test_where_nodes_cannot_sleep_the_weights_for_it_change_nothing():
    info = equal_nodes()
    chosen = []
    for given in (LinearParameters.packaged("static"), LinearParameters.packaged("static").with_power()):
        agent = linear_agent("linear", given)
        agent.reset(info, 1, 0)
        chosen.append(agent.act(*blank(info)))
    for role in chosen[0]:
        np.testing.assert_array_equal(chosen[0][role], chosen[1][role])
