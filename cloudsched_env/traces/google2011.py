"""Google clusterdata-2011-2: a month of one Borg cell, as published (``csv.gz`` parts without header).

Format: C. Reiss, J. Wilkes, J. L. Hellerstein, "Google cluster-usage traces: format + schema" (2011, v2.1).
`docs/traces/google2011.md` tells the mapping column by column; the numbers below are those of that document.
"""

from __future__ import annotations

import os
from typing import Any

from cloudsched_env.scenario import WorkloadConfig
from cloudsched_env.traces.metadata import SyntheticColumn, TraceMetadata
from cloudsched_env.traces.published import INT64_MAX, PublishedColumn, PublishedTable, numbered
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["CORES_OF_LARGEST_MACHINE", "FORMAT", "MEMORY_GB_OF_LARGEST_MACHINE", "TABLES", "import_google2011"]

CORES_OF_LARGEST_MACHINE = WorkloadConfig().cores_of_largest_machine
MEMORY_GB_OF_LARGEST_MACHINE = 32.0
AFTER_THE_WINDOW = INT64_MAX

_TIME = PublishedColumn("timestamp", "integer")
_MISSING = PublishedColumn("missing info", "integer", nullable=True, high=2)
_JOB = PublishedColumn("job ID", "integer")
_USER = PublishedColumn("user name", "string", nullable=True)
_CLASS = PublishedColumn("scheduling class", "integer", nullable=True, high=3)
_EVENT = PublishedColumn("event type", "integer", high=8)

TASK_EVENTS = PublishedTable(
    "task_events",
    (
        _TIME,
        _MISSING,
        _JOB,
        PublishedColumn("task index", "integer", high=2**31 - 1),
        PublishedColumn("machine ID", "integer", nullable=True),
        _EVENT,
        _USER,
        _CLASS,
        PublishedColumn("priority", "integer", high=12),
        PublishedColumn("CPU request", "float", nullable=True),
        PublishedColumn("memory request", "float", nullable=True),
        PublishedColumn("disk space request", "float", nullable=True),
        PublishedColumn("different machines restriction", "integer", nullable=True, high=1),
    ),
    500,
    (numbered("task_events", 500),),
    consecutive=True,
    meaning="submissions, starts and ends of tasks",
)
JOB_EVENTS = PublishedTable(
    "job_events",
    (
        _TIME,
        _MISSING,
        _JOB,
        _EVENT,
        _USER,
        _CLASS,
        PublishedColumn("job name", "string", nullable=True),
        PublishedColumn("logical job name", "string", nullable=True),
    ),
    500,
    (numbered("job_events", 500),),
    consecutive=True,
    meaning="submissions of jobs, with user and logical name",
)
MACHINE_EVENTS = PublishedTable(
    "machine_events",
    (
        _TIME,
        PublishedColumn("machine ID", "integer"),
        PublishedColumn("event type", "integer", high=2),
        PublishedColumn("platform ID", "string", nullable=True),
        PublishedColumn("CPUs", "float", nullable=True),
        PublishedColumn("Memory", "float", nullable=True),
    ),
    1,
    (numbered("machine_events", 1),),
    meaning="machines that come, go or change, with their capacity",
)
MACHINE_ATTRIBUTES = PublishedTable(
    "machine_attributes",
    (
        _TIME,
        PublishedColumn("machine ID", "integer"),
        PublishedColumn("attribute name", "string"),
        PublishedColumn("attribute value", "string", nullable=True),
        PublishedColumn("attribute deleted", "integer", high=1),
    ),
    1,
    (numbered("machine_attributes", 1),),
    required=False,
    meaning="obfuscated properties of machines; only counted",
)
TASK_USAGE = PublishedTable(
    "task_usage",
    (
        PublishedColumn("start time", "integer"),
        PublishedColumn("end time", "integer"),
        _JOB,
        PublishedColumn("task index", "integer", high=2**31 - 1),
        PublishedColumn("machine ID", "integer"),
        *(
            PublishedColumn(name, "float", nullable=True)
            for name in (
                "CPU rate",
                "canonical memory usage",
                "assigned memory usage",
                "unmapped page cache",
                "total page cache",
                "maximum memory usage",
                "disk I/O time",
                "local disk space usage",
                "maximum CPU rate",
                "maximum disk IO time",
                "cycles per instruction",
                "memory accesses per instruction",
                "sample portion",
            )
        ),
        PublishedColumn("aggregation type", "integer", nullable=True, high=1),
        PublishedColumn("sampled CPU usage", "float", nullable=True),
    ),
    500,
    (numbered("task_usage", 500),),
    required=False,
    consecutive=True,
    meaning="what tasks really used, in windows of up to five minutes",
)
TABLES = (TASK_EVENTS, JOB_EVENTS, MACHINE_EVENTS, MACHINE_ATTRIBUTES, TASK_USAGE)

_KEEP = {
    "task_events": '"timestamp" AS t, "job ID" AS job, "task index"::INTEGER AS task, "event type"::TINYINT AS event, '
    '"user name" AS "user", "scheduling class"::TINYINT AS class, priority::SMALLINT AS priority, '
    '"CPU request" AS cpu, "memory request" AS memory',
    "job_events": '"job ID" AS job, "user name" AS "user", "logical job name" AS logical_name',
    "machine_events": '"timestamp" AS t, "machine ID" AS machine, "event type"::TINYINT AS event, CPUs AS cpu, '
    "Memory AS memory",
    "machine_attributes": '"machine ID" AS machine, "attribute name" AS name',
    "task_usage": '"start time" AS start_t, "end time" AS end_t, "job ID" AS job, "task index"::INTEGER AS task, '
    '"CPU rate" AS cpu, "canonical memory usage" AS memory, "disk I/O time" AS disk',
}

_SPAN_SQL = f"""
CREATE TABLE span AS
SELECT min(t) FILTER (t > 0) AS start_t, max(t) AS end_t FROM task_events WHERE t < {AFTER_THE_WINDOW}
"""

# One row a task. A SUBMIT at time 0 or after the window is no arrival, so such tasks are told apart here.
_TASKS_SQL = f"""
CREATE TABLE tasks AS
SELECT job, task,
       min(t) AS first_t,
       min(t) FILTER (event = 0) AS submit_t,
       min(t) FILTER (event = 0 AND t > 0 AND t < {AFTER_THE_WINDOW}) AS submit_inside_t,
       min(t) FILTER (event = 1) AS schedule_t,
       min(t) FILTER (event >= 2) AS other_t,
       (count(*) FILTER (event = 0))::INTEGER AS attempts
FROM task_events GROUP BY job, task
"""

# New tasks: the first event is a SUBMIT inside the window (a SCHEDULE may share its microsecond).
_ARRIVALS_SQL = f"""
CREATE TABLE arrivals AS
SELECT job, task, submit_t, attempts, CASE WHEN schedule_t < {AFTER_THE_WINDOW} THEN schedule_t END AS schedule_t
FROM tasks
WHERE submit_t > 0 AND submit_t < {AFTER_THE_WINDOW}
  AND (schedule_t IS NULL OR schedule_t >= submit_t) AND (other_t IS NULL OR other_t > submit_t)
"""

# Requests as of the first SUBMIT (UPDATE events and re-submissions change nothing), and the first end after the first
# SCHEDULE. The end's time and type are packed into one integer so that one aggregate of fixed size finds both.
_DETAILS_SQL = f"""
CREATE TABLE details AS
SELECT e.job, e.task,
       min(priority) FILTER (event = 0 AND t = submit_t) AS priority,
       min(class) FILTER (event = 0 AND t = submit_t) AS class,
       min(cpu) FILTER (event = 0 AND t = submit_t) AS cpu,
       min(memory) FILTER (event = 0 AND t = submit_t) AS memory,
       min(t * 8 + event) FILTER (event BETWEEN 2 AND 6 AND t > schedule_t) AS first_end
FROM task_events e JOIN arrivals a ON e.job = a.job AND e.task = a.task
WHERE e.t < {AFTER_THE_WINDOW} GROUP BY e.job, e.task
"""

# A job has one user and one logical name; jobs without a row in job_events take the user of their tasks.
_JOBS_SQL = """
CREATE TABLE jobs AS
SELECT job, min("user") AS "user", min(logical_name) AS logical_name, true AS named FROM job_events GROUP BY job
UNION ALL
SELECT job, min("user"), NULL, false FROM task_events
WHERE job NOT IN (SELECT job FROM job_events) GROUP BY job
"""

# What the first execution used, in the windows that overlap it. Sums are of integers (core-microseconds and the like):
# sums of floats would depend on the order in which threads meet the rows.
_USED_SQL = f"""
CREATE TABLE used AS
SELECT u.job, u.task,
       sum(round(u.cpu * (u.end_t - u.start_t))::BIGINT) / 1e6 AS cpu_s,
       sum(round(u.memory * (u.end_t - u.start_t))::BIGINT)
           / sum(u.end_t - u.start_t) FILTER (u.memory IS NOT NULL) AS memory,
       sum(round(u.disk * (u.end_t - u.start_t))::BIGINT) / 1e6 AS disk_s
FROM task_usage u JOIN (
    SELECT a.job, a.task, a.schedule_t, coalesce(d.first_end // 8, {AFTER_THE_WINDOW}) AS end_t
    FROM arrivals a JOIN details d USING (job, task)
) r ON u.job = r.job AND u.task = r.task
WHERE u.end_t > u.start_t AND u.start_t < r.end_t AND u.end_t > r.schedule_t
GROUP BY u.job, u.task
"""

_TABLE_SQL = f"""
SELECT a.submit_t / 1e6 AS arrival_s,
       j."user" AS tenant,
       a.job AS job,
       a.task AS task_index,
       j.logical_name AS shard_key,
       d.priority AS priority,
       d.class AS scheduling_class,
       (CASE WHEN coalesce(d.class, 0) >= 2 OR d.priority >= 9 THEN 0 WHEN d.priority <= 1 THEN 2 ELSE 1 END)::TINYINT
           AS slo_class,
       d.cpu * {CORES_OF_LARGEST_MACHINE} AS cpu_cores,
       d.memory * {MEMORY_GB_OF_LARGEST_MACHINE} AS mem_gb,
       (coalesce(d.first_end // 8, s.end_t) - a.schedule_t) / 1e6 AS duration_s,
       a.schedule_t IS NOT NULL AND d.first_end IS NULL AS duration_censored,
       CASE WHEN a.schedule_t IS NULL THEN 'never_scheduled' WHEN d.first_end IS NULL THEN 'censored'
            ELSE ['evicted', 'failed', 'finished', 'killed', 'lost'][(d.first_end % 8 - 1)::INTEGER] END AS outcome,
       a.attempts AS attempts,
       1 AS instances,
       (a.schedule_t - a.submit_t) / 1e6 AS queue_s,
       u.cpu_s * {CORES_OF_LARGEST_MACHINE} AS cpu_core_s,
       u.memory * {MEMORY_GB_OF_LARGEST_MACHINE} AS mem_used_gb,
       u.disk_s AS disk_io_s
FROM arrivals a JOIN details d USING (job, task) JOIN jobs j USING (job) LEFT JOIN used u USING (job, task)
CROSS JOIN span s
"""

_ROW_COUNTS = {
    "submit_events": "SELECT count(*) FROM task_events WHERE event = 0",
    "submit_events_at_time_0": "SELECT count(*) FROM task_events WHERE event = 0 AND t = 0",
    "submit_events_in_window": f"SELECT count(*) FROM task_events WHERE event = 0 AND t > 0 AND t < {AFTER_THE_WINDOW}",
    "update_events_ignored": "SELECT count(*) FROM task_events WHERE event >= 7",
    "events_after_window": f"SELECT count(*) FROM task_events WHERE t = {AFTER_THE_WINDOW}",
    "distinct_tasks": "SELECT count(*) FROM tasks",
    "tasks_present_at_time_0": "SELECT count(*) FROM tasks WHERE first_t = 0",
    "tasks_with_submit_in_window": "SELECT count(*) FROM tasks WHERE submit_inside_t IS NOT NULL",
    "tasks_present_at_time_0_submitted_again": (
        "SELECT count(*) FROM tasks WHERE first_t = 0 AND submit_inside_t IS NOT NULL"
    ),
    "tasks_first_seen_without_submit": (
        "SELECT count(*) FROM tasks t WHERE first_t > 0 AND NOT EXISTS "
        "(FROM arrivals a WHERE a.job = t.job AND a.task = t.task)"
    ),
    "arrivals": "SELECT count(*) FROM arrivals",
    "resubmissions_of_arrivals": "SELECT coalesce(sum(attempts - 1), 0) FROM arrivals",
    "arrivals_never_scheduled": "SELECT count(*) FROM arrivals WHERE schedule_t IS NULL",
    "arrivals_censored": (
        "SELECT count(*) FROM arrivals JOIN details USING (job, task) "
        "WHERE schedule_t IS NOT NULL AND first_end IS NULL"
    ),
    "arrivals_without_cpu_request": "SELECT count(*) FROM details WHERE cpu IS NULL",
    "arrivals_without_memory_request": "SELECT count(*) FROM details WHERE memory IS NULL",
    "arrivals_without_user": 'SELECT count(*) FROM arrivals JOIN jobs USING (job) WHERE "user" IS NULL',
    "arrivals_without_logical_name": "SELECT count(*) FROM arrivals JOIN jobs USING (job) WHERE logical_name IS NULL",
    "arrivals_of_jobs_not_in_job_events": "SELECT count(*) FROM arrivals JOIN jobs USING (job) WHERE NOT named",
    "machines_at_time_0": "SELECT count(DISTINCT machine) FROM machine_events WHERE t = 0 AND event = 0",
}
_SYNTHETIC = (
    SyntheticColumn(
        "read_mb",
        "the trace records disk time and cache sizes of a sample, never bytes read",
        "null here; the workload stage draws it and says how",
    ),
    SyntheticColumn(
        "write_mb",
        "the trace records disk time and disk space of a sample, never bytes written",
        "null here; the workload stage draws it and says how",
    ),
)
_DERIVED = {
    "shard_key": "logical job name of job_events: recurring runs of one program share it",
    "slo_class": "0 if scheduling class >= 2 or priority >= 9; else 2 if priority <= 1; else 1",
    "cpu_cores": f"CPU request at the first SUBMIT x {CORES_OF_LARGEST_MACHINE:g} cores",
    "mem_gb": f"memory request at the first SUBMIT x {MEMORY_GB_OF_LARGEST_MACHINE:g} GB",
    "duration_s": "first SCHEDULE to the first EVICT, FAIL, FINISH, KILL or LOST after it; up to the end of the "
    "covered time if none was seen (then censored)",
}
_ASSUMPTIONS = (
    f"A request or capacity of 1.0 is {CORES_OF_LARGEST_MACHINE:g} cores and {MEMORY_GB_OF_LARGEST_MACHINE:g} GB "
    "(the trace publishes only fractions of the largest machine); the most frequent machine (0.5, 0.4995) is then "
    f"{CORES_OF_LARGEST_MACHINE / 2:g} cores and {MEMORY_GB_OF_LARGEST_MACHINE * 0.4995:.3g} GB.",
    "A task is a (job, task index) whose first event is a SUBMIT after time 0. Tasks of the initial state (time 0) are "
    "not arrivals, even if they are submitted again later; re-submissions of a task are attempts of it.",
    "Requests are those of the first SUBMIT; missing ones are null and filled by the workload stage.",
)
_COLUMNS_FROM = {
    "a row": "a (job ID, task index) whose first event is a SUBMIT after time 0 and inside the window",
    "arrival_s": "time of that SUBMIT, microseconds / 10^6",
    "tenant": "user name (job_events; task_events for a job without a row there)",
    "job": "job ID",
    "task_index": "task index",
    "shard_key": "logical job name (job_events); null for a job without a row there",
    "priority, scheduling_class": "of the first SUBMIT",
    "slo_class": "derived: 0 if scheduling class >= 2 or priority >= 9; else 2 if priority <= 1; else 1",
    "cpu_cores, mem_gb": "CPU and memory request of the first SUBMIT x 16 cores and x 32 GB; null if not recorded",
    "duration_s": "first SCHEDULE to the first EVICT, FAIL, FINISH, KILL or LOST after it; if there is none, to the "
    "last event of the files (then duration_censored); null if it was never scheduled",
    "outcome": "type of that end event; censored, or never_scheduled",
    "queue_s": "first SUBMIT to first SCHEDULE",
    "attempts": "SUBMIT events of the task",
    "cpu_core_s": "task_usage, if it is there: CPU rate x length of the windows that overlap the first execution",
    "mem_used_gb": "task_usage: canonical memory usage, mean over these windows weighted by their length",
    "disk_io_s": "task_usage: disk I/O time x length of the windows; published for about the first 14 days",
}
_GOTCHAS = (
    "**Time 0 is not an arrival.** Part 0 begins with the SUBMIT and SCHEDULE rows of everything that was there before "
    "the window. They are counted (`tasks_present_at_time_0`) and left out, and so are these tasks when they are "
    "submitted *again* after an eviction (`tasks_present_at_time_0_submitted_again`). Who takes every first SUBMIT "
    "after time 0 as an arrival (`tasks_with_submit_in_window`) counts those as new work.",
    "**A SUBMIT is not a task.** A task is submitted again after EVICT or FAIL; those are `attempts`, not rows.",
    "**Time 2^63 - 1 means after the window.** Such a SUBMIT is no arrival, such an end leaves the duration censored.",
    "**An evicted or killed task did not finish.** Its `duration_s` is what was seen of the first execution; `outcome` "
    "says how it ended.",
    "**Durations are censored at the end of the files**, so an excerpt under-represents long tasks. Never-scheduled "
    "tasks have none.",
    "**Excerpts that do not begin with part 0** do not have the initial state. A task whose first event is not a "
    "SUBMIT was there before and is left out (`tasks_first_seen_without_submit`); one that was waiting to be "
    "re-submitted cannot be told from a new one.",
    "**UPDATE events** change requests of waiting or running tasks; they are counted and ignored.",
    "**Event types**: 4 is FINISH and 5 is KILL (some descriptions on the web swap them).",
    "**Priorities** are 0 to 11 in the data, though the text of the format document also mentions 12.",
    "**Missing information**: requests are empty where `missing info` is 2; in the excerpt below only at time 0.",
    "**Job 6253771429** uses its id twice in the full trace; its tasks count once.",
    "**task_usage** has 20 columns here and 19 in the older clusterdata-2011-1, which is refused. A window that begins "
    "before the start or ends after the end of the first execution counts in full, so short tasks may seem to use more "
    "than they did. Usage may exceed the request: requests are no limits on idle machines.",
    "**Re-encoded copies** on the web (ids as floats, other separators, a header line) are not the published files and "
    "are refused with the line and column at fault. Ids such as 6.25E+09 have lost digits.",
)

FORMAT = TraceFormat(
    name="google2011",
    title="Google clusterdata-2011-2 (v2.1)",
    url="https://github.com/google/cluster-data/blob/master/ClusterData2011_2.md",
    licence="CC-BY 4.0 (attribution: Google; Reiss, Wilkes and Hellerstein)",
    citation="C. Reiss, J. Wilkes, J. L. Hellerstein. Google cluster-usage traces: format + schema. "
    "Technical report, Google Inc., Mountain View, CA, USA, 2011 (version 2.1, 2014).",
    mapping_version=2,
    tables=TABLES,
    keep=_KEEP,
    steps=(
        ("covered time", _SPAN_SQL),
        ("tasks", _TASKS_SQL),
        ("arrivals", _ARRIVALS_SQL),
        ("requests and ends", _DETAILS_SQL),
        ("jobs", _JOBS_SQL),
        ("usage", _USED_SQL),
    ),
    table_sql=_TABLE_SQL,
    span_sql="SELECT start_t / 1e6, end_t / 1e6 FROM span",
    row_counts=_ROW_COUNTS,
    machine_sql=f"SELECT count(DISTINCT machine) AS n, cpu * {CORES_OF_LARGEST_MACHINE}, "
    f"memory * {MEMORY_GB_OF_LARGEST_MACHINE}, cpu, memory FROM machine_events WHERE t = 0 AND event = 0 "
    "GROUP BY cpu, memory ORDER BY n DESC, cpu, memory",
    clock="seconds; 600 is Sunday 1 May 2011, 19:00 US Eastern time, when the published window begins",
    columns_from=_COLUMNS_FROM,
    synthetic=_SYNTHETIC,
    derived=_DERIVED,
    assumptions=_ASSUMPTIONS,
    gotchas=_GOTCHAS,
    empty="no task arrives after time 0 in these files",
    summary='One Borg cell of about 12,500 machines over 29 days of May 2011. The format is described in "Google '
    'cluster-usage traces: format + schema". Of about 41 GB that are published, task_usage is by far the most and may '
    "be left out. Parts are consecutive in time, about 84 minutes each, so any run of parts is an excerpt of the "
    "trace. A hole between two parts is refused: the ends of tasks would be lost in it and durations would be wrong.",
    download="""mkdir -p clusterdata-2011-2 && cd clusterdata-2011-2
base=https://storage.googleapis.com/clusterdata-2011-2
curl -f --create-dirs -o machine_events/part-00000-of-00001.csv.gz $base/machine_events/part-00000-of-00001.csv.gz
for i in $(seq -f %05g 0 13); do       # 0 to 499 for the full trace
  for table in task_events job_events; do
    curl -f --create-dirs -o $table/part-$i-of-00500.csv.gz $base/$table/part-$i-of-00500.csv.gz
  done
done
curl -f -O $base/SHA256SUM && sha256sum --check --ignore-missing SHA256SUM""",
)


def import_google2011(folder: str | os.PathLike[str], target: str | os.PathLike[str], **options: Any) -> TraceMetadata:
    """Turn published files into a task table; see `TraceFormat.import_folder` for options and errors."""
    return FORMAT.import_folder(folder, target, **options)
