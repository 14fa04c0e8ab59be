"""The traces that `cloudsched traces fetch` knows, as their publishers describe them.

Addresses, sizes and checksums are those of the publishers' own pages, named beside each trace. Where a publisher gives
no checksum there is none here: such a file is checked against the size and, if the server sends one, the MD5 sum of
the transfer, and its SHA-256 is recorded in the manifest.
"""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import (
    Dataset,
    Licence,
    ManualSource,
    PublishedFile,
    RemoteTable,
    plain_name,
)
from cloudsched_env.traces.fetch.errors import FetchError

__all__ = ["DATASETS", "find_dataset"]

_CC_BY = "https://creativecommons.org/licenses/by/4.0/"
_ALIBABA = Licence(
    "alibaba-research",
    "no formal licence: the publisher allows research and study only (README of alibaba/clusterdata)",
    "https://github.com/alibaba/clusterdata#our-motivation",
    acceptance_required=True,
)
# Google's and Azure's pages say: by downloading or using the data you agree to the terms of the licence.
_CC_BY_BINDING = Licence("CC-BY-4.0", "Creative Commons Attribution 4.0", _CC_BY, acceptance_required=True)
_CC_BY_NOTICE = Licence("CC-BY-4.0", "Creative Commons Attribution 4.0", _CC_BY, acceptance_required=False)
_SNIA = "SNIA Trace Data Files Download License (shown before the download)"
_OSS = "https://aliopentrace.oss-cn-beijing.aliyuncs.com"
_AZURE = "https://azurepublicdatasettraces.blob.core.windows.net"
_AZURE_PAGE = "https://github.com/Azure/AzurePublicDataset/blob/master"
_KB, _MB, _GB = 10**3, 10**6, 10**9


def _single(
    name: str,
    path: str,
    *,
    sha256: str | None = None,
    size: int | None = None,
    about: int | None = None,
    default: bool = True,
    note: str = "",
) -> RemoteTable:
    """A table that is one file."""
    return RemoteTable(
        name,
        path,
        default=default,
        about_bytes=about if size is None else size,
        files=((0, PublishedFile(sha256, size)),),
        note=note,
    )


# Sizes: 41 GB in all (ClusterData2011_2.md); means of the parts that were at hand. SHA256SUM stands in the bucket.
_GOOGLE_2011 = Dataset(
    name="google2011",
    title="Google clusterdata-2011-2 (v2.1)",
    page="https://github.com/google/cluster-data/blob/master/ClusterData2011_2.md",
    folder="clusterdata-2011-2",
    licence=_CC_BY_BINDING,
    # gs://clusterdata-2011-2 by its two https names.
    mirrors=(
        "https://storage.googleapis.com/clusterdata-2011-2",
        "https://commondatastorage.googleapis.com/clusterdata-2011-2",
    ),
    checksums="SHA256SUM",
    tables=(
        RemoteTable("task_events", "task_events/part-{part:05d}-of-00500.csv.gz", (0, 499), about_bytes=2 * _MB),
        RemoteTable("job_events", "job_events/part-{part:05d}-of-00500.csv.gz", (0, 499), about_bytes=173 * _KB),
        RemoteTable("machine_events", "machine_events/part-00000-of-00001.csv.gz", about_bytes=347 * _KB),
        RemoteTable("machine_attributes", "machine_attributes/part-00000-of-00001.csv.gz", default=False),
        RemoteTable("task_constraints", "task_constraints/part-{part:05d}-of-00500.csv.gz", (0, 499), default=False),
        RemoteTable(
            "task_usage",
            "task_usage/part-{part:05d}-of-00500.csv.gz",
            (0, 499),
            default=False,
            about_bytes=80 * _MB,
            note="nearly all of the trace's 41 GB",
        ),
    ),
    citation="C. Reiss, J. Wilkes, J. L. Hellerstein. Google cluster-usage traces: format + schema. Google Inc., 2011.",
)

_GOOGLE_2019 = Dataset(
    name="google2019",
    title="Google clusterdata-2019 (v3), eight cells a to h",
    page="https://github.com/google/cluster-data/blob/master/ClusterData2019.md",
    folder="clusterdata-2019-a",
    licence=_CC_BY_BINDING,
    manual=ManualSource(
        reason="the publisher makes it available through BigQuery only (about 2.4 TiB); a query needs an account",
        steps=(
            "read the access instructions in the document that the page links, and have a Google Cloud project with "
            "billing and a bucket of your own in the location US",
            "export each table of a cell (here a) that you need; collection_events, instance_events and machine_events "
            "are enough:\n"
            "for table in collection_events instance_events machine_events; do\n"
            "  bq --location=US extract --destination_format NEWLINE_DELIMITED_JSON --compression GZIP \\\n"
            "    google.com:google-cluster-data:clusterdata_2019_a.$table \\\n"
            "    gs://YOUR_BUCKET/clusterdata_2019_a/$table-*.json.gz\n"
            "done",
            "for a part of the month only, export the result of a query instead of whole tables (times are in "
            "microseconds, the trace begins at 600 s):\n"
            'bq --location=US query --use_legacy_sql=false "EXPORT DATA OPTIONS(uri='
            "'gs://YOUR_BUCKET/clusterdata_2019_a/instance_events-*.json.gz', format='JSON', compression='GZIP') AS "
            "SELECT * FROM \\`google.com:google-cluster-data.clusterdata_2019_a.instance_events\\` "
            'WHERE time BETWEEN 600000000 AND 87000000000"',
            "copy the files: gcloud storage cp 'gs://YOUR_BUCKET/clusterdata_2019_a/*' {folder}/\n"
            "identifiers of the eight cells are unrelated: each cell needs a folder of its own (--to)",
            "users report public copies of the tables as sharded JSON in buckets that the page does not mention; if "
            "`gcloud storage ls gs://clusterdata_2019_a/` answers, they spare you the export",
        ),
        layout=(
            "collection_events-000000000000.json.gz and so on",
            "instance_events-000000000000.json.gz and so on",
            "machine_events-000000000000.json.gz and so on",
        ),
    ),
    citation="J. Wilkes et al. Google cluster-usage traces v3. Google Inc., 2020.",
)

# README2017.md; the SHA256SUM beside it is that of another archive, trace_201708.tgz, and does not fit this one
# (alibaba/clusterdata, issue 209).
_ALIBABA_2017 = Dataset(
    name="alibaba2017",
    title="Alibaba cluster-trace-v2017",
    page="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-v2017",
    folder="alibaba-v2017",
    licence=_ALIBABA,
    mirrors=(f"{_OSS}/v2017Traces",),
    after="unpack alibaba-trace-2017.tar.gz in the same folder: tar -xzf alibaba-trace-2017.tar.gz",
    tables=(
        _single(
            "all_tables",
            "alibaba-trace-2017.tar.gz",
            note="one archive of six tables; no valid checksum is published (alibaba/clusterdata, issue 209)",
        ),
    ),
)

# fetchData.sh and trace_2018.md: addresses, checksums, sizes as `ls -sh` rounds them.
_ALIBABA_2018 = Dataset(
    name="alibaba2018",
    title="Alibaba cluster-trace-v2018",
    page="https://github.com/alibaba/clusterdata/blob/master/cluster-trace-v2018/trace_2018.md",
    folder="alibaba-v2018",
    licence=_ALIBABA,
    mirrors=(f"{_OSS}/v2018Traces",),
    tables=(
        _single(
            "batch_task",
            "batch_task.tar.gz",
            sha256="7c4b32361bd1ec2083647a8f52a6854a03bc125ca5c202652316c499fbf978c6",
            about=125 * 2**20,
        ),
        _single(
            "machine_meta",
            "machine_meta.tar.gz",
            sha256="b5b1b786b22cd413a3674b8f2ebfb2f02fac991c95df537f363ef2797c8f6d55",
            about=92 * 2**10,
        ),
        _single(
            "container_meta",
            "container_meta.tar.gz",
            sha256="febd75e693d1f208a8941395e7faa7e466e50d21c256eff12a815b7e2fa2053f",
            about=int(2.4 * 2**20),
            default=False,
        ),
        _single(
            "machine_usage",
            "machine_usage.tar.gz",
            sha256="3e6ee87fd204bb85b9e234c5c75a5096580fdabc8f085b224033080090753a7a",
            about=int(1.7 * 2**30),
            default=False,
        ),
        _single(
            "batch_instance",
            "batch_instance.tar.gz",
            sha256="e73e5a9326669aa079ba20048ddd759383cabe1fe3e58620aa75bd034e2450c6",
            about=20 * 2**30,
            default=False,
        ),
        _single(
            "container_usage",
            "container_usage.tar.gz",
            sha256="b4bd3b1b82f5407c1b0dd47fe736ff5152c4b016a9c30cb26f988e2d1c5e5031",
            about=28 * 2**30,
            default=False,
        ),
    ),
    citation="J. Guo et al. Who Limits the Resource Efficiency of My Datacenter. IWQoS 2019.",
)

# cluster-trace-gpu-v2020/data/README.md; checksums: check_shasum.sh of the backup that this page links.
_PAI_SHA256 = {
    "pai_job_table": "5aad7f7caac501136d14ed6a48e40546f825d7b0617a3a4f337e2348fe0a6cb0",
    "pai_task_table": "cd1d6dc3215d2a8607ccf6b6dd952b5db776df86926c73259fea7c1499ac40e5",
    "pai_instance_table": "1bf1e423a7ce3f8d086699801c362fd56a7182abdb234139e5ebbed97995ca06",
    "pai_machine_spec": "cc0d38a4045af1b1af8179de8b1b54b1ddd995e6160d6d061a6b1000f1276c2d",
    "pai_group_tag_table": "722fef30b7fb7aa50dabd79155614b5423a9d65cf45a9b26c590d57725423a14",
    "pai_sensor_table": "9a0b82e8bdf3949281e4ba1423d9b4b34847e52799eecb138966de46da69c7a0",
    "pai_machine_metric": "53ad917193d3b1dd0f3055e723148b1f36c2f81789b014ea2930a7875892eef5",
}
_ALIBABA_GPU_2020 = Dataset(
    name="alibaba-gpu2020",
    title="Alibaba cluster-trace-gpu-v2020 (PAI)",
    page="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-gpu-v2020",
    folder="alibaba-gpu-v2020",
    licence=_CC_BY_NOTICE,
    mirrors=(f"{_OSS}/v2020GPUTraces",),
    tables=tuple(
        _single(
            name,
            f"{name}.tar.gz",
            sha256=sha256,
            default=name not in ("pai_sensor_table", "pai_machine_metric"),
        )
        for name, sha256 in _PAI_SHA256.items()
    ),
    citation="Q. Weng et al. MLaaS in the Wild. NSDI 2022.",
)

# Files of the repository at a fixed commit; sizes and checksums are those of that commit.
_OPENB_COMMIT = "7a6c496e4f4b6ce6150be8f881cb051bf2abff42"
_OPENB_DEFAULT = ("openb_node_list_all_node", "openb_pod_list_default")
_OPENB_FILES = (
    ("openb_node_list_all_node", 52287, "5a85c2af79c66a1efff8bbcbda430400aae56d8431370d738480967e1a9c6b15"),
    ("openb_pod_list_default", 575468, "1ee7ed79c27a3b0861cda8ddba86a004c6aba904caafa329a76ae93ca63834a8"),
    ("openb_node_list_gpu_node", 42353, "2beca64b4d3dfa342036a34b56a495c6cef9225db836c81f541282cb1df320b5"),
    ("openb_pod_list_cpu0", 499765, "1bc3fd9ee5c1468ccd018f624d9222746e08d59f963f66b925804734271c0eaa"),
    ("openb_pod_list_cpu037", 518687, "8ed554026d041b15ff21ddc104d9a21dbd9a93c496262fa23ef7b5be27e220dc"),
    ("openb_pod_list_cpu050", 525811, "747f43247bffc2b0bb081d7f61f0705ca8d390dafc0b647e642c92f3baf3ba1e"),
    ("openb_pod_list_cpu072", 537576, "f8a2b031461b54d7b9f06d55473c2371eb3357b78a255c646bdca5e0833a8a2f"),
    ("openb_pod_list_cpu100", 554709, "bec1c33fbdde61fd463877534ec79b393aec73e1cbb22d55fab9f166ac480982"),
    ("openb_pod_list_cpu200", 622703, "b7e9d8a1a601da84d6e0b4110b19ef5001be5e4796d33e7b82f166ba95161f87"),
    ("openb_pod_list_cpu235", 651171, "87bebd4d012faa8305ce1fd82737f51cf03361aac28b75d42e34aa656d7f4ee0"),
    ("openb_pod_list_cpu250", 663708, "134c21ff96d57533df8a37b67632972884fec9396e77cd0898ddc370cc8e607d"),
    ("openb_pod_list_cpu300", 710698, "76528825f40ee662cb098b3b6e683c1efd9f87a0c8af7e628df1f32c639636d1"),
    ("openb_pod_list_gpushare20", 574603, "9be2d0efb52e242c32e23dd184cc5fcc1983478c6c9c02cbb6b4b62925c0ffcd"),
    ("openb_pod_list_gpushare40", 572662, "d83ce79a4eb6987524bedbb0c65e41aed3a36bf6c1b78b86234c3687a07e1d40"),
    ("openb_pod_list_gpushare60", 566361, "d31809628128a1f24491086eda4af3e23882b9213d3ef57a56ee2d1af69492fe"),
    ("openb_pod_list_gpushare80", 563740, "88b6649369ced40d0fde287d2498ea61ff4b05fccba8bdc95daf6042f2f8431e"),
    ("openb_pod_list_gpushare100", 561220, "12dbc07d6a49bf8641e2275a2ff5bf7be74b5df7d148d531e135b140b95f9a3d"),
    ("openb_pod_list_gpuspec05", 577176, "8f1c0ef7e4e511e982bd2818898ba22ee6d273bf5fce124b7ace285b5928cf4e"),
    ("openb_pod_list_gpuspec10", 579461, "2dc7e4cb9480484f08539720b433a9ec9ab5d76b396f3f7557c53a2ff78a7611"),
    ("openb_pod_list_gpuspec20", 582612, "6b9b89ab8913c1c074e994e98f548cf1a872fc5f76f2442ca8cd514a478b00a9"),
    ("openb_pod_list_gpuspec25", 584915, "9d030679a2ccd7e27a7ec9ff15baff34480d22a0012515691fc187e3f35ee68c"),
    ("openb_pod_list_gpuspec33", 587467, "eca4f746db1e5b25864ad021b55ece3943e101a3ebd4574d09dcb95c46117652"),
    ("openb_pod_list_multigpu20", 271530, "d9ec6f6c74fb980cc0b81239470c6353fceea077ea9abd610003b604c7cc2b01"),
    ("openb_pod_list_multigpu30", 277920, "a5e479c6444b1d83eef848159cf00c3cfa13441b2d1e2c113c391b91f1cc5b11"),
    ("openb_pod_list_multigpu40", 286202, "32c9e8731ca07ef96108aa65f2a289bb9aacb47f642ed9e3789f99b242df60eb"),
    ("openb_pod_list_multigpu50", 297219, "206f2f5959db30ecb7c44e7f13197c8ec50b7a35558ad3777cc3662ef0fe5373"),
)
_ALIBABA_GPU_2023 = Dataset(
    name="alibaba-gpu2023",
    title="Alibaba cluster-trace-gpu-v2023 (openb)",
    page="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-gpu-v2023",
    folder="alibaba-gpu-v2023",
    licence=_ALIBABA,
    mirrors=(
        f"https://raw.githubusercontent.com/alibaba/clusterdata/{_OPENB_COMMIT}/cluster-trace-gpu-v2023/csv",
        f"https://cdn.jsdelivr.net/gh/alibaba/clusterdata@{_OPENB_COMMIT}/cluster-trace-gpu-v2023/csv",
    ),
    tables=tuple(
        _single(name, f"{name}.csv", sha256=sha256, size=size, default=name in _OPENB_DEFAULT)
        for name, size, sha256 in _OPENB_FILES
    ),
    citation="Q. Weng et al. Beware of Fragmentation. USENIX ATC 2023.",
)

# AzurePublicDatasetV1Links.txt (78.5 GB in 128 files) and AzurePublicDatasetLinksV2.txt (156 GB in 198 files).
_AZURE_V1 = Dataset(
    name="azure-v1",
    title="Azure VM trace 2017 (AzurePublicDatasetV1)",
    page=f"{_AZURE_PAGE}/AzurePublicDatasetV1.md",
    folder="azure-v1",
    licence=_CC_BY_BINDING,
    mirrors=(f"{_AZURE}/azurepublicdataset",),
    tables=(
        _single("vmtable", "trace_data/vmtable/vmtable.csv.gz"),
        _single("subscriptions", "trace_data/subscriptions/subscriptions.csv.gz", default=False),
        _single("deployments", "trace_data/deployment/deployment.csv.gz", default=False),
        RemoteTable(
            "vm_cpu_readings",
            "trace_data/vm_cpu_readings/vm_cpu_readings-file-{part}-of-125.csv.gz",
            (1, 125),
            default=False,
            about_bytes=78_500 * _MB // 125,
        ),
    ),
    citation="E. Cortez et al. Resource Central. SOSP 2017.",
)
_AZURE_V2 = Dataset(
    name="azure-v2",
    title="Azure VM trace 2019 (AzurePublicDatasetV2)",
    page=f"{_AZURE_PAGE}/AzurePublicDatasetV2.md",
    folder="azure-v2",
    licence=_CC_BY_BINDING,
    mirrors=(f"{_AZURE}/azurepublicdatasetv2",),
    tables=(
        _single("vmtable", "trace_data/vmtable/vmtable.csv.gz"),
        _single("subscriptions", "trace_data/subscriptions/subscriptions.csv.gz", default=False),
        _single("deployments", "trace_data/deployments/deployments.csv.gz", default=False),
        RemoteTable(
            "vm_cpu_readings",
            "trace_data/vm_cpu_readings/vm_cpu_readings-file-{part}-of-195.csv.gz",
            (1, 195),
            default=False,
            about_bytes=156 * _GB // 195,
        ),
    ),
    citation="E. Cortez et al. Resource Central. SOSP 2017.",
)
_AZURE_PACKING = Dataset(
    name="azure-packing2020",
    title="Azure Trace for Packing 2020",
    page=f"{_AZURE_PAGE}/AzureTracesForPacking2020.md",
    folder="azure-packing2020",
    licence=_CC_BY_BINDING,
    mirrors=(f"{_AZURE}/azurepublicdatasetv2/azurevmallocation_dataset2020",),
    tables=(_single("packing_trace", "AzurePackingTraceV1.zip"),),
    after="unpack AzurePackingTraceV1.zip in the same folder (it holds packing_trace_zone_a_v1.sqlite)",
    citation="O. Hadary et al. Protean: VM Allocation Service at Scale. OSDI 2020.",
)

# download.md of resource-disaggregation/snowset (which gives the same address with http).
_SNOWSET = Dataset(
    name="snowset",
    title="Snowset (Snowflake, 2018)",
    page="https://github.com/resource-disaggregation/snowset/blob/master/download.md",
    folder="snowset",
    licence=Licence(
        "snowset-research",
        "no formal licence: open to the public for use in research and education (README of snowset)",
        "https://github.com/resource-disaggregation/snowset#usage",
        acceptance_required=True,
    ),
    mirrors=("https://www.cs.cornell.edu/~midhul/snowset",),
    tables=(
        _single("main_csv", "snowset-main.csv.gz"),
        _single(
            "main_parquet",
            "snowset-main.parquet.tar.gz",
            default=False,
            note="the same rows as main_csv; has to be unpacked: tar -xzf",
        ),
        _single("ts_explosion_parquet", "ts-explosion.parquet.tar.gz", default=False),
        _single("ts_explosion_csv", "ts-explosion.csv.gz", default=False),
    ),
    citation="M. Vuppalapati et al. Building An Elastic Query Engine on Disaggregated Storage. NSDI 2020.",
)

# README.md of amazon-science/redset; s3://redshift-downloads/redset by the https address given there.
_REDSET = Dataset(
    name="redset",
    title="Redset (Amazon Redshift, 2024)",
    page="https://github.com/amazon-science/redset",
    folder="redset",
    licence=Licence(
        "CC-BY-NC-4.0",
        "Creative Commons Attribution-NonCommercial 4.0: no commercial use",
        "https://creativecommons.org/licenses/by-nc/4.0/",
        acceptance_required=True,
    ),
    mirrors=(
        "https://s3.amazonaws.com/redshift-downloads/redset",
        "https://redshift-downloads.s3.amazonaws.com/redset",
    ),
    tables=tuple(
        _single(
            f"{kind}_{name}",
            f"{kind}/{file}.parquet",
            default=(kind, name) == ("serverless", "full"),
            note=note,
        )
        for kind in ("serverless", "provisioned")
        for name, file, note in (
            ("full", "full", "8.2 million queries" if kind == "serverless" else "433 million queries"),
            (
                "sample_1pct",
                "sample_0.01",
                "a random 1 % of the queries, arrivals are thinned; for a folder of its own",
            ),
            ("sample_0.1pct", "sample_0.001", "a random 0.1 % of the queries, likewise"),
        )
    ),
    citation="A. van Renen et al. Why TPC is not enough: An analysis of the Amazon Redshift fleet. VLDB 2024.",
)

_ALIBABA_BLOCK = Dataset(
    name="alibaba-block",
    title="Alibaba block traces 2020",
    page="https://github.com/alibaba/block-traces",
    folder="alibaba-block",
    licence=_CC_BY_BINDING,
    manual=ManualSource(
        reason="the publisher gives the download link after a survey (181 GB packed, 751 GB unpacked)",
        steps=(
            "fill in the survey: https://yida.alibaba-inc.com/o/alibaba_block_traces_2020_survey",
            "download alibaba_block_traces_2020.tar.gz into {folder}",
            "check it: md5sum gives 95780fc531a60fd4ca0513ef88ef469c",
            "unpack it there: tar -xzf alibaba_block_traces_2020.tar.gz; md5sum of io_traces.csv gives "
            "c60dd8f771738d4d8df56271e56dd308, of device_size.csv 6641abe8a0f3625f13776120d2884e84",
        ),
        layout=("io_traces.csv", "device_size.csv"),
    ),
    citation="J. Li et al. An In-Depth Analysis of Cloud Block Storage Workloads. IISWC 2020.",
)
_MSR = Dataset(
    name="msr-block",
    title="MSR Cambridge block I/O 2007",
    page="https://iotta.snia.org/traces/block-io/388",
    folder="msr-block",
    licence=Licence("SNIA", _SNIA, "https://iotta.snia.org/traces/block-io/388", acceptance_required=True),
    manual=ManualSource(
        reason="SNIA gives the files after its licence was accepted on the page",
        steps=(
            "open https://iotta.snia.org/traces/block-io/388 and accept the licence",
            "download the archives, unpack them, and put the files into {folder}",
        ),
        layout=("HOST_DISK.csv.gz for each volume, such as hm_0.csv.gz",),
    ),
    citation="D. Narayanan, A. Donnelly, A. Rowstron. Write Off-Loading. FAST 2008.",
)
_TENCENT = Dataset(
    name="tencent-block",
    title="Tencent cloud block storage 2018",
    page="https://iotta.snia.org/traces/parallel/27917",
    folder="tencent-block",
    licence=Licence("SNIA", _SNIA, "https://iotta.snia.org/traces/parallel/27917", acceptance_required=True),
    manual=ManualSource(
        reason="SNIA gives the files after its licence was accepted on the page",
        steps=(
            "open https://iotta.snia.org/traces/parallel/27917 and accept the licence",
            "download the hours that you need (216 archives, named YYYY-MM-DD-HH.tgz) and md5_check.md5 into {folder}",
            "check them there: md5sum --check --ignore-missing md5_check.md5",
        ),
        layout=("2018-10-01-01.tgz and so on",),
    ),
    citation="Y. Zhang et al. OSCA: An Online-Model Based Cache Allocation Scheme in Cloud Block Storage. ATC 2020.",
)
_CLOUDPHYSICS = Dataset(
    name="cloudphysics",
    title="CloudPhysics block I/O 2015",
    page="https://github.com/cacheMon/cache_dataset#cloudphysics-traces",
    folder="cloudphysics",
    licence=Licence("CC-BY-4.0", "Creative Commons Attribution 4.0 (of the collection)", _CC_BY, True),
    manual=ManualSource(
        reason="the collection that holds it is published on a site that may ask for a login",
        steps=(
            "for two hours of one disk, take the file that libCacheSim carries:\n"
            "curl --fail --create-dirs -o {folder}/cloudPhysicsIO.csv "
            "https://raw.githubusercontent.com/1a1a11a/libCacheSim/develop/data/cloudPhysicsIO.csv",
            "for whole weeks of all disks, open https://huggingface.co/datasets/1a1a11a/cache_dataset_txt and its "
            "folder of CloudPhysics, download the disks that you need into {folder} and unpack them (zstd -d)",
        ),
        layout=("cloudPhysicsIO.csv, or a file for each virtual disk",),
    ),
    citation="C. Waldspurger et al. Efficient MRC Construction with SHARDS. FAST 2015.",
)

DATASETS = (
    _GOOGLE_2011,
    _GOOGLE_2019,
    _ALIBABA_2017,
    _ALIBABA_2018,
    _ALIBABA_GPU_2020,
    _ALIBABA_GPU_2023,
    _AZURE_V1,
    _AZURE_V2,
    _AZURE_PACKING,
    _SNOWSET,
    _REDSET,
    _ALIBABA_BLOCK,
    _MSR,
    _TENCENT,
    _CLOUDPHYSICS,
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
