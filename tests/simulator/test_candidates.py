"""Candidate nodes of the schedulers on clusters that are too large to look at every node."""

import numpy as np
import pytest
from scipy.stats import chi2

from cloudsched_env.scenario import load_scenario
from cloudsched_env.sim.state import allocate
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from tests.simulator.episodes import hand_made_episode

NODES, STORES, SCHEDULERS, CANDIDATES = 16, 10, 3, 6
CHANGES = {
    "scheduling.candidate_nodes": CANDIDATES,
    "cluster.storage_nodes": STORES,
    "time.horizon_steps": 400,
    "compute.decision_interval_steps": 1,
    "scheduling.backoff_steps": 0,  # a deferred task stays where it is seen
}
SIGNIFICANCE = 1e-4


def random_actions(env, rng):
    return {
        role: rng.integers(
            0, env.action_levels[role], (env.num_envs, env.role_counts[role], len(env.action_levels[role]))
        )
        for role in ROLES
    }


def visible_tasks(state, b, s, slots):
    task, seen = int(state.schedulers.queue_head[b, s]), []
    while task >= 0 and len(seen) < slots:
        seen.append(task)
        task = int(state.tasks.next_task[b, task])
    return seen


def distinct(values):
    return list(dict.fromkeys(int(value) for value in values))


def idle_cluster(seed=0, **changes):
    """Nobody has anything to place until the last step, so that all candidates are drawn."""
    scenario = load_scenario("paper-v1", {**CHANGES, **changes})
    env = CloudSchedVectorEnv(scenario)
    env.reset(seed, episodes=[hand_made_episode(scenario, [{"arrival_s": scenario.duration_s}])])
    return env


def drawn_over_time(env, steps, actions=None):
    """Candidates and observed storage nodes of every step, ``[steps, schedulers, candidates]`` each."""
    rng = np.random.default_rng(0)
    nodes, stores = [], []
    for _ in range(steps):
        nodes.append(env.candidates[0].copy())
        stores.append(env.simulator_state.schedulers.observed_storage[0].copy())
        env.step(random_actions(env, rng) if actions is None else actions(env))
    return np.array(nodes), np.array(stores)


def test_homes_and_replicas_of_visible_tasks_come_first_and_all_are_distinct():
    env = CloudSchedVectorEnv("paper-v1", 2, overrides=CHANGES)
    env.reset(1)
    rng, most_at_home, full = np.random.default_rng(0), 0, 0
    for _ in range(100):
        state = env.simulator_state
        for b in range(2):
            for s in range(SCHEDULERS):
                shards = state.tasks.shard[b, visible_tasks(state, b, s, env.scenario.scheduling.window_slots)]
                for places, chosen, count in (
                    (state.data.homes, env.candidates, NODES),
                    (state.data.replicas, state.schedulers.observed_storage, STORES),
                ):
                    wanted = distinct(places[b, shards].ravel())[: CANDIDATES // 2]
                    row = chosen[b, s]
                    assert row[: len(wanted)].tolist() == wanted
                    assert len(set(row.tolist())) == CANDIDATES
                    assert row.min() >= 0
                    assert row.max() < count
                    most_at_home = max(most_at_home, len(wanted))
                    full += len(wanted) == CANDIDATES // 2
        env.step(random_actions(env, rng))
    assert most_at_home == CANDIDATES // 2
    assert full > 100


def test_small_clusters_see_every_node_in_order():
    env = CloudSchedVectorEnv("paper-v1", 1)
    env.reset(0)
    for _ in range(20):
        env.step(random_actions(env, np.random.default_rng(0)))
        assert (env.candidates[0] == np.arange(16)).all()
        assert (env.simulator_state.schedulers.observed_storage[0] == np.arange(6)).all()


@pytest.mark.parametrize(("which", "count"), [(0, NODES), (1, STORES)])
@pytest.mark.parametrize("position", [0, CANDIDATES - 1, None])
def test_draws_cover_all_nodes_evenly(which, count, position):
    env = idle_cluster()
    drawn = drawn_over_time(env, 399)[which].reshape(-1, CANDIDATES)
    assert all(len(set(row.tolist())) == CANDIDATES for row in drawn)
    picked = drawn if position is None else drawn[:, position]
    observed = np.bincount(picked.ravel(), minlength=count)
    expected = observed.sum() / count
    statistic = ((observed - expected) ** 2 / expected).sum()
    if (
        position is None
    ):  # without replacement, counts vary less: covariance (1 - K/N)/(1 - 1/N) times the multinomial's
        statistic *= (1 - 1 / count) / (1 - CANDIDATES / count)
    assert statistic < chi2.ppf(1 - SIGNIFICANCE, count - 1)
    assert statistic > chi2.ppf(SIGNIFICANCE, count - 1), "more even than chance"


def test_pairs_of_nodes_are_drawn_together_as_often_as_by_chance():
    drawn = drawn_over_time(idle_cluster(seed=5), 399)[0].reshape(-1, CANDIDATES)
    together = np.zeros((NODES, NODES))
    for row in drawn:
        together[np.ix_(row, row)] += 1
    pairs = together[np.triu_indices(NODES, 1)]
    probability = CANDIDATES * (CANDIDATES - 1) / (NODES * (NODES - 1))
    deviation = (pairs - len(drawn) * probability) / np.sqrt(len(drawn) * probability * (1 - probability))
    assert np.abs(deviation).max() < 4.5
    assert 0.7 < deviation.std() < 1.3


def test_the_rest_is_drawn_evenly_from_nodes_that_are_not_wanted():
    scenario = load_scenario("paper-v1", CHANGES)
    env = CloudSchedVectorEnv(scenario)
    env.reset(0, episodes=[hand_made_episode(scenario, [{"arrival_s": 0.0, "shard": 4}])])
    owner = int(env.episodes[0].tenant_scheduler[0])
    homes = env.episodes[0].shard_homes[4].tolist()

    def defer(env):
        actions = random_actions(env, np.random.default_rng(0))
        actions["scheduler"][:] = CANDIDATES
        return actions

    rows = drawn_over_time(env, 399, defer)[0][:, owner]
    assert (rows[:, : len(homes)] == homes).all()
    observed = np.delete(np.bincount(rows[:, len(homes) :].ravel(), minlength=NODES), homes)
    assert observed.sum() == 399 * (CANDIDATES - len(homes))
    others, share = NODES - len(homes), (CANDIDATES - len(homes)) / (NODES - len(homes))
    expected = observed.sum() / others
    statistic = ((observed - expected) ** 2 / expected).sum() * (1 - 1 / others) / (1 - share)
    assert statistic < chi2.ppf(1 - SIGNIFICANCE, others - 1)


def test_draws_depend_on_nothing_but_episode_scheduler_and_step():
    one = drawn_over_time(idle_cluster(seed=3), 50)

    def other_actions(env, rng=np.random.default_rng(9)):  # noqa: B008 - one generator for all steps
        return random_actions(env, rng)

    for repeated, first in zip(drawn_over_time(idle_cluster(seed=3), 50, other_actions), one, strict=True):
        assert (repeated == first).all()
    another_seed = drawn_over_time(idle_cluster(seed=4), 50)
    for kind in range(2):
        assert (another_seed[kind] == one[kind]).mean() < 0.3
        assert (one[kind][1:] == one[kind][:-1]).mean() < 0.3, "a new draw in every step"
        assert (one[kind][:, 0] == one[kind][:, 1]).mean() < 0.3, "each scheduler has draws of its own"


def test_a_seed_gives_the_same_candidates_and_outputs_anywhere_in_a_batch():
    overrides = {**CHANGES, "telemetry.loss_probability": 0.3}
    alone = CloudSchedVectorEnv("paper-v1", 1, overrides=overrides)
    batch = CloudSchedVectorEnv("paper-v1", 5, overrides=overrides)
    alone.reset([7])
    batch.reset([1, 2, 3, 7, 4])
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert (batch.candidates[3] == alone.candidates[0]).all()
        for role in ROLES:
            assert (batch.observations[role][3] == alone.observations[role][0]).all()
            assert (batch.masks[role][3] == alone.masks[role][0]).all()
        actions = random_actions(batch, rng)
        batch.step(actions)
        alone.step({role: chosen[3:4] for role, chosen in actions.items()})


def test_a_choice_sends_the_task_to_that_candidate():
    scenario = load_scenario("paper-v1", CHANGES)
    env = CloudSchedVectorEnv(scenario)
    tasks = [{"arrival_s": 0.0, "shard": shard, "cores": 1.0 + shard / 16} for shard in range(8)]
    env.reset(0, episodes=[hand_made_episode(scenario, tasks)])
    owner = int(env.episodes[0].tenant_scheduler[0])
    assert env.simulator_state.schedulers.queue_length[0, owner] == 8
    chosen = env.candidates[0, owner].copy()
    actions = random_actions(env, np.random.default_rng(0))
    actions["scheduler"][:] = CANDIDATES
    actions["scheduler"][0, owner, :CANDIDATES] = np.arange(CANDIDATES)[::-1]
    env.step(actions)
    state = env.simulator_state
    running = state.running.slots_used[0]
    where = dict(zip(state.running.task[0, :running].tolist(), state.running.node[0, :running].tolist(), strict=True))
    assert where == {slot: int(chosen[CANDIDATES - 1 - slot]) for slot in range(CANDIDATES)}
    assert state.schedulers.queue_length[0, owner] == 2
    sent = state.schedulers.sent_cores[0, owner]
    assert sent[chosen].tolist() == [1.0 + (CANDIDATES - 1 - j) / 16 for j in range(CANDIDATES)]
    assert np.count_nonzero(sent) == CANDIDATES


def bytes_of(state, capacity):
    """All bytes of the state, and those that are for single tasks of the episode."""
    arrays = [array for group in state for array in group]
    return sum(a.nbytes for a in arrays), sum(a.nbytes for a in arrays if capacity in a.shape)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_memory_stays_within_what_the_specification_says(loss):
    scenario = load_scenario("internet-v1", {"telemetry.loss_probability": loss})
    n, m, s = scenario.compute_count, scenario.cluster.storage_nodes, scenario.cluster.schedulers
    total, tasks = bytes_of(allocate(scenario, 1, 160_000, outages=1, changes=1), 160_000)
    ring, shards = 2, scenario.shards
    caches = 8 * n * shards + 4 * n * shards * (ring + (loss > 0))
    counters = (20 + 16 * ring) * s * n + (loss > 0) * 16 * s * n
    views = (loss > 0) * (69 * s * n + 45 * s * m)
    linear = 1500 * (n + m + s) + 200 * (shards + scenario.workload.tenants)
    assert total - tasks <= caches + counters + views + linear
    assert tasks <= (213 + 40) * 160_000
    assert total < (70 if loss else 57) * 1e6
    dense_views = 4 * s * n * shards  # one view of all caches for each scheduler
    assert total < dense_views / 4


def test_what_a_scheduler_observes_does_not_grow_with_the_cluster():
    sizes = {}
    for name in ("large-v1", "internet-v1"):
        env = CloudSchedVectorEnv(name, 1)
        sizes[name] = env.layouts["scheduler"].size, int(env.action_levels["scheduler"].sum())
    assert sizes["large-v1"] == sizes["internet-v1"]
