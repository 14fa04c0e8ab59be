"""Write generated tasks and disk requests in published formats, so that readers can be exercised without data."""

from cloudsched_env.traces.marker import MARKER, is_generated
from cloudsched_env.traces.writers.generated import GeneratedTrace
from cloudsched_env.traces.writers.load import GeneratedLoad
from cloudsched_env.traces.writers.registry import (
    LOAD_WRITERS,
    WRITERS,
    LoadWriter,
    TraceWriter,
    find_load_writer,
    find_writer,
    write_load,
    write_trace,
)

__all__ = [
    "LOAD_WRITERS",
    "MARKER",
    "WRITERS",
    "GeneratedLoad",
    "GeneratedTrace",
    "LoadWriter",
    "TraceWriter",
    "find_load_writer",
    "find_writer",
    "is_generated",
    "write_load",
    "write_trace",
]
