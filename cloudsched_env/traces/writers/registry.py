"""The formats in which generated tasks can be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloudsched_env.traces.writers.alibaba import write_alibaba2017, write_alibaba2018
from cloudsched_env.traces.writers.alibaba_gpu import write_alibaba_gpu2020, write_alibaba_gpu2023
from cloudsched_env.traces.writers.azure import write_azure_v1, write_azure_v2
from cloudsched_env.traces.writers.azure_packing import write_azure_packing2020
from cloudsched_env.traces.writers.generated import GeneratedTrace, new_folder, write_marker
from cloudsched_env.traces.writers.google2011 import write_google2011
from cloudsched_env.traces.writers.google2019 import write_google2019
from cloudsched_env.traces.writers.warehouses import write_redset, write_snowset

__all__ = ["WRITERS", "TraceWriter", "find_writer", "write_trace"]


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


def find_writer(name: str) -> TraceWriter:
    """The writer of a format.

    Raises:
        ValueError: for an unknown name; the known ones are named.
    """
    for writer in WRITERS:
        if writer.name == name:
            return writer
    raise ValueError(f"unknown format {name!r}: expected one of {', '.join(writer.name for writer in WRITERS)}")


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
