"""The file by which a folder of trace files says that this package wrote them and that no real trace is in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudsched_env.traces.errors import TraceFormatError

__all__ = ["MARKER", "GeneratedMarker", "find_markers", "is_generated", "read_marker"]

MARKER = "GENERATED.json"
"""File in every written folder that says what it is; published traces have none."""


@dataclass(frozen=True)
class GeneratedMarker:
    """What a marker says.

    Attributes:
        profile: name of the profile that tasks or requests were drawn from.
        seed: seed of everything that was drawn.
        hours: length of the trace.
        written_by: package and version that wrote the files.
        provenance: where the profile comes from: source, authors, url, licence.
    """

    profile: str
    seed: int
    hours: float
    written_by: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Which draw it is, in words."""
        return f"profile {self.profile}, seed {self.seed}, {self.hours:g} h"


def is_generated(folder: Path) -> bool:
    """Whether a folder of trace files was written by this package and holds no real trace."""
    return (folder / MARKER).is_file()


def read_marker(folder: Path) -> GeneratedMarker:
    """The marker of a generated folder.

    Raises:
        TraceFormatError: it is damaged. It is never taken for a real trace then.
    """
    path = folder / MARKER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return GeneratedMarker(
            profile=str(content["profile"]),
            seed=int(content["seed"]),
            hours=float(content["hours"]),
            written_by=str(content["written_by"]),
            provenance=dict(content["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TraceFormatError(
            f"the description of a generated trace cannot be read ({type(error).__name__}: {error})",
            file=path,
            expected="profile, seed, hours, written_by and provenance, as `cloudsched traces generate` writes them",
            remedy="generate the folder again; if the files beside it are a real trace, move them into a folder of "
            "their own",
        ) from error


def find_markers(files: Iterable[Path]) -> tuple[GeneratedMarker, ...]:
    """The markers of the generated folders that any of the files lie in, at whatever depth, in order of the folders.

    One made-up file is enough to make a table generated, so each is asked for, also where only one file or a folder
    above is imported.

    Args:
        files: files that a table is made from.

    Raises:
        TraceFormatError: a marker is damaged.
    """
    folders = {folder for file in files for folder in file.absolute().parents}
    return tuple(read_marker(folder) for folder in sorted(folders) if is_generated(folder))
