"""The canonical task table: what is written is what is read, and nothing is half-written."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.traces import TASK_COLUMNS, TraceFormatError, TraceMetadata, load_tasks
from cloudsched_env.traces import table as task_table
from cloudsched_env.traces.metadata import MachineType, SkippedRow, SourceFile, SyntheticColumn

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

METADATA = TraceMetadata(
    format="made-up",
    title="A made-up trace",
    mapping_version=3,
    data_tag="excerpt",
    span_start_s=600.0,
    span_end_s=4200.5,
    clock="seconds",
    parts_read=2,
    parts_published=5,
    rows={"arrivals": 3},
    skipped_rows={"t: empty field": 1},
    skipped_examples=(SkippedRow("t/a.csv.gz", 7, None, "empty line"),),
    synthetic_columns=(SyntheticColumn("read_mb", "not recorded", "later"),),
    derived_columns={"slo_class": "a rule with 'quotes' and ünïcode"},
    assumptions=("1.0 is 16 cores",),
    machine_mix=(MachineType(4, 8.0, None, 0.5, None),),
    source_files=(SourceFile("t/a.csv.gz", 10, "ab" * 32, 3),),
    licence="CC-BY 4.0",
    citation="Somebody, 2011",
    url="https://example.org",
    written_by="cloudsched-env test",
)


def rows(count: int, tenants: list[str | None] | None = None):
    names = tenants or [f"user{i % 3}" for i in range(count)]
    data = {
        "arrival_s": [600.0 + i for i in range(count)],
        "tenant": names,
        "job": [2**40 + i for i in range(count)],
        "task_index": list(range(count)),
        "shard_key": [None if i % 4 == 0 else f"name{i % 5}" for i in range(count)],
        "priority": [i % 12 for i in range(count)],
        "scheduling_class": [None if i % 3 == 0 else i % 4 for i in range(count)],
        "slo_class": [i % 3 for i in range(count)],
        "cpu_cores": [None if i % 2 else 0.5 * i for i in range(count)],
        "mem_gb": [0.25] * count,
        "duration_s": [None if i % 5 == 0 else float(i) for i in range(count)],
        "duration_censored": [i % 2 == 0 for i in range(count)],
        "outcome": ["finished"] * count,
        "attempts": [1] * count,
        "instances": [1] * count,
    }
    for column in TASK_COLUMNS:
        data.setdefault(column.name, [None] * count)
    return pa.RecordBatch.from_pydict(data, schema=task_table.arrow_schema())


def write(path, batches, metadata=METADATA):
    return task_table.write_tasks(path, batches, metadata)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "t.parquet"
    assert write(path, [rows(10)]) == 10
    table = load_tasks(path)
    assert table.metadata == METADATA
    assert list(table.columns) == [column.name for column in TASK_COLUMNS]
    for column in TASK_COLUMNS:
        kind = "int32" if column.kind == "string" else column.kind
        assert table[column.name].dtype == np.dtype(kind)
        assert len(table[column.name]) == len(table) == 10
    assert table["arrival_s"].tolist() == [600.0 + i for i in range(10)]
    assert table["job"].tolist() == [2**40 + i for i in range(10)]
    assert np.isnan(table["cpu_cores"]).tolist() == [i % 2 == 1 for i in range(10)]
    assert table["scheduling_class"].tolist() == [-1 if i % 3 == 0 else i % 4 for i in range(10)]
    assert table["duration_censored"].tolist() == [i % 2 == 0 for i in range(10)]
    assert np.isnan(table["read_mb"]).all()


@given(names=st.lists(st.one_of(st.none(), st.sampled_from(["b", "a", "zz", "é", ""])), min_size=1, max_size=30))
@settings(max_examples=30)
def test_names_survive_dictionary_encoding_and_codes_are_sorted(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "t.parquet"
    half = len(names) // 2
    both = rows(len(names), names)
    write(path, [batch for batch in (both.slice(0, half), both.slice(half)) if batch.num_rows])
    table = load_tasks(path, columns=["tenant"])
    assert table.names("tenant").tolist() == names
    assert list(table.categories["tenant"]) == sorted({name for name in names if name is not None})


def test_only_the_columns_asked_for_are_loaded(tmp_path):
    write(tmp_path / "t.parquet", [rows(4)])
    table = load_tasks(tmp_path / "t.parquet", columns=["job", "tenant"])
    assert list(table.columns) == ["job", "tenant"]
    assert list(table.categories) == ["tenant"]


@pytest.mark.parametrize("columns", [["jobb"], []])
def test_columns_that_do_not_exist_are_refused(tmp_path, columns):
    write(tmp_path / "t.parquet", [rows(4)])
    with pytest.raises(ValueError, match="expected some of arrival_s"):
        load_tasks(tmp_path / "t.parquet", columns=columns)


@given(cuts=st.lists(st.integers(0, 50), max_size=6))
@settings(max_examples=15)
def test_the_bytes_do_not_depend_on_how_a_reader_batches_its_rows(tmp_path_factory, cuts):
    folder = tmp_path_factory.mktemp("batches")
    whole = rows(50)
    edges = [0, *sorted(cuts), 50]
    pieces = [whole.slice(start, end - start) for start, end in itertools.pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_table, "ROW_GROUP_ROWS", 16)
        write(folder / "a.parquet", [whole])
        write(folder / "b.parquet", pieces)
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()
    assert [pq.ParquetFile(folder / "b.parquet").metadata.row_group(i).num_rows for i in range(4)] == [16, 16, 16, 2]


def test_a_reader_that_breaks_off_leaves_nothing_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "t.parquet"
    write(path, [rows(4)])
    before = path.read_bytes()

    def breaks_off():
        yield rows(3)
        raise RuntimeError("reader failed")

    with pytest.raises(RuntimeError, match="reader failed"):
        write(path, breaks_off())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]


def test_batches_without_the_columns_of_the_table_are_refused(tmp_path):
    with pytest.raises(TraceFormatError, match="not a task table"):
        write(tmp_path / "t.parquet", [pa.RecordBatch.from_pydict({"arrival_s": [1.0]})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("column", ["arrival_s", "outcome", "duration_censored"])
def test_a_null_where_none_may_be_is_refused(tmp_path, column):
    batch = rows(3)
    index = batch.schema.get_field_index(column)
    field = batch.schema.field(index).with_nullable(True)
    broken = batch.set_column(index, field, pa.array([None] * 3, field.type))
    with pytest.raises(TraceFormatError, match=column):
        write(tmp_path / "t.parquet", [broken])
    assert list(tmp_path.iterdir()) == []


def test_units_and_meanings_stand_in_the_parquet_schema(tmp_path):
    write(tmp_path / "t.parquet", [rows(2)])
    schema = pq.read_schema(tmp_path / "t.parquet")
    for column in TASK_COLUMNS:
        described = schema.field(column.name).metadata
        assert (described[b"unit"].decode(), described[b"meaning"].decode()) == (column.unit, column.meaning)
        assert schema.field(column.name).nullable == column.nullable


def test_metadata_is_plain_json_for_other_tools(tmp_path):
    write(tmp_path / "t.parquet", [rows(2)])
    text = pq.read_schema(tmp_path / "t.parquet").metadata[task_table.METADATA_KEY]
    assert json.loads(text)["synthetic_columns"][0]["name"] == "read_mb"


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(TraceFormatError, match="cloudsched traces import"):
        load_tasks(tmp_path / "absent.parquet")


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(TraceFormatError, match="not a readable Parquet file"):
        load_tasks(tmp_path / "t.parquet")


def test_a_cut_off_table_is_refused(tmp_path):
    write(tmp_path / "t.parquet", [rows(50)])
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(TraceFormatError, match="not a readable Parquet file"):
        load_tasks(tmp_path / "t.parquet")


def test_parquet_that_is_no_task_table_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(TraceFormatError, match="not a task table"):
        load_tasks(tmp_path / "t.parquet")


def rewritten(path, change_table=lambda table: table, change_metadata=lambda metadata: metadata):
    """The same table, tampered with."""
    table = change_table(pq.read_table(path))
    pq.write_table(table.replace_schema_metadata(change_metadata(dict(table.schema.metadata))), path)
    return path


def test_another_version_of_the_table_is_refused(tmp_path):
    write(tmp_path / "t.parquet", [rows(2)])
    path = rewritten(
        tmp_path / "t.parquet", change_metadata=lambda m: {**m, b"cloudsched_env.task_table_version": b"999"}
    )
    with pytest.raises(TraceFormatError, match="version 999"):
        load_tasks(path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda table: table.drop_columns(["mem_gb"]), "missing"),
        (
            lambda table: table.set_column(
                table.column_names.index("mem_gb"), "mem_gb", table["mem_gb"].cast(pa.string())
            ),
            "string",
        ),
    ],
)
def test_a_missing_or_retyped_column_is_named(tmp_path, change, found):
    write(tmp_path / "t.parquet", [rows(2)])
    path = rewritten(tmp_path / "t.parquet", change)
    with pytest.raises(TraceFormatError, match=f"the column is {found}") as caught:
        load_tasks(path)
    assert caught.value.column == "mem_gb"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "x"}', json.dumps({**json.loads(METADATA.to_json()), "new": 1})]
)
def test_metadata_that_cannot_be_understood_is_a_format_error(text):
    with pytest.raises(TraceFormatError, match="description of the task table"):
        TraceMetadata.from_json(text)


def test_metadata_round_trips_through_json():
    assert TraceMetadata.from_json(METADATA.to_json()) == METADATA
    other = dataclasses.replace(METADATA, data_tag="full trace", skipped_examples=())
    assert TraceMetadata.from_json(other.to_json()) == other != METADATA
