"""Where the files of a published table are: in a folder, alone, or as members of an archive."""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cloudsched_env.traces.errors import TraceFormatError
from cloudsched_env.traces.published import Encoding, PublishedTable

__all__ = ["Part", "find_parts", "list_files", "list_members"]

MAX_FILES = 100_000
MAX_DEPTH = 4
MAX_MEMBERS = 10_000


@dataclass(frozen=True)
class Part:
    """One file of a table, or one member of an archive.

    Attributes:
        path: the file.
        name: what to call it: its path relative to the trace's folder, and ``!member`` for a member of an archive or a
            table of a database.
        number: its number among the parts of the table.
        encoding: what is in it once it is decompressed.
        member: name inside the archive, None if the file is no archive.
    """

    path: Path
    name: str
    number: int
    encoding: Encoding
    member: str | None = None

    @property
    def bytes(self) -> int:
        """Size of the file on disk."""
        return self.path.stat().st_size


def list_files(path: Path) -> dict[str, Path]:
    """Files below a folder, by path relative to it with ``/``; a file stands for itself.

    Hidden files and folders are passed over, and symbolic links to folders are not followed.

    Raises:
        TraceFormatError: there is no such file or folder, or the folder is no folder of a trace.
    """
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise TraceFormatError(
            "no such folder or file",
            file=path,
            expected="the folder of the trace, or a file of it",
            remedy="check the path",
        )
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(path):
        depth = len(Path(folder).relative_to(path).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < MAX_DEPTH else []
        for name in sorted(files):
            if not name.startswith("."):
                full = Path(folder, name)
                found[full.relative_to(path).as_posix()] = full
        if len(found) > MAX_FILES:
            raise TraceFormatError(
                f"more than {MAX_FILES:,} files",
                file=path,
                expected="the folder of one trace",
                remedy="give the folder that holds just the files of the trace",
            )
    return found


def find_parts(path: Path, table: PublishedTable, files: dict[str, Path] | None = None) -> list[Part]:
    """Files of a table in order of their numbers; none if the table is optional and there are none.

    A part that lies there twice, packed and unpacked, is taken in the form that the table's patterns name first.

    Args:
        path: folder of the trace, or one file of it.
        table: the table.
        files: `list_files` of the path, if it is known already.

    Raises:
        TraceFormatError: the path or a required table is missing, or there is a hole between the first and last part.
    """
    files = list_files(path) if files is None else files
    parts: dict[str, Part] = {}
    for pattern in table.patterns:
        if pattern.alone and path.is_dir():
            continue
        regex = re.compile(pattern.regex)
        for name, file in files.items():
            match = regex.fullmatch(name)
            if not match:
                continue
            number = int(match[1]) if match.re.groups and match[1] else None
            if pattern.packed:
                for member in list_members(file, table):
                    key = _bare(f"{Path(name).parent}/{Path(member).name}")
                    parts.setdefault(key, Part(file, f"{name}!{member}", len(parts), pattern.encoding, member))
            else:
                key = _bare(f"{Path(name).parent}/{Path(name).name}")
                shown = f"{name}!{table.source_table}" if pattern.encoding == "sqlite" else name
                parts.setdefault(key, Part(file, shown, number or 0, pattern.encoding))
    if not parts:
        if not table.required:
            return []
        raise TraceFormatError(
            f"the table {table.name} is missing",
            file=path,
            expected=table.layout,
            remedy="download it into this folder, with the published file names (docs/traces has the commands); "
            "`cloudsched traces import auto` says which format a folder holds",
        )
    ordered = sorted(parts.values(), key=lambda part: (part.number, part.name))
    if table.consecutive:
        _refuse_holes(path, table, ordered)
    return ordered


def _bare(name: str) -> str:
    """A name without what tells only how a file is packed: the same part has the same bare name in every form."""
    return re.sub(r"(\.(gz|tgz|tar|csv|json|ndjson|parquet|sqlite|db))+$", "", name)


def _refuse_holes(path: Path, table: PublishedTable, parts: list[Part]) -> None:
    numbers = {part.number for part in parts}
    missing = sorted(set(range(min(numbers), max(numbers))) - numbers)
    if missing:
        listed = ", ".join(f"{number:05d}" for number in missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise TraceFormatError(
            f"parts {listed} are missing between {min(numbers):05d} and {max(numbers):05d}",
            file=path / table.name,
            expected="consecutive parts: without them the ends of tasks would be lost and durations would be wrong",
            remedy="download the missing parts, or move the later ones to another folder",
        )


def list_members(archive: Path, table: PublishedTable) -> list[str]:
    """Members of a tar archive that are files of a table.

    Members are only ever read as streams; none is extracted to a path of the archive's choosing. Archives that try to
    escape are refused all the same: they are not the published ones.

    Raises:
        TraceFormatError: the archive is damaged or holds links, devices or paths that lead out of it.
    """
    wanted = [re.compile(pattern.regex) for pattern in table.patterns if not pattern.packed]

    def fits(name: str) -> bool:
        steps = Path(name).parts
        return any(regex.fullmatch(form) for regex in wanted for form in (name, steps[-1], "/".join(steps[-2:])))

    # The archive of one table holds one file: to look for more would decompress all of it.
    if any(regex.fullmatch(re.sub(r"(\.csv)?\.(tar\.gz|tgz|tar)$", ".csv", archive.name)) for regex in wanted):
        return next(([entry.name] for entry in walk_archive(archive) if entry.isreg() and fits(entry.name)), [])
    status = archive.stat()
    return [name for name in _member_names(str(archive), status.st_size, status.st_mtime_ns) if fits(name)]


@lru_cache(maxsize=64)
def _member_names(archive: str, size: int, mtime_ns: int) -> tuple[str, ...]:
    """Names of the regular files in an archive; its size and time are there to notice that it changed."""
    return tuple(entry.name for entry in walk_archive(Path(archive)) if entry.isreg())


def walk_archive(archive: Path) -> Iterator[tarfile.TarInfo]:
    """Entries of a tar archive, each checked.

    Raises:
        TraceFormatError: see `list_members`.
    """
    try:
        with tarfile.open(archive, "r:*") as tar:
            for count, entry in enumerate(tar, start=1):
                check_member(archive, entry)
                if count > MAX_MEMBERS:
                    raise unsafe(archive, f"more than {MAX_MEMBERS:,} members")
                yield entry
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged_archive(archive, error) from error


def check_member(archive: Path, entry: tarfile.TarInfo) -> None:
    """Refuse what no published archive holds.

    Raises:
        TraceFormatError: the entry is a link or device, or its path leads out of the archive.
    """
    steps = entry.name.replace("\\", "/").split("/")
    if entry.name.startswith(("/", "\\")) or ".." in steps or re.match(r"[A-Za-z]:", entry.name):
        raise unsafe(archive, f"the path {entry.name!r} leads out of it")
    if not (entry.isreg() or entry.isdir()):
        raise unsafe(archive, f"{entry.name!r} is a link or a device")


def unsafe(archive: Path, problem: str) -> TraceFormatError:
    """The error for an archive that tries something."""
    return TraceFormatError(
        f"unsafe archive: {problem}",
        file=archive,
        expected="plain files and folders, as published",
        remedy="download the archive from the publisher again and compare its checksum",
    )


def damaged_archive(archive: Path, error: Exception) -> TraceFormatError:
    """The error for an archive that cannot be read."""
    return TraceFormatError(
        f"the archive is cut off or damaged ({str(error).rstrip('.')})",
        file=archive,
        expected="a complete tar archive",
        remedy="download this file again and compare its checksum with the published one",
    )
