from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cloudsched_env.agents import AgentError, load_agent
from cloudsched_env.cli import build_app
from cloudsched_env.evaluation import METRICS
from cloudsched_env.evaluation.export import marl_eval_results, metadata
from cloudsched_env.evaluation.protocol import evaluate, play
from cloudsched_env.evaluation.report import short_names
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.source import make_source

SHORT = {"time.horizon_steps": 60, "time.warmup_steps": 10}


@pytest.fixture(scope="module")
def evaluation():
    calls = []
    result = evaluate(
        ["least_allocated", "locality+reactive"],
        "tiny-v1",
        "validation",
        episodes=5,
        seed=3,
        overrides=SHORT,
        batch_size=2,
        progress=lambda *call: calls.append(call),
    )
    return result, calls


def test_every_agent_plays_every_episode(evaluation):
    result, _ = evaluation
    assert [agent.name for agent in result.agents] == ["least_allocated", "locality+reactive"]
    for agent in (*result.agents, result.random):
        assert list(agent.metrics) == [entry.name for entry in METRICS]
        assert all(len(values) == 5 for values in agent.metrics.values())
        assert agent.decision_time_us > 0


def test_agents_are_paired_on_the_same_episodes(evaluation):
    result, _ = evaluation
    for name in ("offered_cpu", "offered_reads", "counted_tasks"):
        offered = result.random.metrics[name]
        assert len(set(offered.tolist())) > 1, "five equal episodes would prove nothing"
        for agent in result.agents:
            np.testing.assert_array_equal(agent.metrics[name], offered)


def test_results_do_not_depend_on_the_batch_size(evaluation):
    result, _ = evaluation
    other = evaluate(
        ["least_allocated", "locality+reactive"], "tiny-v1", "validation", 5, 3, overrides=SHORT, batch_size=5
    )
    for first, second in zip((*result.agents, result.random), (*other.agents, other.random), strict=True):
        for name in first.metrics:
            np.testing.assert_array_equal(first.metrics[name], second.metrics[name], err_msg=f"{first.name} {name}")


def test_the_score_is_zero_for_random_and_stays_below_one(evaluation):
    result, _ = evaluation
    np.testing.assert_array_equal(result.score(result.random), 0.0)
    for agent in result.agents:
        floor, bound = result.random.metrics["team_reward"], result.bound["team_reward"]
        np.testing.assert_allclose(floor + result.score(agent) * (bound - floor), agent.metrics["team_reward"])
        assert (agent.metrics["team_reward"] < bound).all()


def test_no_agent_passes_the_upper_bounds(evaluation):
    result, _ = evaluation
    for name, bound in result.bound.items():
        for agent in (*result.agents, result.random):
            assert (agent.metrics[name] <= bound + 1e-9).all(), (agent.name, name)


def test_progress_counts_up_to_the_total(evaluation):
    _, calls = evaluation
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert calls[-1] == ("random", 3 * 5 * 60, 3 * 5 * 60)


def test_random_is_not_played_twice_when_it_is_asked_for():
    calls = []
    result = evaluate(["random"], "tiny-v1", episodes=2, overrides=SHORT, progress=lambda *call: calls.append(call))
    assert result.agents[0] is result.random
    assert calls[-1][2] == 2 * 60


class OutOfRange:
    name = "out_of_range"

    def reset(self, info, batch_size, seed):
        self.inner = load_agent("random")
        self.inner.reset(info, batch_size, seed)

    def act(self, observations, masks):
        actions = self.inner.act(observations, masks)
        actions["storage"][0, 1, 0] = 9
        return actions


def test_an_agents_mistake_is_reported_with_its_name_role_and_range():
    with pytest.raises(
        AgentError, match=r"'out_of_range', role 'storage': sub-action 0 of storage_1 is 9, expected 0 to 4"
    ):
        evaluate([OutOfRange()], "tiny-v1", episodes=1, overrides=SHORT)


def test_two_agents_of_the_same_name_are_refused():
    with pytest.raises(ValueError, match="same name"):
        evaluate(["locality", "locality"], "tiny-v1", episodes=1)


def test_agents_are_reset_with_the_seed_of_their_first_episode():
    seeds = []

    class Spy(OutOfRange):
        name = "spy"

        def reset(self, info, batch_size, seed):
            super().reset(info, batch_size, seed)
            seeds.append((batch_size, seed))

        def act(self, observations, masks):
            return self.inner.act(observations, masks)

    evaluate([Spy()], "tiny-v1", episodes=5, seed=10, overrides=SHORT, batch_size=2)
    assert seeds == [(2, 10), (2, 12), (1, 14)]


def test_play_returns_one_record_an_episode_and_one_time_a_step():
    source = make_source("tiny-v1", "validation")
    episodes = source.evaluation_episodes(2, 0)
    env = CloudSchedVectorEnv("tiny-v1", 2, source=source)
    records, times = play(load_agent("drf"), env, episodes, seed=0)
    assert [record.episode for record in records] == episodes
    assert times.shape == (env.scenario.time.horizon_steps,)


def test_results_have_the_layout_of_marl_eval(evaluation):
    result, _ = evaluation
    content = json.loads(json.dumps(marl_eval_results(result), allow_nan=False))
    assert list(content) == ["cloudsched"]
    assert list(content["cloudsched"]) == ["tiny-v1/validation"]
    algorithms = content["cloudsched"]["tiny-v1/validation"]
    assert set(algorithms) == {"least_allocated", "locality+reactive", "random"}
    run = algorithms["least_allocated"]["seed_3"]
    assert run["step_1"]["step_count"] == 0
    assert run["absolute_metrics"]["team_reward"] == result.agents[0].metrics["team_reward"].tolist()
    assert len(run["absolute_metrics"]["score"]) == 5
    # The tools need equal shapes everywhere.
    shapes = [{name: len(v) for name, v in a["seed_3"]["absolute_metrics"].items()} for a in algorithms.values()]
    assert shapes.count(shapes[0]) == len(shapes)


def test_metadata_hold_what_is_needed_to_repeat_the_evaluation(evaluation):
    result, _ = evaluation
    content = metadata(result, "cloudsched evaluate ...")
    assert content["command"] == "cloudsched evaluate ..."
    assert content["scenario"]["time"]["horizon_steps"] == 60
    assert (content["seed"], content["split"], content["episodes"]) == (3, "validation", 5)
    assert content["data_tag"] == "generated"
    assert content["versions"]["numpy"] == np.__version__
    assert content["execution"] == {"least_allocated": "none", "locality+reactive": "none"}


def run_command(*arguments):
    return CliRunner().invoke(build_app(), list(arguments), env={"COLUMNS": "200"})


def test_the_command_prints_tables_and_writes_results(tmp_path):
    target = tmp_path / "results.json"
    result = run_command(
        "evaluate", "balanced", "random", "--scenario", "tiny-v1", "--episodes", "3", "--json", str(target),
        "--override", "time.horizon_steps=40", "--override", "telemetry.loss_probability=0.3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("tiny-v1 · test · 3 episodes · data: generated", "upper bound", "slo_attainment", "offered_cpu"):
        assert text in result.output
    scores = json.loads(target.read_text())["cloudsched"]["tiny-v1/test"]
    assert set(scores) == {"balanced", "random"}
    beside = json.loads((tmp_path / "results.metadata.json").read_text())
    assert beside["scenario"]["telemetry"]["loss_probability"] == 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "unknown agent 'nobody'"),
        (["random", "--scenario", "paper-v9"], "unknown scenario 'paper-v9'"),
        (["random", "--override", "telemetry.loss=0.3"], "unknown scenario field 'telemetry.loss'"),
        (["random", "--override", "telemetry.loss_probability"], "expected field=value"),
    ],
)
def test_the_command_reports_mistakes_in_one_line_and_fails(arguments, message):
    result = run_command("evaluate", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_the_command_lists_agents():
    result = run_command("agents")
    assert result.exit_code == 0
    for name in ("least_allocated", "bounded_load_hash", "linear_feedback", "+reactive"):
        assert name in result.output


def test_long_names_are_cut_but_stay_apart():
    names = ["locality", "least_allocated+static(cache_level=1)", "least_allocated+static(cache_level=2)"]
    short = short_names(names)
    assert short["locality"] == "locality"
    assert len(set(short.values())) == 3
    assert max(map(len, short.values())) <= 18


@pytest.mark.parametrize("width", ["80", "200"])
def test_the_tables_fit_the_terminal_without_losing_numbers(width, tmp_path):
    specs = ["least_allocated+static(background_level=3,admission_level=2)", "bounded_load_hash+reactive", "locality"]
    changes = ["--override", "time.horizon_steps=30", "--override", "time.warmup_steps=5"]
    arguments = ["evaluate", *specs, "--scenario", "tiny-v1", "--episodes", "2", *changes]
    result = CliRunner().invoke(build_app(), arguments, env={"COLUMNS": width})
    assert result.exit_code == 0, result.output
    assert "…" not in result.output
    tables = [line for line in result.output.splitlines() if "[" in line and "(" not in line]
    assert max(map(len, tables)) <= int(width)
    assert all(spec in result.output for spec in specs)
