"""What the declarations of several publishers share."""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Licence, PublishedFile, RemoteTable

__all__ = ["CC_BY", "CC_BY_BINDING", "GB", "KB", "MB", "single_file"]

KB, MB, GB = 10**3, 10**6, 10**9
_CC_BY_TEXT = "https://creativecommons.org/licenses/by/4.0/"
CC_BY = Licence("CC-BY-4.0", "Creative Commons Attribution 4.0", _CC_BY_TEXT, acceptance_required=False)
# Of pages that say: by downloading or using the data you agree to the terms of the licence.
CC_BY_BINDING = Licence("CC-BY-4.0", "Creative Commons Attribution 4.0", _CC_BY_TEXT, acceptance_required=True)


def single_file(
    name: str,
    path: str,
    *,
    sha256: str | None = None,
    size: int | None = None,
    about: int | None = None,
    default: bool = True,
    note: str = "",
) -> RemoteTable:
    """A table that is one file."""
    return RemoteTable(
        name,
        path,
        default=default,
        about_bytes=about if size is None else size,
        files=((0, PublishedFile(sha256, size)),),
        note=note,
    )
