"""Google clusterdata-2019 (v3): one of eight Borg cells, as JSON shards, or CSV or Parquet from BigQuery."""

from __future__ import annotations

from cloudsched_env.traces import borg
from cloudsched_env.traces.borg import CORES_OF_LARGEST_MACHINE, MEMORY_GB_OF_LARGEST_MACHINE
from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable, shards
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["COLLECTION_EVENTS", "FORMAT", "INSTANCE_EVENTS", "INSTANCE_USAGE", "MACHINE_EVENTS", "TYPES"]

TYPES = (
    "SUBMIT",
    "QUEUE",
    "ENABLE",
    "SCHEDULE",
    "EVICT",
    "FAIL",
    "FINISH",
    "KILL",
    "LOST",
    "UPDATE_PENDING",
    "UPDATE_RUNNING",
)
"""Event types in the order of their numbers, which are not those of 2011."""


def _enum(name: str, values: tuple[str, ...], meaning: str, *, nullable: bool = False) -> PublishedColumn:
    """An enumeration: exports hold the number or the name."""
    numbers = tuple(str(number) for number in range(len(values)))
    return PublishedColumn(name, "string", nullable, choices=(*numbers, *values), absent=nullable, meaning=meaning)


def _id(name: str, meaning: str, *, nullable: bool = False, low: int = 0) -> PublishedColumn:
    return PublishedColumn(name, "integer", nullable, low=low, absent=nullable, meaning=meaning)


def _capacity(record: str, field: str, meaning: str) -> PublishedColumn:
    aliases = (f"{record}_{field}", field) if record in ("resource_request", "capacity") else (f"{record}_{field}",)
    return PublishedColumn(f"{record}.{field}", "float", True, aliases=aliases, absent=True, meaning=meaning)


def _patterns(name: str) -> tuple[FilePattern, ...]:
    suffixes = ((".json.gz", "json"), (".json", "json"), (".csv.gz", "csv"), (".csv", "csv"), (".parquet", "parquet"))
    return tuple(shards(name, suffix, encoding) for suffix, encoding in suffixes)  # type: ignore[arg-type]


_EVENT = (
    _id("time", "microseconds; 0 before and 2^63 - 1 after the window"),
    _enum("type", TYPES, "what happened"),
    _id("collection_id", "job or alloc set"),
    PublishedColumn("scheduling_class", "integer", True, high=3, absent=True, meaning="latency sensitivity"),
    _enum("collection_type", ("JOB", "ALLOC_SET"), "0 job, 1 alloc set", nullable=True),
    PublishedColumn("priority", "integer", True, low=-1, high=2**15 - 1, absent=True, meaning="priority"),
)

INSTANCE_EVENTS = PublishedTable(
    "instance_events",
    (
        *_EVENT,
        PublishedColumn("instance_index", "integer", high=2**31 - 1, meaning="its number within the collection"),
        _id("machine_id", "0 none, -1 dedicated", nullable=True, low=-1),
        _capacity("resource_request", "cpus", "requested CPU, fraction of the largest machine"),
        _capacity("resource_request", "memory", "requested memory, fraction of the largest machine"),
    ),
    patterns=_patterns("instance_events"),
    header="required",
    quoted=True,
    meaning="what happens to tasks (instances of jobs and of alloc sets)",
)
COLLECTION_EVENTS = PublishedTable(
    "collection_events",
    (
        *_EVENT,
        PublishedColumn("user", "string", True, absent=True, meaning="who submitted it (hash)"),
        PublishedColumn("collection_logical_name", "string", True, absent=True, meaning="program (hash)"),
        _id("parent_collection_id", "the collection that ends it when it ends", nullable=True),
    ),
    patterns=_patterns("collection_events"),
    header="required",
    quoted=True,
    meaning="what happens to jobs and alloc sets",
)
MACHINE_EVENTS = PublishedTable(
    "machine_events",
    (
        _id("time", "microseconds"),
        _id("machine_id", "machine"),
        _enum("type", ("EVENT_TYPE_UNKNOWN", "ADD", "REMOVE", "UPDATE"), "1 ADD, 2 REMOVE, 3 UPDATE"),
        _capacity("capacity", "cpus", "CPU, fraction of the largest machine"),
        _capacity("capacity", "memory", "memory, fraction of the largest machine"),
    ),
    patterns=_patterns("machine_events"),
    required=False,
    header="required",
    quoted=True,
    meaning="machines that come, go or change",
)
INSTANCE_USAGE = PublishedTable(
    "instance_usage",
    (
        _id("start_time", "start of the window, microseconds"),
        _id("end_time", "end of the window, microseconds"),
        _id("collection_id", "job or alloc set"),
        PublishedColumn("instance_index", "integer", high=2**31 - 1, meaning="its number within the collection"),
        _capacity("average_usage", "cpus", "mean CPU used"),
        _capacity("average_usage", "memory", "mean memory used"),
    ),
    patterns=_patterns("instance_usage"),
    required=False,
    header="required",
    quoted=True,
    meaning="what tasks really used, in windows of up to five minutes",
)


def _number(column: str, values: tuple[str, ...]) -> str:
    """Number of an enumeration that is a number or a name."""
    names = ", ".join(f"'{value}'" for value in values)
    return f"coalesce(TRY_CAST({column} AS INTEGER), list_position([{names}], {column}) - 1)"


# Types in the numbers of 2011; QUEUE and ENABLE, which 2011 does not have, are 9: neither a start nor an end.
_EVENT_2011 = f"[0, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8][{_number('type', TYPES)} + 1]::TINYINT"
_IS_JOB = f"coalesce({_number('collection_type', ('JOB', 'ALLOC_SET'))}, 0) = 0"

FORMAT = TraceFormat(
    name="google2019",
    title="Google clusterdata-2019 (v3)",
    url="https://github.com/google/cluster-data/blob/master/ClusterData2019.md",
    licence="CC-BY 4.0 (attribution: Google; Tirmazi et al.)",
    citation="M. Tirmazi, A. Barker, N. Deng, M. E. Haque, Z. G. Qin, S. Hand, M. Harchol-Balter, J. Wilkes. Borg: the "
    "next generation. EuroSys 2020.",
    mapping_version=1,
    tables=(INSTANCE_EVENTS, COLLECTION_EVENTS, MACHINE_EVENTS, INSTANCE_USAGE),
    keep={
        "instance_events": f'"time" AS t, collection_id AS job, instance_index::INTEGER AS task, '
        f'{_EVENT_2011} AS event, NULL::VARCHAR AS "user", scheduling_class::TINYINT AS class, coalesce(priority, '
        f'0)::SMALLINT AS priority, "resource_request.cpus" AS cpu, "resource_request.memory" AS memory, {_IS_JOB} AS '
        "is_job",
        "collection_events": 'collection_id AS job, "user", collection_logical_name AS logical_name, '
        f"{_IS_JOB} AS is_job, parent_collection_id AS parent",
        "machine_events": '"time" AS t, machine_id AS machine, '
        f"({_number('type', ('EVENT_TYPE_UNKNOWN', 'ADD', 'REMOVE', 'UPDATE'))} - 1)::TINYINT AS event, "
        '"capacity.cpus" AS cpu, "capacity.memory" AS memory',
        "instance_usage": "start_time AS start_t, end_time AS end_t, collection_id AS job, "
        'instance_index::INTEGER AS task, "average_usage.cpus" AS cpu, "average_usage.memory" AS memory, '
        "NULL::DOUBLE AS disk",
    },
    steps=(
        (
            "jobs and tasks",
            "CREATE VIEW task_events AS SELECT * FROM instance_events WHERE is_job; "
            "CREATE VIEW job_events AS SELECT * FROM collection_events WHERE is_job; "
            "CREATE VIEW task_usage AS SELECT * FROM instance_usage",
        ),
        *borg.STEPS,
    ),
    table_sql=borg.table_sql("CASE WHEN d.priority >= 120 THEN 0 WHEN d.priority <= 115 THEN 2 ELSE 1 END"),
    span_sql=borg.SPAN_SQL,
    row_counts={
        "events_of_alloc_sets": "SELECT count(*) FROM instance_events WHERE NOT is_job",
        "jobs_with_parent": "SELECT count(DISTINCT job) FROM job_events WHERE coalesce(parent, 0) <> 0",
        **borg.ROW_COUNTS,
    },
    machine_sql=borg.MACHINE_SQL,
    request_unit=borg.REQUEST_UNIT,
    clock="seconds; 600 is 1 May 2019, 00:00 Pacific time, when the published window begins",
    columns_from={
        "a row": "an instance (collection_id, instance_index) of a job whose first event is a SUBMIT inside the window",
        "arrival_s": "time of that SUBMIT, microseconds / 10^6",
        "tenant": "user (collection_events)",
        "job": "collection_id",
        "task_index": "instance_index",
        "shard_key": "collection_logical_name (collection_events); null for a job without a row there",
        "priority, scheduling_class": "of the first SUBMIT",
        "slo_class": "derived from the tiers of the trace: 0 production and monitoring (priority >= 120), 1 mid "
        "(116 to 119), 2 best-effort batch and free (<= 115)",
        "cpu_cores, mem_gb": "resource_request of the first SUBMIT x 16 cores and x 32 GB; null if not recorded",
        "duration_s": "first SCHEDULE to the first EVICT, FAIL, FINISH, KILL or LOST after it; if there is none, to "
        "the last event of the files (then duration_censored); null if it was never scheduled",
        "outcome": "type of that end event; censored, or never_scheduled",
        "queue_s": "first SUBMIT to first SCHEDULE (time in the batch queue included)",
        "attempts": "SUBMIT events of the instance",
        "cpu_core_s": "instance_usage, if it is there: average_usage.cpus x length of the windows that overlap the "
        "first execution",
        "mem_used_gb": "instance_usage: average_usage.memory, mean over these windows weighted by their length",
    },
    synthetic=(
        SyntheticColumn("read_mb", "the trace has no bytes read", "null here; the workload stage draws it"),
        SyntheticColumn("write_mb", "the trace has no bytes written", "null here; the workload stage draws it"),
        SyntheticColumn("cpu_core_s, mem_used_gb", "they are in instance_usage only", "null without that table"),
    ),
    derived={
        "slo_class": "0 if priority >= 120; 2 if priority <= 115; else 1",
        "cpu_cores": f"resource_request.cpus at the first SUBMIT x {CORES_OF_LARGEST_MACHINE:g} cores",
        "mem_gb": f"resource_request.memory at the first SUBMIT x {MEMORY_GB_OF_LARGEST_MACHINE:g} GB",
    },
    assumptions=(
        borg.UNIT_ASSUMPTION + "; CPU units are normalised over all eight cells.",
        "A missing priority is 0 (the free tier), as fields of the default value are missing from records.",
        "Instances of alloc sets reserve room for jobs and are no work; they are counted and left out.",
    ),
    gotchas=(
        "**Event types have other numbers than in 2011** (SCHEDULE is 3, FINISH is 6), and there are QUEUE and ENABLE.",
        "**Records leave out fields**: what is missing is null. JSON holds 64-bit integers as strings or numbers; "
        "enumerations are numbers or names. All of these are read.",
        "**Nested fields** are `resource_request.cpus` in JSON and Parquet. CSV cannot nest: name the columns of your "
        "BigQuery query `resource_request.cpus`, `resource_request_cpus` or `cpus`.",
        "**Time 0 is not an arrival**, a SUBMIT is not a task, and 2^63 - 1 means after the window: as in google2011.",
        "**One cell at a time**: identifiers of the eight cells are unrelated.",
        "**Dependencies are between jobs** (parent_collection_id, start_after_collection_ids), not between the tasks "
        "of a job, so `parents` is null; jobs with a parent are counted.",
        "**Joined spreadsheets** of this trace on the web have ids such as 1.68846E+11, which have lost digits. They "
        "are refused.",
    ),
    empty="no task arrives after time 0 in these files",
    download="cell=a; mkdir -p clusterdata-2019-$cell && cd clusterdata-2019-$cell\n"
    "for table in collection_events instance_events machine_events; do\n"
    '  gcloud storage cp "gs://clusterdata_2019_$cell/$table-*.json.gz" .\n'
    "done   # or export the tables of google.com:google-cluster-data.clusterdata_2019_$cell from BigQuery",
    summary="Eight Borg cells over May 2019 (about 2.4 TiB compressed in all). Tables are published in BigQuery and as "
    "sharded JSON. Any shards of a cell can be imported; shards are not in order of time, so an import of some of them "
    "sees some of the events of most tasks, which makes durations censored or wrong. Take all shards of a table, or "
    "cut by time or job in BigQuery.",
)
