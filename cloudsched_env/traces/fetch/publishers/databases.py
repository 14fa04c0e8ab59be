"""Database services: Snowflake (Snowset) and Amazon Redshift (Redset)."""

from __future__ import annotations

from cloudsched_env.traces.fetch.catalogue import Dataset, Licence
from cloudsched_env.traces.fetch.publishers.common import single_file

__all__ = ["REDSET", "SNOWSET"]

# download.md of resource-disaggregation/snowset (which gives the same address with http).
SNOWSET = Dataset(
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
        single_file("main_csv", "snowset-main.csv.gz"),
        single_file(
            "main_parquet",
            "snowset-main.parquet.tar.gz",
            default=False,
            note="the same rows as main_csv; has to be unpacked: tar -xzf",
        ),
        single_file("ts_explosion_parquet", "ts-explosion.parquet.tar.gz", default=False),
        single_file("ts_explosion_csv", "ts-explosion.csv.gz", default=False),
    ),
    citation="M. Vuppalapati et al. Building An Elastic Query Engine on Disaggregated Storage. NSDI 2020.",
)

# README.md of amazon-science/redset; s3://redshift-downloads/redset by the https address given there.
REDSET = Dataset(
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
        single_file(
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
