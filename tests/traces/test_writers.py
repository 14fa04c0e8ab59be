"""Generated tasks in published formats: what is written has the published layout, and reads back as it was drawn."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from cloudsched_env.traces import load_tasks
from cloudsched_env.traces.google2011 import import_google2011
from cloudsched_env.traces.writers import MARKER, WRITERS, find_writer, is_generated, write_trace
from cloudsched_env.traces.writers.warehouses import REDSET_COLUMNS, SNOWSET_COLUMNS
from cloudsched_env.workload import RawTasks, TraceSource
from cloudsched_env.workload.canonical import generate_trace, write_table
from cloudsched_env.workload.profile import load_profile
from cloudsched_env.workload.stream_profile import StreamProfile

FORMATS = [writer.name for writer in WRITERS]


def sparse(name: str, factor: float = 0.1) -> StreamProfile:
    """A shipped profile with fewer jobs, so that hours of it are quickly written."""
    profile = load_profile(name)
    return dataclasses.replace(profile, jobs_per_s=factor * profile.jobs_per_s)


def google_trace(seed: int = 1):
    return generate_trace(sparse("google2011-nested", 0.2), 0.5, seed=seed)


@pytest.fixture(scope="module")
def google():
    return google_trace()


@pytest.fixture(scope="module")
def written(google, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    for name in FORMATS:
        write_trace(google, name, folder / name)
    return {name: folder / name for name in FORMATS}


def rows(path: Path) -> list[list[str]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return list(csv.reader(text.splitlines()))


def shards(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


@pytest.mark.parametrize("name", FORMATS)
def test_every_folder_says_that_it_is_generated_and_from_what(written, google, name):
    marker = json.loads((written[name] / MARKER).read_text())
    assert is_generated(written[name])
    assert not is_generated(written[name].parent)
    assert (marker["data_tag"], marker["format"], marker["profile"], marker["seed"]) == (
        "generated",
        name,
        "google2011-nested",
        1,
    )
    assert marker["tasks"] == len(google)
    files = {str(p.relative_to(written[name])) for p in written[name].rglob("*") if p.is_file()} - {MARKER}
    assert set(marker["sha256"]) == files
    for file, digest in marker["sha256"].items():
        assert hashlib.sha256((written[name] / file).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_seed_gives_the_same_bytes(written, tmp_path, name):
    write_trace(google_trace(), name, tmp_path / "again")
    again, first = (
        json.loads((folder / MARKER).read_text())["sha256"] for folder in (tmp_path / "again", written[name])
    )
    assert again == first


def test_another_seed_gives_another_trace(google):
    other = google_trace(seed=2)
    assert not np.array_equal(other.arrival_s[:50], google.arrival_s[:50])


def test_google2011_files_read_back_as_they_were_drawn(google, written, tmp_path):
    import_google2011(written["google2011"], tmp_path / "t.parquet")
    table = load_tasks(tmp_path / "t.parquet")
    assert len(table) == len(google)
    order = np.lexsort((google.task_index, google.job, np.rint(google.arrival_s * 1e6)))
    assert table["arrival_s"] == pytest.approx(600.0 + google.arrival_s[order], abs=2e-6)
    assert (table["task_index"] == google.task_index[order]).all()
    assert (table["job"] == 6_000_000_000 + google.job[order]).all()
    assert (table["priority"] == google.priority[order]).all()
    assert (table["scheduling_class"] == google.scheduling_class[order]).all()
    assert table["cpu_cores"] == pytest.approx(google.cpu_cores[order], rel=1e-5)
    assert table["mem_gb"] == pytest.approx(google.memory_gb[order], rel=1e-5)
    done = ~table["duration_censored"]
    assert table["duration_s"][done] == pytest.approx(google.duration_s[order][done], abs=2e-6)
    assert 0.3 < done.mean() < 1.0
    assert set(table.names("outcome")[done]) == {"finished"}
    assert (done == google.finished[order]).mean() > 0.999  # a task may end in the last microsecond
    assert set(table.names("tenant")) == {f"generated-user-{user:05d}" for user in np.unique(google.user)}
    users = table.names("tenant")
    assert [str(u).endswith(f"-{n:05d}") for u, n in zip(users, google.user[order], strict=True)] == [True] * len(users)
    assert len(set(table.names("shard_key"))) == len(np.unique(google.name))


def test_google2011_parts_are_split_by_time_as_published(tmp_path):
    trace = generate_trace(sparse("google2011-nested"), 3.0, seed=0)
    write_trace(trace, "google2011", tmp_path / "g")
    parts = sorted((tmp_path / "g" / "task_events").iterdir())
    assert [p.name for p in parts] == [f"part-{k:05d}-of-00500.csv.gz" for k in range(3)]
    for number, part in enumerate(parts):
        times = [int(row[0]) / 1e6 - 600.0 for row in rows(part)]
        assert times == sorted(times)
        assert 5011.0 * number <= times[0] <= times[-1] < 5011.0 * (number + 1)
    import_google2011(tmp_path / "g", tmp_path / "t.parquet")
    assert len(load_tasks(tmp_path / "t.parquet")) == len(trace)


def test_google2019_has_events_with_the_numbers_of_2019(google, written):
    instances = shards(written["google2019"] / "instance_events-000000000000.json.gz")
    by_type = {kind: [e for e in instances if e["type"] == kind] for kind in "036"}
    assert len(by_type["0"]) == len(by_type["3"]) == len(google)
    assert 0 < len(by_type["6"]) < len(google)
    assert [int(e["time"]) for e in instances] == sorted(int(e["time"]) for e in instances)
    requests = np.array([e["resource_request"]["cpus"] for e in by_type["0"]])
    assert np.sort(requests) == pytest.approx(np.sort(google.cpu_cores / google.machine_cores), rel=1e-5)
    collections = shards(written["google2019"] / "collection_events-000000000000.json.gz")
    assert len(collections) == len(google.first_of_job)


def test_alibaba_tables_have_their_columns_and_all_instances(google, written):
    jobs = len(google.first_of_job)
    for name, width, instances, count, sizes in (
        ("alibaba2017", 8, 12, 4, np.unique(google.job, return_counts=True)[1]),
        ("alibaba2018", 9, 14, 1, np.unique(google.job, return_counts=True)[1]),
    ):
        tasks = rows(written[name] / "batch_task.csv")
        assert len(tasks) == jobs
        assert {len(row) for row in tasks} == {width}
        assert [int(row[count]) for row in tasks] == sizes.tolist()
        copies = rows(written[name] / "batch_instance.csv")
        assert len(copies) == len(google)
        assert {len(row) for row in copies} == {instances}
    old = rows(written["alibaba2017"] / "batch_task.csv")
    assert [float(row[6]) for row in old] == pytest.approx(100 * google.cpu_cores[google.first_of_job], abs=0.51)
    assert {row[5] for row in old} == {"Terminated", "Running"}
    assert all(int(row[1]) > int(row[0]) for row in old)


# As the publishers describe them.
PAI_COLUMNS = {
    "pai_job_table": "job_name,inst_id,user,status,start_time,end_time",
    "pai_task_table": "job_name,task_name,inst_num,status,start_time,end_time,plan_cpu,plan_mem,plan_gpu,gpu_type",
    "pai_instance_table": "job_name,task_name,inst_name,worker_name,inst_id,status,start_time,end_time,machine",
    "pai_sensor_table": "job_name,task_name,worker_name,inst_id,machine,gpu_name,cpu_usage,gpu_wrk_util,avg_mem,"
    "max_mem,avg_gpu_wrk_mem,max_gpu_wrk_mem,read,write,read_count,write_count",
    "pai_group_tag_table": "inst_id,user,gpu_type_spec,group,workload",
    "pai_machine_spec": "machine,gpu_type,cap_cpu,cap_mem,cap_gpu",
}
POD_COLUMNS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
)
VM_COLUMNS = ["vmId", "tenantId", "vmTypeId", "priority", "starttime", "endtime"]
VM_TYPE_COLUMNS = ["id", "vmTypeId", "machineId", "core", "memory", "hdd", "ssd", "nic"]


def named_rows(columns: str, lines: list[list[str]]) -> list[dict[str, str]]:
    return [dict(zip(columns.split(","), line, strict=True)) for line in lines]


def test_pai_tables_have_their_columns_beside_them_and_name_each_other(google, written):
    folder = written["alibaba-gpu2020"]
    files = {f"{table}.{suffix}" for table in PAI_COLUMNS for suffix in ("csv", "header")}
    assert {path.name for path in folder.iterdir()} == files | {MARKER}
    table = {}
    for name, columns in PAI_COLUMNS.items():
        assert (folder / f"{name}.header").read_text() == columns + "\n"
        table[name.removeprefix("pai_")] = named_rows(columns, rows(folder / f"{name}.csv"))
    jobs, tasks, instances, sensors, groups, machines = (
        table[name]
        for name in ("job_table", "task_table", "instance_table", "sensor_table", "group_tag_table", "machine_spec")
    )
    first = google.first_of_job
    assert [job["user"] for job in jobs] == [f"generated-user-{user:05d}" for user in google.user[first]]
    assert [group["group"] for group in groups] == [f"generated-group-{name:05d}" for name in google.name[first]]
    assert [group["inst_id"] for group in groups] == [job["inst_id"] for job in jobs]
    assert [task["job_name"] for task in tasks] == [job["job_name"] for job in jobs]
    assert len({job["job_name"] for job in jobs}) == len(first)
    assert [float(task["inst_num"]) for task in tasks] == np.unique(google.job, return_counts=True)[1].tolist()
    assert [float(task["plan_cpu"]) for task in tasks] == pytest.approx(100 * google.cpu_cores[first], rel=1e-5)
    assert [float(task["plan_mem"]) for task in tasks] == pytest.approx(google.memory_gb[first], rel=1e-5)
    assert len(instances) == len(sensors) == len({one["worker_name"] for one in sensors}) == len(google)
    same = ("job_name", "task_name", "worker_name", "inst_id", "machine")
    assert [[one[key] for key in same] for one in instances] == [[one[key] for key in same] for one in sensors]
    assert {one["inst_id"] for one in instances} == {job["inst_id"] for job in jobs}
    assert {one["machine"] for one in instances} <= {machine["machine"] for machine in machines}
    assert [float(one["cpu_usage"]) for one in sensors] == pytest.approx(100 * google.cpu_cores, rel=1e-5)
    assert {one["gpu_wrk_util"] + one["read"] for one in sensors} == {""}
    assert {(task["plan_gpu"], task["gpu_type"]) for task in tasks} == {("0.0", "")}


def test_pai_rows_end_in_the_second_in_which_their_work_does_or_run_still(google, written):
    start = np.floor(google.arrival_s) + 1
    end = start + np.rint(google.duration_s)
    last = [end[google.job == job].max() for job in np.unique(google.job)]
    begun = start[google.first_of_job]
    for name, starts, ends in (
        ("pai_job_table", begun, last),
        ("pai_task_table", begun, last),
        ("pai_instance_table", start, end),
    ):
        expected = [
            ("Terminated", f"{a:.1f}", f"{b:.1f}") if b < google.length_s else ("Running", f"{a:.1f}", "")
            for a, b in zip(starts, ends, strict=True)
        ]
        found = named_rows(PAI_COLUMNS[name], rows(written["alibaba-gpu2020"] / f"{name}.csv"))
        assert [(row["status"], row["start_time"], row["end_time"]) for row in found] == expected
        assert {status for status, _, _ in expected} == {"Terminated", "Running"}


def test_pods_have_their_columns_and_are_deleted_unless_they_run(google, written):
    header, *lines = rows(written["alibaba-gpu2023"] / "openb_pod_list_default.csv")
    assert ",".join(header) == POD_COLUMNS
    pods = named_rows(POD_COLUMNS, lines)
    assert len({pod["name"] for pod in pods}) == len(pods) == len(google)
    assert [int(pod["cpu_milli"]) for pod in pods] == pytest.approx(1000 * google.cpu_cores, abs=0.501)
    assert [int(pod["memory_mib"]) for pod in pods] == pytest.approx(google.memory_gb * 1e9 / 1024**2, abs=0.501)
    assert [pod["qos"] for pod in pods] == [("LS", "Burstable", "BE")[k] for k in google.slo_class]
    assert {(pod["num_gpu"], pod["gpu_milli"], pod["gpu_spec"]) for pod in pods} == {("0", "0", "")}
    created = np.floor(google.arrival_s) + 1
    deleted = created + np.rint(google.duration_s)
    assert [float(pod["creation_time"]) for pod in pods] == created.tolist()
    assert [float(pod["scheduled_time"]) for pod in pods] == created.tolist()
    expected = [("Succeeded", f"{end:.0f}") if end < google.length_s else ("Running", "") for end in deleted]
    assert [(pod["pod_phase"], pod["deletion_time"]) for pod in pods] == expected
    assert len(set(google.slo_class)) == 3
    assert {phase for phase, _ in expected} == {"Succeeded", "Running"}
    header, *nodes = rows(written["alibaba-gpu2023"] / "openb_node_list_all_node.csv")
    assert ",".join(header) == "sn,cpu_milli,memory_mib,gpu,model"
    assert len({node[0] for node in nodes}) == 1523
    assert {tuple(node[1:]) for node in nodes} == {("16000", "30518", "0", "")}  # 32 GB


def packing(folder: Path, trace) -> dict[str, list[dict]]:
    """Both tables of the packing trace."""
    write_trace(trace, "azure-packing2020", folder)
    with closing(sqlite3.connect(folder / "packing_trace_zone_a_v1.sqlite")) as database:
        database.row_factory = sqlite3.Row
        return {name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in ("vm", "vmType")}


def test_packing_requests_have_types_that_are_shares_of_a_machine(tmp_path):
    trace = generate_trace(sparse("azure"), 12.0, seed=0)
    tables = packing(tmp_path / "p", trace)
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"packing_trace_zone_a_v1.sqlite", MARKER}
    requests, types = tables["vm"], {row["vmTypeId"]: row for row in tables["vmType"]}
    assert [list(requests[0]), list(tables["vmType"][0])] == [VM_COLUMNS, VM_TYPE_COLUMNS]
    assert len(types) == len(tables["vmType"]) == len(set(zip(trace.cpu_cores, trace.memory_gb, strict=True))) > 3
    assert len({row["vmId"] for row in requests}) == len(requests) == len(trace)
    assert [row["tenantId"] for row in requests] == trace.user.tolist()
    assert [row["priority"] for row in requests] == [1 if slo == 2 else 0 for slo in trace.slo_class]
    shares = [(types[row["vmTypeId"]]["core"], types[row["vmTypeId"]]["memory"]) for row in requests]
    assert [core for core, _ in shares] == pytest.approx(trace.cpu_cores / 64, rel=1e-5)
    assert [memory for _, memory in shares] == pytest.approx(trace.memory_gb / 256, rel=1e-5)
    assert {(row["machineId"], row["hdd"], row["ssd"], row["nic"]) for row in types.values()} == {(0, None, None, None)}
    assert [86_400 * row["starttime"] for row in requests] == pytest.approx(trace.arrival_s)
    ends = trace.arrival_s + trace.duration_s
    assert [86_400 * row["endtime"] for row in requests] == pytest.approx(ends)
    assert (ends > trace.length_s).any()


def test_packing_machines_have_no_end_if_they_outlive_the_ninety_days(tmp_path):
    drawn = generate_trace(sparse("azure"), 12.0, seed=0)
    long = np.arange(len(drawn)) % 3 == 0
    trace = dataclasses.replace(drawn, duration_s=np.where(long, 91 * 86_400.0, drawn.duration_s))
    ends = [row["endtime"] for row in packing(tmp_path / "p", trace)["vm"]]
    assert [end is None for end in ends] == long.tolist()


def test_azure_machines_have_times_in_steps_of_five_minutes(tmp_path):
    trace = generate_trace(sparse("azure"), 12.0, seed=0)
    tables = {}
    for name in ("azure-v1", "azure-v2"):
        write_trace(trace, name, tmp_path / name)
        tables[name] = rows(tmp_path / name / "vmtable" / "vmtable.csv.gz")
        assert len(tables[name]) == len(trace)
        assert {len(row) for row in tables[name]} == {11}
        for row in tables[name]:
            created, deleted = int(row[3]), int(row[4])
            assert created % 300 == deleted % 300 == 0
            assert created < deleted <= 2_591_700
    assert [float(row[9]) for row in tables["azure-v1"]] == pytest.approx(trace.cpu_cores)
    assert set(trace.cpu_cores.tolist()) == {1.0, 2.0, 4.0, 8.0}
    assert {row[9] for row in tables["azure-v2"]} == {"2", "4", "8"}
    assert {row[10] for row in tables["azure-v2"]} == {"2", "4", "8", "32", "64"}


def test_warehouse_tables_have_their_columns_and_bytes(tmp_path):
    import pyarrow.parquet as pq

    trace = generate_trace(load_profile("snowset"), 0.02, seed=0)
    write_trace(trace, "snowset", tmp_path / "s")
    header, *queries = rows(tmp_path / "s" / "snowset-main.csv.gz")
    assert tuple(header) == SNOWSET_COLUMNS
    assert len(header) == 92
    assert len(queries) == len(trace)
    place = {column: k for k, column in enumerate(header)}
    assert [float(q[place["durationTotal"]]) for q in queries] == pytest.approx(1000 * trace.duration_s, abs=1.0)
    assert [float(q[place["scanBytes"]]) for q in queries] == pytest.approx(1e6 * trace.scan_mb, abs=1.0)
    assert {q[place["profSetup"]] for q in queries} == {"\\N"}

    trace = generate_trace(load_profile("redset"), 0.02, seed=0)
    write_trace(trace, "redset", tmp_path / "r")
    table = pq.read_table(tmp_path / "r" / "provisioned" / "full.parquet")
    assert tuple(table.column_names) == REDSET_COLUMNS
    assert len(REDSET_COLUMNS) == 24
    assert np.array(table["execution_duration_ms"]) == pytest.approx(1000 * trace.duration_s, abs=1.0)
    assert np.array(table["mbytes_scanned"]) == pytest.approx(trace.scan_mb, abs=0.51)


def test_the_task_table_is_tagged_generated_and_makes_episodes(google, tmp_path):
    trace = generate_trace(sparse("google2011-nested", 0.5), 3.0, seed=1)
    assert write_table(trace, tmp_path / "t.parquet") == len(trace)
    table = load_tasks(tmp_path / "t.parquet")
    assert table.metadata.data_tag == "generated"
    assert table["arrival_s"] == pytest.approx(trace.arrival_s)
    tasks = RawTasks.from_file(tmp_path / "t.parquet")
    assert tasks.cores_of_largest_machine == 16.0
    episode = TraceSource(tasks, "tiny-v1", "train").episode(np.random.default_rng(0))
    assert episode.data_tag == "generated"
    assert episode.details["source"] == "generated:google2011-nested"
    bytes_ = [(tmp_path / "t.parquet").read_bytes()]
    write_table(trace, tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").read_bytes() == bytes_[0]


def test_a_folder_that_exists_is_left_alone(google, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="choose a new folder"):
        write_trace(google, "google2011", tmp_path / "x")
    assert (tmp_path / "x" / "mine").read_text() == "keep"
    with pytest.raises(FileNotFoundError, match="create it first"):
        write_trace(google, "google2011", tmp_path / "no" / "x")


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    trace = generate_trace(sparse("azure", 0.001), 91 * 24.0, seed=0)
    for name, most in (("azure-v1", 30), ("azure-packing2020", 90)):
        with pytest.raises(ValueError, match=f"at most the {most}"):
            write_trace(trace, name, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of google2011, google2019"):
        find_writer("borg")


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_a_trace_needs_a_length(hours):
    with pytest.raises(ValueError, match="expected more than 0"):
        generate_trace(load_profile("snowset"), hours, seed=0)
