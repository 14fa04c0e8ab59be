"""What was fetched into a folder: a JSON file beside the data, from which a later run knows what it need not repeat."""

from __future__ import annotations

import dataclasses
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from cloudsched_env.traces.fetch.catalogue import Dataset, Licence
from cloudsched_env.traces.fetch.errors import FetchError
from cloudsched_env.whole_file import write_whole

__all__ = ["MANIFEST_NAME", "FetchedFile", "Manifest"]

MANIFEST_NAME = "fetch-manifest.json"
_VERSION = 1


@dataclass(frozen=True)
class FetchedFile:
    """One complete file.

    Attributes:
        bytes: its size.
        sha256: checksum of its bytes on disk.
        verified_by: what it was compared with: ``published sha256``, ``md5 of the server``, or ``size`` only.
        url: where it came from; empty for a file that was there before.
        fetched_at: UTC time, ISO 8601.
        modified_ns: modification time on disk, by which a later change is noticed.
        etag: entity tag of the server.
        last_modified: modification time by the server.
    """

    bytes: int
    sha256: str
    verified_by: str
    url: str
    fetched_at: str
    modified_ns: int
    etag: str = ""
    last_modified: str = ""


class Manifest:
    """The manifest of a folder; its methods may be called from several threads.

    Args:
        folder: where the data lies.
        dataset: what it is.

    Raises:
        FetchError: there is a manifest that cannot be read, or one of another dataset.
    """

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.path = folder / MANIFEST_NAME
        self._dataset = dataset
        self._files: dict[str, FetchedFile] = {}
        self._accepted: dict[str, str] = {}
        self._lock = threading.Lock()
        self._changed = False
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']}, expected {_VERSION}")
            name = content["dataset"]
            self._accepted = dict(content["licence_accepted"])
            self._files = {path: FetchedFile(**entry) for path, entry in content["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FetchError(
                f"{self.path}: not a manifest of fetched files ({error})\n"
                "  what to do: delete it; the files beside it are then checked again"
            ) from error
        if name != self._dataset.name:
            raise FetchError(
                f"{self.path}: this folder holds {name}, not {self._dataset.name}\n  what to do: choose another folder"
            )

    def get(self, path: str) -> FetchedFile | None:
        """The entry of a file."""
        return self._files.get(path)

    def paths(self) -> tuple[str, ...]:
        """Files that are listed, sorted."""
        return tuple(sorted(self._files))

    def add(self, path: str, entry: FetchedFile) -> None:
        """List a file."""
        with self._lock:
            self._files[path] = entry
            self._changed = True

    def forget(self, path: str) -> None:
        """Take a file from the list."""
        with self._lock:
            self._changed |= self._files.pop(path, None) is not None

    def accepted(self, licence: Licence) -> bool:
        """Whether the licence was accepted for this folder before."""
        return licence.name in self._accepted

    def accept(self, licence: Licence, when: str) -> None:
        """Record that the licence was accepted."""
        with self._lock:
            if licence.name not in self._accepted:
                self._accepted[licence.name] = when
                self._changed = True

    def save(self) -> None:
        """Write it, if anything changed."""
        with self._lock:
            if not self._changed:
                return
            content = {
                "version": _VERSION,
                "dataset": self._dataset.name,
                "title": self._dataset.title,
                "page": self._dataset.page,
                "licence": dataclasses.asdict(self._dataset.licence),
                "licence_accepted": self._accepted,
                "citation": self._dataset.citation,
                "files": {path: dataclasses.asdict(self._files[path]) for path in sorted(self._files)},
            }
            write_whole(self.path, json.dumps(content, indent=1) + "\n")
            self._changed = False
