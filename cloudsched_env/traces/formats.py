"""The published formats that can be imported."""

from __future__ import annotations

from cloudsched_env.traces import (
    alibaba2017,
    alibaba2018,
    alibaba_gpu2020,
    alibaba_gpu2023,
    azure_packing2020,
    azure_vm,
    block_alibaba,
    block_cloudphysics,
    block_msr,
    block_tencent,
    google2011,
    google2019,
    redset,
    snowset,
)
from cloudsched_env.traces.metadata import TraceMetadata
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMATS", "TraceFormat", "find_format", "request_unit_of"]

FORMATS = (
    google2011.FORMAT,
    google2019.FORMAT,
    alibaba2017.FORMAT,
    alibaba2018.FORMAT,
    alibaba_gpu2020.FORMAT,
    alibaba_gpu2023.FORMAT,
    azure_vm.V1,
    azure_vm.V2,
    azure_packing2020.FORMAT,
    snowset.FORMAT,
    redset.FORMAT,
    block_alibaba.FORMAT,
    block_msr.FORMAT,
    block_tencent.FORMAT,
    block_cloudphysics.FORMAT,
)


def find_format(name: str) -> TraceFormat:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for trace_format in FORMATS:
        if trace_format.name == name:
            return trace_format
    known = ", ".join(trace_format.name for trace_format in FORMATS)
    raise ValueError(f"unknown trace format {name!r}; expected one of: {known}, or auto")


def request_unit_of(metadata: TraceMetadata) -> RequestUnit:
    """What a request of 1.0 is in the task table with this metadata.

    Tables of older versions do not say so: for them it is what their format declares now, or, where they were generated
    from a profile, the machine of the profile.
    """
    if metadata.request_cores and metadata.request_memory_gb:
        return RequestUnit(metadata.request_cores, metadata.request_memory_gb)
    declared = [entry.request_unit for entry in FORMATS if entry.name == metadata.format]
    if declared:
        return declared[0]
    for machine in metadata.machine_mix:
        if machine.cores and machine.memory_gb and machine.published_cpu == 1.0:
            return RequestUnit(machine.cores, machine.memory_gb)
    return RequestUnit()
