"""The traces that `cloudsched traces fetch` knows, as their publishers describe them.

Addresses, sizes and checksums are those of the publishers' own pages, named beside each trace. Where a publisher gives
no checksum there is none here: such a file is checked against the size and, if the server sends one, the MD5 sum of
the stored file, and its SHA-256 is recorded in the manifest.
"""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Dataset, plain_name
from cloudsched_env.traces.fetch.errors import FetchError
from cloudsched_env.traces.fetch.publishers.alibaba import (
    ALIBABA_2017,
    ALIBABA_2018,
    ALIBABA_BLOCK,
    ALIBABA_GPU_2020,
    ALIBABA_GPU_2023,
)
from cloudsched_env.traces.fetch.publishers.azure import AZURE_PACKING, AZURE_V1, AZURE_V2
from cloudsched_env.traces.fetch.publishers.block_storage import CLOUDPHYSICS, MSR, TENCENT
from cloudsched_env.traces.fetch.publishers.databases import REDSET, SNOWSET
from cloudsched_env.traces.fetch.publishers.google import GOOGLE_2011, GOOGLE_2019

__all__ = ["DATASETS", "find_dataset"]

DATASETS = (
    GOOGLE_2011,
    GOOGLE_2019,
    ALIBABA_2017,
    ALIBABA_2018,
    ALIBABA_GPU_2020,
    ALIBABA_GPU_2023,
    AZURE_V1,
    AZURE_V2,
    AZURE_PACKING,
    SNOWSET,
    REDSET,
    ALIBABA_BLOCK,
    MSR,
    TENCENT,
    CLOUDPHYSICS,
)


def find_dataset(name: str) -> Dataset:
    """The dataset of that name; case, hyphens and underscores do not matter.

    Raises:
        FetchError: there is none; the message lists those there are.
    """
    for dataset in DATASETS:
        if plain_name(dataset.name) == plain_name(name):
            return dataset
    known = ", ".join(dataset.name for dataset in DATASETS)
    raise FetchError(f"no trace to fetch is called {name!r}; expected one of: {known}")
