"""Anchors: resumable, from episodes that are there already, and never from episodes of other constants."""

from __future__ import annotations

import json
import shutil

import pytest

from cloudsched_env.leaderboard.anchors import compute_anchors
from cloudsched_env.leaderboard.execute import Here
from cloudsched_env.leaderboard.store import Results


class Counting(Here):
    """Counts batches, and stops before one as Ctrl-C would."""

    def __init__(self, stop_before=None):
        self.played, self.stop_before = 0, stop_before

    def run(self, units):
        for unit in units:
            if self.played == self.stop_before:
                raise KeyboardInterrupt
            self.played += 1
            yield from super().run(iter([unit]))


def test_an_interrupted_call_goes_on_where_it_stopped_and_changes_nothing(small_suite, played, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compute_anchors(small_suite, keep=tmp_path, executor=Counting(stop_before=4))
    rest = Counting()
    found = compute_anchors(small_suite, keep=tmp_path, executor=rest)
    assert rest.played == 2  # of six batches, three a run
    whole = compute_anchors(small_suite)
    for scenario in whole.random:
        # What is kept has nine digits.
        assert found.random[scenario] == pytest.approx(whole.random[scenario], rel=1e-8)
        assert found.bound[scenario].tolist() == whole.bound[scenario].tolist()


def test_the_random_agent_of_reference_results_serves_and_keeps_its_declaration(small_suite, played, tmp_path):
    shutil.copytree(played, tmp_path / "results")
    file = tmp_path / "results" / "small-v1" / "agents" / "random" / "agent.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"description": "The zero of the score"}))
    counting = Counting()
    compute_anchors(small_suite, keep=tmp_path / "results", executor=counting)
    assert counting.played == 0
    assert json.loads(file.read_text())["description"] == "The zero of the score"


def test_episodes_of_other_constants_are_refused_by_folder(small_suite, played, tmp_path):
    shutil.copytree(played, tmp_path / "results")
    folder = Results(tmp_path / "results" / "small-v1").folder("random").path
    text = (folder / "metadata.json").read_text()
    (folder / "metadata.json").write_text(text.replace(text.split('"scenario_digest": "')[1][:12], "0" * 12))
    with pytest.raises(ValueError, match=r"random: .* other constants than today's: remove that folder"):
        compute_anchors(small_suite, keep=tmp_path / "results")
