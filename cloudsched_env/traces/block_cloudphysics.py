"""CloudPhysics block traces: requests of virtual disks (CSV with header, as libCacheSim distributes them)."""

from __future__ import annotations

from cloudsched_env.traces import block_load
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, named
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "REQUESTS"]

_READS = ("8", "08", "28", "a8", "88")
_WRITES = ("a", "0a", "2a", "aa", "8a")
_BLOCK_BYTES = 512

REQUESTS = PublishedTable(
    "cloudphysics",
    (
        PublishedColumn("version", "integer", meaning="version of the record"),
        PublishedColumn("time", "float", meaning="seconds"),
        PublishedColumn("op", "string", choices=_READS + _WRITES, meaning="SCSI operation, hexadecimal"),
        PublishedColumn("size", "integer", high=2**40, meaning="bytes"),
        PublishedColumn("lbn", "integer", meaning=f"block of {_BLOCK_BYTES} bytes"),
    ),
    patterns=named("cloudPhysicsIO", names=r"(?:cloudPhysicsIO|w\d{1,3})"),
    header="required",
    meaning="one row a request",
)

FORMAT = TraceFormat(
    name="cloudphysics",
    title="CloudPhysics block traces",
    url="https://github.com/cacheMon/cache_dataset",
    licence="published with the FAST 2015 paper; redistributed by libCacheSim; no formal licence known",
    citation="C. A. Waldspurger, N. Park, A. Garthwaite, I. Ahmad. Efficient MRC construction with SHARDS. FAST 2015.",
    mapping_version=1,
    kind="load",
    tables=(REQUESTS,),
    keep={
        "cloudphysics": "round(\"time\" * 1e6)::BIGINT AS t_us, 'disk' AS device, "
        f"op IN ({', '.join(repr(op) for op in _WRITES)}) AS writes, size AS bytes, NULL::BIGINT AS latency_us"
    },
    steps=(("requests", "CREATE VIEW requests AS SELECT * FROM cloudphysics"),),
    table_sql=block_load.TABLE_SQL,
    span_sql=block_load.SPAN_SQL,
    row_counts=block_load.ROW_COUNTS,
    clock="seconds, relative to an origin that is not published",
    columns_from={**block_load.COLUMNS_FROM, "device": "disk: a file holds one", "latency_mean_s": "null"},
    synthetic=block_load.SYNTHETIC,
    assumptions=("A file is one virtual disk: give one file at a time.",),
    gotchas=("**op is a SCSI operation in hexadecimal**: 28 is READ(10), 2a is WRITE(10).",),
    empty=block_load.EMPTY,
    download="curl -f -O https://raw.githubusercontent.com/1a1a11a/libCacheSim/develop/data/cloudPhysicsIO.csv",
    summary="Requests of virtual disks of VMware hosts; a week each in the full set of 106 disks, two hours in the "
    "file that libCacheSim carries.",
)
