from __future__ import annotations

import shutil

import numpy as np
import pytest

from cloudsched_env.evaluation.statistics import interquartile_mean
from cloudsched_env.leaderboard.anchors import anchors_for, compute_anchors
from cloudsched_env.leaderboard.compare import ALL, compare
from cloudsched_env.leaderboard.convergence import Curve, converged_at, convergence, kaplan_meier_median, read_curve
from cloudsched_env.leaderboard.standings import THRESHOLDS, board_of
from cloudsched_env.leaderboard.store import Results, boards


@pytest.fixture(scope="module")
def board(played):
    return board_of(next(boards(played)))


def row(board, name):
    return next(row for row in board.rows if row.slug == name)


def test_the_score_is_0_for_the_random_agent_and_cannot_exceed_1(board):
    for scenario, matrix in row(board, "random").scores.items():
        # Anchors are the mean of the random agent over runs: its mean score is 0 on every window.
        assert matrix.mean(axis=0) == pytest.approx(0, abs=1e-6), scenario
    assert all((matrix < 1).all() for r in board.ranked for matrix in r.scores.values())


def test_the_score_is_the_mean_over_scenarios_of_their_interquartile_means(board):
    found = row(board, "balanced")
    parts = [interquartile_mean(matrix.reshape(-1)) for matrix in found.scores.values()]
    assert found.score.estimate == pytest.approx(np.mean(parts))
    assert [i.estimate for i in found.by_scenario.values()] == pytest.approx(parts)


def test_agents_that_play_the_same_share_a_rank(board):
    balanced, trained, random = (row(board, name) for name in ("balanced", "trained", "random"))
    assert balanced.rank == trained.rank
    assert balanced.tied
    assert trained.tied
    assert random.rank > balanced.rank


def test_an_agent_that_failed_is_listed_last_with_its_reason_and_without_a_score(board):
    last = board.rows[-1]
    assert (last.slug, last.status, last.score, last.rank) == ("aborts", "failed", None, 0)
    assert "SIGABRT" in last.message


def test_intervals_of_trained_agents_are_over_trainings(board):
    assert row(board, "trained").interval_over == "trainings"
    assert row(board, "balanced").interval_over == "seeds"


def test_profiles_fall_from_one_to_zero(board):
    for found in board.ranked:
        assert (np.diff(found.profile.share) <= 1e-12).all()
        assert found.profile.share[-1] == 0
        assert (found.profile.low <= found.profile.share).all()
    scores = row(board, "balanced").scores
    expected = np.mean([(matrix > THRESHOLDS[10]).mean() for matrix in scores.values()])
    assert row(board, "balanced").profile.share[10] == pytest.approx(expected)


def test_results_under_other_constants_are_not_ranked(played, tmp_path):
    shutil.copytree(played, tmp_path / "copy")
    file = tmp_path / "copy" / "small-v1" / "agents" / "balanced" / "metadata.json"
    text = file.read_text()
    digest = text.split('"scenario_digest": "')[1][:12]
    file.write_text(text.replace(digest, "0" * 12))
    found = row(board_of(Results(tmp_path / "copy" / "small-v1")), "balanced")
    assert (found.status, found.rank) == ("stale", 0)
    assert "run it again" in found.message


def test_damaged_results_cost_their_own_row_only(played, tmp_path):
    shutil.copytree(played, tmp_path / "copy")
    results = Results(tmp_path / "copy" / "small-v1")
    (results.folder("balanced").path / "raw" / "tiny-v1" / "seed_0.json").write_text('{"cloudsched": ')
    found = board_of(results)
    assert row(found, "balanced").status == "failed"
    assert "raw/tiny-v1/seed_0.json" in row(found, "balanced").message
    assert str(tmp_path) not in row(found, "balanced").message
    assert row(found, "random").status == "ok"


def test_rows_are_ordered_by_score(board):
    places = [-found.score.estimate for found in board.ranked]
    assert places == sorted(places)


def test_missing_and_stale_anchors_name_the_command(played, tmp_path):
    shutil.copytree(played, tmp_path / "copy")
    results = Results(tmp_path / "copy" / "small-v1")
    file = results.path / "anchors.json"
    text = file.read_text()
    file.write_text(text.replace(text.split('"scenario_digest": "')[1][:12], "0" * 12))
    with pytest.raises(ValueError, match=r"have changed.*cloudsched leaderboard anchors small-v1"):
        anchors_for(results)
    file.unlink()
    with pytest.raises(ValueError, match=r"no anchors.*cloudsched leaderboard anchors small-v1"):
        anchors_for(results)


def test_anchors_are_read_as_they_were_written(played, small_suite):
    results = next(boards(played))
    stored, again = anchors_for(results), compute_anchors(small_suite)
    for scenario in stored.random:
        assert stored.random[scenario] == pytest.approx(again.random[scenario], rel=1e-8)
        assert stored.bound[scenario] == pytest.approx(again.bound[scenario], rel=1e-8)


def test_comparing_says_who_is_better_in_which_direction(played):
    results = next(boards(played))
    found = compare(results.folder("balanced"), results.folder("random"), anchors_for(results))
    by = {(entry.scenario, entry.metric): entry for entry in found}
    assert by[ALL, "score"].verdict == "better"
    latency = by[ALL, "scheduling_latency_mean_ms"]
    assert latency.difference.estimate < 0
    assert latency.improvement.estimate > 0.9  # lower is better
    assert by["tiny-v1", "score"].episodes == 6
    same = compare(results.folder("balanced"), results.folder("trained"), anchors_for(results), ["score"])
    assert {entry.verdict for entry in same} == {"tie"}
    assert {entry.improvement.estimate for entry in same} == {0.5}
    with pytest.raises(ValueError, match="unknown metric"):
        compare(results.folder("balanced"), results.folder("random"), anchors_for(results), ["speed"])


def curve(*scores):
    return Curve(1000.0 * np.arange(1, len(scores) + 1), np.array(scores))


def test_convergence_needs_the_threshold_to_be_held():
    assert converged_at(curve(0, 1, 1, 0, 1, 1, 1), 0.5, patience=3) == 5000
    assert converged_at(curve(0, 1, 1, 0, 1, 1), 0.5, patience=3) is None


def test_trainings_that_do_not_converge_are_censored_not_dropped():
    good, bad = curve(*[0] * 2, *[1] * 8), curve(*[0] * 10)
    one_of_three = convergence([good, bad, bad], 0.5)
    assert (one_of_three.converged, one_of_three.trainings) == (1, 3)
    assert one_of_three.median_env_steps is None
    assert one_of_three.budget_env_steps == 10_000
    assert convergence([good, good, bad], 0.5).median_env_steps == 3000


def test_the_median_is_that_of_kaplan_and_meier():
    # Remission times of the 6-MP group of Freireich et al. (1963): median 23 weeks.
    events = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    assert kaplan_meier_median(events, censored) == 23


def test_curves_leave_out_epochs_without_validation_and_name_bad_lines(tmp_path):
    file = tmp_path / "c.csv"
    file.write_text("env_steps,validation/team_reward\n1000,\n2000,0.5\n3000,x\n")
    with pytest.raises(ValueError, match=r"c\.csv, line 4"):
        read_curve(file)
    file.write_text("env_steps,validation/team_reward\n1000,\n2000,0.5\n")
    assert read_curve(file).env_steps.tolist() == [2000]
    file.write_text("steps\n1\n")
    with pytest.raises(ValueError, match="no column"):
        read_curve(file)


def test_curves_come_along_with_the_results(board):
    assert len(row(board, "trained").curves) == 2
    assert row(board, "trained").convergence.converged == 2
