"""Properties of any cluster on any episode: what the page promises, on thousands of short random episodes.

Continuous integration runs a few dozen clusters that are always the same ones. Thousands of new ones:

    CLOUDSCHED_PROPERTY_EXAMPLES=2000 pytest tests/simulator/test_properties.py
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st

from cloudsched_env.scenario import Scenario
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from cloudsched_env.workload.window import InfeasibleWindowError
from tests.simulator.drawn import (
    HORIZON_STEPS,
    as_events,
    drawn_actions,
    drawn_outages,
    generated_scenarios,
    numeric_fields,
    scenarios,
    strained_episode,
)
from tests.simulator.invariants import (
    TIGHT,
    before_step,
    check_capacities,
    check_every_task_is_in_one_place,
    check_outputs,
    check_record,
    served_capacity_mb,
)
from tests.simulator.test_oracle_agreement import assert_agreement

EXAMPLES = os.environ.get("CLOUDSCHED_PROPERTY_EXAMPLES")
MANY = int(EXAMPLES or 40)
CLUSTERS = 4


def examples(count: int):
    """Always the same examples by default; others every time where a number of them is asked for."""
    return settings(
        max_examples=max(1, count),
        derandomize=EXAMPLES is None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


def batch_of(scenario: Scenario, seed: int):
    """Episodes of different sizes, one of them without any task, and schedules of failures."""
    rngs = [np.random.default_rng([seed, b]) for b in range(CLUSTERS)]
    episodes = [strained_episode(scenario, rng, int(rng.choice([0, 1, 8, 60]))) for rng in rngs]
    outages = [as_events(scenario, drawn_outages(scenario, rng, rng.choice([0.0, 0.5]))) for rng in rngs]
    return episodes, outages


def check_episode(env: CloudSchedVectorEnv, rng: np.random.Generator, masked: bool) -> None:
    """Play the episodes of a fresh env to their end with random actions, and check every promise at every step."""
    scenario, state = env.scenario, env.simulator_state
    check_outputs(env)
    useful, moved = np.zeros(CLUSTERS), np.zeros(CLUSTERS)
    counts_all = scenario.time.warmup_steps == 0
    for step in range(HORIZON_STEPS):
        before = [before_step(state, b) for b in range(CLUSTERS)]
        done = env.step(drawn_actions(env, rng, masked))
        assert done is (step + 1 == HORIZON_STEPS)
        check_outputs(env)
        useful += state.compute.useful_core_s.sum(axis=1)
        for b, result in enumerate(env.results()):
            arrived = (env.episodes[b].arrival_s <= (step + 1) * scenario.time.step_s).sum()
            check_every_task_is_in_one_place(state, b, scenario.scheduling.backoff_steps)
            check_capacities(scenario, state, b, before[b])
            assert (state.clock.next_arrival[b]) == arrived
            if scenario.storage.sharing_enabled:
                served = result.totals["storage_served_mb"]
                most = served_capacity_mb(scenario, state, b, before[b])
                assert served - moved[b] <= most * (1 + TIGHT) + TIGHT * served
                moved[b] = served
            assert np.isfinite(state.storage.debt_mb[b]).all()
            assert np.isfinite(state.storage.lag_mb[b]).all()
            if counts_all:
                check_record(result, state, b, useful[b], result.totals["lost_core_s"])
                assert result.totals["useful_core_s"] == pytest.approx(useful[b], rel=TIGHT, abs=TIGHT)
            assert result.totals["invalid_actions"] == 0 or not masked
    event(f"tasks finished: {'some' if any(np.isfinite(r.finish_s).any() for r in env.results()) else 'none'}")


@examples(3 * MANY // 4)
@given(scenario=scenarios(), seed=st.integers(0, 2**32 - 1), masked=st.booleans())
def test_every_promise_of_the_page_holds_at_every_step(scenario: Scenario, seed: int, masked: bool) -> None:
    env = CloudSchedVectorEnv(scenario, CLUSTERS)
    episodes, outages = batch_of(scenario, seed)
    env.reset(seed, episodes=episodes, outages=outages)
    check_episode(env, np.random.default_rng(seed), masked)


@examples(MANY // 4)
@given(scenario=generated_scenarios(), seed=st.integers(0, 2**32 - 1), masked=st.booleans())
def test_every_promise_holds_in_episodes_that_reset_draws(scenario: Scenario, seed: int, masked: bool) -> None:
    env = CloudSchedVectorEnv(scenario, CLUSTERS)
    try:
        env.reset(seed)
    except InfeasibleWindowError:  # its tasks cannot offer the load, and the message says what would do
        reject()
    check_episode(env, np.random.default_rng(seed), masked)


@examples(MANY // 2)
@given(
    scenario=st.booleans().flatmap(lambda extreme: scenarios(extreme=extreme)),
    seed=st.integers(0, 2**32 - 1),
    masked=st.booleans(),
)
def test_oracle_agrees_on_any_cluster(scenario: Scenario, seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    episode = strained_episode(scenario, rng, 30)
    # Whether the read gate holds for a task of no misses hangs on the last bit of its warmth; let every reader miss.
    reads = (episode.cacheable_read_mb > 0) | (episode.scan_read_mb > 0)
    episode = dataclasses.replace(episode, scan_read_mb=np.where(reads, np.maximum(episode.scan_read_mb, 1e-3), 0.0))
    outages = drawn_outages(scenario, rng, rng.choice([0.0, 0.4]))
    assert_agreement(scenario, [episode], masked=masked, steps=HORIZON_STEPS, outages=outages)


@examples(MANY)
@given(scenario=scenarios(), seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_bytes_in_any_order_of_the_batch(scenario: Scenario, seed: int) -> None:
    episodes, outages = batch_of(scenario, seed)
    order = np.random.default_rng(seed).permutation(CLUSTERS)
    runs = []
    for chosen in (np.arange(CLUSTERS), order):
        env = CloudSchedVectorEnv(scenario, CLUSTERS)
        env.reset([seed + int(b) for b in chosen], episodes=[episodes[b] for b in chosen],
                  outages=[outages[b] for b in chosen])  # fmt: skip
        rngs = {int(b): np.random.default_rng([seed, b]) for b in chosen}
        shown = []
        for _ in range(12):
            actions = {
                role: np.stack(
                    [
                        rngs[int(b)].integers(
                            0, env.action_levels[role], (env.role_counts[role], len(env.action_levels[role]))
                        )
                        for b in chosen
                    ]
                )
                for role in ROLES
            }
            env.step(actions)
            back = np.argsort(chosen)
            shown.append(b"".join(env.observations[role][back].tobytes() for role in ROLES))
            shown.append(env.team_reward[back].tobytes() + env.state[back].tobytes())
        runs.append(shown)
    assert runs[0] == runs[1]


@examples(MANY)
@given(
    scenario=scenarios(extreme=False),
    seed=st.integers(0, 2**32 - 1),
    role=st.sampled_from(ROLES),
    beyond=st.one_of(st.integers(-(2**62), -1), st.integers(0, 2**62)),
)
def test_actions_out_of_range_are_refused_by_name_and_change_nothing(
    scenario: Scenario, seed: int, role: str, beyond: int
) -> None:
    env = CloudSchedVectorEnv(scenario, CLUSTERS)
    episodes, outages = batch_of(scenario, seed)
    env.reset(seed, episodes=episodes, outages=outages)
    rng = np.random.default_rng(seed)
    env.step(drawn_actions(env, rng, masked=True))
    actions = drawn_actions(env, rng, masked=False)
    b, agent, k = (int(rng.integers(size)) for size in actions[role].shape)
    level = int(env.action_levels[role][k])
    actions[role][b, agent, k] = wrong = beyond if beyond < 0 else level + beyond
    before = [env.observations[r].tobytes() for r in ROLES], env.state.tobytes()
    with pytest.raises(
        ValueError, match=rf"action {wrong} of {role}_{agent} \(cluster {b}, .*expected 0 to {level - 1}"
    ):
        env.step(actions)
    assert ([env.observations[r].tobytes() for r in ROLES], env.state.tobytes()) == before
    assert (env.simulator_state.clock.step == 1).all()
    actions[role][b, agent, k] = level - 1
    env.step(actions)
    assert (env.simulator_state.clock.step == 2).all()


@examples(MANY)
@given(data=st.data())
def test_a_number_outside_its_range_is_refused_by_the_name_of_its_field(data: st.DataObject) -> None:
    fields = numeric_fields(("workload", "failure", *{name.split(".")[0] for name in numeric_fields()}))
    name = data.draw(st.sampled_from(sorted(fields)))
    low, high, whole = fields[name]
    if whole:
        low, high = int(low), int(high)
        wrong = data.draw(st.one_of(st.integers(max_value=low - 1), st.integers(min_value=high + 1)))
    else:
        below, above = st.floats(max_value=low, exclude_max=True), st.floats(min_value=high, exclude_min=True)
        wrong = data.draw(st.one_of(below, above, st.just(float("nan"))))
    with pytest.raises(ValueError, match=rf"'{name}' is .*: expected {low:.10g} to {high:.10g} "):
        Scenario().override({name: wrong})
