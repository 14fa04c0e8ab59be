"""Published cluster traces, and the canonical task table that each of them is turned into."""

from cloudsched_env.traces.errors import TraceFormatError
from cloudsched_env.traces.metadata import TraceMetadata
from cloudsched_env.traces.table import TASK_COLUMNS, TaskTable, load_tasks

__all__ = ["TASK_COLUMNS", "TaskTable", "TraceFormatError", "TraceMetadata", "load_tasks"]
