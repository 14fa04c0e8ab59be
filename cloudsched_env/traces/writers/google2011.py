"""Google clusterdata-2011-2: parts of task_events and job_events, and machine_events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cloudsched_env.traces.writers.generated import GeneratedTrace, opaque, write_lines

__all__ = ["FIRST_JOB", "START_S", "write_google2011"]

START_S = 600.0
"""The published trace begins at 600 s; time 0 is what was there before."""
FIRST_JOB = 6_000_000_000
_PART_S = 5011.0
_PARTS = 500
_SUBMIT, _SCHEDULE, _FINISH = 0, 1, 4
_MICRO = 1_000_000
# (CPU, memory, machines) of the published machine_events at time 0, by capacity relative to the largest machine.
_MACHINES = ((0.5, 0.4995, 6672), (0.5, 0.2493, 3835), (0.5, 0.749, 992), (1.0, 1.0, 788), (0.25, 0.2498, 123))


def write_google2011(trace: GeneratedTrace, folder: Path) -> None:
    """Write the three tables that an import reads.

    A task is submitted, scheduled one microsecond later and finished after its run time; what would finish after the
    end is still running there. There are no evictions, failures or re-submissions.

    Args:
        trace: the tasks.
        folder: where to.

    Raises:
        ValueError: if the trace is longer than the published one.
    """
    if trace.length_s > _PARTS * _PART_S:
        raise ValueError(
            f"{trace.length_s / 3600:.0f} h do not fit into {_PARTS} parts: "
            f"expected at most {_PARTS * _PART_S / 3600:.0f} h"
        )
    submit = np.rint((START_S + trace.arrival_s) * _MICRO).astype(np.int64)
    schedule = submit + 1
    finish = schedule + np.maximum(np.rint(trace.duration_s * _MICRO), 1).astype(np.int64)
    rows = np.arange(len(trace))
    done = np.flatnonzero(finish < (START_S + trace.length_s) * _MICRO)
    time = np.concatenate((submit, schedule, finish[done]))
    row = np.concatenate((rows, rows, rows[done]))
    event = np.repeat([_SUBMIT, _SCHEDULE, _FINISH], [len(rows), len(rows), len(done)])
    order = np.lexsort((event, row, time))
    part = ((time[order] / _MICRO - START_S) / _PART_S).astype(np.int64).clip(0)
    jobs = trace.first_of_job
    job_part = ((submit[jobs] / _MICRO - START_S) / _PART_S).astype(np.int64).clip(0)
    for number in range(int(part.max(initial=0)) + 1):
        name = f"part-{number:05d}-of-{_PARTS:05d}.csv.gz"
        inside = order[part == number]
        write_lines(folder / "task_events" / name, _task_lines(trace, time[inside], row[inside], event[inside]))
        write_lines(folder / "job_events" / name, _job_lines(trace, submit, jobs[job_part == number]))
    write_lines(folder / "machine_events" / "part-00000-of-00001.csv.gz", _machine_lines())


def _task_lines(trace: GeneratedTrace, time: np.ndarray, row: np.ndarray, event: np.ndarray) -> Iterator[str]:
    cpu, memory = trace.cpu_cores / trace.machine_cores, trace.memory_gb / trace.machine_memory_gb
    machines = sum(count for _, _, count in _MACHINES)
    for t, r, kind in zip(time.tolist(), row.tolist(), event.tolist(), strict=True):
        machine = "" if kind == _SUBMIT else str(1 + r % machines)
        yield (
            f"{t},,{FIRST_JOB + trace.job[r]},{trace.task_index[r]},{machine},{kind},{opaque('user', trace.user[r])},"
            f"{max(trace.scheduling_class[r], 0)},{trace.priority[r]},{cpu[r]:.6g},{memory[r]:.6g},0,0"
        )


def _job_lines(trace: GeneratedTrace, submit: np.ndarray, rows: np.ndarray) -> Iterator[str]:
    for r in rows.tolist():
        number = trace.job[r]
        yield (
            f"{submit[r]},,{FIRST_JOB + number},{_SUBMIT},{opaque('user', trace.user[r])},"
            f"{max(trace.scheduling_class[r], 0)},{opaque('job', number)},{opaque('name', trace.name[r])}"
        )


def _machine_lines() -> Iterator[str]:
    machine = 0
    for cpu, memory, count in _MACHINES:
        for _ in range(count):
            machine += 1
            yield f"0,{machine},0,generated-platform,{cpu:g},{memory:g}"
