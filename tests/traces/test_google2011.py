"""The reader of Google 2011 files: which tasks it finds, and what it says about them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsched_env.traces import TASK_COLUMNS, TraceFormatError, load_tasks
from cloudsched_env.traces.google2011 import import_google2011
from cloudsched_env.traces.staging import EngineConfig
from tests.traces import google_files as g


def run(folder: Path, target: Path, **options):
    import_google2011(folder, target, engine=EngineConfig("300MB", 2), **options)
    table = load_tasks(target)
    assert table.metadata.rows["arrivals"] == len(table)
    return table


def rows_of(table) -> list[dict]:
    columns = {
        column.name: table.names(column.name) if column.kind == "string" else table[column.name]
        for column in TASK_COLUMNS
    }
    return [{name: values[i] for name, values in columns.items()} for i in range(len(table))]


def imported(tmp_path: Path, events: list[g.Event], **layout):
    return run(g.write_trace(tmp_path / "trace", events, **layout), tmp_path / "tasks.parquet")


def assert_same_rows(table, events: list[g.Event]) -> None:
    expected = g.expected_tasks(events)
    found = rows_of(table)
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            if isinstance(value, float):
                np.testing.assert_allclose(row[name], value, rtol=1e-12, atol=1e-6, err_msg=f"{name} of {wanted}")
            else:
                assert row[name] == value, (name, wanted)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(1, 4))
def test_import_agrees_with_a_walk_through_each_tasks_events(seed, parts):
    events = g.random_events(np.random.default_rng(seed))
    if not g.expected_tasks(events):
        return
    with tempfile.TemporaryDirectory() as folder:
        assert_same_rows(imported(Path(folder), events, parts=parts), events)


def test_random_lives_hold_every_outcome_and_tasks_of_the_initial_state():
    # Guards the test above: it would show nothing if the generator stopped producing these.
    events = g.random_events(np.random.default_rng(1), jobs=200)
    rows = g.expected_tasks(events)
    assert {row["outcome"] for row in rows} == {*g.OUTCOME.values(), "censored", "never_scheduled"}
    assert any(event.t == 0 for event in events)
    assert any(event.t == g.AFTER for event in events)
    assert any(row["attempts"] > 1 for row in rows)


LATER = g.life(99, 0, (5000, g.SUBMIT), (9000, g.SCHEDULE))  # sets the end of the covered time: 9000 s


@pytest.mark.parametrize(
    ("steps", "duration_s", "outcome", "attempts"),
    [
        ([(700, g.SUBMIT), (710, g.SCHEDULE), (760, g.FINISH)], 50, "finished", 1),
        ([(700, g.SUBMIT), (700, g.SCHEDULE), (760, g.FINISH)], 60, "finished", 1),
        ([(700, g.SUBMIT), (710, g.SCHEDULE), (760, g.KILL)], 50, "killed", 1),
        ([(700, g.SUBMIT), (710, g.SCHEDULE), (760, g.FAIL)], 50, "failed", 1),
        ([(700, g.SUBMIT), (710, g.SCHEDULE), (760, g.LOST)], 50, "lost", 1),
        (
            [(700, g.SUBMIT), (710, g.SCHEDULE), (730, g.EVICT), (731, g.SUBMIT), (800, g.SCHEDULE), (999, g.FINISH)],
            20,
            "evicted",
            2,
        ),
        ([(700, g.SUBMIT), (710, g.SCHEDULE), (750, g.UPDATE_RUNNING), (760, g.FINISH)], 50, "finished", 1),
        ([(700, g.SUBMIT), (720, g.KILL), (730, g.SUBMIT), (740, g.SCHEDULE), (745, g.FINISH)], 5, "finished", 2),
        ([(700, g.SUBMIT), (720, g.KILL)], None, "never_scheduled", 1),
        ([(700, g.SUBMIT), (710, g.SCHEDULE)], 8290, "censored", 1),
        ([(700, g.SUBMIT), (710, g.SCHEDULE), (g.AFTER / g.S, g.KILL)], 8290, "censored", 1),
        ([(700, g.SUBMIT), (g.AFTER / g.S, g.SCHEDULE)], None, "never_scheduled", 1),
    ],
)
def test_duration_is_the_first_execution(tmp_path, steps, duration_s, outcome, attempts):
    events = [
        g.Event(g.AFTER if seconds > 1e9 else round(seconds * g.S), 7, 3, event) for seconds, event in steps
    ] + LATER
    row = rows_of(imported(tmp_path, events))[0]
    assert (row["job"], row["task_index"], row["arrival_s"]) == (7, 3, 700.0)
    assert row["outcome"] == outcome
    assert row["attempts"] == attempts
    assert row["duration_censored"] == (outcome == "censored")
    if duration_s is None:
        assert np.isnan(row["duration_s"])
    else:
        assert row["duration_s"] == duration_s


def test_the_initial_state_is_not_an_arrival_even_when_submitted_again(tmp_path):
    running = g.life(1, 0, (0, g.SUBMIT), (0, g.SCHEDULE), (650, g.EVICT), (651, g.SUBMIT), (660, g.SCHEDULE))
    pending = g.life(1, 1, (0, g.SUBMIT), (640, g.SCHEDULE))
    table = imported(tmp_path, running + pending + LATER)
    assert table["job"].tolist() == [99]
    rows = table.metadata.rows
    assert rows["tasks_present_at_time_0"] == 2
    assert rows["tasks_present_at_time_0_submitted_again"] == 1
    assert rows["tasks_with_submit_in_window"] == 2
    assert rows["submit_events_at_time_0"] == 2
    assert rows["distinct_tasks"] == rows["arrivals"] + rows["tasks_present_at_time_0"] == 3


def test_a_task_that_runs_before_the_first_part_is_not_an_arrival(tmp_path):
    evicted = g.life(1, 0, (20000, g.EVICT), (20001, g.SUBMIT), (20002, g.SCHEDULE))
    scheduled = g.life(1, 1, (20000, g.SCHEDULE), (20006, g.SUBMIT))
    fresh = g.life(2, 0, (20003, g.SUBMIT), (20004, g.SCHEDULE), (20009, g.FINISH))
    table = imported(tmp_path, evicted + scheduled + fresh, first_part=4)
    assert table["job"].tolist() == [2]
    assert table.metadata.rows["tasks_first_seen_without_submit"] == 2


def test_a_submit_after_the_window_is_not_an_arrival(tmp_path):
    late = [g.Event(g.AFTER, 5, 0, g.SUBMIT)]
    table = imported(tmp_path, late + LATER)
    assert table["job"].tolist() == [99]
    assert table.metadata.rows["events_after_window"] == 1
    assert table.metadata.span_end_s == 9000.0


def test_requests_are_those_of_the_first_submit_and_missing_ones_stay_null(tmp_path):
    first = [g.Event(700 * g.S, 1, 0, g.SUBMIT, cpu=0.0625, memory=None, scheduling_class=None)]
    later = [
        g.Event(710 * g.S, 1, 0, g.UPDATE_PENDING, cpu=0.5, memory=0.5),
        g.Event(720 * g.S, 1, 0, g.EVICT, cpu=0.5, memory=0.5),
        g.Event(730 * g.S, 1, 0, g.SUBMIT, cpu=0.5, memory=0.5, scheduling_class=3, priority=11),
    ]
    table = imported(tmp_path, first + later + LATER)
    assert table["cpu_cores"][0] == 1.0
    assert np.isnan(table["mem_gb"][0])
    assert table["scheduling_class"][0] == -1
    assert table["slo_class"][0] == 2
    assert table.metadata.rows["arrivals_without_memory_request"] == 1
    assert table.metadata.rows["arrivals_without_cpu_request"] == 0


def test_a_job_without_a_row_in_job_events_keeps_its_user_and_has_no_shard_key(tmp_path):
    events = g.life(7, 0, (700, g.SUBMIT), user="alice=") + LATER
    table = imported(tmp_path, events, leave_out=frozenset({7}))
    assert table.names("tenant").tolist() == ["alice=", "user="]
    assert table.names("shard_key").tolist() == [None, "name0"]
    assert table["shard_key"].tolist() == [-1, 0]
    assert table.metadata.rows["arrivals_of_jobs_not_in_job_events"] == 1


def test_rows_are_sorted_by_arrival_then_job_then_task(tmp_path):
    events = [g.Event(700 * g.S, job, task, g.SUBMIT) for job in (9, 3) for task in (5, 1)]
    table = imported(tmp_path, events + LATER)
    pairs = list(zip(table["job"].tolist(), table["task_index"].tolist(), strict=True))
    assert pairs == [(3, 1), (3, 5), (9, 1), (9, 5), (99, 0)]


def test_the_machine_mix_is_the_state_at_time_0_in_declared_units(tmp_path):
    mix = imported(tmp_path, LATER).metadata.machine_mix
    found = [(kind.count, kind.cores, kind.memory_gb) for kind in mix]
    assert found[0] == (2, 8.0, pytest.approx(15.984))
    assert set(found[1:]) == {(1, 16.0, 32.0), (1, None, None)}


def test_metadata_declares_sources_synthetic_columns_and_span(tmp_path):
    events = g.random_events(np.random.default_rng(3))
    folder = g.write_trace(tmp_path / "trace", events, parts=3)
    metadata = run(folder, tmp_path / "t.parquet").metadata
    assert metadata.data_tag == "excerpt"
    assert (metadata.parts_read, metadata.parts_published) == (3, 500)
    assert [column.name for column in metadata.synthetic_columns][:2] == ["read_mb", "write_mb"]
    assert "16 cores and 32 GB" in metadata.assumptions[0]
    assert metadata.span_end_s == max(event.t for event in events if event.t != g.AFTER) / g.S
    assert metadata.span_start_s == min(event.t for event in events if event.t > 0) / g.S
    assert (
        metadata.rows["task_events"]
        == len(events)
        == sum(source.rows for source in metadata.source_files if source.name.startswith("task_events/"))
    )
    for source in metadata.source_files:
        assert (folder / source.name).stat().st_size == source.bytes


def test_sha256_is_that_of_the_published_bytes(tmp_path):
    import hashlib

    folder = g.write_trace(tmp_path / "trace", LATER)
    for source in run(folder, tmp_path / "t.parquet").metadata.source_files:
        assert hashlib.sha256((folder / source.name).read_bytes()).hexdigest() == source.sha256


def test_all_500_parts_make_a_full_trace(tmp_path):
    events = [g.Event((700 + i) * g.S, i, 0, g.SUBMIT) for i in range(500)]
    table = imported(tmp_path, events, parts=500)
    assert table.metadata.data_tag == "full trace"
    assert len(table) == 500


def test_the_same_files_give_the_same_bytes_for_any_threads_and_memory(tmp_path):
    folder = g.write_trace(tmp_path / "trace", g.random_events(np.random.default_rng(5), jobs=300), parts=7)
    written = []
    for threads, memory in ((1, "150MB"), (4, "1GB")):
        import_google2011(folder, tmp_path / "t.parquet", engine=EngineConfig(memory, threads))
        written.append((tmp_path / "t.parquet").read_bytes())
    assert written[0] == written[1]


def test_only_initial_state_is_an_error_that_says_so(tmp_path):
    events = g.life(1, 0, (0, g.SUBMIT), (0, g.SCHEDULE), (700, g.KILL))
    with pytest.raises(TraceFormatError, match="no task arrives after time 0"):
        imported(tmp_path, events)


def test_progress_reaches_the_total_in_every_stage(tmp_path):
    seen: dict[str, list[tuple[int, int]]] = {}
    folder = g.write_trace(tmp_path / "trace", g.random_events(np.random.default_rng(0)))
    run(
        folder,
        tmp_path / "t.parquet",
        on_progress=lambda stage, done, total, unit: seen.setdefault(stage, []).append((done, total)),
    )
    assert list(seen) == [
        "Reading task_events",
        "Reading job_events",
        "Reading machine_events",
        "Finding tasks",
        "Writing tasks",
    ]
    for steps in seen.values():
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)


def test_an_unusable_memory_limit_is_named(tmp_path):
    folder = g.write_trace(tmp_path / "trace", LATER)
    with pytest.raises(ValueError, match=r"memory limit such as 1GB.*'much'"):
        import_google2011(folder, tmp_path / "t.parquet", engine=EngineConfig("much"))


def test_less_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        EngineConfig(threads=0)


def test_a_memory_limit_that_is_too_small_is_reported_as_such(tmp_path):
    events = [g.Event((700 + i) * g.S, i, 0, g.SUBMIT) for i in range(3000)]
    folder = g.write_trace(tmp_path / "trace", events)
    with pytest.raises(MemoryError, match="raise --memory-limit"):
        import_google2011(folder, tmp_path / "t.parquet", engine=EngineConfig("1MB", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


@pytest.mark.real_trace
def test_published_parts_0_to_13_give_the_known_counts(trace_dir, tmp_path):
    table = run(trace_dir, tmp_path / "real.parquet")
    rows = table.metadata.rows
    if table.metadata.parts_read != 14:
        pytest.skip(f"the counts are those of parts 0 to 13; this folder has {table.metadata.parts_read} parts")
    assert rows["task_events"] == 2_609_335
    assert rows["submit_events"] == 936_182
    assert rows["distinct_tasks"] == 614_019
    assert rows["machines_at_time_0"] == 12_477
    assert rows["tasks_with_submit_in_window"] == 509_816
    assert rows["tasks_present_at_time_0_submitted_again"] == 40_136
    assert rows["arrivals"] == len(table) == 509_816 - 40_136
    assert table.metadata.data_tag == "excerpt"
    assert table.metadata.machine_mix[0].count == 6_672
    assert np.all(np.diff(table["arrival_s"]) >= 0)
    # Quantiles of requests at t > 0, as published requests are fractions of the largest machine.
    assert np.median(table["cpu_cores"]) / 16 == pytest.approx(0.02499)
    assert np.quantile(table["mem_gb"], 0.99) / 32 == pytest.approx(0.1592)
