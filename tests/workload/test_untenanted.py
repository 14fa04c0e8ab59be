"""A table without users keeps all tenants busy."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from cloudsched_env.traces.formats import find_format
from cloudsched_env.traces.staging import EngineConfig
from cloudsched_env.workload.tasks import RawTasks
from tests.traces import small_traces as small


def test_each_job_without_a_user_is_a_user_of_its_own_and_its_tasks_share_it(tmp_path):
    folder = small.write("alibaba2017", tmp_path / "trace")
    find_format("alibaba2017").import_folder(folder, tmp_path / "t.parquet", engine=EngineConfig("300MB", 2))
    tasks = RawTasks.from_file(tmp_path / "t.parquet")
    jobs = np.unique(tasks.job)
    assert len(jobs) > 1
    assert len(np.unique(tasks.user)) == len(jobs)
    assert len(np.unique(np.stack((tasks.job.astype(np.uint64), tasks.user)), axis=1).T) == len(jobs)


def test_users_that_a_trace_has_are_kept(tmp_path):
    folder = small.write("azure-v1", tmp_path / "trace")
    find_format("azure-v1").import_folder(folder, tmp_path / "t.parquet", engine=EngineConfig("300MB", 2))
    tasks = RawTasks.from_file(tmp_path / "t.parquet")
    assert len(np.unique(tasks.user)) < len(tasks)
