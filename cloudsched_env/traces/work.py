"""Folder and query engine of one running import: out of core, locked, and kept when it is worth resuming from."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cloudsched_env.traces.errors import require
from cloudsched_env.whole_file import write_whole

__all__ = ["EngineConfig", "Work", "is_disk_full", "is_out_of_memory", "open_work", "work_folder"]

RESUME_FROM_BYTES = 64 << 20
"""A malformed row ends an import. What was read before is kept only if reading it again would take a while."""


@dataclass(frozen=True)
class EngineConfig:
    """Resources of an import.

    Attributes:
        memory_limit: what DuckDB may hold in memory before it spills to disk beside the target, such as ``"1GB"``.
        threads: threads to use; None for all cores.
    """

    memory_limit: str = "1GB"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads: expected None (all cores) or at least 1, got {self.threads}")

    @property
    def thread_count(self) -> int:
        """Threads to use, resolved."""
        return self.threads or os.cpu_count() or 1


@dataclass
class Work:
    """A running import.

    Attributes:
        folder: its hidden folder beside the target.
        connection: DuckDB on a temporary database in that folder.
        config: resources.
        bytes_staged: bytes of published files whose rows lie in the folder now.
        resumed_bytes: bytes of those that an earlier run had read.
    """

    folder: Path
    connection: Any
    config: EngineConfig
    bytes_staged: int = 0
    resumed_bytes: int = 0


def work_folder(target: Path) -> Path:
    """Hidden folder of the import that writes a file; it is there while the import runs or can be resumed."""
    return target.with_name(f".{target.name}.import")


@contextmanager
def open_work(target: Path, config: EngineConfig, plan: dict[str, Any], *, restart: bool = False) -> Iterator[Work]:
    """The folder of the import that writes ``target``; gone afterwards unless the import can be resumed from it.

    Args:
        target: file that the import writes.
        config: resources.
        plan: what the staged rows depend on; rows that were staged by another plan are thrown away.
        restart: throw away what an earlier run left.

    Raises:
        ValueError: DuckDB does not accept the memory limit or the number of threads.
        MemoryError: a query did not fit into the memory limit even with spilling.
        OSError: the disk is full, or another import to the same target is running.
        ModuleNotFoundError: DuckDB is not installed.
    """
    duckdb = require("duckdb")
    folder = work_folder(target)
    folder.mkdir(exist_ok=True)
    lock = _lock(folder, target)
    work: Work | None = None
    connection = None
    keep = False
    try:
        if restart or not _same_plan(folder, plan):
            _clear(folder)
            write_whole(folder / "plan.json", json.dumps(plan))
        for name in ("staging.duckdb", "staging.duckdb.wal"):
            (folder / name).unlink(missing_ok=True)
        for name in ("spill", "chunks"):
            shutil.rmtree(folder / name, ignore_errors=True)
        connection = duckdb.connect(str(folder / "staging.duckdb"))
        try:
            connection.execute("SET memory_limit = '{}'".format(config.memory_limit.replace("'", "''")))
            connection.execute(f"SET threads = {int(config.thread_count)}")
        except duckdb.Error as error:
            raise ValueError(
                f"expected a memory limit such as 1GB, got {config.memory_limit!r}: {str(error).splitlines()[0]}"
            ) from error
        connection.execute("SET temp_directory = '{}'".format(str(folder / "spill").replace("'", "''")))
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET TimeZone = 'UTC'")
        work = Work(folder, connection, config)
        yield work
    except duckdb.Error as error:
        if is_disk_full(error):
            keep = True
            raise _disk_full(folder) from error
        if not is_out_of_memory(error):
            raise
        keep = work is not None and work.bytes_staged > 0
        raise MemoryError(
            f"the import does not fit into the memory limit of {config.memory_limit}; raise --memory-limit "
            f"or lower --threads ({str(error).splitlines()[0]}){_resume(keep)}"
        ) from error
    except OSError as error:
        keep = work is not None and work.bytes_staged > 0
        if error.errno == errno.ENOSPC:
            raise _disk_full(folder) from error
        raise
    except KeyboardInterrupt:
        keep = work is not None and work.bytes_staged > 0
        raise
    except ValueError:
        keep = work is not None and work.bytes_staged >= RESUME_FROM_BYTES
        raise
    finally:
        if connection is not None:
            connection.close()
        if keep:
            for name in ("staging.duckdb", "staging.duckdb.wal"):
                (folder / name).unlink(missing_ok=True)
            for name in ("spill", "chunks"):
                shutil.rmtree(folder / name, ignore_errors=True)
        lock.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _same_plan(folder: Path, plan: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / "plan.json").read_text(encoding="utf-8")) == json.loads(json.dumps(plan)))
    except (OSError, ValueError):
        return False


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name != "lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _lock(folder: Path, target: Path) -> IO[str]:
    """Hold the folder for this process; the lock goes with the process."""
    handle = open(folder / "lock", "w")  # noqa: SIM115 - held until the import ends
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: DuckDB's own lock on its database file has to do
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise BlockingIOError(
            error.errno, f"another import to {target.name} is running; wait for it, or write to another file"
        ) from error
    return handle


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of DuckDB says that something does not fit into the memory limit; a commit says so in words."""
    text = str(error)
    return "Out of Memory" in text or "failed to pin block" in text or "could not allocate block" in text


def is_disk_full(error: Exception) -> bool:
    """Whether an error of DuckDB says that there is no room to spill to."""
    text = str(error)
    return "No space left" in text or "max_temp_directory_size" in text


def _disk_full(folder: Path) -> OSError:
    return OSError(
        errno.ENOSPC,
        f"the disk of {folder.parent} is full; free some space, or write to another disk{_resume(True)}",
    )


def _resume(kept: bool) -> str:
    return ". What was read is kept: the same command goes on from there" if kept else ""
