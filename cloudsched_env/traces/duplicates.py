"""Rows that repeat the key of another row: found in what is staged, located in the published files.

Staged rows have no line numbers, since almost no import needs them. Where keys repeat, the parts that hold the first
few of them are read once more, with each line's number as a column of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudsched_env.traces.badrows import find_bad_rows
from cloudsched_env.traces.errors import TraceFormatError
from cloudsched_env.traces.lines import Chunk, PartReader
from cloudsched_env.traces.metadata import SkippedRow
from cloudsched_env.traces.parquet_parts import ParquetPart
from cloudsched_env.traces.parts import Part
from cloudsched_env.traces.pieces import EXAMPLES_KEPT
from cloudsched_env.traces.published import (
    PublishedColumn,
    PublishedTable,
    csv_sql,
    json_sql,
    quoted_path,
    scan_sql,
    valid_rows_sql,
)
from cloudsched_env.traces.staging import OnError, Stager

__all__ = ["settle_duplicates"]

_LINE = "line in the file"  # no published column has such a name
_PLACES_SHOWN = 3


@dataclass(frozen=True)
class _Repeat:
    """A row whose key another row has."""

    part: Part
    line: int
    key: str
    kept: bool


def settle_duplicates(stager: Stager, table: PublishedTable, keep: str, on_error: OnError) -> None:
    """Rows that repeat a key are an error, or left out and counted: of the rows of a key the smallest one is kept.

    Args:
        stager: has staged the table.
        table: the table; nothing is done if no columns of it are unique.
        keep: select list with which it was staged.
        on_error: ``"fail"`` or ``"skip"``.

    Raises:
        TraceFormatError: with ``"fail"``, naming file, line and columns of a row that repeats a key, and the row that
            has it too.
    """
    if not table.unique:
        return
    connection = stager.work.connection
    key = _names(table.unique)
    rows, keys = connection.execute(
        f"SELECT sum(n - 1), count(*) FROM (SELECT count(*) AS n FROM {table.name} GROUP BY {key} HAVING n > 1)"
    ).fetchone()
    if not keys:
        return
    columns = ", ".join(table.key_columns or table.unique)
    if on_error == "fail":
        raise _error(_locate(stager, table, keep, 1), table, columns, int(keys))
    wanted = EXAMPLES_KEPT - len(stager.skipped.examples)
    left_out = [row for row in _locate(stager, table, keep, wanted) if not row.kept] if wanted > 0 else []
    stager.skipped.examples.extend(
        SkippedRow(row.part.name, row.line, columns, f"repeated; found {row.key!r}") for row in left_out[:wanted]
    )
    stager.skipped.reasons[f"{table.name}, column {columns}: repeated"] += int(rows)
    connection.execute(
        f"CREATE TABLE {table.name}_once AS SELECT DISTINCT ON ({key}) * FROM {table.name} ORDER BY ALL; "
        f"CREATE OR REPLACE VIEW {table.name} AS SELECT * FROM {table.name}_once"
    )


def _error(found: list[_Repeat], table: PublishedTable, columns: str, keys: int) -> TraceFormatError:
    """The error for the second row of the first repeated key."""
    first, second, *more = found
    also = [first, *more[: _PLACES_SHOWN - 1]]
    places = " and ".join(
        f"line {row.line:,}" if row.part == second.part else f"line {row.line:,} of {row.part.name}" for row in also
    )
    others = f"; {keys - 1:,} more values are repeated" if keys > 1 else ""
    return TraceFormatError(
        f"repeated: found {second.key!r}, which {places} has too{others}",
        file=f"{second.part.path}!{second.part.member}" if second.part.member else second.part.path,
        line=second.line,
        column=columns,
        expected=f"one row of {table.name} for each {columns}",
        remedy="check that no file is there twice, or leave repeated rows out with --on-error skip",
    )


def _locate(stager: Stager, table: PublishedTable, keep: str, keys: int) -> list[_Repeat]:
    """All rows of the first few repeated keys, by key, then in the order of the files."""
    connection = stager.work.connection
    key = _names(table.unique)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT {key} FROM {table.name} GROUP BY {key} "
        f"HAVING count(*) > 1 ORDER BY {key} LIMIT {keys}; "
        "CREATE OR REPLACE TEMP TABLE located AS SELECT 0 AS part_number, 0::BIGINT AS line, * FROM "
        f"(FROM {table.name} LIMIT 0)"
    )
    staged = stager.staged[table.name]
    for number, (part, found) in enumerate(staged):
        pieces = ", ".join(quoted_path(piece) for piece in found.pieces)
        here = f"SELECT count(*) FROM read_parquet([{pieces}]) SEMI JOIN repeated USING ({key})"
        if found.pieces and connection.execute(here).fetchone()[0]:
            for source in _numbered(stager, part, table):
                connection.execute(
                    f'INSERT INTO located SELECT {number}, * FROM (SELECT "{_LINE}" AS line, {keep} FROM ({source})) '
                    f"SEMI JOIN repeated USING ({key})"
                )
    # The same order as that by which rows are kept; of equal rows the first one in the files is.
    columns = _names(tuple(row[0] for row in connection.execute(f"DESCRIBE {table.name}").fetchall()))
    rows = connection.execute(
        f"SELECT part_number, line, {key}, "
        f"row_number() OVER (PARTITION BY {key} ORDER BY {columns}, part_number, line) = 1 "
        f"FROM located ORDER BY {key}, part_number, line"
    ).fetchall()
    return [
        _Repeat(staged[number][0], int(line), ", ".join(map(str, values)), bool(kept))
        for number, line, *values, kept in rows
    ]


def _numbered(stager: Stager, part: Part, table: PublishedTable) -> Iterator[str]:
    """Queries of the valid rows of a part, typed, with their lines; use each before asking for the next."""
    if part.encoding == "parquet":
        source = ParquetPart(stager.work.connection, part, table)
        yield f'SELECT row_number AS "{_LINE}", * FROM ({source.scan}) WHERE {valid_rows_sql(table)}'
        return
    wider = replace(table, columns=(PublishedColumn(_LINE, "integer", meaning="number from 1"), *table.columns))
    folder = stager.work.folder / "chunks"
    reader = PartReader(part, table, stager.limits)
    for chunk in reader.chunks(lambda number: folder / f"again-{number:05d}"):
        with _with_numbers(chunk, part, table, reader.header) as path:
            names = (_LINE, *(reader.header or (column.name for column in table.columns)))
            text = csv_sql(wider, path, names) if part.encoding == "csv" else json_sql(wider, path)
            yield f"SELECT * FROM ({scan_sql(wider, text)}) WHERE {valid_rows_sql(wider)}"


@contextmanager
def _with_numbers(chunk: Chunk, part: Part, table: PublishedTable, header: tuple[str, ...] | None) -> Iterator[Path]:
    """The sound lines of a chunk, each with its number in front, as a file."""
    path = chunk.path.with_suffix(".numbered")
    csv = part.encoding == "csv"
    try:
        with open(chunk.path, "rb") as lines:
            bad = {
                row.line
                for row in find_bad_rows(
                    lines, table, names=header, first_line=chunk.first_line, encoding="csv" if csv else "json"
                )
            }
        with open(chunk.path, "rb") as lines, open(path, "wb") as numbered:
            for number, line in enumerate(lines, start=chunk.first_line):
                if number in bad:
                    continue
                text = line.rstrip(b"\r\n")
                if csv:
                    numbered.write(b"%d," % number + text + b"\n")
                else:
                    record: dict[str, Any] = {**json.loads(text), _LINE: number}
                    numbered.write(json.dumps(record).encode() + b"\n")
        yield path
    finally:
        path.unlink(missing_ok=True)
        chunk.path.unlink(missing_ok=True)


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in columns)
