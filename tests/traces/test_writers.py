"""Generated tasks in published formats: what is written has the published layout, and reads back as it was drawn."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
import json
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
    trace = generate_trace(sparse("azure", 0.001), 31 * 24.0, seed=0)
    with pytest.raises(ValueError, match="at most the 30"):
        write_trace(trace, "azure-v1", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_unknown_formats_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of google2011, google2019"):
        find_writer("borg")


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_a_trace_needs_a_length(hours):
    with pytest.raises(ValueError, match="expected more than 0"):
        generate_trace(load_profile("snowset"), hours, seed=0)
