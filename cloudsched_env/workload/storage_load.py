"""Other volumes on the storage nodes: how much of their bandwidth the disks of a block trace take.

Block traces (`docs/traces.md`, load tables) hold what disks read and write, not tasks. An episode takes a stretch of
such a trace, compressed in time like everything else, and lets its disks compete with the cluster: what they move, a
storage node cannot give to compute nodes or to compaction (`docs/simulator.md`, item 12).
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.episode import Episode, Split
from cloudsched_env.workload.splits import TraceSplits

if TYPE_CHECKING:
    from cloudsched_env.scenario import Scenario
    from cloudsched_env.traces.load_table import LoadTable

__all__ = ["DEFAULT_MEAN_SHARE", "MOST_SHARE", "StorageLoad"]

DEFAULT_MEAN_SHARE = 0.2
MOST_SHARE = 0.9
"""A storage node always keeps a tenth of its bandwidth: device queues are fair to some degree."""
_SCALING_STEPS = 100
_NEGLIGIBLE = 1e-9  # of the highest rate: what rounding leaves between sums


class StorageLoad:
    """Draws what the disks of a block trace take from the storage nodes of an episode.

    Every episode has about the same mean load, as it has of everything else: traffic is multiplied by one factor, so
    that disks take ``mean_share`` of all bandwidth on average, while no node loses more than `MOST_SHARE` at any time.
    What comes from the trace is when they do, and how unevenly. With fewer disks than storage nodes the same disk
    serves several nodes, each at another time.

    Args:
        table: a load table, or its path.
        mean_share: mean share of the bandwidth of all storage nodes that the disks take.

    Attributes:
        devices: number of disks.
        splits: borders of the splits on the trace's clock.
        description: for result files: format, title and data tag of the trace, number of disks, mean share.

    Raises:
        ValueError: for a share that cannot be had, or a table without traffic.
        TraceFormatError: the file is no load table.
    """

    def __init__(self, table: LoadTable | str | os.PathLike[str], mean_share: float = DEFAULT_MEAN_SHARE) -> None:
        if not 0.0 < mean_share < MOST_SHARE:
            raise ValueError(f"storage load: mean_share is {mean_share}: expected more than 0, less than {MOST_SHARE}")
        if isinstance(table, (str, os.PathLike)):
            from cloudsched_env.traces.load_table import load_background

            columns = ("start_s", "interval_s", "device", "read_mb_per_s", "write_mb_per_s")
            table = load_background(table, columns)
        if not len(table):
            raise ValueError("storage load: the load table has no row")
        order = np.lexsort((table["start_s"], table["device"]))
        self.mean_share = float(mean_share)
        self.devices = len(table.categories["device"])
        self._start_s = table["start_s"][order]
        self._length_s = table["interval_s"][order]
        self._mb = (table["read_mb_per_s"] + table["write_mb_per_s"])[order] * self._length_s
        self._first_row = np.searchsorted(table["device"][order], np.arange(self.devices + 1))
        ends_s = self._start_s + self._length_s  # the last interval ends after the last request
        known = table.metadata
        self.splits = TraceSplits.by_share((known.span_start_s, max(known.span_end_s, float(ends_s.max()))))
        self.description: dict[str, Any] = {
            "source": table.metadata.format,
            "title": table.metadata.title,
            "data_tag": table.metadata.data_tag,
            "devices": self.devices,
            "mean_share": self.mean_share,
        }

    def add_to(self, episode: Episode, scenario: Scenario, split: Split, rng: np.random.Generator) -> Episode:
        """The episode with disks of a random stretch of the split on its storage nodes.

        Args:
            episode: the tasks, and what noisy neighbours do to compute nodes.
            scenario: the cluster.
            split: stretch of the block trace; one that is shorter than the episode repeats.
            rng: source of randomness.
        """
        nodes, steps = scenario.cluster.storage_nodes, scenario.time.horizon_steps
        rates, starts_s = self._rates(nodes, steps, scenario, split, rng)
        taken = _scaled(rates, self.mean_share)
        node, step = np.nonzero(np.diff(taken, axis=1, prepend=0.0))
        all_steps = np.concatenate([episode.background_step, step])
        all_nodes = np.concatenate([episode.background_node, (node + scenario.compute_count).astype(np.int32)])
        all_shares = np.concatenate([episode.background_share, 1.0 - taken[node, step]])
        order = np.argsort(all_steps, kind="stable")
        details = {
            **self.description,
            "split": split,
            "window_start_s": starts_s,
            "mean_share": float(taken.mean()),
        }
        return dataclasses.replace(
            episode,
            background_step=all_steps[order].astype(np.int64),
            background_node=all_nodes[order],
            background_share=all_shares[order],
            details={**episode.details, "storage_load": details},
        )

    def _rates(
        self, nodes: int, steps: int, scenario: Scenario, split: Split, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], list[float]]:
        """Mean traffic of each node's disks in each step, MB/s of the trace, ``[nodes, steps]``; starts of windows."""
        first, end = self.splits.bounds(split)
        step_s = scenario.time.step_s * scenario.workload.time_compression
        last = max(first, end - steps * step_s)
        if self.devices >= nodes:
            of_node = np.array_split(rng.permutation(self.devices), nodes)
            starts_s = np.full(nodes, rng.uniform(first, last))
        else:
            of_node = np.array_split(rng.permutation(np.arange(nodes) % self.devices), nodes)
            starts_s = rng.uniform(first, end, nodes)
        edges = np.arange(steps + 1) * step_s
        rates = np.zeros((nodes, steps))
        for node, devices in enumerate(of_node):
            for device in devices:
                rates[node] += np.diff(self._moved(int(device), first, end, starts_s[node] + edges)) / step_s
        return np.where(rates > _NEGLIGIBLE * rates.max(), rates, 0.0), starts_s.tolist()

    def _moved(self, device: int, first: float, end: float, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """MB that a disk has moved since ``first``, at times on a clock on which the split repeats without an end."""
        rows = slice(self._first_row[device], self._first_row[device + 1])
        start_s, length_s, mb = self._start_s[rows], self._length_s[rows], self._mb[rows]
        inside = np.clip((np.minimum(start_s + length_s, end) - np.maximum(start_s, first)) / length_s, 0.0, 1.0)
        start_s, length_s, mb = start_s[inside > 0], (length_s * inside)[inside > 0], (mb * inside)[inside > 0]
        if not len(mb):
            return np.zeros_like(time_s)
        begin_s = np.maximum(start_s, first)
        # Corners of a piecewise linear curve; np.interp holds the last value where no interval is.
        corner_s = np.column_stack([begin_s, begin_s + length_s]).ravel()
        before = np.concatenate([[0.0], np.cumsum(mb)])
        corner_mb = np.column_stack([before[:-1], before[1:]]).ravel()
        rounds, within = np.divmod(time_s - first, end - first)
        moved: NDArray[np.float64] = rounds * before[-1] + np.interp(first + within, corner_s, corner_mb)
        return moved


def _scaled(rates: NDArray[np.float64], mean_share: float) -> NDArray[np.float64]:
    """Shares min(c rate, `MOST_SHARE`), c such that they average ``mean_share`` or come as near as can be."""
    if not (rates > 0).any():
        return np.zeros_like(rates)
    low, high = 0.0, 1.0 / rates[rates > 0].min()
    for _ in range(_SCALING_STEPS):
        middle = 0.5 * (low + high)
        if np.minimum(middle * rates, MOST_SHARE).mean() < mean_share:
            low = middle
        else:
            high = middle
    shares: NDArray[Any] = np.minimum(high * rates, MOST_SHARE)
    return shares
