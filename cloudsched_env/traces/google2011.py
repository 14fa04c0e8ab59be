"""Google clusterdata-2011-2: a month of one Borg cell, as published (``csv.gz`` parts without header).

Format: C. Reiss, J. Wilkes, J. L. Hellerstein, "Google cluster-usage traces: format + schema" (2011, v2.1).
`docs/traces/google2011.md` tells the mapping column by column; the numbers below are those of that document.
"""

from __future__ import annotations

import os
from typing import Any

from cloudsched_env.traces import borg
from cloudsched_env.traces.borg import CORES_OF_LARGEST_MACHINE, MEMORY_GB_OF_LARGEST_MACHINE
from cloudsched_env.traces.metadata import SyntheticColumn, TraceMetadata
from cloudsched_env.traces.published import PublishedColumn, PublishedTable, numbered
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["CORES_OF_LARGEST_MACHINE", "FORMAT", "MEMORY_GB_OF_LARGEST_MACHINE", "TABLES", "import_google2011"]

_SLO = "CASE WHEN coalesce(d.class, 0) >= 2 OR d.priority >= 9 THEN 0 WHEN d.priority <= 1 THEN 2 ELSE 1 END"

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
    borg.UNIT_ASSUMPTION + "; the most frequent machine (0.5, 0.4995) is then "
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
    steps=borg.STEPS,
    table_sql=borg.table_sql(_SLO),
    span_sql=borg.SPAN_SQL,
    row_counts=borg.ROW_COUNTS,
    machine_sql=borg.MACHINE_SQL,
    request_unit=borg.REQUEST_UNIT,
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
