from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from tests.agents.observations import blank, cluster_info, equal_nodes

INFO = equal_nodes(nodes=2)
SCENARIO = INFO.scenario


def seen(compute=None, storage=None):
    """Nodes at the scenario's initial settings, healthy, with the given fields changed."""
    observations, masks = blank(INFO)
    defaults = {
        "compute": {
            "cache_target": 0.45,
            "memory_overcommit": 1.0,
            "efficiency": 1.0,
            "hit_ratio": 1.0,
            "running_cores_load": 0.8,
            "execution_memory_pressure": 0.8,
            "garbage": 0.5,
            "purge_share": 0.06,
        },
        "storage": {
            "debt": 0.1,
            "background_share": 0.10,
            "serve_weight": 1.0,
            "stream_factor": 1.0,
            "mean_stream_factor": 1.0,
        },
    }
    for role, changes in (("compute", compute or {}), ("storage", storage or {})):
        block = INFO.layouts[role].block("node")
        for name, value in (defaults[role] | changes).items():
            observations[role][..., block.index(name)] = value
    return observations, masks


def act(spec, observed, steps=1):
    agent = load_agent(spec)
    agent.reset(INFO, 1, 0)
    for _ in range(steps):
        actions = agent.act(*observed)
    return actions["compute"][0, 0].tolist() + actions["storage"][0, 0].tolist()


def test_static_knobs_hold_the_initial_levels_of_the_scenario_unless_told_otherwise():
    assert act("least_allocated", seen()) == [2, 1, 1, 2, 1]
    assert act("least_allocated+static(background_level=3,admission_level=0)", seen()) == [2, 0, 1, 3, 1]
    assert act("least_allocated+static(purge_level=4)", seen()) == [2, 1, 4, 2, 1]
    assert act("least_allocated+static(purge_level=0)", seen({"garbage": 5.0})) == [2, 1, 0, 2, 1]


def test_static_refuses_a_level_that_the_scenario_does_not_have():
    agent = load_agent("least_allocated+static(serve_level=3)")
    with pytest.raises(ValueError, match=r"serve_level=3\): expected 0 to 2"):
        agent.reset(INFO, 1, 0)
    with pytest.raises(ValueError, match=r"purge_level=5\): expected 0 to 4"):
        load_agent("least_allocated+static(purge_level=5)").reset(INFO, 1, 0)


def test_a_failed_node_keeps_its_only_allowed_level():
    observations, masks = seen()
    masks["compute"][:] = 0
    masks["compute"][..., [4, 5 + 0, 5 + 4 + 3]] = 1
    masks["storage"][:] = 0
    masks["storage"][..., [1, 5 + 2]] = 1
    for knobs in ("static", "reactive", "random"):
        assert act(f"least_allocated+{knobs}", (observations, masks)) == [4, 0, 3, 1, 2]


def test_random_knobs_use_every_level():
    observations, masks = seen()
    agent = load_agent("random")
    agent.reset(INFO, 1, 0)
    drawn = np.concatenate([agent.act(observations, masks)["compute"][0] for _ in range(150)])
    for column, levels in enumerate(INFO.action_levels["compute"]):
        frequency = np.bincount(drawn[:, column], minlength=levels) / len(drawn)
        assert frequency == pytest.approx(1 / levels, abs=0.08)


def reactive(**changes):
    """Levels with the compute and storage fields changed; fields of both roles have different names here."""
    storage_names = {field.name for field in INFO.layouts["storage"].block("node").fields} - {"alive"}
    storage = {name: value for name, value in changes.items() if name in storage_names}
    compute = {name: value for name, value in changes.items() if name not in storage_names}
    return act("least_allocated+reactive", seen(compute, storage))


def test_reactive_leaves_a_healthy_cluster_alone():
    assert reactive() == [2, 1, 1, 1, 1]


def test_admission_follows_the_efficiency_gradient():
    assert reactive(efficiency=0.6)[1] == 0
    assert reactive(efficiency=1.0, queue_length=0.5)[1] == 2
    assert reactive(efficiency=0.9, queue_length=0.5)[1] == 1
    assert reactive(efficiency=0.6, running_cores_load=0.0)[1] == 1, "an idle node's efficiency says nothing"


def test_the_cache_shrinks_under_memory_pressure_and_grows_when_it_is_full_and_cold():
    assert reactive(execution_memory_pressure=1.3)[0] == 1
    assert reactive(execution_memory_pressure=0.3, hit_ratio=0.4, cache_fill=1.0)[0] == 3
    assert reactive(execution_memory_pressure=0.3, hit_ratio=0.4, cache_fill=0.5)[0] == 2
    assert reactive(execution_memory_pressure=0.9, hit_ratio=0.4, cache_fill=1.0)[0] == 2


def test_compute_knobs_move_only_once_a_period():
    agent = load_agent("least_allocated+reactive(period_steps=3)")
    agent.reset(INFO, 1, 0)
    observed = seen({"efficiency": 0.6})
    levels = [int(agent.act(*observed)["compute"][0, 0, 1]) for _ in range(4)]
    assert levels == [0, 1, 1, 0]  # the observation still shows level 1


@pytest.mark.parametrize(
    ("debt", "share", "level"),
    [
        (0.1, 0.10, 1),  # low stays low
        (0.5, 0.10, 2),  # above the first threshold
        (0.9, 0.10, 4),  # above the second
        (0.75, 0.50, 4),  # within the hysteresis of the second: kept
        (0.65, 0.50, 2),  # below it: one band down
        (0.35, 0.20, 2),  # within the hysteresis of the first: kept
        (0.25, 0.50, 1),  # below all
    ],
)
def test_compaction_follows_debt_with_hysteresis(debt, share, level):
    assert reactive(debt=debt, background_share=share)[3] == level


@pytest.mark.parametrize(
    ("garbage", "share", "level"),
    [
        (0.1, 0.22, 0),  # little is left: purging ends
        (0.1, 0.0, 0),
        (0.5, 0.0, 0),  # between the thresholds: what it was
        (0.5, 0.12, 2),
        (0.5, 0.22, 3),
        (0.9, 0.0, 3),  # above the second: the second highest share
        (0.9, 0.35, 3),
        (8.0, 0.06, 3),
    ],
)
def test_purging_begins_above_one_threshold_and_ends_below_another(garbage, share, level):
    assert reactive(garbage=garbage, purge_share=share)[2] == level


def test_purging_of_a_node_is_a_loop_between_its_thresholds():
    """Garbage that rises by 0.1 a step and falls by 0.1 with purging on: on from 0.7 down to 0.3, off up again."""
    agent = load_agent("least_allocated+reactive")
    agent.reset(INFO, 1, 0)
    garbage, level, seen_levels, turns = 0.5, 0, set(), []
    for _ in range(60):
        before = level
        observed = seen({"garbage": garbage, "purge_share": SCENARIO.purge.shares[level]})
        level = int(agent.act(*observed)["compute"][0, 0, 2])
        if level != before:
            turns.append(round(garbage, 6))
        seen_levels.add(level)
        garbage += -0.1 if level else 0.1
    assert seen_levels == {0, 3}
    assert len(turns) >= 10
    assert {round(turn, 1) for turn in turns[::2]} <= {0.7, 0.8}
    assert {round(turn, 1) for turn in turns[1::2]} <= {0.2, 0.3}


def test_thresholds_of_purging_are_parameters():
    spec = "least_allocated+reactive(garbage_low=1.0,garbage_high=2.0)"
    assert act(spec, seen({"garbage": 0.9}))[2] == 0
    assert act(spec, seen({"garbage": 1.5}))[2] == 1
    assert act(spec, seen({"garbage": 2.5}))[2] == 3
    agent = load_agent("least_allocated+reactive(garbage_low=1.0)")
    with pytest.raises(ValueError, match=r"garbage_low 1.0 must not exceed garbage_high 0.7"):
        agent.reset(INFO, 1, 0)


def test_purging_with_one_level_stays_at_it():
    one = cluster_info(SCENARIO.override({"purge.shares": (0.1,), "purge.initial_level": 0}))
    agent = load_agent("least_allocated+reactive")
    agent.reset(one, 1, 0)
    for garbage in (0.0, 0.5, 5.0):
        observations, masks = blank(one)
        observations["compute"][..., one.layouts["compute"].block("node").index("garbage")] = garbage
        assert (agent.act(observations, masks)["compute"][..., 2] == 0).all()


def test_a_slow_storage_node_sheds_reads_and_a_fast_one_attracts_them():
    assert reactive(stream_factor=0.5, mean_stream_factor=0.9)[4] == 0
    assert reactive(stream_factor=0.9, mean_stream_factor=0.5)[4] == 2
    assert reactive(stream_factor=0.85, mean_stream_factor=0.9)[4] == 1


def test_reactive_refuses_thresholds_in_the_wrong_order():
    agent = load_agent("least_allocated+reactive(debt_low=2.0)")
    with pytest.raises(ValueError, match=r"debt_low 2.0 must not exceed debt_high 0.8"):
        agent.reset(INFO, 1, 0)


def elastic_power(spec, **changes):
    """The power level that node 0 of an elastic cluster chooses when it observes these values."""
    scenario = load_scenario("elastic-v1")
    env = CloudSchedVectorEnv(scenario)
    env.reset(0)
    info = ClusterInfo(scenario, env.layouts, env.action_levels, env.role_counts)
    observations = {role: env.observations[role].copy() for role in env.roles}
    names = env.layouts["compute"].names()
    for field, value in changes.items():
        observations["compute"][0, 0, names.index(f"node.{field}")] = value
    agent = load_agent(spec)
    agent.reset(info, 1, 0)
    actions = agent.act(observations, env.masks)["compute"]
    assert actions.shape == (1, 16, 4)
    return int(actions[0, 0, 3])


@pytest.mark.parametrize("spec", ["least_allocated", "balanced+reactive", "linear_static", "linear_feedback"])
def test_nodes_stay_on_by_default(spec):
    assert elastic_power(spec, load_of_on=0.0, running_cores_load=0.0) == 1


def test_static_standby_sends_nodes_to_sleep():
    assert elastic_power("least_allocated+static(power_level=0)") == 0
    with pytest.raises(ValueError, match=r"expected 0 .standby. or 1"):
        elastic_power("least_allocated+static(power_level=2)")


def test_reactive_knobs_sleep_when_idle_and_wake_under_load_like_an_autoscaler():
    spec = "least_allocated+reactive(sleep_load=0.5)"
    idle = {"running_cores_load": 0.1, "queued_cores_load": 0.0}
    assert elastic_power(spec, load_of_on=0.3, waiting_of_on=0.1, **idle) == 0
    assert elastic_power(spec, load_of_on=0.3, waiting_of_on=0.3, **idle) == 1  # tasks wait for schedulers
    assert elastic_power(spec, load_of_on=0.3, waiting_of_on=0.1, running_cores_load=1.2) == 1  # busy itself
    assert elastic_power(spec, load_of_on=0.7, power_level=1.0) == 1  # between the thresholds it stays as it is
    assert elastic_power(spec, load_of_on=2.1, power_level=0.0, **idle) == 1
    with pytest.raises(ValueError, match=r"sleep_load 3\.0 must not exceed wake_load"):
        elastic_power("least_allocated+reactive(sleep_load=3.0)")
