"""Published CSV parts: what a table looks like, whether its files are sound, and where exactly they are not.

DuckDB reads the files; this module only checks them. A pass over the compressed bytes yields checksum, size and
line count and finds damaged gzip streams (DuckDB does not compare the CRC). When DuckDB reads fewer rows than
there are lines, or fails, `find_bad_rows` walks the file line by line to name line and column.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cloudsched_env.traces.errors import TraceFormatError
from cloudsched_env.traces.metadata import SourceFile

__all__ = [
    "BadRow",
    "PublishedColumn",
    "PublishedTable",
    "check_file",
    "find_bad_rows",
    "find_parts",
    "read_good_lines",
    "scan_sql",
    "valid_rows_sql",
]

INT64_MAX = 2**63 - 1
_INTEGER = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PublishedColumn:
    """One column of a published file.

    Attributes:
        name: name in the trace's documentation.
        kind: type of its values.
        nullable: whether the field may be empty.
        low: smallest valid number.
        high: largest valid number.
    """

    name: str
    kind: Literal["integer", "float", "string"]
    nullable: bool = False
    low: int = 0
    high: int = INT64_MAX

    @property
    def sql_type(self) -> str:
        """Type in DuckDB."""
        return {"integer": "BIGINT", "float": "DOUBLE", "string": "VARCHAR"}[self.kind]

    @property
    def expected(self) -> str:
        """What a valid field is, in words."""
        empty = " or an empty field" if self.nullable else ""
        if self.kind == "string":
            return "text" + empty
        if self.kind == "float":
            return f"a finite number of at least {self.low}" + empty
        top = "" if self.high == INT64_MAX else f" to {self.high}"
        return f"an integer from {self.low}{top}" + empty

    def problem(self, field: str) -> str | None:
        """What is wrong with a field, or None."""
        if not field:
            return None if self.nullable else "empty field"
        if self.kind == "string":
            return None
        if not (_INTEGER if self.kind == "integer" else _FLOAT).fullmatch(field):
            return f"not {'an integer' if self.kind == 'integer' else 'a number'}"
        value = int(field) if self.kind == "integer" else float(field)
        return None if self.low <= value <= self.high and value != float("inf") else "out of range"

    def valid_sql(self) -> str:
        """The same condition in SQL, for a field that was converted."""
        if self.kind == "string":
            return "true" if self.nullable else f'"{self.name}" IS NOT NULL'
        # `< 'infinity'` is false for infinity and for NaN, which DuckDB sorts above it.
        top = "'infinity'::DOUBLE" if self.kind == "float" else str(self.high)
        inside = f'("{self.name}" >= {self.low} AND "{self.name}" {"<" if self.kind == "float" else "<="} {top})'
        return f'("{self.name}" IS NULL OR {inside})' if self.nullable else f'("{self.name}" IS NOT NULL AND {inside})'


@dataclass(frozen=True)
class PublishedTable:
    """One table of a published trace.

    Attributes:
        name: folder of its files.
        columns: its columns in order.
        parts: number of files of the full trace.
    """

    name: str
    columns: tuple[PublishedColumn, ...]
    parts: int


@dataclass(frozen=True)
class BadRow:
    """A malformed line: number from 1, column (None: the whole line), reason, and what was expected."""

    line: int
    column: str | None
    reason: str
    found: str
    expected: str


def find_parts(folder: Path, table: PublishedTable) -> dict[int, Path]:
    """Files of a table by part number.

    Raises:
        TraceFormatError: the folder or the table is missing, or there is a hole between the first and last part.
    """
    layout = f"{table.name}/part-?????-of-{table.parts:05d}.csv.gz"
    if not folder.is_dir():
        raise TraceFormatError(
            "no such folder",
            file=folder,
            expected=f"the folder of the trace, which holds {layout}",
            remedy="check the path",
        )
    pattern = re.compile(rf"part-(\d{{5}})-of-{table.parts:05d}\.csv\.gz")
    subfolder = folder / table.name
    parts = {}
    if subfolder.is_dir():
        for path in sorted(subfolder.iterdir()):
            match = pattern.fullmatch(path.name)
            if match:
                parts[int(match[1])] = path
    if not parts:
        raise TraceFormatError(
            f"the table {table.name} is missing",
            file=folder,
            expected=layout,
            remedy="download it into this folder, with the published file names (docs/traces.md has the commands)",
        )
    missing = sorted(set(range(min(parts), max(parts))) - set(parts))
    if missing:
        listed = ", ".join(f"{number:05d}" for number in missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise TraceFormatError(
            f"parts {listed} are missing between {min(parts):05d} and {max(parts):05d}",
            file=subfolder,
            expected="consecutive parts: without them the ends of tasks would be lost and durations would be wrong",
            remedy="download the missing parts, or move the later ones to another folder",
        )
    return parts


class _Hashed:
    """A file whose bytes are hashed and counted as they are read."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        self.digest = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        self.bytes += len(data)
        return data

    def close(self) -> None:
        self.file.close()


def check_file(path: Path, name: str) -> SourceFile:
    """Checksum, size and lines of a ``.csv.gz`` file.

    Args:
        path: the file.
        name: what to call it in the result.

    Raises:
        TraceFormatError: it is not gzip, is cut off, or its CRC does not match.
    """
    hashed = _Hashed(path)
    lines = 0
    last = b"\n"
    try:
        with gzip.GzipFile(fileobj=hashed) as stream:  # type: ignore[call-overload]
            while chunk := stream.read(_CHUNK_BYTES):
                lines += chunk.count(b"\n")
                last = chunk[-1:]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        cut = isinstance(error, EOFError)
        raise TraceFormatError(
            f"the gzip stream is {'cut off' if cut else 'damaged'} after line {lines:,} ({str(error).rstrip('.')})",
            file=path,
            expected="a complete gzip file",
            remedy="download this file again and compare it with the trace's SHA256SUM",
        ) from error
    finally:
        hashed.close()
    return SourceFile(name, hashed.bytes, hashed.digest.hexdigest(), lines + (last != b"\n"))


def valid_rows_sql(table: PublishedTable) -> str:
    """Condition that the fields of a row from `scan_sql` are well-formed, present where they must be, and in range."""
    return "well_formed AND " + " AND ".join(column.valid_sql() for column in table.columns)


def scan_sql(table: PublishedTable, paths: list[Path]) -> str:
    """A query that reads files of a table into typed columns of the published names, plus ``well_formed``.

    Integers are read as text first: a cast would take 1.3E+11, an id that lost its digits in a spreadsheet.
    """
    integers = [f'"{column.name}"' for column in table.columns if column.kind == "integer"]
    typed = ", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in integers)
    digits = " AND ".join(f"({name} IS NULL OR regexp_full_match({name}, '[0-9]+'))" for name in integers)
    quoted = ", ".join("'{}'".format(str(path).replace("'", "''")) for path in paths)
    read = ", ".join(
        f"'{column.name}': '{'DOUBLE' if column.kind == 'float' else 'VARCHAR'}'" for column in table.columns
    )
    return (
        f"SELECT * REPLACE ({typed}), {digits} AS well_formed FROM read_csv([{quoted}], header = false, "
        f"auto_detect = false, delim = ',', quote = '', escape = '', columns = {{{read}}})"
    )


def find_bad_rows(path: Path, table: PublishedTable, others: tuple[PublishedTable, ...] = ()) -> Iterator[BadRow]:
    """Malformed lines of a file, by the rules that DuckDB applies to it.

    Args:
        path: a ``.csv.gz`` file that `check_file` accepts.
        table: what it should be.
        others: other tables of the format, to recognise a file in the wrong folder.
    """
    count = len(table.columns)
    with gzip.open(path, "rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                text = raw.rstrip(b"\r\n").decode("utf-8")
            except UnicodeDecodeError:
                yield BadRow(number, None, "not UTF-8 text", repr(raw[:80]), "UTF-8 text")
                continue
            fields = text.split(",")
            if len(fields) != count:
                alike = [other.name for other in others if len(other.columns) == len(fields)]
                expected = f"{count} columns, as {table.name} has"
                expected += f" (this looks like {' or '.join(alike)})" if alike and number == 1 else ""
                reason = "empty line" if not text else "wrong number of columns"
                yield BadRow(number, None, reason, f"{len(fields)} columns: {_short(text)}", expected)
                continue
            for column, field in zip(table.columns, fields, strict=True):
                problem = column.problem(field)
                if problem:
                    header = " (this looks like a header line; published files have none)" if number == 1 else ""
                    yield BadRow(number, column.name, problem, repr(_short(field)), column.expected + header)
                    break


def read_good_lines(path: Path, bad: list[BadRow], target: Any) -> int:
    """Copy all lines but the bad ones to an open binary file; returns how many."""
    skip = {row.line for row in bad}
    kept = 0
    with gzip.open(path, "rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if number not in skip:
                target.write(raw.rstrip(b"\r\n") + b"\n")
                kept += 1
    return kept


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
