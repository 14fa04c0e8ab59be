"""Cutting windows out of a long trace in time proportional to the window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload import assumptions as a
from cloudsched_env.workload.tasks import RawTasks
from cloudsched_env.workload.window import WindowTasks

__all__ = ["TraceIndex"]


class TraceIndex:
    """A trace prepared for windows: gaps filled once, and each task's place in its job known.

    Args:
        tasks: the trace.
        fan_out_limit: most tasks of one job in a window.
    """

    def __init__(self, tasks: RawTasks, fan_out_limit: int) -> None:
        self.arrival_s = tasks.arrival_s
        self._earlier = _earlier_task(tasks.job, fan_out_limit)
        self._user, self._name, self._job, self._slo_class = tasks.user, tasks.name, tasks.job, tasks.slo_class
        request = tasks.cpu_cores / tasks.cores_of_largest_machine
        self._cpu_request = np.where(np.isnan(request), a.MISSING_CPU_REQUEST, request)
        memory = np.where(np.isnan(tasks.memory_gb), a.MISSING_MEMORY_GB, tasks.memory_gb)
        self._memory_gb = np.maximum(memory, a.MINIMUM_MEMORY_REQUEST_GB)
        duration = np.where(tasks.censored, a.CENSORED_FACTOR * tasks.duration_s, tasks.duration_s)
        duration = np.where(np.isnan(duration), a.MISSING_DURATION_S, duration)
        self._duration_s = np.maximum(duration, a.MINIMUM_DURATION_S)

    def cut(self, start_s: float, length_s: float) -> WindowTasks:
        """Tasks that arrive in [start, start + length), the first ``fan_out_limit`` of each job.

        Args:
            start_s: start of the window on the trace's clock.
            length_s: trace seconds.
        """
        first, last = np.searchsorted(self.arrival_s, (start_s, start_s + length_s), side="left")
        # A task is within the cap if the task of its job that came `fan_out_limit` places earlier is not in the window.
        kept = first + np.flatnonzero(self._earlier[first:last] < first)
        return WindowTasks(
            offset_s=self.arrival_s[kept] - start_s,
            user=self._user[kept],
            name=self._name[kept],
            job=self._job[kept],
            slo_class=self._slo_class[kept],
            cpu_request=self._cpu_request[kept],
            memory_gb=self._memory_gb[kept],
            duration_s=self._duration_s[kept],
        )


def _earlier_task(job: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    """For each task the position of its job's task ``places`` places earlier, -1 if there is none."""
    order = np.argsort(job, kind="stable")
    earlier = np.full(len(job), -1, dtype=np.int64)
    if places < len(job):
        same = job[order[places:]] == job[order[:-places]]
        earlier[order[places:][same]] = order[:-places][same]
    return earlier
