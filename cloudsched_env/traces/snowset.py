"""Snowset: every query of a fortnight of Snowflake, with what it really used (CSV or Parquet with named columns)."""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "QUERIES"]

_ORIGIN = "TIMESTAMP '2018-02-21 00:00:00'"


def _number(name: str, meaning: str) -> PublishedColumn:
    return PublishedColumn(name, "integer", nullable=True, meaning=meaning)


QUERIES = PublishedTable(
    "snowset",
    (
        PublishedColumn("queryId", "integer", low=-(2**63), meaning="unique identifier of the query"),
        PublishedColumn("warehouseId", "integer", low=-(2**63), meaning="virtual warehouse it ran in"),
        PublishedColumn("databaseId", "string", nullable=True, meaning="database it is associated with"),
        PublishedColumn("createdTime", "timestamp", meaning="when it entered the system"),
        PublishedColumn("endTime", "timestamp", nullable=True, meaning="when it was complete"),
        _number("durationTotal", "end-to-end duration, ms"),
        _number("durationExec", "time in which worker processes ran, ms"),
        _number("durationControlPlane", "time of control plane operations, ms"),
        _number("durationCompiling", "time of compilation, ms"),
        _number("scheduleTime", "time until it started to execute after it entered the system"),
        _number("serverCount", "servers used"),
        _number("warehouseSize", "size of the warehouse"),
        _number("perServerCores", "cores it may use on each server"),
        _number("persistentReadBytesS3", "persistent bytes read from S3, compressed"),
        _number("persistentReadBytesCache", "persistent bytes read from the cache, compressed"),
        _number("persistentWriteBytesS3", "persistent bytes written to S3, compressed"),
        _number("intDataWriteBytesLocalSSD", "intermediate bytes spilled to local SSD, compressed"),
        _number("intDataWriteBytesS3", "intermediate bytes spilled to S3, compressed"),
        _number("userCpuTime", "user CPU time of all workers, microseconds"),
        _number("systemCpuTime", "kernel CPU time of all workers, microseconds"),
        PublishedColumn("memoryUsed", "integer", nullable=True, absent=True, meaning="memory of all workers, bytes"),
    ),
    patterns=(
        FilePattern("snowset-main.parquet/*.parquet", r"(?:.*/)?snowset-main\.parquet/[^/]+\.parquet", "parquet"),
        FilePattern("snowset-main.parquet", r"(?:.*/)?snowset-main[^/]*\.parquet", "parquet"),
        FilePattern("snowset-main.csv.gz", r"(?:.*/)?snowset-main[^/]*\.csv\.gz"),
        FilePattern("snowset-main.csv", r"(?:.*/)?snowset-main[^/]*\.csv"),
    ),
    header="required",
    null_texts=("", "\\N"),
    quoted=True,
    unique=("queryId",),
    meaning="one row a query; the other columns of the 92 may be there and are not read",
)

_TABLE_SQL = """
SELECT (created_us - origin_us) / 1e6 AS arrival_s,
       warehouseId::VARCHAR AS tenant,
       queryId AS job,
       0 AS task_index,
       databaseId AS shard_key,
       CASE WHEN written > 0 AND "read" = 0 THEN 2 WHEN written > 0 THEN 1 ELSE 0 END AS slo_class,
       serverCount * perServerCores AS cpu_cores,
       durationExec / 1e3 AS duration_s,
       false AS duration_censored,
       'finished' AS outcome,
       1 AS attempts,
       1 AS instances,
       scheduleTime / 1e3 AS queue_s,
       cpu_us / 1e6 AS cpu_core_s,
       memoryUsed / 1e9 AS mem_used_gb,
       "read" / 1e6 AS read_mb,
       written / 1e6 AS write_mb,
       spilled / 1e6 AS spill_mb
FROM snowset
"""

FORMAT = TraceFormat(
    name="snowset",
    title="Snowset (Snowflake, 21 February to 7 March 2018)",
    url="https://github.com/resource-disaggregation/snowset",
    licence="open to the public for use in research and education (no formal licence)",
    citation="M. Vuppalapati, J. Miron, R. Agarwal, D. Truong, A. Motivala, T. Cruanes. Building an elastic query "
    "engine on disaggregated storage. NSDI 2020.",
    mapping_version=1,
    tables=(QUERIES,),
    keep={
        "snowset": "queryId, warehouseId, databaseId, epoch_us(createdTime) AS created_us, "
        f"epoch_us({_ORIGIN}) AS origin_us, durationExec, durationTotal, scheduleTime, serverCount, perServerCores, "
        'persistentReadBytesS3 + persistentReadBytesCache AS "read", persistentWriteBytesS3 AS written, '
        "intDataWriteBytesLocalSSD + intDataWriteBytesS3 AS spilled, userCpuTime + systemCpuTime AS cpu_us, memoryUsed"
    },
    table_sql=_TABLE_SQL,
    span_sql="SELECT min(created_us - origin_us) / 1e6, "
    "max(created_us - origin_us + 1000 * coalesce(durationTotal, 0)) / 1e6 FROM snowset",
    row_counts={
        "warehouses": "SELECT count(DISTINCT warehouseId) FROM snowset",
        "databases": "SELECT count(DISTINCT databaseId) FROM snowset",
        "queries_without_database": "SELECT count(*) FROM snowset WHERE databaseId IS NULL",
        "queries_without_cpu_time": "SELECT count(*) FROM snowset WHERE cpu_us IS NULL",
        "queries_read_only": "SELECT count(*) FROM snowset WHERE coalesce(written, 0) = 0",
        "queries_write_only": 'SELECT count(*) FROM snowset WHERE written > 0 AND "read" = 0',
        "queries_read_write": 'SELECT count(*) FROM snowset WHERE written > 0 AND "read" > 0',
    },
    request_unit=RequestUnit(
        128,
        because="a query may use all cores of its warehouse, 8 a server: so one server is one core of a scenario and "
        "four are its largest request",
    ),
    clock="seconds since 21 February 2018, 00:00 UTC",
    columns_from={
        "a row": "a query",
        "arrival_s": "createdTime (UTC) less 21 February 2018, 00:00",
        "tenant": "warehouseId: queries of a warehouse share its servers",
        "job": "queryId; task_index is 0",
        "shard_key": "databaseId; null where it is \\N",
        "slo_class": "derived: 0 read-only (no persistent byte written), 2 write-only (none read), 1 both",
        "cpu_cores": "serverCount x perServerCores: the cores that it was allowed to use",
        "duration_s": "durationExec, ms / 10^3",
        "queue_s": "scheduleTime, taken as ms",
        "outcome": "finished: the trace does not record failures",
        "cpu_core_s": "userCpuTime + systemCpuTime, microseconds / 10^6, all workers",
        "mem_used_gb": "memoryUsed, bytes / 10^9, all workers",
        "read_mb": "persistentReadBytesS3 + persistentReadBytesCache, / 10^6",
        "write_mb": "persistentWriteBytesS3, / 10^6 (cache writes are copies of what is read or written)",
        "spill_mb": "intDataWriteBytesLocalSSD + intDataWriteBytesS3, / 10^6",
    },
    synthetic=(
        SyntheticColumn("mem_gb", "a query asks for no memory of its own", "null; the workload stage draws it"),
        SyntheticColumn("tables_read, tables_written", "the trace has bytes and files, no tables", "null"),
    ),
    derived={"slo_class": "0 if no persistent byte was written, 2 if bytes were only written, else 1"},
    assumptions=(
        "The schema gives no unit for scheduleTime; it is taken as milliseconds, as the durations beside it are.",
        "A query is one task: its worker processes are not told apart.",
    ),
    gotchas=(
        "**Nulls are `\\N`** in the CSV, and any column but the identifiers and createdTime may have them.",
        "**Columns are read by name**: the order in the documentation is not promised for the file.",
        "**Bytes are after compression**, except the columns that say Uncompressed.",
        "**memoryUsed and CPU times are sums** over all workers of a query.",
        "**A query with no byte read or written** counts as read-only here; the paper's three classes (28, 13 and 59 % "
        "read-only, write-only, read-write) leave such queries to either.",
        "**A warehouse is not a customer**, and a database may be used from several warehouses.",
    ),
    full_rows=69_182_074,
    download="curl -f -C - -O http://www.cs.cornell.edu/~midhul/snowset/snowset-main.csv.gz",
    summary="69,182,074 queries of 2,051 virtual warehouses over 14 days: real CPU time, bytes read, written and "
    "spilled of each query.",
)
