"""An import that is interrupted goes on where it was, and never leaves half a table."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cloudsched_env
from cloudsched_env.traces import TraceFormatError
from cloudsched_env.traces import work as work_module
from cloudsched_env.traces.google2011 import FORMAT
from cloudsched_env.traces.lines import Limits
from cloudsched_env.traces.staging import EngineConfig, Stager
from tests.traces import google_files as g

duckdb = pytest.importorskip("duckdb")
ENGINE = EngineConfig("300MB", 1)
SMALL = Limits(chunk_bytes=2_000)
PARTS = 6


@pytest.fixture
def trace(tmp_path) -> Path:
    events = [g.Event((700 + i) * g.S, 50 + i, 0, g.SUBMIT) for i in range(600)]
    return g.write_trace(tmp_path / "trace", events, parts=PARTS)


def run(trace: Path, **options):
    options.setdefault("limits", SMALL)
    return FORMAT.import_folder(trace, trace.parent / "t.parquet", engine=ENGINE, **options)


def work_folder(trace: Path) -> Path:
    return trace.parent / ".t.parquet.import"


class Interrupt:
    """Progress that interrupts after some reports, and remembers what stages saw."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        if stage == "Reading task_events" and done:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


class CountedCopies:
    """Counts the chunks that are converted."""

    def __init__(self, monkeypatch) -> None:
        self.chunks = 0
        original = Stager._convert

        def convert(stager, *arguments):
            self.chunks += 1
            return original(stager, *arguments)

        monkeypatch.setattr(Stager, "_convert", convert)


@pytest.mark.parametrize("parts", [1, PARTS])
def test_an_interrupted_import_goes_on_and_gives_the_same_bytes(tmp_path, monkeypatch, parts):
    events = [g.Event((700 + i) * g.S, 50 + i, 0, g.SUBMIT) for i in range(600)]
    trace = g.write_trace(tmp_path / "trace", events, parts=parts)
    copies = CountedCopies(monkeypatch)
    run(trace)
    whole, total = (trace.parent / "t.parquet").read_bytes(), copies.chunks
    (trace.parent / "t.parquet").unlink()
    copies.chunks = 0
    with pytest.raises(KeyboardInterrupt):
        run(trace, on_progress=Interrupt(after=total // 2))
    done = copies.chunks
    assert 0 < done < total
    assert work_folder(trace).is_dir()
    assert not (trace.parent / "t.parquet").exists()
    copies.chunks = 0
    run(trace)
    assert copies.chunks <= total - done + 2  # chunks that were under way begin again
    assert (trace.parent / "t.parquet").read_bytes() == whole
    assert not work_folder(trace).exists()


def test_a_killed_process_is_resumed(trace):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from cloudsched_env.traces.google2011 import FORMAT\n"
        "from cloudsched_env.traces.lines import Limits\n"
        "from cloudsched_env.traces.staging import EngineConfig\n"
        "def slow(stage, done, total, unit):\n"
        "    if stage == 'Reading task_events' and done > total // 3: print('halfway', flush=True); time.sleep(60)\n"
        f"FORMAT.import_folder({str(trace)!r}, {str(trace.parent / 't.parquet')!r},\n"
        "    engine=EngineConfig('300MB', 1), limits=Limits(chunk_bytes=2000), on_progress=slow)\n"
    )
    root = str(Path(cloudsched_env.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "halfway\n"
    with pytest.raises(BlockingIOError, match=r"another import to t\.parquet is running"):
        run(trace)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert list(work_folder(trace).glob("task_events/*.parquet"))
    assert run(trace).rows["arrivals"] == 600
    assert sorted(path.name for path in trace.parent.iterdir()) == ["t.parquet", "trace"]


def interrupted(trace: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(trace, on_progress=Interrupt(after=12))


def test_a_part_that_changed_in_between_is_read_again(trace):
    interrupted(trace)
    part = g.part(trace, "task_events", 0)
    lines = gzip.decompress(part.read_bytes()).decode().splitlines()
    g.write_gz(part, lines[:-1])
    os.utime(part, ns=(1, 1))
    metadata = run(trace)
    assert metadata.rows["arrivals"] == 599
    assert {s.name: s.rows for s in metadata.source_files}["task_events/part-00000-of-00500.csv.gz"] == 99


def test_another_way_to_treat_errors_begins_anew(trace, monkeypatch):
    interrupted(trace)
    copies = CountedCopies(monkeypatch)
    run(trace, on_error="skip")
    resumed = copies.chunks
    copies.chunks = 0
    run(trace)
    assert resumed == copies.chunks


def test_restart_begins_anew(trace, monkeypatch):
    interrupted(trace)
    copies = CountedCopies(monkeypatch)
    run(trace, restart=True)
    resumed = copies.chunks
    copies.chunks = 0
    run(trace)
    assert resumed == copies.chunks


@pytest.mark.parametrize("damage", ["cut the piece", "cut the note", "remove the piece"])
def test_a_damaged_piece_is_made_again(trace, damage):
    interrupted(trace)
    piece = sorted(work_folder(trace).glob("task_events/*-00000.parquet"))[0]
    if damage == "remove the piece":
        piece.unlink()
    else:
        path = piece if damage == "cut the piece" else piece.with_suffix(".json")
        path.write_bytes(path.read_bytes()[:-5])
    assert run(trace).rows["arrivals"] == 600


def test_skipped_rows_are_counted_once_over_an_interruption(trace):
    part = g.part(trace, "task_events", 0)
    lines = gzip.decompress(part.read_bytes()).decode().splitlines()
    g.write_gz(part, [*lines[:10], "bad", *lines[10:]])
    with pytest.raises(KeyboardInterrupt):
        run(trace, on_error="skip", on_progress=Interrupt(after=12))
    metadata = run(trace, on_error="skip")
    assert metadata.skipped_rows == {"task_events: wrong number of columns": 1}
    assert [row.line for row in metadata.skipped_examples] == [11]


def test_what_was_read_before_a_malformed_row_is_kept_when_it_was_much(trace, monkeypatch):
    g.write_gz(g.part(trace, "task_events", PARTS - 1), ["bad"])
    with pytest.raises(TraceFormatError):
        run(trace)
    assert not work_folder(trace).exists()
    monkeypatch.setattr(work_module, "RESUME_FROM_BYTES", 100)
    with pytest.raises(TraceFormatError):
        run(trace)
    assert work_folder(trace).is_dir()
    g.write_gz(g.part(trace, "task_events", PARTS - 1), [g.Event(9999 * g.S, 9, 0, g.SUBMIT).line()])
    assert run(trace).rows["arrivals"] == 501
    assert not work_folder(trace).exists()


def test_a_full_disk_is_named_and_the_import_goes_on_afterwards(trace, monkeypatch):
    original = Stager._copy
    calls = []

    def full(stager, *arguments):
        calls.append(1)
        if len(calls) == 15:
            raise duckdb.IOException('IO Error: Could not write file "x": No space left on device')
        return original(stager, *arguments)

    monkeypatch.setattr(Stager, "_copy", full)
    with pytest.raises(OSError, match=r"is full; free some space.*goes on from there") as caught:
        run(trace)
    assert caught.value.errno == errno.ENOSPC
    assert not (trace.parent / "t.parquet").exists()
    assert run(trace).rows["arrivals"] == 600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_when_the_table_is_written_leaves_the_old_table(trace, monkeypatch):
    run(trace)
    before = (trace.parent / "t.parquet").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cloudsched_env.traces.table.os.fsync", full)
    with pytest.raises(OSError, match="is full"):
        run(trace)
    assert (trace.parent / "t.parquet").read_bytes() == before
    assert not list(trace.parent.glob("*.partial"))


def test_one_large_part_is_staged_in_pieces_with_the_right_lines(trace):
    part = g.part(trace, "task_events", 2)
    lines = gzip.decompress(part.read_bytes()).decode().splitlines()
    lines[77] = lines[77].replace(",0,", ",zero,", 1)
    g.write_gz(part, lines)
    with pytest.raises(TraceFormatError) as caught:
        run(trace)
    assert caught.value.line == 78
    metadata = run(trace, on_error="skip")
    assert [(row.file, row.line) for row in metadata.skipped_examples] == [
        ("task_events/part-00002-of-00500.csv.gz", 78)
    ]


def test_chunks_do_not_pile_up_on_the_disk(trace):
    most = 0

    def look(stage, done, total, unit):
        nonlocal most
        chunks = work_folder(trace) / "chunks"
        most = max(most, len(list(chunks.iterdir())) if chunks.is_dir() else 0)

    run(trace, on_progress=look, limits=Limits(chunk_bytes=300))
    assert 0 < most <= 4


def test_the_plan_names_format_version_and_options(trace):
    interrupted(trace)
    plan = json.loads((work_folder(trace) / "plan.json").read_text())
    assert (plan["format"], plan["on_error"], plan["mapping_version"]) == ("google2011", "fail", FORMAT.mapping_version)
    assert not (trace.parent / "t.parquet").exists()
