"""What a reader declares about its format, and the one import that all formats share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cloudsched_env
from cloudsched_env.traces.duplicates import settle_duplicates
from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.lines import Limits
from cloudsched_env.traces.load_table import LOAD_TABLE
from cloudsched_env.traces.marker import GeneratedMarker, find_markers
from cloudsched_env.traces.metadata import MachineType, SyntheticColumn, TraceMetadata
from cloudsched_env.traces.parts import Part, find_parts, list_files
from cloudsched_env.traces.published import PublishedTable
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.shares import create_table
from cloudsched_env.traces.staging import OnError, OnProgress, Stager
from cloudsched_env.traces.table import TABLE_VERSION, TASK_TABLE, TableKind, write_table
from cloudsched_env.traces.work import EngineConfig, Work, open_work

__all__ = ["TraceFormat"]


@dataclass(frozen=True)
class TraceFormat:
    """One published format: its tables, the SQL that maps them to a canonical table, and its documentation.

    The queries see a view for each published table, which holds the columns of `keep`, and run in this order: `steps`,
    `span_sql`, `row_counts`, `machine_sql`, `table_sql`.

    Attributes:
        name: what the command line calls it.
        title: full name of the trace.
        url: where the data is published.
        licence: licence of the data.
        citation: how to cite the data.
        mapping_version: raised when the mapping changes.
        tables: published tables; the first one is the main one.
        keep: select list over the published columns, by table.
        steps: (what it does, query) each; usually they create tables.
        table_sql: query of the canonical table in any order; columns that it leaves out are null.
        span_sql: query of one row: start and end of the covered time in seconds.
        row_counts: queries of one number each, by name; the number of canonical rows is added as ``arrivals``.
        machine_sql: query of (count, cores, memory GB, published CPU, published memory), empty if there are none.
        request_unit: what a request of 1.0 is, in cores and GB of the canonical table.
        clock: what second 0 of the canonical times is.
        columns_from: what each canonical column is made from, in words.
        synthetic: columns that the trace lacks in full or in part.
        derived: columns computed from others, with the rule.
        assumptions: choices that turn published numbers into units.
        gotchas: what a reader of the data should know, and what is done about it.
        full_rows: rows of the main table in the full trace, if known and if its number of files does not tell.
        kind: canonical table that it becomes: tasks, or storage background load.
        empty: what the error says if the files hold nothing for the canonical table.
        download: how to get the files, as shell commands.
        summary: a paragraph for the documentation.
        interval_s: for load tables, the length of an interval unless the import is told another; queries have it as
            ``$interval_us``.
        telling: for formats that share names and columns: what speaks against this one in the files, or None.
    """

    name: str
    title: str
    url: str
    licence: str
    citation: str
    mapping_version: int
    tables: tuple[PublishedTable, ...]
    keep: dict[str, str]
    table_sql: str
    span_sql: str
    clock: str
    columns_from: dict[str, str]
    steps: tuple[tuple[str, str], ...] = ()
    row_counts: dict[str, str] = field(default_factory=dict)
    machine_sql: str = ""
    request_unit: RequestUnit = field(default_factory=RequestUnit)
    synthetic: tuple[SyntheticColumn, ...] = ()
    derived: dict[str, str] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    gotchas: tuple[str, ...] = ()
    full_rows: int | None = None
    kind: Literal["tasks", "load"] = "tasks"
    empty: str = "these files hold no task"
    download: str = ""
    summary: str = ""
    interval_s: float = 10.0
    telling: Callable[[Path, dict[str, Path]], str | None] | None = None

    def import_folder(
        self,
        path: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        engine: EngineConfig | None = None,
        on_error: OnError = "fail",
        on_progress: OnProgress | None = None,
        restart: bool = False,
        limits: Limits | None = None,
        interval_s: float | None = None,
    ) -> TraceMetadata:
        """Turn published files into a canonical table.

        An import that is interrupted (Ctrl-C, a killed process, a full disk) goes on where it was when it is run again:
        parts and chunks that were read lie in a hidden folder beside the target until it is complete.

        Args:
            path: folder with the files as published, or one file.
            target: Parquet file to write.
            engine: memory limit and threads.
            on_error: ``"fail"`` stops at the first malformed row; ``"skip"`` leaves such rows out and counts them.
            on_progress: see `cloudsched_env.traces.staging.OnProgress`.
            restart: do not use what an interrupted import left.
            limits: bounds on lines and compression.
            interval_s: length of an interval of a load table.

        Returns:
            The metadata that was written into the table.

        Raises:
            TraceFormatError: something about the files is not as published; the message says where and what to do.
            MemoryError: the memory limit is too small.
            OSError: the target cannot be written, or the disk is full.
        """
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error: expected 'fail' or 'skip', got {on_error!r}")
        interval_s = self.interval_s if interval_s is None else interval_s
        if not 0.001 <= interval_s <= 86_400:
            raise ValueError(f"interval_s: expected 0.001 to 86400 seconds, got {interval_s}")
        if self.kind == "load":
            self = _with_interval(self, interval_s)
        engine = engine or EngineConfig()
        require("pyarrow.parquet")  # not after minutes of work
        path, target = Path(path), Path(target)
        if not target.parent.is_dir():
            raise FileNotFoundError(f"{target.parent}: no such folder to write {target.name} into; create it first")
        files = list_files(path)
        parts = {table: find_parts(path, table, files) for table in self.tables}
        plan = {
            "format": self.name,
            "mapping_version": self.mapping_version,
            "table_version": TABLE_VERSION,
            "on_error": on_error,
            "package": cloudsched_env.__version__,
        }
        markers = find_markers(part.path for found in parts.values() for part in found)
        with open_work(target, engine, plan, restart=restart) as work:
            stager = Stager(work, self.tables, on_error, on_progress, limits)
            rows = {table.name: stager.stage(table, parts[table], self.keep[table.name]) for table in self.tables}
            for table in self.tables:
                settle_duplicates(stager, table, self.keep[table.name], on_error)
            self._run_steps(work, on_progress)
            metadata = self._describe(work, stager, parts, rows, path)
            if markers:
                metadata = _generated(metadata, markers)

            def report(written: int) -> None:
                if on_progress:
                    on_progress(f"Writing {self.kind}", written, metadata.rows["arrivals"], "rows")

            report(0)
            kind = TASK_TABLE if self.kind == "tasks" else LOAD_TABLE
            query = _completed(work.connection, kind, self.table_sql)
            write_table(kind, target, _batches(work.connection, query), metadata, report)
        return metadata

    def _run_steps(self, work: Work, on_progress: OnProgress | None) -> None:
        for step, (_, query) in enumerate(self.steps):
            if on_progress:
                on_progress(f"Finding {self.kind}", step, len(self.steps), "queries")
            create_table(work.connection, query)
        if on_progress and self.steps:
            on_progress(f"Finding {self.kind}", len(self.steps), len(self.steps), "queries")

    def _describe(
        self,
        work: Work,
        stager: Stager,
        parts: dict[PublishedTable, list[Part]],
        rows: dict[str, int],
        path: Path,
    ) -> TraceMetadata:
        counts = dict(rows)
        for name, query in self.row_counts.items():
            counts[name] = int(work.connection.execute(query).fetchone()[0] or 0)
        if "arrivals" not in counts:
            counts["arrivals"] = int(work.connection.execute(f"SELECT count(*) FROM ({self.table_sql})").fetchone()[0])
        if not counts["arrivals"]:
            raise TraceFormatError(
                self.empty,
                file=path,
                expected=f"{self.tables[0].name} with rows inside the covered time",
                remedy=f"add later parts of {self.tables[0].name}",
            )
        start_s, end_s = work.connection.execute(self.span_sql).fetchone()
        main = self.tables[0]
        read = len(parts[main])
        complete = read == main.parts if main.parts else rows[main.name] == self.full_rows
        machines = work.connection.execute(self.machine_sql).fetchall() if self.machine_sql else []
        return TraceMetadata(
            format=self.name,
            title=self.title,
            mapping_version=self.mapping_version,
            data_tag="full trace" if complete else "excerpt",
            span_start_s=float(start_s),
            span_end_s=float(end_s),
            clock=self.clock,
            parts_read=read,
            parts_published=main.parts or read,
            rows=counts,
            skipped_rows=dict(sorted(stager.skipped.reasons.items())),
            skipped_examples=tuple(stager.skipped.examples),
            synthetic_columns=tuple(
                replace(column, name=name) for column in self.synthetic for name in column.name.split(", ")
            ),
            derived_columns=self.derived,
            assumptions=self.assumptions,
            machine_mix=tuple(
                MachineType(int(n), *(None if value is None else float(value) for value in values))
                for n, *values in machines
            ),
            source_files=tuple(stager.sources),
            licence=self.licence,
            citation=self.citation,
            url=self.url,
            written_by=f"cloudsched-env {cloudsched_env.__version__}",
            request_cores=float(self.request_unit.cores),
            request_memory_gb=float(self.request_unit.memory_gb),
        )


def _generated(metadata: TraceMetadata, markers: tuple[GeneratedMarker, ...]) -> TraceMetadata:
    """The same for files that a writer of this package made: no real trace, and neither its licence nor its authors."""
    draws = "; ".join(str(marker) for marker in markers)

    def stated(key: str) -> str:
        found = {str(marker.provenance.get(key, "not stated in the profile")) for marker in markers}
        return "; ".join(sorted(found))

    drawn = SyntheticColumn("all columns", "no real trace was read, but files of a generator", f"drawn from {draws}")
    written_by = ", ".join(sorted({marker.written_by for marker in markers}))
    return replace(
        metadata,
        title=f"generated files in the format of {metadata.title}, from {draws}",
        data_tag="generated",
        synthetic_columns=(drawn, *metadata.synthetic_columns),
        assumptions=(f"The files were generated from {draws}, by {written_by}.", *metadata.assumptions),
        licence=stated("licence"),
        citation=stated("authors"),
        url=stated("url"),
    )


def _with_interval(trace_format: TraceFormat, interval_s: float) -> TraceFormat:
    """The format with the length of its intervals in its queries and in what it says."""
    return replace(
        trace_format,
        table_sql=trace_format.table_sql.replace("$interval_us", str(round(interval_s * 1e6))),
        assumptions=(*trace_format.assumptions, f"Requests are summed over intervals of {interval_s:g} s."),
    )


def _completed(connection: Any, table: TableKind, query: str) -> str:
    """The query with all columns of a canonical table, in the order that the table keeps."""
    found = {row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()}
    unknown = found - {column.name for column in table.columns}
    if unknown:
        raise ValueError(f"the query makes columns that a {table.name} does not have: {', '.join(sorted(unknown))}")
    select = ", ".join(column.name if column.name in found else f"NULL AS {column.name}" for column in table.columns)
    return f"SELECT {select} FROM ({query}) ORDER BY {', '.join(table.order)}"


def _batches(connection: Any, query: str) -> Iterator[Any]:
    """A canonical table as a stream of Arrow record batches."""
    result = connection.sql(query)
    # DuckDB 2 renamed this method; `sql` streams, `execute` would first hold all rows.
    reader = result.to_arrow_reader if hasattr(result, "to_arrow_reader") else result.fetch_arrow_reader
    yield from reader(65_536)
