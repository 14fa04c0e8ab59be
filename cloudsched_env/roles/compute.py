"""Compute nodes: they split their memory between execution and cache, and limit admission."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout
from cloudsched_env.scenario import Scenario

__all__ = ["ACTIONS", "FIELDS", "action_levels", "layout"]

ACTIONS = ("cache_level", "admission_level")

FIELDS = (
    Field("alive", "0/1", 0, 1, "fresh: the node is up"),
    Field("running_cores_load", "1", 0, 8, "fresh: requested cores of running tasks / cores"),
    Field("queued_cores_load", "1", 0, 8, "fresh: requested cores of queued tasks / cores"),
    Field("running_memory_load", "1", 0, 8, "fresh: memory of running tasks / memory"),
    Field("queued_memory_load", "1", 0, 8, "fresh: memory of queued tasks / memory"),
    Field("queue_length", "16 tasks", 0, 8, "fresh: tasks in the node's queue / 16"),
    Field("execution_memory_pressure", "1", 0, 8, "fresh: memory of running tasks / execution memory"),
    Field("cache_fraction", "1", 0, 1, "fresh: share of memory that is cache now"),
    Field("cache_target", "1", 0, 1, "fresh: cache fraction of the last action"),
    Field("memory_overcommit", "1", 0, 8, "fresh: admission limit of the last action"),
    Field("cache_fill", "1", 0, 1, "fresh: occupied share of the cache"),
    Field("hit_ratio", "1", 0, 1, "fresh: cacheable bytes found in the cache, decayed 0.9 per step"),
    Field("read_rate", "streams", 0, 8, "fresh: read from storage / fastest read stream, last step"),
    Field("processor_share", "1", 0, 1, "fresh: processor share of a running task, last step"),
    Field("efficiency", "1", 0, 1, "fresh: 1 / slow-down by spill and contention, last step"),
    Field("io_wait", "1", 0, 1, "fresh: share of run time that tasks spend waiting for storage, last step"),
    Field("cores", "largest node", 0, 1, "static: cores / cores of the largest node"),
    Field("memory", "largest node", 0, 1, "static: memory / memory of the largest node"),
    Field("storage_stream_factor", "1", 0, 1, "stale: mean stream factor of storage nodes"),
    Field("storage_debt", "soft limits", 0, 8, "stale: mean compaction debt of storage nodes"),
    Field("storage_read_rate", "1", 0, 4, "stale: mean read bytes / bandwidth of storage nodes"),
    Field("storage_write_rate", "1", 0, 4, "stale: mean written bytes / bandwidth of storage nodes"),
    Field("telemetry_age", "10 s", 0, 8, "age of the storage summary / 10 s"),
)


def layout(scenario: Scenario) -> Layout:
    """The observation of one compute node."""
    return Layout("compute", (Block("node", FIELDS),))


def action_levels(scenario: Scenario) -> np.ndarray:
    """Choices of each action in `ACTIONS`, int64 of shape ``[2]``."""
    return np.array([len(scenario.compute.cache_fractions), len(scenario.compute.memory_overcommit)])
