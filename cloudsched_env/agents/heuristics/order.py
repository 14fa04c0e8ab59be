"""Placements that also choose which task goes first: Tetris and dominant resource fairness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.load import least_allocated_score
from cloudsched_env.agents.heuristics.placement import FittedPlacement, PlacementMemory, limit
from cloudsched_env.agents.view import CORES_UNIT, MEMORY_UNIT_GB, TIME_UNIT_S, SchedulerView, TaskView

__all__ = ["DominantResourceFairness", "Tetris"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Tetris(FittedPlacement):
    """Multi-resource packing (Grandl et al., SIGCOMM 2014): alignment with free resources, short tasks first.

    Alignment is the dot product of the task's demand and the node's free cores and memory, each in shares of the
    node. Tasks are taken in descending order of (best alignment - epsilon x remaining work), with epsilon = mean
    alignment / mean work over the visible tasks, times ``srtf_weight``. Free resources are counted from the limits of
    the fit filter. Its fairness knob is not used: see `DominantResourceFairness`.
    """

    summary: ClassVar[str] = "alignment of demand with free resources, shortest remaining work first"
    srtf_weight: float = limit(1.0, 0.0, 10.0, "weight of short work first against alignment")

    def order(self, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64]:
        """Slots by alignment minus epsilon x remaining work, best first, empty slots last."""
        cores, ram_gb = view.slot("cores") * CORES_UNIT, view.slot("memory") * MEMORY_UNIT_GB
        work = (
            view.slot("estimated_time")
            * TIME_UNIT_S
            * (
                cores / view.node_cores.sum(axis=-1)[..., None]
                + ram_gb / view.execution_memory_gb.sum(axis=-1)[..., None]
            )
        )
        free_cores, free_memory = self._free(view)
        alignment = (cores[..., None] / view.node_cores[:, :, None, :]) * free_cores[:, :, None, :] + (
            ram_gb[..., None] / view.execution_memory_gb[:, :, None, :]
        ) * free_memory[:, :, None, :]
        best = np.where(view.allowed, alignment, 0.0).max(axis=-1)
        count = np.maximum(view.present.sum(axis=-1, keepdims=True), 1)
        mean_best = np.where(view.present, best, 0.0).sum(axis=-1, keepdims=True) / count
        mean_work = np.where(view.present, work, 0.0).sum(axis=-1, keepdims=True) / count
        epsilon = self.srtf_weight * mean_best / np.maximum(mean_work, 1e-12)
        return np.argsort(np.where(view.present, epsilon * work - best, np.inf), axis=-1, kind="stable")

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Dot product of demand and free resources, in shares of the node."""
        free_cores, free_memory = self._free(view)
        return task.cores / view.node_cores * free_cores + task.memory_gb / view.execution_memory_gb * free_memory

    def _free(self, view: SchedulerView) -> tuple[Floats, Floats]:
        free_cores = np.maximum(self.core_limit - view.requested_cores / view.node_cores, 0.0)
        free_memory = np.maximum(self.memory_limit - view.requested_memory_gb / view.execution_memory_gb, 0.0)
        return free_cores, free_memory


@dataclass(frozen=True)
class DominantResourceFairness(FittedPlacement):
    """Serve the poorest tenant first (Ghodsi et al., NSDI 2011), then place like LeastAllocated.

    A scheduler observes the served share of each visible task's tenant, not its dominant share, so progressive
    filling starts from that: the next task is the first of the tenant with the smallest (served share + dominant
    share of what it was given in this step). Tasks with the same served share are of the same tenant. Where nodes are
    sampled, the cluster's total is extrapolated from the candidates.
    """

    summary: ClassVar[str] = "DRF order of tenants among visible tasks, then least allocated"
    step_weight: float = limit(1.0, 0.0, 100.0, "weight of this step's dominant share against the served share")

    def order(self, view: SchedulerView, memory: PlacementMemory) -> NDArray[np.int64]:
        """Progressive filling over the visible tasks."""
        cores = view.slot("cores") * CORES_UNIT / view.node_cores.sum(axis=-1)[..., None]
        ram = view.slot("memory") * MEMORY_UNIT_GB / view.execution_memory_gb.sum(axis=-1)[..., None]
        dominant = self.step_weight * view.cluster_share * np.maximum(cores, ram)
        served = view.slot("tenant_share")
        same_tenant = served[..., :, None] == served[..., None, :]
        share = np.where(view.present, served, np.inf)
        order = np.empty(view.shape, dtype=np.int64)
        waiting = np.ones(view.shape, dtype=bool)
        for turn in range(view.shape[-1]):
            candidate = np.where(waiting, share, np.inf)
            # argmin takes the first of equals: first come, first served within a tenant; empty slots (all infinite)
            # in any order.
            chosen = np.where(np.isfinite(candidate).any(axis=-1), candidate.argmin(axis=-1), waiting.argmax(axis=-1))
            order[..., turn] = chosen
            np.put_along_axis(waiting, chosen[..., None], False, axis=-1)
            given = np.take_along_axis(dominant, chosen[..., None], axis=-1)
            row = np.take_along_axis(same_tenant, chosen[..., None, None], axis=-2)[..., 0, :]
            share = share + row * given
        return order

    def score(self, view: SchedulerView, task: TaskView, feasible: Mask, memory: PlacementMemory) -> Floats:
        """Least-allocated score."""
        return least_allocated_score(view, task)
