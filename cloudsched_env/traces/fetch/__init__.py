"""Download published traces from where their publishers put them."""

from cloudsched_env.traces.fetch.catalogue import Dataset, Licence, RemoteTable
from cloudsched_env.traces.fetch.datasets import DATASETS, find_dataset
from cloudsched_env.traces.fetch.errors import FetchError
from cloudsched_env.traces.fetch.fetching import FetchConfig, FetchReport, fetch, needs_acceptance
from cloudsched_env.traces.fetch.plan import Plan, Selection, make_plan

__all__ = [
    "DATASETS",
    "Dataset",
    "FetchConfig",
    "FetchError",
    "FetchReport",
    "Licence",
    "Plan",
    "RemoteTable",
    "Selection",
    "fetch",
    "find_dataset",
    "make_plan",
    "needs_acceptance",
]
