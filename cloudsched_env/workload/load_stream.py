"""Draw the requests of disks from a `LoadProfile`, and write them as a load table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env import __version__
from cloudsched_env.traces.errors import require
from cloudsched_env.traces.load_table import LOAD_TABLE
from cloudsched_env.traces.metadata import SyntheticColumn, TraceMetadata
from cloudsched_env.traces.table import arrow_schema, write_table
from cloudsched_env.traces.writers.load import BLOCK_BYTES, GeneratedLoad
from cloudsched_env.workload.fit_load import LoadSeries
from cloudsched_env.workload.load_profile import DeviceClass, LoadProfile
from cloudsched_env.workload.normal import normal_probability

__all__ = ["generate_load", "series_of", "write_load_table"]

Floats = NDArray[np.float64]

_ROWS = 100_000
_DEVICES_AT_ONCE = 64


def generate_load(profile: LoadProfile, hours: float, seed: int, devices: int | None = None) -> GeneratedLoad:
    """Draw hours of requests from a load profile; the same seed gives the same requests.

    Args:
        profile: what to draw from.
        hours: length of the trace; what is left after the last whole interval is not drawn.
        seed: seed of everything that is drawn.
        devices: number of disks; as many as the profile was fitted to by default. Their mean rates are spread evenly
            over the quantiles of the fitted ones.

    Raises:
        ValueError: if the length is not that of an interval at least, the number of disks is not positive, or no
            request begins.
    """
    intervals = int(3600.0 * hours / profile.interval_s + 1e-9) if hours > 0 else 0
    if intervals < 1:
        raise ValueError(f"hours is {hours}: expected at least an interval of the profile, {profile.interval_s:g} s")
    count = profile.devices if devices is None else devices
    if count < 1:
        raise ValueError(f"devices is {count}: expected at least 1")
    sequence = np.random.SeedSequence(seed)
    rng = np.random.default_rng(sequence)
    position = (np.arange(count) + rng.random(count)) / count
    borders = np.cumsum([entry.share for entry in profile.classes])
    borders /= borders[-1]
    of_class = np.searchsorted(borders[:-1], position, side="right")
    rows: list[tuple[Floats, ...]] = []
    for number, (entry, end) in enumerate(zip(profile.classes, borders, strict=True)):
        members = np.flatnonzero(of_class == number)
        begin = borders[number - 1] if number else 0.0
        per_s = entry.mean_per_s.at((position[members] - begin) / (end - begin))
        for first in range(0, len(members), _DEVICES_AT_ONCE):
            some = slice(first, first + _DEVICES_AT_ONCE)
            drawn = _draw(entry, per_s[some] * profile.interval_s, intervals, rng)
            rows.append((members[some][drawn[0]], *drawn[1:]))
    device, interval, reads, writes, read_bytes, write_bytes, latency_s = (
        np.concatenate(c) for c in zip(*rows, strict=True)
    )
    if not len(device):
        raise ValueError(f"no request begins in {hours:g} h: ask for more hours or devices")
    order = np.lexsort((device, interval))
    return GeneratedLoad(
        interval_us=round(1e6 * profile.interval_s),
        intervals=intervals,
        devices=count,
        interval=interval[order],
        device=device[order],
        reads=reads[order],
        writes=writes[order],
        read_bytes=read_bytes[order],
        write_bytes=write_bytes[order],
        latency_s=latency_s[order],
        origin={
            "profile": profile.name,
            "seed": seed,
            "hours": hours,
            "devices": count,
            "written_by": f"cloudsched-env {__version__}",
            "provenance": profile.provenance,
        },
    )


def _draw(entry: DeviceClass, mean: Floats, intervals: int, rng: np.random.Generator) -> tuple[Any, ...]:
    """Requests of disks of one class.

    Args:
        entry: the class.
        mean: requests of an interval in the mean, ``[disks]``.
        intervals: how many.
        rng: source of randomness.

    Returns:
        Disk, interval, reads, writes, bytes of both, mean response time in s, for intervals with requests, ``[rows]``.
    """
    count = len(mean)
    burst = normal_probability(entry.bursts.draw(count, intervals, rng))
    calm = normal_probability(entry.calm.draw(count, intervals, rng))
    border = 1.0 - entry.burst_share
    probability = np.where(burst >= border, burst, border * calm)
    row = np.flatnonzero(probability.ravel() >= entry.silent)
    rank = (probability.ravel()[row] - entry.silent) / (1.0 - entry.silent)
    disk, interval = np.divmod(row, intervals)
    # Quantiles between whole numbers are rounded up as often as keeps the mean.
    requests = np.floor(entry.relative.at(rank) * mean[disk] + rng.random(len(row)))
    requests = np.maximum(requests, 1.0)
    drawn = {
        name: quantity.at(rank, normal_probability(quantity.series.draw(count, intervals, rng)).ravel()[row])
        for name, quantity in entry.quantities.items()
    }
    reads = np.floor(requests * drawn["read_share"] + rng.random(len(row)))
    reads = np.minimum(reads, requests)
    writes = requests - reads
    return (
        disk,
        interval,
        reads.astype(np.int64),
        writes.astype(np.int64),
        _whole_blocks(reads, drawn["read_bytes"]),
        _whole_blocks(writes, drawn["write_bytes"]),
        drawn.get("latency_s", np.full(len(row), np.nan)),
    )


def _whole_blocks(requests: Floats, mean_bytes: Floats) -> NDArray[np.int64]:
    """Bytes of requests in whole blocks, at least one block a request, ``[rows]``."""
    blocks = np.maximum(np.rint(requests * mean_bytes / BLOCK_BYTES), requests)
    return BLOCK_BYTES * blocks.astype(np.int64)


def series_of(load: GeneratedLoad) -> LoadSeries:
    """The generated requests in the form in which fits and comparisons take those of a table."""

    def dense(values: Any) -> Floats:
        found = np.full((load.devices, load.intervals), np.nan)
        found[load.device, load.interval] = values
        return found

    requests = load.reads + load.writes
    return LoadSeries(
        interval_s=load.interval_us / 1e6,
        start_s=0.0,
        requests=np.nan_to_num(dense(requests)),
        quantities={
            "read_share": dense(load.reads / requests),
            "read_bytes": dense(np.where(load.reads > 0, load.read_bytes / np.maximum(load.reads, 1), np.nan)),
            "write_bytes": dense(np.where(load.writes > 0, load.write_bytes / np.maximum(load.writes, 1), np.nan)),
            "latency_s": dense(load.latency_s),
        },
        devices=_device_names(load),
    )


def _device_names(load: GeneratedLoad) -> tuple[str, ...]:
    """Names that sort as the numbers of the disks do, which is the order of the rows."""
    width = len(str(load.devices - 1))
    return tuple(f"generated-disk-{number:0{width}d}" for number in range(load.devices))


def write_load_table(load: GeneratedLoad, path: str | os.PathLike[str]) -> int:
    """Write generated requests as a load table, as an import would; its data tag is ``generated``.

    Args:
        load: the requests.
        path: the Parquet file.

    Returns:
        Rows written.

    Raises:
        ModuleNotFoundError: if pyarrow is missing (``pip install "cloudsched-env[traces]"``).
    """
    origin, provenance = load.origin, load.origin["provenance"]
    everything = SyntheticColumn(
        "all columns", "no trace was read", f"drawn from profile {origin['profile']}, seed {origin['seed']}"
    )
    no_latency = SyntheticColumn("latency_mean_s", "the trace of the profile has no response times", "null")
    metadata = TraceMetadata(
        format=f"generated:{origin['profile']}",
        title=f"generated from profile {origin['profile']}",
        mapping_version=1,
        data_tag="generated",
        span_start_s=0.0,
        span_end_s=load.length_s,
        clock="second 0 is the start of what was drawn",
        parts_read=1,
        parts_published=1,
        rows={
            "devices": len(np.unique(load.device)),
            "reads": int(load.reads.sum()),
            "writes": int(load.writes.sum()),
            "arrivals": len(load),
        },
        skipped_rows={},
        skipped_examples=(),
        synthetic_columns=(everything,) if np.isfinite(load.latency_s).any() else (everything, no_latency),
        derived_columns={},
        assumptions=(f"Requests are summed over intervals of {load.interval_us / 1e6:g} s.",),
        machine_mix=(),
        source_files=(),
        licence=provenance.get("licence", "not stated in the profile"),
        citation=provenance.get("authors", "not stated in the profile"),
        url=provenance.get("url", ""),
        written_by=origin["written_by"],
    )
    return write_table(LOAD_TABLE, path, _batches(load), metadata)


def _batches(load: GeneratedLoad) -> Iterator[Any]:
    pa, schema = require("pyarrow"), arrow_schema(LOAD_TABLE)
    names = _device_names(load)
    for first in range(0, len(load), _ROWS):
        rows = slice(first, first + _ROWS)
        count = len(load.interval[rows])
        columns = {
            "start_s": load.interval[rows] * load.interval_us / 1e6,
            "interval_s": np.full(count, load.interval_us / 1e6),
            "device": [names[number] for number in load.device[rows].tolist()],
            "reads_per_s": load.reads[rows] * 1e6 / load.interval_us,
            "writes_per_s": load.writes[rows] * 1e6 / load.interval_us,
            "read_mb_per_s": load.read_bytes[rows] / load.interval_us,
            "write_mb_per_s": load.write_bytes[rows] / load.interval_us,
            "latency_mean_s": pa.array(load.latency_s[rows], from_pandas=True),
        }
        yield pa.RecordBatch.from_arrays([pa.array(columns[field.name]) for field in schema], schema=schema)
