"""MSR Cambridge block traces 2007: a week of requests of 36 volumes on 13 servers (CSV without header)."""

from __future__ import annotations

from cloudsched_env.traces import block_load
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "REQUESTS"]

_HOSTS = "hm|mds|prn|proj|prxy|rsrch|src1|src2|stg|ts|usr|wdev|web"
_VOLUME = rf"(?:.*/)?(?:CAMRESTGA[A-Z0-9]+-lvm\d+|(?:{_HOSTS})_\d+)"
_FILETIME_OF_1970 = 116_444_736_000_000_000

REQUESTS = PublishedTable(
    "volume",
    (
        PublishedColumn("Timestamp", "integer", low=_FILETIME_OF_1970, meaning="Windows file time, units of 100 ns"),
        PublishedColumn("Hostname", "string", meaning="server"),
        PublishedColumn("DiskNumber", "integer", high=2**31 - 1, meaning="volume of the server"),
        PublishedColumn("Type", "string", choices=("Read", "Write"), meaning="kind of request"),
        PublishedColumn("Offset", "integer", meaning="bytes"),
        PublishedColumn("Size", "integer", high=2**40, meaning="bytes"),
        PublishedColumn("ResponseTime", "integer", meaning="units of 100 ns"),
    ),
    parts=36,
    patterns=(
        FilePattern("hm_0.csv, usr_2.csv, ...", _VOLUME + r"\.csv"),
        FilePattern("hm_0.csv.gz, usr_2.csv.gz, ...", _VOLUME + r"\.csv\.gz"),
        FilePattern("msr-cambridge1.tar, msr-cambridge2.tar", r"(?:.*/)?msr-cambridge\d?\.tar(?:\.gz)?", packed="tar"),
    ),
    header="optional",
    meaning="one row a request; a file a volume",
)

FORMAT = TraceFormat(
    name="msr-block",
    title="MSR Cambridge block traces (2007)",
    url="http://iotta.snia.org/traces/block-io/388",
    licence="SNIA Trace Data Files Download License",
    citation="D. Narayanan, A. Donnelly, A. Rowstron. Write off-loading: practical power management for enterprise "
    "storage. FAST 2008.",
    mapping_version=1,
    kind="load",
    tables=(REQUESTS,),
    keep={
        "volume": f"(\"Timestamp\" - {_FILETIME_OF_1970}) // 10 AS t_us, Hostname || '_' || DiskNumber AS device, "
        '"Type" = \'Write\' AS writes, "Size" AS bytes, ResponseTime // 10 AS latency_us'
    },
    steps=(("requests", "CREATE VIEW requests AS SELECT * FROM volume"),),
    table_sql=block_load.TABLE_SQL,
    span_sql=block_load.SPAN_SQL,
    row_counts=block_load.ROW_COUNTS,
    clock="seconds since 1970 (UTC); the trace begins on 22 February 2007",
    columns_from={
        **block_load.COLUMNS_FROM,
        "device": "Hostname and DiskNumber, as in hm_0",
        "latency_mean_s": "ResponseTime x 100 ns, mean over the requests of the interval",
    },
    gotchas=(
        "**Windows file time** counts units of 100 ns since 1601.",
        "**Response times** include the queue of the traced disks of 2007.",
    ),
    empty=block_load.EMPTY,
    download="# SNIA asks you to accept its licence in the browser: the page above",
    summary="Requests below the file system cache of 36 volumes on 13 servers of a data centre over a week.",
)
