"""The published formats that can be imported."""

from __future__ import annotations

from cloudsched_env.traces import google2011, google2019, redset, snowset
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMATS", "TraceFormat", "find_format"]

FORMATS = (google2011.FORMAT, google2019.FORMAT, snowset.FORMAT, redset.FORMAT)


def find_format(name: str) -> TraceFormat:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for trace_format in FORMATS:
        if trace_format.name == name:
            return trace_format
    known = ", ".join(trace_format.name for trace_format in FORMATS)
    raise ValueError(f"unknown trace format {name!r}; expected one of: {known}, or auto")
