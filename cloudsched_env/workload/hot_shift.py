"""Hot-set shift: now and then all jobs turn to other shards of their tenant, where caches and homes are cold for them.

Shifts come every ``hot_shift_interval_s`` seconds, the first after a uniformly distributed part of the interval (the
episode's clock is in the global state, so that fixed times could be learnt by heart). After k shifts, the jobs of
shard m, counted within its tenant's M shards, use shard (m + k x stride) mod M. The stride has no common factor with M:

* a task that arrives after 1 to M - 1 shifts uses another shard than it would have used without them,
* the same jobs use all shards before they return to their first one.

Of such strides the one nearest to M x 0.382 (the golden section) is taken: in a tenant with skewed shards, neither the
hottest shard nor its neighbours in rank come to lie where the next hot ones were just before.

Nothing else moves: hot sets, replicas and homes belong to shards and stay.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario

__all__ = ["draw_shift_times", "shift_shards", "shift_stride"]

_GOLDEN_SECTION = (3.0 - math.sqrt(5.0)) / 2.0


def shift_stride(shards_per_tenant: int) -> int:
    """How many shards further the jobs of a tenant move at a shift.

    Args:
        shards_per_tenant: M, at least 2.

    Returns:
        The number below M that has no common factor with M and is nearest to 0.382 M (of two, the smaller).

    Raises:
        ValueError: for a tenant with a single shard.
    """
    if shards_per_tenant < 2:
        raise ValueError(f"shards_per_tenant is {shards_per_tenant}: expected at least 2, to have somewhere to move")
    strides = [s for s in range(1, shards_per_tenant) if math.gcd(s, shards_per_tenant) == 1]
    return min(strides, key=lambda stride: abs(stride - _GOLDEN_SECTION * shards_per_tenant))


def draw_shift_times(scenario: Scenario, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the times of the shifts of an episode.

    Args:
        scenario: the cluster.
        rng: source of randomness; untouched if the scenario has no shifts.

    Returns:
        Ascending times within the episode, an interval apart; empty if the scenario has no shifts.
    """
    interval_s = scenario.workload.hot_shift_interval_s
    if interval_s == 0.0:
        return np.empty(0)
    count = math.ceil(scenario.duration_s / interval_s)
    times = rng.uniform(0.0, interval_s) + interval_s * np.arange(count, dtype=np.float64)
    return times[times < scenario.duration_s]


def shift_shards(
    shard: NDArray[np.int32], arrival_s: NDArray[np.float64], shift_s: NDArray[np.float64], shards_per_tenant: int
) -> NDArray[np.int32]:
    """Move the tasks that arrive after shifts to other shards of their tenants.

    Args:
        shard: shard of each task before any shift, ``[tasks]``; tenant = shard // shards_per_tenant.
        arrival_s: arrival of each task in any order, ``[tasks]``.
        shift_s: ascending times; a task that arrives at the time of a shift comes after it.
        shards_per_tenant: how many.

    Returns:
        Shard of each task, int32 ``[tasks]``.
    """
    shifts = np.searchsorted(shift_s, arrival_s, side="right")
    tenant, local = np.divmod(shard, shards_per_tenant)
    moved = (local + shifts * shift_stride(shards_per_tenant)) % shards_per_tenant
    return (tenant * shards_per_tenant + moved).astype(np.int32)
