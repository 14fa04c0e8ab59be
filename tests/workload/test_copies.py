"""Rows that stand for several tasks: jobs have all of their tasks, and a limit on memory changes no episode."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload import RawTasks, TraceSource, copies
from cloudsched_env.workload.copies import LEAST_COPIES, MOST_COPIES, copies_limit, places_in_job
from cloudsched_env.workload.fit import job_table
from cloudsched_env.workload.index import TraceIndex

COLUMNS = ("arrival_s", "user", "name", "job", "task_index", "slo_class", "cpu_cores", "memory_gb", "duration_s")


def columns(rows: int, jobs: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of jobs in any order, each job with rows of its own indices."""
    rng = np.random.default_rng(seed)
    job = rng.integers(jobs, size=rows)
    return {
        "arrival_s": rng.integers(50, size=rows).astype(float),  # ties
        "user": rng.integers(3, size=rows).astype(np.uint64),
        "name": rng.integers(5, size=rows).astype(np.uint64),
        "job": job,
        "task_index": rng.permutation(rows),
        "slo_class": rng.integers(3, size=rows),
        "cpu_cores": rng.random(rows),
        "memory_gb": rng.random(rows),
        "duration_s": 1 + rng.random(rows),
        "censored": rng.random(rows) < 0.1,
    }


def test_rows_become_the_tasks_that_they_stand_for():
    tasks = RawTasks.from_columns(
        arrival_s=[7.0, 2.0, 7.0],
        user=np.array(["a", "b", "a"]),
        name=np.array(["x", "y", "x"]),
        job=[1, 2, 1],
        task_index=[5, 1, 3],
        slo_class=[2, 0, 1],
        cpu_cores=[0.5, 1.0, 0.25],
        memory_gb=[1.0, 2.0, 3.0],
        duration_s=[10.0, 20.0, 30.0],
        censored=[True, False, False],
        instances=[2, 1, 3],
    )
    assert tasks.arrival_s.tolist() == [2.0, 7.0, 7.0, 7.0, 7.0, 7.0]
    assert tasks.row.tolist() == [1, 2, 2, 2, 0, 0]
    assert tasks.task_index.tolist() == [0, 0, 1, 2, 3, 4]
    assert tasks.cpu_cores.tolist() == [1.0, 0.25, 0.25, 0.25, 0.5, 0.5]
    assert tasks.duration_s.tolist() == [20.0, 30.0, 30.0, 30.0, 10.0, 10.0]
    assert tasks.censored.tolist() == [False, False, False, False, True, True]
    assert tasks.copies_limit is None
    assert "all of them" in tasks.synthetic_columns["instances"]


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 2**31), st.integers(1, 30))
def test_tasks_of_each_job_are_the_sum_of_its_instances(rows, jobs, seed, most):
    given_columns = columns(rows, jobs, seed)
    instances = np.random.default_rng(seed + 1).integers(1, most + 1, size=rows)
    tasks = RawTasks.from_columns(**given_columns, instances=instances)
    names, codes = np.unique(given_columns["job"], return_inverse=True)
    assert np.bincount(tasks.job).tolist() == np.bincount(codes, instances, len(names)).tolist()
    for code in range(len(names)):
        places = np.sort(tasks.task_index[tasks.job == code])
        if most > 1 and (instances > 1).any():
            assert places.tolist() == list(range(len(places)))
    for name in COLUMNS[5:]:
        assert (getattr(tasks, name) == given_columns[name][tasks.row]).all()
    assert np.bincount(tasks.row, minlength=rows).tolist() == instances.tolist()


def test_a_table_without_copies_gives_the_same_bytes_with_and_without_the_column():
    given_columns = columns(500, 40)
    without = RawTasks.from_columns(**given_columns)
    given_ones = RawTasks.from_columns(**given_columns, instances=np.ones(500, dtype=np.int32))
    for entry in dataclasses.fields(RawTasks):
        one, other = getattr(without, entry.name), getattr(given_ones, entry.name)
        assert one.tobytes() == other.tobytes() if isinstance(one, np.ndarray) else one == other
    order = np.lexsort((given_columns["task_index"], given_columns["job"], given_columns["arrival_s"]))
    assert without.task_index.tolist() == given_columns["task_index"][order].tolist()  # indices as published
    assert "instances" not in without.synthetic_columns


@settings(max_examples=60)
@given(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=30), st.integers(1, 2_000_000))
def test_the_limit_is_the_largest_with_which_the_trace_fits(instances, bound):
    counts = np.array(instances, dtype=np.int64)
    limit = copies_limit(counts, bound)
    if limit is None:
        assert counts.max() <= MOST_COPIES
        assert counts.sum() <= bound or counts.max() <= LEAST_COPIES
        return
    assert LEAST_COPIES <= limit <= MOST_COPIES
    assert limit < counts.max()
    assert limit == LEAST_COPIES or np.minimum(counts, limit).sum() <= bound
    assert limit == MOST_COPIES or np.minimum(counts, limit + 1).sum() > bound


def test_the_least_and_most_copies_are_the_default_and_the_largest_fan_out_cap_of_scenarios():
    assert load_scenario("paper-v1").workload.fan_out_cap <= LEAST_COPIES
    with pytest.raises(ValueError, match="fan_out_cap"):
        load_scenario("paper-v1", {"workload.fan_out_cap": MOST_COPIES + 1})
    load_scenario("paper-v1", {"workload.fan_out_cap": MOST_COPIES})


def test_a_row_of_two_thousand_million_copies_stays_small():
    huge = RawTasks.from_columns(**columns(3, 3), instances=[2**31 - 1, 1, 2**31 - 1])
    assert len(huge) == 2 * MOST_COPIES + 1
    assert huge.copies_limit == MOST_COPIES
    assert "the first 100,000 of a row, of at most 2,147,483,647" in huge.synthetic_columns["instances"]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, LEAST_COPIES), st.floats(0, 45), st.floats(1, 20))
def test_windows_of_a_limited_trace_are_those_of_the_whole_one(seed, cap, start_s, length_s):
    given_columns = columns(30, 4, seed)
    instances = np.random.default_rng(seed).integers(1, 60, size=30)
    instances[0] = 40
    whole = RawTasks.from_columns(**given_columns, instances=instances)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies.copies_limit, "__defaults__", (1,))
        limited = RawTasks.from_columns(**given_columns, instances=instances)
    assert limited.copies_limit == LEAST_COPIES
    assert len(limited) < len(whole)
    one, other = (TraceIndex(tasks, cap).cut(start_s, length_s) for tasks in (whole, limited))
    for entry in dataclasses.fields(one):
        assert getattr(one, entry.name).tolist() == getattr(other, entry.name).tolist()


def test_fits_see_the_fan_out():
    given_columns = columns(200, 200)
    given_columns["job"] = np.arange(200)
    instances = np.random.default_rng(1).integers(1, 50, size=200)
    jobs = job_table(RawTasks.from_columns(**given_columns, instances=instances), (0.0, 50.0))
    order = np.argsort(given_columns["arrival_s"], kind="stable")
    assert jobs.tasks.tolist() == instances[order].tolist()


def many_copies(limit: int | None) -> RawTasks:
    rng = np.random.default_rng(0)
    rows = 4000
    tasks = RawTasks.from_columns(
        arrival_s=rng.uniform(0, 30_000, rows),
        user=rng.integers(20, size=rows).astype(np.uint64),
        name=rng.integers(40, size=rows).astype(np.uint64),
        job=np.arange(rows),
        task_index=np.zeros(rows),
        slo_class=rng.integers(3, size=rows),
        cpu_cores=rng.uniform(0.1, 1, rows),
        memory_gb=rng.uniform(0.1, 1, rows),
        duration_s=rng.lognormal(4, 1, rows),
        censored=np.zeros(rows),
        instances=rng.integers(1, 12, rows),
    )
    return dataclasses.replace(tasks, copies_limit=limit)


def test_episodes_have_jobs_of_several_tasks_and_say_how_they_came_about():
    episode = TraceSource(many_copies(None), "tiny-v1", "train").episode(np.random.default_rng(0))
    assert np.bincount(episode.job).max() > 4
    assert "equal tasks that arrive together" in episode.details["synthetic_columns"]["instances"]


def test_a_scenario_that_keeps_more_of_a_job_than_the_trace_has_is_refused():
    TraceSource(many_copies(LEAST_COPIES), load_scenario("tiny-v1", {"workload.fan_out_cap": LEAST_COPIES}))
    with pytest.raises(ValueError, match=r"only 16 of each are kept.*up to 17 tasks of a job: lower"):
        TraceSource(many_copies(LEAST_COPIES), load_scenario("tiny-v1", {"workload.fan_out_cap": LEAST_COPIES + 1}))


@pytest.mark.parametrize("instances", [[1, 0], [1, -3], [1], [1, 2, 3]])
def test_counts_that_make_no_sense_are_refused(instances):
    with pytest.raises(ValueError, match="column 'instances' must hold 2 numbers of 1 or more"):
        RawTasks.from_columns(**columns(2, 2), instances=instances)


def test_places_follow_the_index_of_rows_whatever_their_order():
    job, index, count = np.array([4, 9, 4, 4]), np.array([7, 0, 2, 5]), np.array([2, 1, 3, 1])
    assert places_in_job(job, index, count).tolist() == [4, 5, 0, 0, 1, 2, 3]
