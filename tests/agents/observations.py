"""Hand-made observations in physical units, written through the layouts: heuristics are tested without a simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.scenario import Scenario, load_scenario

ROLES: dict[str, Any] = {"compute": compute, "storage": storage, "scheduler": scheduler}
CORES, MEMORY_GB = 8.0, 16.0


def cluster_info(scenario: Scenario) -> ClusterInfo:
    layouts = {role: module.layout(scenario) for role, module in ROLES.items()}
    levels = {role: module.action_levels(scenario) for role, module in ROLES.items()}
    return ClusterInfo(scenario, layouts, levels, scenario.role_counts)


def equal_nodes(nodes: int = 4, schedulers: int = 1, slots: int = 4) -> ClusterInfo:
    """A cluster of equal nodes of 8 cores and 16 GB."""
    changes = {
        "cluster.compute_nodes": [{"count": nodes, "cores": CORES, "memory_gb": MEMORY_GB}],
        "cluster.schedulers": schedulers,
        "workload.tenants": max(2, schedulers),
        "scheduling.window_slots": slots,
        "compute.cache_fractions": [0.15, 0.30, 0.45, 0.60, 0.75],
        "compute.memory_overcommit": [0.8, 1.0, 1.3, 1.7],
        "compute.core_overcommit": [1.1, 1.5, 2.0, 3.0],
        "compute.initial_cache_level": 2,
        "compute.initial_admission_level": 1,
        "purge.shares": [0.0, 0.06, 0.12, 0.22, 0.35],
        "purge.initial_level": 1,
        "cluster.storage_nodes": 2,
        "workload.replicas": 2,
        "workload.home_nodes": 1,
        "storage.background_shares": [0.03, 0.10, 0.20, 0.35, 0.50],
        "storage.serve_weights": [0.3, 1.0, 2.5],
        "storage.initial_background_level": 2,
        "storage.initial_serve_level": 1,
    }
    return cluster_info(load_scenario("tiny-v1", changes))


def blank(info: ClusterInfo, batch: int = 1) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Observations of zeros and masks that allow everything."""
    observations = {
        role: np.zeros((batch, count, info.layouts[role].size), np.float32) for role, count in info.role_counts.items()
    }
    masks = {
        role: np.ones((batch, count, int(info.action_levels[role].sum())), np.int8)
        for role, count in info.role_counts.items()
    }
    return observations, masks


def scheduling(
    info: ClusterInfo, tasks: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, float]] = (), batch: int = 1
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What schedulers see: the same tasks and nodes for each.

    A task has `cores`, `memory_gb`, `age_s`, and per node `warmth` and `home`; other slot fields go by their own name.
    A node has loads and pressures by their field names; it has 8 cores and 8 of its 16 GB as execution memory.
    """
    observations, masks = blank(info, batch)
    layout, array = info.layouts["scheduler"], observations["scheduler"]
    units = {"cores": 4.0, "memory_gb": 8.0, "age_s": 10.0, "estimated_time_s": 10.0, "estimated_read_mb": 4000.0}
    names = {
        "memory_gb": "memory",
        "age_s": "age",
        "estimated_time_s": "estimated_time",
        "estimated_read_mb": "estimated_read",
    }
    slots, pairs = layout.view(array, "slots"), layout.view(array, "pairs")
    slot_block, pair_block, node_block = (layout.block(name) for name in ("slots", "pairs", "nodes"))
    for index, given in enumerate(tasks):
        task = {"cores": 1.0, "memory_gb": 1.0, **given}
        slots[..., index, slot_block.index("present")] = 1.0
        for name, value in task.items():
            if name in ("warmth", "home"):
                pairs[..., index, :, pair_block.index(name)] = value
            else:
                slots[..., index, slot_block.index(names.get(name, name))] = value / units.get(name, 1.0)
    block = layout.view(array, "nodes")
    block[..., node_block.index("cores")] = 1.0
    block[..., node_block.index("memory")] = 1.0
    block[..., node_block.index("execution_memory")] = 8.0 / MEMORY_GB
    block[..., node_block.index("efficiency")] = 1.0
    for index, node in enumerate(nodes):
        for name, value in node.items():
            block[..., index, node_block.index(name)] = value
    count = int(info.action_levels["scheduler"][0]) - 1
    mask = masks["scheduler"].reshape(batch, info.role_counts["scheduler"], -1, count + 1)
    mask[:, :, len(tasks) :, :count] = 0
    return observations, masks


def choices(spec: str, info: ClusterInfo, seen: tuple[dict[str, Any], dict[str, Any]], seed: int = 0) -> np.ndarray:
    """What schedulers choose in one step, int64 ``[batch, schedulers, slots]``."""
    agent = load_agent(spec)
    agent.reset(info, seen[0]["scheduler"].shape[0], seed)
    return agent.act(*seen)["scheduler"]
