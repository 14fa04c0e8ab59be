"""Linear agents: the strongest hand-made family, and the rival that a learned policy has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.agent import HeuristicAgent
from cloudsched_env.agents.heuristics.knobs import KNOBS_OF, ON, STANDBY, Knobs, Levels
from cloudsched_env.agents.heuristics.placement import Placement, PlacementMemory
from cloudsched_env.agents.linear.decide import choose_levels, choose_nodes, scratch_memory
from cloudsched_env.agents.linear.features import (
    COMPUTE_FEATURES,
    CONTEXT_FEATURES,
    DEFER_CONTEXT_FEATURES,
    DEFER_FEATURES,
    PAIR_FEATURES,
    POWER_FEATURES,
    STORAGE_FEATURES,
)
from cloudsched_env.agents.linear.parameters import POWER, LinearParameters
from cloudsched_env.agents.protocol import ClusterInfo, Masks, Observations
from cloudsched_env.agents.sampling import nearest_allowed, split_mask
from cloudsched_env.agents.view import NodeView

__all__ = ["LinearKnobs", "LinearPlacement", "linear_agent"]

Floats = NDArray[np.float64]
_FEATURES_OF = {"compute": COMPUTE_FEATURES, "storage": STORAGE_FEATURES}


@dataclass(frozen=True)
class LinearPlacement(Placement):
    """The node with the highest weighted sum of features; defers a task if no node beats its defer score."""

    summary: ClassVar[str] = "linear score over load, memory, warmth, expected misses"
    parameters: LinearParameters

    def decide(
        self, info: ClusterInfo, observations: Observations, masks: Masks, memory: PlacementMemory
    ) -> NDArray[np.int64]:
        """For each slot the chosen node, or the number of nodes to defer, int64 ``[batch, schedulers, slots]``."""
        layout = info.layouts["scheduler"]
        seen = observations["scheduler"]
        slots, nodes = layout.block("pairs").shape[:2]
        types = info.scenario.cluster.compute_nodes
        if nodes < info.role_counts["compute"]:
            memory.last_node[:] = -1  # other nodes stand at the same places in every step
        choices = np.empty((*seen.shape[:2], slots), dtype=np.int64)
        choose_nodes(
            seen,
            masks["scheduler"],
            (layout.offset("slots"), layout.offset("nodes"), layout.offset("pairs")),
            (slots, nodes, len(layout.block("slots").fields), len(layout.block("nodes").fields)),
            (max(t.cores for t in types), max(t.memory_gb for t in types)),
            _padded(self.parameters.group("placement"), len(PAIR_FEATURES) + len(CONTEXT_FEATURES)),
            _padded(self.parameters.group("defer"), len(DEFER_FEATURES) + len(DEFER_CONTEXT_FEATURES)),
            memory.last_node,
            scratch_memory(nodes),
            choices,
        )
        return choices


@dataclass(frozen=True)
class LinearKnobs(Knobs):
    """The level nearest to bias + weights . features of the node; a constant without weights."""

    summary: ClassVar[str] = "levels linear in the node's own state"
    parameters: LinearParameters

    def choose(
        self,
        info: ClusterInfo,
        observations: Observations,
        masks: Masks,
        step: int,
        generators: Sequence[np.random.Generator],
    ) -> dict[str, Levels]:
        """Levels of compute and storage nodes, int64 ``{role: [batch, agents, sub-actions]}``, within the mask."""
        actions = {}
        for role, knobs in KNOBS_OF.items():
            names = _FEATURES_OF[role]
            block = info.layouts[role].block("node")
            columns = np.array([-1 if name == "debt_above_0.8" else block.index(name) for name in names])
            weights = np.stack([_padded(self.parameters.group(knob), 1 + len(names)) for knob in knobs])
            seen = observations[role]
            out = np.empty((*seen.shape[:2], len(knobs)), dtype=np.int64)
            hinge = block.index("debt") if role == "storage" else 0
            levels = info.action_levels[role]
            choose_levels(seen, masks[role], columns, hinge, levels[: len(knobs)], weights, out)
            # Where nodes can sleep there is a further sub-action. A node that drains or wakes has to wait: the mask.
            further = split_mask(masks[role], levels)[len(knobs) :]
            power = [nearest_allowed(self._power(info, observations), allowed) for allowed in further]
            actions[role] = np.concatenate([out, *(level[..., None] for level in power)], axis=-1)
        return actions

    def _power(self, info: ClusterInfo, observations: Observations) -> Levels:
        """Wanted power levels of compute nodes, int64 ``[batch, nodes]``."""
        node = NodeView(info.layouts["compute"], observations["compute"])
        nodes = info.role_counts["compute"]
        if not self.parameters.has_power:
            return np.full(node["power_level"].shape, ON)
        bias, of_rank, *weights = self.parameters.group(POWER)
        # One column after the other: a matrix product may add in another order for another number of clusters.
        value = bias + of_rank * (np.arange(nodes) / max(1, nodes - 1)) + np.zeros(node["power_level"].shape)
        for weight, name in zip(weights, POWER_FEATURES, strict=False):  # a static policy has no weights
            value += weight * node[name].astype(np.float64)
        return np.where(value >= 0.5, ON, STANDBY)


def linear_agent(name: str, parameters: LinearParameters) -> HeuristicAgent:
    """The agent with these parameters."""
    return HeuristicAgent(name, LinearPlacement(parameters), LinearKnobs(parameters))


def _padded(weights: Floats, size: int) -> Floats:
    return np.pad(weights, (0, size - len(weights)))
