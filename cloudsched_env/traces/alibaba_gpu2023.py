"""Alibaba cluster-trace-gpu-v2023 (openb): pods that share GPUs (CSV with header)."""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "NODES", "PODS"]

_GB = 1.048576e-3  # MiB to 10^9 bytes

PODS = PublishedTable(
    "openb_pod_list",
    (
        PublishedColumn("name", "string", meaning="pod"),
        PublishedColumn("cpu_milli", "integer", meaning="requested CPU, 1,000 = 1 core"),
        PublishedColumn("memory_mib", "integer", meaning="requested memory, MiB"),
        PublishedColumn("num_gpu", "integer", high=64, meaning="GPUs it runs on"),
        PublishedColumn("gpu_milli", "integer", high=1000, meaning="share of each, 1,000 = a whole one"),
        PublishedColumn("gpu_spec", "string", nullable=True, meaning="models it accepts, joined by |"),
        PublishedColumn(
            "qos",
            "string",
            nullable=True,
            choices=("LS", "BE", "Burstable", "Guaranteed"),
            meaning="latency sensitive, best effort, or a class of Kubernetes",
        ),
        PublishedColumn(
            "pod_phase",
            "string",
            choices=("Running", "Succeeded", "Failed", "Pending", "Unknown"),
            meaning="last phase",
        ),
        PublishedColumn("creation_time", "integer", meaning="seconds"),
        PublishedColumn("deletion_time", "integer", nullable=True, meaning="seconds"),
        PublishedColumn("scheduled_time", "float", nullable=True, meaning="seconds; empty: never"),
    ),
    patterns=(
        FilePattern("openb_pod_list_default.csv", r"(?:.*/)?openb_pod_list_default\.csv(?:\.gz)?"),
        FilePattern(
            "any one openb_pod_list_*.csv, given as a file",
            r"(?:.*/)?openb_pod_list_[a-z0-9]+\.csv(?:\.gz)?",
            alone=True,
        ),
    ),
    header="required",
    unique=("name",),
    meaning="one row a pod",
)
NODES = PublishedTable(
    "openb_node_list",
    (
        PublishedColumn("sn", "string", meaning="node"),
        PublishedColumn("cpu_milli", "integer", meaning="1,000 = 1 core"),
        PublishedColumn("memory_mib", "integer", meaning="MiB"),
        PublishedColumn("gpu", "integer", high=64, meaning="GPUs"),
        PublishedColumn("model", "string", nullable=True, meaning="model of its GPUs"),
    ),
    patterns=(FilePattern("openb_node_list_all_node.csv", r"(?:.*/)?openb_node_list_all_node\.csv(?:\.gz)?"),),
    required=False,
    header="required",
    meaning="nodes",
)

_TABLE_SQL = f"""
SELECT create_s::DOUBLE AS arrival_s,
       job,
       0 AS task_index,
       CASE qos WHEN 'LS' THEN 0 WHEN 'Guaranteed' THEN 0 WHEN 'BE' THEN 2 ELSE 1 END AS slo_class,
       1 AS instances,
       cpu_milli / 1e3 AS cpu_cores,
       memory_mib * {_GB} AS mem_gb,
       num_gpu * gpu_milli / 1e3 AS gpus,
       CASE WHEN p.start_s IS NOT NULL THEN greatest(coalesce(delete_s, s.end_s) - p.start_s, 0) END::DOUBLE
           AS duration_s,
       p.start_s IS NOT NULL AND delete_s IS NULL AS duration_censored,
       CASE WHEN p.start_s IS NULL THEN 'never_scheduled' WHEN delete_s IS NULL THEN 'censored'
            WHEN phase = 'Succeeded' THEN 'finished' WHEN phase = 'Failed' THEN 'failed' ELSE 'killed' END AS outcome,
       1 AS attempts,
       CASE WHEN p.start_s IS NOT NULL THEN greatest(p.start_s - create_s, 0) END::DOUBLE AS queue_s
FROM pods p CROSS JOIN span s
"""

FORMAT = TraceFormat(
    name="alibaba-gpu2023",
    title="Alibaba cluster-trace-gpu-v2023 (openb)",
    url="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-gpu-v2023",
    licence="no formal licence for the data; provided by the Alibaba Cluster Trace Program for research or study",
    citation="Q. Weng, L. Yang, Y. Yu, W. Wang, X. Tang, G. Yang, L. Zhang. Beware of fragmentation: scheduling "
    "GPU-sharing workloads with fragmentation gradient descent. USENIX ATC 2023.",
    mapping_version=1,
    tables=(PODS, NODES),
    keep={
        "openb_pod_list": "name, cpu_milli, memory_mib, num_gpu, gpu_milli, qos, pod_phase AS phase, "
        "creation_time AS create_s, deletion_time AS delete_s, scheduled_time AS start_s",
        "openb_node_list": "sn, cpu_milli, memory_mib, gpu",
    },
    steps=(
        (
            "pods",
            "CREATE TABLE pods AS SELECT *, row_number() OVER (ORDER BY create_s, name) AS job FROM openb_pod_list",
        ),
        (
            "covered time",
            "CREATE TABLE span AS SELECT min(create_s) AS start_s, "
            "greatest(max(create_s), max(coalesce(delete_s, 0)), max(coalesce(start_s, 0))) AS end_s FROM "
            "openb_pod_list",
        ),
    ),
    table_sql=_TABLE_SQL,
    span_sql="SELECT start_s, end_s FROM span",
    row_counts={
        "pods_without_gpu": "SELECT count(*) FROM pods WHERE num_gpu = 0",
        "pods_that_share_a_gpu": "SELECT count(*) FROM pods WHERE num_gpu > 0 AND gpu_milli < 1000",
        "pods_never_scheduled": "SELECT count(*) FROM pods WHERE start_s IS NULL",
        "nodes": "SELECT count(*) FROM openb_node_list",
    },
    machine_sql=f"SELECT count(*) AS n, cpu_milli / 1e3, memory_mib * {_GB}, "
    "cpu_milli / (SELECT max(cpu_milli) FROM openb_node_list), "
    "memory_mib / (SELECT max(memory_mib) FROM openb_node_list) FROM openb_node_list "
    "GROUP BY cpu_milli, memory_mib ORDER BY n DESC, cpu_milli, memory_mib",
    request_unit=RequestUnit(128, 824.6, "the largest nodes have 128 cores and 768 GiB; pods ask for several cores"),
    clock="seconds since the trace begins",
    columns_from={
        "a row": "a pod",
        "arrival_s": "creation_time",
        "tenant, shard_key, priority": "null: not in the trace",
        "job": "pods numbered by creation, then by name, from 1; task_index is 0",
        "slo_class": "0 LS and Guaranteed, 2 BE, 1 Burstable and unknown",
        "cpu_cores": "cpu_milli / 1,000",
        "mem_gb": "memory_mib x 2^20 / 10^9",
        "gpus": "num_gpu x gpu_milli / 1,000",
        "duration_s": "scheduled_time to deletion_time",
        "outcome": "Succeeded: finished, Failed: failed; deleted in another phase: killed; never_scheduled; censored",
        "queue_s": "creation_time to scheduled_time",
    },
    synthetic=(
        SyntheticColumn(
            "tenant", "the trace has no users", "null; the workload stage takes each job for a tenant of its own"
        ),
        SyntheticColumn("cpu_core_s, mem_used_gb", "use is not recorded", "null"),
        SyntheticColumn("read_mb", "the trace has no bytes read", "null; the workload stage draws it"),
        SyntheticColumn("write_mb", "the trace has no bytes written", "null; the workload stage draws it"),
    ),
    derived={"slo_class": "from qos"},
    gotchas=(
        "**Variants**: the folder has 23 lists of pods, which are the default one with other shares of some kind of "
        "pod. A folder is read as its default list; give another list as a file.",
        "**Pods in phase Running have a deletion_time**: they were deleted while they ran.",
        "**gpu_milli is the share of each of num_gpu GPUs**.",
    ),
    full_rows=8_152,
    download="base=https://raw.githubusercontent.com/alibaba/clusterdata/master/cluster-trace-gpu-v2023/csv\n"
    "curl -f -O $base/openb_pod_list_default.csv -O $base/openb_node_list_all_node.csv",
    summary="8,152 pods on 1,523 nodes with 6,212 GPUs.",
)
