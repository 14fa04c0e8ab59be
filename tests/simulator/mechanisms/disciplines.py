"""One server in continuous time, event by event: what stepped clusters are compared with on equal arrivals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shared_response_s(arrival_s: NDArray[np.float64], size_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time in the system of each job, ``[jobs]``, where all that are there share the server equally."""
    left, finish_s = size_s.copy(), np.empty_like(size_s)
    present: list[int] = []
    now, following = 0.0, 0
    while present or following < len(size_s):
        arrives = arrival_s[following] if following < len(size_s) else np.inf
        next_done = int(left[present].argmin()) if present else -1
        departs = now + left[present[next_done]] * len(present) if present else np.inf
        then = min(arrives, departs)
        left[present] -= (then - now) / max(1, len(present))
        now = then
        if departs <= arrives:
            finish_s[present.pop(next_done)] = now
        else:
            present.append(following)
            following += 1
    return finish_s - arrival_s


def first_come_response_s(arrival_s: NDArray[np.float64], size_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time in the system of each job, ``[jobs]``, where one is served at a time, in the order of arrival."""
    finish_s, free_s = np.empty_like(size_s), 0.0
    for i, (arrives, size) in enumerate(zip(arrival_s, size_s, strict=True)):
        finish_s[i] = free_s = max(free_s, arrives) + size
    return finish_s - arrival_s
