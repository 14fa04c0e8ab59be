"""Google clusterdata-2019: JSON shards of collection_events, instance_events and machine_events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.traces.writers.generated import GeneratedTrace, opaque, write_lines

__all__ = ["write_google2019"]

_START_S = 600.0
_MICRO = 1_000_000
_SHARD = "-000000000000.json.gz"
_FIRST_COLLECTION = 300_000_000_000
_SUBMIT, _SCHEDULE, _FINISH = 0, 3, 6  # the numbers differ from those of 2011
_MACHINES = 1000


def write_google2019(trace: GeneratedTrace, folder: Path) -> None:
    """Write one shard of each of the three tables, rows sorted by time, as BigQuery exports them.

    64-bit integers are strings, as in every JSON export of BigQuery.

    Args:
        trace: the tasks.
        folder: where to.
    """
    submit = np.rint((_START_S + trace.arrival_s) * _MICRO).astype(np.int64)
    finish = submit + 1 + np.maximum(np.rint(trace.duration_s * _MICRO), 1).astype(np.int64)
    write_lines(folder / f"collection_events{_SHARD}", _collections(trace, submit))
    write_lines(folder / f"instance_events{_SHARD}", _instances(trace, submit, finish))
    write_lines(folder / f"machine_events{_SHARD}", _machines())


def _common(trace: GeneratedTrace, row: int, time: int, kind: int) -> dict[str, Any]:
    return {
        "time": str(time),
        "type": str(kind),
        "collection_id": str(_FIRST_COLLECTION + int(trace.job[row])),
        "scheduling_class": str(max(int(trace.scheduling_class[row]), 0)),
        "collection_type": "0",
        "priority": str(int(trace.priority[row])),
        "alloc_collection_id": "0",
    }


def _collections(trace: GeneratedTrace, submit: np.ndarray) -> Iterator[str]:
    for row in trace.first_of_job.tolist():
        yield json.dumps(
            {
                **_common(trace, row, int(submit[row]), _SUBMIT),
                "user": opaque("user", int(trace.user[row])),
                "collection_name": opaque("collection", int(trace.job[row])),
                "collection_logical_name": opaque("name", int(trace.name[row])),
                "start_after_collection_ids": [],
                "vertical_scaling": "1",
                "scheduler": "0",
            }
        )


def _instances(trace: GeneratedTrace, submit: np.ndarray, finish: np.ndarray) -> Iterator[str]:
    rows = np.arange(len(trace))
    done = rows[finish < (_START_S + trace.length_s) * _MICRO]
    time = np.concatenate((submit, submit + 1, finish[done]))
    row = np.concatenate((rows, rows, done))
    kind = np.repeat([_SUBMIT, _SCHEDULE, _FINISH], [len(rows), len(rows), len(done)])
    for place in np.lexsort((kind, row, time)).tolist():
        r = int(row[place])
        yield json.dumps(
            {
                **_common(trace, r, int(time[place]), int(kind[place])),
                "instance_index": str(int(trace.task_index[r])),
                "machine_id": "0" if kind[place] == _SUBMIT else str(1 + r % _MACHINES),
                "alloc_instance_index": "-1",
                "resource_request": {
                    "cpus": float(f"{trace.cpu_cores[r] / trace.machine_cores:.6g}"),
                    "memory": float(f"{trace.memory_gb[r] / trace.machine_memory_gb:.6g}"),
                },
                "constraint": [],
            }
        )


def _machines() -> Iterator[str]:
    for machine in range(1, _MACHINES + 1):
        yield json.dumps(
            {
                "time": "0",
                "machine_id": str(machine),
                "type": "1",
                "switch_id": opaque("switch", machine // 40),
                "capacity": {"cpus": 0.5, "memory": 0.5},
                "platform_id": "generated-platform",
                "missing_data_reason": "0",
            }
        )
