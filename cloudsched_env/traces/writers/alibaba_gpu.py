"""Alibaba cluster-trace-gpu-v2020 and v2023: jobs of PAI with their instances, and pods; no GPUs are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cloudsched_env.traces import alibaba_gpu2020, alibaba_gpu2023
from cloudsched_env.traces.published import PublishedTable
from cloudsched_env.traces.writers.alibaba import PER_CORE, batches, whole_seconds
from cloudsched_env.traces.writers.generated import GeneratedTrace, opaque, write_lines

__all__ = ["write_alibaba_gpu2020", "write_alibaba_gpu2023"]

_ROLE = "worker"
_MACHINES_2020 = 1800
_NODES_2023 = 1523
_BYTES_PER_MIB = 2**20
_QOS = {0: "LS", 1: "Burstable", 2: "BE"}


def _header(table: PublishedTable) -> str:
    return ",".join(column.name for column in table.columns)


def _write_table(folder: Path, table: PublishedTable, lines: Iterable[str]) -> None:
    write_lines(folder / f"{table.name}.csv", lines)
    write_lines(folder / f"{table.name}.header", [_header(table)])


def _float(value: float) -> str:
    """Six significant digits, with a point as in the published files."""
    return str(float(f"{value:.6g}"))


def _last_status(start: int, end: int, *, ended: bool) -> str:
    """Status, start_time and end_time of a job, a task or an instance."""
    return f"Terminated,{start}.0,{end}.0" if ended else f"Running,{start}.0,"


def write_alibaba_gpu2020(trace: GeneratedTrace, folder: Path) -> None:
    """Write the six tables that an import reads, each without a header line, and with its header in a file beside it.

    A job of the generator is a job with one task, whose plan is that of its first instance; what has its name is of its
    group. Times are whole seconds and begin at 1, as 0 means before the trace; what still runs at the end has none
    there. The generator draws neither use nor GPUs: every worker uses what it asked for, plans and machines have 0
    GPUs, and what is measured of GPUs and networks is empty. Machines are those of the profile.

    Args:
        trace: the tasks.
        folder: where to.
    """
    first, count, last, ended = batches(trace)
    start, end = whole_seconds(trace)
    done = end < trace.length_s

    def jobs() -> Iterator[str]:
        for k, row in enumerate(first.tolist()):
            number = int(trace.job[row])
            yield (
                f"{opaque('job', number)},{opaque('inst', number)},{opaque('user', int(trace.user[row]))},"
                f"{_last_status(start[row], last[k], ended=ended[k])}"
            )

    def tasks() -> Iterator[str]:
        for k, row in enumerate(first.tolist()):
            yield (
                f"{opaque('job', int(trace.job[row]))},{_ROLE},{count[k]}.0,"
                f"{_last_status(start[row], last[k], ended=ended[k])},"
                f"{_float(PER_CORE * trace.cpu_cores[row])},{_float(trace.memory_gb[row])},0.0,"
            )

    def worker(row: int) -> str:
        return f"{opaque('worker', row)},{opaque('inst', int(trace.job[row]))}"

    def machine(row: int) -> str:
        return opaque("machine", 1 + row % _MACHINES_2020)

    def instances() -> Iterator[str]:
        for row in range(len(trace)):
            yield (
                f"{opaque('job', int(trace.job[row]))},{_ROLE},{opaque('instance', row)},{worker(row)},"
                f"{_last_status(start[row], end[row], ended=done[row])},{machine(row)}"
            )

    def sensors() -> Iterator[str]:
        for row in range(len(trace)):
            memory = _float(trace.memory_gb[row])
            yield (
                f"{opaque('job', int(trace.job[row]))},{_ROLE},{worker(row)},{machine(row)},,"
                f"{_float(PER_CORE * trace.cpu_cores[row])},,{memory},{memory},,,,,,"
            )

    groups = (
        f"{opaque('inst', int(trace.job[row]))},{opaque('user', int(trace.user[row]))},,"
        f"{opaque('group', int(trace.name[row]))},"
        for row in first
    )
    machines = (
        f"{machine(row)},,{trace.machine_cores:g},{trace.machine_memory_gb:g},0" for row in range(_MACHINES_2020)
    )
    _write_table(folder, alibaba_gpu2020.JOB, jobs())
    _write_table(folder, alibaba_gpu2020.TASK, tasks())
    _write_table(folder, alibaba_gpu2020.INSTANCE, instances())
    _write_table(folder, alibaba_gpu2020.SENSOR, sensors())
    _write_table(folder, alibaba_gpu2020.GROUP_TAG, groups)
    _write_table(folder, alibaba_gpu2020.MACHINE_SPEC, machines)


def write_alibaba_gpu2023(trace: GeneratedTrace, folder: Path) -> None:
    """Write openb_pod_list_default.csv and openb_node_list_all_node.csv, with header lines.

    A task of the generator is a pod of its own: users, jobs and names are not published. It is scheduled in the second
    in which it is created, and what still runs at the end has not been deleted. Requests are in thousandths of a core
    and MiB; no pod asks for a GPU, and no node has one. Nodes are those of the profile.

    Args:
        trace: the tasks.
        folder: where to.
    """
    start, end = whole_seconds(trace)
    done = end < trace.length_s
    cpu_milli = np.rint(1000 * trace.cpu_cores).astype(np.int64)
    memory_mib = np.rint(trace.memory_gb * 1e9 / _BYTES_PER_MIB).astype(np.int64)

    def pods() -> Iterator[str]:
        yield _header(alibaba_gpu2023.PODS)
        for row in range(len(trace)):
            phase, deleted = ("Succeeded", str(end[row])) if done[row] else ("Running", "")
            yield (
                f"{opaque('pod', row)},{cpu_milli[row]},{memory_mib[row]},0,0,,{_QOS[int(trace.slo_class[row])]},"
                f"{phase},{start[row]},{deleted},{start[row]}.0"
            )

    def nodes() -> Iterator[str]:
        yield _header(alibaba_gpu2023.NODES)
        size = f"{1000 * trace.machine_cores:.0f},{trace.machine_memory_gb * 1e9 / _BYTES_PER_MIB:.0f}"
        for node in range(1, _NODES_2023 + 1):
            yield f"{opaque('node', node)},{size},0,"

    write_lines(folder / "openb_pod_list_default.csv", pods())
    write_lines(folder / "openb_node_list_all_node.csv", nodes())
