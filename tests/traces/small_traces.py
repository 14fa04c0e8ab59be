"""Writes a small trace of every published format, in its published layout.

`WRITERS` maps the name of a format to a function that fills a folder. `test_mappings` says what an import must make of
these rows, worked out by hand.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import tarfile
from datetime import datetime
from pathlib import Path

from tests.traces import google_files


def write_csv(path: Path, rows: list[list[object]], header: list[str] | None = None) -> Path:
    """CSV, compressed if the name ends in .gz; None is an empty field."""
    lines = [
        "" if row is None else ",".join("" if f is None else str(f) for f in row) for row in [header or None, *rows]
    ]
    text = "".join(line + "\n" for line in (lines if header else lines[1:])).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A .tar.gz with the given members."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def csv_bytes(rows: list[list[object]]) -> bytes:
    return "".join(",".join("" if f is None else str(f) for f in row) + "\n" for row in rows).encode()


# --- Alibaba 2017 -----------------------------------------------------------------------------------------------------

ALIBABA2017_TASKS = [
    [100, 160, 7, 1, 3, "Terminated", 50, 0.5],
    [100, 99, 7, 2, 1, "Terminated", 100, 0.25],  # ends a second before it begins
    [0, 500, 8, 1, 1, "Terminated", 50, 0.1],  # before the trace
    [200, 250, 9, 1, 2, "Waiting", None, None],
    [300, 310, 9, 2, 1, "Running", 50, 0.1],
    [400, 420, 10, 1, 1, "Failed", 70, 0.1],
]
ALIBABA2017_INSTANCES = [
    [110, 130, 7, 1, 3, "Terminated", 1, 1, 0.5, 0.25, 0.2, 0.1],
    [120, 160, 7, 1, 4, "Terminated", 1, 1, 0.5, 0.5, 0.2, 0.4],
    [110, 900, None, 1, 4, "Terminated", 1, 1, 9, 9, 0.2, 0.4],  # no job id
    [None, None, 9, 1, None, "Waiting", 1, 1, None, None, None, None],
]
ALIBABA2017_CONTAINERS = [
    [0, "Create", 1, 3, 4, 0.1, 0.1, "1|2|3|4"],
    [500, "Create", 2, 3, 8, 0.5, 0.1, "5|6"],
    [600, "Remove", 2, 3, 8, 0.5, 0.1, "5|6"],
]
ALIBABA2017_SERVERS = [
    [0, 3, "add", None, 64, 0.5, 0.4],
    [0, 4, "add", None, 64, 0.5, 0.4],
    [0, 5, "add", None, 32, 1, 0.4],
    [700, 5, "softerror", "disk", None, None, None],
]


def alibaba2017(folder: Path) -> None:
    write_csv(folder / "batch_task.csv", ALIBABA2017_TASKS)
    write_csv(folder / "batch_instance.csv.gz", ALIBABA2017_INSTANCES)
    members = {
        "trace/container_event.csv": csv_bytes(ALIBABA2017_CONTAINERS),
        "trace/server_event.csv": csv_bytes(ALIBABA2017_SERVERS),
    }
    write_tar(folder / "trace_201708.tgz", members)


# --- Alibaba 2018 -----------------------------------------------------------------------------------------------------

ALIBABA2018_TASKS = [
    ["M1", 2, "j_5", "1", "Terminated", 1000, 1010, 100, 0.5],
    ["R2_1", 1, "j_5", "1", "Terminated", 1010, 1040, 50, 0.25],
    ["J4_1_2", 1, "j_5", "1", "Terminated", 1040, 1050, 50, 0.25],
    ["R5_9", 1, "j_5", "1", "Terminated", 1050, 1060, 50, 0.25],  # waits for a task that is not there
    ["task_NzYwMg==", 1, "j_5", "1", "Failed", 1000, 1002, 100, 1],
    ["M1", None, "j_4", "2", "Running", 2000, 0, None, None],
    ["M2", 1, "j_4", "2", "Waiting", None, None, 50, 0.1],  # never began
    ["MergeTask", 1, "j_4", "2", "Interrupted", 2000, 2005, 50, 0.1],
]
ALIBABA2018_INSTANCES = [
    ["ins_1", "M1", "j_5", "1", "Terminated", 1001, 1006, "m_1", 1, 1, 50, 60, 0.2, 0.3],
    ["ins_2", "M1", "j_5", "1", "Terminated", 1002, 1012, "m_2", 1, 1, 100, 120, 0.4, 0.5],
]
ALIBABA2018_CONTAINERS = [
    ["c_1", "m_1", 0, "app_1", "started", 400, 400, 1.5],
    ["c_2", "m_1", 3000, "app_2", "allocated", 800, 1600, 3],
    ["c_2", "m_1", 3500, "app_2", "started", 400, 1600, 6],
]
ALIBABA2018_MACHINES = [
    ["m_1", 0, 219, "17", 96, 100, "USING"],
    ["m_1", 500, 219, "17", 96, 100, "USING"],
    ["m_2", 0, 3, "18", 64, 50, "USING"],
]


def alibaba2018(folder: Path) -> None:
    write_tar(folder / "batch_task.tar.gz", {"batch_task.csv": csv_bytes(ALIBABA2018_TASKS)})
    write_tar(folder / "batch_instance.tar.gz", {"batch_instance.csv": csv_bytes(ALIBABA2018_INSTANCES)})
    write_csv(folder / "container_meta.csv", ALIBABA2018_CONTAINERS)
    write_csv(folder / "machine_meta.csv.gz", ALIBABA2018_MACHINES)


# --- Alibaba GPU ------------------------------------------------------------------------------------------------------


def alibaba_gpu2020(folder: Path) -> None:
    write_csv(
        folder / "pai_task_table.csv",
        [
            ["job_b", "worker", 2.0, "Terminated", 1010.5, 1030.5, 600.0, 29.25, 50.0, "MISC"],
            ["job_b", "ps", 1.0, "Failed", 1020.0, 1025.0, 400.0, 10.0, None, None],
            ["job_a", "worker", 1.0, "Running", 2000.0, None, 100.0, 1.0, 100.0, "V100"],
            ["job_c", "worker", 1.0, "Waiting", None, None, 100.0, 1.0, 100.0, "T4"],
        ],
    )
    write_csv(
        folder / "pai_job_table.csv",
        [
            ["job_b", "i_b", "alice", "Terminated", 1000.0, 1030.5],
            ["job_c", "i_c", "bob", "Waiting", 1500.0, None],
        ],
    )
    write_csv(
        folder / "pai_instance_table.csv",
        [
            ["job_b", "worker", "x", "w1", "i_b", "Terminated", 1011.0, 1021.0, "m1"],
            ["job_b", "worker", "y", "w2", "i_b", "Terminated", 1011.0, 1031.0, "m1"],
        ],
    )
    write_csv(
        folder / "pai_sensor_table.csv",
        [
            ["job_b", "worker", "w1", "i_b", "m1", "MISC", 200.0, 10.0, 4.0, 5.0, 1.0, 2.0, 100.0, 200.0, 1, 2],
            ["job_b", "worker", "w2", "i_b", "m1", "MISC", 50.0, 10.0, 1.0, 5.0, 1.0, 2.0, 100.0, 200.0, 1, 2],
        ],
    )
    write_csv(folder / "pai_group_tag_table.csv", [["i_b", "alice", "MISC", "g1", "bert"]])
    write_csv(folder / "pai_machine_spec.csv", [["m1", "MISC", 96, 512, 8], ["m2", "T4", 64, 256, 2]])


def alibaba_gpu2023(folder: Path) -> None:
    header = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
    )
    rows = [
        ["openb-pod-0001", 6000, 1000, 1, 460, None, "LS", "Running", 10, 110, 15],
        ["openb-pod-0000", 12000, 16384, 2, 1000, "A10|T4", "BE", "Succeeded", 10, 60, "20.0"],
        ["openb-pod-0002", 1000, 2048, 0, 0, None, "Burstable", "Failed", 30, 50, 40],
        ["openb-pod-0003", 1000, 2048, 0, 0, None, "BE", "Pending", 35, 90, None],
    ]
    write_csv(folder / "openb_pod_list_default.csv", rows, header.split(","))
    write_csv(folder / "openb_pod_list_cpu0.csv", rows[:1], header.split(","))
    nodes = [["n0", 32000, 262144, 0, None], ["n1", 64000, 262144, 2, "T4"]]
    write_csv(folder / "openb_node_list_all_node.csv", nodes, ["sn", "cpu_milli", "memory_mib", "gpu", "model"])


# --- Azure ------------------------------------------------------------------------------------------------------------

AZURE_V1 = [
    ["vm/a+", "sub1", "dep1", 0, 2591700, 99.3, 3.4, 10.1, "Delay-insensitive", 1, 1.75],
    ["vm/b+", "sub1", "dep1", 300, 900, 99.3, 50.0, 10.1, "Interactive", 2, 3.5],
    ["vm/c+", "sub2", "dep2", 300, 2591700, 99.3, 10.0, 10.1, "Unkown", 4, 7],
    ["vm/d+", "sub2", "dep1", 600, 1200, 99.3, 10.0, 10.1, "Delay-insensitive", 8, 0.75],
]


def azure_v1(folder: Path) -> None:
    write_csv(folder / "vmtable" / "vmtable.csv.gz", AZURE_V1)


def azure_v2(folder: Path) -> None:
    rows = [
        [*row[:9], cores, memory]
        for row, cores, memory in zip(AZURE_V1, ["2", "4", ">24", "8"], ["4", "8", ">64", "2"], strict=True)
    ]
    write_csv(folder / "vmtable.csv.gz", rows)


def azure_packing2020(folder: Path) -> None:
    with sqlite3.connect(folder / "packing_trace_zone_a_v1.sqlite") as database:
        database.executescript(
            "CREATE TABLE vm (vmId INTEGER, tenantId INTEGER, vmTypeId INTEGER, priority INTEGER, starttime REAL, "
            "endtime REAL); CREATE TABLE vmType (id INTEGER, vmTypeId INTEGER, machineId INTEGER, core REAL, "
            "memory REAL, hdd REAL, ssd REAL, nic REAL);"
        )
        database.executemany(
            "INSERT INTO vm VALUES (?, ?, ?, ?, ?, ?)",
            [(1, 9, 5, 0, -0.5, 3.0), (2, 9, 5, 1, 0.25, 0.5), (3, 8, 6, 0, 1.0, None), (4, 8, 77, 0, 2.0, 3.0)],
        )
        database.executemany(
            "INSERT INTO vmType VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (0, 5, 1, 0.5, 0.25, None, 0.1, 0.1),
                (1, 5, 2, 0.125, 0.25, None, 0.1, 0.1),
                (2, 6, 1, 1.0, 1.0, 0, 0, 0),
            ],
        )
    database.close()


# --- Snowset and Redset -----------------------------------------------------------------------------------------------

SNOWSET_HEADER = [
    "queryId", "warehouseId", "databaseId", "createdTime", "endTime", "durationTotal", "durationExec",
    "durationControlPlane", "durationCompiling", "execTime", "scheduleTime", "serverCount", "warehouseSize",
    "perServerCores", "persistentReadBytesS3", "persistentReadRequestsS3", "persistentReadBytesCache",
    "persistentWriteBytesS3", "intDataWriteBytesLocalSSD", "intDataWriteBytesS3", "userCpuTime", "systemCpuTime",
    "memoryUsed", "profIdle",
]  # fmt: skip
SNOWSET = [
    [
        *(11, 501, 901, "2018-02-21 00:00:01.250", "2018-02-21 00:00:03.5", 2250, 2000, 100, 150, 1990, 90, 4, 4, 8),
        *(5_000_000, 7, 1_000_000, 0, 3_000_000, 500_000, 9_000_000, 1_000_000, 2_000_000_000, 5),
    ],
    [
        *(12, 502, "\\N", "2018-02-21 00:00:00", "2018-02-21 00:00:01", 1000, 900, 50, 50, "\\N", "\\N", 1, 1, 8),
        *(0, 0, 0, 4_000_000, 0, 0, 1_000, 0, "\\N", "\\N"),
    ],
    [
        *(2**63 - 1, 501, 902, "2018-02-22 00:00:00", "2018-02-22 00:00:01", 1000, 900, 50, 50, 1, 1, 2, 4, 8),
        *(1_000_000, 1, 0, 2_000_000, 0, 0, "\\N", 0, 0, 0),
    ],
]


def snowset(folder: Path) -> None:
    write_csv(folder / "snowset-main.csv.gz", SNOWSET, SNOWSET_HEADER)


REDSET_HEADER = [
    "instance_id",
    "cluster_size",
    "user_id",
    "database_id",
    "query_id",
    "arrival_timestamp",
    "compile_duration_ms",
    "queue_duration_ms",
    "execution_duration_ms",
    "feature_fingerprint",
    "was_aborted",
    "was_cached",
    "cache_source_query_id",
    "query_type",
    "num_permanent_tables_accessed",
    "num_external_tables_accessed",
    "num_system_tables_accessed",
    "read_table_ids",
    "write_table_ids",
    "mbytes_scanned",
    "mbytes_spilled",
    "num_joins",
    "num_scans",
    "num_aggregations",
]
REDSET = [
    (
        *(3, 4, 10, 1, 77, "2024-03-01 00:00:10.5", 500, 250, 1500, "f1", False, False, None, "select"),
        *(2, 0, 0, "5,9", None, 120, 8, 1, 2, 1),
    ),
    (
        *(3, None, 10, 1, 77, "2024-03-01 00:00:05", None, 0, 100, "f2", True, False, None, "insert"),
        *(1, 0, 0, None, "4", 0, 0, 0, 0, 0),
    ),
    (
        *(199, None, 11, 2, 78, "2024-03-02 00:00:00", 0, 0, 1, "f3", False, True, 5, "other"),
        *(0, 0, 1, None, None, None, None, 0, 0, 0),
    ),
]


def redset(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict(zip(REDSET_HEADER, zip(*REDSET, strict=True), strict=True))
    columns["arrival_timestamp"] = [datetime.fromisoformat(t) for t in columns["arrival_timestamp"]]
    path = folder / "provisioned" / "sample_0.01.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: pa.array(list(values)) for name, values in columns.items()}), path)


# --- Google -----------------------------------------------------------------------------------------------------------


def google2011(folder: Path) -> None:
    g = google_files
    events = (
        g.life(1, 0, (700, g.SUBMIT), (710, g.SCHEDULE), (760, g.FINISH))
        + g.life(1, 1, (701, g.SUBMIT), (702, g.SCHEDULE), (900, g.KILL))
        + g.life(2, 0, (0, g.SUBMIT), (0, g.SCHEDULE), (800, g.FINISH))
        + g.life(3, 0, (5000, g.SUBMIT), (6000, g.SCHEDULE))
    )
    g.write_trace(folder, events)
    usage = [
        # start, end, job, task, machine, CPU rate, memory, ..., disk I/O time is the 12th field
        [600, 720, 1, 0, 5, 0.25, 0.5, None, None, None, None, 0.1, None, None, None, None, None, None, 0, None],
        [720, 760, 1, 0, 5, 0.5, 0.25, None, None, None, None, None, None, None, None, None, None, None, 0, 0.1],
        [760, 800, 1, 0, 5, 9, 9, None, None, None, None, 9, None, None, None, None, None, None, 0, None],
        [600, 900, 2, 0, 5, 9, 9, None, None, None, None, 9, None, None, None, None, None, None, 0, None],
    ]
    rows = [[start * g.S, end * g.S, *rest] for start, end, *rest in usage]
    write_csv(g.part(folder, "task_usage", 0), rows)
    write_csv(g.part(folder, "machine_attributes", 0, of=1), [[0, 1, "name=", "value=", 0], [5, 1, "name=", None, 1]])


_2019 = {"SUBMIT": 0, "QUEUE": 1, "SCHEDULE": 3, "EVICT": 4, "FINISH": 6}
GOOGLE2019_EVENTS = [
    # time s, type, collection, index, cpus, memory, collection type, priority
    (700, "SUBMIT", 1, 0, 0.125, 0.25, 0, 360),
    (705, "QUEUE", 1, 0, 0.125, 0.25, 0, 360),
    (710, "SCHEDULE", 1, 0, 0.125, 0.25, 0, 360),
    (760, "FINISH", 1, 0, 0.125, 0.25, 0, 360),
    (701, "SUBMIT", 1, 1, None, None, 0, 117),
    (702, "SCHEDULE", 1, 1, 0.5, 0.5, 0, 117),
    (800, "EVICT", 1, 1, 0.5, 0.5, 0, 117),
    (0, "SUBMIT", 2, 0, 0.5, 0.5, 0, 0),
    (900, "SUBMIT", 3, 0, 0.5, 0.5, 1, 200),  # an alloc set
    (1000, "SUBMIT", 4, 0, 0.5, 0.5, 0, 25),
]


def google2019_records() -> dict[str, list[dict[str, object]]]:
    """Records of each table as JSON exports have them: 64-bit integers as text, absent instead of null."""
    second = 1_000_000
    instance_events = [
        {
            "time": str(t * second),
            "type": str(_2019[kind]) if index == 0 else kind,
            "collection_id": str(job),
            "scheduling_class": 1,
            "collection_type": set_type,
            "priority": str(priority),
            "instance_index": index,
            "machine_id": "0",
            "constraint": [],
            **({"resource_request": {"cpus": cpus, "memory": memory}} if cpus else {}),
        }
        for t, kind, job, index, cpus, memory, set_type, priority in GOOGLE2019_EVENTS
    ]
    collections = [
        {
            "time": "700000000",
            "type": 0,
            "collection_id": str(job),
            "collection_type": kind,
            "priority": 0,
            "user": f"user{job}=",
            "collection_logical_name": f"name{job % 2}",
            "parent_collection_id": "1" if job == 4 else None,
        }
        for job, kind in ((1, 0), (2, 0), (3, 1), (4, 0))
    ]
    machines = [
        {"time": "0", "machine_id": str(i), "type": 1, "capacity": {"cpus": 0.5, "memory": 0.25}} for i in (1, 2)
    ] + [{"time": "5", "machine_id": "3", "type": "ADD", "capacity": {"cpus": 1, "memory": 1}}]
    usage = [
        {
            "start_time": str(700 * second),
            "end_time": str(720 * second),
            "collection_id": "1",
            "instance_index": 0,
            "average_usage": {"cpus": 0.5, "memory": 0.25},
        }
    ]
    return {
        "instance_events": instance_events,
        "collection_events": collections,
        "machine_events": machines,
        "instance_usage": usage,
    }


def google2019(folder: Path) -> None:
    for table, records in google2019_records().items():
        half = len(records) // 2
        for shard, part in enumerate(filter(None, (records[:half], records[half:]))):
            text = "".join(json.dumps(record) + "\n" for record in part).encode()
            (folder / f"{table}-{shard:012d}.json.gz").write_bytes(gzip.compress(text, mtime=0))


# --- Block I/O --------------------------------------------------------------------------------------------------------


def block_alibaba(folder: Path) -> None:
    start = 1_577_808_000_000_000
    rows = [
        [0, "R", 0, 4096, start + 626],
        [0, "W", 512, 1_000_000, start + 9_999_999],
        [7, "W", 0, 512, start + 10_000_000],
    ]
    write_csv(folder / "io_traces.csv", rows)


def block_msr(folder: Path) -> None:
    tick = 128_166_372_003_061_629
    rows = [[tick, "hm", 1, "Read", 383_496_192, 32_768, 1_131], [tick + 10, "hm", 1, "Write", 0, 4096, 2_869]]
    write_csv(folder / "hm_1.csv.gz", rows)


def block_tencent(folder: Path) -> None:
    rows = [[1_538_323_200, 12_959_744, 8, 0, 1283], [1_538_323_201, 0, 2, 1, 1283], [1_538_323_201, 0, 16, 1, 9]]
    write_tar(folder / "2018-10-01-00.tgz", {"2018-10-01-00.csv": csv_bytes(rows)})


def block_cloudphysics(folder: Path) -> None:
    rows = [[1, 100.5, "2a", 512, 42_932_745], [1, 101, "28", 4096, 5], [1, 111, "28", 4096, 5]]
    write_csv(folder / "cloudPhysicsIO.csv", rows, ["version", "time", "op", "size", "lbn"])


WRITERS = {
    "google2011": google2011,
    "google2019": google2019,
    "alibaba2017": alibaba2017,
    "alibaba2018": alibaba2018,
    "alibaba-gpu2020": alibaba_gpu2020,
    "alibaba-gpu2023": alibaba_gpu2023,
    "azure-v1": azure_v1,
    "azure-v2": azure_v2,
    "azure-packing2020": azure_packing2020,
    "snowset": snowset,
    "redset": redset,
    "alibaba-block": block_alibaba,
    "msr-block": block_msr,
    "tencent-block": block_tencent,
    "cloudphysics": block_cloudphysics,
}


def write(name: str, folder: Path) -> Path:
    """A small trace of a format in a new folder."""
    folder.mkdir(parents=True)
    WRITERS[name](folder)
    return folder
