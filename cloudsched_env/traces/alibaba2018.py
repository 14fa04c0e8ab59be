"""Alibaba cluster-trace-v2018: eight days of batch jobs with their DAGs, and services (CSV without header)."""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, named
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["BATCH_INSTANCE", "BATCH_TASK", "CONTAINER_META", "FORMAT", "MACHINE_META", "REQUEST_UNIT"]

MEMORY_GB_OF_MACHINE = 384.0
REQUEST_UNIT = RequestUnit(
    memory_gb=MEMORY_GB_OF_MACHINE,
    because="instances ask for half a core or one: as fractions of a machine of 96 cores all would be below the "
    "smallest request of a scenario, and equal",
)
_ARCHIVES = ("trace_2018", "alibaba_clusterdata_v2018")
_STATUS = ("Ready", "Waiting", "Running", "Terminated", "Failed", "Cancelled", "Interrupted")
_DAG_NAME = "^[A-Za-z]+([0-9]+)((?:_[0-9]+)*)(?:_[A-Za-z][A-Za-z0-9]*)?$"


def _string(name: str, meaning: str) -> PublishedColumn:
    return PublishedColumn(name, "string", meaning=meaning)


def _seconds(name: str, meaning: str) -> PublishedColumn:
    return PublishedColumn(name, "integer", nullable=True, low=-(2**31), meaning=meaning)


BATCH_TASK = PublishedTable(
    "batch_task",
    (
        _string("task_name", "unique within a job; tells the DAG"),
        PublishedColumn("instance_num", "integer", nullable=True, high=2**31 - 1, meaning="equal instances"),
        _string("job_name", "job"),
        PublishedColumn("task_type", "string", nullable=True, meaning="one of 12 types"),
        PublishedColumn("status", "string", choices=_STATUS, meaning="last status"),
        _seconds("start_time", "seconds"),
        _seconds("end_time", "seconds; 0 if it did not end"),
        PublishedColumn("plan_cpu", "float", nullable=True, meaning="of one instance, 100 = 1 core"),
        PublishedColumn("plan_mem", "float", nullable=True, meaning="of one instance, percent of a machine"),
    ),
    patterns=named("batch_task", archives=_ARCHIVES),
    header="optional",
    unique=("job_name", "task_name"),
    meaning="tasks of batch jobs",
)
BATCH_INSTANCE = PublishedTable(
    "batch_instance",
    (
        PublishedColumn("instance_name", "string", nullable=True, meaning="instance"),
        _string("task_name", "its task"),
        _string("job_name", "its job"),
        PublishedColumn("task_type", "string", nullable=True, meaning="one of 12 types"),
        PublishedColumn("status", "string", choices=_STATUS, meaning="last status"),
        _seconds("start_time", "seconds"),
        _seconds("end_time", "seconds"),
        PublishedColumn("machine_id", "string", nullable=True, meaning="machine it ran on"),
        PublishedColumn("seq_no", "integer", nullable=True, meaning="attempt"),
        PublishedColumn("total_seq_no", "integer", nullable=True, meaning="attempts"),
        PublishedColumn("cpu_avg", "float", nullable=True, meaning="mean CPU used, 100 = 1 core"),
        PublishedColumn("cpu_max", "float", nullable=True, meaning="maximum CPU used, 100 = 1 core"),
        PublishedColumn("mem_avg", "float", nullable=True, meaning="mean memory, percent of a machine"),
        PublishedColumn("mem_max", "float", nullable=True, meaning="maximum memory, percent of a machine"),
    ),
    patterns=named("batch_instance", archives=_ARCHIVES),
    required=False,
    header="optional",
    meaning="executions of instances, with what they used",
)
CONTAINER_META = PublishedTable(
    "container_meta",
    (
        _string("container_id", "container of a service"),
        _string("machine_id", "its machine"),
        PublishedColumn("time_stamp", "integer", low=-(2**31), meaning="seconds"),
        PublishedColumn("app_du", "string", nullable=True, meaning="service"),
        PublishedColumn("status", "string", nullable=True, meaning="status at that time"),
        PublishedColumn("cpu_request", "float", nullable=True, meaning="100 = 1 core"),
        PublishedColumn("cpu_limit", "float", nullable=True, meaning="100 = 1 core"),
        PublishedColumn("mem_size", "float", nullable=True, meaning="percent of a machine"),
    ),
    patterns=named("container_meta", archives=_ARCHIVES),
    required=False,
    header="optional",
    meaning="services: what they ask for, at each change",
)
MACHINE_META = PublishedTable(
    "machine_meta",
    (
        _string("machine_id", "machine"),
        PublishedColumn("time_stamp", "integer", low=-(2**31), meaning="seconds"),
        PublishedColumn("failure_domain_1", "integer", nullable=True, meaning="rack or the like"),
        PublishedColumn("failure_domain_2", "string", nullable=True, meaning="a larger domain"),
        PublishedColumn("cpu_num", "integer", nullable=True, meaning="cores"),
        PublishedColumn("mem_size", "float", nullable=True, meaning="percent of a machine"),
        PublishedColumn("status", "string", nullable=True, meaning="status at that time"),
    ),
    patterns=named("machine_meta", archives=_ARCHIVES),
    required=False,
    header="optional",
    meaning="machines, at each change",
)

# Names are numbered in their order, so that numbers depend on nothing but the files.
_JOBS = """
CREATE TABLE jobs AS
SELECT job_name, row_number() OVER (ORDER BY job_name) AS job FROM (SELECT DISTINCT job_name FROM batch_task)
"""
_TASKS = f"""
CREATE TABLE tasks AS
SELECT t.*, j.job, (row_number() OVER (PARTITION BY j.job ORDER BY t.task_name) - 1)::INTEGER AS task_index,
       TRY_CAST(nullif(regexp_extract(t.task_name, '{_DAG_NAME}', 1), '') AS BIGINT) AS number,
       nullif(regexp_extract(t.task_name, '{_DAG_NAME}', 2), '') AS waits_for
FROM batch_task t JOIN jobs j USING (job_name) WHERE in_share(t.job_name) AND in_share(j.job_name)
"""
_EDGES = """
CREATE TABLE edges AS
SELECT c.job, c.task_index, p.task_index AS parent FROM (
    SELECT DISTINCT job, task_index, TRY_CAST(unnest(string_split(trim(waits_for, '_'), '_')) AS BIGINT) AS number
    FROM tasks WHERE waits_for IS NOT NULL AND in_share(job)) c
LEFT JOIN (
    SELECT job, number, min(task_index) AS task_index FROM tasks WHERE number IS NOT NULL AND in_share(job)
    GROUP BY job, number) p
    ON p.job = c.job AND p.number = c.number AND p.task_index <> c.task_index
"""
_PARENTS = """
CREATE TABLE parents AS
SELECT job, task_index, string_agg(parent::VARCHAR, ',' ORDER BY parent) AS parents FROM edges
WHERE parent IS NOT NULL AND in_share(job) GROUP BY job, task_index
"""
_USED = """
CREATE TABLE used AS
SELECT job_name, task_name, min(start_s) AS start_s, max(end_s) AS end_s,
       sum(round(cpu * (end_s - start_s) * 1e4)::BIGINT) / 1e6 AS cpu_core_s,
       sum(round(memory * (end_s - start_s) * 1e9)::BIGINT) / 1e9
           / nullif(sum(end_s - start_s) FILTER (memory IS NOT NULL), 0) AS memory
FROM batch_instance WHERE start_s > 0 AND end_s >= start_s AND in_share(job_name)
GROUP BY job_name, task_name
"""
_SPAN = """
CREATE TABLE span AS
SELECT min(t) FILTER (t > 0) AS start_s, max(t) AS end_s FROM (
    SELECT start_s AS t FROM batch_task UNION ALL SELECT end_s FROM batch_task
    UNION ALL SELECT end_s FROM batch_instance UNION ALL SELECT t FROM container_meta)
"""
_CONTAINERS = """
CREATE TABLE containers AS
SELECT container_id, min(t) AS start_s, min(app_du) AS app_du,
       max(cpu) FILTER (t = first_t) AS cpu, max(memory) FILTER (t = first_t) AS memory,
       row_number() OVER (ORDER BY container_id) AS number
FROM (SELECT *, min(t) OVER (PARTITION BY container_id) AS first_t FROM container_meta) GROUP BY container_id
"""
_TABLE_SQL = f"""
SELECT t.start_s::DOUBLE AS arrival_s,
       t.job AS job,
       t.task_index AS task_index,
       2 AS slo_class,
       coalesce(t.instances, 1) AS instances,
       coalesce(p.parents, '') AS parents,
       t.cpu / 100 AS cpu_cores,
       t.memory / 100 * {MEMORY_GB_OF_MACHINE} AS mem_gb,
       CASE WHEN t.status IN ('Ready', 'Waiting') THEN NULL
            WHEN t.status = 'Running' OR coalesce(t.end_s, 0) < t.start_s
                THEN greatest(s.end_s - coalesce(u.start_s, t.start_s), 0)
            ELSE greatest(coalesce(u.end_s, t.end_s) - coalesce(u.start_s, t.start_s), 0) END::DOUBLE AS duration_s,
       t.status NOT IN ('Ready', 'Waiting') AND (t.status = 'Running' OR coalesce(t.end_s, 0) < t.start_s)
           AS duration_censored,
       CASE WHEN t.status IN ('Ready', 'Waiting') THEN 'never_scheduled'
            WHEN t.status = 'Running' OR coalesce(t.end_s, 0) < t.start_s THEN 'censored'
            WHEN t.status = 'Terminated' THEN 'finished' WHEN t.status = 'Failed' THEN 'failed'
            WHEN t.status = 'Cancelled' THEN 'killed' ELSE 'evicted' END AS outcome,
       1 AS attempts,
       u.cpu_core_s AS cpu_core_s,
       u.memory / 100 * {MEMORY_GB_OF_MACHINE} AS mem_used_gb
FROM tasks t LEFT JOIN parents p USING (job, task_index) LEFT JOIN used u USING (job_name, task_name) CROSS JOIN span s
WHERE t.start_s > 0
UNION ALL BY NAME
SELECT c.start_s::DOUBLE AS arrival_s, c.app_du AS tenant, (1::BIGINT << 40) + c.number AS job, 0 AS task_index,
       c.app_du AS shard_key, 0 AS slo_class, 1 AS instances, c.cpu / 100 AS cpu_cores,
       c.memory / 100 * {MEMORY_GB_OF_MACHINE} AS mem_gb, (s.end_s - c.start_s)::DOUBLE AS duration_s,
       true AS duration_censored, 'censored' AS outcome, 1 AS attempts
FROM containers c CROSS JOIN span s WHERE c.start_s > 0
"""

FORMAT = TraceFormat(
    name="alibaba2018",
    title="Alibaba cluster-trace-v2018",
    url="https://github.com/alibaba/clusterdata/blob/master/cluster-trace-v2018/trace_2018.md",
    licence="no formal licence; provided by the Alibaba Cluster Trace Program for research or study",
    citation="J. Guo, Z. Chang, S. Wang, H. Ding, Y. Feng, L. Mao, Y. Bao. Who limits the resource efficiency of my "
    "datacenter: an analysis of Alibaba datacenter traces. IWQoS 2019. Data: Alibaba Cluster Trace Program.",
    mapping_version=1,
    tables=(BATCH_TASK, BATCH_INSTANCE, CONTAINER_META, MACHINE_META),
    keep={
        "batch_task": "task_name, instance_num::INTEGER AS instances, job_name, status, start_time AS start_s, "
        "end_time AS end_s, plan_cpu AS cpu, plan_mem AS memory",
        "batch_instance": "task_name, job_name, start_time AS start_s, end_time AS end_s, cpu_avg AS cpu, "
        "mem_avg AS memory",
        "container_meta": "container_id, time_stamp AS t, app_du, cpu_request AS cpu, mem_size AS memory",
        "machine_meta": "machine_id, time_stamp AS t, cpu_num AS cpus, mem_size AS memory",
    },
    steps=(
        ("jobs", _JOBS),
        ("tasks", _TASKS),
        ("edges of DAGs", _EDGES),
        ("parents", _PARENTS),
        ("usage", _USED),
        ("covered time", _SPAN),
        ("services", _CONTAINERS),
    ),
    table_sql=_TABLE_SQL,
    span_sql="SELECT start_s, end_s FROM span",
    row_counts={
        "batch_jobs": "SELECT count(*) FROM jobs",
        "tasks_with_dag_name": "SELECT count(*) FROM tasks WHERE number IS NOT NULL",
        "jobs_with_edges": "SELECT count(DISTINCT job) FROM edges",
        "edges": "SELECT count(*) FROM edges WHERE parent IS NOT NULL",
        "edges_to_tasks_that_are_not_there": "SELECT count(*) FROM edges WHERE parent IS NULL",
        "tasks_without_start": "SELECT count(*) FROM tasks WHERE coalesce(start_s, 0) <= 0",
        "tasks_without_end": "SELECT count(*) FROM tasks WHERE start_s > 0 AND coalesce(end_s, 0) < start_s",
        "tasks_without_request": "SELECT count(*) FROM tasks WHERE cpu IS NULL",
        "containers_present_at_time_0": "SELECT count(*) FROM containers WHERE start_s <= 0",
        "machines": "SELECT count(DISTINCT machine_id) FROM machine_meta",
    },
    machine_sql="SELECT count(*) AS n, cpus, memory / 100 * "
    f"{MEMORY_GB_OF_MACHINE}, cpus / (SELECT max(cpus) FROM machine_meta), memory / 100 FROM ("
    "SELECT machine_id, max(cpus) AS cpus, max(memory) AS memory FROM machine_meta GROUP BY machine_id) "
    "GROUP BY cpus, memory ORDER BY n DESC, cpus, memory",
    request_unit=REQUEST_UNIT,
    clock="seconds since the trace begins (eight days)",
    columns_from={
        "a row": "a task of a batch job (all its instances), or a container of a service, that begins after time 0",
        "arrival_s": "start_time: the trace has no time of submission; container: its first time_stamp",
        "tenant, shard_key": "null for batch; container: app_du",
        "job": "jobs numbered in the order of their names from 1; container: 2^40 + its number in the order of ids",
        "task_index": "tasks of a job numbered in the order of their names from 0",
        "parents": "numbers after the own one in task_name (R4_2 waits for task 2 of its job), as task_index; empty "
        "for tasks that wait for none, null for containers",
        "slo_class": "2 for batch, 0 for services",
        "instances": "instance_num; requests are those of one",
        "cpu_cores": "plan_cpu / 100; container: cpu_request / 100",
        "mem_gb": "plan_mem / 100 x 384 GB; container: mem_size / 100 x 384 GB",
        "duration_s": "with batch_instance: first start to last end of the instances; without it: start_time to "
        "end_time; to the end of the files if there is no end (then duration_censored)",
        "outcome": "Terminated: finished, Failed: failed, Cancelled: killed, Interrupted: evicted, Ready and Waiting: "
        "never_scheduled, Running or without end: censored",
        "cpu_core_s": "batch_instance: sum over instances of cpu_avg / 100 x run time",
        "mem_used_gb": "batch_instance: mem_avg of an instance, weighted by run time, / 100 x 384 GB",
    },
    synthetic=(
        SyntheticColumn(
            "tenant", "batch jobs have no users", "null; the workload stage takes each job for a tenant of its own"
        ),
        SyntheticColumn("queue_s", "the trace has no time of submission", "null"),
        SyntheticColumn("read_mb", "the trace has no bytes read", "null; the workload stage draws it"),
        SyntheticColumn("write_mb", "the trace has no bytes written", "null; the workload stage draws it"),
    ),
    derived={"slo_class": "2 for batch tasks, 0 for containers of services", "parents": "from task_name"},
    assumptions=(
        f"Memory is published as percent of a machine; one machine is taken as {MEMORY_GB_OF_MACHINE:g} GB "
        "(96 cores, 4 GB each).",
    ),
    gotchas=(
        "**Only the numbers in a task name count**: `M5_3_4` waits for 3 and 4. Names such as `task_<base64>` and "
        "`MergeTask` are tasks that wait for none. An edge to a number that the job does not have is counted and left "
        "out.",
        "**No time of submission**: arrivals are starts, so queueing in the traced cluster cannot be seen, and a task "
        "arrives when its parents are done.",
        "**end_time is 0 or before the start** for tasks that did not end; their duration is censored.",
        "**batch_instance has 1.35 G rows** (20 GB packed): it may be left out; then there is no usage.",
        "**The usage tables** (machine_usage, container_usage) are ordered by machine, mostly empty in mem_gps and "
        "mkpi, and hold -1 and 101 for invalid disk I/O. They are not read.",
        "**Containers at time 0** were there before; they are counted and left out.",
    ),
    full_rows=14_295_731,
    download="for name in machine_meta container_meta batch_task; do   # batch_instance: 20 GB\n"
    "  curl -f -C - -O http://aliopentrace.oss-cn-beijing.aliyuncs.com/v2018Traces/$name.tar.gz\n"
    "done   # trace_2018.md has the sha256 of each",
    summary="About 14 million tasks of 4 million batch jobs and 71,000 containers on 4,034 machines of 96 cores.",
)
