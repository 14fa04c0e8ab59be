"""Tencent CBS block traces 2018: ten days of requests of 5,584 cloud volumes (CSV without header, hourly archives)."""

from __future__ import annotations

from cloudsched_env.traces import block_load
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "REQUESTS"]

_SECTOR_BYTES = 512
_HOUR = r"(?:.*/)?(?:tencent[-_]?)?\d{4}-?\d{2}-?\d{2}-?\d{2}"

REQUESTS = PublishedTable(
    "cbs_trace",
    (
        PublishedColumn("Timestamp", "integer", meaning="seconds since 1970"),
        PublishedColumn("Offset", "integer", meaning="sectors of 512 bytes"),
        PublishedColumn("Size", "integer", high=2**31, meaning="sectors of 512 bytes"),
        PublishedColumn("IOType", "integer", high=1, meaning="0 read, 1 write"),
        PublishedColumn("VolumeID", "integer", meaning="volume"),
    ),
    parts=216,
    patterns=(
        FilePattern("2018-10-01-01.csv", _HOUR + r"(?:\.csv)?"),
        FilePattern("2018-10-01-01.csv.gz", _HOUR + r"\.csv\.gz"),
        FilePattern("2018-10-01-01.tgz", _HOUR + r"\.(?:tgz|tar\.gz)", packed="tar"),
    ),
    header="optional",
    meaning="one row a request; a file an hour",
)

FORMAT = TraceFormat(
    name="tencent-block",
    title="Tencent CBS block traces (October 2018)",
    url="http://iotta.snia.org/traces/parallel/28064",
    licence="SNIA Trace Data Files Download License",
    citation="Y. Zhang, P. Huang, K. Zhou, H. Wang, J. Hu, Y. Ji, B. Cheng. OSCA: an online-model based cache "
    "allocation scheme in cloud block storage systems. USENIX ATC 2020.",
    mapping_version=1,
    kind="load",
    tables=(REQUESTS,),
    keep={
        "cbs_trace": '"Timestamp" * 1000000 AS t_us, VolumeID::VARCHAR AS device, IOType = 1 AS writes, '
        f'"Size" * {_SECTOR_BYTES} AS bytes, NULL::BIGINT AS latency_us'
    },
    steps=(("requests", "CREATE VIEW requests AS SELECT * FROM cbs_trace"),),
    table_sql=block_load.TABLE_SQL,
    span_sql=block_load.SPAN_SQL,
    row_counts=block_load.ROW_COUNTS,
    clock="seconds since 1970 (UTC)",
    columns_from={**block_load.COLUMNS_FROM, "device": "VolumeID", "latency_mean_s": "null"},
    synthetic=block_load.SYNTHETIC,
    assumptions=("Times have a resolution of one second: intervals shorter than that show spikes at whole seconds.",),
    gotchas=("**Sectors**: offset and size are in units of 512 bytes.",),
    empty=block_load.EMPTY,
    download="# SNIA asks you to accept its licence in the browser: the page above",
    summary="216 hourly files of requests of 5,584 cloud volumes of one failure domain.",
)
