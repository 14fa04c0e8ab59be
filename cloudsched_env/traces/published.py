"""Declarations: what the tables of a published trace look like, and the SQL that reads and checks their rows.

A table is declared once. From the declaration follow the query that reads its files into typed columns, the condition
that a row is well-formed, the walk that names line and column of a malformed row (`badrows`), the pages of the
documentation, and what `cloudsched traces import auto` looks for.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "INT64_MAX",
    "FilePattern",
    "PublishedColumn",
    "PublishedTable",
    "csv_sql",
    "json_sql",
    "named",
    "numbered",
    "quoted_path",
    "scan_sql",
    "shards",
    "valid_rows_sql",
]

INT64_MAX = 2**63 - 1

Kind = Literal["integer", "float", "string", "timestamp", "boolean"]
Encoding = Literal["csv", "json", "parquet", "sqlite"]

_INTEGER = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?( ?(Z|UTC|[+]00(:?00)?))?"
)
_TRUE = ("1", "true", "t", "True", "TRUE")
_FALSE = ("0", "false", "f", "False", "FALSE")
_SQL_TYPES = {
    "integer": "BIGINT",
    "float": "DOUBLE",
    "string": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "boolean": "BOOLEAN",
}


@dataclass(frozen=True)
class PublishedColumn:
    """One column of a published file.

    Attributes:
        name: name in the trace's documentation; a dot goes into a record, as in ``resource_request.cpus``.
        kind: type of its values; a timestamp is ``YYYY-MM-DD HH:MM:SS[.ffffff]`` in UTC.
        nullable: whether the field may be empty.
        low: smallest valid number.
        high: largest valid number.
        choices: the only valid strings, if there is a list of them.
        aliases: other names that files with a header or records use for it.
        absent: whether files with a header or records may lack it; it is then null.
        meaning: one phrase for the documentation.
    """

    name: str
    kind: Kind
    nullable: bool = False
    low: float = 0
    high: float = INT64_MAX
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    absent: bool = False
    meaning: str = ""

    @property
    def sql_type(self) -> str:
        """Type in DuckDB."""
        return _SQL_TYPES[self.kind]

    @property
    def sql_name(self) -> str:
        """Name as an identifier."""
        return '"{}"'.format(self.name.replace('"', '""'))

    @property
    def expected(self) -> str:
        """What a valid field is, in words."""
        empty = " or an empty field" if self.nullable else ""
        if self.choices:
            return "one of " + ", ".join(self.choices) + empty
        if self.kind == "string":
            return "text" + empty
        if self.kind == "boolean":
            return "0 or 1, or false or true" + empty
        if self.kind == "timestamp":
            return "a time such as 2018-02-21 00:00:01.250 (UTC)" + empty
        if self.kind == "float":
            top = "" if self.high == INT64_MAX else f" and at most {self.high:g}"
            return f"a finite number of at least {self.low:g}{top}" + empty
        top = "" if self.high == INT64_MAX else f" to {self.high}"
        return f"an integer from {self.low}{top}" + empty

    def problem(self, field: str | None) -> str | None:
        """What is wrong with a field, or None. An absent field is None."""
        if not field:
            return None if self.nullable else "empty field"
        if self.choices:
            return None if field in self.choices else "unknown value"
        if self.kind == "string":
            return None
        if self.kind == "boolean":
            return None if field in _TRUE + _FALSE else "not 0 or 1"
        if self.kind == "timestamp":
            return None if _is_timestamp(field) else "not a time"
        if not (_INTEGER if self.kind == "integer" else _FLOAT).fullmatch(field):
            return f"not {'an integer' if self.kind == 'integer' else 'a number'}"
        value = int(field) if self.kind == "integer" else float(field)
        return None if self.low <= value <= self.high and value != float("inf") else "out of range"

    def typed_sql(self, text: str) -> str:
        """An expression of the column's type from one of text; null where the text is malformed."""
        if self.kind == "string":
            return text
        if self.kind == "boolean":
            return f"CASE WHEN {text} IN {_in(_TRUE)} THEN true WHEN {text} IN {_in(_FALSE)} THEN false END"
        if self.kind == "timestamp":
            # A suffix of UTC would make the cast fail; only forms that say UTC pass the pattern.
            return f"TRY_CAST(regexp_replace({text}, ' ?(Z|UTC|[+]00(:?00)?)$', '') AS TIMESTAMP)"
        return f"TRY_CAST({text} AS {self.sql_type})"

    def well_formed_sql(self, text: str) -> str:
        """Condition that a text is null or of the right form.

        Integers are checked as text because a cast would take 1.3E+11, an id that lost its digits in a spreadsheet.
        """
        if self.kind == "string":
            return "true"
        form = f"{self.typed_sql(text)} IS NOT NULL"
        if self.kind == "integer":
            form = f"regexp_full_match({text}, '-?[0-9]+') AND " + form
        elif self.kind == "timestamp":
            form = f"regexp_full_match({text}, '{_TIMESTAMP.pattern}') AND " + form
        return f"({text} IS NULL OR ({form}))"

    def valid_sql(self) -> str:
        """The condition of `problem` in SQL, for a field that was converted."""
        if self.choices:
            inside = f"{self.sql_name} IN {_in(self.choices)}"
        elif self.kind in ("string", "timestamp", "boolean"):
            inside = f"{self.sql_name} IS NOT NULL"
        elif self.kind == "float" and self.high == INT64_MAX:
            # `< 'infinity'` is false for infinity and for NaN, which DuckDB sorts above it.
            inside = f"{self.sql_name} >= {self.low} AND {self.sql_name} < 'infinity'::DOUBLE"
        else:
            inside = f"{self.sql_name} >= {self.low} AND {self.sql_name} <= {self.high}"
        return (
            f"({self.sql_name} IS {'' if self.nullable else 'NOT '}NULL {'OR' if self.nullable else 'AND'} ({inside}))"
        )


@dataclass(frozen=True)
class FilePattern:
    """Where files of a table are, relative to the folder of the trace.

    Attributes:
        layout: the pattern in words, for messages and documentation.
        regex: full match of a path with ``/``; its first group, if it took part, is the number of the part.
        encoding: what is in it once it is decompressed.
        packed: ``"tar"`` if it is an archive that holds the file as a member.
        alone: whether it counts only if it is the one file that was given, because a folder holds variants of it.
    """

    layout: str
    regex: str
    encoding: Encoding = "csv"
    packed: Literal["", "tar"] = ""
    alone: bool = False


@dataclass(frozen=True)
class PublishedTable:
    """One table of a published trace.

    Attributes:
        name: its name.
        columns: its columns in order.
        parts: number of files of the full trace, None if the publisher does not fix it.
        patterns: where its files are, preferred ones first; Google's layout of 2011 if none is given.
        required: whether an import needs it.
        header: ``"none"``: fields are known by position. ``"required"``: the first line names them, in any order.
            ``"optional"``: by position, and a first line of names is passed over.
        null_texts: fields that mean null.
        quoted: whether fields may be quoted as RFC 4180 has it.
        consecutive: whether a hole between numbered parts is an error.
        unique: kept columns that together identify a row; repeated rows are malformed.
        key_columns: published columns that these are made from, if their names differ.
        source_table: table of the database file (SQLite).
        meaning: one sentence for the documentation.
    """

    name: str
    columns: tuple[PublishedColumn, ...]
    parts: int | None = None
    patterns: tuple[FilePattern, ...] = ()
    required: bool = True
    header: Literal["none", "required", "optional"] = "none"
    null_texts: tuple[str, ...] = ("",)
    quoted: bool = False
    consecutive: bool = False
    unique: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    source_table: str = ""
    meaning: str = ""

    @property
    def layout(self) -> str:
        """Its files in words."""
        return " or ".join(dict.fromkeys(pattern.layout for pattern in self.patterns))

    def column(self, name: str) -> PublishedColumn:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


def named(stem: str, *, archives: tuple[str, ...] = (), names: str = "") -> tuple[FilePattern, ...]:
    """Patterns of a CSV table that is one file: ``stem.csv``, ``.csv.gz``, or packed in a ``.tar.gz``.

    Args:
        stem: name of the file without suffix.
        archives: names of archives that hold it among other files, beside ``stem.tar.gz``.
        names: regular expression of the stem, if it is not just one.
    """
    stems = names or re.escape(stem)
    packed = "|".join([stems + r"(?:\.csv)?", *(re.escape(name) for name in archives)])
    return (
        FilePattern(f"{stem}.csv", rf"(?:.*/)?{stems}\.csv"),
        FilePattern(f"{stem}.csv.gz", rf"(?:.*/)?{stems}\.csv\.gz"),
        FilePattern(
            " or ".join(f"{name}.tar.gz" for name in (stem, *archives)),
            rf"(?:.*/)?(?:{packed})\.(?:tar\.gz|tgz|tar)",
            packed="tar",
        ),
    )


def shards(stem: str, suffix: str, encoding: Encoding) -> FilePattern:
    """Pattern of numbered files such as ``stem-000000000000.json.gz``."""
    return FilePattern(
        f"{stem}-*{suffix}", rf"(?:.*/)?{re.escape(stem)}(?:[-_]?(\d{{1,18}}))?{re.escape(suffix)}", encoding
    )


def numbered(table: str, parts: int) -> FilePattern:
    """Google's layout of 2011: ``table/part-00000-of-00500.csv.gz``."""
    return FilePattern(
        f"{table}/part-?????-of-{parts:05d}.csv.gz", rf"{re.escape(table)}/part-(\d{{5}})-of-{parts:05d}\.csv\.gz"
    )


def quoted_path(path: object) -> str:
    """A path as a string literal of SQL."""
    return "'{}'".format(str(path).replace("'", "''"))


def scan_sql(table: PublishedTable, source: str) -> str:
    """A query that turns rows of text columns into typed columns of the published names, plus ``well_formed``.

    Args:
        table: the table.
        source: a query with the columns of the table as text; numbers may be numbers already.
    """
    typed = ", ".join(f"{column.typed_sql(column.sql_name)} AS {column.sql_name}" for column in table.columns)
    forms = [column.well_formed_sql(column.sql_name) for column in table.columns if column.kind != "string"]
    return f"SELECT {typed}, {' AND '.join(forms) or 'true'} AS well_formed FROM ({source})"


def valid_rows_sql(table: PublishedTable) -> str:
    """Condition that the fields of a row from `scan_sql` are well-formed, present where they must be, and in range."""
    return "well_formed AND " + " AND ".join(column.valid_sql() for column in table.columns)


def csv_sql(table: PublishedTable, path: object, names: tuple[str, ...] | None = None) -> str:
    """A query that reads a CSV file without header; ``names`` are its columns if they are not in the table's order.

    A file may have more columns than the table; they are read and dropped.
    """
    known = {column.name: column for column in table.columns}
    names = names or tuple(known)
    # Floats may be converted by the CSV reader, which is faster; what it cannot convert is found line by line.
    read = ", ".join(
        "'{}': '{}'".format(
            name.replace("'", "''"), "DOUBLE" if name in known and known[name].kind == "float" else "VARCHAR"
        )
        for name in names
    )
    quote = "quote = '\"', escape = '\"'" if table.quoted else "quote = '', escape = ''"
    nulls = ", ".join(quoted_path(text) for text in table.null_texts)
    select = ", ".join(
        column.sql_name if column.name in names else f"NULL::VARCHAR AS {column.sql_name}" for column in table.columns
    )
    return (
        f"SELECT {select} FROM read_csv({quoted_path(path)}, header = false, auto_detect = false, delim = ',', "
        f"{quote}, nullstr = [{nulls}], columns = {{{read}}})"
    )


def json_sql(table: PublishedTable, path: object) -> str:
    """A query that reads the columns of a table from records, one a line, as text."""
    return (
        "SELECT "
        + ", ".join(
            "coalesce("
            + ", ".join(_json_field(name) for name in (column.name, *column.aliases))
            + f") AS {column.sql_name}"
            for column in table.columns
        )
        + f" FROM read_json_objects({quoted_path(path)}, format = 'newline_delimited')"
    )


def _json_field(name: str) -> str:
    path = ".".join('"{}"'.format(step.replace("'", "''")) for step in name.split("."))
    return f"nullif(json->>'$.{path}', '')"


def _in(values: tuple[str, ...]) -> str:
    return "(" + ", ".join(quoted_path(value) for value in values) + ")"


def _is_timestamp(field: str) -> bool:
    if not _TIMESTAMP.fullmatch(field):
        return False
    try:
        datetime.datetime.fromisoformat(field[:19])
    except ValueError:
        return False
    return True
