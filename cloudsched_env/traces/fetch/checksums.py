"""Published lists of checksums, and the hashing of files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from cloudsched_env.traces.fetch.errors import FetchError

__all__ = ["Checksums", "sha256_of"]

# `sha256sum` writes two characters between digest and name: a space, then a space (text) or an asterisk (binary).
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(?:\./)?(\S.*)")
_CHUNK_BYTES = 1 << 20


class Checksums:
    """A list in the format of ``sha256sum``.

    Args:
        text: its content.
        source: what to call it in messages.

    Raises:
        FetchError: a line is of another form (a page of HTML instead of the list, for instance), or there is none.
    """

    def __init__(self, text: str, source: str) -> None:
        self._by_path: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            match = _LINE.fullmatch(line.strip())
            if not match:
                raise FetchError(
                    f"{source}, line {number}: expected a SHA-256 sum and a path, found {line[:60]!r}\n"
                    f"  what to do: delete {source} and fetch again; if it stays so, the publisher changed the list"
                )
            self._by_path[match[2].replace("\\", "/")] = match[1].lower()
        if not self._by_path:
            raise FetchError(f"{source}: expected a list of SHA-256 sums, found nothing; delete it and fetch again")

    def find(self, path: str) -> str | None:
        """The sum of a file by its path; a list whose paths begin with further folders is understood.

        Only the end of a listed path is compared, and only if exactly one fits, so that ``part-00000.csv.gz`` of one
        table never stands for that of another.
        """
        if path in self._by_path:
            return self._by_path[path]
        longer = [digest for name, digest in self._by_path.items() if name.endswith("/" + path)]
        return longer[0] if len(longer) == 1 else None


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file; `on_bytes` hears how many bytes were read, chunk by chunk, and may raise to stop."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()
