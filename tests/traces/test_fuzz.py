"""Damaged files of every format: a clear error or counted skips, never a crash and never half a table.

A case is (format, file, list of edits). Cases that once broke a reader are kept in ``corpus/*.json`` and run each time;
hypothesis draws new ones. ``CLOUDSCHED_PROPERTY_EXAMPLES`` sets how many.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsched_env.traces import TraceFormatError, load_tasks
from cloudsched_env.traces.formats import find_format
from cloudsched_env.traces.lines import Limits
from cloudsched_env.traces.load_table import load_background
from cloudsched_env.traces.metadata import TraceMetadata
from cloudsched_env.traces.parts import find_parts
from cloudsched_env.traces.staging import EngineConfig
from cloudsched_env.traces.trace_format import TraceFormat
from tests.traces.small_traces import WRITERS, write

pytest.importorskip("duckdb")
CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("CLOUDSCHED_PROPERTY_EXAMPLES", "10"))
ENGINE = EngineConfig("300MB", 1)
NAMES = sorted(WRITERS)

FIELDS = [
    "",
    "-1",
    "0",
    "9223372036854775807",
    "9223372036854775808",
    "1e5",
    "nan",
    "inf",
    "-inf",
    "0x1",
    "\\N",
    "NULL",
]
FIELDS += [
    " 1",
    "1 ",
    "1_000",
    "1.0",
    "é",
    "\x00",
    '"',
    '""',
    "'",
    "a,b",
    "2018-13-01 00:00:00",
    "true",
    "\t",
    "\ufeff1",
    ";",
]
edit = st.one_of(
    st.tuples(st.just("field"), st.integers(0, 9), st.integers(0, 30), st.sampled_from(FIELDS)),
    st.tuples(st.just("line"), st.integers(0, 9), st.sampled_from(["", ",", "{}", "[]", "x", '"', "null", "\xff"])),
    st.tuples(st.just("repeat"), st.integers(0, 9)),
    st.tuples(st.just("drop"), st.integers(0, 9)),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("byte"), st.floats(0, 1), st.integers(0, 255)),
    st.tuples(st.just("crlf")),
    st.tuples(st.just("append"), st.sampled_from(["\n", "\n\n", "x", "1,2", "\x1a"])),
)


def apply_edits(path: Path, edits: list[tuple]) -> None:
    """Change the text of a file (inside gzip, if it is one); other files are changed in their bytes."""
    packed = path.suffix == ".gz" and not path.name.endswith(".tar.gz")
    data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    for kind, *values in edits:
        if kind == "cut":
            data = data[: int(values[0] * len(data))]
        elif kind == "byte":
            place = int(values[0] * (len(data) - 1)) if data else 0
            data = data[:place] + bytes([values[1]]) + data[place + 1 :]
        elif kind == "crlf":
            data = data.replace(b"\n", b"\r\n")
        elif kind == "append":
            data += values[0].encode("latin-1")
        else:
            lines = data.split(b"\n")
            number = values[0] % len(lines)
            if kind == "line":
                lines[number] = values[1].encode("latin-1")
            elif kind == "repeat":
                lines.insert(number, lines[number])
            elif kind == "drop":
                del lines[number]
            else:
                fields = lines[number].split(b",")
                fields[values[1] % len(fields)] = values[2].encode("utf-8")
                lines[number] = b",".join(fields)
            data = b"\n".join(lines)
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def outcome(name: str, folder: Path, target: Path, on_error: str) -> TraceMetadata | TraceFormatError:
    """Metadata of the import, or the one kind of error that damage may raise."""
    try:
        return find_format(name).import_folder(
            folder, target, engine=ENGINE, on_error=on_error, limits=Limits(chunk_bytes=400)
        )
    except TraceFormatError as error:
        return error


def check(name: str, file_number: int, edits: list[tuple]) -> None:
    """Import a damaged trace both ways."""
    with tempfile.TemporaryDirectory() as home:
        folder = write(name, Path(home, "trace"))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        apply_edits(files[file_number % len(files)], edits)
        target = Path(home, "t.parquet")
        written: dict[str, bytes | None] = {}
        for on_error in ("fail", "skip"):
            found = outcome(name, folder, target, on_error)
            written[on_error] = target.read_bytes() if target.exists() else None
            if isinstance(found, TraceFormatError):
                assert found.expected
                assert written[on_error] is None
            else:
                load = load_tasks if find_format(name).kind == "tasks" else load_background
                assert len(load(target)) == found.rows["arrivals"] > 0
                assert_rows_add_up(find_format(name), folder, found)
            target.unlink(missing_ok=True)
            assert [path.name for path in Path(home).iterdir()] == ["trace"]
        if written["fail"] is not None:
            assert written["skip"] == written["fail"]  # what is accepted strictly is accepted leniently


def assert_rows_add_up(entry: TraceFormat, folder: Path, metadata: TraceMetadata) -> None:
    """Lines read are rows kept, rows skipped, and at most a header a file."""
    for table in entry.tables:
        names = {part.name for part in parts_of(folder, table)}
        read = sum(source.rows for source in metadata.source_files if source.name in names)
        skipped = sum(
            count
            for reason, count in metadata.skipped_rows.items()
            if reason.startswith((f"{table.name},", f"{table.name}:")) and not reason.endswith(": repeated")
        )
        headers = 0 if table.header == "none" else len(names)
        assert read - headers <= metadata.rows[table.name] + skipped <= read


def parts_of(folder, table):
    try:
        return find_parts(folder, table)
    except TraceFormatError:
        return []


@given(name=st.sampled_from(NAMES), file=st.integers(0, 5), edits=st.lists(edit, min_size=1, max_size=3))
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
def test_damaged_files_are_refused_or_skipped_row_by_row(name, file, edits):
    check(name, file, edits)


CASES = sorted(CORPUS.glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases_of_the_corpus(path):
    case = json.loads(path.read_text(encoding="utf-8"))
    check(case["format"], case["file"], [tuple(step) for step in case["edits"]])


def test_the_corpus_covers_every_format():
    formats = {json.loads(path.read_text(encoding="utf-8"))["format"] for path in CASES}
    assert formats == set(NAMES)


def test_edits_change_files(tmp_path):
    # Guards the tests above: they would show nothing if edits did nothing.
    folder = write("snowset", tmp_path / "trace")
    path = folder / "snowset-main.csv.gz"
    before = path.read_bytes()
    for step in (("field", 1, 0, "x"), ("cut", 0.5), ("byte", 0.5, 0), ("crlf",), ("append", "x"), ("drop", 1)):
        path.write_bytes(before)
        apply_edits(path, [step])
        assert path.read_bytes() != before
    shutil.rmtree(folder)
