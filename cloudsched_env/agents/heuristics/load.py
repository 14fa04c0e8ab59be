"""Placements by load alone: random, round robin, power of two choices and the scoring plugins of kube-scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.placement import FittedPlacement, Placement, PlacementMemory, limit
from cloudsched_env.agents.sampling import uniform_choice
from cloudsched_env.agents.view import SchedulerView, TaskView

__all__ = [
    "Balanced",
    "BestFit",
    "LeastAllocated",
    "MostAllocated",
    "PowerOfTwo",
    "RandomPlacement",
    "RoundRobin",
    "core_load_after",
    "least_allocated_score",
]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def core_load_after(view: SchedulerView, task: TaskView) -> Floats:
    """Requested cores / cores of each node if it took the task, ``[batch, schedulers, nodes]``."""
    return (view.requested_cores + task.cores) / view.node_cores


def memory_load_after(view: SchedulerView, task: TaskView) -> Floats:
    """Requested memory / execution memory of each node if it took the task, ``[batch, schedulers, nodes]``."""
    return (view.requested_memory_gb + task.memory_gb) / view.execution_memory_gb


def least_allocated_score(
    view: SchedulerView, task: TaskView, cpu_weight: float = 1.0, memory_weight: float = 1.0
) -> Floats:
    """kube-scheduler's LeastAllocated: weighted mean over resources of 100 (capacity - requested) / capacity.

    Kubernetes gives 0 to a node whose request exceeds its capacity. Here requests may exceed it (queues are allowed),
    so the value goes on below 0: clipping it would make all overloaded nodes look alike.
    """
    free = cpu_weight * (1 - core_load_after(view, task)) + memory_weight * (1 - memory_load_after(view, task))
    return 100.0 * free / (cpu_weight + memory_weight)


@dataclass(frozen=True)
class RandomPlacement(Placement):
    """Uniform over the allowed actions of each slot, defer included; no fit filter (the floor of the score)."""

    summary: ClassVar[str] = "uniform over allowed actions, i.i.d. in every step"

    def choose(self, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64]:
        """The allowed action with the largest of i.i.d. uniform draws."""
        return uniform_choice(view.choices, memory.generators)


@dataclass(frozen=True)
class RoundRobin(FittedPlacement):
    """The next node that fits after the one used last, each scheduler for itself; by place among the candidates."""

    summary: ClassVar[str] = "next node that fits, in turn"

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Minus the distance from the node used last."""
        return -((np.arange(view.nodes) - memory.last_node[..., None] - 1) % view.nodes).astype(np.float64)


@dataclass(frozen=True)
class LeastAllocated(FittedPlacement):
    """kube-scheduler's ``NodeResourcesFit`` with ``LeastAllocated`` scoring: spread by free cores and memory."""

    summary: ClassVar[str] = "kube-scheduler NodeResourcesFit(LeastAllocated): spread by free share"
    cpu_weight: float = limit(1.0, 0.0, 4.0, "weight of cores")
    memory_weight: float = limit(1.0, 0.0, 4.0, "weight of memory")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Weighted mean of free shares after placement, times 100."""
        return least_allocated_score(view, task, self.cpu_weight, self.memory_weight)


@dataclass(frozen=True)
class MostAllocated(FittedPlacement):
    """kube-scheduler's ``NodeResourcesFit`` with ``MostAllocated`` scoring: pack by requested cores and memory."""

    summary: ClassVar[str] = "kube-scheduler NodeResourcesFit(MostAllocated): pack"
    # Packing fills nodes up to the limit by design, so it gets the limit at which contention starts.
    core_limit: float = limit(1.5, 1.0, 8.0, "requested cores / cores up to which a node fits")
    memory_limit: float = limit(1.0, 0.5, 8.0, "requested memory / execution memory up to which a node fits")
    cpu_weight: float = limit(1.0, 0.0, 4.0, "weight of cores")
    memory_weight: float = limit(1.0, 0.0, 4.0, "weight of memory")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Weighted mean of requested shares after placement, times 100."""
        return 100.0 - least_allocated_score(view, task, self.cpu_weight, self.memory_weight)


@dataclass(frozen=True)
class Balanced(FittedPlacement):
    """kube-scheduler's default scoring: ``LeastAllocated`` + ``NodeResourcesBalancedAllocation``, weight 1 each."""

    summary: ClassVar[str] = "kube-scheduler's default: LeastAllocated + NodeResourcesBalancedAllocation"
    balance_weight: float = limit(1.0, 0.0, 4.0, "weight of BalancedAllocation beside LeastAllocated")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """LeastAllocated + 100 (1 - standard deviation of the requested shares): of two, half their gap."""
        cpu = np.minimum(1.0, core_load_after(view, task))
        ram = np.minimum(1.0, memory_load_after(view, task))
        balance = 100.0 * (1.0 - np.abs(cpu - ram) / 2)
        return least_allocated_score(view, task) + self.balance_weight * balance


@dataclass(frozen=True)
class BestFit(FittedPlacement):
    """The node that is left with the least free cores and memory, in shares of the largest node."""

    summary: ClassVar[str] = "least left over, in shares of the largest node"
    core_limit: float = limit(1.5, 1.0, 8.0, "requested cores / cores up to which a node fits")
    memory_limit: float = limit(1.0, 0.5, 8.0, "requested memory / execution memory up to which a node fits")
    cpu_weight: float = limit(1.0, 0.0, 4.0, "weight of cores")
    memory_weight: float = limit(1.0, 0.0, 4.0, "weight of memory")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Minus the weighted sum of what is left of each resource, counted from the limit of the fit filter."""
        cores_left = self.core_limit * view.node_cores - view.requested_cores - task.cores
        memory_left = self.memory_limit * view.execution_memory_gb - view.requested_memory_gb - task.memory_gb
        largest_cores = view.node_cores.max(axis=-1, keepdims=True)
        largest_memory = view.execution_memory_gb.max(axis=-1, keepdims=True)
        return -(self.cpu_weight * cores_left / largest_cores + self.memory_weight * memory_left / largest_memory)


@dataclass(frozen=True)
class PowerOfTwo(FittedPlacement):
    """Two nodes at random, the less loaded gets the task (Mitzenmacher, IEEE TPDS 12(10), 2001)."""

    summary: ClassVar[str] = "the less loaded of d = 2 random nodes"
    choices: int = limit(2, 1, 8, "nodes that are probed")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Minus the core load of the probed nodes, -inf for the others."""
        keys = np.where(feasible, memory.draws, -1.0)
        probes = min(self.choices, view.nodes)
        threshold = np.partition(keys, view.nodes - probes, axis=-1)[..., view.nodes - probes, None]
        return np.where(keys >= threshold, -core_load_after(view, task), -np.inf)
