from __future__ import annotations

import json
import re
from importlib import resources

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload import (
    GeneratedSource,
    InfeasibleWindowError,
    RawTasks,
    TraceSource,
    TraceSplits,
    make_source,
)
from cloudsched_env.workload.splits import SPLITS, committed_entries, grid_entries, seed_entries
from cloudsched_env.workload.tasks import stable_hash
from cloudsched_env.workload.window import window_length_s
from tests.workload.streams import stream
from tests.workload.test_window import check_episode, same_bytes

STREAM = stream()
GOOGLE_SPAN_S = (600.026913, 70756.165077)


def google_like(hours: float = 19.654) -> RawTasks:
    return stream(hours=hours, source="google2011", jobs_per_s=0.3)


@pytest.mark.parametrize("name", ["paper-v1", "tiny-v1"])
@pytest.mark.parametrize("split", SPLITS)
def test_generated_episodes_are_valid_in_every_split(name, split):
    source = make_source(name, split)
    assert (source.split, source.data_tag) == (split, "generated")
    episode = source.episode(np.random.default_rng(0))
    check_episode(source.scenario, episode)
    assert episode.data_tag == "generated"
    assert episode.details["synthetic_columns"]
    json.dumps(episode.details)


@pytest.mark.parametrize("profile", ["google2011", "google2011-nested"])
def test_a_window_too_short_to_fill_is_refused_by_name_and_the_value_named_is_enough(profile):
    changes = {"time.horizon_steps": 30, "workload.profile": profile}
    message = r"workload\.time_compression 0\.001 makes .* 0\.003 s .*: expected at least ([0-9.e-]+), or"
    with pytest.raises(ValueError, match=message) as refusal:
        make_source(load_scenario("tiny-v1", {**changes, "workload.time_compression": 1e-3}), "train")
    named = float(re.search(message, str(refusal.value)).group(1))
    source = make_source(load_scenario("tiny-v1", {**changes, "workload.time_compression": 1.01 * named}), "train")
    check_episode(source.scenario, source.episode(np.random.default_rng(0)))


@pytest.mark.parametrize("profile", ["google2011", "redset"])
def test_a_window_far_too_long_is_refused_by_name(profile):
    changes = {"workload.profile": profile, "workload.time_compression": 1e6}
    with pytest.raises(ValueError, match=r"workload\.time_compression 1e\+06 makes .*: expected at most [0-9.e+]+$"):
        make_source(load_scenario("paper-v1", changes), "train")


@pytest.mark.parametrize("split", SPLITS)
def test_trace_episodes_are_valid_in_every_split(split):
    source = make_source("tiny-v1", split, STREAM)
    assert source.data_tag == "excerpt"
    for seed in range(5):
        episode = source.episode(np.random.default_rng(seed))
        check_episode(source.scenario, episode)
        first, end = TraceSplits.by_share(STREAM.span_s).bounds(split)
        assert first <= episode.details["window_start_s"] <= end - window_length_s(source.scenario)
    json.dumps(episode.details)


@pytest.mark.parametrize("trace", [None, STREAM], ids=["generated", "trace"])
def test_the_same_generator_state_gives_the_same_episode_whatever_came_before(trace):
    source = make_source("tiny-v1", "train", trace)
    rng = np.random.default_rng(3)
    first, second = source.episode(rng), source.episode(rng)
    assert not same_bytes(first, second)
    other = make_source("tiny-v1", "train", trace)
    rng = np.random.default_rng(3)
    assert same_bytes(first, other.episode(rng))
    assert same_bytes(second, other.episode(rng))


def test_splits_of_generated_workload_are_different_streams():
    episodes = [GeneratedSource("tiny-v1", split).episode(np.random.default_rng(0)) for split in SPLITS]
    reads = [set(e.estimated_read_mb.tolist()) for e in episodes]
    assert not reads[0] & reads[1]
    assert not reads[0] & reads[2]
    assert not reads[1] & reads[2]


def test_generated_workload_grows_with_the_cluster():
    scenario = load_scenario("paper-v1").override(
        {
            "cluster.compute_nodes": [{"count": 100, "cores": 8.0, "memory_gb": 16.0}],
            "workload.task_rate_per_s": 300.0,
            "workload.tenants": 64,
        }
    )
    episode = GeneratedSource(scenario, "train").episode(np.random.default_rng(0))
    check_episode(scenario, episode)
    assert episode.details["task_rate_per_s"] > 250.0
    assert len(np.unique(episode.tenant)) > 55


def test_the_google_excerpt_is_split_at_hours_12_and_15():
    splits = TraceSplits.by_share(GOOGLE_SPAN_S)
    assert splits.bounds("train") == (GOOGLE_SPAN_S[0], 12 * 3600)
    assert splits.bounds("validation") == (12 * 3600, 15 * 3600)
    assert splits.bounds("test")[0] == 15 * 3600
    assert splits.bounds("test")[1] > GOOGLE_SPAN_S[1]


@pytest.mark.parametrize(
    "span",
    [(0.0, 600.0), (600.0, 70756.0), (0.0, 29 * 86400.0), (1.3e9, 1.3e9 + 9e4)],
    ids=["10 min", "19.5 h", "29 d", "epoch"],
)
def test_every_arrival_is_in_exactly_one_split(span):
    splits = TraceSplits.by_share(span)
    times = np.concatenate((np.random.default_rng(0).uniform(*span, 1000), span, splits.bounds("validation")))
    owners = sum(((times >= first) & (times < end)).astype(int) for first, end in map(splits.bounds, SPLITS))
    assert (owners == 1).all()


def test_no_task_is_used_by_two_splits():
    used = {}
    for split in SPLITS:
        source = TraceSource(STREAM, "tiny-v1", split)
        length = window_length_s(source.scenario)
        first, end = source.splits.bounds(split)
        starts = [*source.window_starts(), first, end - length]
        windows = [source._index.cut(start, length).offset_s + start for start in starts]
        used[split] = set(np.round(np.concatenate(windows), 6).tolist())
    assert all(used.values())
    assert not used["train"] & used["validation"]
    assert not used["train"] & used["test"]
    assert not used["validation"] & used["test"]


def test_evaluation_episodes_are_fixed_and_a_prefix_of_each_other():
    for source in (GeneratedSource("tiny-v1", "test"), TraceSource(STREAM, "tiny-v1", "test")):
        few, many = source.evaluation_episodes(3), source.evaluation_episodes(6)
        assert all(same_bytes(a, b) for a, b in zip(few, many, strict=False))
        assert not same_bytes(many[0], many[1])
        other = source.evaluation_episodes(3, seed=1)
        assert not any(same_bytes(a, b) for a, b in zip(few, other, strict=True))
        starts = [e.details.get("window_start_s") for e in few]
        assert starts == [e.details.get("window_start_s") for e in other]


def test_asking_for_more_evaluation_episodes_than_the_list_has_is_an_error():
    source = GeneratedSource("tiny-v1", "test")
    with pytest.raises(ValueError, match="has 256 episodes"):
        source.evaluation_episodes(1000)
    with pytest.raises(ValueError, match="at least 1"):
        source.evaluation_episodes(0)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_committed_lists_follow_their_rule_and_lie_in_their_split(split):
    splits = TraceSplits.by_share(GOOGLE_SPAN_S)
    length = 5850.0
    starts = splits.window_starts(split, length)
    entries = committed_entries("google2011-excerpt", split)
    assert entries == grid_entries(starts, split, 16)
    first, end = splits.bounds(split)
    assert all(first <= e.start_s and e.start_s + length <= end for e in entries)
    # The first round visits every start once.
    assert sorted(e.start_s for e in entries[: len(starts)]) == starts
    assert committed_entries("generated", split) == seed_entries(split, 256)


def test_committed_lists_of_validation_and_test_share_nothing():
    for name in ("google2011-excerpt", "generated"):
        validation, test = (committed_entries(name, split) for split in ("validation", "test"))
        assert not {e.seed for e in validation} & {e.seed for e in test}
    folder = resources.files("cloudsched_env.workload").joinpath("splits")
    assert sorted(e.name for e in folder.iterdir()) == ["generated.json", "google2011-excerpt.json"]


def test_a_google_excerpt_uses_the_committed_list_and_other_traces_the_rule():
    google = TraceSource(google_like(), "tiny-v1", "test")
    committed = committed_entries("google2011-excerpt", "test")
    assert google.evaluation_entries() == committed
    other = TraceSource(stream(hours=19.654, jobs_per_s=0.3), "tiny-v1", "test")
    assert other.evaluation_entries() != committed
    assert {e.start_s for e in other.evaluation_entries()} == set(other.window_starts())


def test_windows_that_cannot_carry_the_load_are_passed_over():
    # Hardly anything arrives in the second half of the trace: windows there are too sparse.
    full = stream(hours=4.0)
    rng = np.random.default_rng(0)
    kept = (full.arrival_s < 7200.0) | (rng.random(len(full)) < 0.002)
    thin = RawTasks.from_columns(
        **{
            name: getattr(full, name)[kept]
            for name in (
                "arrival_s",
                "user",
                "name",
                "job",
                "task_index",
                "slo_class",
                "cpu_cores",
                "memory_gb",
                "duration_s",
                "censored",
            )
        },
        span_s=full.span_s,
    )
    splits = TraceSplits(0.0, 12000.0, 12400.0, 14400.0)
    train = TraceSource(thin, "tiny-v1", "train", splits)
    starts = [train.episode(np.random.default_rng(seed)).details["window_start_s"] for seed in range(20)]
    assert max(starts) < 7200.0
    with pytest.raises(InfeasibleWindowError, match="none of 100 random windows"):
        TraceSource(thin, "tiny-v1", "test", splits).episode(np.random.default_rng(0))


def test_a_split_shorter_than_one_window_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="import a longer trace"):
        TraceSource(stream(hours=1.0), "paper-v1", "validation")


def test_unknown_split_and_descending_borders_are_refused():
    with pytest.raises(ValueError, match="expected one of train, validation, test"):
        GeneratedSource("tiny-v1", "holdout")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must ascend"):
        TraceSplits.by_hours((0.0, 36000.0), 8.0, 4.0)


def test_raw_tasks_name_the_bad_column():
    good = {
        "arrival_s": [2.0, 1.0],
        "user": np.array(["a", "b"]),
        "name": np.array(["x", "y"]),
        "job": [1, 2],
        "task_index": [0, 0],
        "slo_class": [0, 1],
        "cpu_cores": [1.0, np.nan],
        "memory_gb": [1.0, 1.0],
        "duration_s": [1.0, 1.0],
        "censored": [False, False],
    }
    assert RawTasks.from_columns(**good).arrival_s.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="cpu_cores"):
        RawTasks.from_columns(**{**good, "cpu_cores": [-1.0, 1.0]})
    with pytest.raises(ValueError, match="slo_class"):
        RawTasks.from_columns(**{**good, "slo_class": [0, 3]})
    with pytest.raises(ValueError, match="outside span_s"):
        RawTasks.from_columns(**good, span_s=(1.5, 3.0))
    with pytest.raises(ValueError, match="no arriving task"):
        RawTasks.from_columns(**{**good, "arrival_s": []})


def test_a_table_written_by_the_importer_becomes_a_source(tmp_path):
    from cloudsched_env.traces.google2011 import import_google2011
    from tests.traces.google_files import random_events, write_trace

    folder = tmp_path / "published"
    write_trace(folder, random_events(np.random.default_rng(0), jobs=60), leave_out=frozenset(range(40, 50)))
    target = tmp_path / "tasks.parquet"
    import_google2011(folder, target)
    tasks = RawTasks.from_file(target)
    from cloudsched_env.traces.table import load_tasks

    table = load_tasks(target)
    assert len(tasks) == len(table)
    assert tasks.source == "google2011"
    assert tasks.data_tag == "excerpt"
    assert tasks.arrival_s.tolist() == table["arrival_s"].tolist()
    names = np.array([str(name) for name in table.names("tenant")])
    assert (tasks.user == stable_hash(names)).all()
    # A job without a row in job_events has no logical name; it is then a name of its own.
    unnamed = table["shard_key"] < 0
    assert unnamed.any()
    assert len(np.unique(tasks.name[unnamed])) == len(np.unique(table["job"][unnamed]))
    named = np.array([str(name) for name in table.names("shard_key")])[~unnamed]
    assert (tasks.name[~unnamed] == stable_hash(named)).all()


@pytest.mark.real_trace
def test_the_published_excerpt_feeds_paper_episodes(trace_dir, tmp_path):
    from cloudsched_env.traces.google2011 import import_google2011

    target = tmp_path / "google.parquet"
    import_google2011(trace_dir, target)
    tasks = RawTasks.from_file(target)
    for split, starts in (("validation", 6), ("test", 13)):
        source = TraceSource(tasks, "paper-v1", split)
        assert source.evaluation_entries() == committed_entries("google2011-excerpt", split)
        assert len(source.window_starts()) == starts
        for episode in source.evaluation_episodes(starts):
            check_episode(source.scenario, episode)
            assert episode.details["task_rate_per_s"] > 25.0
