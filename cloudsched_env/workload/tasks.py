"""The tasks of a trace as plain columns: what the window stage needs, and nothing of any trace format."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloudsched_env.traces.formats import request_unit_of
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.table import load_tasks
from cloudsched_env.workload.copies import copies_limit, places_in_job
from cloudsched_env.workload.episode import DataTag

__all__ = ["RawTasks", "stable_hash"]


def stable_hash(values: Iterable[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each string that is the same on every machine and in every process (BLAKE2b).

    Args:
        values: strings; repeated ones are hashed once.

    Returns:
        One number a string, uint64 ``[values]``.
    """
    strings = np.asarray(list(values), dtype=str)
    unique, inverse = np.unique(strings, return_inverse=True)
    digests = [int.from_bytes(hashlib.blake2b(s.encode(), digest_size=8).digest(), "little") for s in unique]
    return np.array(digests, dtype=np.uint64)[inverse.reshape(-1)]


@dataclass(frozen=True)
class RawTasks:
    """Tasks of a trace in order of arrival (ties by job, then task index); build one with `from_columns`.

    Attributes:
        arrival_s: first submission, seconds of the trace's clock, ascending, ``[tasks]``.
        user: stable hash of the submitting user, uint64 ``[tasks]``.
        name: stable hash of the logical job name: what runs again and again, uint64 ``[tasks]``.
        job: job number, int64 ``[tasks]``.
        task_index: index within the job, int64 ``[tasks]``.
        slo_class: 0 latency-critical, 1 normal, 2 batch, int32 ``[tasks]``.
        cpu_cores: requested cores, NaN where the trace has none, ``[tasks]``.
        memory_gb: requested memory, NaN where the trace has none, ``[tasks]``.
        duration_s: run time in trace seconds, NaN if it never ran, ``[tasks]``.
        censored: the run time is only a lower bound, bool ``[tasks]``.
        span_s: first and last second that the trace covers.
        cores_of_largest_machine: what a request of 1.0 is in ``cpu_cores`` (`traces.request_unit`).
        data_tag: ``"excerpt"``, ``"full trace"`` or ``"generated"``.
        source: name of the format or of the generator's profile, for result files.
        synthetic_columns: column name -> how it was filled, for what the trace does not hold.
        row: number of the given row, or of the row of the task table, that each task stems from, int64 ``[tasks]``;
            None if the columns were given as they are.
        copies_limit: most copies of one row that were kept (`cloudsched_env.workload.copies`); None if all were.
    """

    arrival_s: NDArray[np.float64]
    user: NDArray[np.uint64]
    name: NDArray[np.uint64]
    job: NDArray[np.int64]
    task_index: NDArray[np.int64]
    slo_class: NDArray[np.int32]
    cpu_cores: NDArray[np.float64]
    memory_gb: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    censored: NDArray[np.bool_]
    span_s: tuple[float, float]
    cores_of_largest_machine: float
    data_tag: DataTag
    source: str
    synthetic_columns: dict[str, str]
    row: NDArray[np.int64] | None = None
    copies_limit: int | None = None

    def __post_init__(self) -> None:
        """Check lengths, order and ranges.

        Raises:
            ValueError: naming the column and what was expected of it.
        """
        length = len(self.arrival_s)
        if length == 0:
            raise ValueError("the trace holds no arriving task: import more of it")
        for entry in fields(self):
            column = getattr(self, entry.name)
            if isinstance(column, np.ndarray) and column.shape != (length,):
                raise ValueError(f"column {entry.name!r} has shape {column.shape}: expected ({length},)")
        if not np.isfinite(self.arrival_s).all() or (np.diff(self.arrival_s) < 0).any():
            raise ValueError("column 'arrival_s' must be finite and ascending: build RawTasks with from_columns")
        for name in ("cpu_cores", "memory_gb", "duration_s"):
            if (getattr(self, name) < 0).any():
                raise ValueError(f"column {name!r} holds negative values: expected 0 or more, or NaN where unknown")
        if ((self.slo_class < 0) | (self.slo_class > 2)).any():
            raise ValueError("column 'slo_class' must be 0 (latency-critical), 1 (normal) or 2 (batch)")
        if not self.span_s[0] <= self.arrival_s[0] <= self.arrival_s[-1] <= self.span_s[1]:
            raise ValueError(f"arrivals lie outside span_s {self.span_s}")

    def __len__(self) -> int:
        """Number of tasks."""
        return len(self.arrival_s)

    @property
    def digest(self) -> str:
        """What tells results on this trace from those on another: of all arrivals and run times, 12 hexadecimal digits.

        Of what was read, not of the file: the same rows written by another version of a library are the same trace.
        """
        content = hashlib.sha256(np.ascontiguousarray(self.arrival_s).tobytes())
        content.update(np.ascontiguousarray(self.duration_s).tobytes())
        return content.hexdigest()[:12]

    @classmethod
    def from_columns(
        cls,
        *,
        arrival_s: ArrayLike,
        user: NDArray[Any],
        name: NDArray[Any],
        job: ArrayLike,
        task_index: ArrayLike,
        slo_class: ArrayLike,
        cpu_cores: ArrayLike,
        memory_gb: ArrayLike,
        duration_s: ArrayLike,
        censored: ArrayLike,
        instances: ArrayLike | None = None,
        span_s: tuple[float, float] | None = None,
        cores_of_largest_machine: float = RequestUnit.cores,
        data_tag: DataTag = "excerpt",
        source: str = "custom",
        synthetic_columns: dict[str, str] | None = None,
    ) -> RawTasks:
        """Sort columns by arrival, make every copy a task of its own, and convert to the types of `RawTasks`.

        Args:
            arrival_s: as the attribute, in any order.
            user: strings, or uint64 hashes.
            name: strings, or uint64 hashes.
            job: integers or strings; only equality counts.
            task_index: as the attribute.
            slo_class: as the attribute.
            cpu_cores: as the attribute.
            memory_gb: as the attribute.
            duration_s: as the attribute.
            censored: as the attribute.
            instances: equal tasks that each row stands for, 1 by default. They arrive together, and each has what its
                row has, the run time too; ``task_index`` then numbers the tasks of a job anew, from 0. Where there are
                more than memory should hold, a row keeps the first `copies_limit` of them.
            span_s: as the attribute; first and last arrival by default.
            cores_of_largest_machine: as the attribute.
            data_tag: as the attribute.
            source: as the attribute.
            synthetic_columns: as the attribute.

        Raises:
            ValueError: if a column has the wrong length or values out of range.
        """
        synthetic = dict(synthetic_columns or {})
        arrival = np.asarray(arrival_s, dtype=np.float64)
        if arrival.size == 0:
            raise ValueError("the trace holds no arriving task: import more of it")
        job_codes = np.unique(np.asarray(job), return_inverse=True)[1].reshape(-1).astype(np.int64)
        index = np.asarray(task_index, dtype=np.int64)
        if not len(arrival) == len(job_codes) == len(index):
            raise ValueError(f"columns differ in length: {len(arrival)} arrivals, {len(job_codes)} jobs")
        order = np.lexsort((index, job_codes, arrival))
        limit = None
        counts = np.ones(len(arrival), dtype=np.int64) if instances is None else np.asarray(instances, dtype=np.int64)
        if counts.shape != arrival.shape or (counts < 1).any():
            raise ValueError(f"column 'instances' must hold {len(arrival)} numbers of 1 or more")
        if (counts > 1).any():
            limit = copies_limit(counts)
            copies = counts if limit is None else np.minimum(counts, limit)
            index = places_in_job(job_codes[order], index[order], copies[order])
            order = np.repeat(order, copies[order])
            kept = "all of them" if limit is None else f"the first {limit:,} of a row, of at most {int(counts.max()):,}"
            synthetic["instances"] = f"equal tasks that arrive together, each with the run time of its row; {kept}"
        else:
            index = index[order]
        return cls(
            arrival_s=arrival[order],
            user=_hashes(user)[order],
            name=_hashes(name)[order],
            job=job_codes[order],
            task_index=index,
            slo_class=np.asarray(slo_class, dtype=np.int32)[order],
            cpu_cores=np.asarray(cpu_cores, dtype=np.float64)[order],
            memory_gb=np.asarray(memory_gb, dtype=np.float64)[order],
            duration_s=np.asarray(duration_s, dtype=np.float64)[order],
            censored=np.asarray(censored, dtype=np.bool_)[order],
            span_s=span_s if span_s is not None else (float(arrival.min()), float(arrival.max())),
            cores_of_largest_machine=cores_of_largest_machine,
            data_tag=data_tag,
            source=source,
            synthetic_columns=synthetic,
            row=order,
            copies_limit=limit,
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RawTasks:
        """Load the canonical task table that ``cloudsched traces import`` writes.

        Args:
            path: the Parquet file.

        Raises:
            TraceFormatError: if the file is missing or not a task table.
            ModuleNotFoundError: if the extra is missing: ``pip install "cloudsched-env[traces]"``.
        """
        table = load_tasks(path, _TABLE_COLUMNS)
        metadata = table.metadata
        # Users and names are hashed once each, not once a task. A job without a name has one of its own, and so has one
        # without a user: a single user for all of them would be one tenant, and leave all others without work.
        user = stable_hash([*table.categories["tenant"], ""])[table["tenant"]]
        jobs, job = np.unique(table["job"], return_inverse=True)
        own_name = stable_hash(f"job {number}" for number in jobs)[job.reshape(-1)]
        name = stable_hash([*table.categories["shard_key"], ""])[table["shard_key"]]
        name = np.where(table["shard_key"] < 0, own_name, name)
        user = np.where(table["tenant"] < 0, own_name, user)
        return cls.from_columns(
            arrival_s=table["arrival_s"],
            user=user,
            name=name,
            job=table["job"],
            task_index=table["task_index"],
            slo_class=table["slo_class"],
            cpu_cores=table["cpu_cores"],
            memory_gb=table["mem_gb"],
            duration_s=table["duration_s"],
            censored=table["duration_censored"],
            instances=np.maximum(table["instances"], 1),  # a row that counts none of itself is still one
            span_s=(metadata.span_start_s, metadata.span_end_s),
            cores_of_largest_machine=request_unit_of(metadata).cores,
            data_tag=metadata.data_tag,
            source=metadata.format,
            synthetic_columns={c.name: c.filled_by for c in metadata.synthetic_columns},
        )


_TABLE_COLUMNS = (
    "arrival_s",
    "tenant",
    "job",
    "task_index",
    "shard_key",
    "slo_class",
    "cpu_cores",
    "mem_gb",
    "duration_s",
    "duration_censored",
    "instances",
)


def _hashes(values: NDArray[Any]) -> NDArray[np.uint64]:
    array = np.asarray(values)
    if array.dtype == np.uint64:
        return array
    if array.dtype.kind in "iu":
        return array.astype(np.uint64)
    return stable_hash(array.astype(str))
