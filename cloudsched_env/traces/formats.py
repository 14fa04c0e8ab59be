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
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["FORMATS", "TraceFormat", "find_format"]

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
