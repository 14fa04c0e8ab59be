"""Snowset and Redset: one row a query of a cloud data warehouse."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.traces.errors import require
from cloudsched_env.traces.writers.generated import GeneratedTrace, write_lines

__all__ = ["REDSET_COLUMNS", "SNOWSET_COLUMNS", "write_redset", "write_snowset"]

_SNOWSET_START = datetime.datetime(2018, 2, 21, tzinfo=datetime.timezone.utc)
_REDSET_START = datetime.datetime(2024, 3, 1, tzinfo=datetime.timezone.utc)
_BYTES_PER_MB = 1_000_000
_MICRO = 1_000_000

_SNOWSET = (
    "queryId warehouseId databaseId createdTime endTime durationTotal durationExec durationControlPlane "
    "durationCompiling execTime scheduleTime serverCount warehouseSize perServerCores persistentReadBytesS3 "
    "persistentReadRequestsS3 persistentReadBytesCache persistentReadRequestsCache persistentWriteBytesCache "
    "persistentWriteRequestsCache persistentWriteBytesS3 persistentWriteRequestsS3 intDataWriteBytesLocalSSD "
    "intDataWriteRequestsLocalSSD intDataReadBytesLocalSSD intDataReadRequestsLocalSSD intDataWriteBytesS3 "
    "intDataWriteRequestsS3 intDataReadBytesS3 intDataReadRequestsS3 intDataWriteBytesUncompressed "
    "readBytesRemoteExternal readRequestsRemoteExternal intDataNetReceivedBytes intDataNetSentBytes "
    "intDataNetSentRequests intDataNetSentBytesUncompressed producedRows returnedRows fileStolenCount "
    "remoteSeqScanFileOps localSeqScanFileOps localWriteFileOps remoteSkipScanFileOps remoteWriteFileOps filesCreated "
    "scanAssignedBytes scanAssignedFiles scanBytes scanFiles scanOriginalFiles userCpuTime systemCpuTime memoryUsed "
    "profIdle profCpu profPersistentReadCache profPersistentWriteCache profPersistentReadS3 profPersistentWriteS3 "
    "profIntDataReadLocalSSD profIntDataWriteLocalSSD profIntDataReadS3 profIntDataWriteS3 profRemoteExtRead "
    "profRemoteExtWrite profResWriteS3 profFsMeta profDataExchangeNet profDataExchangeMsg profControlPlaneMsg profOs "
    "profMutex profSetup profSetupMesh profTeardown profScanRso profXtScanRso profProjRso profSortRso profFilterRso "
    "profResRso profDmlRso profHjRso profBufRso profFlatRso profBloomRso profAggRso profBandRso profPercentileRso "
    "profUdtfRso profOtherRso"
)
SNOWSET_COLUMNS = tuple(_SNOWSET.split())
"""Columns of the published table, in the order of its documentation."""

_REDSET = (
    "instance_id cluster_size user_id database_id query_id arrival_timestamp compile_duration_ms queue_duration_ms "
    "execution_duration_ms feature_fingerprint was_aborted was_cached cache_source_query_id query_type "
    "num_permanent_tables_accessed num_external_tables_accessed num_system_tables_accessed read_table_ids "
    "write_table_ids mbytes_scanned mbytes_spilled num_joins num_scans num_aggregations"
)
REDSET_COLUMNS = tuple(_REDSET.split())
"""Columns of the published table, in its order."""

_READ_SHARE = 0.8  # of a query's bytes, from the cache: the hit rate of read-only queries in Vuppalapati et al. 2020


def _stamp(start: datetime.datetime, seconds: float) -> str:
    return (start + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def write_snowset(trace: GeneratedTrace, folder: Path) -> None:
    """Write snowset-main.csv.gz: a query is a task, a warehouse a user; what the generator does not draw is null.

    Args:
        trace: the tasks.
        folder: where to.
    """

    def lines() -> Iterator[str]:
        yield ",".join(SNOWSET_COLUMNS)
        for row in range(len(trace)):
            milliseconds = max(round(1000 * trace.duration_s[row]), 1)
            known: dict[str, Any] = {
                "queryId": 10**15 + row,
                "warehouseId": 10**12 + trace.user[row],
                "databaseId": 10**12 + trace.user[row],
                "createdTime": _stamp(_SNOWSET_START, trace.arrival_s[row]),
                "endTime": _stamp(_SNOWSET_START, trace.arrival_s[row] + milliseconds / 1000),
                "durationTotal": milliseconds,
                "durationExec": milliseconds,
                "durationControlPlane": 0,
                "durationCompiling": 0,
                "execTime": milliseconds,
                "scheduleTime": 0,
                "serverCount": 1,
                "warehouseSize": 1,
                "perServerCores": 8,
                "userCpuTime": round(trace.cpu_cores[row] * milliseconds * 1000),
                "systemCpuTime": 0,
                "memoryUsed": round(trace.memory_gb[row] * 1e9),
            }
            if np.isfinite(trace.scan_mb[row]):
                read = round(trace.scan_mb[row] * _BYTES_PER_MB)
                known["scanBytes"] = read
                known["persistentReadBytesCache"] = round(_READ_SHARE * read)
                known["persistentReadBytesS3"] = read - known["persistentReadBytesCache"]
            yield ",".join(str(known.get(column, "\\N")) for column in SNOWSET_COLUMNS)

    write_lines(folder / "snowset-main.csv.gz", lines())


def write_redset(trace: GeneratedTrace, folder: Path) -> None:
    """Write provisioned/full.parquet: a query is a task, a cluster a user.

    Args:
        trace: the tasks.
        folder: where to.

    Raises:
        ModuleNotFoundError: if pyarrow is missing (``pip install "cloudsched-env[traces]"``).
    """
    pa, pq = require("pyarrow"), require("pyarrow.parquet")
    count = len(trace)
    start = np.datetime64(_REDSET_START.replace(tzinfo=None), "us")
    arrival = start + np.rint(trace.arrival_s * _MICRO).astype("timedelta64[us]")
    kind = np.where(trace.slo_class == 2, "copy", "select")
    scanned = np.where(np.isfinite(trace.scan_mb), np.rint(trace.scan_mb), 0).astype(np.int64)
    nothing, zero = pa.nulls(count), np.zeros(count, dtype=np.int64)
    columns = {
        "instance_id": pa.array(trace.user),
        "cluster_size": pa.array(np.full(count, 4.0)),
        "user_id": pa.array(trace.user),
        "database_id": pa.array(zero),
        "query_id": pa.array(np.arange(count)),
        "arrival_timestamp": pa.array(arrival),
        "compile_duration_ms": pa.array(zero.astype(np.float64)),
        "queue_duration_ms": pa.array(zero),
        "execution_duration_ms": pa.array(np.maximum(np.rint(1000 * trace.duration_s), 1).astype(np.int64)),
        "feature_fingerprint": pa.array([str(name) for name in trace.name.tolist()]),
        "was_aborted": pa.array(zero),
        "was_cached": pa.array(zero),
        "cache_source_query_id": nothing.cast(pa.float64()),
        "query_type": pa.array(kind.tolist()),
        "num_permanent_tables_accessed": pa.array(zero.astype(np.float64) + 1),
        "num_external_tables_accessed": pa.array(zero.astype(np.float64)),
        "num_system_tables_accessed": pa.array(zero.astype(np.float64)),
        "read_table_ids": pa.array([str(user) for user in trace.user.tolist()]),
        "write_table_ids": nothing.cast(pa.string()),
        "mbytes_scanned": pa.array(scanned),
        "mbytes_spilled": pa.array(zero),
        "num_joins": pa.array(zero),
        "num_scans": pa.array(zero + 1),
        "num_aggregations": pa.array(zero),
    }
    path = folder / "provisioned" / "full.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: columns[name] for name in REDSET_COLUMNS}), path)
