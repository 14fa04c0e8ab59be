import numpy as np
import pettingzoo
import pytest

import cloudsched_env
from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.source import GeneratedSource
from tests.workload.streams import stream


def rollout(env, seed=None, overrides=None, steps=15):
    """Rewards and observations of random legal actions, as bytes; the actions are the same every time."""
    options = {} if overrides is None else {"overrides": overrides}
    observations, _ = env.reset(seed=seed, options=options)
    for position, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(position)
    record = [observations]
    for _ in range(steps):
        actions = {a: env.action_space(a).sample(observations[a]["action_mask"]) for a in env.agents}
        observations, rewards, *_ = env.step(actions)
        record += [observations, rewards]
    return repr([[(k, np.asarray(v["observation"] if isinstance(v, dict) else v).tobytes()) for k, v in r.items()]
                 for r in record])  # fmt: skip


def test_made_with_overrides_through_the_registry():
    env = pettingzoo.make("parallel", "cloudsched/tiny-v1", overrides={"telemetry.loss_probability": 0.3})
    assert env.unwrapped.scenario.telemetry.loss_probability == 0.3
    assert env.unwrapped.scenario.id == "tiny-v1"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"telemetry.loss": 0.3},
            r"unknown scenario field 'telemetry.loss': did you mean .*'telemetry.loss_probability'",
        ),
        (
            {"telemetri.delay_steps": 3},
            r"unknown scenario field 'telemetri.delay_steps': did you mean 'telemetry.delay_steps'",
        ),
        ({"telemetry.loss_probability": 1.5}, r"'telemetry.loss_probability' is 1.5: expected 0 to 1"),
        ({"telemetry.delay_steps": 2.5}, r"'telemetry.delay_steps' is 2.5: expected int"),
        ({"telemetry.delay_steps": True}, r"'telemetry.delay_steps' is True: expected int"),
        ({"telemetry.delay_steps.x": 1}, r"'telemetry.delay_steps' is a single value"),
        ({"cache.enabled": 1}, r"'cache.enabled' is 1: expected bool"),
        ({"telemetry": 3}, r"'telemetry' is 3: expected a group of fields"),
        ({"cluster.compute_nodes": 3}, r"'cluster.compute_nodes' is 3: expected a list"),
        ({"cluster.compute_nodes.0.count": 3}, r"'cluster.compute_nodes' is a single value"),
        ({"cluster.compute_nodes": [3]}, r"'cluster.compute_nodes\[0\]' is 3: expected a group of fields"),
        ({"cluster.compute_nodes": [{"count": 1, "core": 2}]}, r"'cluster.compute_nodes\[0\].core'"),
        ({"cluster.compute_nodes": []}, r"cluster.compute_nodes is empty"),
        ({"workload.replicas": 5}, r"workload.replicas 5 exceeds cluster.storage_nodes 2"),
        (
            {"background.minimum_loss": 0.9, "background.maximum_loss": 0.2},
            r"background.minimum_loss 0.9 must not exceed background.maximum_loss 0.2",
        ),
        ({"background.minimum_loss": 0.6}, r"background.minimum_loss 0.6 must not exceed background.maximum_loss 0.5"),
        ({"workload.flash_crowds": 9}, r"workload.flash_crowds 9 x workload.flash_crowd_duration_s 5"),
        ({"workload.hot_shift_interval_s": 0.05}, r"hot_shift_interval_s 0.05 must be 0 .* or at least time.step_s"),
        ({"workload.hot_shift_interval_s": 5.0, "workload.shards_per_tenant": 1}, r"at least 2 workload.shards_per"),
        ({"telemetry": {"delay_steps": 1}, "telemetry.delay_steps": 2}, r"'telemetry.delay_steps' is changed twice"),
        ({"telemetry": 3, "telemetry.delay_steps": 2}, r"'telemetry' is 3: expected a group of fields"),
        ({3: 4}, r"scenario field 3: expected a dotted name, such as"),
        ([("telemetry.delay_steps", 3)], r"expected field names and values, such as"),
        ([], r"overrides are \[\]: expected field names and values, such as"),
        (False, r"overrides are False: expected field names and values, such as"),
    ],
)
def test_wrong_overrides_are_refused_by_name_at_make_and_at_reset(overrides, message):
    with pytest.raises(ValueError, match=message):
        cloudsched_env.parallel_env("tiny-v1", overrides=overrides)
    with pytest.raises(ValueError, match=message):
        cloudsched_env.parallel_env("tiny-v1").reset(seed=0, options={"overrides": overrides})


@pytest.mark.parametrize("key", ["override", "Overrides", "overides", "over_rides", "workload.cpu_load"])
def test_at_reset_an_override_in_the_wrong_place_is_not_passed_over(key):
    env = cloudsched_env.parallel_env("tiny-v1")
    with pytest.raises(ValueError, match=rf"options\['{key}'\]: .* options={{\"overrides\": {{\"workload.cpu_load\""):
        env.reset(seed=0, options={key: {"workload.cpu_load": 0.1}})


def test_at_reset_foreign_options_are_ignored():
    env = cloudsched_env.parallel_env("tiny-v1")
    foreign = {"order": 1, "level": "hard", 3: 4, "": None, "rides": 2, "overrides": None, "episode": None}
    env.reset(seed=0, options=foreign)
    assert env.scenario == load_scenario("tiny-v1")


@pytest.mark.parametrize("options", [[1], [], "overrides", 0])
def test_at_reset_options_that_are_no_dictionary_are_refused(options):
    env = cloudsched_env.parallel_env("tiny-v1")
    with pytest.raises(ValueError, match="expected a dictionary, such as"):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize(
    ("option", "message"),
    [("override", "did you mean 'overrides'"), ("Reward", "did you mean 'reward'"), ("xyz", "known: .*render_mode")],
)
def test_at_make_an_unknown_option_is_named_with_the_nearest(option, message):
    for make in (
        lambda **options: cloudsched_env.parallel_env("tiny-v1", **options),
        lambda **options: pettingzoo.make("parallel", "cloudsched/tiny-v1", **options),
    ):
        with pytest.raises(TypeError, match=f"no option '{option}': {message}"):
            make(**{option: {}})


def test_overrides_may_be_nested_and_leave_the_callers_dictionary_alone():
    overrides = {"telemetry": {"delay_steps": 1}, "telemetry.loss_probability": np.float32(0.5)}
    changed = load_scenario("tiny-v1", overrides)
    assert (changed.telemetry.delay_steps, changed.telemetry.loss_probability) == (1, 0.5)
    assert overrides["telemetry"] == {"delay_steps": 1}
    assert load_scenario("tiny-v1", {"telemetry.delay_steps": np.int64(3)}).telemetry.delay_steps == 3


def test_overrides_at_reset_equal_those_at_make_and_last_one_episode():
    changes = {"workload.cpu_load": 0.5, "telemetry.loss_probability": 0.9, "time.horizon_steps": 120}
    env = cloudsched_env.parallel_env("tiny-v1")
    plain = rollout(env, seed=4)
    changed = rollout(env, seed=4, overrides=changes)
    assert env.scenario.workload.cpu_load == 0.5
    assert changed == rollout(cloudsched_env.parallel_env("tiny-v1", overrides=changes), seed=4)
    assert changed != plain
    assert rollout(env, seed=4) == plain
    assert env.scenario == load_scenario("tiny-v1")


def test_overrides_at_reset_come_on_top_of_those_at_make():
    env = cloudsched_env.parallel_env("tiny-v1", overrides={"telemetry.delay_steps": 1, "workload.cpu_load": 0.5})
    env.reset(seed=0, options={"overrides": {"workload.cpu_load": 0.6}})
    assert (env.scenario.telemetry.delay_steps, env.scenario.workload.cpu_load) == (1, 0.6)


def test_without_a_seed_random_numbers_go_on_through_overridden_episodes():
    first, second = (cloudsched_env.parallel_env("tiny-v1") for _ in range(2))
    episodes = [[rollout(env, seed=4), rollout(env, overrides={"reward.fairness_decay": 0.9}), rollout(env)]
                for env in (first, second)]  # fmt: skip
    assert episodes[0] == episodes[1]
    assert len(set(episodes[0])) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scheduling.window_slots", 5),
        ("cluster.schedulers", 2),
        ("cluster.compute_nodes", [{"count": 3}]),
        ("compute.cache_fractions", [0.2, 0.4, 0.6]),
    ],
)
def test_at_reset_no_field_may_change_a_space_and_the_field_is_named(field, value):
    env = cloudsched_env.parallel_env("tiny-v1")
    with pytest.raises(ValueError, match=rf"overrides.*: {field} would change the spaces .* parallel_env"):
        env.reset(seed=0, options={"overrides": {"telemetry.delay_steps": 2, field: value}})
    env.reset(seed=0)
    assert env.scenario == load_scenario("tiny-v1")
    assert len(cloudsched_env.parallel_env("tiny-v1", overrides={field: value}).possible_agents) >= 5


def test_a_failed_reset_leaves_the_running_episode_as_it_was():
    env = cloudsched_env.parallel_env("tiny-v1")
    observations, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="unknown scenario field"):
        env.reset(options={"overrides": {"nonsense": 1}})
    env.step({a: env.action_space(a).sample(observations[a]["action_mask"]) for a in env.agents})


@pytest.mark.parametrize("kind", ["generator", "trace"])
def test_a_source_made_for_the_scenario_follows_overrides(kind):
    from cloudsched_env.workload.source import TraceSource

    source = (
        GeneratedSource("tiny-v1", "test")
        if kind == "generator"
        else TraceSource(stream(hours=12.0, jobs_per_s=0.1), "tiny-v1", "test")
    )
    overrides = {"workload.cpu_load": 0.4, "workload.tenants": 3}
    env = cloudsched_env.parallel_env("tiny-v1", source=source, overrides=overrides)
    env.reset(seed=0)
    assert env.result().episode.details["offered_load"]["cpu"] == pytest.approx(0.4)
    assert env.result().episode.data_tag == source.data_tag
    env.reset(seed=0, options={"overrides": {"workload.cpu_load": 0.3}})
    assert env.result().episode.details["offered_load"]["cpu"] == pytest.approx(0.3)
    assert env.result().episode.details["split"] == "test"


def test_a_source_that_cannot_follow_overrides_is_refused():
    class FixedSource:
        def __init__(self):
            inner = GeneratedSource("tiny-v1")
            self.scenario, self.split, self.data_tag, self.episode = inner.scenario, "train", "generated", inner.episode

    env = cloudsched_env.parallel_env("tiny-v1", source=FixedSource())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="FixedSource has no method with_scenario"):
        cloudsched_env.parallel_env("tiny-v1", source=FixedSource(), overrides={"workload.cpu_load": 0.4})
    with pytest.raises(ValueError, match="FixedSource has no method with_scenario"):
        env.reset(options={"overrides": {"workload.cpu_load": 0.4}})
