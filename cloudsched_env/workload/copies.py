"""Rows that stand for several equal tasks: how many of them become tasks, and in which places of their job.

Alibaba publishes one row for all instances of a task, up to a hundred thousand of them; 14 million rows of the trace of
2018 stand for 1.35 thousand million. Episodes keep the first few tasks of a job (`WorkloadConfig.fan_out_cap`), so that
not every copy has to be in memory for them to be exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.config_tree import limits
from cloudsched_env.scenario import WorkloadConfig

__all__ = ["EXPANDED_TASKS_BOUND", "LEAST_COPIES", "MOST_COPIES", "copies_limit", "places_in_job"]

EXPANDED_TASKS_BOUND = 15_000_000
"""Tasks that copies may bring a trace to before fewer of a row are kept: all 11.8 million of Alibaba 2017 are.

These take 1.7 GB with what windows need; the bound, about 2 GB."""

_LIMITS = limits(WorkloadConfig, "fan_out_cap")
assert _LIMITS is not None
LEAST_COPIES = int(WorkloadConfig().fan_out_cap)
"""Copies of a row that are always kept: what the shipped scenarios keep of a job."""
MOST_COPIES = int(_LIMITS[1])
"""Copies of a row that are ever kept: what a scenario can ask for."""


def copies_limit(instances: NDArray[np.int64], bound: int = EXPANDED_TASKS_BOUND) -> int | None:
    """Most copies of one row that become tasks, so that a trace fits into memory.

    Args:
        instances: tasks that each row stands for, at least 1, ``[rows]``.
        bound: tasks in all that the limit is chosen for. It is exceeded only where `LEAST_COPIES` of a row do.

    Returns:
        The limit, from `LEAST_COPIES` to `MOST_COPIES`; None if every copy is kept.
    """
    most = min(int(instances.max(initial=1)), MOST_COPIES)
    if int(np.minimum(instances, most).sum()) > bound:
        low, high = LEAST_COPIES, most  # the limit is at least low and less than high
        while high - low > 1:
            middle = (low + high) // 2
            fits = int(np.minimum(instances, middle).sum()) <= bound
            low, high = (middle, high) if fits else (low, middle)
        most = min(low, most)
    return None if most == int(instances.max(initial=1)) else most


def places_in_job(
    job: NDArray[np.int64], task_index: NDArray[np.int64], copies: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Place of each copy within its job: rows in order of their index, the copies of a row one after the other.

    Args:
        job: of each row, ``[rows]``.
        task_index: of each row, ``[rows]``.
        copies: of each row, ``[rows]``.

    Returns:
        Places from 0 in the order of ``np.repeat(rows, copies)``, ``[copies.sum()]``.
    """
    order = np.lexsort((task_index, job))
    before = np.cumsum(copies[order]) - copies[order]
    first = np.flatnonzero(np.diff(job[order], prepend=job[order][0] - 1))
    rows_of_job = np.diff(first, append=len(order))
    place = np.empty(len(job), dtype=np.int64)
    place[order] = before - np.repeat(before[first], rows_of_job)
    ends = np.cumsum(copies)
    return np.repeat(place - (ends - copies), copies) + np.arange(int(ends[-1]))
