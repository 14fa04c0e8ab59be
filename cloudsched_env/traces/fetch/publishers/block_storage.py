"""Block storage traces that other sites publish: MSR Cambridge, Tencent, CloudPhysics."""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Dataset, Licence, ManualSource
from cloudsched_env.traces.fetch.publishers.common import CC_BY

__all__ = ["CLOUDPHYSICS", "MSR", "TENCENT"]

_SNIA = "SNIA Trace Data Files Download License (shown before the download)"

MSR = Dataset(
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
TENCENT = Dataset(
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
CLOUDPHYSICS = Dataset(
    name="cloudphysics",
    title="CloudPhysics block I/O 2015",
    page="https://github.com/cacheMon/cache_dataset#cloudphysics-traces",
    folder="cloudphysics",
    licence=CC_BY,
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
