"""What one finished episode leaves behind: the raw record from which every metric is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode

__all__ = ["TOTALS", "EpisodeResult"]

TOTALS = (
    "steps",  # counted steps
    "team_reward",  # sum of the team reward
    "useful_term",  # sum of U, before its weight
    "goodput_term",  # sum of G
    "latency_term",  # sum of L
    "fairness_term",  # sum of F
    "useful_core_s",  # work that advanced tasks, lost progress of crashed tasks included
    "busy_core_s",  # processor share in use, overheads of spill and contention included
    "allocated_core_s",  # requested cores of running tasks, over-commitment included
    "allocated_core_capped_s",  # the same, at most each node's cores
    "allocated_memory_gb_s",  # memory of running tasks, at most each node's memory
    "storage_served_mb",  # bytes that storage nodes moved for tasks, read amplification included
    "cacheable_mb",  # cacheable bytes that tasks read
    "cache_hit_mb",  # of these, found in the cache
    "spill_gb_s",  # memory of running tasks beyond execution memory
    "usage_deviation",  # sum over steps of the standard deviation over nodes of useful utilisation
    "waiting_tasks",  # sum over steps of tasks arrived, not running nor finished
    "lost_core_s",  # work lost to crashes
    "requeued",  # tasks sent back by crashes
    "bounced",  # tasks sent to a node that was down or not on
    "invalid_actions",  # masked sub-actions that were chosen
    "active_core_share",  # sum over steps of the cores of nodes not asleep / all cores
)


@dataclass(frozen=True)
class EpisodeResult:
    """Raw record of one episode; sums are over counted steps, after the warm-up.

    Attributes:
        scenario: the cluster.
        episode: the work that was offered.
        start_s: start of the last execution of each task, NaN if it never ran, ``[tasks]``.
        finish_s: when each task finished, NaN if it did not, ``[tasks]``.
        totals: sums over counted steps, by the names of `TOTALS`.
        tenant_served_core_s: useful work for each tenant in counted steps, ``[tenants]``.
        tenant_arrived_core_s: work of arrivals of each tenant in counted steps, ``[tenants]``.
    """

    scenario: Scenario
    episode: Episode
    start_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    totals: dict[str, float]
    tenant_served_core_s: NDArray[np.float64]
    tenant_arrived_core_s: NDArray[np.float64]
