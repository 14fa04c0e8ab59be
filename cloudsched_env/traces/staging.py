"""Published parts into DuckDB tables: out of core, on all cores, with progress, and exact about bad rows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.metadata import SkippedRow, SourceFile
from cloudsched_env.traces.published import (
    BadRow,
    PublishedTable,
    check_file,
    find_bad_rows,
    read_good_lines,
    scan_sql,
    valid_rows_sql,
)

__all__ = ["EngineConfig", "OnError", "OnProgress", "SkipLog", "check_files", "open_engine", "stage"]

OnError = Literal["fail", "skip"]
OnProgress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, unit) whenever something is done."""

_EXAMPLES_KEPT = 20


@dataclass(frozen=True)
class EngineConfig:
    """Resources of an import.

    Attributes:
        memory_limit: what DuckDB may hold in memory before it spills to disk beside the target, such as ``"1GB"``.
        threads: threads to use; None for all cores.
    """

    memory_limit: str = "1GB"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads: expected None (all cores) or at least 1, got {self.threads}")

    @property
    def thread_count(self) -> int:
        """Threads to use, resolved."""
        return self.threads or os.cpu_count() or 1


@dataclass
class SkipLog:
    """Malformed rows that were left out: how many for each reason, and the first few of them."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[SkippedRow] = field(default_factory=list)

    def add(self, table: PublishedTable, name: str, row: BadRow) -> None:
        """Count one row of the file ``name``."""
        where = f", column {row.column}" if row.column else ""
        self.reasons[f"{table.name}{where}: {row.reason}"] += 1
        if len(self.examples) < _EXAMPLES_KEPT:
            self.examples.append(SkippedRow(name, row.line, row.column, f"{row.reason}; found {row.found}"))


def _silent(stage: str, done: int, total: int, unit: str) -> None:
    """Progress that nobody looks at."""


@contextmanager
def open_engine(folder: Path, config: EngineConfig) -> Iterator[Any]:
    """A DuckDB connection on a temporary database inside ``folder``; both are gone afterwards.

    Raises:
        ValueError: DuckDB does not accept the memory limit or the number of threads.
        MemoryError: a query did not fit into the memory limit even with spilling.
        ModuleNotFoundError: DuckDB is not installed.
    """
    duckdb = require("duckdb")
    scratch = Path(tempfile.mkdtemp(prefix=".cloudsched-import-", dir=folder))
    connection = None
    try:
        connection = duckdb.connect(str(scratch / "staging.duckdb"))
        try:
            connection.execute("SET memory_limit = '{}'".format(config.memory_limit.replace("'", "''")))
            connection.execute(f"SET threads = {int(config.thread_count)}")
        except duckdb.Error as error:
            raise ValueError(
                f"expected a memory limit such as 1GB, got {config.memory_limit!r}: {str(error).splitlines()[0]}"
            ) from error
        connection.execute("SET temp_directory = '{}'".format(str(scratch / "spill").replace("'", "''")))
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(
            f"the import does not fit into the memory limit of {config.memory_limit}; raise --memory-limit "
            f"or lower --threads ({str(error).splitlines()[0]})"
        ) from error
    finally:
        if connection is not None:
            connection.close()
        shutil.rmtree(scratch, ignore_errors=True)


def check_files(
    folder: Path, paths: list[Path], threads: int, on_progress: OnProgress | None = None
) -> dict[Path, SourceFile]:
    """Checksums, sizes and lines of all files, several at a time.

    Raises:
        TraceFormatError: a file is not a complete gzip file.
    """
    total = sum(path.stat().st_size for path in paths)
    done = 0
    result: dict[Path, SourceFile] = {}
    report = on_progress or _silent
    report("Checking files", 0, total, "bytes")
    with ThreadPoolExecutor(threads) as pool:
        names = [path.relative_to(folder).as_posix() for path in paths]
        try:
            for path, source in zip(paths, pool.map(check_file, paths, names), strict=True):
                result[path] = source
                done += source.bytes
                report("Checking files", done, total, "bytes")
        except TraceFormatError:
            pool.shutdown(cancel_futures=True)
            raise
    return result


def stage(
    connection: Any,
    table: PublishedTable,
    sources: dict[Path, SourceFile],
    keep: str,
    *,
    others: tuple[PublishedTable, ...],
    on_error: OnError,
    skipped: SkipLog,
    threads: int,
    on_progress: OnProgress | None = None,
) -> None:
    """Load the files of one table into a DuckDB table of the same name.

    Args:
        connection: from `open_engine`.
        table: what the files should be.
        sources: the files and their line counts, from `check_files`.
        keep: columns to keep, as a SQL select list over the published columns.
        others: other tables of the format, to recognise files in the wrong folder.
        on_error: ``"fail"`` stops at the first malformed row, ``"skip"`` leaves such rows out.
        skipped: where rows that were left out are counted.
        threads: files that are read at once.
        on_progress: see `OnProgress`.

    Raises:
        TraceFormatError: a row is malformed (with ``"fail"``), or no row is left.
    """
    duckdb = require("duckdb")
    columns = ", ".join(f'NULL::{column.sql_type} AS "{column.name}"' for column in table.columns)
    connection.execute(f"CREATE TABLE {table.name} AS SELECT {keep} FROM (SELECT {columns}) LIMIT 0")
    total = sum(source.bytes for source in sources.values())
    done = 0
    paths = list(sources)
    report = on_progress or _silent
    report(f"Reading {table.name}", 0, total, "bytes")
    # DuckDB reads a compressed file with one thread: a batch of files keeps all threads busy and gives progress.
    for start in range(0, len(paths), 2 * threads):
        batch = paths[start : start + 2 * threads]
        expected = sum(sources[path].rows for path in batch)
        connection.execute("BEGIN")
        try:
            loaded = _insert(connection, table, batch, keep)
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            loaded = -1
        if loaded == expected:
            connection.execute("COMMIT")
        else:
            connection.execute("ROLLBACK")
            for path in batch:
                _stage_with_care(connection, table, path, sources[path], keep, others, on_error, skipped)
        done += sum(sources[path].bytes for path in batch)
        report(f"Reading {table.name}", done, total, "bytes")
    if not connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]:
        raise TraceFormatError(
            f"the table {table.name} has no valid row",
            file=paths[0].parent,
            expected="at least one row",
            remedy="check that these are the published files",
        )


def _insert(connection: Any, table: PublishedTable, paths: list[Path], keep: str) -> int:
    """Insert the valid rows of some files; returns how many there were."""
    return connection.execute(
        f"INSERT INTO {table.name} SELECT {keep} FROM ({scan_sql(table, paths)}) WHERE {valid_rows_sql(table)}"
    ).fetchone()[0]


def _stage_with_care(
    connection: Any,
    table: PublishedTable,
    path: Path,
    source: SourceFile,
    keep: str,
    others: tuple[PublishedTable, ...],
    on_error: OnError,
    skipped: SkipLog,
) -> None:
    """Load one file of a batch in which something is wrong, and say exactly what."""
    duckdb = require("duckdb")
    bad = []
    for row in find_bad_rows(path, table, others):
        if on_error == "fail":
            raise TraceFormatError(
                f"{row.reason}: found {row.found}",
                file=path,
                line=row.line,
                column=row.column,
                expected=row.expected,
                remedy="download the file again, or leave malformed rows out with --on-error skip",
            )
        bad.append(row)
        skipped.add(table, source.name, row)
    with tempfile.NamedTemporaryFile(suffix=".csv", dir=path_of(connection), delete=False) as clean:
        expected = read_good_lines(path, bad, clean)
    try:
        loaded = _insert(connection, table, [Path(clean.name)], keep) if expected else 0
        problem = f"{loaded:,} of {expected:,} rows" if loaded != expected else None
    except duckdb.Error as error:
        problem = str(error).splitlines()[0]
    finally:
        os.unlink(clean.name)
    if problem:
        raise TraceFormatError(
            f"DuckDB cannot read the file ({problem})",
            file=path,
            expected=f"a {table.name} file as published",
            remedy="download the file again",
        )


def path_of(connection: Any) -> Path:
    """Folder of the temporary database, for other temporary files."""
    return Path(connection.execute("SELECT path FROM duckdb_databases() WHERE path IS NOT NULL").fetchone()[0]).parent
