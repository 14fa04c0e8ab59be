"""Azure Public Dataset V1 and V2: the tables of virtual machines, subscriptions and deployments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cloudsched_env.traces.writers.generated import GeneratedTrace, opaque, write_lines

__all__ = ["write_azure_v1", "write_azure_v2"]

_STEP_S = 300
_LAST_S = 2_591_700  # of 30 days: machines that are there then have it as the time of their deletion
_CATEGORY = {0: "Interactive", 1: "Unknown", 2: "Delay-insensitive"}
_CORE_BUCKETS, _MOST_CORES = (2, 4, 8, 24), ">24"
_MEMORY_BUCKETS, _MOST_MEMORY = (2, 4, 8, 32, 64), ">64"


def _bucket(value: float, borders: tuple[int, ...], most: str) -> str:
    return next((str(border) for border in borders if value <= border), most)


def _write(trace: GeneratedTrace, folder: Path, *, buckets: bool) -> None:
    # A step later: 0 means before the trace.
    created = ((np.floor(trace.arrival_s / _STEP_S) + 1) * _STEP_S).astype(np.int64)
    if trace.length_s > _LAST_S - _STEP_S:
        raise ValueError(
            f"{trace.length_s / 86_400:.2f} days do not fit: expected at most the 30 of the published trace, less ten "
            "minutes"
        )
    steps = np.maximum(np.rint(trace.duration_s / _STEP_S), 1).astype(np.int64)
    deleted = np.minimum(created + steps * _STEP_S, _LAST_S)
    first = trace.first_of_job
    size = np.diff(first, append=len(trace))

    def machines() -> Iterator[str]:
        for row in range(len(trace)):
            cores, memory = trace.cpu_cores[row], trace.memory_gb[row]
            shown = (
                (_bucket(cores, _CORE_BUCKETS, _MOST_CORES), _bucket(memory, _MEMORY_BUCKETS, _MOST_MEMORY))
                if buckets
                else (f"{cores:g}", f"{memory:g}")
            )
            yield ",".join(
                (
                    opaque("vm", row),
                    opaque("subscription", int(trace.user[row])),
                    opaque("deployment", int(trace.job[row])),
                    str(created[row]),
                    str(deleted[row]),
                    "100",
                    "10",
                    "90",
                    _CATEGORY[int(trace.slo_class[row])],
                    *shown,
                )
            )

    def subscriptions() -> Iterator[str]:
        users, start, count = np.unique(trace.user, return_index=True, return_counts=True)
        for user, row, machines_of in zip(users.tolist(), start.tolist(), count.tolist(), strict=True):
            yield f"{opaque('subscription', user)},{created[row]},{machines_of}"

    write_lines(folder / "vmtable" / "vmtable.csv.gz", machines())
    write_lines(folder / "subscriptions" / "subscriptions.csv.gz", subscriptions())
    deployments = (f"{opaque('deployment', int(trace.job[row]))},{n}" for row, n in zip(first, size, strict=True))
    write_lines(folder / "deployment" / "deployment.csv.gz", deployments)


def write_azure_v1(trace: GeneratedTrace, folder: Path) -> None:
    """Write vmtable, subscriptions and deployment of V1: exact cores and memory.

    A task of the generator is a virtual machine, a job a deployment, a user a subscription. Times are multiples of
    300 s and begin at 300, as 0 means before the trace; a machine that is there after 30 days has the last time as that
    of its deletion, as published, even if machines are created during less time. Utilisation is the same for all: the
    generator does not draw it.

    Args:
        trace: the tasks.
        folder: where to.

    Raises:
        ValueError: if the trace is longer than the published one.
    """
    _write(trace, folder, buckets=False)


def write_azure_v2(trace: GeneratedTrace, folder: Path) -> None:
    """Write the same tables in the form of V2: cores and memory as buckets.

    Args:
        trace: the tasks.
        folder: where to.
    """
    _write(trace, folder, buckets=True)
