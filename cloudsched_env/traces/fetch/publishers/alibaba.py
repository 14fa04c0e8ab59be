"""Alibaba: the Cluster Trace Program, GPU clusters, and block storage."""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Dataset, Licence, ManualSource
from cloudsched_env.traces.fetch.publishers.common import CC_BY, single_file

__all__ = ["ALIBABA_2017", "ALIBABA_2018", "ALIBABA_BLOCK", "ALIBABA_GPU_2020", "ALIBABA_GPU_2023"]

_ALIBABA = Licence(
    "alibaba-research",
    "no formal licence: the publisher allows research and study only (README of alibaba/clusterdata)",
    "https://github.com/alibaba/clusterdata#our-motivation",
    acceptance_required=True,
)
_OSS = "https://aliopentrace.oss-cn-beijing.aliyuncs.com"

# README2017.md; the SHA256SUM beside it is that of another archive, trace_201708.tgz, and does not fit this one
# (alibaba/clusterdata, issue 209).
ALIBABA_2017 = Dataset(
    name="alibaba2017",
    title="Alibaba cluster-trace-v2017",
    page="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-v2017",
    folder="alibaba-v2017",
    licence=_ALIBABA,
    mirrors=(f"{_OSS}/v2017Traces",),
    after="unpack alibaba-trace-2017.tar.gz in the same folder: tar -xzf alibaba-trace-2017.tar.gz",
    tables=(
        single_file(
            "all_tables",
            "alibaba-trace-2017.tar.gz",
            note="one archive of six tables; no valid checksum is published (alibaba/clusterdata, issue 209)",
        ),
    ),
)

# fetchData.sh and trace_2018.md: addresses, checksums, sizes as `ls -sh` rounds them.
ALIBABA_2018 = Dataset(
    name="alibaba2018",
    title="Alibaba cluster-trace-v2018",
    page="https://github.com/alibaba/clusterdata/blob/master/cluster-trace-v2018/trace_2018.md",
    folder="alibaba-v2018",
    licence=_ALIBABA,
    mirrors=(f"{_OSS}/v2018Traces",),
    tables=(
        single_file(
            "batch_task",
            "batch_task.tar.gz",
            sha256="7c4b32361bd1ec2083647a8f52a6854a03bc125ca5c202652316c499fbf978c6",
            about=125 * 2**20,
        ),
        single_file(
            "machine_meta",
            "machine_meta.tar.gz",
            sha256="b5b1b786b22cd413a3674b8f2ebfb2f02fac991c95df537f363ef2797c8f6d55",
            about=92 * 2**10,
        ),
        single_file(
            "container_meta",
            "container_meta.tar.gz",
            sha256="febd75e693d1f208a8941395e7faa7e466e50d21c256eff12a815b7e2fa2053f",
            about=int(2.4 * 2**20),
            default=False,
        ),
        single_file(
            "machine_usage",
            "machine_usage.tar.gz",
            sha256="3e6ee87fd204bb85b9e234c5c75a5096580fdabc8f085b224033080090753a7a",
            about=int(1.7 * 2**30),
            default=False,
        ),
        single_file(
            "batch_instance",
            "batch_instance.tar.gz",
            sha256="e73e5a9326669aa079ba20048ddd759383cabe1fe3e58620aa75bd034e2450c6",
            about=20 * 2**30,
            default=False,
        ),
        single_file(
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
ALIBABA_GPU_2020 = Dataset(
    name="alibaba-gpu2020",
    title="Alibaba cluster-trace-gpu-v2020 (PAI)",
    page="https://github.com/alibaba/clusterdata/tree/master/cluster-trace-gpu-v2020",
    folder="alibaba-gpu-v2020",
    licence=CC_BY,
    mirrors=(f"{_OSS}/v2020GPUTraces",),
    tables=tuple(
        single_file(
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
ALIBABA_GPU_2023 = Dataset(
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
        single_file(name, f"{name}.csv", sha256=sha256, size=size, default=name in _OPENB_DEFAULT)
        for name, size, sha256 in _OPENB_FILES
    ),
    citation="Q. Weng et al. Beware of Fragmentation. USENIX ATC 2023.",
)

ALIBABA_BLOCK = Dataset(
    name="alibaba-block",
    title="Alibaba block traces 2020",
    page="https://github.com/alibaba/block-traces",
    folder="alibaba-block",
    licence=CC_BY,
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
