"""A file that is not complete yet: its bytes, and what they are the beginning of.

``NAME.part`` holds the bytes, ``NAME.part.json`` the address and version (ETag, Last-Modified, size) they belong to and
how many of them are known to be on disk. The final name appears only when the file is complete and checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudsched_env.whole_file import sync_folder, write_whole

__all__ = ["PartialFile", "Version"]

_CHUNK_BYTES = 1 << 20
# What a killed process loses at most; one that is interrupted loses nothing.
_SYNC_EVERY_BYTES = 16 << 20
_ROOM_FOR_NOTE_BYTES = 64 << 10


@dataclass(frozen=True)
class Version:
    """Which version of which file the bytes belong to.

    Attributes:
        url: address.
        etag: entity tag, empty if the server sent none.
        last_modified: modification time as the server wrote it, empty if it sent none.
        total_bytes: size, None if unknown.
    """

    url: str
    etag: str = ""
    last_modified: str = ""
    total_bytes: int | None = None

    @property
    def if_range(self) -> str | None:
        """Value for an If-Range header: a strong entity tag or a date (RFC 9110, 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified or None

    def same_content(self, other: Version) -> bool:
        """Whether two answers describe the same bytes, by everything that both of them tell."""
        pairs = (
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
            (self.total_bytes, other.total_bytes),
        )
        told = [(mine, theirs) for mine, theirs in pairs if mine and theirs]
        return bool(told) and all(mine == theirs for mine, theirs in told)


class PartialFile:
    """The beginning of a file, its checksums, and what it belongs to.

    Args:
        target: the final name.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._state_path = target.with_name(target.name + ".part.json")
        self._file: Any = None
        self._synced_bytes = 0
        self._forget_digests()
        self.version: Version | None = None
        self.bytes = 0

    def open(self) -> None:
        """Open it, with the bytes that an earlier run left, as far as they are known to be sound."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.version, trusted = self._read_state()
        # Without a buffer, nothing is left to be written (and to fail) when the file is closed after an error.
        mode = "r+b" if self.path.exists() else "w+b"
        self._file = open(self.path, mode, buffering=0)  # noqa: SIM115 - closed by `close`
        size = self._file.seek(0, os.SEEK_END)
        self.bytes = min(size, trusted)
        self._file.truncate(self.bytes)
        self._synced_bytes = self.bytes
        self._forget_digests()

    def _forget_digests(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hashed_bytes = 0

    def _read_state(self) -> tuple[Version | None, int]:
        try:
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
            return Version(**state["version"]), int(state["synced_bytes"])
        except (OSError, ValueError, TypeError, KeyError):
            return None, 0  # bytes of unknown origin are the beginning of nothing

    def begin(self, version: Version) -> None:
        """The next bytes are the first ones of this version."""
        self._file.seek(0)
        self._file.truncate()
        self._state_path.unlink(missing_ok=True)  # it vouches for bytes that are gone
        self.bytes = self._synced_bytes = 0
        self._forget_digests()
        self.version = version

    def go_on(self, version: Version) -> None:
        """The next bytes follow those that are there; they come from this version, which fits."""
        self.version = version

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: among others when the disk is full; what was written before stays.
        """
        self._catch_up()
        self._file.seek(self.bytes)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.bytes += len(data)
        self._hash(data)
        if self.bytes - self._synced_bytes >= _SYNC_EVERY_BYTES:
            self.sync()

    def _hash(self, data: bytes) -> None:
        self._sha256.update(data)
        self._md5.update(data)
        self._hashed_bytes += len(data)

    def _catch_up(self) -> None:
        """Hash what an earlier run wrote."""
        self._file.seek(self._hashed_bytes)
        while self._hashed_bytes < self.bytes:
            data = self._file.read(min(_CHUNK_BYTES, self.bytes - self._hashed_bytes))
            if not data:
                raise OSError(f"{self.path}: somebody else made it shorter; delete it and fetch again")
            self._hash(data)

    def digests(self) -> tuple[str, bytes]:
        """SHA-256 (hexadecimal) and MD5 (bytes) of what is there."""
        self._catch_up()
        return self._sha256.hexdigest(), self._md5.digest()

    def sync(self) -> None:
        """Put the bytes on the disk, then note how many there are."""
        os.fsync(self._file.fileno())
        self._synced_bytes = self.bytes
        if self.version is not None:
            state = {"version": dataclasses.asdict(self.version), "synced_bytes": self.bytes}
            write_whole(self._state_path, json.dumps(state) + "\n")

    def close(self) -> None:
        """Close it and keep the bytes for a later run; none are kept when there are none."""
        if self._file is None or self._file.closed:
            return
        try:
            try:
                self._file.truncate(self.bytes)
                self.sync()
            except OSError:
                # A full disk has no room for the note either: give it some. If that is not enough, the older note
                # stays and vouches for fewer bytes.
                self.bytes = max(0, self.bytes - _ROOM_FOR_NOTE_BYTES)
                with contextlib.suppress(OSError):
                    self._file.truncate(self.bytes)
                    self.sync()
        finally:
            self._file.close()
        if self.bytes == 0:
            self.discard()

    def discard(self) -> None:
        """Remove the bytes and the note."""
        if self._file is not None:
            self._file.close()
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    def quarantine(self) -> Path:
        """Put bytes that are wrong aside as ``NAME.corrupt``, for a look at them; returns where."""
        self._file.close()
        aside = self.target.with_name(self.target.name + ".corrupt")
        os.replace(self.path, aside)
        self._state_path.unlink(missing_ok=True)
        return aside

    def finish(self) -> None:
        """Give the complete, checked file its final name."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self.target)
        self._state_path.unlink(missing_ok=True)
        self.target.with_name(self.target.name + ".corrupt").unlink(missing_ok=True)
        sync_folder(self.target.parent)
