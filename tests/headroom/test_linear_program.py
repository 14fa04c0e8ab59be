from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.agents.registry import LINEAR, PLACEMENTS
from cloudsched_env.evaluation.metrics import summarise
from cloudsched_env.evaluation.protocol import play
from cloudsched_env.headroom.certified import SolverError
from cloudsched_env.headroom.linear_program import _build, _cores_by_step, foresight_bound
from cloudsched_env.headroom.plan import make_plan, time_bins
from cloudsched_env.headroom.windows import shorten
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload import GeneratedSource
from tests.headroom.observed import Observed, play_and_observe, random_actions
from tests.simulator.episodes import hand_made_episode, simple_episode

# One node, no I/O delay worth speaking of, one replica on one storage node: optima that can be worked out by hand.
BY_HAND = {
    "time.warmup_steps": 0,
    "time.horizon_steps": 30,
    "scheduling.dispatch_delay_s": 0.0,
    "cluster.compute_nodes": [{"count": 1, "cores": 4.0, "memory_gb": 8.0}],
    "cluster.storage_nodes": 1,
    "workload.tenants": 1,
    "workload.replicas": 1,
    "workload.home_nodes": 1,
    "storage.bandwidth_mb_per_s": 100.0,
    "storage.read_stream_mb_per_s": 1e9,
    "storage.write_stream_mb_per_s": 1e9,
    "storage.background_shares": [0.0],
    "storage.initial_background_level": 0,
    "compaction.enabled": False,
}
DURATION_S = 3.0


def by_hand(tasks, overrides=None, bin_steps=1, **keywords):
    scenario = load_scenario("tiny-v1", {**BY_HAND, **(overrides or {})})
    return foresight_bound(scenario, hand_made_episode(scenario, tasks), bin_steps=bin_steps, **keywords)


@pytest.mark.parametrize("bin_steps", [1, 7, 30])
def test_one_task_is_done_on_time(bin_steps):
    bound = by_hand([{}], bin_steps=bin_steps)
    assert bound.useful_utilisation == pytest.approx(1.0 / (4 * DURATION_S), rel=1e-6)
    assert bound.goodput_term == pytest.approx(1.0 / (4 * DURATION_S), rel=1e-6)


def test_two_tasks_on_one_core_cannot_both_meet_a_deadline_that_each_could_meet():
    one_core = {"cluster.compute_nodes": [{"count": 1, "cores": 1.0, "memory_gb": 8.0}]}
    bound = by_hand([{"deadline_s": 1.2}, {"deadline_s": 1.2}], one_core)
    assert bound.fluid.goodput == pytest.approx(2.0 / DURATION_S)
    assert bound.goodput_term == pytest.approx(1.2 / DURATION_S, rel=1e-6)
    assert bound.useful_utilisation == pytest.approx(2.0 / DURATION_S, rel=1e-6)
    assert bound.team_reward < bound.fluid.team_reward - 0.1


def test_useful_and_on_time_work_compete_for_the_same_cores():
    # Both terms alone reach their fluid bounds; a plan has to leave one of the two tasks for after its deadline.
    one_core = {"cluster.compute_nodes": [{"count": 1, "cores": 1.0, "memory_gb": 8.0}], "time.warmup_steps": 10}
    bound = by_hand([{"deadline_s": 1.0}, {"base_time_s": 2.0}], one_core)
    weight = load_scenario("tiny-v1").reward
    plan = weight.useful_weight * bound.useful_term + weight.goodput_weight * bound.goodput_term
    # Work of the warm-up (1 s) earns goodput only: on-time work of 1 in it, then 2 that are useful and on time.
    assert plan == pytest.approx((0.3 * 2 + 0.4 * 3) / 2, rel=1e-6)


def test_a_deadline_that_cannot_be_met_earns_no_goodput():
    bound = by_hand([{"deadline_s": 0.9}])
    assert bound.goodput_term == 0.0
    assert bound.useful_utilisation == pytest.approx(1.0 / (4 * DURATION_S), rel=1e-6)


def test_scans_are_limited_by_the_storage_bandwidth():
    # 1000 MB at 100 MB/s: 300 MB in 3 s.
    bound = by_hand([{"scan_read_mb": 1000.0}])
    assert bound.fluid.useful_utilisation == pytest.approx(1.0 / 12)
    assert bound.useful_utilisation == pytest.approx(0.3 / 12, rel=1e-6)
    unlimited = by_hand([{"scan_read_mb": 1000.0}], {"storage.sharing_enabled": False})
    assert unlimited.useful_utilisation == pytest.approx(1.0 / 12)


def test_a_cold_cache_misses_at_least_what_it_has_to_learn():
    # 1000 MB of a hot set of 500 MB, from cold: at least 500 (1 - exp(-2)) MB miss if all of it is read.
    task, cold = {"cacheable_read_mb": 1000.0}, {"cache.initial_warmth": 0.0}
    share = 0.5 * (1.0 - np.exp(-2.0))
    assert by_hand([task], cold).useful_utilisation == pytest.approx(0.3 / share / 12, rel=1e-6)
    assert by_hand([task], {"cache.enabled": False}).useful_utilisation == pytest.approx(0.3 / 12, rel=1e-6)
    warm = {"cache.initial_warmth": 1.0}
    assert by_hand([task], warm).useful_utilisation == pytest.approx(1.0 / 12)


@pytest.mark.parametrize(("quorum", "part"), [(True, 0.3), (False, 0.6)])
def test_writes_are_served_by_a_quorum_of_replicas(quorum, part):
    # Two replicas: a quorum is both of them; without it any one, so that two nodes may share the work.
    replicas = {"cluster.storage_nodes": 2, "workload.replicas": 2, "storage.quorum_enabled": quorum}
    assert by_hand([{"write_mb": 1000.0}], replicas).useful_utilisation == pytest.approx(part / 12, rel=1e-6)


def test_debt_that_cannot_be_compacted_amplifies_reads():
    debt = {"compaction.enabled": True, "compaction.initial_debt": 2.0}
    bound = by_hand([{"scan_read_mb": 1000.0}], debt)
    assert bound.useful_utilisation == pytest.approx(0.3 / (1.0 + 0.8 * 2.0) / 12, rel=1e-6)


def test_compaction_takes_bandwidth_from_reads():
    # Compaction is not efficient at 100 % of 0.5 B: its share is at least 0.5 by the only level there is.
    shares = {"storage.background_shares": [0.5], "compaction.enabled": True, "compaction.initial_debt": 0.0}
    bound = by_hand([{"scan_read_mb": 1000.0}], shares)
    assert bound.useful_utilisation == pytest.approx(0.15 / 12, rel=1e-6)


def test_memory_limits_how_many_tasks_run_at_full_efficiency():
    # 1 GB of execution memory; each task of 1 core-s fills 0.8 GB s.
    memory = {
        "cluster.compute_nodes": [{"count": 1, "cores": 4.0, "memory_gb": 2.0}],
        "compute.cache_fractions": [0.5],
        "compute.initial_cache_level": 0,
    }
    tasks = [{"memory_gb": 0.8, "base_time_s": 2.0} for _ in range(4)]
    assert by_hand(tasks).useful_utilisation == pytest.approx(8.0 / 12, rel=1e-6)
    assert by_hand(tasks, memory).useful_utilisation == pytest.approx(DURATION_S / 0.8 / 12, rel=1e-6)
    # Spilling at slope s is worth up to 1 / s times the memory, and the admission limit is 1.7 times.
    for slope, worth in ((0.8, 1.25), (0.5, 1.7)):
        spill = {**memory, "compute.spill_slope": slope}
        assert by_hand(tasks, spill).useful_utilisation == pytest.approx(worth * DURATION_S / 0.8 / 12, rel=1e-6)


def test_memory_of_one_node_type_cannot_be_used_on_another():
    # Two nodes of 4 cores: small tasks fill the one without memory, so that large ones keep the other to themselves.
    nodes = [{"count": 1, "cores": 4.0, "memory_gb": 0.4}, {"count": 1, "cores": 4.0, "memory_gb": 8.0}]
    overrides = {"cluster.compute_nodes": nodes, "compute.cache_fractions": [0.5], "compute.initial_cache_level": 0}
    tasks = [{"memory_gb": 0.9, "base_time_s": 3.0} for _ in range(8)]
    # The small node takes one task at a time (an empty node takes any): 0.2 GB of execution memory, 0.9 with it.
    bound = by_hand(tasks, overrides)
    assert bound.useful_utilisation == pytest.approx((4.0 + 0.2 / 0.9) * DURATION_S / (8 * DURATION_S), rel=1e-6)


def test_varying_capacity():
    factors = np.ones((1, 30))
    factors[0, 10:] = 0.25
    tasks = [{"cores": 4.0, "base_time_s": 3.0}]
    assert by_hand(tasks).useful_utilisation == pytest.approx(1.0)
    bound = by_hand(tasks, capacity_factors=factors)
    assert bound.useful_utilisation == pytest.approx((1.0 + 0.25 * 2) / 3, rel=1e-6)
    assert bound.fluid.useful_utilisation == pytest.approx((1.0 + 0.25 * 2) / 3)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="bin_steps is 0"):
        by_hand([{}], bin_steps=0)
    with pytest.raises(ValueError, match=r"shape \(2, 30\): expected \(1, 30\)"):
        by_hand([{}], capacity_factors=np.ones((2, 30)))
    with pytest.raises(ValueError, match="between 0 and 1"):
        by_hand([{}], capacity_factors=np.full((1, 30), 1.5))


def test_an_episode_without_tasks_has_the_fluid_bound():
    bound = by_hand([])
    assert bound.team_reward == bound.fluid.team_reward
    assert bound.useful_utilisation == 0.0


@pytest.mark.parametrize(("warmup", "horizon", "bin_steps"), [(0, 30, 7), (10, 30, 7), (10, 11, 50), (50, 200, 10)])
def test_bins_are_whole_steps_with_a_border_after_the_warm_up(warmup, horizon, bin_steps):
    edges = time_bins(warmup, horizon, bin_steps)
    assert edges[0] == 0
    assert edges[-1] == horizon
    assert warmup in edges
    assert 0 < np.diff(edges).min() <= np.diff(edges).max() <= bin_steps


def test_finer_bins_give_no_higher_bound():
    scenario = load_scenario("tiny-v1", {"time.horizon_steps": 80})
    episode = GeneratedSource(scenario, "train").evaluation_episodes(1)[0]
    fine, coarse = (foresight_bound(scenario, episode, bin_steps=steps).team_reward for steps in (2, 10))
    assert fine <= coarse + 1e-7


HEURISTICS = [f"{name}{knobs}" for name in PLACEMENTS for knobs in ("", "+reactive")] + list(LINEAR)


@pytest.mark.parametrize(
    ("name", "overrides", "window", "least"),
    [
        ("tiny-v1", {}, 210, 0.6),
        ("tiny-v1", {"workload.read_load": 0.9, "workload.write_load": 1.5}, 120, 0.5),
        ("tiny-v1", {"failure.compute_failures_per_hour": 400.0, "failure.storage_failures_per_hour": 200.0}, 120, 0.3),
        ("paper-v1", {"time.warmup_steps": 20}, 70, 0.6),
    ],
)
def test_no_packaged_heuristic_exceeds_the_bound(name, overrides, window, least):
    full = load_scenario(name, overrides)
    cut = [shorten(full, episode, window) for episode in GeneratedSource(full, "train").evaluation_episodes(3)]
    scenario, episodes = cut[0][0], [episode for _, episode in cut]
    bounds = [foresight_bound(scenario, episode, bin_steps=10) for episode in episodes]
    env = CloudSchedVectorEnv(scenario, len(episodes))
    best = np.zeros(len(episodes))
    for agent in HEURISTICS:
        records, _ = play(load_agent(agent), env, episodes, 0)
        metrics = [summarise(record) for record in records]
        for bound, metric in zip(bounds, metrics, strict=True):
            assert metric["team_reward"] <= bound.team_reward + 1e-9
            assert metric["useful_utilisation"] <= bound.useful_utilisation + 1e-9
        best = np.maximum(best, [metric["team_reward"] for metric in metrics])
    for bound, reached in zip(bounds, best, strict=True):
        assert bound.optimal
        assert bound.team_reward <= bound.fluid.team_reward
        assert bound.useful_utilisation <= bound.fluid.useful_utilisation
        assert reached > least * bound.team_reward, (
            "the bound is too far from what heuristics reach to be worth anything"
        )


def fix(program, variables, values, axis=None):
    """Require that sums of variables take these values, within the tolerance of the solver; MB."""
    for sign in (1.0, -1.0):
        rows = program.add_rows(sign * values + 1e-6)
        program.add_terms(rows if axis is None else np.expand_dims(rows, axis), variables, sign)


def require_point(scenario, episode, seen):
    """What a policy did is a point of the program, or `SolverError`: no row cuts the policy off."""
    plan = make_plan(scenario, episode, 5)
    program, x, storage = _build(scenario, episode, plan, _cores_by_step(scenario, episode, None), work_repeats=False)

    def in_bins(by_step):
        return np.add.reduceat(by_step, plan.edges_steps[:-1], axis=1)

    rows = program.add_rows(-in_bins(seen.work_core_s) * (1.0 - 1e-9) + 1e-12)
    program.add_terms(rows[plan.task, plan.bin], x, -1.0)
    if storage is not None:
        reads = program.add_rows(in_bins(seen.reads_mb) + 1e-6)
        program.add_terms(reads[storage.nodes[:, :, None], np.arange(plan.bins)], storage.reads, 1.0)
        per_step = scenario.storage.bandwidth_mb_per_s * scenario.time.step_s
        if storage.debt.size:
            ends = seen.debt_mb[:, plan.edges_steps[1:] - 1]
            initial = scenario.compaction.initial_debt * scenario.compaction.soft_limit_s
            begins = np.column_stack((np.full(len(ends), initial * scenario.storage.bandwidth_mb_per_s), ends[:, :-1]))
            growth = scenario.compaction.write_amplification * in_bins(seen.written_mb)
            fix(program, storage.debt, ends)
            fix(program, storage.compacted, begins + growth - ends)
            shares = seen.background - min(scenario.storage.background_shares)
            fix(program, storage.background, in_bins(shares * per_step))
        if storage.extra.size:
            fix(program, storage.extra, in_bins(seen.extra_mb))
    solution = program.maximise(np.zeros(program.variables))
    assert solution.optimal


SWITCHES = (
    "storage.sharing_enabled",
    "storage.quorum_enabled",
    "cache.enabled",
    "cache.invalidation_enabled",
    "compaction.enabled",
    "compute.memory_split_enabled",
    "compute.spill_enabled",
    "compute.contention_enabled",
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31),
    switched_off=st.sets(st.sampled_from(SWITCHES), max_size=3),
    bandwidth=st.sampled_from([150.0, 500.0, 1600.0]),
    debt=st.sampled_from([0.0, 0.3, 3.0]),
    half=st.sampled_from([0.0, 0.05, 0.3]),
    warmth=st.sampled_from([0.0, 0.5, 1.0]),
    spill=st.sampled_from([0.2, 3.0]),
    cache_fractions=st.sampled_from([[0.15, 0.75], [0.9]]),
    shares=st.sampled_from([[0.03, 0.1, 0.2, 0.5], [0.3]]),
    agent=st.sampled_from(["random", "least_allocated", "locality", "linear_feedback"]),
)
def test_whatever_a_policy_does_is_a_point_of_the_program(
    seed, switched_off, bandwidth, debt, half, warmth, spill, cache_fractions, shares, agent
):
    scenario = load_scenario("tiny-v1").override(
        {
            "time.horizon_steps": 50,
            "storage.bandwidth_mb_per_s": bandwidth,
            "compaction.initial_debt": debt,
            "compaction.efficient_debt_s": half,
            "cache.initial_warmth": warmth,
            "compute.spill_slope": spill,
            "compute.cache_fractions": cache_fractions,
            "compute.initial_cache_level": 0,
            "storage.background_shares": shares,
            "storage.initial_background_level": 0,
            **dict.fromkeys(switched_off, False),
        }
    )
    rng = np.random.default_rng(seed)
    episode = simple_episode(scenario, rng, tasks=30)
    env = CloudSchedVectorEnv(scenario, 1)
    if agent == "random":
        seen = play_and_observe(env, episode, lambda env: random_actions(env, rng))
    else:
        policy = load_agent(agent)
        policy.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), 1, seed)
        seen = play_and_observe(env, episode, lambda env: policy.act(env.observations, env.masks))
    assert seen.work_core_s.sum() > 0.0
    require_point(scenario, episode, seen)
    result = summarise(env.results()[0])
    bound = foresight_bound(scenario, episode, bin_steps=5)
    assert result["team_reward"] <= bound.team_reward + 1e-9
    assert result["useful_utilisation"] <= bound.useful_utilisation + 1e-9


def test_a_point_that_no_policy_can_reach_is_refused():
    # The other side of the test above: twice the work that storage can carry is not a point of the program.
    scenario = load_scenario("tiny-v1", BY_HAND)
    episode = hand_made_episode(scenario, [{"scan_read_mb": 1000.0}])
    work, nothing = np.full((1, 30), 0.3 / 30), np.zeros((1, 30))
    require_point(scenario, episode, Observed(work, 1000.0 * work, nothing, nothing, nothing, nothing))
    with pytest.raises(SolverError, match="Infeasible"):
        require_point(scenario, episode, Observed(2.0 * work, 2000.0 * work, nothing, nothing, nothing, nothing))
