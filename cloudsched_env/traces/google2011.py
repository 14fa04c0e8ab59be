"""Google clusterdata-2011-2: a month of one Borg cell, as published (``csv.gz`` parts without header).

Format: C. Reiss, J. Wilkes, J. L. Hellerstein, "Google cluster-usage traces: format + schema" (2011, v2.1).
`docs/traces.md` tells the mapping column by column; the numbers below are those of that document.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudsched_env
from cloudsched_env.scenario import WorkloadConfig
from cloudsched_env.traces.errors import TraceFormatError, require
from cloudsched_env.traces.metadata import MachineType, SyntheticColumn, TraceMetadata
from cloudsched_env.traces.published import INT64_MAX, PublishedColumn, PublishedTable, find_parts
from cloudsched_env.traces.staging import EngineConfig, OnError, OnProgress, SkipLog, check_files, open_engine, stage
from cloudsched_env.traces.table import write_tasks

__all__ = ["CORES_OF_LARGEST_MACHINE", "MEMORY_GB_OF_LARGEST_MACHINE", "TABLES", "import_google2011"]

FORMAT = "google2011"
TITLE = "Google clusterdata-2011-2 (v2.1)"
MAPPING_VERSION = 1
URL = "https://github.com/google/cluster-data/blob/master/ClusterData2011_2.md"
LICENCE = "CC-BY 4.0 (attribution: Google; Reiss, Wilkes and Hellerstein)"
CITATION = (
    "C. Reiss, J. Wilkes, J. L. Hellerstein. Google cluster-usage traces: format + schema. "
    "Technical report, Google Inc., Mountain View, CA, USA, 2011 (version 2.1, 2014)."
)
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
)
TABLES = (TASK_EVENTS, JOB_EVENTS, MACHINE_EVENTS)

_KEEP = {
    "task_events": '"timestamp" AS t, "job ID" AS job, "task index"::INTEGER AS task, "event type"::TINYINT AS event, '
    '"user name" AS "user", "scheduling class"::TINYINT AS class, priority::SMALLINT AS priority, '
    '"CPU request" AS cpu, "memory request" AS memory',
    "job_events": '"job ID" AS job, "user name" AS "user", "logical job name" AS logical_name',
    "machine_events": '"timestamp" AS t, "machine ID" AS machine, "event type"::TINYINT AS event, CPUs AS cpu, '
    "Memory AS memory",
}

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
       (coalesce(d.first_end // 8, $window_end) - a.schedule_t) / 1e6 AS duration_s,
       a.schedule_t IS NOT NULL AND d.first_end IS NULL AS duration_censored,
       CASE WHEN a.schedule_t IS NULL THEN 'never_scheduled' WHEN d.first_end IS NULL THEN 'censored'
            ELSE ['evicted', 'failed', 'finished', 'killed', 'lost'][(d.first_end % 8 - 1)::INTEGER] END AS outcome,
       a.attempts AS attempts,
       NULL::DOUBLE AS read_mb,
       NULL::DOUBLE AS write_mb
FROM arrivals a JOIN details d USING (job, task) JOIN jobs j USING (job)
ORDER BY a.submit_t, a.job, a.task
"""

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


def import_google2011(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    engine: EngineConfig | None = None,
    on_error: OnError = "fail",
    on_progress: OnProgress | None = None,
) -> TraceMetadata:
    """Turn published files into a task table.

    Args:
        folder: holds ``task_events/``, ``job_events/`` and ``machine_events/`` with files as published. Any run of
            consecutive parts will do.
        target: Parquet file to write; temporary files lie beside it while the import runs.
        engine: memory limit and threads.
        on_error: ``"fail"`` stops at the first malformed row; ``"skip"`` leaves such rows out and counts them.
        on_progress: see `cloudsched_env.traces.staging.OnProgress`.

    Returns:
        The metadata that was written into the table.

    Raises:
        TraceFormatError: something about the files is not as published; the message says where and what to do.
        MemoryError: the memory limit is too small.
        OSError: the target cannot be written.
    """
    if on_error not in ("fail", "skip"):
        raise ValueError(f"on_error: expected 'fail' or 'skip', got {on_error!r}")
    engine = engine or EngineConfig()
    require("pyarrow.parquet")  # not after minutes of work
    folder, target = Path(folder), Path(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such folder to write {target.name} into; create it first")
    parts = {table: find_parts(folder, table) for table in TABLES}
    skipped = SkipLog()
    with open_engine(target.parent, engine) as connection:
        paths = [path for table in TABLES for path in parts[table].values()]
        sources = check_files(folder, paths, engine.thread_count, on_progress)
        for table in TABLES:
            stage(
                connection,
                table,
                {path: sources[path] for path in parts[table].values()},
                _KEEP[table.name],
                others=TABLES,
                on_error=on_error,
                skipped=skipped,
                threads=engine.thread_count,
                on_progress=on_progress,
            )
        queries = (_TASKS_SQL, _ARRIVALS_SQL, _DETAILS_SQL, _JOBS_SQL)
        for step, query in enumerate(queries):
            if on_progress:
                on_progress("Finding tasks", step, len(queries), "queries")
            connection.execute(query)
        if on_progress:
            on_progress("Finding tasks", len(queries), len(queries), "queries")
        rows = _row_counts(connection)
        if not rows["arrivals"]:
            raise TraceFormatError(
                "no task arrives after time 0 in these files",
                file=folder,
                expected="task_events with SUBMIT events inside the window",
                remedy="add later parts of task_events",
            )
        start_t, end_t = connection.execute(
            f"SELECT min(t) FILTER (t > 0), max(t) FROM task_events WHERE t < {AFTER_THE_WINDOW}"
        ).fetchone()
        complete = len(parts[TASK_EVENTS]) == TASK_EVENTS.parts
        metadata = TraceMetadata(
            format=FORMAT,
            title=TITLE,
            mapping_version=MAPPING_VERSION,
            data_tag="full trace" if complete else "excerpt",
            span_start_s=start_t / 1e6,
            span_end_s=end_t / 1e6,
            clock="seconds; 600 is Sunday 1 May 2011, 19:00 US Eastern time, when the published window begins",
            parts_read=len(parts[TASK_EVENTS]),
            parts_published=TASK_EVENTS.parts,
            rows=rows,
            skipped_rows=dict(sorted(skipped.reasons.items())),
            skipped_examples=tuple(skipped.examples),
            synthetic_columns=_SYNTHETIC,
            derived_columns=_DERIVED,
            assumptions=_ASSUMPTIONS,
            machine_mix=_machine_mix(connection),
            source_files=tuple(sources[path] for path in paths),
            licence=LICENCE,
            citation=CITATION,
            url=URL,
            written_by=f"cloudsched-env {cloudsched_env.__version__}",
        )

        def report(written: int) -> None:
            if on_progress:
                on_progress("Writing tasks", written, rows["arrivals"], "tasks")

        report(0)
        write_tasks(target, _batches(connection, end_t), metadata, report)
    return metadata


def _batches(connection: Any, window_end: int) -> Iterator[Any]:
    """The task table as a stream of Arrow record batches."""
    result = connection.sql(_TABLE_SQL.replace("$window_end", str(int(window_end))))
    # DuckDB 2 renamed this method; `sql` streams, `execute` would first hold all rows.
    reader = result.to_arrow_reader if hasattr(result, "to_arrow_reader") else result.fetch_arrow_reader
    yield from reader(65_536)


def _row_counts(connection: Any) -> dict[str, int]:
    """Counts that let a reader audit what became of every row."""

    def count(query: str) -> int:
        return int(connection.execute("SELECT " + query).fetchone()[0])

    inside = f"t > 0 AND t < {AFTER_THE_WINDOW}"
    return {
        "task_events": count("count(*) FROM task_events"),
        "submit_events": count("count(*) FROM task_events WHERE event = 0"),
        "submit_events_at_time_0": count("count(*) FROM task_events WHERE event = 0 AND t = 0"),
        "submit_events_in_window": count(f"count(*) FROM task_events WHERE event = 0 AND {inside}"),
        "update_events_ignored": count("count(*) FROM task_events WHERE event >= 7"),
        "events_after_window": count(f"count(*) FROM task_events WHERE t = {AFTER_THE_WINDOW}"),
        "distinct_tasks": count("count(*) FROM tasks"),
        "tasks_present_at_time_0": count("count(*) FROM tasks WHERE first_t = 0"),
        "tasks_with_submit_in_window": count("count(*) FROM tasks WHERE submit_inside_t IS NOT NULL"),
        "tasks_present_at_time_0_submitted_again": count(
            "count(*) FROM tasks WHERE first_t = 0 AND submit_inside_t IS NOT NULL"
        ),
        "tasks_first_seen_without_submit": count(
            "count(*) FROM tasks t WHERE first_t > 0 AND NOT EXISTS "
            "(FROM arrivals a WHERE a.job = t.job AND a.task = t.task)"
        ),
        "arrivals": count("count(*) FROM arrivals"),
        "resubmissions_of_arrivals": count("coalesce(sum(attempts - 1), 0) FROM arrivals"),
        "arrivals_never_scheduled": count("count(*) FROM arrivals WHERE schedule_t IS NULL"),
        "arrivals_censored": count(
            "count(*) FROM arrivals JOIN details USING (job, task) WHERE schedule_t IS NOT NULL AND first_end IS NULL"
        ),
        "arrivals_without_cpu_request": count("count(*) FROM details WHERE cpu IS NULL"),
        "arrivals_without_memory_request": count("count(*) FROM details WHERE memory IS NULL"),
        "arrivals_without_user": count('count(*) FROM arrivals JOIN jobs USING (job) WHERE "user" IS NULL'),
        "arrivals_without_logical_name": count(
            "count(*) FROM arrivals JOIN jobs USING (job) WHERE logical_name IS NULL"
        ),
        "arrivals_of_jobs_not_in_job_events": count("count(*) FROM arrivals JOIN jobs USING (job) WHERE NOT named"),
        "job_events": count("count(*) FROM job_events"),
        "machine_events": count("count(*) FROM machine_events"),
        "machines_at_time_0": count("count(DISTINCT machine) FROM machine_events WHERE t = 0 AND event = 0"),
    }


def _machine_mix(connection: Any) -> tuple[MachineType, ...]:
    """Machines added at time 0, by capacity, most frequent first."""
    found = connection.execute(
        "SELECT count(DISTINCT machine) AS n, cpu, memory FROM machine_events WHERE t = 0 AND event = 0 "
        "GROUP BY cpu, memory ORDER BY n DESC, cpu, memory"
    ).fetchall()
    return tuple(
        MachineType(
            count,
            None if cpu is None else cpu * CORES_OF_LARGEST_MACHINE,
            None if memory is None else memory * MEMORY_GB_OF_LARGEST_MACHINE,
            cpu,
            memory,
        )
        for count, cpu, memory in found
    )
