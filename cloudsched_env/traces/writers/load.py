"""The requests of disks that writers turn into published block traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "GeneratedLoad", "Requests"]

BLOCK_BYTES = 512
"""Sizes and offsets of requests are multiples of it."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DISK_BLOCKS = 2**27  # 64 GiB
_REQUESTS_AT_ONCE = 200_000


@dataclass(frozen=True)
class Requests:
    """Requests in order of time, ``[requests]`` each.

    Attributes:
        t_us: start, since the start of the trace.
        device: number of the disk.
        write: whether it is a write.
        blocks: size in blocks.
        first_block: where on the disk.
        latency_s: response time, NaN if the profile has none.
    """

    t_us: Integers
    device: Integers
    write: NDArray[np.bool_]
    blocks: Integers
    first_block: Integers
    latency_s: Floats


@dataclass(frozen=True)
class GeneratedLoad:
    """What generated disks do, a row for each disk and interval with requests, by interval and disk, ``[rows]`` each.

    Attributes:
        interval_us: length of an interval.
        intervals: how many the trace has.
        devices: number of disks.
        interval: number of the interval.
        device: number of the disk.
        reads: read requests that begin in the interval.
        writes: write requests that do.
        read_bytes: bytes of the reads, a multiple of `BLOCK_BYTES`, at least one block each.
        write_bytes: bytes of the writes, likewise.
        latency_s: mean response time, NaN if the profile has none.
        origin: profile, seed and provenance, for the marker.
    """

    interval_us: int
    intervals: int
    devices: int
    interval: Integers
    device: Integers
    reads: Integers
    writes: Integers
    read_bytes: Integers
    write_bytes: Integers
    latency_s: Floats
    origin: dict[str, Any]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.interval)

    @property
    def length_s(self) -> float:
        """Length of the trace."""
        return self.intervals * self.interval_us / 1e6

    @property
    def counts(self) -> dict[str, int]:
        """What there is, for the marker."""
        return {"devices": self.devices, "requests": int(self.reads.sum() + self.writes.sum())}

    def requests(self, tick_us: int = 1, device: int | None = None) -> Iterator[Requests]:
        """Single requests whose sums are those of the rows, in chunks of whole intervals.

        What a profile does not know of them is as plain as can be: they begin at uniform times of their interval, the
        reads of a row are of equal size up to a block, and so are its writes, and they lie anywhere on a disk of
        64 GiB.

        Args:
            tick_us: times are multiples of it; an interval has to be one too.
            device: the disk; all by default.
        """
        rows = np.arange(len(self)) if device is None else np.flatnonzero(self.device == device)
        if not len(rows):
            return
        key = (1,) if device is None else (1, device)
        rng = np.random.default_rng(np.random.SeedSequence(self.origin["seed"], spawn_key=key))
        before = np.cumsum((self.reads + self.writes)[rows]) // _REQUESTS_AT_ONCE
        interval = self.interval[rows]
        # A chunk ends with an interval, so that chunks follow one another in time.
        last = np.flatnonzero(np.diff(interval))
        cuts = last[np.diff(before[last], prepend=0) > 0] + 1
        for some in np.split(rows, cuts):
            yield self._chunk(some, tick_us, rng)

    def _chunk(self, rows: NDArray[np.intp], tick_us: int, rng: np.random.Generator) -> Requests:
        count = np.concatenate([self.reads[rows], self.writes[rows]])
        row = np.repeat(np.concatenate([rows, rows]), count)
        write = np.repeat(np.arange(2) == 1, [int(self.reads[rows].sum()), int(self.writes[rows].sum())])
        total = np.concatenate([self.read_bytes[rows], self.write_bytes[rows]]) // BLOCK_BYTES
        number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        # The first ones are a block larger if the blocks do not divide evenly.
        share, left = np.divmod(total, np.maximum(count, 1))
        blocks = np.repeat(share, count) + (number < np.repeat(left, count))
        ticks = rng.integers(0, self.interval_us // tick_us, len(row))
        t_us = self.interval[row] * self.interval_us + tick_us * ticks
        first_block = rng.integers(0, _DISK_BLOCKS - blocks)
        order = np.lexsort((first_block, self.device[row], t_us))
        return Requests(
            t_us[order], self.device[row][order], write[order], blocks[order], first_block[order],
            self.latency_s[row][order],
        )  # fmt: skip
