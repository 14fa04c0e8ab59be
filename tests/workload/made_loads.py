"""Load tables of a process whose statistics are known, for tests of load profiles."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from cloudsched_env.traces.load_table import LoadTable
from tests.traces.test_task_table import METADATA

SILENT = 0.3
READ_SHARE = 0.25
MEMORY = 20.0  # intervals in which the correlation of the latent series falls to 1/e
SIGMA = 1.0  # of the logarithm of an interval's requests


def latent(count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """First-order autoregressive series of variance 1, ``[count, length]``."""
    factor = np.exp(-1.0 / MEMORY)
    series = rng.standard_normal((count, length))
    for place in range(1, length):
        series[:, place] = factor * series[:, place - 1] + np.sqrt(1 - factor**2) * series[:, place]
    return series


def requests_at(score: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Requests for normal scores: none below the silent share, above it a log-normal number of the given mean."""
    rank = (ndtr(score) - SILENT) / (1.0 - SILENT)
    size = np.exp(SIGMA * norm.ppf(np.clip(rank, 1e-9, 1 - 1e-9)) - SIGMA**2 / 2) * mean / (1.0 - SILENT)
    return np.where(rank > 0, np.maximum(np.rint(size), 1.0), 0.0)


def table_of(reads, writes, read_bytes, write_bytes, interval_s=1.0, latency_s=None, tag="excerpt") -> LoadTable:
    """A load table of requests and mean bytes, ``[devices, intervals]`` each."""
    interval, device = np.nonzero((reads + writes).T)
    reads, writes = reads[device, interval], writes[device, interval]
    columns = {
        "start_s": interval * interval_s,
        "interval_s": np.full(len(interval), interval_s),
        "device": device.astype(np.int32),
        "reads_per_s": reads / interval_s,
        "writes_per_s": writes / interval_s,
        "read_mb_per_s": reads * read_bytes[device, interval] / 1e6 / interval_s,
        "write_mb_per_s": writes * write_bytes[device, interval] / 1e6 / interval_s,
        "latency_mean_s": np.full(len(interval), np.nan) if latency_s is None else latency_s[device, interval],
    }
    length, count = read_bytes.shape[1], read_bytes.shape[0]
    metadata = dataclasses.replace(
        METADATA, format="cloudphysics", data_tag=tag, span_start_s=0.0, span_end_s=interval_s * length
    )
    return LoadTable(columns, {"device": tuple(f"disk_{k:02d}" for k in range(count))}, metadata)


def known_table(devices=8, length=12_000, interval_s=1.0, mean_rate=40.0, seed=0, **more) -> LoadTable:
    """Disks of the known process, mean rates a factor of 1.3 apart: reads of 8 KiB, writes of 4 or 64 KiB if busy."""
    rng = np.random.default_rng(seed)
    score = latent(devices, length, rng)
    mean = mean_rate * interval_s * 1.3 ** (np.arange(devices) - (devices - 1) / 2)
    requests = requests_at(score, mean[:, None])
    reads = rng.binomial(requests.astype(int), READ_SHARE).astype(float)
    busy = score > norm.ppf(0.9)
    return table_of(
        reads, requests - reads, np.full(score.shape, 8192.0), np.where(busy, 65536.0, 4096.0), interval_s, **more
    )


def save(table: LoadTable, path) -> None:
    """Write a table as an import does."""
    import pyarrow as pa

    from cloudsched_env.traces.load_table import LOAD_TABLE
    from cloudsched_env.traces.table import arrow_schema, write_table

    schema = arrow_schema(LOAD_TABLE)
    columns = {**table.columns, "device": table.names("device").tolist()}
    arrays = [pa.array(columns[f.name], f.type, from_pandas=f.name == "latency_mean_s") for f in schema]
    write_table(LOAD_TABLE, path, [pa.RecordBatch.from_arrays(arrays, schema=schema)], table.metadata)
