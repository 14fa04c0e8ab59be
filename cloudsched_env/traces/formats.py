"""The published formats that can be imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cloudsched_env.traces import google2011
from cloudsched_env.traces.metadata import TraceMetadata
from cloudsched_env.traces.published import PublishedTable

__all__ = ["FORMATS", "TraceFormat", "find_format"]


@dataclass(frozen=True)
class TraceFormat:
    """One published format.

    Attributes:
        name: what the command line calls it.
        title: full name of the trace.
        tables: published tables that the reader needs.
        licence: licence of the data.
        url: where the data is published.
        importer: ``importer(folder, target, engine=, on_error=, on_progress=)`` writes the task table.
    """

    name: str
    title: str
    tables: tuple[PublishedTable, ...]
    licence: str
    url: str
    importer: Callable[..., TraceMetadata]

    def import_folder(
        self, folder: str | os.PathLike[str], target: str | os.PathLike[str], **options: object
    ) -> TraceMetadata:
        """Import published files; see the reader of the format for options and errors."""
        return self.importer(folder, target, **options)


FORMATS = (
    TraceFormat(
        google2011.FORMAT,
        google2011.TITLE,
        google2011.TABLES,
        google2011.LICENCE,
        google2011.URL,
        google2011.import_google2011,
    ),
)


def find_format(name: str) -> TraceFormat:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for trace_format in FORMATS:
        if trace_format.name == name:
            return trace_format
    known = ", ".join(trace_format.name for trace_format in FORMATS)
    raise ValueError(f"unknown trace format {name!r}; expected one of: {known}")
