"""Placements that follow the data: locality, hashing with bounded loads, delay scheduling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.load import core_load_after, least_allocated_score
from cloudsched_env.agents.heuristics.placement import FittedPlacement, PlacementMemory, limit
from cloudsched_env.agents.view import SchedulerView, TaskView

__all__ = ["BoundedLoadHash", "DelayScheduling", "Locality"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Locality(FittedPlacement):
    """The node whose cache holds most of the task's hot set; among equals the least loaded."""

    summary: ClassVar[str] = "warmest cache first, then least loaded"
    load_weight: float = limit(0.01, 0.0, 4.0, "warmth given up for one unit of core load; small: only breaks ties")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Warmth minus a little load."""
        return task.warmth - self.load_weight * core_load_after(view, task)


@dataclass(frozen=True)
class BoundedLoadHash(FittedPlacement):
    """Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).

    The nodes (on large clusters: the candidates) stand on a ring in the order of their index, and a shard hashes to its
    home nodes. A task goes to the first node, clockwise from the nearest home, whose load with the task stays within
    ``c`` times the mean load. Nodes differ in size, so loads are requested cores per core.
    """

    summary: ClassVar[str] = "home node, or the next on the ring within c = 1.25 of the mean load"
    c: float = limit(1.25, 1.0, 4.0, "load of a node / mean load up to which it takes more")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Minus the ring distance within the bound; beyond it, below all of those, minus the load."""
        nodes = view.nodes
        # Clockwise distance from the nearest home at or before each node: nodes since the last home, the ring
        # unrolled twice.
        position = np.arange(2 * nodes)
        home = np.concatenate([task.home, task.home], axis=-1) > 0.5
        last_home = np.maximum.accumulate(np.where(home, position, -2 * nodes), axis=-1)
        distance = (position - last_home)[..., nodes:].astype(np.float64)
        load = core_load_after(view, task)
        capacity = view.node_cores.sum(axis=-1, keepdims=True)
        mean = (view.requested_cores.sum(axis=-1, keepdims=True) + task.cores) / capacity
        return np.where(load <= self.c * mean, -distance, -4.0 * nodes - load)


@dataclass(frozen=True)
class DelayScheduling(FittedPlacement):
    """Wait a little for a local node, then go anywhere (Zaharia et al., EuroSys 2010).

    A node is local to a task if it is a home of its shard or its cache is warm enough. While no local node fits, the
    task is deferred until its age reaches the delay; after that it goes to the least allocated node. The age stands
    for the time since the job's last local launch, which a scheduler does not observe.
    """

    summary: ClassVar[str] = "local node, else wait up to a delay, else least allocated"
    delay_s: float = limit(0.5, 0.0, 10.0, "how long a task waits for a local node")
    warm: float = limit(0.3, 0.0, 1.0, "warmth from which a node is local")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Least-allocated score: of local nodes, or of all once the task has waited long enough."""
        spread = least_allocated_score(view, task)
        local = (task.warmth >= self.warm) | (task.home > 0.5)
        any_local = (local & feasible).any(axis=-1, keepdims=True)
        eligible = np.where(any_local, local, task.age_s >= self.delay_s)
        return np.where(eligible, spread, -np.inf)
