import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.workload.background import core_shares, draw_background
from cloudsched_env.workload.source import GeneratedSource

LOUD = {"background.enabled": True, "background.quiet_mean_s": 3.0, "background.disturbed_mean_s": 1.0}


def schedule_of(scenario: Scenario, seed: int):
    return draw_background(scenario, np.random.default_rng(seed))


@settings(max_examples=60)
@given(
    quiet_s=st.floats(0.1, 1e4),
    disturbed_s=st.floats(0.1, 1e4),
    losses=st.tuples(st.floats(0, 0.95), st.floats(0, 0.95)).map(sorted),
    seed=st.integers(0, 2**32 - 1),
)
def test_schedules_keep_what_an_episode_promises(quiet_s, disturbed_s, losses, seed):
    low, high = losses
    scenario = load_scenario(
        "paper-v1",
        {
            "background.enabled": True,
            "background.quiet_mean_s": quiet_s,
            "background.disturbed_mean_s": disturbed_s,
            "background.minimum_loss": low,
            "background.maximum_loss": high,
        },
    )
    step, node, share = schedule_of(scenario, seed)
    assert (step.dtype, node.dtype, share.dtype) == (np.int64, np.int32, np.float64)
    assert len(step) == len(node) == len(share)
    assert (np.diff(step) >= 0).all()
    assert ((step >= 0) & (step < scenario.time.horizon_steps)).all()
    assert ((node >= 0) & (node < scenario.compute_count)).all()
    quiet = share == 1.0
    assert ((share[~quiet] >= 1 - high) & (share[~quiet] <= 1 - low)).all()
    for n in range(scenario.compute_count):
        steps, mine = step[node == n], share[node == n]
        assert (np.diff(steps) >= 1).all()
        if low > 1e-9:  # disturbed and quiet take turns, beginning with a disturbance
            np.testing.assert_array_equal(mine == 1.0, np.arange(len(mine)) % 2 == 1)


def test_there_are_none_when_they_are_switched_off():
    assert [len(column) for column in schedule_of(load_scenario("paper-v1", {"background.enabled": False}), 0)] == [
        0
    ] * 3


def test_the_same_generator_gives_the_same_schedule_and_another_a_different_one():
    scenario = load_scenario("paper-v1", LOUD)
    one, two, other = (schedule_of(scenario, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_shares_are_those_of_the_last_change():
    scenario = load_scenario("tiny-v1", {"time.horizon_steps": 12})
    episode = GeneratedSource(load_scenario("tiny-v1"), "train").episode(np.random.default_rng(0))
    episode = dataclasses.replace(
        episode,
        background_step=np.array([0, 3, 3, 9]),
        background_node=np.array([1, 0, 1, 1], np.int32),
        background_share=np.array([0.5, 0.25, 1.0, 0.75]),
    )
    expected = [[1.0] * 3 + [0.25] * 9, [0.5] * 3 + [1.0] * 6 + [0.75] * 3]
    np.testing.assert_array_equal(core_shares(scenario, episode), expected)


def test_disturbed_share_and_capacity_are_those_of_the_means():
    scenario = load_scenario("paper-v1", {**LOUD, "time.horizon_steps": 4000})
    episode = GeneratedSource(load_scenario("tiny-v1"), "train").episode(np.random.default_rng(0))
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(12):
        step, node, share = draw_background(scenario, rng)
        columns = {"background_step": step, "background_node": node, "background_share": share}
        shares.append(core_shares(scenario, dataclasses.replace(episode, **columns)))
    left = np.array(shares)
    # A quarter of the time; 12 x 16 nodes x 400 s / 0.75 s of memory.
    loss = (scenario.background.minimum_loss + scenario.background.maximum_loss) / 2
    assert loss > 0.1
    assert (left < 1.0).mean() == pytest.approx(0.25, abs=0.008)
    assert left.mean() == pytest.approx(1 - 0.25 * loss, abs=0.005)


def test_neighbours_leave_every_other_draw_of_an_episode_as_it_is():
    """With and without them the same tasks: their effect can be measured by itself."""
    quiet, loud = (
        GeneratedSource(load_scenario("paper-v1", {**LOUD, "background.enabled": on}), "train").episode(
            np.random.default_rng(5)
        )
        for on in (False, True)
    )
    assert len(loud.background_step) > 0
    for field in dataclasses.fields(quiet):
        value = getattr(quiet, field.name)
        if isinstance(value, np.ndarray) and not field.name.startswith("background"):
            assert value.tobytes() == getattr(loud, field.name).tobytes(), field.name
