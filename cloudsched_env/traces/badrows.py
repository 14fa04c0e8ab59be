"""Which rows of a table are malformed: line, column, what is wrong, what was found, what was expected.

The walk through the lines is slow and exact; it is only taken where DuckDB accepts fewer rows than there are lines.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cloudsched_env.traces.published import Encoding, PublishedTable

__all__ = ["BadRow", "find_bad_rows"]


@dataclass(frozen=True)
class BadRow:
    """A malformed row: line from 1, column (None: the whole line), reason, what was found and what was expected."""

    line: int
    column: str | None
    reason: str
    found: str
    expected: str


def find_bad_rows(
    lines: Iterable[bytes],
    table: PublishedTable,
    *,
    names: tuple[str, ...] | None = None,
    first_line: int = 1,
    encoding: Encoding = "csv",
    others: tuple[PublishedTable, ...] = (),
) -> Iterator[BadRow]:
    """Malformed lines, by the rules that DuckDB applies to them.

    Args:
        lines: lines with their ends; the header is not among them.
        table: what they should be.
        names: columns of a CSV file in its order, if a header named them.
        first_line: number of the first line.
        encoding: CSV, or records (JSON; rows of databases come as such).
        others: other tables of the format, to recognise a file in the wrong place.
    """
    for number, raw in enumerate(lines, start=first_line):
        try:
            text = raw.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError:
            yield BadRow(number, None, "not UTF-8 text", repr(raw[:80]), "UTF-8 text")
            continue
        if "\0" in text:
            yield BadRow(number, None, "a zero byte", repr(text[:80]), "UTF-8 text (this looks like UTF-16)")
            continue
        fields = (
            _csv_fields(text, number, table, names, others) if encoding == "csv" else _json_fields(text, number, table)
        )
        if isinstance(fields, BadRow):
            yield fields
            continue
        for column in table.columns:
            field = fields.get(column.name)
            problem = column.problem(field)
            if problem:
                header = " (this looks like a header line; published files have none)"
                shown = header if number == 1 and encoding == "csv" and field and not field[0].isdigit() else ""
                yield BadRow(number, column.name, problem, repr(_short(field or "")), column.expected + shown)
                break


def _csv_fields(
    text: str, number: int, table: PublishedTable, names: tuple[str, ...] | None, others: tuple[PublishedTable, ...]
) -> dict[str, str | None] | BadRow:
    names = names or tuple(column.name for column in table.columns)
    if table.quoted:
        try:
            fields = next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            return BadRow(number, None, "wrong quotes", f"{_short(text)} ({error})", "fields quoted as in RFC 4180")
        if not text:
            fields = [""]
    else:
        fields = text.split(",")
    if len(fields) != len(names):
        alike = [other.name for other in others if len(other.columns) == len(fields) and other.name != table.name]
        expected = f"{len(names)} columns, as {table.name} has"
        expected += f" (this looks like {' or '.join(alike)})" if alike and number == 1 else ""
        reason = "empty line" if not text else "wrong number of columns"
        return BadRow(number, None, reason, f"{len(fields)} columns: {_short(text)}", expected)
    return {name: None if field in table.null_texts else field for name, field in zip(names, fields, strict=True)}


def _json_fields(text: str, number: int, table: PublishedTable) -> dict[str, str | None] | BadRow:
    expected = "one JSON record a line"
    if not text.strip():
        return BadRow(number, None, "empty line", "nothing", expected)
    try:
        record = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return BadRow(number, None, "not JSON", f"{_short(text)} ({error})", expected)
    if not isinstance(record, dict):
        return BadRow(number, None, "not a JSON record", _short(text), expected)
    return {column.name: _first(record, (column.name, *column.aliases)) for column in table.columns}


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _first(record: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Text of the first of some fields that is there, as DuckDB's ``->>`` gives it."""
    for name in names:
        value: Any = record
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None and value != "":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
