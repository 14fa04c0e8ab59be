"""Azure traces for packing 2020: requests for virtual machines in one zone over 90 days (SQLite)."""

from __future__ import annotations

from cloudsched_env.traces.borg import CORES_OF_LARGEST_MACHINE, MEMORY_GB_OF_LARGEST_MACHINE, REQUEST_UNIT
from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "VM", "VM_TYPE"]

DAYS = 90
_FILE = (
    FilePattern(
        "packing_trace_zone_a_v1.sqlite", r"(?:.*/)?packing_trace_zone_[a-z]_v1\.(?:sqlite|sqlite3|db)", "sqlite"
    ),
)
_ID = 2**53


def _share(name: str, meaning: str) -> PublishedColumn:
    return PublishedColumn(name, "float", nullable=True, high=1, meaning=meaning)


VM = PublishedTable(
    "vm",
    (
        PublishedColumn("vmId", "integer", high=_ID, meaning="request for a virtual machine"),
        PublishedColumn("tenantId", "integer", high=_ID, meaning="customer"),
        PublishedColumn("vmTypeId", "integer", high=_ID, meaning="type of machine"),
        PublishedColumn("priority", "integer", high=1, meaning="0 high, 1 low (may be evicted)"),
        PublishedColumn("starttime", "float", low=-(10**6), meaning="days; negative: before the trace"),
        PublishedColumn("endtime", "float", nullable=True, low=-(10**6), meaning="days; null: after the trace"),
    ),
    patterns=_FILE,
    unique=("vmId",),
    source_table="vm",
    meaning="one row a request",
)
VM_TYPE = PublishedTable(
    "vmType",
    (
        PublishedColumn("vmTypeId", "integer", high=_ID, meaning="type of virtual machine"),
        PublishedColumn("machineId", "integer", high=_ID, meaning="type of physical machine that can hold it"),
        _share("core", "share of that machine's cores"),
        _share("memory", "share of its memory"),
        _share("hdd", "share of its disks"),
        _share("ssd", "share of its SSDs"),
        _share("nic", "share of its network"),
    ),
    patterns=_FILE,
    source_table="vmType",
    meaning="what each type takes of each type of physical machine; no row: it does not fit",
)

_TABLE_SQL = f"""
SELECT start_day * 86400 AS arrival_s,
       v.tenantId::VARCHAR AS tenant,
       v.vmId AS job,
       0 AS task_index,
       v.tenantId::VARCHAR || ':' || v.vmTypeId::VARCHAR AS shard_key,
       1 - v.priority AS priority,
       CASE v.priority WHEN 0 THEN 0 ELSE 2 END AS slo_class,
       t.core * {CORES_OF_LARGEST_MACHINE} AS cpu_cores,
       t.memory * {MEMORY_GB_OF_LARGEST_MACHINE} AS mem_gb,
       (coalesce(end_day, {DAYS}) - start_day) * 86400 AS duration_s,
       end_day IS NULL AS duration_censored,
       CASE WHEN end_day IS NULL THEN 'censored' ELSE 'finished' END AS outcome,
       1 AS attempts,
       1 AS instances
FROM vm v LEFT JOIN types t USING (vmTypeId)
WHERE start_day >= 0 AND start_day <= {DAYS} AND coalesce(end_day, {DAYS}) >= start_day
"""

FORMAT = TraceFormat(
    name="azure-packing2020",
    title="Azure traces for packing 2020 (zone A)",
    url="https://github.com/Azure/AzurePublicDataset/blob/master/AzureTracesForPacking2020.md",
    licence="CC-BY (attribution: Microsoft Azure)",
    citation="O. Hadary, L. Marshall, I. Menache, A. Pan, E. E. Greeff, D. Dion, S. Dorminey, S. Joshi, Y. Chen, "
    "M. Russinovich, T. Moscibroda. Protean: VM allocation service at scale. OSDI 2020.",
    mapping_version=1,
    tables=(VM, VM_TYPE),
    keep={
        "vm": "vmId, tenantId, vmTypeId, priority, starttime AS start_day, endtime AS end_day",
        "vmType": "vmTypeId, machineId, core, memory",
    },
    steps=(
        (
            "types",
            # The smallest share is that of the largest machine that can hold the type.
            "CREATE TABLE types AS SELECT vmTypeId, min(core) AS core, min(memory) AS memory, count(*) AS machines "
            "FROM vmType GROUP BY vmTypeId",
        ),
    ),
    table_sql=_TABLE_SQL,
    span_sql=f"SELECT 0, {DAYS} * 86400",
    request_unit=REQUEST_UNIT,
    row_counts={
        "tenants": "SELECT count(DISTINCT tenantId) FROM vm",
        "vm_types": "SELECT count(*) FROM types",
        "machine_types": "SELECT count(DISTINCT machineId) FROM vmType",
        "vms_present_at_the_start": "SELECT count(*) FROM vm WHERE start_day < 0",
        "vms_still_there_at_the_end": "SELECT count(*) FROM vm WHERE end_day IS NULL",
        "vms_after_the_trace": f"SELECT count(*) FROM vm WHERE start_day > {DAYS}",
        "vms_of_unknown_type": "SELECT count(*) FROM vm WHERE vmTypeId NOT IN (SELECT vmTypeId FROM types)",
    },
    clock=f"seconds since the trace begins ({DAYS} days)",
    columns_from={
        "a row": "a virtual machine that is requested at or after day 0",
        "arrival_s": "starttime x 86,400",
        "tenant": "tenantId",
        "job": "vmId; task_index is 0",
        "shard_key": "tenantId and vmTypeId",
        "priority": "1 - priority, so that higher is more important",
        "slo_class": "0 for high priority, 2 for low priority",
        "cpu_cores, mem_gb": "smallest share of vmType over the machines that can hold it x 16 cores and x 32 GB",
        "duration_s": "(endtime - starttime) x 86,400; to day 90 if endtime is null (then duration_censored)",
        "outcome": "finished, or censored",
    },
    synthetic=(
        SyntheticColumn("cpu_core_s, mem_used_gb", "use is not recorded", "null"),
        SyntheticColumn("read_mb", "the trace has no bytes read", "null; the workload stage draws it"),
        SyntheticColumn("write_mb", "the trace has no bytes written", "null; the workload stage draws it"),
    ),
    derived={"slo_class": "from priority", "priority": "1 - published priority"},
    assumptions=(
        f"Shares are of a machine of {CORES_OF_LARGEST_MACHINE:g} cores and {MEMORY_GB_OF_LARGEST_MACHINE:g} GB: the "
        "trace does not publish sizes of machines. A type has a share for each physical machine that can hold it; the "
        "smallest is taken, that of the largest machine.",
    ),
    gotchas=(
        "**A negative starttime** means there before the trace: counted and left out.",
        "**endtime is null** for machines that outlive the trace.",
        "**A missing row of vmType** means that the type does not fit that machine; an empty share, that the resource "
        "does not limit it. Compatibility is not part of the task table.",
    ),
    empty="no machine is requested at or after day 0",
    download="curl -f -C - -O https://azurepublicdatasettraces.blob.core.windows.net/azurepublicdatasetv2/"
    "azurevmallocation_dataset2020/AzurePackingTraceV1.zip && unzip AzurePackingTraceV1.zip",
    summary="Requests for virtual machines in one zone, with what each takes of each type of physical machine.",
)
