"""The shared placement loop: filter, score, bind, one task after another, as kube-scheduler does.

A placement heuristic only scores (task, node) pairs. The loop around it takes each scheduler's visible tasks one at a
time, filters nodes by the action mask and by capacity (kube-scheduler's ``NodeResourcesFit`` filter), lets the
heuristic score what is left, binds the task to the best node and counts it there at once, so that the next task of
the same step sees it ("assumed pods"). A task that fits nowhere is deferred: it stays pending in its FIFO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.protocol import ClusterInfo, Masks, Observations
from cloudsched_env.agents.view import SchedulerView, TaskView

__all__ = ["FittedPlacement", "Placement", "PlacementMemory", "ScoredPlacement", "limit", "place"]

Floats = NDArray[np.float64]

# Scores this close are a tie, which is broken at random as kube-scheduler's selectHost does: with the lowest index
# instead, schedulers with equal (stale) views would all herd onto the same node.
# Relative, and wider than the rounding of float32 observations.
TIE_TOLERANCE = 1e-6


def limit(default: float, low: float, high: float, doc: str) -> Any:
    """A tunable parameter of a heuristic: its default, the range a tuner searches, and its meaning."""
    return field(default=default, metadata={"low": low, "high": high, "doc": doc})


@dataclass
class PlacementMemory:
    """What a placement remembers between tasks and steps, for each scheduler of each cluster.

    Attributes:
        generators: one generator per cluster.
        last_node: node of the scheduler's last placed task, -1 before the first, ``[batch, schedulers]``.
        draws: uniform numbers for the task being placed, ``[batch, schedulers, nodes]``.
    """

    generators: Sequence[np.random.Generator]
    last_node: NDArray[np.int64]
    draws: Floats


@dataclass(frozen=True)
class Placement:
    """A rule that gives each visible task a node or defers it; fields are its tunable parameters."""

    summary: ClassVar[str] = ""

    def decide(
        self, info: ClusterInfo, observations: Observations, masks: Masks, memory: PlacementMemory
    ) -> NDArray[np.int64]:
        """For each slot the chosen node, or the number of nodes to defer, int64 ``[batch, schedulers, slots]``.

        By default `choose`, on what the schedulers observe in physical units.
        """
        return self.choose(SchedulerView(info, observations["scheduler"], masks["scheduler"]), memory)

    def choose(self, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64]:
        """For each slot the chosen node, or the number of nodes to defer, int64 ``[batch, schedulers, slots]``."""
        raise NotImplementedError


@dataclass(frozen=True)
class ScoredPlacement(Placement):
    """A rule that scores nodes for one task after another; subclasses override `score`, some `order` and `fits`."""

    def choose(self, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64]:
        """Place tasks one after another by `place`."""
        return place(self, view, memory)

    def fits(self, view: SchedulerView, task: TaskView) -> NDArray[np.bool_]:
        """Nodes with room for the task, bool ``[batch, schedulers, nodes]``: all, unless a subclass filters."""
        return np.ones(view.node_cores.shape, dtype=bool)

    def order(self, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64] | None:
        """Order in which slots are placed, int64 ``[batch, schedulers, slots]``; None for first come, first served."""
        return None

    def score(
        self, view: SchedulerView, task: TaskView, feasible: NDArray[np.bool_], memory: PlacementMemory
    ) -> Floats:
        """Score of each node for the task, higher is better, -inf to refuse; ``[batch, schedulers, nodes]``."""
        raise NotImplementedError


@dataclass(frozen=True)
class FittedPlacement(ScoredPlacement):
    """A rule behind kube-scheduler's ``NodeResourcesFit`` filter: nodes without room are out before any score.

    Kubernetes compares requests with the node's capacity. Here a node queues what it cannot run at once, so the limit
    may exceed the capacity; it is a parameter like any other, tuned with the rest.

    Attributes:
        core_limit: a node takes a task while requested cores stay within this multiple of its cores.
        memory_limit: the same for memory, as a multiple of the node's execution memory.
    """

    core_limit: float = limit(2.0, 1.0, 8.0, "requested cores / cores up to which a node fits")
    memory_limit: float = limit(1.5, 0.5, 8.0, "requested memory / execution memory up to which a node fits")

    def fits(self, view: SchedulerView, task: TaskView) -> NDArray[np.bool_]:
        """Nodes with room for the task, bool ``[batch, schedulers, nodes]``.

        An idle node fits any task, as a node in the simulator admits any task when it runs nothing: otherwise a task
        larger than every node's limit would wait for ever.
        """
        room = (view.requested_cores + task.cores <= self.core_limit * view.node_cores) & (
            view.requested_memory_gb + task.memory_gb <= self.memory_limit * view.execution_memory_gb
        )
        return room | (view.requested_cores < 1e-6)


def place(placement: ScoredPlacement, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64]:
    """Place all visible tasks of all schedulers.

    Args:
        placement: the rule.
        view: this step's view; its requests are updated.
        memory: what the rule remembers; updated.

    Returns:
        For each slot the chosen node, or the number of nodes to defer, int64 ``[batch, schedulers, slots]``.
    """
    batch, schedulers, slots = view.shape
    choice = np.full(view.shape, view.nodes, dtype=np.int64)
    order = placement.order(view, memory)
    rows, columns = np.arange(batch)[:, None], np.arange(schedulers)[None, :]
    # One block of draws per cluster from its own generator: an episode's outcome does not depend on the batch around
    # it.
    draws = np.stack([generator.random((slots, schedulers, view.nodes)) for generator in memory.generators], axis=1)
    for turn in range(slots):
        slot = np.full((batch, schedulers), turn) if order is None else order[..., turn]
        present = view.at_slot(view.present, slot)
        if not present.any():
            continue
        task = view.task(slot)
        memory.draws = draws[turn]
        feasible = view.at_slot(view.allowed, slot) & placement.fits(view, task) & present[..., None]
        score = np.where(feasible, placement.score(view, task, feasible, memory), -np.inf)
        best = score.max(axis=-1)
        placed = np.isfinite(best)
        best = np.where(placed, best, 0.0)
        tied = score >= (best - TIE_TOLERANCE * np.maximum(np.abs(best), 1.0))[..., None]
        node = np.where(tied, draws[turn], -1.0).argmax(axis=-1)
        choice[rows, columns, slot] = np.where(placed, node, view.nodes)
        memory.last_node = np.where(placed, node, memory.last_node)
        view.assume(task, node, placed)
    return choice
