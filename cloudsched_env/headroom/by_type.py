"""A constant for each type of compute node: a stronger constant, since large nodes may want other levels than small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from cloudsched_env.agents.heuristics import HeuristicAgent, Knobs
from cloudsched_env.agents.heuristics.knobs import Levels
from cloudsched_env.agents.linear import LinearKnobs, LinearParameters, LinearPlacement
from cloudsched_env.agents.protocol import ClusterInfo, Masks, Observations
from cloudsched_env.agents.sampling import nearest_allowed, split_mask
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import constant_pairs
from cloudsched_env.headroom.play import MakeAgent
from cloudsched_env.scenario import Scenario

__all__ = ["TypeKnobs", "make_by_type", "pick_by_type"]

LevelsOfTypes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TypeKnobs(Knobs):
    """A linear policy's knobs, but every type of compute node has its own constant levels.

    Attributes:
        parameters: of the linear policy, which goes on deciding for storage nodes.
        levels: of the knobs for each node type, in the order of the scenario's node types.
    """

    summary: ClassVar[str] = "constant levels by node type"
    parameters: LinearParameters
    levels: LevelsOfTypes

    def check(self, scenario: Scenario) -> None:
        """Refuse another number of levels than there are node types."""
        types = len(scenario.cluster.compute_nodes)
        if len(self.levels) != types:
            raise ValueError(f"levels of {len(self.levels)} node types: expected {types}, as the scenario has")

    def choose(
        self,
        info: ClusterInfo,
        observations: Observations,
        masks: Masks,
        step: int,
        generators: Sequence[np.random.Generator],
    ) -> dict[str, Levels]:
        """Levels of compute and storage nodes, int64 ``{role: [batch, agents, sub-actions]}``, within the mask."""
        actions = LinearKnobs(self.parameters).choose(info, observations, masks, step, generators)
        counts = [node_type.count for node_type in info.scenario.cluster.compute_nodes]
        wanted = np.repeat(np.array(self.levels), counts, axis=0)
        parts = split_mask(masks["compute"], info.action_levels["compute"])
        batch = observations["compute"].shape[0]
        for knob in range(wanted.shape[1]):
            level = np.broadcast_to(wanted[:, knob], (batch, len(wanted)))
            actions["compute"][..., knob] = nearest_allowed(level, parts[knob])
        return actions


def make_by_type(parameters: LinearParameters, levels: LevelsOfTypes) -> MakeAgent:
    """A maker of the linear policy with constant levels by node type."""
    return partial(HeuristicAgent, "by type", LinearPlacement(parameters), TypeKnobs(parameters, levels))


def pick_by_type(
    bench: Bench, parameters: LinearParameters, start: tuple[int, ...], windows: int
) -> tuple[LevelsOfTypes, float]:
    """Choose levels for one node type after another, all pairs of levels tried on validation windows.

    Types are taken in the order of their cores, most first; each keeps what it has unless a pair does better.

    Args:
        bench: what plays.
        parameters: of the linear policy.
        start: levels that every type has at first.
        windows: validation windows.

    Returns:
        Levels of each type and the mean J on the validation windows.
    """
    types = bench.scenario.cluster.compute_nodes
    pairs = [tuple(pair.values()) for pair in constant_pairs(bench, "compute")]
    levels: LevelsOfTypes = (start,) * len(types)
    best = -np.inf
    for place in sorted(range(len(types)), key=lambda i: -types[i].count * types[i].cores):
        tried = [(*levels[:place], pair, *levels[place + 1 :]) for pair in pairs]
        tried.sort(key=lambda candidate: candidate != levels)  # what there is comes first: it wins ties
        makers = [make_by_type(parameters, candidate) for candidate in tried]
        values = bench.rewards(f"constants of node type {place}", makers, "validation", windows).mean(axis=1)
        levels, best = tried[int(values.argmax())], float(values.max())
    return levels, best
