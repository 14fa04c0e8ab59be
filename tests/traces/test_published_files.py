"""Files that are not as published: one exception that says where, what was expected and what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.traces import TraceFormatError, load_tasks
from cloudsched_env.traces.badrows import find_bad_rows
from cloudsched_env.traces.google2011 import JOB_EVENTS, TABLES, TASK_EVENTS, import_google2011
from cloudsched_env.traces.lines import PartReader
from cloudsched_env.traces.parts import Part, find_parts
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, csv_sql, scan_sql, valid_rows_sql
from cloudsched_env.traces.staging import EngineConfig
from tests.traces import google_files as g

ENGINE = EngineConfig("300MB", 2)


@pytest.fixture
def trace(tmp_path) -> Path:
    """Two parts of 20 tasks each, one SUBMIT a second."""
    events = [g.Event((700 + i) * g.S, 50 + i, 0, g.SUBMIT) for i in range(40)]
    return g.write_trace(tmp_path / "trace", events)


def run(trace: Path, **options):
    return import_google2011(trace, trace.parent / "out" / "tasks.parquet", engine=ENGINE, **options)


@pytest.fixture(autouse=True)
def _output_folder(tmp_path):
    (tmp_path / "out").mkdir()


def edit(path: Path, line: int, replace) -> str:
    """Replace line number ``line`` (from 1) by what ``replace`` makes of its fields."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    changed = replace(lines[line - 1].split(","))
    lines[line - 1] = changed if isinstance(changed, str) else ",".join(changed)
    g.write_gz(path, lines)
    return lines[line - 1]


def put(index: int, value: str):
    return lambda fields: [*fields[:index], value, *fields[index + 1 :]]


def assert_nothing_left_behind(trace: Path, expected: tuple[str, ...] = ()) -> None:
    assert sorted(path.name for path in (trace.parent / "out").iterdir()) == sorted(expected)


BAD_FIELDS = [
    (0, "", "timestamp", "empty field"),
    (0, "-5", "timestamp", "out of range"),
    (0, "noon", "timestamp", "not an integer"),
    (0, "99999999999999999999", "timestamp", "out of range"),
    (2, "0x7f", "job ID", "not an integer"),
    (2, "6.25E+09", "job ID", "not an integer"),
    (2, "6251.0", "job ID", "not an integer"),
    (4, "1_000", "machine ID", "not an integer"),
    (3, "4294967296", "task index", "out of range"),
    (4, "machine", "machine ID", "not an integer"),
    (5, "9", "event type", "out of range"),
    (5, "", "event type", "empty field"),
    (7, "4", "scheduling class", "out of range"),
    (8, "13", "priority", "out of range"),
    (9, "half", "CPU request", "not a number"),
    (9, "nan", "CPU request", "not a number"),
    (10, "inf", "memory request", "not a number"),
    (10, "-0.5", "memory request", "out of range"),
    (10, "1e999", "memory request", "out of range"),
    (11, "1;5", "disk space request", "not a number"),
    (12, "2", "different machines restriction", "out of range"),
]


@pytest.mark.parametrize(("index", "value", "column", "reason"), BAD_FIELDS)
def test_a_bad_field_is_reported_with_file_line_and_column(trace, index, value, column, reason):
    path = g.part(trace, "task_events", 1)
    edit(path, 7, put(index, value))
    with pytest.raises(TraceFormatError) as caught:
        run(trace)
    error = caught.value
    assert (error.file, error.line, error.column) == (str(path), 7, column)
    assert error.problem.startswith(reason)
    assert error.expected
    assert "--on-error skip" in (error.remedy or "")
    assert "part-00001-of-00500.csv.gz, line 7, column " + column in str(error)
    assert_nothing_left_behind(trace)


@pytest.mark.parametrize(("index", "value", "column", "reason"), BAD_FIELDS)
def test_skip_leaves_out_just_the_bad_row_and_counts_it(trace, index, value, column, reason):
    edit(g.part(trace, "task_events", 1), 7, put(index, value))
    metadata = run(trace, on_error="skip")
    assert metadata.skipped_rows == {f"task_events, column {column}: {reason}": 1}
    example = metadata.skipped_examples[0]
    assert (example.file, example.line, example.column) == ("task_events/part-00001-of-00500.csv.gz", 7, column)
    jobs = load_tasks(trace.parent / "out" / "tasks.parquet")["job"]
    assert jobs.tolist() == [job for job in range(50, 90) if job != 50 + 20 + 6]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2,3", "wrong number of columns"),
        ("", "empty line"),
        ("800000000,,50,0,,0,u=,0,0,0.1,0.1,0.1,0,7", "wrong number of columns"),
    ],
)
def test_a_row_of_the_wrong_length_is_reported_and_can_be_skipped(trace, row, reason):
    path = g.part(trace, "task_events", 0)
    edit(path, 3, lambda _: row)
    with pytest.raises(TraceFormatError, match=reason) as caught:
        run(trace)
    assert (caught.value.file, caught.value.line) == (str(path), 3)
    assert "13 columns" in (caught.value.expected or "")
    metadata = run(trace, on_error="skip")
    assert metadata.skipped_rows == {f"task_events: {reason}": 1}
    assert metadata.rows["arrivals"] == 39


def test_skip_keeps_the_examples_short_but_counts_every_row(trace):
    path = g.part(trace, "task_events", 0)
    lines = [g.Event(700 * g.S, 1000 + i, 0, g.SUBMIT).line() + (",x" if i % 2 else "") for i in range(200)]
    g.write_gz(path, lines)
    metadata = run(trace, on_error="skip")
    assert metadata.skipped_rows == {"task_events: wrong number of columns": 100}
    assert len(metadata.skipped_examples) == 20
    assert metadata.rows["arrivals"] == 100 + 20


def test_bytes_that_are_not_text_are_a_bad_row(trace):
    path = g.part(trace, "task_events", 0)
    raw = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    raw[4] = raw[4].replace(b"user=", b"us\xff\xfe=")
    path.write_bytes(gzip.compress(b"".join(raw)))
    with pytest.raises(TraceFormatError, match="not UTF-8 text") as caught:
        run(trace)
    assert caught.value.line == 5
    assert run(trace, on_error="skip").rows["arrivals"] == 39


def test_a_header_line_is_recognised(trace):
    path = g.part(trace, "task_events", 0)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    g.write_gz(path, [",".join(column.name for column in TASK_EVENTS.columns), *lines])
    with pytest.raises(TraceFormatError, match="looks like a header line") as caught:
        run(trace)
    assert caught.value.line == 1
    assert run(trace, on_error="skip").rows["arrivals"] == 40


def test_files_of_another_table_are_recognised(trace):
    path = g.part(trace, "task_events", 0)
    path.write_bytes(g.part(trace, "job_events", 0).read_bytes())
    with pytest.raises(TraceFormatError, match=r"13 columns, as task_events has \(this looks like job_events\)"):
        run(trace)


@pytest.mark.parametrize("damage", ["cut in the middle", "no trailer", "wrong checksum", "not gzip"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_damaged_gzip_file_is_never_read_in_part(trace, damage, on_error):
    path = g.part(trace, "task_events", 1)
    data = path.read_bytes()
    damaged = {
        "cut in the middle": data[: len(data) // 2],
        "no trailer": data[:-8],
        "wrong checksum": data[:-8] + b"\0\0\0\0" + data[-4:],
        "not gzip": gzip.decompress(data),
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(TraceFormatError, match=r"gzip stream is (cut off|damaged)") as caught:
        run(trace, on_error=on_error)
    assert caught.value.file == str(path)
    assert "SHA256SUM" in (caught.value.remedy or "")
    assert_nothing_left_behind(trace)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TraceFormatError, match="no such folder") as caught:
        import_google2011(tmp_path / "nowhere", tmp_path / "out" / "t.parquet", engine=ENGINE)
    assert caught.value.file == str(tmp_path / "nowhere")


@pytest.mark.parametrize("table", [table for table in TABLES if table.required], ids=lambda table: table.name)
def test_a_missing_table_is_named_with_the_files_it_needs(trace, table):
    for path in (trace / table.name).iterdir():
        path.unlink()
    with pytest.raises(TraceFormatError, match=f"the table {table.name} is missing") as caught:
        run(trace)
    assert caught.value.expected == f"{table.name}/part-?????-of-{table.parts:05d}.csv.gz"
    assert "import auto" in (caught.value.remedy or "")


def test_a_hole_between_parts_is_refused_because_ends_would_be_lost(tmp_path):
    events = [g.Event((700 + i) * g.S, i, 0, g.SUBMIT) for i in range(40)]
    trace = g.write_trace(tmp_path / "trace", events, parts=5)
    for number in (1, 3):
        g.part(trace, "task_events", number).unlink()
    with pytest.raises(TraceFormatError, match="parts 00001, 00003 are missing between 00000 and 00004"):
        run(trace)


def test_other_files_beside_the_parts_are_ignored(trace):
    (trace / "task_events" / "README").write_text("notes")
    (trace / "task_events" / "part-00009-of-00500.csv").write_text("unpacked")
    assert [part.number for part in find_parts(trace, TASK_EVENTS)] == [0, 1]


def test_an_existing_table_survives_a_failed_import(trace):
    run(trace)
    target = trace.parent / "out" / "tasks.parquet"
    before = target.read_bytes()
    edit(g.part(trace, "task_events", 1), 2, put(0, "x"))
    with pytest.raises(TraceFormatError):
        run(trace)
    assert target.read_bytes() == before
    assert_nothing_left_behind(trace, ("tasks.parquet",))


def test_a_missing_target_folder_is_reported_before_any_work(trace):
    with pytest.raises(FileNotFoundError, match="create it first"):
        import_google2011(trace, trace.parent / "absent" / "t.parquet", engine=ENGINE)


def test_a_table_without_rows_is_an_error(trace):
    for path in (trace / "job_events").iterdir():
        g.write_gz(path, [])
    with pytest.raises(TraceFormatError, match="job_events has no valid row"):
        run(trace)


def test_an_empty_part_between_others_is_fine(trace):
    g.write_gz(g.part(trace, "task_events", 2), [])
    assert run(trace).rows["arrivals"] == 40


def test_a_quote_in_a_path_does_not_end_a_query(tmp_path):
    trace = g.write_trace(tmp_path / "it's here", g.life(1, 0, (700, g.SUBMIT)))
    target = tmp_path / "out" / "it's.parquet"
    assert import_google2011(trace, target, engine=ENGINE).rows["arrivals"] == 1
    assert len(load_tasks(target)) == 1


def read_part(path: Path) -> PartReader:
    reader = PartReader(Part(path, "f", 0, "csv"), JOB_EVENTS)
    for chunk in reader.chunks(lambda number: path.with_suffix(f".{number}")):
        assert chunk.path.read_bytes().count(b"\n") == chunk.lines
    return reader


def test_lines_are_counted_with_and_without_a_final_newline(tmp_path):
    for text, lines in ((b"", 0), (b"a\n", 1), (b"a\nb", 2), (b"a\n\n", 2), (b"a\r\nb\r\n", 2)):
        path = tmp_path / "f.csv.gz"
        path.write_bytes(gzip.compress(text))
        assert read_part(path).lines == lines


def test_every_member_of_a_concatenated_gzip_is_read(tmp_path):
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\nc\n"))
    assert read_part(path).lines == 3


@given(
    fields=st.lists(
        st.one_of(
            st.integers(-(2**65), 2**65).map(str),
            st.floats().map(repr),
            st.text("0123456789.eE+-xnaif_ ", max_size=6),
        ),
        min_size=2,
        max_size=2,
    ),
    nullable=st.booleans(),
)
@settings(max_examples=150)
def test_the_line_check_and_duckdb_agree_on_integers_and_on_accepted_numbers(tmp_path_factory, fields, nullable):
    # A row that passes the line check but not DuckDB would make `--on-error skip` fail; an integer that passes
    # DuckDB but not the line check would be read although it is malformed.
    duckdb = pytest.importorskip("duckdb")
    columns = (PublishedColumn("i", "integer", nullable), PublishedColumn("f", "float", nullable))
    table = PublishedTable("t", columns, 1)
    path = tmp_path_factory.getbasetemp() / "fields.csv"
    path.write_text(",".join(fields) + "\n")
    try:
        found = duckdb.execute(
            f"SELECT i, f FROM ({scan_sql(table, csv_sql(table, path))}) WHERE {valid_rows_sql(table)}"
        ).fetchall()
    except duckdb.Error:
        found = []
    problems = [column.problem(field) for column, field in zip(columns, fields, strict=True)]
    if found:
        assert problems[0] is None
        assert found[0][0] == (int(fields[0]) if fields[0] else None)
    if problems == [None, None]:
        assert len(found) == 1
        assert found[0][1] == (pytest.approx(float(fields[1]), rel=1e-15) if fields[1] else None)


def test_find_bad_rows_names_each_bad_line_once(tmp_path):
    rng = np.random.default_rng(0)
    good = [f"{i},,{i},0,user,1,name,logical" for i in range(300)]
    bad = set(rng.choice(300, 40, replace=False).tolist())
    lines = [line.replace(",0,user", ",99,user") if i in bad else line for i, line in enumerate(good)]
    found = list(find_bad_rows([line.encode() + b"\n" for line in lines], JOB_EVENTS))
    assert [row.line - 1 for row in found] == sorted(bad)
    assert {row.column for row in found} == {"event type"}


def test_the_condition_on_rows_covers_every_column():
    for table in TABLES:
        condition = valid_rows_sql(table)
        for column in table.columns:
            assert column.kind == "string" or f'"{column.name}"' in condition
