"""Which published format some files are, and why: names of files first, then what stands in them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudsched_env.traces.badrows import BadRow, find_bad_rows
from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.lines import Limits, PartReader
from cloudsched_env.traces.parquet_parts import ParquetPart
from cloudsched_env.traces.parts import Part, find_parts, list_files
from cloudsched_env.traces.published import PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["Finding", "recognise"]

LOOKED_AT_LINES = 200
_LOOKED_AT_BYTES = 1 << 18


@dataclass(frozen=True)
class Finding:
    """What one format makes of the files.

    Attributes:
        format: the format.
        fits: whether every required table is there and its first rows are sound.
        reasons: one line for each table: file and what was found in it.
    """

    format: TraceFormat
    fits: bool
    reasons: tuple[str, ...]


def recognise(path: Path, formats: tuple[TraceFormat, ...]) -> tuple[Finding, list[Finding]]:
    """The one format that the files have.

    Args:
        path: folder or file.
        formats: formats to try.

    Returns:
        The finding of that format, and those of the others whose files it has by name.

    Raises:
        TraceFormatError: no format fits, or more than one does; the message says what was found for each.
    """
    files = list_files(path)
    findings = [finding for candidate in formats if (finding := _look(candidate, path, files))]
    fitting = [finding for finding in findings if finding.fits]
    if len(fitting) == 1:
        return fitting[0], [finding for finding in findings if not finding.fits]
    told = "\n".join(
        f"  {finding.format.name}: {reason}" for finding in fitting or findings for reason in finding.reasons
    )
    names = ", ".join(finding.format.name for finding in fitting)
    shown = ", ".join(list(files)[:5]) + (", ..." if len(files) > 5 else "")
    raise TraceFormatError(
        f"these files fit more than one format: {names}\n{told}"
        if fitting
        else f"no known format fits these files ({shown or 'none'})" + (f"\n{told}" if told else ""),
        file=path,
        expected="the files of one published trace, with their published names",
        remedy="name the format: cloudsched traces import FORMAT PATH"
        if fitting
        else "`cloudsched traces formats` lists the formats and the names of their files",
    )


def _look(candidate: TraceFormat, path: Path, files: dict[str, Path]) -> Finding | None:
    """What a format makes of the files; None if none of them has a name that it knows."""
    reasons, fits, seen = [], True, False
    for table in candidate.tables:
        try:
            parts = find_parts(path, table, files)
        except TraceFormatError as error:
            reasons.append(error.problem)
            fits = False
            seen = seen or "are missing between" in error.problem
            continue
        if not parts:
            continue
        seen = True
        problem = _problem(parts[0], table)
        name = parts[0].name
        if problem:
            reasons.append(f"{name} has the name of {table.name}, but {problem}")
            fits = False
        else:
            more = f" and {len(parts) - 1:,} more" if len(parts) > 1 else ""
            columns = f"{len(table.columns)} columns of {table.name}"
            reasons.append(f"{name}{more}: name and the {columns}; the first rows are sound")
    if seen and fits and candidate.telling is not None:
        problem = candidate.telling(path, files)
        if problem:
            reasons.append(problem)
            fits = False
    return Finding(candidate, fits, tuple(reasons)) if seen else None


def _problem(part: Part, table: PublishedTable) -> str | None:
    """What is wrong with the first rows of a part, if anything."""
    try:
        if part.encoding == "parquet":
            with require("duckdb").connect() as connection:
                ParquetPart(connection, part, table)
            return None
        # An excerpt may have a few malformed rows: it is the format that is asked for here.
        rows = list(_first_rows(part, table))
        bad = [row for row in rows if row]
        if rows and len(bad) > len(rows) // 2:
            place = f"line {bad[0].line}" + (f", column {bad[0].column}" if bad[0].column else "")
            return f"{place}: {bad[0].reason}, found {bad[0].found}"
    except TraceFormatError as error:
        return error.problem
    return None


def _first_rows(part: Part, table: PublishedTable) -> Iterator[BadRow | None]:
    """For each of the first rows None, or what is wrong with it."""
    lines, names = first_lines(part, table)
    for number, line in enumerate(lines, start=1):
        yield next(
            find_bad_rows(
                [line], table, names=names, first_line=number, encoding="csv" if part.encoding == "csv" else "json"
            ),
            None,
        )


def first_lines(part: Part, table: PublishedTable) -> tuple[list[bytes], tuple[str, ...] | None]:
    """The first lines of a part without its header, and the columns that the header names."""
    reader = PartReader(part, table, Limits(chunk_bytes=_LOOKED_AT_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        chunks = reader.chunks(lambda number: Path(folder, str(number)))
        for chunk in chunks:
            with open(chunk.path, "rb") as stream:
                lines = list(itertools.islice(stream, LOOKED_AT_LINES))
            chunks.close()  # type: ignore[attr-defined]
            return lines, reader.header
    return [], reader.header
