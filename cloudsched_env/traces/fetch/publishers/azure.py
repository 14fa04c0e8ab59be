"""Microsoft Azure: virtual machines of 2017 and 2019, and the packing trace of 2020."""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Dataset, RemoteTable
from cloudsched_env.traces.fetch.publishers.common import CC_BY, CC_BY_BINDING, GB, MB, single_file

__all__ = ["AZURE_PACKING", "AZURE_V1", "AZURE_V2"]

_AZURE = "https://azurepublicdatasettraces.blob.core.windows.net"
_AZURE_PAGE = "https://github.com/Azure/AzurePublicDataset/blob/master"

# AzurePublicDatasetV1Links.txt (78.5 GB in 128 files) and AzurePublicDatasetLinksV2.txt (156 GB in 198 files).
AZURE_V1 = Dataset(
    name="azure-v1",
    title="Azure VM trace 2017 (AzurePublicDatasetV1)",
    page=f"{_AZURE_PAGE}/AzurePublicDatasetV1.md",
    folder="azure-v1",
    licence=CC_BY,
    mirrors=(f"{_AZURE}/azurepublicdataset",),
    tables=(
        single_file("vmtable", "trace_data/vmtable/vmtable.csv.gz"),
        single_file("subscriptions", "trace_data/subscriptions/subscriptions.csv.gz", default=False),
        single_file("deployments", "trace_data/deployment/deployment.csv.gz", default=False),
        RemoteTable(
            "vm_cpu_readings",
            "trace_data/vm_cpu_readings/vm_cpu_readings-file-{part}-of-125.csv.gz",
            (1, 125),
            default=False,
            about_bytes=78_500 * MB // 125,
        ),
    ),
    citation="E. Cortez et al. Resource Central. SOSP 2017.",
)
AZURE_V2 = Dataset(
    name="azure-v2",
    title="Azure VM trace 2019 (AzurePublicDatasetV2)",
    page=f"{_AZURE_PAGE}/AzurePublicDatasetV2.md",
    folder="azure-v2",
    licence=CC_BY,
    mirrors=(f"{_AZURE}/azurepublicdatasetv2",),
    tables=(
        single_file("vmtable", "trace_data/vmtable/vmtable.csv.gz"),
        single_file("subscriptions", "trace_data/subscriptions/subscriptions.csv.gz", default=False),
        single_file("deployments", "trace_data/deployments/deployments.csv.gz", default=False),
        RemoteTable(
            "vm_cpu_readings",
            "trace_data/vm_cpu_readings/vm_cpu_readings-file-{part}-of-195.csv.gz",
            (1, 195),
            default=False,
            about_bytes=156 * GB // 195,
        ),
    ),
    citation="E. Cortez et al. Resource Central. SOSP 2017.",
)
AZURE_PACKING = Dataset(
    name="azure-packing2020",
    title="Azure Trace for Packing 2020",
    page=f"{_AZURE_PAGE}/AzureTracesForPacking2020.md",
    folder="azure-packing2020",
    licence=CC_BY_BINDING,
    mirrors=(f"{_AZURE}/azurepublicdatasetv2/azurevmallocation_dataset2020",),
    tables=(single_file("packing_trace", "AzurePackingTraceV1.zip"),),
    after="unpack AzurePackingTraceV1.zip in the same folder (it holds packing_trace_zone_a_v1.sqlite)",
    citation="O. Hadary et al. Protean: VM Allocation Service at Scale. OSDI 2020.",
)
