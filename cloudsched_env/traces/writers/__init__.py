"""Write generated tasks in the formats in which traces are published, so that readers can be exercised without data."""

from cloudsched_env.traces.marker import MARKER, is_generated
from cloudsched_env.traces.writers.generated import GeneratedTrace
from cloudsched_env.traces.writers.registry import WRITERS, TraceWriter, find_writer, write_trace

__all__ = ["MARKER", "WRITERS", "GeneratedTrace", "TraceWriter", "find_writer", "is_generated", "write_trace"]
