"""Published files as chunks of whole lines: hashed, decompressed and bounded while they are read once.

A chunk is a plain file of some tens of MB that DuckDB can read with all cores, and the unit that an import resumes
from. What is compressed is read as a stream: nothing is unpacked to a path that an archive chooses, and a stream that
expands without end is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cloudsched_env.traces.errors import TraceFormatError
from cloudsched_env.traces.parts import Part, check_member, damaged_archive
from cloudsched_env.traces.published import PublishedTable

__all__ = ["Chunk", "Limits", "PartReader", "hash_file"]

BLOCK_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Limits:
    """What a sound published file keeps to.

    Attributes:
        chunk_bytes: size after which a chunk ends with its line.
        line_bytes: longest line.
        ratio: decompressed bytes for each compressed one, once `ratio_from_bytes` were decompressed.
        ratio_from_bytes: see `ratio`.
    """

    chunk_bytes: int = 64 << 20
    line_bytes: int = 1 << 20
    ratio: int = 200
    ratio_from_bytes: int = 64 << 20


@dataclass(frozen=True)
class Chunk:
    """Some lines of a part, in a file of their own.

    Attributes:
        path: the file.
        number: its number within the part, from 0.
        first_line: number of its first line within the part, from 1.
        lines: lines in it.
        bytes_read: bytes of the published file that were read for it.
    """

    path: Path
    number: int
    first_line: int
    lines: int
    bytes_read: int


class _Hashed:
    """A file whose bytes are hashed and counted as they are read."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        self.digest = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        self.bytes += len(data)
        return data

    def close(self) -> None:
        self.file.close()


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    hashed = _Hashed(path)
    with closing(hashed):
        while hashed.read(BLOCK_BYTES):
            pass
    return hashed.digest.hexdigest()


class PartReader:
    """Reads one part from its first to its last byte, chunk by chunk.

    Attributes:
        lines: lines seen so far.
        sha256: checksum of the published file, once all chunks were read.
        header: fields of the first line if it names the columns, else None.
    """

    def __init__(self, part: Part, table: PublishedTable, limits: Limits | None = None) -> None:
        self.part = part
        self.table = table
        self.limits = limits or Limits()
        self.lines = 0
        self.sha256 = ""
        self.header: tuple[str, ...] | None = None
        self._hashed: _Hashed | None = None
        self._block_bytes = min(BLOCK_BYTES, self.limits.chunk_bytes)

    def chunks(self, target: Callable[[int], Path]) -> Iterator[Chunk]:
        """Write the lines into files, each of whole lines, and yield them one by one.

        Args:
            target: path for the chunk of a number.

        Raises:
            TraceFormatError: the file is damaged, cut off, or expands without end; or its header is not the table's.
        """
        number, first_line, written, lines, seen = 0, 1, 0, 0, 0
        rest, begins = b"", True
        stream: IO[bytes] | None = None
        try:
            for block in self._blocks():
                data = rest + block
                cut = data.rfind(b"\n") + 1
                whole, rest = data[:cut], data[cut:]
                if len(rest) > self.limits.line_bytes:
                    raise self._error(
                        f"a line longer than {self.limits.line_bytes:,} bytes", "lines of text", line=self.lines + 1
                    )
                if b"\r" in whole:
                    whole = whole.replace(b"\r\n", b"\n")
                if whole and begins:
                    whole = self._take_header(whole.removeprefix(_BYTE_ORDER_MARK))
                    first_line = self.lines + 1
                    begins = False
                if not whole:
                    continue
                if stream is None:
                    stream = open(target(number), "wb")  # noqa: SIM115 - closed below
                stream.write(whole)
                lines += whole.count(b"\n")
                written += len(whole)
                if written >= self.limits.chunk_bytes:
                    stream.close()
                    self.lines += lines
                    yield self._chunk(target(number), number, first_line, lines, seen)
                    seen = self._bytes_read()
                    number, first_line, written, lines, stream = number + 1, self.lines + 1, 0, 0, None
            rest = rest.removesuffix(b"\r") + b"\n" if rest else rest
            if rest and begins:
                rest = self._take_header(rest.removeprefix(_BYTE_ORDER_MARK))
                first_line = self.lines + 1
            if rest:
                if stream is None:
                    stream = open(target(number), "wb")  # noqa: SIM115 - closed below
                stream.write(rest)
                lines += 1
            if stream is not None:
                stream.close()
                self.lines += lines
                yield self._chunk(target(number), number, first_line, lines, seen)
        finally:
            if stream is not None:
                stream.close()
            if self._hashed is not None:
                self._hashed.close()
        if self.table.header == "required" and self.header is None and self.part.encoding == "csv":
            raise self._error("empty file", "a first line with the names of the columns")

    def _chunk(self, path: Path, number: int, first_line: int, lines: int, seen: int) -> Chunk:
        return Chunk(path, number, first_line, lines, self._bytes_read() - seen)

    def _bytes_read(self) -> int:
        return self._hashed.bytes if self._hashed else 0

    def _take_header(self, data: bytes) -> bytes:
        """The lines without the header, if there is one; its line counts as read."""
        if self.part.encoding != "csv" or self.table.header == "none":
            return data
        line, _, rest = data.partition(b"\n")
        try:
            fields = tuple(field.strip().strip('"') for field in line.decode("utf-8").split(","))
        except UnicodeDecodeError:
            raise self._error("not UTF-8 text", "UTF-8 text", line=1) from None
        if self.table.header == "optional":
            if not _is_header(self.table, fields):
                return data
            self.header = tuple(column.name for column in self.table.columns)
        else:
            self.header = self._header_names(fields)
        self.lines = 1
        return rest

    def _header_names(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the columns as the table has them, in the order of the file."""
        known = {
            alias.casefold(): column.name for column in self.table.columns for alias in (column.name, *column.aliases)
        }
        names = tuple(known.get(field.casefold(), field) for field in fields)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise self._error(f"the header names {', '.join(twice)} twice", "each column once", line=1)
        missing = [column.name for column in self.table.columns if not column.absent and column.name not in names]
        if missing:
            shown = ", ".join(fields)[:200]
            raise self._error(
                f"the header lacks {', '.join(missing)}: found {shown!r}",
                "a first line with the names " + ", ".join(c.name for c in self.table.columns if not c.absent),
                line=1,
            )
        return names

    def _error(self, problem: str, expected: str, line: int | None = None) -> TraceFormatError:
        return TraceFormatError(
            problem,
            file=self._place(),
            line=line,
            expected=f"{self.table.name} as published: {expected}",
            remedy="download the file again and compare its checksum with the published one",
        )

    def _place(self) -> str:
        return f"{self.part.path}!{self.part.member}" if self.part.member else str(self.part.path)

    def _blocks(self) -> Iterator[bytes]:
        """Decompressed bytes, with all checks of the container."""
        if self.part.encoding == "sqlite":
            yield from _sqlite_lines(self.part, self.table)
            self.sha256 = hash_file(self.part.path)
        elif self.part.member is not None:
            yield from self._bounded(self._member_blocks(self.part.member))
        elif self.part.path.name.endswith(".gz"):
            yield from self._bounded(self._gzip_blocks())
        else:
            self._hashed = _Hashed(self.part.path)
            while block := self._hashed.read(self._block_bytes):
                yield block
            self.sha256 = self._hashed.digest.hexdigest()

    def _bounded(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks as long as they do not expand as no table of a trace does."""
        expanded = 0
        for block in blocks:
            expanded += len(block)
            if expanded > self.limits.ratio_from_bytes and expanded > self.limits.ratio * max(1, self._bytes_read()):
                raise self._error(
                    f"expands more than {self.limits.ratio}-fold, which no table of text does (a decompression bomb?)",
                    "compressed text",
                )
            yield block

    def _gzip_blocks(self) -> Iterator[bytes]:
        self._hashed = hashed = _Hashed(self.part.path)
        lines = 0
        try:
            with gzip.GzipFile(fileobj=hashed) as stream:  # type: ignore[call-overload]
                while block := stream.read(self._block_bytes):
                    lines += block.count(b"\n")
                    yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            cut = isinstance(error, EOFError)
            raise TraceFormatError(
                f"the gzip stream is {'cut off' if cut else 'damaged'} after line {lines:,} ({str(error).rstrip('.')})",
                file=self.part.path,
                expected="a complete gzip file",
                remedy="download this file again and compare it with the trace's SHA256SUM",
            ) from error
        self.sha256 = hashed.digest.hexdigest()

    def _member_blocks(self, member: str) -> Iterator[bytes]:
        """One member of an archive, which is then read to its end: only there is the checksum of gzip."""
        archive = self.part.path
        self._hashed = hashed = _Hashed(archive)
        found = False
        try:
            packed = archive.name.endswith((".gz", ".tgz"))
            stream = gzip.GzipFile(fileobj=hashed) if packed else hashed  # type: ignore[call-overload]
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                for entry in tar:
                    check_member(archive, entry)
                    content = tar.extractfile(entry) if entry.name == member and not found else None
                    if content is not None:
                        found = True
                        if member.endswith(".gz"):
                            content = gzip.GzipFile(fileobj=content)
                        while block := content.read(self._block_bytes):
                            yield block
            while stream.read(BLOCK_BYTES):
                pass
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise damaged_archive(archive, error) from error
        if not found:
            raise TraceFormatError(
                f"the member {member} is gone", file=archive, expected="the archive as it was before"
            )
        self.sha256 = hashed.digest.hexdigest()


def _sqlite_lines(part: Part, table: PublishedTable) -> Iterator[bytes]:
    """Rows of a table of a database file as JSON records."""
    names = [column.name for column in table.columns]
    try:
        with closing(sqlite3.connect(f"{part.path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            found = {row[1] for row in database.execute(f'PRAGMA table_info("{table.source_table}")')}
            missing = [column.name for column in table.columns if not column.absent and column.name not in found]
            if missing:
                raise TraceFormatError(
                    f"the table {table.source_table} has no column {missing[0]}"
                    if found
                    else f"there is no table {table.source_table}",
                    file=part.path,
                    expected=f"a table {table.source_table} with {', '.join(names)}",
                    remedy="check that this is the published database file",
                )
            select = ", ".join(f'"{name}"' if name in found else f'NULL AS "{name}"' for name in names)
            cursor = database.execute(f'SELECT {select} FROM "{table.source_table}"')
            while rows := cursor.fetchmany(20_000):
                yield "".join(
                    json.dumps(dict(zip(names, map(_plain, row), strict=True))) + "\n" for row in rows
                ).encode()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise TraceFormatError(
            f"not a readable SQLite database ({error})",
            file=part.path,
            expected="the published database file",
            remedy="download this file again and compare its checksum with the published one",
        ) from error


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _is_header(table: PublishedTable, fields: tuple[str, ...]) -> bool:
    """Whether a first line names columns: no field of a numeric column begins like a number, and none is empty."""
    numeric = [
        field for column, field in zip(table.columns, fields, strict=False) if column.kind in ("integer", "float")
    ]
    return (
        len(fields) == len(table.columns)
        and bool(numeric)
        and all(field and not field[0].isdigit() and field[0] not in "+-." for field in numeric)
    )
