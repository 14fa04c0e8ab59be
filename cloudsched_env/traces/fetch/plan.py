"""What a fetch would do: which files, of what size, which are there already. Nothing here touches the network."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from cloudsched_env.traces.fetch.catalogue import Dataset, RemoteFile, select
from cloudsched_env.traces.fetch.manifest import Manifest

__all__ = ["Plan", "Selection", "make_plan"]


@dataclass(frozen=True)
class Selection:
    """What of a dataset is wanted.

    Attributes:
        tables: names of tables, None for those that the import needs.
        parts: part numbers such as ``"0-13"``, None for all.
        mirrors: further addresses, tried first.
    """

    tables: tuple[str, ...] | None = None
    parts: str | None = None
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Files of a selection, by where they stand.

    Attributes:
        dataset: what is published.
        folder: where the files belong.
        selection: what was asked for.
        files: all files.
        present: paths that were fetched and checked before, and have not changed since.
        unchecked: paths that are there but have to be compared first.
        partial_bytes: bytes of unfinished downloads that can be gone on with.
    """

    dataset: Dataset
    folder: Path
    selection: Selection
    files: tuple[RemoteFile, ...]
    present: frozenset[str]
    unchecked: frozenset[str]
    partial_bytes: int

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """Files that are not there."""
        return tuple(file for file in self.files if file.path not in self.present | self.unchecked)

    @property
    def lacks_checksums(self) -> bool:
        """Whether the published list of checksums has to be fetched too."""
        return self.dataset.checksums is not None and not (self.folder / self.dataset.checksums).exists()

    @property
    def missing_bytes(self) -> int:
        """What is to be transferred, as far as sizes are known."""
        known = sum(file.about_bytes for file in self.missing if file.about_bytes is not None)
        return max(0, known - self.partial_bytes)

    @property
    def command(self) -> str:
        """The command line of this plan."""
        words = ["cloudsched traces fetch", self.dataset.name, "--to", shlex.quote(str(self.folder))]
        if self.selection.tables is not None:
            words += ["--tables", ",".join(self.selection.tables)]
        if self.selection.parts is not None:
            words += ["--parts", self.selection.parts]
        return " ".join(words)


def make_plan(dataset: Dataset, folder: Path, selection: Selection | None = None) -> Plan:
    """See what is there and what is missing.

    Raises:
        FetchError: a table or part does not exist, or the folder holds another dataset.
    """
    selection = selection or Selection()
    files = select(dataset, tables=selection.tables, parts=selection.parts, mirrors=selection.mirrors)
    manifest = Manifest(folder, dataset)
    present: set[str] = set()
    unchecked: set[str] = set()
    partial_bytes = 0
    for file in files:
        path = folder / file.path
        if path.is_file():
            (present if is_unchanged(path, file.path, manifest) else unchecked).add(file.path)
        else:
            part = path.with_name(path.name + ".part")
            partial_bytes += part.stat().st_size if part.is_file() else 0
    return Plan(dataset, folder, selection, files, frozenset(present), frozenset(unchecked), partial_bytes)


def is_unchanged(path: Path, name: str, manifest: Manifest) -> bool:
    """Whether a file is the one that the manifest lists, by size and modification time."""
    entry = manifest.get(name)
    found = path.stat()
    return entry is not None and (found.st_size, found.st_mtime_ns) == (entry.bytes, entry.modified_ns)
