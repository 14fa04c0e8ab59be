"""Writes small Google 2011 files in the published layout, and tells in plain Python what an import must find.

The oracle (`expected_tasks`) walks through each task's events one after the other, with none of the importer's SQL.
"""

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL, LOST, UPDATE_PENDING, UPDATE_RUNNING = range(9)
AFTER = 2**63 - 1
OUTCOME = {EVICT: "evicted", FAIL: "failed", FINISH: "finished", KILL: "killed", LOST: "lost"}
S = 1_000_000
WINDOW = 600 * S


@dataclass(frozen=True)
class Event:
    t: int
    job: int
    task: int
    event: int
    user: str = "user="
    scheduling_class: int | None = 0
    priority: int = 0
    cpu: float | None = 0.125
    memory: float | None = 0.25
    machine: int | None = None
    missing: int | None = None

    def line(self) -> str:
        fields = [
            self.t,
            self.missing,
            self.job,
            self.task,
            self.machine,
            self.event,
            self.user,
            self.scheduling_class,
            self.priority,
            self.cpu,
            self.memory,
            None if self.cpu is None else 1.5e-05,
            0,
        ]
        return ",".join("" if field is None else str(field) for field in fields)


def life(job: int, task: int, *steps: tuple[float, int], **values) -> list[Event]:
    """Events of one task from (seconds, event type) pairs; time 0 stays 0."""
    return [Event(round(seconds * S), job, task, event, **values) for seconds, event in steps]


def write_gz(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def part(folder: Path, table: str, number: int, of: int = 500) -> Path:
    return folder / table / f"part-{number:05d}-of-{of:05d}.csv.gz"


def job_lines(events: list[Event], leave_out: frozenset[int] = frozenset()) -> list[str]:
    """SUBMIT rows of job_events; job j has the logical name ``name<j modulo 3>``."""
    first: dict[int, Event] = {}
    for event in events:
        if event.job not in leave_out:
            first.setdefault(event.job, event)
    return [
        f"{event.t},,{job},0,{event.user},{event.scheduling_class or 0},run{job}/+=,name{job % 3}"
        for job, event in first.items()
    ]


MACHINES = [
    "0,1,0,platform=,0.5,0.4995",
    "0,2,0,platform=,0.5,0.4995",
    "0,3,0,platform=,1,1",
    "0,4,0,platform=,,",
    "700000000,5,0,platform=,0.25,0.25",
    "700000000,1,1,platform=,0.5,0.4995",
]


def write_trace(
    folder: Path, events: list[Event], parts: int = 2, first_part: int = 0, leave_out: frozenset[int] = frozenset()
) -> Path:
    """Write task_events, job_events and machine_events; parts are split by time as in the published trace."""
    ordered = sorted(events, key=lambda event: event.t)
    for number, chunk in enumerate(np.array_split(np.arange(len(ordered)), parts)):
        write_gz(part(folder, "task_events", first_part + number), [ordered[i].line() for i in chunk])
    jobs = job_lines(ordered, leave_out)
    for number, chunk in enumerate(np.array_split(np.arange(len(jobs)), parts)):
        write_gz(part(folder, "job_events", first_part + number), [jobs[i] for i in chunk])
    write_gz(part(folder, "machine_events", 0, of=1), MACHINES)
    return folder


def random_events(rng: np.random.Generator, jobs: int = 30) -> list[Event]:
    """Lives with everything that occurs in the trace: initial state, retries, updates, censoring, sentinels."""
    events: list[Event] = []
    for job in range(jobs):
        user = f"user{rng.integers(4)}/+="
        scheduling_class = int(rng.integers(4))
        start = 0 if rng.random() < 0.2 else int(WINDOW + rng.integers(1, 3000 * S))
        for task in range(int(rng.integers(1, 6))):
            values = {
                "user": user,
                "scheduling_class": scheduling_class,
                "priority": int(rng.choice([0, 1, 2, 4, 9, 11])),
                "cpu": float(rng.choice([0.0, 0.0125, 0.0625, 0.5])),
                "memory": float(rng.choice([0.0159, 0.25, 0.9551])),
            }
            if start == 0 and rng.random() < 0.2:
                values.update(cpu=None, memory=None, missing=2)
            t = start + (0 if start == 0 else task)
            for _ in range(int(rng.integers(1, 4))):
                events.append(Event(t, job, task, SUBMIT, **values))
                values["cpu"] = float(rng.choice([0.0125, 0.25]))  # a retry may ask for something else
                t = max(t, WINDOW)
                if rng.random() < 0.2:
                    t += int(rng.integers(1, 50 * S))
                    events.append(Event(t, job, task, UPDATE_PENDING, **values))
                if rng.random() < 0.85:
                    t += int(rng.integers(0 if t > WINDOW else 1, 100 * S))
                    events.append(Event(t, job, task, SCHEDULE, **values))
                    if rng.random() < 0.2:
                        t += int(rng.integers(1, 50 * S))
                        events.append(Event(t, job, task, UPDATE_RUNNING, **values))
                if rng.random() < 0.25:
                    break
                t += int(rng.integers(1, 2000 * S))
                events.append(Event(t, job, task, int(rng.choice([EVICT, FAIL, FINISH, KILL, LOST])), **values))
                t += int(rng.integers(1, 50 * S))
            if rng.random() < 0.05:
                events.append(Event(AFTER, job, task, KILL, **values))
    return events


def expected_tasks(events: list[Event]) -> list[dict]:
    """The rows an import must produce, in order, by walking through each task's events."""
    window_end = max(event.t for event in events if event.t != AFTER)
    lives: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.t):
        lives[event.job, event.task].append(event)
    rows = []
    for (job, task), story in lives.items():
        first = story[0]
        if first.event != SUBMIT or first.t == 0 or first.t == AFTER:
            continue
        started = ended = None
        for event in story:
            if event.t == AFTER:
                continue
            if event.event == SCHEDULE and started is None:
                started = event.t
            elif started is not None and event.event in OUTCOME and event.t > started:
                ended = event
                break
        outcome = "never_scheduled" if started is None else "censored" if ended is None else OUTCOME[ended.event]
        duration = math.nan if started is None else ((ended.t if ended else window_end) - started) / S
        urgent = (first.scheduling_class or 0) >= 2 or first.priority >= 9
        rows.append(
            {
                "arrival_s": first.t / S,
                "tenant": first.user,
                "job": job,
                "task_index": task,
                "shard_key": f"name{job % 3}",
                "priority": first.priority,
                "scheduling_class": -1 if first.scheduling_class is None else first.scheduling_class,
                "slo_class": 0 if urgent else 2 if first.priority <= 1 else 1,
                "cpu_cores": math.nan if first.cpu is None else first.cpu * 16,
                "mem_gb": math.nan if first.memory is None else first.memory * 32,
                "duration_s": duration,
                "duration_censored": outcome == "censored",
                "outcome": outcome,
                "attempts": sum(event.event == SUBMIT for event in story),
                "instances": 1,
                "parents": None,
                "gpus": math.nan,
                "queue_s": math.nan if started is None else (started - first.t) / S,
                "cpu_core_s": math.nan,
                "read_mb": math.nan,
                "write_mb": math.nan,
                "tables_read": -1,
            }
        )
    return sorted(rows, key=lambda row: (row["arrival_s"], row["job"], row["task_index"]))
