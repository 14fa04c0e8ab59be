"""The formats in which generated tasks can be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloudsched_env.traces.writers.alibaba import write_alibaba2017, write_alibaba2018
from cloudsched_env.traces.writers.alibaba_gpu import write_alibaba_gpu2020, write_alibaba_gpu2023
from cloudsched_env.traces.writers.azure import write_azure_v1, write_azure_v2
from cloudsched_env.traces.writers.azure_packing import write_azure_packing2020
from cloudsched_env.traces.writers.blocks import (
    write_alibaba_block,
    write_cloudphysics,
    write_msr_block,
    write_tencent_block,
)
from cloudsched_env.traces.writers.generated import GeneratedTrace, new_folder, write_marker
from cloudsched_env.traces.writers.google2011 import write_google2011
from cloudsched_env.traces.writers.google2019 import write_google2019
from cloudsched_env.traces.writers.load import GeneratedLoad
from cloudsched_env.traces.writers.warehouses import write_redset, write_snowset

__all__ = [
    "LOAD_WRITERS",
    "WRITERS",
    "LoadWriter",
    "TraceWriter",
    "find_load_writer",
    "find_writer",
    "write_load",
    "write_trace",
]


@dataclass(frozen=True)
class TraceWriter:
    """One published format.

    Attributes:
        name: as `cloudsched traces formats` names it.
        title: the trace's full name.
        write: writes its files into a folder.
    """

    name: str
    title: str
    write: Callable[[GeneratedTrace, Path], None]


WRITERS = (
    TraceWriter("google2011", "Google clusterdata-2011-2", write_google2011),
    TraceWriter("google2019", "Google clusterdata-2019", write_google2019),
    TraceWriter("alibaba2017", "Alibaba cluster-trace-v2017", write_alibaba2017),
    TraceWriter("alibaba2018", "Alibaba cluster-trace-v2018", write_alibaba2018),
    TraceWriter("alibaba-gpu2020", "Alibaba cluster-trace-gpu-v2020 (PAI)", write_alibaba_gpu2020),
    TraceWriter("alibaba-gpu2023", "Alibaba cluster-trace-gpu-v2023 (openb)", write_alibaba_gpu2023),
    TraceWriter("azure-v1", "Azure Public Dataset V1", write_azure_v1),
    TraceWriter("azure-v2", "Azure Public Dataset V2", write_azure_v2),
    TraceWriter("azure-packing2020", "Azure traces for packing 2020 (zone A)", write_azure_packing2020),
    TraceWriter("snowset", "Snowset", write_snowset),
    TraceWriter("redset", "Redset", write_redset),
)


@dataclass(frozen=True)
class LoadWriter:
    """One published format of block traces.

    Attributes:
        name: as `cloudsched traces formats` names it.
        title: the trace's full name.
        write: writes its files into a folder.
    """

    name: str
    title: str
    write: Callable[[GeneratedLoad, Path], None]


LOAD_WRITERS = (
    LoadWriter("alibaba-block", "Alibaba block traces", write_alibaba_block),
    LoadWriter("msr-block", "MSR Cambridge block traces", write_msr_block),
    LoadWriter("tencent-block", "Tencent CBS block traces", write_tencent_block),
    LoadWriter("cloudphysics", "CloudPhysics block traces", write_cloudphysics),
)


def find_writer(name: str) -> TraceWriter:
    """The writer of a format.

    Raises:
        ValueError: for an unknown name, or a block trace; the known ones are named.
    """
    for writer in WRITERS:
        if writer.name == name:
            return writer
    if name in [writer.name for writer in LOAD_WRITERS]:
        raise ValueError(
            f"{name!r} holds requests of disks, which a profile of tasks does not have: expected one of "
            f"{', '.join(writer.name for writer in WRITERS)}, or a load profile"
        )
    raise ValueError(f"unknown format {name!r}: expected one of {', '.join(writer.name for writer in WRITERS)}")


def find_load_writer(name: str) -> LoadWriter:
    """The writer of a format of block traces.

    Raises:
        ValueError: for any other name; the known ones are named.
    """
    for writer in LOAD_WRITERS:
        if writer.name == name:
            return writer
    known = ", ".join(writer.name for writer in LOAD_WRITERS)
    if name in [writer.name for writer in WRITERS]:
        raise ValueError(
            f"{name!r} holds tasks, which a load profile does not have: expected one of {known}, or a profile of tasks"
        )
    raise ValueError(f"unknown format {name!r}: expected one of {known}")


def write_trace(trace: GeneratedTrace, name: str, folder: Path) -> None:
    """Write tasks in a published format into a new folder, with a marker that says that they are generated.

    Args:
        trace: the tasks.
        name: the format, as in `WRITERS`.
        folder: the folder; it appears when it is complete.

    Raises:
        ValueError: for an unknown format, or a trace that the format cannot hold.
        FileExistsError: if the folder exists.
    """
    writer = find_writer(name)
    with new_folder(folder) as partial:
        writer.write(trace, partial)
        write_marker(partial, name, trace)


def write_load(load: GeneratedLoad, name: str, folder: Path) -> None:
    """Write requests in a published format of block traces into a new folder, with a marker as `write_trace` does.

    Args:
        load: the requests.
        name: the format, as in `LOAD_WRITERS`.
        folder: the folder; it appears when it is complete.

    Raises:
        ValueError: for another format, or requests that the format cannot hold.
        FileExistsError: if the folder exists.
    """
    writer = find_load_writer(name)
    with new_folder(folder) as partial:
        writer.write(load, partial)
        write_marker(partial, name, load)
