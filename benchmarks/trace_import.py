"""Import at real size: published-format files of 50 million rows, rows per second and peak memory, beside pandas.

    python benchmarks/trace_import.py --work runs/trace-import            # 50 parts of a million rows
    python benchmarks/trace_import.py --work runs/trace-import --parts 5  # a quick look

Writes Google 2011 files (task_events, job_events, machine_events: gzipped CSV as published; the events are drawn,
seeded by the number of their part), imports them with `cloudsched traces import`, and reads the same task_events with
pandas. Each step runs in a process of its own, whose peak memory is what the operating system says. Parts and finished
steps are kept in ``--work``, so that the command goes on where it was stopped; results are written to ``--out``.
pandas may be given a limit of address space (``--pandas-limit-gb``), so that it fails rather than the machine.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudsched_env.whole_file import write_whole

ROWS_A_PART = 1_000_000
SECONDS_A_PART = 5011
EVENTS_A_TASK = 3
TASKS_A_JOB = 30


def write_gz(path: Path, table: Any) -> None:
    """Write an Arrow table as a published part: no header, no quotes; aside first, then under its name."""
    import pyarrow.csv as csv

    buffer = io.BytesIO()
    csv.write_csv(table, buffer, csv.WriteOptions(include_header=False, quoting_style="none"))
    write_whole(path, gzip.compress(buffer.getbuffer(), compresslevel=1, mtime=0))


def generate_part(folder: Path, number: int) -> None:
    """One part of task_events and of job_events, sorted by time."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng([2011, number])
    tasks = ROWS_A_PART // EVENTS_A_TASK + 1
    start = 600_000_000 + number * SECONDS_A_PART * 1_000_000
    submit = start + rng.integers(0, (SECONDS_A_PART - 1000) * 1_000_000, tasks)
    schedule = submit + rng.integers(500_000, 30_000_000, tasks)
    end = schedule + (np.minimum(rng.lognormal(4.5, 1.0, tasks), 900) * 1e6).astype(np.int64)
    job = np.sort(rng.integers(0, tasks // TASKS_A_JOB, tasks)) + 6_251_000_000 + number * 1_000_000
    index = np.arange(tasks) - np.searchsorted(job, job)
    requests = np.array([0.00625, 0.0125, 0.02499, 0.03125, 0.0625, 0.09998])
    cpu, memory = rng.choice(requests, tasks), rng.choice(requests * 0.51, tasks).round(5)
    priority = rng.choice([0, 1, 2, 4, 9], tasks, p=[0.23, 0.10, 0.5, 0.07, 0.10])
    users = np.array([f"{user:0>43}=" for user in range(900)])
    user = (job * 2654435761) % 900
    machine = rng.integers(1, 12_500, tasks)
    event = np.repeat([0, 1, 4], tasks)
    time_us = np.concatenate([submit, schedule, end])
    order = np.argsort(time_us, kind="stable")[:ROWS_A_PART]
    row = np.tile(np.arange(tasks), EVENTS_A_TASK)[order]
    nothing = pa.nulls(len(row), pa.int64())
    events = pa.table(
        {
            "time": time_us[order],
            "missing": nothing,
            "job": job[row],
            "index": index[row],
            "machine": pa.array(machine[row], mask=event[order] == 0),
            "event": event[order],
            "user": pa.DictionaryArray.from_arrays(user[row].astype("int32"), users).cast(pa.string()),
            "class": (priority >= 9)[row].astype("int8"),
            "priority": priority[row],
            "cpu": cpu[row],
            "memory": memory[row],
            "disk": cpu[row] / 1000,
            "different": np.zeros(len(row), "int8"),
        }
    )
    write_gz(folder / "task_events" / f"part-{number:05d}-of-00500.csv.gz", events)
    jobs, first = np.unique(job, return_index=True)
    write_gz(
        folder / "job_events" / f"part-{number:05d}-of-00500.csv.gz",
        pa.table(
            {
                "time": np.minimum.reduceat(submit, first),
                "missing": pa.nulls(len(jobs), pa.int64()),
                "job": jobs,
                "event": np.zeros(len(jobs), "int8"),
                "user": pa.DictionaryArray.from_arrays(((jobs * 2654435761) % 900).astype("int32"), users).cast(
                    pa.string()
                ),
                "class": np.zeros(len(jobs), "int8"),
                "name": [f"run{number}" for number in jobs],
                "logical": [f"program{number % 4000}" for number in jobs],
            }
        ),
    )


def generate(folder: Path, parts: int) -> dict[str, Any]:
    """All parts that are not there yet."""
    import pyarrow as pa
    from rich.progress import track

    for number in track(range(parts), description="Writing published files"):
        if not (folder / "job_events" / f"part-{number:05d}-of-00500.csv.gz").exists():
            generate_part(folder, number)
    machines = {"time": [0] * 3, "id": [1, 2, 3], "event": [0] * 3, "platform": ["p="] * 3}
    write_gz(
        folder / "machine_events" / "part-00000-of-00001.csv.gz",
        pa.table({**machines, "cpu": [0.5, 0.5, 1.0], "memory": [0.25, 0.5, 1.0]}),
    )
    size = sum(path.stat().st_size for path in folder.rglob("*.gz"))
    return {"parts": parts, "task_event_rows": parts * ROWS_A_PART, "bytes_compressed": size}


def read_with_pandas(folder: Path, limit_gb: float | None) -> None:
    """Read all of task_events into one frame, with fitting types."""
    if limit_gb:
        resource.setrlimit(resource.RLIMIT_AS, (int(limit_gb * 1e9), int(limit_gb * 1e9)))
    import pandas as pd

    types = (
        dict.fromkeys((1, 3, 4, 5, 7, 8, 12), "Int32")
        | {0: "int64", 2: "int64"}
        | dict.fromkeys((9, 10, 11), "float64")
    )
    frames = [
        pd.read_csv(path, header=None, dtype={**types, 6: "string"})
        for path in sorted((folder / "task_events").iterdir())
    ]
    print(len(pd.concat(frames, ignore_index=True)))


def measured(command: list[str]) -> dict[str, Any]:
    """Wall time, CPU time and peak memory of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "exit_code": process.returncode,
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_gb": round(usage.ru_maxrss / 1e6, 3),
        "output": output.strip().splitlines()[:1],
    }


def main(
    work: Annotated[Path, typer.Option(help="Folder for files and state; may be deleted afterwards.")],
    parts: Annotated[int, typer.Option(help="Parts of a million rows.", min=1, max=500)] = 50,
    memory_limit: Annotated[str, typer.Option(help="As of `cloudsched traces import`.")] = "1GB",
    threads: Annotated[int | None, typer.Option(help="As of `cloudsched traces import`.")] = None,
    pandas_limit_gb: Annotated[float | None, typer.Option(help="Address space that pandas may take.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results/trace_import"),
    step: Annotated[str, typer.Option(help="Only for the processes that this script starts.", hidden=True)] = "",
) -> None:
    """Generate, import, read with pandas, and write down what it took."""
    folder = work / "google2011"
    if step == "pandas":
        read_with_pandas(folder, pandas_limit_gb)
        return
    work.mkdir(parents=True, exist_ok=True)
    state_file = work / f"state-{parts}.json"
    state: dict[str, Any] = json.loads(state_file.read_text()) if state_file.exists() else {}

    def keep(name: str, value: dict[str, Any]) -> None:
        state[name] = value
        write_whole(state_file, json.dumps(state, indent=2))

    if "files" not in state:
        keep("files", generate(folder, parts))
    rows = state["files"]["task_event_rows"]
    if "import" not in state:
        options = ["--memory-limit", memory_limit, *(["--threads", str(threads)] if threads else [])]
        code = "from cloudsched_env.cli import main; main()"
        target = ["traces", "import", "google2011", str(folder), "-o", str(work / "tasks.parquet"), *options]
        found = measured([sys.executable, "-c", code, *target])
        if found["exit_code"]:
            raise typer.Exit(found["exit_code"])
        keep("import", {**found, "memory_limit": memory_limit, "rows_per_s": round(rows / found["wall_s"])})
    if "pandas" not in state:
        limit = ["--pandas-limit-gb", str(pandas_limit_gb)] if pandas_limit_gb else []
        found = measured([sys.executable, __file__, "--work", str(work), "--step", "pandas", *limit])
        speed = None if found["exit_code"] else round(rows / found["wall_s"])  # it may not fit into its limit
        keep("pandas", {**found, "limit_gb": pandas_limit_gb, "rows_per_s": speed})
    out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[2]
    machine = {"cpus": os.cpu_count(), "load_15min": load, "python": platform.python_version()}
    result = {**state, "machine": machine}
    for name in ("import", "pandas"):
        result[name].pop("output", None)
    write_whole(out / f"{parts}_million_rows.json", json.dumps(result, indent=2) + "\n")
    typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
