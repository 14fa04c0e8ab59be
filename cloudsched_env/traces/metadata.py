"""What a task table says about itself: source files, what was skipped, what is synthetic, licence."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from cloudsched_env.traces.errors import TraceFormatError

__all__ = ["MachineType", "SkippedRow", "SourceFile", "SyntheticColumn", "TraceMetadata"]


@dataclass(frozen=True)
class SourceFile:
    """One published file that was read.

    Attributes:
        name: path relative to the trace folder.
        bytes: size on disk.
        sha256: checksum of the file as published (compressed).
        rows: lines in it.
    """

    name: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class SyntheticColumn:
    """A column that the trace does not have, or has only in part.

    Attributes:
        name: column of the task table.
        absent_because: what the trace lacks.
        filled_by: who fills it and how; the table itself holds nulls.
    """

    name: str
    absent_because: str
    filled_by: str


@dataclass(frozen=True)
class SkippedRow:
    """One source row that was left out because it is malformed.

    Attributes:
        file: path relative to the trace folder.
        line: line number from 1.
        column: name of the published column, or None if the whole row is malformed.
        reason: what is wrong with it.
    """

    file: str
    line: int
    column: str | None
    reason: str


@dataclass(frozen=True)
class MachineType:
    """One kind of machine of the traced cluster.

    Attributes:
        count: machines of this kind; 0 for the assumed machine of a trace that does not list its machines.
        cores: CPU cores under the table's assumptions, None if the trace does not say.
        memory_gb: memory in GB under the table's assumptions, None if the trace does not say.
        published_cpu: CPU capacity as published (fraction of the largest machine).
        published_memory: memory capacity as published (fraction of the largest machine).
    """

    count: int
    cores: float | None
    memory_gb: float | None
    published_cpu: float | None
    published_memory: float | None


@dataclass(frozen=True)
class TraceMetadata:
    """Everything a reader of results must know about where a task table comes from.

    Attributes:
        format: name of the published format, as `cloudsched traces formats` lists it.
        title: the trace's full name.
        mapping_version: version of the mapping from published columns to the task table; raised when it changes.
        data_tag: ``"generated"`` if files of a generator were read, or none; ``"full trace"`` if all published parts
            were read; else ``"excerpt"``.
        span_start_s: start of the covered time, seconds on the trace's clock.
        span_end_s: end of the covered time, seconds on the trace's clock.
        clock: what second 0 of ``arrival_s`` is.
        parts_read: parts of the main table that were read.
        parts_published: parts of the main table that the full trace has.
        rows: counts by name: rows read, kept, left out and why.
        skipped_rows: malformed rows that were left out, by reason.
        skipped_examples: the first of these rows, so that they can be looked at.
        synthetic_columns: columns that the trace lacks in full or in part.
        derived_columns: columns computed from others, with the rule.
        assumptions: choices that turn published numbers into units.
        machine_mix: machines of the cluster at the start, or the assumed one of which requests are shares.
        source_files: the files that were read.
        licence: licence of the data.
        citation: how to cite the data.
        url: where the data is published.
        written_by: package and version that wrote the table.
        request_cores: cores of the table that are a request of 1.0; None in tables of older versions and in load
            tables (`cloudsched_env.traces.request_unit`).
        request_memory_gb: GB of the table that are all memory of a machine; likewise.
    """

    format: str
    title: str
    mapping_version: int
    data_tag: Literal["excerpt", "full trace", "generated"]
    span_start_s: float
    span_end_s: float
    clock: str
    parts_read: int
    parts_published: int
    rows: dict[str, int]
    skipped_rows: dict[str, int]
    skipped_examples: tuple[SkippedRow, ...]
    synthetic_columns: tuple[SyntheticColumn, ...]
    derived_columns: dict[str, str]
    assumptions: tuple[str, ...]
    machine_mix: tuple[MachineType, ...]
    source_files: tuple[SourceFile, ...]
    licence: str
    citation: str
    url: str
    written_by: str
    request_cores: float | None = None
    request_memory_gb: float | None = None

    def to_json(self) -> str:
        """As JSON text, with the same bytes for the same content."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TraceMetadata:
        """Read what `to_json` wrote.

        Raises:
            TraceFormatError: a field is missing, unknown or of the wrong shape.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            for name, kind in (
                ("skipped_examples", SkippedRow),
                ("synthetic_columns", SyntheticColumn),
                ("machine_mix", MachineType),
                ("source_files", SourceFile),
            ):
                values[name] = tuple(kind(**item) for item in values[name])
            values["assumptions"] = tuple(values["assumptions"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise TraceFormatError(
                f"the description of the task table cannot be read ({error})",
                expected="metadata as this version of cloudsched-env writes it",
                remedy="import the trace again with `cloudsched traces import`",
            ) from error
