"""Hand-made episode records of a small cluster, for metrics whose values can be computed on paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudsched_env.scenario import load_scenario
from cloudsched_env.sim.result import TOTALS, EpisodeResult
from tests.simulator.episodes import hand_made_episode

# 10 s counted after 1 s of warm-up; 12 cores, 24 GB, 2 storage nodes of 1600 MB/s, 2 tenants of 3 shards.
# Written out, so that the values on paper hold whatever becomes of the shipped scenarios.
SCENARIO = load_scenario(
    "tiny-v1",
    {
        "time.step_s": 0.1,
        "time.warmup_steps": 10,
        "time.horizon_steps": 110,
        "cluster.compute_nodes": [{"cores": 8.0, "memory_gb": 16.0}, {"cores": 4.0, "memory_gb": 8.0}],
        "cluster.storage_nodes": 2,
        "cluster.schedulers": 1,
        "workload.tenants": 2,
        "workload.shards_per_tenant": 3,
        "workload.replicas": 2,
        "storage.bandwidth_mb_per_s": 1600.0,
    },
)
COUNTED_STEPS = 100


def record(
    tasks: list[dict[str, Any]],
    start_s: list[float],
    finish_s: list[float],
    served: tuple[float, float] = (1.0, 1.0),
    arrived: tuple[float, float] = (1.0, 1.0),
    **totals: float,
) -> EpisodeResult:
    """A record with the given tasks and totals; totals left out are 0."""
    return EpisodeResult(
        scenario=SCENARIO,
        episode=hand_made_episode(SCENARIO, tasks),
        start_s=np.array(start_s),
        finish_s=np.array(finish_s),
        totals=dict.fromkeys(TOTALS, 0.0) | {"steps": float(COUNTED_STEPS)} | totals,
        tenant_served_core_s=np.array(served),
        tenant_arrived_core_s=np.array(arrived),
    )
