"""The decisions of linear agents, compiled: thousands of episodes are played to tune them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.linear import features as f
from cloudsched_env.roles import scheduler
from cloudsched_env.sim.compiled import SIMULATOR, compiled, entry_point, source_fingerprint

__all__ = ["choose_levels", "choose_nodes", "scratch_memory"]

_PAIR = len(f.PAIR_FEATURES) + len(f.CONTEXT_FEATURES)
_SITUATION = 6
_DEFER = len(f.DEFER_FEATURES) + len(f.DEFER_CONTEXT_FEATURES)
_PAIR_FIELDS = len(scheduler.PAIR_FIELDS)
_SLOT = {entry.name: i for i, entry in enumerate(scheduler.SLOT_FIELDS)}
_NODE = {entry.name: i for i, entry in enumerate(scheduler.NODE_FIELDS)}
_PRESENT, _TASK_CORES, _TASK_MEMORY, _SAME_JOB = (_SLOT[n] for n in ("present", "cores", "memory", "same_job"))
_CORES, _MEMORY, _EXECUTION_MEMORY = (_NODE[n] for n in ("cores", "memory", "execution_memory"))
_LOADS = tuple(_NODE[f"{n}_cores_load"] for n in ("running", "queued", "in_flight"))
_PRESSURES = tuple(_NODE[f"{n}_memory_pressure"] for n in ("running", "queued", "in_flight"))
# Units of the slot fields: 4 cores, 8 GB.
_CORES_UNIT, _MEMORY_UNIT_GB = 4.0, 8.0


@compiled
def _choose_nodes(observations, masks, offsets, sizes, largest, weights, defer, last_node, scratch, choices):  # noqa: ANN001, ANN202
    """Place every visible task on the node with the best score, or defer it.

    Tasks are taken one after another; what is placed counts as load for the next one ("assumed" pods).
    Equal scores go to the first node in an order that begins at another node for each scheduler.

    Args:
        observations: float32 ``[batch, schedulers, size]``.
        masks: int8 ``[batch, schedulers, slots x (nodes + 1)]``.
        offsets: where the blocks slots, nodes and pairs begin.
        sizes: slots, nodes, and the number of fields of each.
        largest: cores and memory of the largest node.
        weights: of the pair features, then of the context features.
        defer: of the defer features, then of the defer context features.
        last_node: node of each scheduler's last task, int64 ``[batch, schedulers]``; updated.
        scratch: of `scratch_memory`.
        choices: output, int64 ``[batch, schedulers, slots]``.
    """
    slots_at, nodes_at, pairs_at = offsets
    slots, nodes, slot_fields, node_fields = sizes
    largest_cores, largest_memory_gb = largest
    pair, waiting, situation, added_cores, added_memory_gb = scratch
    schedulers = observations.shape[1]
    for b in range(observations.shape[0]):
        for s in range(schedulers):
            row = observations[b, s]
            added_cores[:] = 0.0
            added_memory_gb[:] = 0.0
            for j in range(slots):
                choices[b, s, j] = nodes
                slot = row[slots_at + j * slot_fields : slots_at + (j + 1) * slot_fields]
                if slot[_PRESENT] < 0.5:
                    continue
                cores, memory_gb = _CORES_UNIT * slot[_TASK_CORES], _MEMORY_UNIT_GB * slot[_TASK_MEMORY]
                f.task_situation(row, slot, situation)
                best, chosen = -np.inf, nodes
                for k in range(nodes):
                    n = (k + s * nodes // schedulers) % nodes
                    if masks[b, s, j * (nodes + 1) + n] == 0:
                        continue
                    node = row[nodes_at + n * node_fields : nodes_at + (n + 1) * node_fields]
                    at = pairs_at + (j * nodes + n) * _PAIR_FIELDS
                    node_cores = node[_CORES] * largest_cores
                    execution_gb = max(node[_EXECUTION_MEMORY] * largest_memory_gb, 1e-3)
                    own = node[_LOADS[2]] + added_cores[n] / node_cores
                    load = node[_LOADS[0]] + node[_LOADS[1]] + own + cores / node_cores
                    pressure = (
                        node[_PRESSURES[0]]
                        + node[_PRESSURES[1]]
                        + node[_PRESSURES[2]]
                        + (added_memory_gb[n] + memory_gb) / execution_gb
                    )
                    same = slot[_SAME_JOB] if last_node[b, s] == n else 0.0
                    share = memory_gb / (node[_MEMORY] * largest_memory_gb)
                    f.fill_pair_features(
                        slot, node, row[at], row[at + 1], same, load, own, pressure, share, situation, pair
                    )
                    score = 0.0
                    for i in range(_PAIR):
                        score += weights[i] * pair[i]
                    if score > best:
                        best, chosen = score, n
                if chosen == nodes:
                    continue
                f.fill_defer_features(row, slot, situation, waiting)
                threshold = 0.0
                for i in range(_DEFER):
                    threshold += defer[i] * waiting[i]
                if best < threshold:
                    continue
                choices[b, s, j] = chosen
                last_node[b, s] = chosen
                added_cores[chosen] += cores
                added_memory_gb[chosen] += memory_gb


@compiled
def _choose_levels(observations, masks, columns, hinge_column, levels, weights, out):  # noqa: ANN001, ANN202
    """For each knob of each node the allowed level nearest to bias + weights . features.

    Args:
        observations: float32 ``[batch, nodes, size]``.
        masks: int8 ``[batch, nodes, sum of levels]``.
        columns: observed columns that are features, int64 ``[features]``; a negative entry stands for
            max(0, observation[hinge_column] - 0.8).
        hinge_column: see there.
        levels: choices of each knob, int64 ``[knobs]``.
        weights: bias, then the weights, ``[knobs, 1 + features]``.
        out: int64 ``[batch, nodes, knobs]``.
    """
    for b in range(observations.shape[0]):
        for n in range(observations.shape[1]):
            first = 0
            for k in range(levels.shape[0]):
                value = weights[k, 0]
                for i in range(columns.shape[0]):
                    c = columns[i]
                    x = observations[b, n, c] if c >= 0 else max(0.0, observations[b, n, hinge_column] - 0.8)
                    value += weights[k, 1 + i] * x
                best, distance = 0, np.inf
                for level in range(levels[k]):
                    if masks[b, n, first + level] == 1 and abs(level - value) < distance:
                        best, distance = level, abs(level - value)
                out[b, n, k] = best
                first += levels[k]


def scratch_memory(nodes: int) -> tuple[NDArray[np.float64], ...]:
    """Working memory for `choose_nodes`."""
    return tuple(np.zeros(size) for size in (_PAIR, _DEFER, _SITUATION, nodes, nodes))


def _make_entry_points(fingerprint: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What Python calls; capturing the fingerprint makes it part of the key of the disk cache."""

    @entry_point
    def choose_nodes(observations, masks, offsets, sizes, largest, weights, defer, last_node, scratch, choices):  # noqa: ANN001, ANN202
        if fingerprint:
            _choose_nodes(observations, masks, offsets, sizes, largest, weights, defer, last_node, scratch, choices)

    @entry_point
    def choose_levels(observations, masks, columns, hinge_column, levels, weights, out):  # noqa: ANN001, ANN202
        if fingerprint:
            _choose_levels(observations, masks, columns, hinge_column, levels, weights, out)

    return choose_nodes, choose_levels


choose_nodes, choose_levels = _make_entry_points(source_fingerprint(*SIMULATOR, "cloudsched_env.agents.linear"))
