from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.agents import check_actions, load_agent
from cloudsched_env.agents.registry import KNOBS, LINEAR, PLACEMENTS
from cloudsched_env.scenario import load_scenario
from tests.agents.observations import choices, cluster_info, equal_nodes, scheduling

DEFER = 4  # with the four nodes of `equal_nodes`


def first_choice(spec, info, tasks, nodes=(), seed=0):
    return int(choices(spec, info, scheduling(info, tasks, nodes), seed)[0, 0, 0])


def loads(*values):
    return [{"running_cores_load": value, "running_memory_pressure": value} for value in values]


def test_least_allocated_takes_the_emptiest_node_and_most_allocated_the_fullest_that_fits():
    info = equal_nodes()
    nodes = loads(0.5, 0.25, 0.75, 0.85)
    assert first_choice("least_allocated", info, [{}], nodes) == 1
    # One core and 1 GB more is 0.975 of node 3: it fits the limits 1.5 and 1.0, and nothing is fuller.
    assert first_choice("most_allocated", info, [{}], nodes) == 3
    assert first_choice("best_fit", info, [{}], nodes) == 3


def test_packing_skips_nodes_beyond_the_limit_of_the_fit_filter():
    info = equal_nodes()
    nodes = loads(0.5, 0.25, 0.75, 0.95)  # memory of node 3 would be 0.95 + 1/8 > 1.0
    assert first_choice("most_allocated", info, [{}], nodes) == 2
    assert first_choice("most_allocated(memory_limit=1.2)", info, [{}], nodes) == 3


def test_least_allocated_averages_cores_and_memory_with_their_weights():
    info = equal_nodes()
    nodes = [
        {"running_cores_load": 0.1, "running_memory_pressure": 0.7},  # mean 0.4
        {"running_cores_load": 0.5, "running_memory_pressure": 0.2},  # mean 0.35
        *loads(0.9, 0.9),
    ]
    assert first_choice("least_allocated", info, [{}], nodes) == 1
    assert first_choice("least_allocated(memory_weight=0)", info, [{}], nodes) == 0


def test_balanced_allocation_decides_between_nodes_that_least_allocated_finds_equal():
    info = equal_nodes()
    nodes = [
        {"running_cores_load": 0.2, "running_memory_pressure": 0.6},
        {"running_cores_load": 0.4, "running_memory_pressure": 0.4},
        *loads(0.9, 0.9),
    ]
    picks = {first_choice("least_allocated", info, [{}], nodes, seed) for seed in range(20)}
    assert picks == {0, 1}
    assert {first_choice("balanced", info, [{}], nodes, seed) for seed in range(20)} == {1}


@pytest.mark.parametrize("field", ["running", "queued", "in_flight"])
def test_running_queued_and_in_flight_requests_all_count(field):
    info = equal_nodes()
    nodes = [{f"{field}_cores_load": value, f"{field}_memory_pressure": value} for value in (0.6, 0.4, 0.2, 0.7)]
    assert first_choice("least_allocated", info, [{}], nodes) == 2


def test_tasks_assigned_earlier_in_the_step_count_like_assumed_pods():
    info = equal_nodes()
    tasks = [{"cores": 4.0, "memory_gb": 4.0}] * 4
    spread = choices("least_allocated", info, scheduling(info, tasks))[0, 0]
    assert sorted(spread) == [0, 1, 2, 3]
    packed = choices("most_allocated", info, scheduling(info, tasks))[0, 0]
    # Limits of 12 cores and 8 GB: two tasks fill a node's execution memory, the next two go to another one.
    assert np.unique(packed, return_counts=True)[1].tolist() == [2, 2]


def test_a_task_that_fits_nowhere_is_deferred_and_smaller_ones_pass_it():
    info = equal_nodes()
    tasks = [{"cores": 4.0, "memory_gb": 1.0}, {"cores": 0.5, "memory_gb": 0.5}]
    nodes = loads(*[0.9] * 4)
    chosen = choices("least_allocated(core_limit=1.0)", info, scheduling(info, tasks, nodes))[0, 0]
    assert chosen[0] == DEFER
    chosen = choices("least_allocated(core_limit=1.0,memory_limit=2.0)", info, scheduling(info, tasks, nodes))[0, 0]
    assert chosen[0] == DEFER
    assert chosen[1] < DEFER


def test_an_idle_node_takes_a_task_that_is_larger_than_its_limits():
    info = equal_nodes()
    nodes = loads(0.5, 0.5, 0.0, 0.5)
    assert first_choice("least_allocated", info, [{"memory_gb": 20.0}], nodes) == 2


def test_equal_nodes_are_chosen_at_random_so_that_schedulers_do_not_herd():
    info = equal_nodes(nodes=8, schedulers=16)
    chosen = choices("least_allocated", info, scheduling(info, [{}]))[0, :, 0]
    assert len(set(chosen.tolist())) >= 5


def test_round_robin_goes_on_where_it_left_off_and_skips_full_nodes():
    info = equal_nodes()
    agent = load_agent("round_robin")
    agent.reset(info, 1, 0)
    seen = scheduling(info, [{}, {}, {}], loads(0.1, 1.9, 0.1, 0.1))
    assert agent.act(*seen)["scheduler"][0, 0].tolist() == [0, 2, 3, DEFER]
    assert agent.act(*seen)["scheduler"][0, 0].tolist() == [0, 2, 3, DEFER]
    seen = scheduling(info, [{}], loads(0.1, 0.1, 0.1, 0.1))
    assert [int(agent.act(*seen)["scheduler"][0, 0, 0]) for _ in range(5)] == [0, 1, 2, 3, 0]


def test_power_of_two_takes_the_less_loaded_of_two_random_nodes():
    info = equal_nodes()
    nodes = loads(0.1, 0.2, 0.3, 0.4)
    picks = [first_choice("power_of_two", info, [{}], nodes, seed) for seed in range(300)]
    frequency = np.bincount(picks, minlength=4) / 300
    # Of the 6 pairs of 4 nodes, the least loaded wins 3, the next 2, then 1, and the most loaded none.
    assert frequency == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0], abs=0.09)
    assert frequency[3] == 0
    assert {first_choice("power_of_two(choices=4)", info, [{}], nodes, seed) for seed in range(20)} == {0}


def test_locality_takes_the_warmest_node_and_the_less_loaded_of_equally_warm_ones():
    info = equal_nodes()
    nodes = loads(0.1, 0.6, 0.4, 0.2)
    assert first_choice("locality", info, [{"warmth": [0.0, 0.9, 0.2, 0.1]}], nodes) == 1
    assert first_choice("locality", info, [{"warmth": [0.0, 0.5, 0.5, 0.1]}], nodes) == 2


def test_bounded_load_hash_goes_clockwise_from_the_home_until_a_node_is_within_the_bound():
    info = equal_nodes()
    home_two = [{"home": [0, 0, 1, 0]}]
    assert first_choice("bounded_load_hash", info, home_two, loads(0.5, 0.5, 0.5, 0.5)) == 2
    # With the task, the mean load is (4 x 0.5 + 1/8)/4 = 0.53 and the bound 0.66: nodes 2 and 3 are beyond it.
    assert first_choice("bounded_load_hash", info, home_two, loads(0.1, 0.3, 0.9, 0.7)) == 0
    assert first_choice("bounded_load_hash(c=4)", info, home_two, loads(0.1, 0.3, 0.9, 0.7)) == 2


def test_delay_scheduling_waits_for_a_local_node_and_then_goes_anywhere():
    info = equal_nodes()
    nodes = loads(0.2, 1.9, 0.4, 0.6)  # the local node 1 has no room
    young, old = {"age_s": 0.2, "home": [0, 1, 0, 0]}, {"age_s": 0.6, "home": [0, 1, 0, 0]}
    assert first_choice("delay_scheduling", info, [young], nodes) == DEFER
    assert first_choice("delay_scheduling", info, [old], nodes) == 0
    assert first_choice("delay_scheduling", info, [{**young, "warmth": [0, 0, 0, 0.5]}], nodes) == 3


def test_drf_serves_the_poorest_tenant_first_and_alternates_as_shares_grow():
    info = equal_nodes(nodes=1)
    rich, poor = {"tenant_share": 0.9, "cores": 4.0}, {"tenant_share": 0.2, "cores": 4.0}
    # Room for two tasks of 4 cores only: the poor tenant's, although the rich tenant's came first.
    spec = "drf(core_limit=1.0,memory_limit=8)"
    assert choices(spec, info, scheduling(info, [rich, rich, poor, poor]))[0, 0].tolist() == [1, 1, 0, 0]
    # A task is half of the node: after one each is served, 0.2 + 0.5 exceeds 0.6.
    richer = {"tenant_share": 0.6, "cores": 4.0}
    assert choices(spec, info, scheduling(info, [richer, richer, poor, poor]))[0, 0].tolist() == [0, 1, 0, 1]


def test_tetris_prefers_short_work_and_with_no_weight_on_it_large_demands():
    info = equal_nodes(nodes=1)
    long, short = {"cores": 4.0, "estimated_time_s": 9.0}, {"cores": 3.0, "estimated_time_s": 0.5}
    one_fits = "core_limit=1.0,memory_limit=8"
    nodes = loads(0.4)  # 4.8 cores free
    assert choices(f"tetris({one_fits})", info, scheduling(info, [long, short], nodes))[0, 0, :2].tolist() == [1, 0]
    greedy = choices(f"tetris({one_fits},srtf_weight=0)", info, scheduling(info, [short, long], nodes))[0, 0, :2]
    assert greedy.tolist() == [1, 0]


def test_tetris_aligns_demand_with_what_is_free():
    info = equal_nodes(nodes=2)
    nodes = [
        {"running_cores_load": 0.2, "running_memory_pressure": 0.9},  # cores free
        {"running_cores_load": 0.9, "running_memory_pressure": 0.2},  # memory free
    ]
    for spec in ("tetris", "tetris(core_limit=1.2,memory_limit=1.2)"):
        assert first_choice(spec, info, [{"cores": 0.5, "memory_gb": 0.05}], nodes) == 0
        assert first_choice(spec, info, [{"cores": 0.05, "memory_gb": 0.5}], nodes) == 1


def test_random_is_uniform_over_nodes_and_deferring():
    info = equal_nodes(schedulers=2)
    chosen = choices("random", info, scheduling(info, [{}] * 4, batch=500))
    frequency = np.bincount(chosen.ravel(), minlength=5) / chosen.size
    assert frequency == pytest.approx([0.2] * 5, abs=0.03)


@pytest.mark.parametrize("spec", [*PLACEMENTS, "linear_feedback"])
def test_an_episode_does_not_depend_on_the_batch_around_it(spec):
    info = equal_nodes(schedulers=2)
    rng = np.random.default_rng(5)
    batch = scheduling(info, [{}] * 4, loads(0.3, 0.3, 0.5, 0.7), batch=3)
    batch[0]["compute"][:] = rng.random(batch[0]["compute"].shape)
    # Nothing waits in this cluster at first, while others place tasks.
    slots = info.layouts["scheduler"].view(batch[0]["scheduler"], "slots")
    present = info.layouts["scheduler"].block("slots").index("present")
    slots[1, ..., present] = 0.0
    alone = tuple({role: array[1:2] for role, array in part.items()} for part in batch)
    together, single = load_agent(spec), load_agent(spec)
    together.reset(info, 3, seed=10)
    single.reset(info, 1, seed=11)
    for step in range(3):
        slots[1, ..., present] = step > 0
        first, second = together.act(*batch), single.act(*alone)
        for role in first:
            np.testing.assert_array_equal(first[role][1:2], second[role])


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([*PLACEMENTS, *LINEAR]), st.sampled_from(list(KNOBS)))
def test_every_agent_stays_within_its_masks_whatever_it_observes(seed, placement, knobs):
    info = cluster_info(load_scenario("tiny-v1"))
    rng = np.random.default_rng(seed)
    observations, masks = {}, {}
    for role, count in info.role_counts.items():
        layout, levels = info.layouts[role], info.action_levels[role]
        observations[role] = rng.uniform(layout.low(), layout.high(), (4, count, layout.size)).astype(np.float32)
        parts = []
        for level in levels:
            part = rng.random((4, count, level)) < 0.4
            part[..., -1] |= ~part.any(axis=-1) | (role == "scheduler")
            parts.append(part)
        masks[role] = np.concatenate(parts, axis=-1).astype(np.int8)
    agent = load_agent(f"{placement}+{knobs}")
    agent.reset(info, 4, seed % 1000)
    for _ in range(2):
        actions = check_actions(agent.act(observations, masks), info, 4, agent.name)
        for role, levels in info.action_levels.items():
            starts = np.concatenate([[0], np.cumsum(levels)[:-1]])
            assert np.take_along_axis(masks[role], actions[role] + starts, axis=-1).all(), role
