"""Azure traces for packing 2020: requests for virtual machines and their types, in one SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.traces.writers.generated import GeneratedTrace

__all__ = ["write_azure_packing2020"]

_FILE = "packing_trace_zone_a_v1.sqlite"
_DAY_S = 86_400.0
_DAYS = 90  # machines that outlive them have no end
_HIGH, _LOW = 0, 1
_MACHINE = 0
_BATCH = 2
_VM = "vmId INTEGER, tenantId INTEGER, vmTypeId INTEGER, priority INTEGER, starttime REAL, endtime REAL"
_VM_TYPE = "id INTEGER, vmTypeId INTEGER, machineId INTEGER, core REAL, memory REAL, hdd REAL, ssd REAL, nic REAL"


def _shares(amount: NDArray[np.float64], whole: float) -> list[float]:
    return [float(f"{share:.6g}") for share in (amount / whole).tolist()]


def write_azure_packing2020(trace: GeneratedTrace, folder: Path) -> None:
    """Write packing_trace_zone_a_v1.sqlite with the tables vm and vmType.

    A task of the generator is a request of its own (jobs and names are not published), a user a tenant; batch work has
    low priority, all other high. Each pair of cores and memory is a type, with its shares of the one machine, the
    profile's largest, to six significant digits; shares of disks, SSDs and network are null, as the generator does not
    draw them. As published, a machine keeps the time at which it is deleted even if that is after the last request, and
    has none if it is there after 90 days.

    Args:
        trace: the tasks.
        folder: where to.

    Raises:
        ValueError: if the trace is longer than the published one.
    """
    if trace.length_s > _DAYS * _DAY_S:
        raise ValueError(
            f"{trace.length_s / _DAY_S:.2f} days do not fit: expected at most the {_DAYS} of the published trace"
        )
    start = trace.arrival_s / _DAY_S
    end = (trace.arrival_s + trace.duration_s) / _DAY_S
    shares = np.column_stack(
        [_shares(trace.cpu_cores, trace.machine_cores), _shares(trace.memory_gb, trace.machine_memory_gb)]
    )
    types, kind = np.unique(shares, axis=0, return_inverse=True)
    requests = zip(
        range(len(trace)),
        trace.user.tolist(),
        kind.reshape(-1).tolist(),
        np.where(trace.slo_class == _BATCH, _LOW, _HIGH).tolist(),
        start.tolist(),
        (day if day <= _DAYS else None for day in end.tolist()),
        strict=True,
    )
    sizes = ((k, k, _MACHINE, core, memory, None, None, None) for k, (core, memory) in enumerate(types.tolist()))
    with contextlib.closing(sqlite3.connect(folder / _FILE, isolation_level=None)) as database:
        # Defaults of a build of SQLite: the file must not depend on them.
        database.execute("PRAGMA page_size = 4096")
        database.execute("PRAGMA auto_vacuum = NONE")
        # In one transaction, as the file counts those that changed it.
        database.execute("BEGIN")
        database.execute(f"CREATE TABLE vm ({_VM})")
        database.execute(f"CREATE TABLE vmType ({_VM_TYPE})")
        database.executemany("INSERT INTO vm VALUES (?, ?, ?, ?, ?, ?)", requests)
        database.executemany("INSERT INTO vmType VALUES (?, ?, ?, ?, ?, ?, ?, ?)", sizes)
        database.execute("COMMIT")
