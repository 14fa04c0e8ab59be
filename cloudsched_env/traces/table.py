"""The canonical task table: one row a task that arrives, in Parquet, with its own description inside.

Every published format of tasks is mapped to these columns by its reader, and the workload stage starts from them.
What a trace does not record is null here and declared in the metadata; it is never made up on import. Machines are no
table of their own: their kinds and counts are in the metadata, which is all that the workload stage uses.
Block traces become another table with the same discipline (`load_table`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.metadata import TraceMetadata
from cloudsched_env.whole_file import beside

__all__ = [
    "METADATA_KEY",
    "OUTCOMES",
    "TABLE_VERSION",
    "TASK_COLUMNS",
    "TASK_TABLE",
    "CanonicalTable",
    "Column",
    "TableKind",
    "TaskTable",
    "load_tasks",
    "read_columns",
    "write_table",
    "write_tasks",
]

TABLE_VERSION = 2
METADATA_KEY = b"cloudsched_env.trace"
VERSION_KEY = b"cloudsched_env.task_table_version"
ROW_GROUP_ROWS = 262_144

Kind = Literal["float64", "int64", "int32", "int16", "int8", "bool", "string"]

OUTCOMES = ("finished", "evicted", "failed", "killed", "lost", "censored", "never_scheduled")


@dataclass(frozen=True)
class Column:
    """One column of a canonical table.

    Attributes:
        name: its name.
        kind: type in Parquet.
        unit: unit of its values; ``"1"`` for pure numbers, ``"name"`` for strings.
        nullable: whether a null can occur.
        meaning: what it says about a task.
    """

    name: str
    kind: Kind
    unit: str
    nullable: bool
    meaning: str


TASK_COLUMNS = (
    Column("arrival_s", "float64", "s", False, "first submission, on the clock of the trace; rows are sorted by it"),
    Column("tenant", "string", "name", True, "user who submitted it"),
    Column("job", "int64", "id", False, "job it belongs to"),
    Column("task_index", "int32", "1", False, "its number within the job"),
    Column("shard_key", "string", "name", True, "logical name of the job: equal names work on equal data"),
    Column("priority", "int16", "1", True, "priority, higher is more important; published numbers keep their order"),
    Column("scheduling_class", "int8", "1", True, "latency sensitivity as published, 0 (batch) to 3 (serving)"),
    Column("slo_class", "int8", "1", False, "0 latency-critical, 1 normal, 2 batch"),
    Column("instances", "int32", "1", False, "equal copies that the row stands for; requests are those of one copy"),
    Column("parents", "string", "name", True, "task_index of the tasks of its job that it waits for, as in '1,4'"),
    Column("cpu_cores", "float64", "cores", True, "requested CPU"),
    Column("mem_gb", "float64", "GB", True, "requested memory"),
    Column("gpus", "float64", "GPUs", True, "requested GPUs, in fractions where the trace shares them"),
    Column("queue_s", "float64", "s", True, "wait between submission and the start of the first execution"),
    Column("duration_s", "float64", "s", True, "first execution: from its start to its end, whatever ended it"),
    Column("duration_censored", "bool", "1", False, "true: no end was seen and duration_s is only a lower bound"),
    Column("outcome", "string", "name", False, "how the first execution ended: " + ", ".join(OUTCOMES)),
    Column("attempts", "int32", "1", False, "submissions seen, re-submissions after eviction or failure included"),
    Column("cpu_core_s", "float64", "core s", True, "CPU time really used, all copies"),
    Column("mem_used_gb", "float64", "GB", True, "memory really used, mean over the time it ran"),
    Column("read_mb", "float64", "MB", True, "bytes read from persistent storage or its cache"),
    Column("write_mb", "float64", "MB", True, "bytes written to persistent storage"),
    Column("spill_mb", "float64", "MB", True, "intermediate bytes written to disk or object storage"),
    Column("disk_io_s", "float64", "s", True, "time that disks worked for it"),
    Column("tables_read", "int32", "1", True, "database tables read"),
    Column("tables_written", "int32", "1", True, "database tables written"),
)

_NULL_INTEGER = -1


@dataclass(frozen=True)
class TableKind:
    """A canonical table: what it is called, its columns, and its version.

    Attributes:
        name: what messages call it.
        columns: its columns in order.
        version: raised when the columns change; tables of other versions are refused.
        version_key: where a file keeps its version.
        example: a format that becomes such a table, for messages.
        order: columns that the rows are sorted by.
    """

    name: str
    columns: tuple[Column, ...]
    version: int
    version_key: bytes
    example: str
    order: tuple[str, ...]


TASK_TABLE = TableKind(
    "task table", TASK_COLUMNS, TABLE_VERSION, VERSION_KEY, "google2011", ("arrival_s", "job", "task_index")
)


@dataclass(frozen=True)
class CanonicalTable:
    """A canonical table in memory.

    Numbers are arrays of the Parquet type with NaN (floats) or -1 (integers) for null. String columns are
    dictionary-encoded: an int32 array of codes into a sorted tuple of names, -1 for null.

    Attributes:
        columns: array of each column that was asked for, ``[rows]`` each.
        categories: names of each string column that was asked for, in lexicographic order.
        metadata: where the table comes from.
    """

    columns: dict[str, NDArray[Any]]
    categories: dict[str, tuple[str, ...]]
    metadata: TraceMetadata

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def names(self, column: str) -> NDArray[np.object_]:
        """Strings of a string column, ``[rows]``, None for null."""
        lookup = np.array([*self.categories[column], None], dtype=object)
        return lookup[self.columns[column]]


class TaskTable(CanonicalTable):
    """A table of tasks: columns are those of `TASK_COLUMNS`, a row is a task or several equal ones."""


def arrow_schema(kind: TableKind = TASK_TABLE) -> Any:
    """A canonical table as a ``pyarrow.Schema``; unit and meaning are in the metadata of each field."""
    pa = require("pyarrow")
    types = {"string": pa.string(), "bool": pa.bool_()}
    return pa.schema(
        [
            pa.field(
                column.name,
                types.get(column.kind) or getattr(pa, column.kind)(),
                nullable=column.nullable,
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in kind.columns
        ]
    )


def write_tasks(
    path: str | os.PathLike[str],
    batches: Iterable[Any],
    metadata: TraceMetadata,
    on_rows: Callable[[int], None] | None = None,
) -> int:
    """Write a task table; see `write_table`."""
    return write_table(TASK_TABLE, path, batches, metadata, on_rows)


def write_table(
    kind: TableKind,
    path: str | os.PathLike[str],
    batches: Iterable[Any],
    metadata: TraceMetadata,
    on_rows: Callable[[int], None] | None = None,
) -> int:
    """Write a canonical table; the file appears under its name only when it is complete.

    Args:
        kind: which table.
        path: target file. An existing file is replaced in one step.
        batches: ``pyarrow.RecordBatch`` with the columns of the table, in its order.
        metadata: description that is written into the file.
        on_rows: called with the number of rows written so far.

    Returns:
        Number of rows written.

    Raises:
        TraceFormatError: a batch does not have the columns of the table.
        OSError: the file cannot be written.
    """
    pa = require("pyarrow")
    pq = require("pyarrow.parquet")
    schema = arrow_schema(kind)
    description = {METADATA_KEY: metadata.to_json().encode(), kind.version_key: str(kind.version).encode()}
    rows = 0
    with (
        beside(path) as partial,
        pq.ParquetWriter(partial, schema.with_metadata(description), compression="zstd") as writer,
    ):
        for group in _regroup(kind, batches, schema, pa):
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
            rows += group.num_rows
            if on_rows:
                on_rows(rows)
    return rows


def _regroup(kind: TableKind, batches: Iterable[Any], schema: Any, pa: Any) -> Iterable[Any]:
    """Tables of exactly `ROW_GROUP_ROWS` rows (the last may be shorter): the bytes do not depend on the batches."""
    waiting = schema.empty_table()
    for batch in batches:
        try:
            table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
        except (KeyError, pa.ArrowInvalid, ValueError) as error:
            raise TraceFormatError(
                f"a reader produced rows that are not a {kind.name} ({error})", expected=", ".join(schema.names)
            ) from error
        waiting = pa.concat_tables([waiting, table])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(ROW_GROUP_ROWS)
    if waiting.num_rows:
        yield waiting.combine_chunks()


def load_tasks(path: str | os.PathLike[str], columns: Iterable[str] | None = None) -> TaskTable:
    """Load a task table that `cloudsched traces import` wrote.

    Args:
        path: the Parquet file.
        columns: names of the columns to load; all by default.

    Raises:
        TraceFormatError: the file is missing, is not a task table, or has another version.
        ModuleNotFoundError: pyarrow is not installed (``pip install "cloudsched-env[traces]"``).
    """
    return TaskTable(*read_columns(TASK_TABLE, path, columns))


def read_columns(
    kind: TableKind, path: str | os.PathLike[str], columns: Iterable[str] | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]], TraceMetadata]:
    """Arrays, names of string columns, and metadata of a canonical table; see `load_tasks`."""
    wanted = {column.name: column for column in kind.columns}
    names = list(wanted) if columns is None else list(columns)
    if not names or not set(names) <= set(wanted):
        unknown = ", ".join(sorted(set(names) - set(wanted))) or "none"
        raise ValueError(f"columns: expected some of {', '.join(wanted)}; got unknown ones: {unknown}")
    arrays: dict[str, NDArray[Any]] = {}
    categories: dict[str, tuple[str, ...]] = {}
    strings = [name for name in names if wanted[name].kind == "string"]
    metadata = _check(kind, Path(path))
    with require("pyarrow.parquet").ParquetFile(path, read_dictionary=strings) as file:
        # One column at a time: the whole table would be in memory twice, as Arrow and as NumPy.
        for name in names:
            values = file.read(columns=[name]).unify_dictionaries().column(name).combine_chunks()
            if name in strings:
                arrays[name], categories[name] = _codes(values)
            else:
                if values.null_count and wanted[name].kind != "float64":
                    values = values.fill_null(_NULL_INTEGER)
                arrays[name] = np.array(values.to_numpy(zero_copy_only=False))
    return arrays, categories, metadata


def _codes(values: Any) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Codes into sorted names from a dictionary array, so that codes do not depend on the order of rows."""
    names = np.array(values.dictionary.to_pylist(), dtype=object)
    used, inverse = np.unique(names.astype(str), return_inverse=True) if len(names) else (names, names)
    ranks = np.append(inverse, _NULL_INTEGER).astype(np.int32)
    codes = values.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    return ranks[codes], tuple(str(name) for name in used)


def _check(kind: TableKind, path: Path) -> TraceMetadata:
    """Compare version, columns and types with this module before any row is used."""
    pa = require("pyarrow")
    pq = require("pyarrow.parquet")
    again = f"import the trace again: cloudsched traces import {kind.example} DIR -o FILE"
    if not path.is_file():
        remedy = f"import a trace first: cloudsched traces import {kind.example} DIR -o FILE"
        raise TraceFormatError("no such file", file=path, expected=f"a {kind.name} (Parquet)", remedy=remedy)
    try:
        written = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TraceFormatError(
            f"not a readable Parquet file ({str(error).splitlines()[0]})",
            file=path,
            expected=f"a {kind.name} (Parquet)",
            remedy=again,
        ) from error
    description = written.metadata or {}
    if METADATA_KEY not in description:
        raise TraceFormatError(
            f"a Parquet file, but not a {kind.name}: it has no cloudsched_env.trace metadata", file=path, remedy=again
        )
    metadata = TraceMetadata.from_json(description[METADATA_KEY].decode())
    if kind.version_key not in description:
        raise TraceFormatError(
            f"not a {kind.name}: {metadata.title} becomes another table",
            file=path,
            expected=f"a {kind.name}",
            remedy=again,
        )
    version = description[kind.version_key].decode()
    if version != str(kind.version):
        raise TraceFormatError(
            f"{kind.name} of version {version or 'unknown'}",
            file=path,
            expected=f"version {kind.version}, which this version of cloudsched-env writes and reads",
            remedy=f"import the trace again: cloudsched traces import {metadata.format} DIR -o {path.name}",
        )
    for field in arrow_schema(kind):
        index = written.get_field_index(field.name)
        found = "missing" if index < 0 else str(written.field(index).type)
        if found != str(field.type):
            raise TraceFormatError(
                f"the column is {found}", file=path, column=field.name, expected=str(field.type), remedy=again
            )
    return metadata
