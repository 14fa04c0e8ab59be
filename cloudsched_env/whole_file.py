"""Files that are there whole or not at all.

They are written beside their place, forced to the disk and renamed: whatever happens meanwhile (Ctrl-C, a full disk, a
power cut), a reader finds the old content or the new one, and nothing between.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["beside", "sync_folder", "write_whole"]


@contextlib.contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place for new content of a file, which takes the file's name when the block ends without an error.

    Args:
        path: the file; folders above it are made if they are not there.

    Yields:
        A hidden name in the same folder, with the same suffix, as some writers choose the format by it. The block has
        to write it and close it.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Threads of a process and processes of a machine may write the same file: each has a name of its own.
    partial = target.with_name(f".{target.stem}.{os.getpid()}-{threading.get_ident()}.partial{target.suffix}")
    try:
        yield partial
        with open(partial, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(target.parent)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replace a file's content in one step; text becomes UTF-8 with the line ends that it has.

    Args:
        path: the file; folders above it are made if they are not there.
        content: all of it.

    Raises:
        OSError: it cannot be written; the old content is still there.
    """
    with beside(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable; systems that cannot open a folder do without."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
