from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from cloudsched_env.leaderboard.anchors import load_anchors
from cloudsched_env.leaderboard.episodes import draw_episodes, inspect_data, scenario_digest
from cloudsched_env.leaderboard.suites import load_suite, suite_ids
from cloudsched_env.workload.splits import committed_entries

# A published list never changes: a changed one is a new version with a new line here.
DIGESTS = {
    "quick-v1": "3d5b776028fd",
    "standard-v1": "633df691a91e",
    "stress-v1": "64a4f2354f8f",
    "trace-v1": "f4f72d1338f6",
    "transfer-v1": "e1484d51b4c1",
}


def test_published_suites_are_what_they_were():
    assert {name: load_suite(name).digest for name in suite_ids()} == DIGESTS


@pytest.mark.parametrize("name", [name for name in DIGESTS if not name.startswith("transfer")])
def test_suites_are_made_of_test_windows_only(name):
    suite = load_suite(name)
    known = "google2011-excerpt" if suite.workload.kind == "trace" else "generated"
    test = {(entry.seed, entry.start_s) for entry in committed_entries(known, "test")}
    for entry in suite.scenarios:
        assert {(window.seed, window.start_s) for window in entry.windows} <= test
        assert len(set(entry.windows)) == len(entry.windows)


def test_a_name_means_its_newest_version():
    assert load_suite("standard").id == "standard-v1"


def test_the_suite_of_transfer_fits_any_trace():
    (entry,) = load_suite("transfer").scenarios
    assert all(window.start_s is None and 0 <= window.share <= 1 for window in entry.windows)


def test_stress_plays_variants_on_the_same_windows():
    suite = load_suite("stress")
    assert len({entry.windows for entry in suite.scenarios}) == 1
    for kind in ("loss", "stale", "tenants", "failures", "flash-crowd", "hot-shift"):
        assert any(entry.scenario.startswith(kind) for entry in suite.scenarios), kind


def test_batches_cover_every_window_once(small_suite):
    suite = load_suite(small_suite)
    places = [p for b in suite.batches("tiny-v1", 1) for p in range(b.first, b.first + b.windows)]
    assert places == [0, 1, 2]
    seeds = {(b.run, b.seed + i) for run in range(2) for b in suite.batches("tiny-v1", run) for i in range(b.windows)}
    assert len({seed for _, seed in seeds}) == 6  # no two episodes of a scenario share a seed


def test_the_digest_follows_the_list_but_not_the_description(small_suite, tmp_path):
    content = json.loads(Path(small_suite).read_text())
    digests = []
    for change in ({}, {"description": "other"}, {"runs": 3}):
        file = tmp_path / "small-v1.json"
        file.write_text(json.dumps(content | change))
        digests.append(load_suite(str(file)).digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "says that it is other-v1"),
        ({"runs": 0}, "at least one run"),
        (
            {"scenarios": [{"scenario": "tiny-v1", "batch": 2, "windows": [{"seed": 1, "start_s": 0.0}]}]},
            "windows of a trace",
        ),
        ({"scenarios": [{"scenario": "tiny-v1", "batch": 2, "windows": [{"sead": 1}]}]}, "sead"),
        ({"surprise": 1}, "expected an object with the keys"),
    ],
)
def test_a_wrong_file_is_refused_with_what_was_expected(small_suite, tmp_path, change, message):
    file = tmp_path / "small-v1.json"
    file.write_text(json.dumps(json.loads(Path(small_suite).read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_suite(str(file))


def test_an_unknown_suite_names_those_that_there_are():
    with pytest.raises(ValueError, match="standard-v1"):
        load_suite("standart")


def test_fewer_runs_are_a_part_of_all_runs_and_more_are_refused(small_suite):
    assert load_suite(small_suite).with_fewer(1).batches("tiny-v1", 0) == load_suite(small_suite).batches("tiny-v1", 0)
    with pytest.raises(ValueError, match="expected 1 to 2"):
        load_suite(small_suite).with_fewer(3)


def test_a_suite_on_a_trace_says_how_to_get_one():
    with pytest.raises(ValueError, match="cloudsched traces import"):
        inspect_data(load_suite("trace"), None)
    with pytest.raises(ValueError, match="leave --trace out"):
        inspect_data(load_suite("quick"), "some.parquet")


def test_windows_are_the_same_episodes_drawn_alone_or_together():
    suite = load_suite("quick")
    entry = suite.scenario("tiny-v1")
    together = draw_episodes(suite, entry, None, range(3))
    (alone,) = draw_episodes(suite, entry, None, [2])
    assert (together[2].arrival_s == alone.arrival_s).all()
    assert (together[2].cores == alone.cores).all()


def test_committed_anchors_are_of_todays_suites_and_constants():
    folder = resources.files("cloudsched_env.leaderboard").joinpath("anchors")
    for file in folder.iterdir():
        if file.name.endswith(".json"):
            text = file.read_text(encoding="utf-8")
            suite = load_suite(json.loads(text)["suite"])
            anchors = load_anchors(text, suite)
            for entry in suite.scenarios:
                assert anchors.scenario_digests[entry.scenario] == scenario_digest(entry.load()), (
                    f"the constants of {entry.scenario} have changed: cloudsched leaderboard anchors {suite.id}"
                )
                assert len(anchors.random[entry.scenario]) == len(anchors.bound[entry.scenario]) == len(entry.windows)
                assert (anchors.random[entry.scenario] < anchors.bound[entry.scenario]).all()
