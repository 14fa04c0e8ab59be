"""Block traces in their published layouts: a row a request.

Times begin at that of the published trace, at the next multiple of the profile's interval, so that intervals of the
same length find the same requests again.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cloudsched_env.traces.writers.generated import write_lines
from cloudsched_env.traces.writers.load import BLOCK_BYTES, GeneratedLoad, Requests

__all__ = ["write_alibaba_block", "write_cloudphysics", "write_msr_block", "write_tencent_block"]

_BEIJING_2020_S = 1_577_808_000  # midnight of 1 January 2020 in Beijing
_BEIJING_OCTOBER_2018_S = 1_538_323_200  # likewise of 1 October 2018
_BEIJING = datetime.timezone(datetime.timedelta(hours=8))
_MSR_S = 1_172_163_600  # 22 February 2007, 17:00 UTC
_FILETIME_OF_1970 = 116_444_736_000_000_000
_MSR_HOSTS = (
    "hm", "mds", "prn", "proj", "prxy", "rsrch", "src1", "src2", "stg", "ts", "usr", "wdev", "web"
)  # fmt: skip
_MSR_POSITIONING_S, _MSR_BYTES_PER_S = 5e-3, 60e6
_CLOUDPHYSICS_FILES = 999  # the reader knows names of three digits
_SECOND_US = 1_000_000


def _start_us(load: GeneratedLoad, published_s: int) -> int:
    start_us = published_s * _SECOND_US
    return start_us + -start_us % load.interval_us


def write_alibaba_block(load: GeneratedLoad, folder: Path) -> None:
    """Write io_traces.csv.

    Args:
        load: the requests.
        folder: where to.
    """
    start_us = _start_us(load, _BEIJING_2020_S)

    def rows() -> Iterator[str]:
        for chunk in load.requests():
            for device, write, offset, length, t_us in _rows(chunk):
                yield f"{device},{'W' if write else 'R'},{offset},{length},{start_us + t_us}"

    write_lines(folder / "io_traces.csv", rows())


def write_tencent_block(load: GeneratedLoad, folder: Path) -> None:
    """Write a gzip file for each hour, named by the hour in Beijing; times are whole seconds.

    Args:
        load: the requests.
        folder: where to.

    Raises:
        ValueError: if intervals are no whole seconds: the format could not tell them apart.
    """
    if load.interval_us % _SECOND_US:
        raise ValueError(
            f"tencent-block has times in whole seconds and cannot hold intervals of {load.interval_us / 1e6:g} s: fit "
            "the profile to a load table with intervals of whole seconds (import --interval)"
        )
    start_s = _start_us(load, _BEIJING_OCTOBER_2018_S) // _SECOND_US
    hour, lines = -1, list[str]()
    for chunk in load.requests(tick_us=_SECOND_US):
        for device, write, offset, length, t_us in _rows(chunk):
            second = start_s + t_us // _SECOND_US
            if second // 3600 != hour:
                _write_hour(folder, hour, lines)
                hour, lines = second // 3600, []
            lines.append(f"{second},{offset // BLOCK_BYTES},{length // BLOCK_BYTES},{int(write)},{device}")
    _write_hour(folder, hour, lines)


def _write_hour(folder: Path, hour: int, lines: list[str]) -> None:
    if lines:
        name = datetime.datetime.fromtimestamp(3600 * hour, _BEIJING).strftime("%Y-%m-%d-%H")
        write_lines(folder / f"{name}.csv.gz", lines)


def write_msr_block(load: GeneratedLoad, folder: Path) -> None:
    """Write a gzip file for each volume with requests; volumes are spread over the published servers.

    The response time of a request is the mean of its interval if the profile has response times. Otherwise it is an
    assumption: 5 ms to position, and 60 MB/s, about a disk of 2007 that never queues.

    Args:
        load: the requests.
        folder: where to.
    """
    start = _FILETIME_OF_1970 + 10 * _start_us(load, _MSR_S)
    for device in np.unique(load.device).tolist():
        disk, host = divmod(device, len(_MSR_HOSTS))
        write_lines(folder / f"{_MSR_HOSTS[host]}_{disk}.csv.gz", _msr_rows(load, device, start))


def _msr_rows(load: GeneratedLoad, device: int, start: int) -> Iterator[str]:
    disk, host = divmod(device, len(_MSR_HOSTS))
    for chunk in load.requests(device=device):
        served_s = _MSR_POSITIONING_S + chunk.blocks * BLOCK_BYTES / _MSR_BYTES_PER_S
        latency = np.rint(1e7 * np.where(np.isfinite(chunk.latency_s), chunk.latency_s, served_s)).astype(np.int64)
        for (_, write, offset, length, t_us), response in zip(_rows(chunk), latency.tolist(), strict=True):
            kind = "Write" if write else "Read"
            yield f"{start + 10 * t_us},{_MSR_HOSTS[host]},{disk},{kind},{offset},{length},{response}"


def write_cloudphysics(load: GeneratedLoad, folder: Path) -> None:
    """Write cloudPhysicsIO.csv, or for several disks w001.csv, w002.csv and so on, which are imported one at a time.

    Args:
        load: the requests.
        folder: where to.

    Raises:
        ValueError: for more disks than there are names.
    """
    if load.devices > _CLOUDPHYSICS_FILES:
        raise ValueError(
            f"cloudphysics has names for {_CLOUDPHYSICS_FILES} disks, not for {load.devices}: ask for fewer --devices"
        )
    for device in np.unique(load.device).tolist():
        name = "cloudPhysicsIO.csv" if load.devices == 1 else f"w{device + 1:03d}.csv"
        write_lines(folder / name, _cloudphysics_rows(load, device))


def _cloudphysics_rows(load: GeneratedLoad, device: int) -> Iterator[str]:
    yield "version,time,op,size,lbn"
    for chunk in load.requests(device=device):
        for _, write, offset, length, t_us in _rows(chunk):
            seconds, micros = divmod(t_us, _SECOND_US)
            yield f"1,{seconds}.{micros:06d},{'2a' if write else '28'},{length},{offset // BLOCK_BYTES}"


def _rows(chunk: Requests) -> Iterator[tuple[int, bool, int, int, int]]:
    """Disk, whether it is a write, offset and length in bytes, and time in microseconds of each request."""
    return zip(
        chunk.device.tolist(),
        chunk.write.tolist(),
        (BLOCK_BYTES * chunk.first_block).tolist(),
        (BLOCK_BYTES * chunk.blocks).tolist(),
        chunk.t_us.tolist(),
        strict=True,
    )
