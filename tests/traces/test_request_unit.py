"""One unit of requests: for a table, with and without its machines, a profile that is fitted to it, and episodes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from cloudsched_env.scenario import load_scenario
from cloudsched_env.traces.formats import FORMATS, find_format, request_unit_of
from cloudsched_env.traces.staging import EngineConfig
from cloudsched_env.traces.writers import write_trace
from cloudsched_env.workload import GeneratedSource, TraceSource
from cloudsched_env.workload.canonical import generate_trace
from cloudsched_env.workload.fit import FitConfig, fit_profile, job_table
from cloudsched_env.workload.profile import load_profile, profile_names
from cloudsched_env.workload.stream import draw_window
from cloudsched_env.workload.stream_profile import StreamProfile
from cloudsched_env.workload.tasks import RawTasks
from tests.traces import small_traces as small

ENGINE = EngineConfig("1GB", 2)
TASK_FORMATS = [entry for entry in FORMATS if entry.kind == "tasks"]
MACHINE_FILES = {"alibaba2017": "server_event.csv", "alibaba2018": "machine_meta.csv"}


@pytest.mark.parametrize("entry", TASK_FORMATS, ids=lambda entry: entry.name)
def test_every_table_carries_the_unit_of_its_format(entry, tmp_path):
    folder = small.write(entry.name, tmp_path / "trace")
    metadata = entry.import_folder(folder, tmp_path / "t.parquet", engine=ENGINE)
    unit = entry.request_unit
    assert (metadata.request_cores, metadata.request_memory_gb) == (unit.cores, unit.memory_gb)
    assert RawTasks.from_file(tmp_path / "t.parquet").cores_of_largest_machine == unit.cores
    # A table of an older version does not carry it: the format still declares it.
    older = dataclasses.replace(metadata, request_cores=None, request_memory_gb=None)
    assert request_unit_of(older) == unit


@pytest.mark.parametrize("name", [name for name in profile_names() if name != "google2011"])
def test_shipped_profiles_are_in_the_unit_of_their_format(name):
    entry = {"google2011-nested": "google2011", "azure": "azure-v1"}.get(name, name)
    profile, unit = load_profile(name), find_format(entry).request_unit
    assert (profile.machine_cores, profile.machine_memory_gb) == (unit.cores, unit.memory_gb)


@pytest.fixture(scope="module", params=["alibaba2017", "alibaba2018"])
def alibaba(request, tmp_path_factory):
    """Two hours of the shipped profile as published files, imported with and without the table of machines."""
    home = tmp_path_factory.mktemp(request.param)
    profile = load_profile(request.param)
    rate = 0.05 if request.param == "alibaba2018" else 0.5
    thinner = dataclasses.replace(profile, jobs_per_s=rate * profile.jobs_per_s)
    write_trace(generate_trace(thinner, 2.0, seed=5), request.param, home / "trace")
    entry = find_format(request.param)
    entry.import_folder(home / "trace", home / "with.parquet", engine=ENGINE)
    (home / "trace" / MACHINE_FILES[request.param]).unlink()
    entry.import_folder(home / "trace", home / "without.parquet", engine=ENGINE)
    return (
        request.param,
        profile,
        RawTasks.from_file(home / "with.parquet"),
        RawTasks.from_file(home / "without.parquet"),
    )


def cores_of_a_task(window, unit: float) -> float:
    """Mean cores of a task, each job counted up to the fan-out cap."""
    return unit * float(window.cpu_request.mean())


def test_a_table_has_the_same_cores_with_and_without_its_machines(alibaba):
    _, _, with_machines, without = alibaba
    assert with_machines.cores_of_largest_machine == without.cores_of_largest_machine
    assert (with_machines.cpu_cores == without.cpu_cores).all()


def test_a_fitted_profile_and_its_table_agree_in_cores_of_a_task(alibaba):
    _, shipped, tasks, _ = alibaba
    span = (tasks.span_s[0], float(np.nextafter(tasks.span_s[1], np.inf)))
    jobs = job_table(tasks, span)
    config = FitConfig(kinds=24, machine_memory_gb=shipped.machine_memory_gb)
    fitted = StreamProfile.from_dict(fit_profile(jobs, "again", {"source": "test"}, config))
    assert fitted.machine_cores == tasks.cores_of_largest_machine == shipped.machine_cores
    real = jobs.machine_cores * np.average(jobs.cpu_request, weights=np.minimum(jobs.tasks, 16))
    published = np.minimum(np.unique(tasks.job, return_counts=True)[1], 16)
    by_hand = np.average(tasks.cpu_cores[np.unique(tasks.job, return_index=True)[1]], weights=published)
    assert real == pytest.approx(by_hand, rel=1e-9)  # cores as published, whatever the unit
    for profile in (fitted, shipped):
        windows = [draw_window(profile, 3600.0, 0.0, 16, np.random.default_rng(seed)) for seed in range(4)]
        drawn = np.concatenate([w.cpu_request for w in windows])
        assert profile.machine_cores * drawn.mean() == pytest.approx(real, rel=0.1)


def test_episodes_of_the_table_and_of_the_profile_offer_the_same_load_with_the_same_cores(alibaba):
    name, _, tasks, _ = alibaba
    # Files of two hours: compressed less, so that a window fits into a split.
    scenario = load_scenario(f"paper-{name}-v1", {"workload.time_compression": 15.0 if name == "alibaba2017" else 18.0})
    found = {}
    for source in (TraceSource(tasks, scenario, "train"), GeneratedSource(scenario, "train")):
        episodes = [source.episode(np.random.default_rng(seed)) for seed in range(8)]
        load = [episode.details["offered_load"]["cpu"] for episode in episodes]
        assert load == pytest.approx([scenario.workload.cpu_load] * 8, rel=1e-6)
        found[type(source)] = np.mean([episode.cores.mean() for episode in episodes])
    assert found[TraceSource] == pytest.approx(found[GeneratedSource], rel=0.12)
    assert found[TraceSource] > 1.2 * scenario.workload.minimum_cores  # not all at the smallest request
