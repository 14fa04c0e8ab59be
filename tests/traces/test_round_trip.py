"""From a profile through published files and the readers back: counts, sums and requests are those that were drawn."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from cloudsched_env.traces import TraceFormatError, load_tasks
from cloudsched_env.traces.azure_vm import HOST_CORES, HOST_MEMORY_GB
from cloudsched_env.traces.formats import FORMATS, find_format
from cloudsched_env.traces.recognise import recognise
from cloudsched_env.traces.staging import EngineConfig
from cloudsched_env.traces.writers import MARKER, WRITERS, write_trace
from cloudsched_env.workload.canonical import generate_trace
from cloudsched_env.workload.fit import job_table
from cloudsched_env.workload.profile import load_profile
from cloudsched_env.workload.tasks import RawTasks

ENGINE = EngineConfig("1GB", 2)
# Format: profile, share of its jobs, hours; a thousand to five thousand tasks each.
DRAWN = {
    "google2011": ("google2011-nested", 0.2, 0.5),
    "google2019": ("google2011-nested", 0.2, 0.5),
    "alibaba2017": ("alibaba2017", 0.05, 0.5),
    "alibaba2018": ("alibaba2018", 0.005, 0.5),
    "alibaba-gpu2020": ("alibaba2018", 0.005, 0.5),
    "alibaba-gpu2023": ("google2011-nested", 0.2, 0.5),
    "azure-v1": ("azure", 0.5, 4.0),
    "azure-v2": ("azure", 0.5, 4.0),
    "azure-packing2020": ("azure", 0.5, 4.0),
    "snowset": ("snowset", 1.0, 0.02),
    "redset": ("redset", 1.0, 0.02),
}
# A row is a task of its own: these do not publish which tasks are of a job.
TASKS_ALONE = ("alibaba-gpu2023", "azure-packing2020")
NO_USERS = ("alibaba2017", "alibaba2018", "alibaba-gpu2023")
# Classes of service that a format makes of 0, 1 and 2; without an entry, the same.
CLASSES = {
    "google2019": (2, 2, 2),  # from priorities: those of 2011 are all of its lowest tier
    "alibaba2017": (2, 2, 2),  # all is batch work
    "alibaba2018": (2, 2, 2),
    "alibaba-gpu2020": (2, 2, 2),
    "azure-packing2020": (0, 0, 2),  # high and low priority
    "snowset": (0, 0, 0),  # no query writes
    "redset": (0, 0, 2),  # queries read or load
}
RESOLUTION_S = {
    "alibaba2017": 1.0,
    "alibaba2018": 1.0,
    "alibaba-gpu2020": 1.0,
    "alibaba-gpu2023": 1.0,
    "azure-v1": 300.0,
    "azure-v2": 300.0,
}


def draw(name: str, seed: int = 3):
    profile, share, hours = DRAWN[name]
    profile = load_profile(profile)
    return generate_trace(dataclasses.replace(profile, jobs_per_s=share * profile.jobs_per_s), hours, seed=seed)


@pytest.fixture(scope="module", params=[writer.name for writer in WRITERS])
def trip(request, tmp_path_factory):
    """A drawn trace, its published files, and the table that `import auto` makes of them."""
    home = tmp_path_factory.mktemp(request.param)
    trace = draw(request.param)
    write_trace(trace, request.param, home / "trace")
    finding, _ = recognise(home / "trace", FORMATS)
    metadata = finding.format.import_folder(home / "trace", home / "t.parquet", engine=ENGINE)
    return SimpleNamespace(
        name=request.param,
        trace=trace,
        folder=home / "trace",
        target=home / "t.parquet",
        found=finding.format.name,
        metadata=metadata,
        table=load_tasks(home / "t.parquet"),
    )


def test_every_writer_is_tried_and_its_files_are_recognised(trip):
    assert sorted(DRAWN) == sorted(writer.name for writer in WRITERS)
    assert trip.found == trip.name


def test_the_table_is_tagged_generated_and_names_profile_and_seed(trip):
    metadata = trip.table.metadata
    drawn_from = f"profile {DRAWN[trip.name][0]}, seed 3"
    assert metadata.data_tag == "generated"
    assert metadata.format == trip.name
    assert drawn_from in metadata.title
    assert drawn_from in metadata.assumptions[0]
    assert metadata.synthetic_columns[0].name == "all columns"
    assert drawn_from in metadata.synthetic_columns[0].filled_by
    assert metadata.licence == load_profile(DRAWN[trip.name][0]).provenance["licence"]


def fan_out(trip) -> np.ndarray:
    """Tasks of each job that the format can tell apart."""
    if trip.name in TASKS_ALONE:
        return np.ones(len(trip.trace), dtype=np.int64)
    return np.unique(trip.trace.job, return_counts=True)[1]


def test_jobs_tasks_and_users_are_counted_as_drawn(trip):
    trace, table = trip.trace, trip.table
    drawn = fan_out(trip)
    jobs = np.unique(table["job"], return_inverse=True)[1].reshape(-1)
    assert int(table["instances"].sum(dtype=np.int64)) == len(trace) > 500
    assert np.sort(np.bincount(jobs, table["instances"])).tolist() == np.sort(drawn).tolist()
    assert trip.metadata.rows["arrivals"] == len(table)
    assert not trip.metadata.skipped_rows
    if trip.name in ("azure-v1", "azure-v2"):
        assert (
            trace.arrival_s[0] < 300
        )  # there are machines in the first step of the clock, whose 0 is before the trace
    users = 0 if trip.name in NO_USERS else len(np.unique(trace.user))
    assert len(table.categories["tenant"]) == users


def test_every_user_and_class_of_service_has_the_tasks_that_were_drawn(trip):
    trace, table = trip.trace, trip.table
    shown = np.array(CLASSES.get(trip.name, (0, 1, 2)))[trace.slo_class]
    copies = table["instances"]
    assert np.bincount(table["slo_class"], copies, 3).tolist() == np.bincount(shown, minlength=3).tolist()
    if trip.name not in NO_USERS:
        drawn = np.unique(trace.user, return_counts=True)[1]
        assert np.sort(np.bincount(table["tenant"], copies)).tolist() == np.sort(drawn).tolist()


def test_what_arrives_alike_is_what_was_drawn_alike(trip):
    trace, table = trip.trace, trip.table
    if trip.name in ("alibaba2017", "alibaba2018", "alibaba-gpu2023"):  # which do not publish it
        assert table.categories["shard_key"] == ()
        return
    alike = {
        "azure-v1": (trace.job,),  # a deployment
        "azure-v2": (trace.job,),
        "azure-packing2020": (trace.user, trace.cpu_cores, trace.memory_gb),  # machines of a type for a tenant
        "snowset": (trace.user,),  # a database
        "redset": (trace.user,),  # tables
    }.get(trip.name, (trace.name,))
    drawn = np.unique(np.column_stack(alike), axis=0, return_counts=True)[1]
    assert len(drawn) > 10
    assert np.sort(np.bincount(table["shard_key"], table["instances"])).tolist() == np.sort(drawn).tolist()


def test_arrivals_are_those_drawn_on_the_clock_of_the_format(trip):
    trace = trip.trace
    arrival = np.sort(np.repeat(trip.table["arrival_s"], trip.table["instances"]))
    drawn = np.sort(trace.arrival_s)
    shift = arrival[0] - drawn[0]
    assert np.abs(arrival - drawn - shift).max() <= RESOLUTION_S.get(trip.name, 1e-3)


def test_requests_are_those_drawn_within_the_rounding_of_the_format(trip):
    trace, table = trip.trace, trip.table
    copies = table["instances"]
    cpu, memory = (np.sort(np.repeat(table[name], copies)) for name in ("cpu_cores", "mem_gb"))
    if trip.name in ("google2011", "google2019"):
        assert cpu == pytest.approx(np.sort(trace.cpu_cores), rel=1e-5)
        assert memory == pytest.approx(np.sort(trace.memory_gb), rel=1e-5)
    elif trip.name in ("alibaba2017", "alibaba2018"):
        assert cpu == pytest.approx(np.sort(trace.cpu_cores), abs=0.00501)  # whole hundredths of a core
        # Published is the share of a machine's memory; how much that is, is an assumption of the reader.
        machine = max(m.memory_gb / m.published_memory for m in trip.metadata.machine_mix)
        assert memory / machine == pytest.approx(np.sort(trace.memory_gb) / trace.machine_memory_gb, rel=6e-4)
    elif trip.name == "alibaba-gpu2023":
        assert cpu == pytest.approx(np.sort(trace.cpu_cores), abs=0.000501)  # whole thousandths of a core
        assert memory == pytest.approx(np.sort(trace.memory_gb), abs=0.501 * 2**20 / 1e9)  # whole MiB
        assert (table["gpus"] == 0).all()
    elif trip.name == "azure-packing2020":
        # Published are shares of a machine, of which no size is known: the reader assumes one.
        unit = find_format(trip.name).request_unit
        assert cpu / unit.cores == pytest.approx(np.sort(trace.cpu_cores) / trace.machine_cores, rel=1e-5)
        shares = np.sort(trace.memory_gb) / trace.machine_memory_gb
        assert memory / unit.memory_gb == pytest.approx(shares, rel=1e-5)
        assert trip.metadata.machine_mix == ()
    elif trip.name == "alibaba-gpu2020":
        assert cpu == pytest.approx(np.sort(trace.cpu_cores), rel=1e-5)
        assert memory == pytest.approx(np.sort(trace.memory_gb), rel=1e-5)
        assert (table["gpus"] == 0).all()
        # Sensors say that what ended used what it asked for.
        seconds = np.maximum(np.rint(trace.duration_s), 1)
        ended = np.floor(trace.arrival_s) + 1 + seconds < trace.length_s
        used = (trace.cpu_cores * seconds)[ended].sum()
        assert np.nansum(table["cpu_core_s"], dtype=np.float64) == pytest.approx(used, rel=1e-5)
        known = np.isfinite(table["mem_used_gb"])
        assert known.sum() == len(np.unique(trace.job[ended])) < len(table)
        assert table["mem_used_gb"][known] == pytest.approx(table["mem_gb"][known], rel=1e-3)
    elif trip.name == "azure-v1":
        assert cpu == pytest.approx(np.sort(trace.cpu_cores), rel=1e-5)
        assert memory == pytest.approx(np.sort(trace.memory_gb), rel=1e-5)
    elif trip.name == "azure-v2":
        for found, drawn, tops in (
            (cpu, trace.cpu_cores, [2, 4, 8, 24]),
            (memory, trace.memory_gb, [2, 4, 8, 32, 64]),
        ):
            top = np.array([*tops, tops[-1]], dtype=float)[np.searchsorted(tops, np.sort(drawn))]
            assert found.tolist() == top.tolist()
    elif trip.name == "snowset":  # publishes what was used, and the size of the warehouse
        used = trace.cpu_cores * np.maximum(np.rint(1000 * trace.duration_s), 1) / 1000
        assert np.sort(table["cpu_core_s"]) == pytest.approx(np.sort(used), abs=2e-6)
        assert np.sort(table["mem_used_gb"]) == pytest.approx(np.sort(trace.memory_gb), abs=1e-8)
    else:
        assert trip.name == "redset"  # which publishes neither
        assert np.isnan(cpu).all()
        assert np.isnan(memory).all()


def test_run_times_are_those_drawn_as_far_as_the_format_shows_them(trip):
    trace, table = trip.trace, trip.table
    ended = ~table["duration_censored"]
    found = table["duration_s"]
    if trip.name in ("google2011", "google2019"):
        assert abs(int(ended.sum()) - int(trace.finished.sum())) <= 1  # a task may end in the last microsecond
        assert found[ended].sum() == pytest.approx(trace.duration_s[trace.finished].sum(), rel=1e-4)
    elif trip.name == "alibaba-gpu2023":
        seconds = np.maximum(np.rint(trace.duration_s), 1)
        start = np.floor(trace.arrival_s) + 1
        whole = start + seconds < trace.length_s
        assert 0.2 < whole.mean() < 0.8
        assert np.sort(found[ended]).tolist() == np.sort(seconds[whole]).tolist()
        latest = max(start.max(), (start + seconds)[whole].max())  # all that the files say of the others
        assert np.sort(found[~ended]).tolist() == np.sort(latest - start[~whole]).tolist()
    elif trip.name.startswith("alibaba"):
        # A row is a job: from its beginning to the end of its last instance, in whole seconds.
        seconds = np.maximum(np.rint(trace.duration_s), 1)
        start = np.floor(trace.arrival_s)
        last = np.maximum.reduceat(start + seconds, trace.first_of_job)
        whole = last + 1 < trace.length_s
        assert ended.sum() == whole.sum()
        assert found[ended].sum() == (last - start[trace.first_of_job])[whole].sum()
    elif trip.name == "azure-packing2020":
        assert ended.all()  # within the 90 days for which machines were followed, and not only within the trace
        assert found == pytest.approx(trace.duration_s, abs=1e-3)
        assert (~trace.finished).sum() > 500
    elif trip.name.startswith("azure"):
        steps = np.maximum(np.rint(trace.duration_s / 300), 1)
        there = 300 * (np.floor(trace.arrival_s / 300) + 1)
        assert np.sort(found).tolist() == np.sort(np.minimum(300 * steps, 2_591_700 - there)).tolist()
    else:
        assert ended.all()
        milliseconds = np.maximum(np.rint(1000 * trace.duration_s), 1)
        assert np.sort(1000 * found) == pytest.approx(np.sort(milliseconds), abs=1e-3)


def test_bytes_read_are_those_drawn_where_the_format_has_them(trip):
    drawn, found = trip.trace.scan_mb, trip.table["read_mb"]
    if trip.name not in ("snowset", "redset"):
        assert np.isnan(found).all()
        return
    known = np.sort(drawn[np.isfinite(drawn)])
    assert len(known) > 100
    rounding = 0.501 if trip.name == "redset" else 1e-5
    assert np.sort(np.nan_to_num(found))[-len(known) :] == pytest.approx(known, abs=rounding)


def test_tasks_and_fits_have_the_fan_out_that_was_drawn(trip):
    drawn = fan_out(trip)
    tasks = RawTasks.from_file(trip.target)
    assert np.sort(np.bincount(tasks.job)).tolist() == np.sort(drawn).tolist()
    jobs = job_table(tasks, (tasks.span_s[0], np.nextafter(tasks.span_s[1], np.inf)))
    assert np.sort(jobs.tasks).tolist() == np.sort(drawn).tolist()


def test_azure_requests_are_the_shares_of_the_host_that_the_profile_assumes(trip):
    if trip.name not in ("azure-v1", "azure-v2"):
        assert all(machine.count > 0 for machine in trip.metadata.machine_mix)
        if trip.name.startswith("alibaba-gpu"):  # whose machines are those of the profile
            (machine,) = trip.metadata.machine_mix
            drawn = (trip.trace.machine_cores, trip.trace.machine_memory_gb)
            assert (machine.cores, machine.memory_gb) == pytest.approx(drawn, rel=1e-4)
        return
    profile = load_profile("azure")
    assert (profile.machine_cores, profile.machine_memory_gb) == (HOST_CORES, HOST_MEMORY_GB)
    tasks = RawTasks.from_file(trip.target)
    assert tasks.cores_of_largest_machine == profile.machine_cores
    if trip.name == "azure-v1":
        shares = np.sort(trip.trace.cpu_cores / trip.trace.machine_cores)
        assert np.sort(tasks.cpu_cores / tasks.cores_of_largest_machine) == pytest.approx(shares, rel=1e-5)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Generated files of Azure, in a folder inside another one."""
    home = tmp_path_factory.mktemp("files")
    (home / "around").mkdir()
    write_trace(draw("azure-v1"), "azure-v1", home / "around" / "made")
    return home / "around"


def imported(path: Path, target: Path):
    return find_format("azure-v1").import_folder(path, target, engine=ENGINE)


def test_one_file_of_a_generated_folder_and_a_folder_around_it_are_generated_too(files, tmp_path):
    for path in (files, files / "made", files / "made" / "vmtable" / "vmtable.csv.gz"):
        assert imported(path, tmp_path / "t.parquet").data_tag == "generated"


def test_files_without_a_marker_are_an_excerpt_and_a_marker_beside_them_does_not_count(files, tmp_path):
    shutil.copytree(files / "made" / "vmtable", tmp_path / "real" / "vmtable")
    shutil.copytree(files / "made", tmp_path / "made")
    metadata = imported(tmp_path / "real", tmp_path / "t.parquet")
    assert metadata.data_tag == "excerpt"
    assert "generated" not in metadata.title
    assert metadata.licence == find_format("azure-v1").licence


@pytest.mark.parametrize("text", ["", "{}", '{"profile": "azure", "seed": null, "hours": 1}', "[1]"])
def test_a_damaged_marker_is_an_error_and_not_a_real_trace(files, tmp_path, text):
    shutil.copytree(files / "made", tmp_path / "made")
    (tmp_path / "made" / MARKER).write_text(text)
    with pytest.raises(TraceFormatError, match="description of a generated trace cannot be read"):
        imported(tmp_path / "made", tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_import_and_evaluation_of_generated_files_show_the_tag(tmp_path):
    typer_testing = pytest.importorskip("typer.testing")
    from cloudsched_env.cli import build_app

    write_trace(generate_trace(load_profile("google2011-nested"), 3.0, seed=1), "google2011", tmp_path / "made")

    def call(*arguments: object) -> str:
        result = typer_testing.CliRunner().invoke(build_app(), [str(a) for a in arguments], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output + repr(result.exception)
        return " ".join(result.output.split())

    table = tmp_path / "t.parquet"
    text = call("traces", "import", "auto", tmp_path / "made", "-o", table)
    assert "no real trace: drawn from profile google2011-nested, seed 1, 3 h" in text
    assert ", generated (3 of 500 parts" in text
    assert "The files were generated from profile google2011-nested, seed 1, 3 h" in call("traces", "describe", table)
    results = tmp_path / "results.json"
    text = call("evaluate", "random", "--scenario", "tiny-v1", "--trace", table, "--episodes", 2, "--json", results)
    assert "data: generated" in text
    assert json.loads((tmp_path / "results.metadata.json").read_text())["data_tag"] == "generated"
