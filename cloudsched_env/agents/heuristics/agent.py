"""A heuristic agent: one placement rule for schedulers and one knob rule for compute and storage nodes."""

from __future__ import annotations

import numpy as np

from cloudsched_env.agents.heuristics.knobs import Knobs
from cloudsched_env.agents.heuristics.placement import Placement, PlacementMemory
from cloudsched_env.agents.protocol import Actions, ClusterInfo, Masks, Observations
from cloudsched_env.agents.sampling import cluster_generators

__all__ = ["HeuristicAgent"]


class HeuristicAgent:
    """Placement x knobs; each row of a role acts on its own observation only.

    Args:
        name: what results call it.
        placement: rule of the schedulers.
        knobs: rule of compute and storage nodes.
    """

    execution = "none"

    def __init__(self, name: str, placement: Placement, knobs: Knobs) -> None:
        self.name = name
        self.placement = placement
        self.knobs = knobs
        self._info: ClusterInfo | None = None

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """Begin ``batch_size`` new episodes.

        Raises:
            ValueError: if a parameter does not suit the scenario.
        """
        self.knobs.check(info.scenario)
        self._info = info
        self._step = 0
        generators = cluster_generators(seed, batch_size)
        self._memory = PlacementMemory(
            generators,
            last_node=np.full((batch_size, info.role_counts["scheduler"]), -1, dtype=np.int64),
            draws=np.empty(0),
        )

    def act(self, observations: Observations, masks: Masks) -> Actions:
        """Place tasks and set knobs; shapes as in `cloudsched_env.agents.protocol.Agent.act`."""
        if self._info is None:
            raise RuntimeError(f"agent {self.name!r}: call reset(info, batch_size, seed) before act")
        actions = {"scheduler": self.placement.decide(self._info, observations, masks, self._memory)}
        actions |= self.knobs.choose(self._info, observations, masks, self._step, self._memory.generators)
        self._step += 1
        return actions
