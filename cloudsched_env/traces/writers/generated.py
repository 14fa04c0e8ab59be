"""The tasks that writers turn into published files, and a folder that appears only when it is complete."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.traces.marker import MARKER
from cloudsched_env.traces.writers.load import GeneratedLoad

__all__ = ["GeneratedTrace", "new_folder", "opaque", "write_lines", "write_marker"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class GeneratedTrace:
    """Generated tasks in order of arrival, ``[tasks]`` each; those of a job stand together.

    Attributes:
        arrival_s: since the start of the trace.
        user: number of the user.
        name: number of the logical name of the job.
        job: number of the job, ascending.
        task_index: number within the job, from 0.
        slo_class: 0 latency-critical, 1 normal, 2 batch.
        priority: priority of the traced system.
        scheduling_class: its scheduling class, 0 to 3, or -1.
        cpu_cores: requested cores.
        memory_gb: requested memory.
        duration_s: run time.
        scan_mb: bytes read, NaN if the profile does not say.
        length_s: length of the trace; what runs longer is still running at its end.
        machine_cores: cores of the largest machine.
        machine_memory_gb: memory of the largest machine.
        origin: profile, seed and provenance, for the marker.
    """

    arrival_s: Floats
    user: Integers
    name: Integers
    job: Integers
    task_index: Integers
    slo_class: NDArray[np.int32]
    priority: Integers
    scheduling_class: Integers
    cpu_cores: Floats
    memory_gb: Floats
    duration_s: Floats
    scan_mb: Floats
    length_s: float
    machine_cores: float
    machine_memory_gb: float
    origin: dict[str, Any]

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self.arrival_s)

    @property
    def counts(self) -> dict[str, int]:
        """What there is, for the marker."""
        return {"tasks": len(self)}

    @property
    def first_of_job(self) -> NDArray[np.intp]:
        """Row of the first task of each job, ``[jobs]``."""
        return np.flatnonzero(np.diff(self.job, prepend=-1))

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Which tasks end before the trace does, ``[tasks]``."""
        return self.arrival_s + self.duration_s < self.length_s


def opaque(kind: str, number: int) -> str:
    """A name like the anonymised ones of traces, which tells that it was generated: ``generated-user-00012``."""
    return f"generated-{kind}-{number:05d}"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as a text file, or gzip if the name ends in ``.gz``; the same lines give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as raw:
        compressed = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else None
        target: Any = compressed or raw
        waiting: list[str] = []
        for line in lines:
            waiting.append(line)
            if len(waiting) == _ROWS_AT_ONCE:
                target.write(("\n".join(waiting) + "\n").encode())
                waiting.clear()
        if waiting:
            target.write(("\n".join(waiting) + "\n").encode())
        if compressed:
            compressed.close()
        raw.flush()
        os.fsync(raw.fileno())


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that gets its name when the block ends without an error, and is deleted otherwise.

    Args:
        target: its name; nothing may be there yet, and its parent has to exist.

    Raises:
        FileExistsError: if something is there.
        FileNotFoundError: if the parent is missing.
    """
    if target.exists():
        raise FileExistsError(
            f"{target} exists: choose a new folder, so that nothing of it is mixed with what is there"
        )
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{target.absolute().parent}: no such folder to write {target.name} into; create it first"
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_marker(folder: Path, trace_format: str, trace: GeneratedTrace | GeneratedLoad) -> None:
    """Say in the folder what it is, with the checksum of every file."""
    files = {
        str(path.relative_to(folder).as_posix()): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {
        "data_tag": "generated",
        "format": trace_format,
        **trace.counts,
        "length_s": trace.length_s,
        **trace.origin,
        "sha256": files,
    }
    write_lines(folder / MARKER, [json.dumps(content, indent=1)])
