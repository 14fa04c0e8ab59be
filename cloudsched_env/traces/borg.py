"""Events of Borg tasks to arrivals, requests, durations and usage: the queries that both Google traces share.

They expect the views ``task_events`` (t, job, task, event, user, class, priority, cpu, memory), ``job_events`` (job,
user, logical_name), ``machine_events`` (t, machine, event, cpu, memory) and ``task_usage`` (start_t, end_t,
job, task, cpu, memory, disk); times in microseconds, event types in the numbers of 2011 (`EVENTS`), capacities as
fractions of the largest machine. Those that join and group by task run share by share of the jobs where they do not fit
into memory (`cloudsched_env.traces.shares`).
"""

from __future__ import annotations

from cloudsched_env.traces.published import INT64_MAX
from cloudsched_env.traces.request_unit import RequestUnit

__all__ = [
    "AFTER_THE_WINDOW",
    "CORES_OF_LARGEST_MACHINE",
    "EVENTS",
    "MACHINE_SQL",
    "MEMORY_GB_OF_LARGEST_MACHINE",
    "REQUEST_UNIT",
    "ROW_COUNTS",
    "SPAN_SQL",
    "STEPS",
    "UNIT_ASSUMPTION",
    "table_sql",
]

REQUEST_UNIT = RequestUnit(
    because="the trace publishes fractions of the largest machine, which is taken as these cores"
)
CORES_OF_LARGEST_MACHINE, MEMORY_GB_OF_LARGEST_MACHINE = REQUEST_UNIT.cores, REQUEST_UNIT.memory_gb
AFTER_THE_WINDOW = INT64_MAX
EVENTS = ("SUBMIT", "SCHEDULE", "EVICT", "FAIL", "FINISH", "KILL", "LOST", "UPDATE_PENDING", "UPDATE_RUNNING")
UNIT_ASSUMPTION = (
    f"A request or capacity of 1.0 is {CORES_OF_LARGEST_MACHINE:g} cores and {MEMORY_GB_OF_LARGEST_MACHINE:g} GB "
    "(the trace publishes only fractions of the largest machine)"
)

_SPAN_STEP = f"""
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
       min(t) FILTER (event BETWEEN 2 AND 8) AS other_t,
       (count(*) FILTER (event = 0))::INTEGER AS attempts
FROM task_events WHERE in_share(job) GROUP BY job, task
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
WHERE e.t < {AFTER_THE_WINDOW} AND in_share(e.job) AND in_share(a.job) GROUP BY e.job, e.task
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
WHERE u.end_t > u.start_t AND u.start_t < r.end_t AND u.end_t > r.schedule_t AND in_share(u.job) AND in_share(r.job)
GROUP BY u.job, u.task
"""


def table_sql(slo: str) -> str:
    """Query of the task table; ``slo`` is the SQL expression of slo_class over ``d.class`` and ``d.priority``."""
    return f"""
SELECT a.submit_t / 1e6 AS arrival_s,
       j."user" AS tenant,
       a.job AS job,
       a.task AS task_index,
       j.logical_name AS shard_key,
       d.priority AS priority,
       d.class AS scheduling_class,
       ({slo})::TINYINT AS slo_class,
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


ROW_COUNTS = {
    "submit_events": "SELECT count(*) FROM task_events WHERE event = 0",
    "submit_events_at_time_0": "SELECT count(*) FROM task_events WHERE event = 0 AND t = 0",
    "submit_events_in_window": f"SELECT count(*) FROM task_events WHERE event = 0 AND t > 0 AND t < {AFTER_THE_WINDOW}",
    "update_events_ignored": "SELECT count(*) FROM task_events WHERE event BETWEEN 7 AND 8",
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

STEPS = (
    ("covered time", _SPAN_STEP),
    ("tasks", _TASKS_SQL),
    ("arrivals", _ARRIVALS_SQL),
    ("requests and ends", _DETAILS_SQL),
    ("jobs", _JOBS_SQL),
    ("usage", _USED_SQL),
)
SPAN_SQL = "SELECT start_t / 1e6, end_t / 1e6 FROM span"
MACHINE_SQL = (
    f"SELECT count(DISTINCT machine) AS n, cpu * {CORES_OF_LARGEST_MACHINE}, "
    f"memory * {MEMORY_GB_OF_LARGEST_MACHINE}, cpu, memory FROM machine_events WHERE t = 0 AND event = 0 "
    "GROUP BY cpu, memory ORDER BY n DESC, cpu, memory"
)
