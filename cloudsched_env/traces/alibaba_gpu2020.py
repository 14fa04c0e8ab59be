"""Alibaba cluster-trace-gpu-v2020 (PAI): two months of machine learning jobs on 1,800 GPU machines (CSV, no header)."""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, named
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "GROUP_TAG", "INSTANCE", "JOB", "MACHINE_SPEC", "SENSOR", "TASK"]

_STATUS = ("Waiting", "Ready", "Running", "Terminated", "Failed", "Interrupted", "Cancelled")


def _string(name: str, *, nullable: bool = True) -> PublishedColumn:
    return PublishedColumn(name, "string", nullable=nullable)


def _float(name: str, meaning: str = "", *, low: float = 0) -> PublishedColumn:
    return PublishedColumn(name, "float", nullable=True, low=low, meaning=meaning)


_STATUS_COLUMN = PublishedColumn("status", "string", nullable=True, choices=_STATUS, meaning="last status")
_TIMES = (_float("start_time", "seconds", low=-(2**31)), _float("end_time", "seconds", low=-(2**31)))

TASK = PublishedTable(
    "pai_task_table",
    (
        _string("job_name", nullable=False),
        _string("task_name", nullable=False),
        _float("inst_num", "equal instances"),
        _STATUS_COLUMN,
        *_TIMES,
        _float("plan_cpu", "of one instance, 600 = 6 cores"),
        _float("plan_mem", "of one instance, GB"),
        _float("plan_gpu", "of one instance, 50 = half a GPU"),
        _string("gpu_type"),
    ),
    patterns=named("pai_task_table"),
    header="optional",
    unique=("job_name", "task_name"),
    meaning="roles of jobs: workers, parameter servers, ...",
)
JOB = PublishedTable(
    "pai_job_table",
    (_string("job_name", nullable=False), _string("inst_id"), _string("user"), _STATUS_COLUMN, *_TIMES),
    patterns=named("pai_job_table"),
    header="optional",
    unique=("job_name",),
    meaning="jobs with user and time of submission",
)
INSTANCE = PublishedTable(
    "pai_instance_table",
    (
        _string("job_name", nullable=False),
        _string("task_name", nullable=False),
        _string("inst_name"),
        _string("worker_name"),
        _string("inst_id"),
        _STATUS_COLUMN,
        *_TIMES,
        _string("machine"),
    ),
    patterns=named("pai_instance_table"),
    required=False,
    header="optional",
    meaning="executions of instances",
)
SENSOR = PublishedTable(
    "pai_sensor_table",
    (
        _string("job_name"),
        _string("task_name"),
        _string("worker_name"),
        _string("inst_id"),
        _string("machine"),
        _string("gpu_name"),
        _float("cpu_usage", "mean, 600 = 6 cores"),
        _float("gpu_wrk_util", "mean, 50 = half a GPU"),
        _float("avg_mem", "GB"),
        _float("max_mem", "GB"),
        _float("avg_gpu_wrk_mem", "GB"),
        _float("max_gpu_wrk_mem", "GB"),
        _float("read", "bytes of network input"),
        _float("write", "bytes of network output"),
        _float("read_count", "network reads"),
        _float("write_count", "network writes"),
    ),
    patterns=named("pai_sensor_table"),
    required=False,
    header="optional",
    meaning="what workers used",
)
GROUP_TAG = PublishedTable(
    "pai_group_tag_table",
    (
        _string("inst_id", nullable=False),
        _string("user"),
        _string("gpu_type_spec"),
        _string("group"),
        _string("workload"),
    ),
    patterns=named("pai_group_tag_table"),
    required=False,
    header="optional",
    meaning="which jobs are alike",
)
MACHINE_SPEC = PublishedTable(
    "pai_machine_spec",
    (
        _string("machine", nullable=False),
        _string("gpu_type"),
        _float("cap_cpu", "cores"),
        _float("cap_mem", "GB"),
        _float("cap_gpu", "GPUs"),
    ),
    patterns=named("pai_machine_spec"),
    required=False,
    header="optional",
    meaning="machines",
)

_JOBS = """
CREATE TABLE jobs AS
SELECT job_name, row_number() OVER (ORDER BY job_name) AS job, "user", submit_s, inst_id FROM (
    SELECT t.job_name, any_value(j."user") AS "user", any_value(j.start_s) AS submit_s, any_value(j.inst_id) AS inst_id
    FROM (SELECT DISTINCT job_name FROM pai_task_table) t LEFT JOIN pai_job_table j USING (job_name)
    GROUP BY t.job_name)
"""
_GROUPS = """
CREATE TABLE groups AS SELECT inst_id, min("group") AS name FROM pai_group_tag_table GROUP BY inst_id
"""
# Sums are of integers (microseconds of a core, thousandths of a GB s): their order must not matter.
_USED = """
CREATE TABLE used AS
SELECT i.job_name, i.task_name,
       sum(round(s.cpu / 100 * (i.end_s - i.start_s) * 1e6)::BIGINT) / 1e6 AS cpu_core_s,
       sum(round(s.memory * (i.end_s - i.start_s) * 1e3)::BIGINT) / 1e3
           / nullif(sum(round((i.end_s - i.start_s) * 1e3)::BIGINT) FILTER (s.memory IS NOT NULL) / 1e3, 0) AS memory
FROM pai_instance_table i JOIN (
    SELECT worker_name, max(cpu) AS cpu, max(memory) AS memory FROM pai_sensor_table GROUP BY worker_name
) s USING (worker_name)
WHERE i.start_s > 0 AND i.end_s >= i.start_s AND in_share(i.job_name) GROUP BY i.job_name, i.task_name
"""
_TASKS = """
CREATE TABLE tasks AS
SELECT t.*, j.job, j."user", g.name AS "group", u.cpu_core_s, u.memory AS memory_used,
       (row_number() OVER (PARTITION BY j.job ORDER BY t.task_name) - 1)::INTEGER AS task_index,
       coalesce(j.submit_s, t.start_s) AS submit_s
FROM pai_task_table t JOIN jobs j USING (job_name) LEFT JOIN groups g USING (inst_id)
LEFT JOIN used u USING (job_name, task_name)
WHERE in_share(j.job_name)
"""
_SPAN = """
CREATE TABLE span AS
SELECT min(t) FILTER (t > 0) AS start_s, max(t) AS end_s FROM (
    SELECT submit_s AS t FROM tasks UNION ALL SELECT start_s FROM tasks UNION ALL SELECT end_s FROM tasks)
"""
_TABLE_SQL = """
SELECT submit_s AS arrival_s,
       "user" AS tenant,
       job,
       task_index,
       "group" AS shard_key,
       2 AS slo_class,
       greatest(coalesce(instances, 1), 1)::INTEGER AS instances,
       cpu / 100 AS cpu_cores,
       mem AS mem_gb,
       gpu / 100 AS gpus,
       CASE WHEN t.start_s IS NULL OR t.start_s <= 0 THEN NULL
            WHEN status IN ('Running', 'Waiting', 'Ready') OR coalesce(t.end_s, 0) < t.start_s
                THEN greatest(s.end_s - t.start_s, 0)
            ELSE t.end_s - t.start_s END AS duration_s,
       coalesce(t.start_s, 0) > 0 AND (status IN ('Running', 'Waiting', 'Ready') OR coalesce(t.end_s, 0) < t.start_s)
           AS duration_censored,
       CASE WHEN coalesce(t.start_s, 0) <= 0 THEN 'never_scheduled'
            WHEN status IN ('Running', 'Waiting', 'Ready') OR coalesce(t.end_s, 0) < t.start_s THEN 'censored'
            WHEN status = 'Failed' THEN 'failed' WHEN status = 'Interrupted' THEN 'evicted'
            WHEN status = 'Cancelled' THEN 'killed' ELSE 'finished' END AS outcome,
       1 AS attempts,
       CASE WHEN t.start_s > 0 THEN greatest(t.start_s - submit_s, 0) END AS queue_s,
       cpu_core_s,
       memory_used AS mem_used_gb
FROM tasks t CROSS JOIN span s WHERE submit_s > 0
"""

FORMAT = TraceFormat(
    name="alibaba-gpu2020",
    title="Alibaba cluster-trace-gpu-v2020 (PAI)",
    url="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-gpu-v2020",
    licence="no formal licence for the data; provided by the Alibaba Cluster Trace Program for research or study",
    citation="Q. Weng, W. Xiao, Y. Yu, W. Wang, C. Wang, J. He, Y. Li, L. Zhang, W. Lin, Y. Ding. MLaaS in the wild: "
    "workload analysis and scheduling in large-scale heterogeneous GPU clusters. NSDI 2022.",
    mapping_version=1,
    tables=(TASK, JOB, INSTANCE, SENSOR, GROUP_TAG, MACHINE_SPEC),
    keep={
        "pai_task_table": "job_name, task_name, inst_num AS instances, status, start_time AS start_s, "
        "end_time AS end_s, plan_cpu AS cpu, plan_mem AS mem, plan_gpu AS gpu",
        "pai_job_table": 'job_name, inst_id, "user", start_time AS start_s',
        "pai_instance_table": "job_name, task_name, worker_name, start_time AS start_s, end_time AS end_s",
        "pai_sensor_table": "worker_name, cpu_usage AS cpu, avg_mem AS memory",
        "pai_group_tag_table": 'inst_id, "group"',
        "pai_machine_spec": "machine, cap_cpu, cap_mem, cap_gpu",
    },
    steps=(("jobs", _JOBS), ("groups", _GROUPS), ("usage", _USED), ("tasks", _TASKS), ("covered time", _SPAN)),
    table_sql=_TABLE_SQL,
    span_sql="SELECT start_s, end_s FROM span",
    row_counts={
        "jobs": "SELECT count(*) FROM jobs",
        "users": 'SELECT count(DISTINCT "user") FROM jobs',
        "tasks_without_job": 'SELECT count(*) FROM tasks WHERE "user" IS NULL',
        "tasks_without_time": "SELECT count(*) FROM tasks WHERE coalesce(submit_s, 0) <= 0",
        "tasks_without_gpu": "SELECT count(*) FROM tasks WHERE coalesce(gpu, 0) = 0",
        "machines": "SELECT count(DISTINCT machine) FROM pai_machine_spec",
    },
    machine_sql="SELECT count(*) AS n, cap_cpu, cap_mem, cap_cpu / (SELECT max(cap_cpu) FROM pai_machine_spec), "
    "cap_mem / (SELECT max(cap_mem) FROM pai_machine_spec) FROM pai_machine_spec "
    "GROUP BY cap_cpu, cap_mem ORDER BY n DESC, cap_cpu, cap_mem",
    request_unit=RequestUnit(96, 512, "the largest machines have 96 cores and 512 GB; tasks ask for several cores"),
    clock="seconds; shifted by the publisher, with the true time of day and weekday (UTC+8)",
    columns_from={
        "a row": "a task (role) of a job, all its instances",
        "arrival_s": "start_time of the job, which is its submission; of the task if the job has none",
        "tenant": "user of pai_job_table",
        "job": "jobs numbered in the order of their names from 1",
        "task_index": "tasks of a job numbered in the order of their names from 0",
        "shard_key": "group of pai_group_tag_table: jobs of a group run the same program",
        "slo_class": "2: training and inference jobs of a batch system",
        "instances": "inst_num; requests are those of one",
        "cpu_cores, mem_gb, gpus": "plan_cpu / 100, plan_mem, plan_gpu / 100",
        "duration_s": "start_time to end_time of the task; to the end of the files if it has no end",
        "outcome": "Terminated: finished, Failed: failed, Interrupted: evicted; without start: never_scheduled; "
        "without end: censored",
        "queue_s": "start_time of the job to start_time of the task",
        "cpu_core_s, mem_used_gb": "pai_sensor_table with pai_instance_table: cpu_usage / 100 and avg_mem of each "
        "worker, times and weighted by its run time",
    },
    synthetic=(
        SyntheticColumn("read_mb", "the sensors count network bytes, not storage", "null; the workload stage draws it"),
        SyntheticColumn(
            "write_mb", "the sensors count network bytes, not storage", "null; the workload stage draws it"
        ),
    ),
    derived={"slo_class": "2 for all"},
    assumptions=("instances is the number of instances that the task plans; it may have run fewer.",),
    gotchas=(
        "**Times are floats**, shifted by a constant. Missing ones are empty.",
        "**read and write of the sensors** are network input and output of a worker; they do not become read_mb.",
        "**A job in the table of jobs may have no task**, and some tasks no job: counted.",
        "**Header files** (`.header`) lie beside the archives; a CSV with its header put in front is read as well.",
    ),
    download="base=https://aliopentrace.oss-cn-beijing.aliyuncs.com/v2020GPUTraces\n"
    "for name in pai_task_table pai_job_table pai_instance_table pai_sensor_table pai_group_tag_table "
    "pai_machine_spec; do\n  curl -f -C - -O $base/$name.tar.gz\ndone   # sha256 sums are on the page above",
    summary="About 1.2 million tasks of 1.1 million machine learning jobs of 1,242 users over two months of 2020.",
)
