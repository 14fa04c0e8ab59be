"""Alibaba cluster-trace-v2017 and v2018: batch tasks, their instances, and the machines; no header lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cloudsched_env.traces.writers.generated import GeneratedTrace, write_lines

__all__ = ["PER_CORE", "batches", "whole_seconds", "write_alibaba2017", "write_alibaba2018"]

PER_CORE = 100
"""plan_cpu of one core."""
_MACHINES_2017, _CORES_2017 = 1313, 64
_MACHINES_2018, _CORES_2018, _MEMORY_2018 = 4034, 96, 100


def whole_seconds(trace: GeneratedTrace) -> tuple[np.ndarray, np.ndarray]:
    """Whole seconds of start and end, ``[tasks]`` each; 0 would be before the trace, and a run is at least one long."""
    start = np.floor(trace.arrival_s).astype(np.int64) + 1
    return start, start + np.maximum(np.rint(trace.duration_s), 1).astype(np.int64)


def batches(trace: GeneratedTrace) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """First row, instances, second of the last end, and whether all of it has ended, of each job: ``[jobs]`` each."""
    first = trace.first_of_job
    count = np.diff(first, append=len(trace))
    _, end = whole_seconds(trace)
    last = np.maximum.reduceat(end, first) if len(first) else end
    return first, count, last, last < trace.length_s


def write_alibaba2017(trace: GeneratedTrace, folder: Path) -> None:
    """Write batch_task.csv, batch_instance.csv and server_event.csv.

    A job of the generator is a task with instances, of a job of its own. What still runs at the end has the end of the
    trace as the time at which it was last changed, as published.

    Args:
        trace: the tasks.
        folder: where to.
    """
    first, count, last, ended = batches(trace)
    start, end = whole_seconds(trace)
    final = int(trace.length_s)

    def tasks() -> Iterator[str]:
        for k, row in enumerate(first.tolist()):
            status = "Terminated" if ended[k] else "Running"
            yield (
                f"{start[row]},{min(last[k], final)},{trace.job[row] + 1},1,{count[k]},{status},"
                f"{trace.cpu_cores[row] * PER_CORE:.0f},{trace.memory_gb[row] / trace.machine_memory_gb:.6g}"
            )

    def instances() -> Iterator[str]:
        total = np.repeat(count, count)
        for row in range(len(trace)):
            status = "Terminated" if end[row] < final else "Running"
            yield (
                f"{start[row]},{min(end[row], final)},{trace.job[row] + 1},1,{1 + row % _MACHINES_2017},{status},"
                f"{trace.task_index[row] + 1},{total[row]},,,,"
            )

    write_lines(folder / "batch_task.csv", tasks())
    write_lines(folder / "batch_instance.csv", instances())
    machines = (f"0,{m},add,,{_CORES_2017},0.69,1.0" for m in range(1, _MACHINES_2017 + 1))
    write_lines(folder / "server_event.csv", machines)


def write_alibaba2018(trace: GeneratedTrace, folder: Path) -> None:
    """Write batch_task.csv, batch_instance.csv and machine_meta.csv.

    A job of the generator is an independent task (``task_...``, no edges of a DAG) of a job of its own.

    Args:
        trace: the tasks.
        folder: where to.
    """
    first, count, last, ended = batches(trace)
    start, end = whole_seconds(trace)
    final = int(trace.length_s)

    def request(row: int) -> tuple[float, float]:
        return trace.cpu_cores[row] * PER_CORE, 100.0 * trace.memory_gb[row] / trace.machine_memory_gb

    def tasks() -> Iterator[str]:
        for k, row in enumerate(first.tolist()):
            cpu, memory = request(row)
            status, stop = ("Terminated", last[k]) if ended[k] else ("Running", 0)
            job = trace.job[row] + 1
            yield f"task_generated{job},{count[k]},j_{job},1,{status},{start[row]},{stop},{cpu:.0f},{memory:.4g}"

    def instances() -> Iterator[str]:
        total = np.repeat(count, count)
        for row in range(len(trace)):
            cpu, memory = request(row)
            status, stop = ("Terminated", end[row]) if end[row] < final else ("Running", 0)
            job = trace.job[row] + 1
            yield (
                f"ins_{row + 1},task_generated{job},j_{job},1,{status},{start[row]},{stop},"
                f"m_{1 + row % _MACHINES_2018},{trace.task_index[row] + 1},{total[row]},"
                f"{cpu:.0f},{cpu:.0f},{memory:.4g},{memory:.4g}"
            )

    write_lines(folder / "batch_task.csv", tasks())
    write_lines(folder / "batch_instance.csv", instances())
    machines = (f"m_{m},0,{m % 292},{m % 20},{_CORES_2018},{_MEMORY_2018},USING" for m in range(1, _MACHINES_2018 + 1))
    write_lines(folder / "machine_meta.csv", machines)
