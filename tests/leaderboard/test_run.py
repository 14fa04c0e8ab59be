from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.evaluation.protocol import play
from cloudsched_env.leaderboard.declaration import Declaration, load_declarations
from cloudsched_env.leaderboard.episodes import draw_episodes
from cloudsched_env.leaderboard.execute import Here, Processes
from cloudsched_env.leaderboard.run import run_suite
from cloudsched_env.leaderboard.store import Results, boards
from cloudsched_env.leaderboard.suites import load_suite
from cloudsched_env.leaderboard.units import DECISION_TIME
from cloudsched_env.vector import CloudSchedVectorEnv


class Stopping(Here):
    """Stops after some batches, as Ctrl-C or a power cut would."""

    def __init__(self, batches):
        self.batches = batches

    def run(self, units):
        for number, result in enumerate(super().run(units)):
            if number == self.batches:
                raise KeyboardInterrupt
            yield result


class Counting(Here):
    """Remembers what was played."""

    def __init__(self):
        self.played = []

    def run(self, units):
        for result in super().run(units):
            self.played.append(result.batch)
            yield result


def raw_files(folder):
    """Raw results without decision times, which no two runs share."""
    found = {}
    for file in sorted(folder.rglob("raw/**/*.json")):
        text = json.loads(file.read_text())
        for scenario in text["cloudsched"].values():
            for algorithm in scenario.values():
                for run in algorithm.values():
                    for values in run.values():
                        values.pop(DECISION_TIME)
        found[file.relative_to(folder)] = text
    return found


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_as_if_it_had_not(small_suite, tmp_path):
    agents = load_declarations(["random"])
    run_suite(small_suite, agents, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_suite(small_suite, agents, tmp_path / "parts", executor=Stopping(3))
    after = Counting()
    summary = run_suite(small_suite, agents, tmp_path / "parts", executor=after)
    assert len(after.played) == 3  # of six batches: two of tiny, one of the other scenario, twice
    assert summary.played + summary.kept == 10
    assert raw_files(tmp_path / "whole") == raw_files(tmp_path / "parts")
    assert not list((tmp_path / "parts").rglob("journal.jsonl"))


def test_a_torn_journal_line_costs_that_batch_only(small_suite, tmp_path):
    agents = load_declarations(["random"])
    with pytest.raises(KeyboardInterrupt):
        run_suite(small_suite, agents, tmp_path, executor=Stopping(3))
    (journal,) = tmp_path.rglob("journal.jsonl")
    text = journal.read_text()
    journal.write_text(text[: len(text) - 40])
    after = Counting()
    run_suite(small_suite, agents, tmp_path, executor=after)
    assert len(after.played) == 4  # of tiny: the torn batch, and three that were never begun
    assert Results(tmp_path / "small-v1").folder("random").runs("tiny-v1") == [0, 1]


def test_what_is_complete_is_not_played_again(played, small_suite, tmp_path):
    shutil.copytree(played, tmp_path / "copy")
    after = Counting()
    summary = run_suite(small_suite, load_declarations(["balanced"]), tmp_path / "copy", executor=after)
    assert after.played == []
    assert (summary.played, summary.kept) == (0, 10)


def test_raw_results_are_what_the_protocol_gives_in_marl_evals_layout(played, small_suite):
    suite = load_suite(small_suite)
    file = played / "small-v1" / "agents" / "balanced" / "raw" / "tiny-v1" / "seed_1.json"
    content = json.loads(file.read_text())
    run = content["cloudsched"]["tiny-v1/test"]["balanced"]["seed_1"]
    assert run["step_1"]["step_count"] == 0
    assert {entry.name for entry in METRICS} <= set(run["absolute_metrics"])
    entry, batch = suite.scenario("tiny-v1"), suite.batches("tiny-v1", 1)[0]
    env = CloudSchedVectorEnv("tiny-v1", batch.windows)
    records, _ = play(load_agent("balanced"), env, draw_episodes(suite, entry, None, range(2)), batch.seed)
    rewards = [record.totals["team_reward"] / record.totals["steps"] for record in records]
    assert run["absolute_metrics"]["team_reward"][:2] == pytest.approx(rewards, rel=1e-8)


def test_packed_results_are_read_as_before(played, small_suite, tmp_path):
    shutil.copytree(played, tmp_path / "copy")
    results = Results(tmp_path / "copy" / "small-v1")
    folder, plain = results.folder("balanced"), Results(played / "small-v1").folder("balanced")
    before, after = folder.pack()
    assert after < before / 2
    assert not list(folder.path.glob("raw/*/*.json"))
    for metric in ("team_reward", DECISION_TIME):
        assert (folder.matrix("tiny-v1", metric) == plain.matrix("tiny-v1", metric)).all()
    assert dict(folder.raw_files()) == dict(plain.raw_files())
    packed = {file: file.read_bytes() for file in folder.path.rglob("*.gz")}
    assert len(packed) == 4
    assert folder.pack() == (after, after)
    assert packed == {file: file.read_bytes() for file in folder.path.rglob("*.gz")}
    counting = Counting()
    run_suite(small_suite, load_declarations(["balanced"]), tmp_path / "copy", executor=counting)
    assert counting.played == []


def test_metadata_tell_how_every_raw_file_came_about(played):
    metadata = json.loads((played / "small-v1" / "agents" / "balanced" / "metadata.json").read_text())
    made = metadata["tiny-v1"]["0"]
    assert made["command"] == "cloudsched leaderboard run"
    assert made["data"]["tag"] == "generated"
    assert made["machine"]["processor"]
    assert made["versions"]["numpy"] == np.__version__
    assert len(made["scenario_digest"]) == 12


def test_runs_differ_by_their_seeds_and_agents_meet_the_same_work(played):
    board = next(boards(played))
    random = board.folder("random").matrix("tiny-v1", "team_reward")
    assert (random[0] != random[1]).all()
    offered = [board.folder(slug).matrix("tiny-v1", "offered_cpu") for slug in ("random", "balanced")]
    assert (offered[0] == offered[1]).all()


def test_a_crash_costs_the_agents_own_row_only(played):
    board = next(boards(played))
    failure = board.folder("aborts").failure
    assert failure["kind"] == "crash"
    assert "SIGABRT" in failure["message"]
    assert board.folder("balanced").failure is None
    assert board.folder("balanced").runs("tiny-v1") == [0, 1]
    assert board.folder("aborts").runs("tiny-v1") == []


def test_an_isolated_rule_plays_as_it_does_in_this_process(played):
    board = next(boards(played))
    for scenario in ("tiny-v1", "tenants-4-per-tenant-v1"):
        for metric in ("team_reward", "scheduling_latency_mean_ms"):
            here, there = (board.folder(slug).matrix(scenario, metric) for slug in ("balanced", "trained"))
            assert (here == there).all()


@pytest.mark.slow
def test_several_processes_give_the_same_results(small_suite, played, tmp_path):
    run_suite(small_suite, load_declarations(["balanced"]), tmp_path, executor=Processes(2))
    folder = played / "small-v1" / "agents" / "balanced"
    assert raw_files(tmp_path / "small-v1" / "agents" / "balanced") == raw_files(folder)


def test_results_of_another_list_or_another_agent_are_not_mixed_in(small_suite, played, tmp_path):
    shutil.copytree(played, tmp_path / "copy")
    with pytest.raises(ValueError, match="use another name"):
        run_suite(small_suite, [Declaration("balanced", "tetris")], tmp_path / "copy")
    header = tmp_path / "copy" / "small-v1" / "run.json"
    header.write_text(header.read_text().replace(load_suite(small_suite).digest, "0" * 12))
    with pytest.raises(ValueError, match="different lists"):
        Results(header.parent)


def test_an_agent_with_fewer_trainings_plays_fewer_runs(small_suite, agents_file, tmp_path):
    declaration = Declaration("one", "{here}/agents.py:Good(seed={seed})", trainings=1, folder=str(agents_file.parent))
    summary = run_suite(small_suite, [declaration], tmp_path)
    assert summary.played == 5
    stored = (tmp_path / "small-v1" / "agents" / "one" / "agent.json").read_text()
    assert str(agents_file.parent) not in stored


def test_declarations_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="give both or neither"):
        Declaration("a", "x:{seed}")
    file = tmp_path / "agent.json"
    file.write_text('{"name": "a", "spec": "balanced", "colour": 1}')
    with pytest.raises(ValueError, match="colour"):
        load_declarations([str(file)])
    with pytest.raises(ValueError, match="same name"):
        load_declarations(["balanced", "balanced"])


def test_names_become_file_names_that_stay_apart():
    slugs = {Declaration(name, "balanced").slug for name in ("a b", "a/b", "a:b", "../a", "balanced", "*")}
    assert len(slugs) == 6
    assert not any("/" in slug or slug.startswith(".") for slug in slugs)
    assert "balanced" in slugs
