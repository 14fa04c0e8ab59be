"""Options of commands whose episodes may have the disks of a block trace on their storage nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cloudsched_env.workload.storage_load import StorageLoad

__all__ = ["StorageLoadFile", "StorageLoadShare", "read_storage_load"]

StorageLoadFile = Annotated[
    Path | None,
    typer.Option(exists=True, help="load table of an imported block trace: its disks compete for the storage nodes"),
]
StorageLoadShare = Annotated[
    float | None,
    typer.Option(
        help="mean share of the storage nodes' bandwidth that these disks take, below 0.9", show_default="0.2"
    ),
]


def read_storage_load(table: Path | None, mean_share: float | None) -> StorageLoad | None:
    """The load that the two options ask for; without a share that of `StorageLoad`.

    Raises:
        ValueError: the file is no load table, or the share cannot be had.
    """
    if table is None:
        return None
    from cloudsched_env.workload.storage_load import StorageLoad

    return StorageLoad(table) if mean_share is None else StorageLoad(table, mean_share)
