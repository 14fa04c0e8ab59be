"""Azure public dataset V1 (2017) and V2 (2019): virtual machines of a month (CSV without header)."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.parts import find_parts
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, named
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["V1", "V2", "VMTABLE_V1", "VMTABLE_V2"]

END_S = 2_591_700
"""The last reading of the thirty days: a machine that was deleted then was still there."""
HOST_CORES, HOST_MEMORY_GB = 64, 256
"""The assumed host of which requests are shares, as in profile `azure`: the trace holds no physical machines."""
REQUEST_UNIT = RequestUnit(
    HOST_CORES, HOST_MEMORY_GB, "the cores of the assumed host: virtual machines have 1 to 24 and more"
)
_CORE_BUCKETS = ("2", "4", "8", "24", ">24")
_MEMORY_BUCKETS = ("2", "4", "8", "32", "64", ">64")

_PREFIX = (
    PublishedColumn("vmid", "string", meaning="virtual machine (hash)"),
    PublishedColumn("subscriptionid", "string", meaning="customer (hash)"),
    PublishedColumn("deploymentid", "string", nullable=True, meaning="machines deployed together (hash)"),
    PublishedColumn("vmcreated", "integer", meaning="seconds; 0: before the trace"),
    PublishedColumn("vmdeleted", "integer", meaning=f"seconds; {END_S}: still there at the end"),
    PublishedColumn("maxcpu", "float", nullable=True, meaning="largest CPU use, percent"),
    PublishedColumn("avgcpu", "float", nullable=True, meaning="mean CPU use, percent"),
    PublishedColumn("p95maxcpu", "float", nullable=True, meaning="95th percentile of the maxima, percent"),
    PublishedColumn(
        "vmcategory",
        "string",
        nullable=True,
        choices=("Delay-insensitive", "Interactive", "Unknown", "Unkown"),
        meaning="kind of workload (the files spell Unkown)",
    ),
)
VMTABLE_V1 = PublishedTable(
    "vmtable",
    (
        *_PREFIX,
        PublishedColumn("vmcorecount", "float", meaning="virtual cores"),
        PublishedColumn("vmmemory", "float", meaning="memory, GB"),
    ),
    patterns=named("vmtable"),
    unique=("vmid",),
    meaning="one row a virtual machine",
)
VMTABLE_V2 = replace(
    VMTABLE_V1,
    columns=(
        *_PREFIX,
        PublishedColumn("vmcorecount", "string", choices=_CORE_BUCKETS, meaning="virtual cores: top of a bucket"),
        PublishedColumn("vmmemory", "string", choices=_MEMORY_BUCKETS, meaning="memory, GB: top of a bucket"),
    ),
)

_KEEP = (
    "vmid, subscriptionid, coalesce(deploymentid, vmid) AS deploymentid, vmcreated AS create_s, vmdeleted AS delete_s, "
    "avgcpu, vmcategory, {cores} AS cores, {memory} AS memory"
)
# The first size of a bucket without top is not published: it counts as the bound, which is the least it can be.
_BUCKET = "TRY_CAST(ltrim({column}, '>') AS DOUBLE)"

_VMS = """
CREATE TABLE vms AS
SELECT v.*, d.job, (row_number() OVER (PARTITION BY d.job ORDER BY v.create_s, v.vmid) - 1)::INTEGER AS task_index
FROM vmtable v JOIN (
    SELECT deploymentid, row_number() OVER (ORDER BY first_s, deploymentid) AS job
    FROM (SELECT deploymentid, min(create_s) AS first_s FROM vmtable GROUP BY deploymentid)
) d USING (deploymentid)
"""
_TABLE_SQL = f"""
SELECT create_s::DOUBLE AS arrival_s,
       subscriptionid AS tenant,
       job,
       task_index,
       deploymentid AS shard_key,
       CASE vmcategory WHEN 'Interactive' THEN 0 WHEN 'Delay-insensitive' THEN 2 ELSE 1 END AS slo_class,
       cores AS cpu_cores,
       memory AS mem_gb,
       (delete_s - create_s)::DOUBLE AS duration_s,
       delete_s >= {END_S} AS duration_censored,
       CASE WHEN delete_s >= {END_S} THEN 'censored' ELSE 'finished' END AS outcome,
       1 AS attempts,
       1 AS instances,
       avgcpu / 100 * cores * (delete_s - create_s) AS cpu_core_s
FROM vms WHERE create_s > 0 AND delete_s >= create_s
"""


def _speaks_against_v1(path: Path, files: dict[str, Path]) -> str | None:
    """All sizes are buckets of V2."""
    from cloudsched_env.traces.recognise import first_lines

    part = find_parts(path, VMTABLE_V1, files)[0]
    lines, _ = first_lines(part, VMTABLE_V1)
    sizes = {tuple(row[-2:]) for row in csv.reader(line.decode("utf-8", "replace") for line in lines)}
    if sizes and all(cores in _CORE_BUCKETS and memory in _MEMORY_BUCKETS for cores, memory in sizes):
        return "all sizes of machines are buckets of the second version"
    return None


_SYNTHETIC = (
    SyntheticColumn("queue_s", "the time of the request is not recorded", "null"),
    SyntheticColumn("mem_used_gb", "memory use is not recorded", "null"),
    SyntheticColumn("read_mb", "the trace has no bytes read", "null; the workload stage draws it"),
    SyntheticColumn("write_mb", "the trace has no bytes written", "null; the workload stage draws it"),
)
_GOTCHAS = (
    "**vmcreated 0** means before the trace: such machines are counted and left out.",
    f"**vmdeleted {END_S}** is the last reading: the machine was still there, and its duration is censored.",
    "**The category is spelled `Unkown`** in published files.",
    f"**No physical machines** are in the trace. The machine mix holds the assumed host of {HOST_CORES} cores and "
    f"{HOST_MEMORY_GB} GB, none of which were counted.",
    "**The readings** (vm_cpu_readings, 5-minute minimum, maximum and mean CPU of each machine) are not read; avgcpu "
    "of vmtable is their mean.",
)
_HOST = (
    f"Requests count as shares of a host with {HOST_CORES} cores and {HOST_MEMORY_GB} GB, as in profile `azure`; cores "
    "and GB of the task table are as published."
)

V1 = TraceFormat(
    name="azure-v1",
    title="Azure public dataset V1 (2017)",
    url="https://github.com/Azure/AzurePublicDataset/blob/master/AzurePublicDatasetV1.md",
    licence="CC-BY (attribution: Microsoft Azure)",
    citation="E. Cortez, A. Bonde, A. Muzio, M. Russinovich, M. Fontoura, R. Bianchini. Resource central: "
    "understanding and predicting workloads for improved resource management in large cloud platforms. SOSP 2017.",
    mapping_version=2,
    tables=(VMTABLE_V1,),
    keep={"vmtable": _KEEP.format(cores="vmcorecount", memory="vmmemory")},
    steps=(("machines of deployments", _VMS),),
    table_sql=_TABLE_SQL,
    span_sql=f"SELECT 0, greatest({END_S}, max(delete_s)) FROM vms",
    row_counts={
        "subscriptions": "SELECT count(DISTINCT subscriptionid) FROM vms",
        "deployments": "SELECT count(DISTINCT job) FROM vms",
        "vms_present_at_time_0": "SELECT count(*) FROM vms WHERE create_s = 0",
        "vms_still_there_at_the_end": f"SELECT count(*) FROM vms WHERE delete_s >= {END_S}",
        "vms_deleted_before_created": "SELECT count(*) FROM vms WHERE delete_s < create_s",
    },
    clock="seconds since the trace begins (thirty days)",
    columns_from={
        "a row": "a virtual machine that is created after time 0",
        "arrival_s": "vmcreated",
        "tenant": "subscriptionid",
        "job": "deployments numbered by their first machine's creation, then by id, from 1",
        "task_index": "machines of a deployment numbered by creation, then by id, from 0",
        "shard_key": "deploymentid",
        "slo_class": "0 Interactive, 2 Delay-insensitive, 1 Unknown",
        "cpu_cores, mem_gb": "vmcorecount, vmmemory",
        "duration_s": "vmdeleted - vmcreated",
        "outcome": "finished, or censored if it was still there at the end",
        "cpu_core_s": "avgcpu / 100 x vmcorecount x duration",
    },
    synthetic=_SYNTHETIC,
    # No machine of this kind was counted; mapping version 2 declares it.
    machine_sql=f"SELECT 0, {HOST_CORES}, {HOST_MEMORY_GB}, 1, 1",
    request_unit=REQUEST_UNIT,
    assumptions=(_HOST,),
    derived={"slo_class": "from vmcategory", "cpu_core_s": "avgcpu / 100 x vmcorecount x duration"},
    gotchas=_GOTCHAS,
    full_rows=2_013_767,
    telling=_speaks_against_v1,
    download="base=https://azurepublicdatasettraces.blob.core.windows.net/azurepublicdataset\n"
    "curl -f -C - --create-dirs -o azure-v1/vmtable.csv.gz $base/trace_data/vmtable/vmtable.csv.gz   # links: the page "
    "above",
    summary="2,013,767 virtual machines of one region over 30 days.",
)
V2 = replace(
    V1,
    name="azure-v2",
    title="Azure public dataset V2 (2019)",
    url="https://github.com/Azure/AzurePublicDataset/blob/master/AzurePublicDatasetV2.md",
    tables=(VMTABLE_V2,),
    keep={
        "vmtable": _KEEP.format(cores=_BUCKET.format(column="vmcorecount"), memory=_BUCKET.format(column="vmmemory"))
    },
    columns_from={
        **V1.columns_from,
        "cpu_cores, mem_gb": "top of the bucket (2, 4, 8, 24 cores; 2, 4, 8, 32, 64 GB); 24 and 64 for the buckets "
        "without top, >24 and >64",
    },
    assumptions=(
        _HOST,
        "A size is the top of its bucket; above 24 cores or 64 GB it is that bound, the least it can be, because the "
        "dataset says no more.",
    ),
    gotchas=(*_GOTCHAS, "**Sizes are buckets**, so requests and CPU times are bounds, not measurements."),
    full_rows=2_695_548,
    telling=None,
    download="base=https://azurepublicdatasettraces.blob.core.windows.net/azurepublicdatasetv2\n"
    "curl -f -C - --create-dirs -o azure-v2/vmtable.csv.gz $base/trace_data/vmtable/vmtable.csv.gz   # links: the page "
    "above",
    summary="2,695,548 virtual machines of one region over 30 days.",
)
