"""From drawn tasks to what is written: published formats, and the canonical task table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from cloudsched_env import __version__
from cloudsched_env.traces.errors import require
from cloudsched_env.traces.metadata import MachineType, SyntheticColumn, TraceMetadata
from cloudsched_env.traces.table import arrow_schema, write_tasks
from cloudsched_env.traces.writers import GeneratedTrace
from cloudsched_env.traces.writers.generated import opaque
from cloudsched_env.workload.stream import draw_arrivals, draw_tasks
from cloudsched_env.workload.stream_profile import StreamProfile

__all__ = ["generate_trace", "write_table"]

_ROWS = 100_000


def generate_trace(profile: StreamProfile, hours: float, seed: int, start_hour: float = 0.0) -> GeneratedTrace:
    """Draw hours of tasks from a profile; the same seed gives the same tasks.

    Args:
        profile: what to draw from.
        hours: length of the trace.
        seed: seed of everything that is drawn.
        start_hour: hour of the day at which it begins.

    Raises:
        ValueError: if the length is not positive, or no task arrives in it.
    """
    if not hours > 0:
        raise ValueError(f"hours is {hours}: expected more than 0")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    length_s = 3600.0 * hours
    tasks = draw_tasks(profile, draw_arrivals(profile, length_s, rng, start_hour=start_hour), rng)
    if len(tasks) == 0:
        raise ValueError(f"no task arrives in {hours:g} h at {profile.jobs_per_s:g} jobs/s: ask for more hours")
    return GeneratedTrace(
        arrival_s=tasks.arrival_s,
        user=tasks.user,
        name=tasks.name,
        job=tasks.job,
        task_index=tasks.task_index,
        slo_class=tasks.slo_class,
        priority=tasks.priority,
        scheduling_class=tasks.scheduling_class,
        cpu_cores=tasks.cpu_request * profile.machine_cores,
        memory_gb=tasks.memory_gb,
        duration_s=tasks.duration_s,
        scan_mb=tasks.scan_mb,
        length_s=length_s,
        machine_cores=profile.machine_cores,
        machine_memory_gb=profile.machine_memory_gb,
        origin={
            "profile": profile.name,
            "seed": seed,
            "hours": hours,
            "start_hour": start_hour,
            "written_by": f"cloudsched-env {__version__}",
            "provenance": profile.provenance,
        },
    )


def write_table(trace: GeneratedTrace, path: str | os.PathLike[str]) -> int:
    """Write generated tasks as a task table, as an import would; its data tag is ``generated``.

    Args:
        trace: the tasks.
        path: the Parquet file.

    Returns:
        Rows written.

    Raises:
        ModuleNotFoundError: if pyarrow is missing (``pip install "cloudsched-env[traces]"``).
    """
    provenance = trace.origin["provenance"]
    missing = [
        SyntheticColumn(name, "the generator does not draw it", "workload stage, for each episode")
        for name in ("read_mb", "write_mb")
        if name == "write_mb" or not np.isfinite(trace.scan_mb).any()
    ]
    everything = SyntheticColumn(
        "all columns", "no trace was read", f"drawn from profile {trace.origin['profile']}, seed {trace.origin['seed']}"
    )
    metadata = TraceMetadata(
        format=f"generated:{trace.origin['profile']}",
        title=f"generated from profile {trace.origin['profile']}",
        mapping_version=1,
        data_tag="generated",
        span_start_s=0.0,
        span_end_s=trace.length_s,
        clock=f"second 0 is hour {trace.origin['start_hour']:g} of a day",
        parts_read=1,
        parts_published=1,
        rows={"arrivals": len(trace)},
        skipped_rows={},
        skipped_examples=(),
        synthetic_columns=(everything, *missing),
        derived_columns={},
        assumptions=tuple(f"{key}: {value}" for key, value in provenance.get("marginals", {}).items()),
        machine_mix=(MachineType(1, trace.machine_cores, trace.machine_memory_gb, 1.0, 1.0),),
        source_files=(),
        licence=provenance.get("licence", "not stated in the profile"),
        citation=provenance.get("authors", "not stated in the profile"),
        url=provenance.get("url", ""),
        written_by=trace.origin["written_by"],
        request_cores=trace.machine_cores,
        request_memory_gb=trace.machine_memory_gb,
    )
    return write_tasks(path, _batches(trace), metadata)


def _batches(trace: GeneratedTrace) -> Iterator[Any]:
    pa, schema = require("pyarrow"), arrow_schema()
    finished = trace.finished
    seen = np.where(finished, trace.duration_s, np.maximum(trace.length_s - trace.arrival_s, 1e-6))
    for first in range(0, len(trace), _ROWS):
        rows = slice(first, first + _ROWS)
        count = len(trace.job[rows])
        columns = {
            "arrival_s": trace.arrival_s[rows],
            "tenant": [opaque("user", user) for user in trace.user[rows].tolist()],
            "job": trace.job[rows],
            "task_index": trace.task_index[rows],
            "shard_key": [opaque("name", name) for name in trace.name[rows].tolist()],
            "priority": trace.priority[rows],
            "scheduling_class": pa.array(trace.scheduling_class[rows], mask=trace.scheduling_class[rows] < 0),
            "slo_class": trace.slo_class[rows],
            "cpu_cores": trace.cpu_cores[rows],
            "mem_gb": trace.memory_gb[rows],
            "duration_s": seen[rows],
            "duration_censored": ~finished[rows],
            "outcome": np.where(finished[rows], "finished", "censored").tolist(),
            "attempts": np.ones(count, dtype=np.int32),
            "instances": np.ones(count, dtype=np.int32),
            "read_mb": pa.array(trace.scan_mb[rows], from_pandas=True),
        }
        # Columns of the table that the generator does not draw are null, as in an import.
        arrays = [
            pa.array(columns[field.name]).cast(field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in schema
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
