"""Genuine files of other traces, which lie beside the folder of Google 2011: known counts and known distributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloudsched_env.traces import load_tasks
from cloudsched_env.traces.alibaba2018 import MACHINE_META
from cloudsched_env.traces.badrows import find_bad_rows
from cloudsched_env.traces.formats import FORMATS
from cloudsched_env.traces.google2011 import TASK_USAGE
from cloudsched_env.traces.load_table import load_background
from cloudsched_env.traces.recognise import recognise

pytestmark = pytest.mark.real_trace


def beside(trace_dir: Path, *names: str) -> Path:
    """A folder or file beside that of Google 2011, or skip."""
    path = trace_dir.parent.joinpath(*names)
    if not path.exists():
        pytest.skip(f"no {'/'.join(names)} beside {trace_dir.name}")
    return path


def imported(folder: Path, target: Path, name: str):
    finding, _ = recognise(folder, FORMATS)
    assert finding.format.name == name
    finding.format.import_folder(folder, target)
    return load_tasks(target) if finding.format.kind == "tasks" else load_background(target)


def test_alibaba_2017_batch_tasks(trace_dir, tmp_path):
    table = imported(beside(trace_dir, "alibaba-v2017"), tmp_path / "t.parquet", "alibaba2017")
    rows = table.metadata.rows
    assert rows["batch_task"] == 80_553
    assert rows["batch_jobs"] == 12_951
    assert len(table) == 80_386
    assert table.metadata.data_tag == "full trace"
    finished = table["duration_s"][table.names("outcome") == "finished"]
    assert np.median(finished) == 28
    assert np.median(table["instances"]) == 2
    assert np.nanmedian(table["cpu_cores"]) == 0.5


def test_alibaba_2018_machines_are_well_formed(trace_dir):
    path = beside(trace_dir, "alibaba-v2018", "machine_meta.csv")
    with open(path, "rb") as lines:
        assert not list(find_bad_rows(lines, MACHINE_META))
    with open(path, "rb") as lines:
        assert len({line.split(b",")[0] for line in lines}) == 4_034


def test_google_2011_usage_rows_are_well_formed(trace_dir):
    path = beside(trace_dir, trace_dir.name, "samples", "task_usage_head_datagg_test.csv")
    with open(path, "rb") as lines:
        assert not list(find_bad_rows(lines, TASK_USAGE))


def test_azure_v1_sample(trace_dir, tmp_path):
    table = imported(beside(trace_dir, "azure-v1"), tmp_path / "t.parquet", "azure-v1")
    assert table.metadata.rows["vmtable"] == 10
    assert table.metadata.rows["vms_present_at_time_0"] == 7
    assert len(table) == 3


def test_cloudphysics_requests(trace_dir, tmp_path):
    table = imported(beside(trace_dir, "cloudphysics-block-io"), tmp_path / "t.parquet", "cloudphysics")
    rows = table.metadata.rows
    assert (rows["cloudphysics"], rows["reads"], rows["writes"]) == (113_872, 46_974, 66_898)
    total = (table["read_mb_per_s"] + table["write_mb_per_s"]).sum() * 10
    assert total / 113_872 * 1e6 == pytest.approx(36_936, abs=1)


def test_a_joined_spreadsheet_of_google_2019_is_not_taken_for_the_trace(trace_dir):
    with pytest.raises(ValueError, match="no known format fits"):
        recognise(beside(trace_dir, "google-clusterdata-2019"), FORMATS)
