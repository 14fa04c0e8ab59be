"""What must hold after every step of the oracle: the last section of `docs/simulator.md`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.oracle import OracleCluster


def check(cluster: OracleCluster) -> None:
    """Check what `docs/simulator.md` promises of every step.

    Raises:
        AssertionError: naming the invariant.
    """
    places: dict[int, int] = {}
    held = [task for scheduler in cluster.schedulers for task in scheduler.fifo]
    held += [task for scheduler in cluster.schedulers for _, task in scheduler.backing_off]
    held += [task for node in cluster.compute for task in node.queue] + cluster.running + cluster.finished
    for task in held:
        places[task.index] = places.get(task.index, 0) + 1
    arrived = [task for task in cluster.tasks if task.arrival <= cluster.time]
    assert places == {task.index: 1 for task in arrived}, "every arrived task is in exactly one place"

    remaining = sum(task.work * task.remaining for task in arrived)
    done = cluster.useful_ever - cluster.lost_ever
    assert all(0 <= task.remaining <= 1 for task in cluster.tasks), "remaining share in [0, 1]"
    assert math.isclose(done + remaining, cluster.arrived_ever, rel_tol=1e-9, abs_tol=1e-9), (
        f"work done {done} + remaining {remaining} = arrived {cluster.arrived_ever}"
    )
    for n, node in enumerate(cluster.compute):
        assert node.share_sum * node.processor_share <= node.step_cores * (1 + 1e-12), f"processor share of node {n}"
        assert node.busy <= node.step_cores * cluster.dt * (1 + 1e-12), f"busy time of node {n}"
        assert node.useful <= node.busy * (1 + 1e-12), f"useful work of node {n} within its busy time"
        assert node.occupied <= node.cache_mb * (1 + 1e-12), f"occupied cache of node {n}"
        assert sum(node.valid) <= node.occupied * (1 + 1e-9) + 1e-9, f"valid within occupied cache of node {n}"
        for valid, hot_set in zip(node.valid, cluster.hot_set, strict=True):
            assert 0 <= valid <= hot_set * (1 + 1e-12), f"valid bytes of node {n} within the hot set"
        assert node.garbage >= 0, f"garbage of node {n}"
        assert node.alive or not (node.queue or cluster.on_node(n) or node.occupied), f"dead node {n} is empty"
    for r, store in enumerate(cluster.storage):
        slack = 1 + 1e-9
        assert store.served <= store.capacity * slack, f"served bytes of storage {r}"
        assert store.amplification * store.reads <= store.capacity * slack + 1e-9, f"reads of storage {r} are gated"
        assert store.debt >= 0, f"debt of storage {r}"
        assert store.lag >= 0, f"lag of storage {r}"
        floor = cluster.scenario.storage.minimum_stream_factor
        assert floor <= store.stream_factor <= 1, f"stream factor of storage {r}"
