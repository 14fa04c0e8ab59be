"""What holds for every format that can be imported."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from cloudsched_env.traces import TASK_COLUMNS, TraceFormatError, load_tasks
from cloudsched_env.traces.formats import FORMATS, find_format
from cloudsched_env.traces.load_table import LOAD_COLUMNS, load_background
from cloudsched_env.traces.recognise import recognise
from cloudsched_env.traces.staging import EngineConfig
from cloudsched_env.workload.tasks import RawTasks
from tests.traces.small_traces import WRITERS, write

pytest.importorskip("duckdb")
NAMES = [entry.name for entry in FORMATS]
ENGINE = EngineConfig("300MB", 2)


@pytest.fixture(scope="module", params=NAMES)
def trace(request, tmp_path_factory):
    """A small trace of one format and the table that its import writes."""
    home = tmp_path_factory.mktemp(request.param)
    folder = write(request.param, home / "trace")
    target = home / "t.parquet"
    metadata = find_format(request.param).import_folder(folder, target, engine=ENGINE)
    table = (load_tasks if find_format(request.param).kind == "tasks" else load_background)(target)
    assert table.metadata == metadata
    return SimpleNamespace(format=find_format(request.param), folder=folder, target=target, table=table, home=home)


def test_every_format_has_a_small_trace():
    assert sorted(WRITERS) == sorted(NAMES)


def test_import_accounts_for_its_rows_and_files(trace):
    table, folder = trace.table, trace.folder
    metadata = table.metadata
    assert len(table) == metadata.rows["arrivals"] > 0
    assert metadata.format == trace.format.name
    assert metadata.span_start_s <= metadata.span_end_s
    assert not metadata.skipped_rows
    assert metadata.data_tag == "excerpt"
    for entry in trace.format.tables:
        assert metadata.rows[entry.name] >= 0
    for source in metadata.source_files:
        data = (folder / source.name.partition("!")[0]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (source.bytes, source.sha256)
        assert source.rows > 0
    assert sorted(path.name for path in trace.home.iterdir()) == ["t.parquet", "trace"]


def test_every_column_with_values_says_what_it_is_made_from(trace):
    entry, table = trace.format, trace.table
    told = {part.strip() for key in entry.columns_from for part in key.split(",")}
    synthetic = {column.name for column in table.metadata.synthetic_columns}
    names = {column.name for column in (TASK_COLUMNS if entry.kind == "tasks" else LOAD_COLUMNS)}
    assert told <= names | {"a row"}
    assert synthetic <= names
    for column, values in table.columns.items():
        missing = np.isnan(values).all() if values.dtype.kind == "f" else False
        if not missing and column not in ("task_index", "attempts", "instances", "duration_censored", "interval_s"):
            is_code = column in table.categories and (values < 0).all()
            is_null_integer = values.dtype.kind == "i" and (values == -1).all()
            assert column in told or is_code or is_null_integer, column


def test_the_workload_stage_reads_the_table(trace):
    if trace.format.kind != "tasks":
        with pytest.raises(TraceFormatError, match="not a task table"):
            RawTasks.from_file(trace.target)
        return
    table = trace.table
    tasks = RawTasks.from_file(trace.target)
    copies = np.maximum(table["instances"], 1)
    assert len(tasks) == copies.sum()
    assert tasks.source == trace.format.name
    assert tasks.arrival_s.tolist() == np.repeat(table["arrival_s"], copies).tolist()
    jobs, job = np.unique(table["job"], return_inverse=True)
    assert np.bincount(tasks.job).tolist() == np.bincount(job.reshape(-1), copies, len(jobs)).tolist()
    keys = set(zip(table["job"].tolist(), table["task_index"].tolist(), strict=True))
    assert len(keys) == len(table)


def test_auto_finds_exactly_this_format_and_says_why(trace):
    finding, others = recognise(trace.folder, FORMATS)
    assert finding.format is trace.format
    assert any(finding.format.tables[0].name in reason for reason in finding.reasons)
    assert all(not other.fits and other.reasons for other in others)


def test_the_same_files_give_the_same_bytes_for_any_threads(trace, tmp_path):
    trace.format.import_folder(trace.folder, tmp_path / "t.parquet", engine=EngineConfig("1GB", 4))
    assert (tmp_path / "t.parquet").read_bytes() == trace.target.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_another_format_is_refused_and_leaves_nothing(name, tmp_path):
    other = "snowset" if name != "snowset" else "redset"
    folder = write(other, tmp_path / "trace")
    with pytest.raises(TraceFormatError, match="is missing") as caught:
        find_format(name).import_folder(folder, tmp_path / "t.parquet", engine=ENGINE)
    assert "import auto" in (caught.value.remedy or "")
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


def test_auto_says_what_it_saw_when_nothing_fits(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(TraceFormatError, match=r"no known format fits these files \(notes\.txt\)"):
        recognise(tmp_path, FORMATS)


def test_auto_explains_a_file_with_the_right_name_and_the_wrong_columns(tmp_path):
    (tmp_path / "io_traces.csv").write_text("1,2,3\n" * 10)
    with pytest.raises(TraceFormatError, match=r"alibaba-block: .* line 1: wrong number of columns"):
        recognise(tmp_path, FORMATS)


def test_names_of_formats_are_unique_and_declarations_complete():
    assert len(set(NAMES)) == len(NAMES)
    for entry in FORMATS:
        assert set(entry.keep) == {table.name for table in entry.tables}
        for text in (entry.title, entry.licence, entry.citation, entry.url, entry.clock, entry.summary, entry.download):
            assert text
        for table in entry.tables:
            assert table.patterns
            assert table.meaning
