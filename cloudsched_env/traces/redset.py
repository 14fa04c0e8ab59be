"""Redset: query metadata of 200 provisioned and 200 serverless Amazon Redshift clusters over three months (Parquet)."""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn
from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMAT", "QUERIES"]

_FILES = r"(?:.*/)?(?:full|sample_0\.0*1|parts/\d+)"


def _number(name: str, meaning: str) -> PublishedColumn:
    return PublishedColumn(name, "integer", nullable=True, meaning=meaning)


QUERIES = PublishedTable(
    "queries",
    (
        PublishedColumn("instance_id", "integer", high=2**20 - 1, meaning="cluster"),
        PublishedColumn("cluster_size", "integer", nullable=True, meaning="nodes; null for serverless"),
        PublishedColumn("user_id", "integer", nullable=True, low=-1, meaning="user"),
        PublishedColumn("database_id", "integer", nullable=True, low=-1, meaning="database"),
        PublishedColumn("query_id", "integer", high=2**40 - 1, meaning="unique within the cluster"),
        PublishedColumn("arrival_timestamp", "timestamp", meaning="when it arrived"),
        PublishedColumn("compile_duration_ms", "float", nullable=True, meaning="compilation"),
        PublishedColumn("queue_duration_ms", "float", nullable=True, meaning="wait in the queue"),
        PublishedColumn("execution_duration_ms", "float", nullable=True, meaning="execution"),
        PublishedColumn("feature_fingerprint", "string", nullable=True, meaning="hash of the query's features"),
        PublishedColumn("was_aborted", "boolean", nullable=True, meaning="whether it was aborted"),
        PublishedColumn("was_cached", "boolean", nullable=True, meaning="whether the result cache answered it"),
        PublishedColumn("query_type", "string", nullable=True, meaning="select, insert, copy, ..."),
        _number("num_permanent_tables_accessed", "accesses to permanent tables"),
        PublishedColumn("read_table_ids", "string", nullable=True, meaning="tables read, joined by commas"),
        PublishedColumn("write_table_ids", "string", nullable=True, meaning="tables written, joined by commas"),
        PublishedColumn("mbytes_scanned", "float", nullable=True, meaning="MB scanned"),
        PublishedColumn("mbytes_spilled", "float", nullable=True, meaning="MB spilled"),
        _number("num_joins", "joins in the plan"),
        _number("num_scans", "scans in the plan"),
        _number("num_aggregations", "aggregations in the plan"),
    ),
    patterns=(
        FilePattern("{provisioned,serverless}/{full,sample_*,parts/*}.parquet", _FILES + r"\.parquet", "parquet"),
        FilePattern("the same as .csv", _FILES + r"\.csv(?:\.gz)?"),
    ),
    header="required",
    quoted=True,
    unique=("job",),
    key_columns=("instance_id", "cluster_size", "query_id"),
    meaning="one row a query",
)

_SLO = (
    "CASE lower(query_type) WHEN 'select' THEN 0 WHEN 'insert' THEN 2 WHEN 'copy' THEN 2 WHEN 'delete' THEN 2 "
    "WHEN 'update' THEN 2 WHEN 'unload' THEN 2 WHEN 'ctas' THEN 2 WHEN 'vacuum' THEN 2 ELSE 1 END"
)

FORMAT = TraceFormat(
    name="redset",
    title="Redset (Amazon Redshift, 1 March to 30 May 2024)",
    url="https://github.com/amazon-science/redset",
    licence="CC BY-NC 4.0: not for commercial use (Redset (c) 2024 by Amazon)",
    citation="A. van Renen, D. Horn, P. Pfeil, K. E. Vaidya, W. Dong, M. Narayanaswamy, Z. Liu, G. Saxena, A. Kipf, "
    "T. Kraska. Why TPC is not enough: an analysis of the Amazon Redshift fleet. PVLDB 17(11), 2024.",
    mapping_version=1,
    tables=(QUERIES,),
    keep={
        # Identifiers repeat between provisioned and serverless clusters, and query_id between clusters.
        "queries": "CASE WHEN cluster_size IS NULL THEN 'serverless-' ELSE 'provisioned-' END || instance_id AS "
        "tenant, (CASE WHEN cluster_size IS NULL THEN 1::BIGINT << 61 ELSE 0 END) + (instance_id << 40) + query_id AS "
        "job, database_id, user_id, epoch_us(arrival_timestamp) - epoch_us(TIMESTAMP '2024-03-01 00:00:00') AS t_us, "
        "coalesce(compile_duration_ms, 0) + execution_duration_ms AS run_ms, queue_duration_ms, "
        f"was_aborted, was_cached, {_SLO} AS slo, read_table_ids, write_table_ids, mbytes_scanned, mbytes_spilled"
    },
    table_sql="""
SELECT t_us / 1e6 AS arrival_s,
       tenant,
       job,
       0 AS task_index,
       tenant || ':' || coalesce(database_id::VARCHAR, '') || ':' || coalesce(read_table_ids, write_table_ids)
           AS shard_key,
       slo AS slo_class,
       run_ms / 1e3 AS duration_s,
       false AS duration_censored,
       CASE WHEN was_aborted THEN 'killed' ELSE 'finished' END AS outcome,
       1 AS attempts,
       1 AS instances,
       queue_duration_ms / 1e3 AS queue_s,
       mbytes_scanned AS read_mb,
       mbytes_spilled AS spill_mb,
       len(string_split(read_table_ids, ',')) AS tables_read,
       len(string_split(write_table_ids, ',')) AS tables_written
FROM queries
""",
    span_sql="SELECT min(t_us) / 1e6, max(t_us + coalesce(queue_duration_ms + run_ms, 0) * 1e3) / 1e6 FROM queries",
    row_counts={
        "clusters": "SELECT count(DISTINCT tenant) FROM queries",
        "users": "SELECT count(*) FROM (SELECT DISTINCT tenant, user_id FROM queries)",
        "queries_answered_from_cache": "SELECT count(*) FROM queries WHERE was_cached",
        "queries_aborted": "SELECT count(*) FROM queries WHERE was_aborted",
        "queries_without_tables": "SELECT count(*) FROM queries "
        "WHERE read_table_ids IS NULL AND write_table_ids IS NULL",
        "queries_that_spill": "SELECT count(*) FROM queries WHERE mbytes_spilled > 0",
    },
    clock="seconds since 1 March 2024, 00:00 UTC",
    columns_from={
        "a row": "a query",
        "arrival_s": "arrival_timestamp less 1 March 2024, 00:00",
        "tenant": "instance_id, after provisioned- or serverless- (which has no cluster_size)",
        "job": "instance_id and query_id packed into one number, and which of the two sets; task_index is 0",
        "shard_key": "tenant, database_id and read_table_ids (write_table_ids if none is read); null if there are none",
        "slo_class": "derived: 0 select; 2 insert, copy, delete, update, unload, ctas, vacuum; 1 anything else",
        "duration_s": "compile_duration_ms + execution_duration_ms",
        "queue_s": "queue_duration_ms",
        "outcome": "killed if was_aborted, else finished",
        "read_mb": "mbytes_scanned",
        "spill_mb": "mbytes_spilled",
        "tables_read, tables_written": "number of identifiers in read_table_ids and write_table_ids",
    },
    synthetic=(
        SyntheticColumn("cpu_cores", "the trace has no CPU request or use", "null; the workload stage draws it"),
        SyntheticColumn("mem_gb", "the trace has no memory request or use", "null; the workload stage draws it"),
        SyntheticColumn("write_mb", "bytes written are not recorded", "null; the workload stage draws it"),
    ),
    derived={"slo_class": "0 if query_type is select; 2 if it loads, changes or unloads data; else 1"},
    assumptions=("A query is one task: its slices on the nodes of a cluster are not told apart.",),
    gotchas=(
        "**Not representative**: clusters were drawn by how busy they are. Study them one by one; sums over all of "
        "them say nothing about the fleet.",
        "**Scanned MB is not the size of a table** (columns and blocks are skipped).",
        "**Cached queries** did not execute; their duration is what the trace records.",
        "**About half of the serverless selects** have no read_table_ids, so their shard_key is null.",
        "**feature_fingerprint overestimates repetition** and is not used.",
        "**full, samples and parts overlap.** Give the folder or file of one of them; repeated queries are an error.",
        "**Non-commercial licence**: do not pass on the table, and keep it out of commercial use.",
    ),
    full_rows=441_352_193,
    download="mkdir -p redset/serverless && cd redset/serverless\n"
    "curl -f -C - -O https://s3.amazonaws.com/redshift-downloads/redset/serverless/full.parquet",
    summary="433,107,811 queries of 200 provisioned and 8,244,382 of 200 serverless clusters.",
)
