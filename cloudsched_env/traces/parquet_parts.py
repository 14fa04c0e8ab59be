"""Published tables that come as Parquet: their schema is checked first, then every row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cloudsched_env.traces.badrows import BadRow
from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.parts import Part
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, quoted_path, valid_rows_sql

__all__ = ["ParquetPart"]

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
_FLOATS = ("FLOAT", "DOUBLE")


class ParquetPart:
    """One Parquet file of a table.

    Args:
        cursor: a DuckDB connection.
        part: the file.
        table: what it should be.

    Attributes:
        rows: rows in it.
        scan: query of its typed columns, ``row_number`` from 1 and ``well_formed``.

    Raises:
        TraceFormatError: it is not Parquet, is cut off, or lacks a column or has one of another type.
    """

    def __init__(self, cursor: Any, part: Part, table: PublishedTable) -> None:
        self.cursor = cursor
        self.part = part
        self.table = table
        self._read = f"read_parquet({quoted_path(part.path)}, file_row_number = true)"
        duckdb = require("duckdb")
        try:
            described = cursor.execute(f"DESCRIBE SELECT * FROM {self._read}").fetchall()
            self.rows = int(cursor.execute(f"SELECT count(*) FROM {self._read}").fetchone()[0])
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:  # damage has many names, "don't know what type" is a plain Error
            raise self.damaged(error) from error
        types = _flatten({row[0]: row[1] for row in described})
        expressions = [self._expressions(column, types) for column in table.columns]
        typed = ", ".join(
            f"{typed} AS {column.sql_name}" for column, (typed, _) in zip(table.columns, expressions, strict=True)
        )
        self._forms = [form for _, form in expressions]
        self.scan = (
            f"SELECT file_row_number + 1 AS row_number, {typed}, {' AND '.join(self._forms)} AS well_formed "
            f"FROM {self._read}"
        )

    def copy(self, keep: str, target: Path) -> int:
        """Write the valid rows as a piece; returns how many there are."""
        return int(
            self.cursor.execute(
                f"COPY (SELECT {keep} FROM ({self.scan}) WHERE {valid_rows_sql(self.table)}) "
                f"TO {quoted_path(target)} (FORMAT parquet, COMPRESSION snappy)"
            ).fetchone()[0]
        )

    def bad_rows(self, count: int) -> Iterator[BadRow]:
        """The first malformed rows."""
        shown = ", ".join(f"CAST({column.sql_name} AS VARCHAR)" for column in self.table.columns)
        query = (
            f"SELECT row_number, {self._fault_sql('name')}, {shown} FROM ({self._checked()}) "
            f"ORDER BY row_number LIMIT {count}"
        )
        names = [column.name for column in self.table.columns]
        for number, name, *fields in self.cursor.execute(query).fetchall():
            field = fields[names.index(name)]
            column = self.table.column(name)
            reason = column.problem(field) or "malformed value"
            yield BadRow(int(number), name, reason, repr(field or ""), column.expected)

    def bad_reasons(self) -> dict[str, int]:
        """Malformed rows by column and reason."""
        found: dict[str, int] = {}
        query = (
            f"SELECT {self._fault_sql('name')} AS name, {self._fault_sql('empty')} AS empty, count(*) "
            f"FROM ({self._checked()}) GROUP BY ALL ORDER BY ALL"
        )
        for name, empty, count in self.cursor.execute(query).fetchall():
            reason = "empty field" if empty else "malformed or out of range"
            found[f"{self.table.name}, column {name}: {reason}"] = int(count)
        return found

    def damaged(self, error: Exception) -> TraceFormatError:
        """The error for a file that cannot be read."""
        return TraceFormatError(
            f"not a readable Parquet file ({next(iter(str(error).splitlines()), type(error).__name__).strip()})",
            file=self.part.path,
            expected=f"{self.table.name} as published (Parquet)",
            remedy="download this file again and compare its checksum with the published one",
        )

    def _checked(self) -> str:
        forms = ", ".join(f"{form} AS form_{index}" for index, form in enumerate(self._forms))
        typed = self.scan.removeprefix("SELECT ")
        return f"SELECT * FROM (SELECT {forms}, {typed}) WHERE ({valid_rows_sql(self.table)}) IS NOT true"

    def _fault_sql(self, what: Literal["name", "empty"]) -> str:
        """Of the first column at fault: its name, or whether its value is null."""
        cases = " ".join(
            f"WHEN NOT coalesce(form_{index} AND {column.valid_sql()}, false) THEN "
            + (quoted_path(column.name) if what == "name" else f"{column.sql_name} IS NULL")
            for index, column in enumerate(self.table.columns)
        )
        return f"CASE {cases} END"

    def _expressions(self, column: PublishedColumn, types: dict[str, str]) -> tuple[str, str]:
        """Typed expression of a column, and the condition that its value is well-formed."""
        folded = {name.casefold(): name for name in types}
        for alias in (column.name, *column.aliases):
            if alias.casefold() in folded:
                name = folded[alias.casefold()]
                break
        else:
            if column.absent:
                return f"NULL::{column.sql_type}", "true"
            raise TraceFormatError(
                f"no such column; the file has {', '.join(types)[:300]}",
                file=self.part.path,
                column=column.name,
                expected=f"{self.table.name} as published: a column {column.name} ({column.kind})",
                remedy="check that this is the published file of this table",
            )
        found = types[name]
        value = ".".join('"{}"'.format(step.replace('"', '""')) for step in name.split("."))
        number = found.startswith("DECIMAL") or found in _FLOATS
        if found == "VARCHAR":
            text = f"nullif({value}, '')"
            return column.typed_sql(text), column.well_formed_sql(text)
        if column.kind == "integer" and found in _INTEGERS:
            return f"TRY_CAST({value} AS BIGINT)", f"({value} IS NULL OR TRY_CAST({value} AS BIGINT) IS NOT NULL)"
        if column.kind == "integer" and number:
            # Integers with nulls often went through floats; they are still whole as long as no digit was lost.
            exact = f"({value} IS NULL OR ({value} = trunc({value}) AND abs({value}) < 9007199254740992))"
            return f"TRY_CAST({value} AS BIGINT)", exact
        if column.kind == "float" and (number or found in _INTEGERS):
            return f"CAST({value} AS DOUBLE)", "true"
        if column.kind == "boolean" and found == "BOOLEAN":
            return value, "true"
        if column.kind == "boolean" and found in _INTEGERS:
            return f"CAST({value} AS BOOLEAN)", f"({value} NOT IN (0, 1)) IS NOT true"
        if column.kind == "timestamp" and found.startswith("TIMESTAMP"):
            return f"CAST({value} AS TIMESTAMP)", "true"
        if column.kind == "string" and (found in _INTEGERS or found == "BOOLEAN" or found.startswith("ENUM")):
            return f"CAST({value} AS VARCHAR)", "true"
        raise TraceFormatError(
            f"the column is {found}",
            file=self.part.path,
            column=column.name,
            expected=f"{replace(column, nullable=False).expected} (type {column.kind})",
            remedy="check that this is the published file of this table",
        )


def _flatten(types: dict[str, str]) -> dict[str, str]:
    """Types of columns and, by dotted name, of the fields of records (one level, as BigQuery exports them)."""
    flat: dict[str, str] = {}
    for name, kind in types.items():
        flat[name] = kind
        if kind.startswith("STRUCT(") and not kind.endswith("[]"):
            for field in kind[len("STRUCT(") : -1].split(", "):
                inner, _, inner_kind = field.rpartition(" ")
                flat[f"{name}.{inner.strip(chr(34))}"] = inner_kind
    flat.pop("file_row_number", None)
    return flat
