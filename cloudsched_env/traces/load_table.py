"""The canonical load table: how much storage traffic each device of a block trace carries in each interval.

Block traces hold requests of disks, not tasks. They are aggregated to requests and MB per second, which is what storage
nodes feel as background load. Intervals without a request have no row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cloudsched_env.traces.errors import require
from cloudsched_env.traces.table import CanonicalTable, Column, TableKind, read_columns

__all__ = ["LOAD_COLUMNS", "LOAD_TABLE", "LoadTable", "is_load_table", "load_background"]

LOAD_VERSION = 1

LOAD_COLUMNS = (
    Column("start_s", "float64", "s", False, "start of the interval; rows are sorted by it, then by device"),
    Column("interval_s", "float64", "s", False, "length of the interval"),
    Column("device", "string", "name", False, "disk or volume"),
    Column("reads_per_s", "float64", "1/s", False, "read requests that begin in the interval"),
    Column("writes_per_s", "float64", "1/s", False, "write requests that begin in the interval"),
    Column("read_mb_per_s", "float64", "MB/s", False, "bytes of these reads (1 MB = 10^6 bytes)"),
    Column("write_mb_per_s", "float64", "MB/s", False, "bytes of these writes"),
    Column("latency_mean_s", "float64", "s", True, "mean response time, where the trace has one"),
)

LOAD_TABLE = TableKind(
    "load table",
    LOAD_COLUMNS,
    LOAD_VERSION,
    b"cloudsched_env.load_table_version",
    "cloudphysics",
    ("start_s", "device"),
)


class LoadTable(CanonicalTable):
    """A table of background load: columns are those of `LOAD_COLUMNS`, string columns the devices."""


def load_background(path: str | os.PathLike[str], columns: Iterable[str] | None = None) -> LoadTable:
    """Load a load table that ``cloudsched traces import`` wrote from a block trace.

    Args:
        path: the Parquet file.
        columns: names of the columns to load; all by default.

    Raises:
        TraceFormatError: the file is missing, is not a load table, or has another version.
        ModuleNotFoundError: pyarrow is not installed (``pip install "cloudsched-env[traces]"``).
    """
    return LoadTable(*read_columns(LOAD_TABLE, path, columns))


def is_load_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a load table; what is wrong with any other file is for its reader to say."""
    pa = require("pyarrow")
    try:
        return LOAD_TABLE.version_key in (require("pyarrow.parquet").read_schema(path).metadata or {})
    except (pa.ArrowInvalid, OSError):
        return False
