"""What each reader makes of the rows of `small_traces`, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloudsched_env.traces import TASK_COLUMNS, load_tasks
from cloudsched_env.traces.formats import find_format
from cloudsched_env.traces.load_table import LOAD_COLUMNS, load_background
from cloudsched_env.traces.staging import EngineConfig
from tests.traces.small_traces import write

pytest.importorskip("duckdb")
NAN = math.nan


def rows_of(table, columns) -> list[dict]:
    values = {
        c.name: table.names(c.name) if c.kind == "string" and c.name != "device" else table[c.name] for c in columns
    }
    return [{name: array[i] for name, array in values.items()} for i in range(len(table))]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Rows and metadata of the small trace of a format, imported once."""
    cache = {}

    def get(name, **options):
        key = (name, *options.values())
        if key not in cache:
            home = tmp_path_factory.mktemp("mapping")
            find_format(name).import_folder(
                write(name, home / "trace"), home / "t.parquet", engine=EngineConfig("300MB", 2), **options
            )
            kind = find_format(name).kind
            table = load_tasks(home / "t.parquet") if kind == "tasks" else load_background(home / "t.parquet")
            cache[key] = table
        table = cache[key]
        columns = TASK_COLUMNS if find_format(name).kind == "tasks" else LOAD_COLUMNS
        return rows_of(table, columns), table.metadata

    return get


def check(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            if isinstance(value, float) or isinstance(row[name], float):
                np.testing.assert_allclose(row[name], value, rtol=1e-12, err_msg=f"{name} of {wanted}")
            else:
                assert row[name] == value, (name, wanted, row[name])


def test_google2011_usage_is_that_of_the_first_execution(read):
    rows, metadata = read("google2011")
    check(
        rows,
        [
            # 0.25 x 120 s + 0.5 x 40 s of the largest machine; the window from 760 s on is after the end.
            {
                "job": 1,
                "task_index": 0,
                "queue_s": 10.0,
                "cpu_core_s": (0.25 * 120 + 0.5 * 40) * 16,
                "mem_used_gb": (0.5 * 120 + 0.25 * 40) / 160 * 32,
                "disk_io_s": 0.1 * 120,
            },
            {"job": 1, "task_index": 1, "queue_s": 1.0, "cpu_core_s": NAN, "mem_used_gb": NAN},
            {"job": 3, "task_index": 0, "outcome": "censored", "cpu_core_s": NAN},
        ],
    )
    assert metadata.rows["task_usage"] == 4
    assert metadata.rows["machine_attributes"] == 2


def test_google2019_maps_its_own_event_numbers_tiers_and_missing_fields(read):
    rows, metadata = read("google2019")
    check(
        rows,
        [
            {
                "arrival_s": 700.0,
                "tenant": "user1=",
                "job": 1,
                "task_index": 0,
                "shard_key": "name1",
                "priority": 360,
                "scheduling_class": 1,
                "slo_class": 0,
                "cpu_cores": 2.0,
                "mem_gb": 8.0,
                "duration_s": 50.0,
                "outcome": "finished",
                "queue_s": 10.0,
                "cpu_core_s": 0.5 * 20 * 16,
                "mem_used_gb": 8.0,
            },
            {
                "arrival_s": 701.0,
                "task_index": 1,
                "slo_class": 1,
                "cpu_cores": NAN,
                "outcome": "evicted",
                "duration_s": 98.0,
            },
            {"arrival_s": 1000.0, "job": 4, "slo_class": 2, "outcome": "never_scheduled", "duration_s": NAN},
        ],
    )
    assert metadata.rows["events_of_alloc_sets"] == 1
    assert metadata.rows["tasks_present_at_time_0"] == 1
    assert metadata.rows["jobs_with_parent"] == 1
    assert [(m.count, m.cores, m.memory_gb) for m in metadata.machine_mix] == [(2, 8.0, 8.0)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_google2019_reads_bigquery_exports_alike(read, tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from tests.traces.small_traces import google2019_records

    for table, records in google2019_records().items():
        numbers = ("time", "collection_id", "priority", "machine_id", "start_time", "end_time", "parent_collection_id")
        typed = [
            {
                key: str(value) if key == "type" else int(value) if key in numbers and value is not None else value
                for key, value in record.items()
                if key != "constraint"
            }
            for record in records
        ]
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(typed), tmp_path / f"{table}-000000000000.parquet")
            continue
        flat = []
        for record in typed:
            row = {}
            for key, value in record.items():
                row.update({f"{key}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value})
            flat.append(row)
        names = list(dict.fromkeys(name for row in flat for name in row))
        arrow = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in flat])
        pyarrow.csv.write_csv(arrow, tmp_path / f"{table}-000000000000.csv")
    find_format("google2019").import_folder(tmp_path, tmp_path / "t.parquet", engine=EngineConfig("300MB", 2))
    expected, _ = read("google2019")
    check(rows_of(load_tasks(tmp_path / "t.parquet"), TASK_COLUMNS), expected)


def test_alibaba2017_joins_instances_and_keeps_what_waits(read):
    rows, metadata = read("alibaba2017")
    check(
        rows,
        [
            {
                "arrival_s": 100.0,
                "job": 7,
                "task_index": 1,
                "instances": 3,
                "slo_class": 2,
                "cpu_cores": 0.5,
                "mem_gb": 128.0,
                "duration_s": 50.0,  # first start 110, last end 160
                "queue_s": 10.0,
                "cpu_core_s": 0.25 * 20 + 0.5 * 40,
                "mem_used_gb": (0.1 * 20 + 0.4 * 40) / 60 * 256,
                "outcome": "finished",
                "parents": None,
            },
            {"arrival_s": 100.0, "task_index": 2, "duration_s": 0.0, "outcome": "finished", "queue_s": NAN},
            {"arrival_s": 200.0, "duration_s": NAN, "outcome": "never_scheduled", "cpu_cores": NAN, "queue_s": NAN},
            {"arrival_s": 300.0, "duration_s": 600.0, "outcome": "censored", "duration_censored": True},
            {"arrival_s": 400.0, "duration_s": 20.0, "outcome": "failed"},
            {
                "arrival_s": 500.0,
                "job": 2**40 + 2,
                "slo_class": 0,
                "cpu_cores": 8.0,
                "duration_s": 100.0,
                "outcome": "finished",
                "instances": 1,
            },
        ],
    )
    assert metadata.rows["tasks_created_before_the_trace"] == 1
    assert metadata.rows["tasks_that_end_before_they_begin"] == 1
    assert metadata.rows["instances_without_job_or_task"] == 1
    assert metadata.rows["containers_present_at_time_0"] == 1
    found = [(m.count, m.cores, m.memory_gb, m.published_cpu) for m in metadata.machine_mix]
    assert found == [(2, 64.0, 128.0, 1.0), (1, 32.0, 256.0, 0.5)]


def test_alibaba2018_reads_the_dag_from_task_names(read):
    rows, metadata = read("alibaba2018")
    # Job j_4 is number 1, j_5 is number 2. In j_5 the names sort J4_1_2, M1, R2_1, R5_9, task_...: indices 0 to 4.
    check(
        rows,
        [
            {
                "arrival_s": 1000.0,
                "job": 2,
                "task_index": 1,  # M1
                "parents": "",
                "instances": 2,
                "cpu_cores": 1.0,
                "mem_gb": 0.5 / 100 * 384,
                "duration_s": 11.0,  # 1001 to 1012
                "cpu_core_s": 0.5 * 5 + 1.0 * 10,
                "mem_used_gb": (0.2 * 5 + 0.4 * 10) / 15 / 100 * 384,
            },
            {"arrival_s": 1000.0, "task_index": 4, "parents": "", "outcome": "failed", "duration_s": 2.0},
            {"arrival_s": 1010.0, "task_index": 2, "parents": "1"},
            {"arrival_s": 1040.0, "task_index": 0, "parents": "1,2"},
            {"arrival_s": 1050.0, "task_index": 3, "parents": ""},
            {
                "arrival_s": 2000.0,
                "job": 1,
                "task_index": 0,
                "outcome": "censored",
                "duration_s": 1500.0,
                "instances": 1,
            },
            {"arrival_s": 2000.0, "job": 1, "task_index": 2, "outcome": "evicted", "parents": ""},
            {
                "arrival_s": 3000.0,
                "tenant": "app_2",
                "job": 2**40 + 2,
                "cpu_cores": 8.0,  # as first asked for
                "mem_gb": 3 / 100 * 384,
                "slo_class": 0,
                "parents": None,
                "duration_censored": True,
            },
        ],
    )
    assert metadata.rows["edges"] == 3
    assert metadata.rows["edges_to_tasks_that_are_not_there"] == 1
    assert metadata.rows["tasks_without_start"] == 1
    assert metadata.rows["containers_present_at_time_0"] == 1
    assert [(m.count, m.cores, m.memory_gb) for m in metadata.machine_mix] == [(1, 64.0, 192.0), (1, 96.0, 384.0)]


def test_alibaba_gpu2020_takes_the_wait_from_the_job(read):
    rows, metadata = read("alibaba-gpu2020")
    check(
        rows,
        [
            {"arrival_s": 1000.0, "job": 2, "task_index": 0, "outcome": "failed", "queue_s": 20.0, "gpus": NAN},
            {
                "arrival_s": 1000.0,
                "tenant": "alice",
                "shard_key": "g1",
                "task_index": 1,
                "instances": 2,
                "cpu_cores": 6.0,
                "mem_gb": 29.25,
                "gpus": 0.5,
                "duration_s": 20.0,
                "queue_s": 10.5,
                "cpu_core_s": 2 * 10 + 0.5 * 20,
                "mem_used_gb": (4 * 10 + 1 * 20) / 30,
            },
            {"arrival_s": 1500.0, "tenant": "bob", "outcome": "never_scheduled", "duration_s": NAN, "queue_s": NAN},
            {"arrival_s": 2000.0, "tenant": None, "outcome": "censored", "queue_s": 0.0, "gpus": 1.0},
        ],
    )
    assert metadata.rows["tasks_without_job"] == 1


def test_alibaba_gpu2023_takes_the_default_list_of_a_folder(read):
    rows, metadata = read("alibaba-gpu2023")
    check(
        rows,
        [
            {"arrival_s": 10.0, "job": 1, "gpus": 2.0, "duration_s": 40.0, "outcome": "finished", "slo_class": 2},
            {
                "arrival_s": 10.0,
                "job": 2,
                "cpu_cores": 6.0,
                "mem_gb": 1000 * 2**20 / 1e9,
                "gpus": 0.46,
                "queue_s": 5.0,
                "duration_s": 95.0,
                "outcome": "killed",
                "slo_class": 0,
            },
            {"arrival_s": 30.0, "outcome": "failed", "slo_class": 1},
            {"arrival_s": 35.0, "outcome": "never_scheduled", "duration_s": NAN, "queue_s": NAN},
        ],
    )
    assert [source.name for source in metadata.source_files] == [
        "openb_pod_list_default.csv",
        "openb_node_list_all_node.csv",
    ]


def test_azure_leaves_out_what_was_there_before_and_censors_what_stays(read):
    rows, metadata = read("azure-v1")
    check(
        rows,
        [
            {
                "arrival_s": 300.0,
                "tenant": "sub1",
                "job": 1,
                "task_index": 1,
                "shard_key": "dep1",
                "slo_class": 0,
                "cpu_cores": 2.0,
                "mem_gb": 3.5,
                "duration_s": 600.0,
                "cpu_core_s": 600.0,
                "outcome": "finished",
            },
            {"arrival_s": 300.0, "job": 2, "slo_class": 1, "duration_s": 2591400.0, "outcome": "censored"},
            {"arrival_s": 600.0, "job": 1, "task_index": 2, "slo_class": 2, "mem_gb": 0.75},
        ],
    )
    assert metadata.rows["vms_present_at_time_0"] == 1


def test_azure_v2_sizes_are_the_tops_of_buckets(read):
    rows, _ = read("azure-v2")
    assert [(row["cpu_cores"], row["mem_gb"]) for row in rows] == [(4.0, 8.0), (24.0, 64.0), (8.0, 2.0)]


def test_azure_packing_takes_the_share_of_the_largest_machine(read):
    rows, metadata = read("azure-packing2020")
    check(
        rows,
        [
            {
                "arrival_s": 21600.0,
                "tenant": "9",
                "job": 2,
                "priority": 0,
                "slo_class": 2,
                "cpu_cores": 2.0,
                "mem_gb": 8.0,
                "duration_s": 21600.0,
            },
            {
                "arrival_s": 86400.0,
                "job": 3,
                "priority": 1,
                "slo_class": 0,
                "duration_s": 89 * 86400.0,
                "outcome": "censored",
            },
            {"arrival_s": 172800.0, "job": 4, "cpu_cores": NAN},
        ],
    )
    assert metadata.rows["vms_present_at_the_start"] == 1
    assert metadata.rows["vms_of_unknown_type"] == 1


def test_snowset_keeps_what_queries_really_used(read):
    rows, metadata = read("snowset")
    check(
        rows,
        [
            {
                "arrival_s": 0.0,
                "job": 12,
                "shard_key": None,
                "slo_class": 2,
                "queue_s": NAN,
                "write_mb": 4.0,
                "mem_used_gb": NAN,
            },
            {
                "arrival_s": 1.25,
                "tenant": "501",
                "job": 11,
                "shard_key": "901",
                "slo_class": 0,
                "priority": -1,
                "cpu_cores": 32.0,
                "mem_gb": NAN,
                "duration_s": 2.0,
                "queue_s": 0.09,
                "cpu_core_s": 10.0,
                "mem_used_gb": 2.0,
                "read_mb": 6.0,
                "write_mb": 0.0,
                "spill_mb": 3.5,
                "outcome": "finished",
            },
            {"arrival_s": 86400.0, "job": 2**63 - 1, "slo_class": 1, "cpu_core_s": NAN},
        ],
    )
    assert metadata.rows["queries_write_only"] == 1
    assert metadata.span_end_s == 86401.0


def test_redset_tells_provisioned_from_serverless_clusters_and_counts_tables(read):
    rows, metadata = read("redset")
    check(
        rows,
        [
            {
                "arrival_s": 5.0,
                "tenant": "serverless-3",
                "slo_class": 2,
                "outcome": "killed",
                "duration_s": 0.1,
                "shard_key": "serverless-3:1:4",
                "tables_read": -1,
                "tables_written": 1,
            },
            {
                "arrival_s": 10.5,
                "tenant": "provisioned-3",
                "job": (3 << 40) + 77,
                "shard_key": "provisioned-3:1:5,9",
                "slo_class": 0,
                "cpu_cores": NAN,
                "duration_s": 2.0,
                "queue_s": 0.25,
                "read_mb": 120.0,
                "spill_mb": 8.0,
                "tables_read": 2,
                "tables_written": -1,
            },
            {"arrival_s": 86400.0, "tenant": "serverless-199", "shard_key": None, "slo_class": 1, "read_mb": NAN},
        ],
    )
    assert metadata.rows["queries_answered_from_cache"] == 1


def test_block_requests_become_rates_of_intervals(read):
    rows, metadata = read("alibaba-block")
    start = 1_577_808_000.0
    check(
        rows,
        [
            {
                "start_s": start,
                "interval_s": 10.0,
                "reads_per_s": 0.1,
                "writes_per_s": 0.1,
                "read_mb_per_s": 4096 / 1e7,
                "write_mb_per_s": 0.1,
                "latency_mean_s": NAN,
            },
            {"start_s": start + 10, "reads_per_s": 0.0, "writes_per_s": 0.1, "write_mb_per_s": 512 / 1e7},
        ],
    )
    assert metadata.rows["devices"] == 2
    assert metadata.rows["megabytes_written"] == 1


def test_the_length_of_an_interval_can_be_chosen(read):
    rows, metadata = read("cloudphysics", interval_s=0.5)
    check(
        rows,
        [
            {"start_s": 100.5, "interval_s": 0.5, "writes_per_s": 2.0, "write_mb_per_s": 512 / 5e5},
            {"start_s": 101.0, "reads_per_s": 2.0, "writes_per_s": 0.0, "read_mb_per_s": 4096 / 5e5},
            {"start_s": 111.0, "reads_per_s": 2.0},
        ],
    )
    assert "intervals of 0.5 s" in metadata.assumptions[-1]
    with pytest.raises(ValueError, match=r"expected 0\.001 to 86400 seconds, got 0"):
        find_format("cloudphysics").import_folder("x", "y", interval_s=0)


def test_msr_file_times_and_response_times(read):
    rows, _ = read("msr-block")
    # 128166372003061629 is 22 February 2007, 17:00:00.306 UTC; response times 113 and 286 whole microseconds.
    check(rows, [{"start_s": 1172163600.0, "latency_mean_s": (113 + 286) / 2 / 1e6, "read_mb_per_s": 32768 / 1e7}])


def test_tencent_sectors_and_seconds(read):
    rows, _ = read("tencent-block")
    check(
        rows,
        [
            {
                "start_s": 1538323200.0,
                "reads_per_s": 0.1,
                "read_mb_per_s": 8 * 512 / 1e7,
                "write_mb_per_s": 2 * 512 / 1e7,
            },
            {"start_s": 1538323200.0, "reads_per_s": 0.0, "write_mb_per_s": 16 * 512 / 1e7},
        ],
    )
