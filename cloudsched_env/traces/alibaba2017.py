"""Alibaba cluster-trace-v2017: twelve hours of batch jobs and services on 1,300 machines (CSV without header)."""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, named
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["BATCH_INSTANCE", "BATCH_TASK", "CONTAINER_EVENT", "FORMAT", "REQUEST_UNIT", "SERVER_EVENT"]

MEMORY_GB_OF_MACHINE = 256.0
REQUEST_UNIT = RequestUnit(
    memory_gb=MEMORY_GB_OF_MACHINE,
    because="instances ask for half a core to a few: as fractions of a machine of 64 cores nearly all would be below "
    "the smallest request of a scenario, and equal",
)
_BEFORE = -(2**31)
_ARCHIVES = ("trace_201708", "trace_201708.tgz")
_JOB_STATUS = ("Ready", "Waiting", "Running", "Terminated", "Failed", "Cancelled")

BATCH_TASK = PublishedTable(
    "batch_task",
    (
        PublishedColumn("task create time", "integer", low=_BEFORE, meaning="seconds; 0 and less: before the trace"),
        PublishedColumn("task end time", "integer", low=_BEFORE, meaning="last change of status, seconds"),
        PublishedColumn("job id", "integer", meaning="job"),
        PublishedColumn("task id", "integer", high=2**31 - 1, meaning="task"),
        PublishedColumn("number of instances", "integer", high=2**31 - 1, meaning="copies of the program"),
        PublishedColumn("status", "string", choices=_JOB_STATUS, meaning="last status"),
        PublishedColumn("cpus requested", "float", nullable=True, meaning="of one instance, 100 = 1 core"),
        PublishedColumn("memory requested", "float", nullable=True, meaning="of one instance, fraction of a machine"),
    ),
    patterns=named("batch_task", archives=_ARCHIVES),
    header="optional",
    unique=("job", "task"),
    key_columns=("job id", "task id"),
    meaning="tasks of batch jobs; each has equal instances",
)
BATCH_INSTANCE = PublishedTable(
    "batch_instance",
    (
        PublishedColumn("start timestamp", "integer", nullable=True, low=_BEFORE, meaning="seconds"),
        PublishedColumn("end timestamp", "integer", nullable=True, low=_BEFORE, meaning="seconds"),
        PublishedColumn("job id", "integer", nullable=True, meaning="job"),
        PublishedColumn("task id", "integer", nullable=True, high=2**31 - 1, meaning="task"),
        PublishedColumn("machine id", "integer", nullable=True, meaning="machine it ran on"),
        PublishedColumn("status", "string", choices=(*_JOB_STATUS, "Interrupted"), meaning="last status"),
        PublishedColumn("sequence number", "integer", nullable=True, meaning="attempt"),
        PublishedColumn("total sequence number", "integer", nullable=True, meaning="attempts"),
        PublishedColumn("maximum real cpu number", "float", nullable=True, meaning="cores used, maximum"),
        PublishedColumn("average real cpu number", "float", nullable=True, meaning="cores used, mean"),
        PublishedColumn("maximum memory usage", "float", nullable=True, meaning="fraction of a machine"),
        PublishedColumn("average memory usage", "float", nullable=True, meaning="fraction of a machine"),
    ),
    patterns=named("batch_instance", archives=_ARCHIVES),
    required=False,
    header="optional",
    meaning="executions of instances, with what they used",
)
CONTAINER_EVENT = PublishedTable(
    "container_event",
    (
        PublishedColumn("timestamp", "integer", low=_BEFORE, meaning="seconds"),
        PublishedColumn("event type", "string", choices=("Create", "Remove"), meaning="what happened"),
        PublishedColumn("instance id", "integer", high=2**40 - 1, meaning="container of a service"),
        PublishedColumn("machine id", "integer", nullable=True, meaning="its machine"),
        PublishedColumn("cpus requested", "float", nullable=True, meaning="cores"),
        PublishedColumn("memory requested", "float", nullable=True, meaning="fraction of a machine"),
        PublishedColumn("disk requested", "float", nullable=True, meaning="fraction of a machine"),
        PublishedColumn("cpuset", "string", nullable=True, meaning="its cores, joined by |"),
    ),
    patterns=named("container_event", archives=_ARCHIVES),
    required=False,
    header="optional",
    meaning="services that come and go",
)
SERVER_EVENT = PublishedTable(
    "server_event",
    (
        PublishedColumn("timestamp", "integer", low=_BEFORE, meaning="seconds"),
        PublishedColumn("machine id", "integer", meaning="machine"),
        PublishedColumn("event type", "string", choices=("add", "softerror", "harderror"), meaning="what happened"),
        PublishedColumn("event detail", "string", nullable=True, meaning="kind of error"),
        PublishedColumn("number of cpus", "float", nullable=True, meaning="cores"),
        PublishedColumn("normalized memory", "float", nullable=True, meaning="fraction of a machine"),
        PublishedColumn("normalized disk", "float", nullable=True, meaning="fraction of a machine"),
    ),
    patterns=named("server_event", archives=_ARCHIVES),
    required=False,
    header="optional",
    meaning="machines that come or fail",
)

# What the instances of a task did, all together. Sums are of integers: their order must not matter.
_USED = """
CREATE TABLE used AS
SELECT job, task, min(start_s) AS start_s, max(end_s) AS end_s, count(*) AS executions,
       sum(round(cpu * (end_s - start_s) * 1e6)::BIGINT) / 1e6 AS cpu_core_s,
       sum(round(memory * (end_s - start_s) * 1e9)::BIGINT) / 1e9
           / nullif(sum(end_s - start_s) FILTER (memory IS NOT NULL), 0) AS memory
FROM batch_instance WHERE job IS NOT NULL AND task IS NOT NULL AND start_s > 0 AND end_s >= start_s
  AND in_share(job)
GROUP BY job, task
"""
_SPAN = """
CREATE TABLE span AS
SELECT min(t) FILTER (t > 0) AS start_s, max(t) AS end_s FROM (
    SELECT create_s AS t FROM batch_task UNION ALL SELECT end_s FROM batch_task
    UNION ALL SELECT end_s FROM batch_instance UNION ALL SELECT t FROM container_event)
"""
_CONTAINERS = """
CREATE TABLE containers AS
SELECT container, min(t) FILTER (event = 'Create') AS create_s, max(t) FILTER (event = 'Remove') AS remove_s,
       max(cpu) AS cpu, max(memory) AS memory
FROM container_event GROUP BY container
"""
_TABLE_SQL = f"""
SELECT b.create_s::DOUBLE AS arrival_s,
       b.job AS job,
       b.task AS task_index,
       2 AS slo_class,
       b.instances AS instances,
       b.cpu / 100 AS cpu_cores,
       b.memory * {MEMORY_GB_OF_MACHINE} AS mem_gb,
       CASE WHEN b.status IN ('Ready', 'Waiting') AND u.start_s IS NULL THEN NULL
            WHEN b.status = 'Running' THEN greatest(s.end_s - coalesce(u.start_s, b.create_s), 0)
            ELSE greatest(coalesce(u.end_s, b.end_s) - coalesce(u.start_s, b.create_s), 0) END::DOUBLE AS duration_s,
       b.status = 'Running' AS duration_censored,
       CASE b.status WHEN 'Terminated' THEN 'finished' WHEN 'Failed' THEN 'failed' WHEN 'Cancelled' THEN 'killed'
            WHEN 'Running' THEN 'censored' ELSE 'never_scheduled' END AS outcome,
       1 AS attempts,
       CASE WHEN u.start_s IS NOT NULL THEN greatest(u.start_s - b.create_s, 0) END::DOUBLE AS queue_s,
       u.cpu_core_s AS cpu_core_s,
       u.memory * {MEMORY_GB_OF_MACHINE} AS mem_used_gb
FROM batch_task b LEFT JOIN used u USING (job, task) CROSS JOIN span s WHERE b.create_s > 0
UNION ALL BY NAME
SELECT c.create_s::DOUBLE AS arrival_s, (1::BIGINT << 40) + c.container AS job, 0 AS task_index, 0 AS slo_class,
       1 AS instances, c.cpu AS cpu_cores, c.memory * {MEMORY_GB_OF_MACHINE} AS mem_gb,
       (coalesce(c.remove_s, s.end_s) - c.create_s)::DOUBLE AS duration_s, c.remove_s IS NULL AS duration_censored,
       CASE WHEN c.remove_s IS NULL THEN 'censored' ELSE 'finished' END AS outcome, 1 AS attempts
FROM containers c CROSS JOIN span s WHERE c.create_s > 0 AND coalesce(c.remove_s, s.end_s) >= c.create_s
"""

FORMAT = TraceFormat(
    name="alibaba2017",
    title="Alibaba cluster-trace-v2017",
    url="https://github.com/alibaba/clusterdata/blob/master/cluster-trace-v2017/trace_201708.md",
    licence="no formal licence; provided by the Alibaba Cluster Trace Program for research or study",
    citation="C. Lu, K. Ye, G. Xu, C.-Z. Xu, T. Bai. Imbalance in the cloud: an analysis on Alibaba cluster trace. "
    "IEEE Big Data 2017. Data: Alibaba Cluster Trace Program.",
    mapping_version=1,
    tables=(BATCH_TASK, BATCH_INSTANCE, CONTAINER_EVENT, SERVER_EVENT),
    keep={
        "batch_task": '"task create time" AS create_s, "task end time" AS end_s, "job id" AS job, '
        '"task id"::INTEGER AS task, "number of instances"::INTEGER AS instances, status, "cpus requested" AS cpu, '
        '"memory requested" AS memory',
        "batch_instance": '"start timestamp" AS start_s, "end timestamp" AS end_s, "job id" AS job, '
        '"task id"::INTEGER AS task, "average real cpu number" AS cpu, "average memory usage" AS memory',
        "container_event": '"timestamp" AS t, "event type" AS event, "instance id" AS container, '
        '"cpus requested" AS cpu, "memory requested" AS memory',
        "server_event": '"timestamp" AS t, "machine id" AS machine, "event type" AS event, "number of cpus" AS cpus, '
        '"normalized memory" AS memory',
    },
    steps=(("usage", _USED), ("covered time", _SPAN), ("services", _CONTAINERS)),
    table_sql=_TABLE_SQL,
    span_sql="SELECT start_s, end_s FROM span",
    row_counts={
        "batch_jobs": "SELECT count(DISTINCT job) FROM batch_task",
        "tasks_created_before_the_trace": "SELECT count(*) FROM batch_task WHERE create_s <= 0",
        "tasks_never_scheduled": "SELECT count(*) FROM batch_task WHERE create_s > 0 AND status IN ('Ready', "
        "'Waiting')",
        "tasks_without_request": "SELECT count(*) FROM batch_task WHERE cpu IS NULL",
        "tasks_that_end_before_they_begin": "SELECT count(*) FROM batch_task WHERE create_s > 0 AND end_s < create_s",
        "instances_without_job_or_task": "SELECT count(*) FROM batch_instance WHERE job IS NULL OR task IS NULL",
        "containers_present_at_time_0": "SELECT count(*) FROM containers WHERE coalesce(create_s, 0) <= 0",
        "machines": "SELECT count(DISTINCT machine) FROM server_event",
    },
    machine_sql=f"SELECT count(DISTINCT machine) AS n, cpus, memory * {MEMORY_GB_OF_MACHINE}, "
    "cpus / (SELECT max(cpus) FROM server_event), memory FROM server_event WHERE event = 'add' "
    "GROUP BY cpus, memory ORDER BY n DESC, cpus, memory",
    request_unit=REQUEST_UNIT,
    clock="seconds since the trace begins (twelve hours)",
    columns_from={
        "a row": "a task of a batch job (all its instances), or a container of a service, that begins after time 0",
        "arrival_s": "task create time; container: its Create event",
        "tenant, shard_key, priority": "null: not in the trace",
        "job": "job id; container: 2^40 + instance id",
        "task_index": "task id; container: 0",
        "slo_class": "2 for batch, 0 for services",
        "instances": "number of instances; requests are those of one",
        "cpu_cores": "cpus requested / 100 (batch), as is (container)",
        "mem_gb": "memory requested x 256 GB",
        "duration_s": "with batch_instance: first start to last end of the instances; without it: task create time to "
        "task end time, which includes the wait; container: Create to Remove",
        "outcome": "Terminated: finished, Failed: failed, Cancelled: killed, Running: censored, Ready and Waiting: "
        "never_scheduled",
        "queue_s": "batch_instance: task create time to the first start of an instance",
        "cpu_core_s": "batch_instance: sum over instances of average real cpu number x run time",
        "mem_used_gb": "batch_instance: average memory usage of an instance, weighted by run time, x 256 GB",
    },
    synthetic=(
        SyntheticColumn(
            "tenant", "the trace has no users", "null; the workload stage takes each job for a tenant of its own"
        ),
        SyntheticColumn("shard_key", "the trace has no names of programs", "null; a job is a name of its own"),
        SyntheticColumn("read_mb", "the trace has no bytes read", "null; the workload stage draws it"),
        SyntheticColumn("write_mb", "the trace has no bytes written", "null; the workload stage draws it"),
    ),
    derived={"slo_class": "2 for batch tasks, 0 for containers of services"},
    assumptions=(
        f"Memory is published as a fraction of a machine; one machine is taken as {MEMORY_GB_OF_MACHINE:g} GB "
        "(64 CPUs, 4 GB each).",
        "cpus requested of batch tasks is in 1/100 core: the schema does not say so, but its values are 40 to 800 and "
        "the trace of 2018 states the unit. real cpu numbers are cores.",
    ),
    gotchas=(
        "**Times of 0 and less** are before the trace; such tasks and containers are counted and left out.",
        "**A task is many instances**: a row stands for all of them (`instances`), because only batch_instance has "
        "times of its own for each.",
        "**Empty requests**: 11 % of the tasks (those that wait) have none although the schema says they must.",
        "**The end may be a second before the start**; the duration is then 0, and such tasks are counted.",
        "**Rows of batch_instance without job or task id** are counted and left out.",
        "**A header line**, which a copy on the web has, is passed over; the published files have none.",
    ),
    full_rows=80_553,
    download="curl -f -C - -O http://aliopentrace.oss-cn-beijing.aliyuncs.com/trace_201708.tgz   # see the page above",
    summary="80,553 tasks of 12,951 batch jobs, and 11,089 containers of services, on about 1,300 machines.",
)
