"""Alibaba block traces 2020: a month of requests of 1,000 virtual disks (CSV without header)."""

from __future__ import annotations

from cloudsched_env.traces import block_load
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, named
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "REQUESTS"]

REQUESTS = PublishedTable(
    "io_traces",
    (
        PublishedColumn("device_id", "integer", high=2**31 - 1, meaning="virtual disk"),
        PublishedColumn("opcode", "string", choices=("R", "W"), meaning="R read, W write"),
        PublishedColumn("offset", "integer", meaning="bytes"),
        PublishedColumn("length", "integer", high=2**40, meaning="bytes"),
        PublishedColumn("timestamp", "integer", meaning="microseconds since 1970"),
    ),
    patterns=named("io_traces"),
    header="optional",
    meaning="one row a request",
)

FORMAT = TraceFormat(
    name="alibaba-block",
    title="Alibaba block traces (2020)",
    url="https://github.com/alibaba/block-traces",
    licence="CC-BY 4.0 (attribution: Alibaba Cloud; Li et al.)",
    citation="J. Li, Q. Wang, P. P. C. Lee, C. Shi. An in-depth analysis of cloud block storage workloads in "
    "large-scale production. IISWC 2020.",
    mapping_version=1,
    kind="load",
    tables=(REQUESTS,),
    keep={
        "io_traces": "\"timestamp\" AS t_us, device_id::VARCHAR AS device, opcode = 'W' AS writes, length AS bytes, "
        "NULL::BIGINT AS latency_us"
    },
    steps=(("requests", "CREATE VIEW requests AS SELECT * FROM io_traces"),),
    table_sql=block_load.TABLE_SQL,
    span_sql=block_load.SPAN_SQL,
    row_counts=block_load.ROW_COUNTS,
    clock="seconds since 1970 (UTC)",
    columns_from={**block_load.COLUMNS_FROM, "device": "device_id", "latency_mean_s": "null"},
    synthetic=block_load.SYNTHETIC,
    gotchas=(
        "**Write-dominant**: about three quarters of the requests are writes.",
        "**751 GB unpacked**: the requests are staged as compressed Parquet beside the target before they are summed.",
    ),
    empty=block_load.EMPTY,
    download="# the page above links alibaba_block_traces_2020.tar.gz; io_traces.csv is in it",
    summary="Requests of 1,000 virtual disks over January 2020.",
)
