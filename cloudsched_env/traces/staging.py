"""Parts of a published table into typed Parquet pieces: bounded memory, all cores, resumable, exact about bad rows.

Each chunk of a part (see `lines`) becomes one Parquet piece, under its name only when it is complete, with a note of
what was read. An import that is run again takes the pieces that are there and belong to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from cloudsched_env.traces.badrows import BadRow, find_bad_rows
from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.lines import Chunk, Limits, PartReader, hash_file
from cloudsched_env.traces.metadata import SourceFile
from cloudsched_env.traces.parquet_parts import ParquetPart
from cloudsched_env.traces.parts import Part
from cloudsched_env.traces.pieces import (
    EXAMPLES_KEPT,
    Piece,
    SkipLog,
    StagedPart,
    merged,
    piece_path,
    read_note,
    read_piece,
)
from cloudsched_env.traces.published import PublishedTable, csv_sql, json_sql, quoted_path, scan_sql, valid_rows_sql
from cloudsched_env.traces.work import EngineConfig, Work
from cloudsched_env.whole_file import write_whole

__all__ = ["EngineConfig", "OnError", "OnProgress", "SkipLog", "Stager"]

OnError = Literal["fail", "skip"]
OnProgress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, unit) whenever something is done."""


class Stager:
    """Stages the parts of tables.

    Args:
        work: the running import.
        tables: all tables of the format, to recognise files in the wrong place.
        on_error: ``"fail"`` stops at the first malformed row, ``"skip"`` leaves such rows out.
        on_progress: see `OnProgress`.
        limits: see `Limits`.

    Attributes:
        skipped: malformed rows that were left out.
        sources: files that were read.
        staged: the parts of each table, by its name, with their pieces.
    """

    def __init__(
        self,
        work: Work,
        tables: tuple[PublishedTable, ...],
        on_error: OnError,
        on_progress: OnProgress | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.work = work
        self.tables = tables
        self.on_error = on_error
        self.limits = limits or Limits()
        self.skipped = SkipLog()
        self.sources: list[SourceFile] = []
        self.staged: dict[str, list[tuple[Part, StagedPart]]] = {}
        self._report = on_progress or (lambda stage, done, total, unit: None)
        self._duckdb = require("duckdb")
        self._stop = threading.Event()
        self._guard = threading.Lock()

    def stage(self, table: PublishedTable, parts: list[Part], keep: str) -> int:
        """Stage all parts of a table and make them one view of its name; returns the number of rows.

        Args:
            table: what the files should be.
            parts: from `find_parts`; none for an optional table that is not there, which then has no rows.
            keep: columns to keep, as a SQL select list over the published columns.

        Raises:
            TraceFormatError: a file is damaged; a row is malformed (with ``"fail"``); or no row is left.
        """
        folder = self.work.folder / table.name
        folder.mkdir(exist_ok=True)
        (self.work.folder / "chunks").mkdir(exist_ok=True)
        threads = self.work.config.thread_count
        total = sum(part.bytes for part in parts)
        progress = _Progress(self._report if parts else lambda *_: None, f"Reading {table.name}", total)
        slots = threading.Semaphore(threads + 1)  # chunks that wait on disk
        results: list[StagedPart] = []
        # One pool finds and decompresses chunks, the other has DuckDB convert them, so that both go on at once.
        with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as loaders:
            futures = [
                readers.submit(self._stage_part, table, part, keep, folder, loaders, slots, progress) for part in parts
            ]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                if any(future.exception() for future in done):
                    self._stop.set()
                    wait(futures)
                results = _results(futures)
            except BaseException:
                self._stop.set()
                for future in futures:
                    future.cancel()
                self.work.connection.interrupt()
                raise
        self.staged[table.name] = list(zip(parts, results, strict=True))
        rows = 0
        pieces: list[Path] = []
        for staged in results:
            self.sources.append(staged.source)
            self.skipped.merge(staged.skipped)
            rows += staged.rows
            pieces += staged.pieces
        columns = ", ".join(f"NULL::{column.sql_type} AS {column.sql_name}" for column in table.columns)
        query = f"SELECT {keep} FROM (SELECT {columns}) LIMIT 0"
        if pieces:
            query = f"SELECT * FROM read_parquet([{', '.join(quoted_path(piece) for piece in pieces)}])"
        elif table.required:
            raise TraceFormatError(
                f"the table {table.name} has no valid row",
                file=parts[0].path,
                expected="at least one row",
                remedy="check that these are the published files",
            )
        self.work.connection.execute(f"CREATE OR REPLACE VIEW {table.name} AS {query}")
        return rows

    def _stage_part(
        self,
        table: PublishedTable,
        part: Part,
        keep: str,
        folder: Path,
        loaders: ThreadPoolExecutor,
        slots: threading.Semaphore,
        progress: _Progress,
    ) -> StagedPart | None:
        if self._stop.is_set():
            return None
        # Pieces are found again by what they were made from: name, size and time of the file, and the columns kept.
        status = part.path.stat()
        identity = json.dumps([part.name, status.st_size, status.st_mtime_ns, keep, self.limits.chunk_bytes])
        stem = folder / hashlib.sha256(identity.encode()).hexdigest()[:24]
        note = stem.with_name(stem.name + ".json")
        if note.is_file():
            finished = read_note(note, stem)
            if finished is not None:
                self._count(part.bytes, resumed=True)
                progress.add(part.bytes)
                return finished
        staged = (
            self._stage_parquet(table, part, keep, stem, progress)
            if part.encoding == "parquet"
            else self._stage_lines(table, part, keep, stem, loaders, slots, progress)
        )
        if staged is not None:
            write_whole(note, json.dumps(staged.note()))
        return staged

    def _stage_lines(
        self,
        table: PublishedTable,
        part: Part,
        keep: str,
        stem: Path,
        loaders: ThreadPoolExecutor,
        slots: threading.Semaphore,
        progress: _Progress,
    ) -> StagedPart | None:
        reader = PartReader(part, table, self.limits)
        futures: list[Future[Piece]] = []
        chunks = self.work.folder / "chunks"
        for chunk in reader.chunks(lambda number: chunks / f"{stem.name}-{number:05d}"):
            while not slots.acquire(timeout=0.2):
                if self._stop.is_set():
                    return None
            if self._stop.is_set():
                return None
            future = loaders.submit(self._load_chunk, table, part, keep, stem, chunk, reader.header, progress)
            future.add_done_callback(lambda _: slots.release())
            futures.append(future)
            if any(done.done() and done.exception() for done in futures):
                break
        found = _results(futures)
        if part.encoding == "sqlite":
            progress.add(part.bytes)
        return StagedPart(
            SourceFile(part.name, part.bytes, reader.sha256, reader.lines),
            [piece_path(stem, number) for number, piece in enumerate(found) if piece.rows],
            sum(piece.rows for piece in found),
            merged(found),
        )

    def _load_chunk(
        self,
        table: PublishedTable,
        part: Part,
        keep: str,
        stem: Path,
        chunk: Chunk,
        header: tuple[str, ...] | None,
        progress: _Progress,
    ) -> Piece:
        """Convert one chunk, unless an earlier run did."""
        target = piece_path(stem, chunk.number)
        note = target.with_suffix(".json")
        try:
            piece = read_piece(note, target)
            resumed = piece is not None and piece.lines == chunk.lines
            if piece is None or not resumed:
                piece = self._convert(table, part, keep, target, chunk, header)
                write_whole(note, json.dumps(asdict(piece)))
        finally:
            chunk.path.unlink(missing_ok=True)
        self._count(max(1, chunk.bytes_read), resumed)
        progress.add(chunk.bytes_read)
        return piece

    def _convert(
        self,
        table: PublishedTable,
        part: Part,
        keep: str,
        target: Path,
        chunk: Chunk,
        header: tuple[str, ...] | None,
    ) -> Piece:
        if self._stop.is_set():
            raise _StoppedError
        skipped = SkipLog()
        try:
            rows = self._copy(table, part, keep, target, chunk.path, header)
        except (self._duckdb.ConversionException, self._duckdb.InvalidInputException):
            rows = -1
        if rows != chunk.lines:
            rows = self._convert_with_care(table, part, keep, target, chunk, header, skipped)
        return Piece(
            chunk.lines,
            rows,
            chunk.bytes_read,
            target.stat().st_size if rows else 0,
            dict(skipped.reasons),
            [asdict(row) for row in skipped.examples],
        )

    def _copy(
        self, table: PublishedTable, part: Part, keep: str, target: Path, path: Path, header: tuple[str, ...] | None
    ) -> int:
        """Write the valid rows of a chunk as a piece; returns how many there are."""
        source = csv_sql(table, path, header) if part.encoding == "csv" else json_sql(table, path)
        aside = target.with_suffix(".partial")
        with self.work.connection.cursor() as cursor:
            rows = cursor.execute(
                f"COPY (SELECT {keep} FROM ({scan_sql(table, source)}) WHERE {valid_rows_sql(table)}) "
                f"TO {quoted_path(aside)} (FORMAT parquet, COMPRESSION snappy)"
            ).fetchone()[0]
        os.replace(aside, target)
        return int(rows)

    def _convert_with_care(
        self,
        table: PublishedTable,
        part: Part,
        keep: str,
        target: Path,
        chunk: Chunk,
        header: tuple[str, ...] | None,
        skipped: SkipLog,
    ) -> int:
        """Convert a chunk in which something is wrong, and say exactly what."""
        bad: set[int] = set()
        encoding: Literal["csv", "json"] = "csv" if part.encoding == "csv" else "json"
        with open(chunk.path, "rb") as lines:
            for row in find_bad_rows(
                lines, table, names=header, first_line=chunk.first_line, encoding=encoding, others=self.tables
            ):
                if self.on_error == "fail":
                    raise malformed(part, row)
                bad.add(row.line)
                skipped.add(table, part.name, row)
        clean = chunk.path.with_suffix(".clean")
        try:
            with open(chunk.path, "rb") as lines, open(clean, "wb") as kept:
                for number, line in enumerate(lines, start=chunk.first_line):
                    if number not in bad:
                        kept.write(line.rstrip(b"\r\n") + b"\n")
            expected = chunk.lines - len(bad)
            try:
                rows = self._copy(table, part, keep, target, clean, header) if expected else 0
                problem = f"{rows:,} of {expected:,} rows" if rows != expected else None
            except (self._duckdb.ConversionException, self._duckdb.InvalidInputException) as error:
                problem = str(error).splitlines()[0]
        finally:
            clean.unlink(missing_ok=True)
        if problem:
            raise TraceFormatError(
                f"DuckDB cannot read lines {chunk.first_line:,} to {chunk.first_line + chunk.lines - 1:,} ({problem})",
                file=part.path,
                expected=f"a {table.name} file as published",
                remedy="download the file again",
            )
        return rows

    def _stage_parquet(
        self, table: PublishedTable, part: Part, keep: str, stem: Path, progress: _Progress
    ) -> StagedPart:
        target = piece_path(stem, 0)
        skipped = SkipLog()
        with self.work.connection.cursor() as cursor:
            source = ParquetPart(cursor, part, table)
            lines = source.rows
            aside = target.with_suffix(".partial")
            try:
                rows = source.copy(keep, aside)
            except self._duckdb.Error as e:
                db = self._duckdb
                damaged = isinstance(e, (db.ConversionException, db.InvalidInputException, db.IOException))
                # Damaged pages end in an error of no class of its own ("Out of buffer").
                if "No space left" in str(e) or not (damaged or type(e) is db.Error):
                    raise
                raise source.damaged(e) from e
            if rows != lines:
                for row in source.bad_rows(1 if self.on_error == "fail" else EXAMPLES_KEPT):
                    if self.on_error == "fail":
                        raise malformed(part, row)
                    skipped.add(table, part.name, row)
                skipped.reasons = Counter(source.bad_reasons())
            os.replace(aside, target)
        self._count(part.bytes, resumed=False)
        progress.add(part.bytes)
        return StagedPart(
            SourceFile(part.name, part.bytes, hash_file(part.path), lines), [target] if rows else [], rows, skipped
        )

    def _count(self, size: int, resumed: bool) -> None:
        with self._guard:
            self.work.bytes_staged += size
            self.work.resumed_bytes += size if resumed else 0


def malformed(part: Part, row: BadRow) -> TraceFormatError:
    """The error for a malformed row."""
    return TraceFormatError(
        f"{row.reason}: found {row.found}",
        file=f"{part.path}!{part.member}" if part.member else part.path,
        line=row.line,
        column=row.column,
        expected=row.expected,
        remedy="download the file again, or leave malformed rows out with --on-error skip",
    )


class _StoppedError(Exception):
    """Another part failed; nothing is wrong with this one."""


class _Progress:
    """Bytes of one stage, from several threads."""

    def __init__(self, report: OnProgress, stage: str, total: int) -> None:
        self._report, self._stage, self._total = report, stage, total
        self._done = 0
        self._guard = threading.Lock()
        report(stage, 0, total, "bytes")

    def add(self, size: int) -> None:
        with self._guard:
            self._done = min(self._total, self._done + size)
            self._report(self._stage, self._done, self._total, "bytes")


def _results(futures: list[Future[Any]]) -> list[Any]:
    """Results in order; if there were errors, the first one that is an error of its own."""
    wait(futures)
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, _StoppedError):
            raise error
    if errors:
        raise errors[0]
    return [result for future in futures if (result := future.result()) is not None]
