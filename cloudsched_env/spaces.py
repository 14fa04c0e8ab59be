"""Spaces of the PettingZoo face."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from cloudsched_env.roles.layout import Layout

__all__ = ["MaskedMultiDiscrete", "observation_space"]


class MaskedMultiDiscrete(gymnasium.spaces.MultiDiscrete):
    """`MultiDiscrete` whose ``sample`` also takes a flat mask, as it stands in ``observation["action_mask"]``.

    Gymnasium's class wants a tuple with one mask per sub-action; PettingZoo's tests, and most code that reads a
    mask from an observation, pass the array.
    """

    def sample(self, mask: Any = None, probability: Any = None) -> NDArray[Any]:
        """Draw one action.

        Args:
            mask: flat int8 array with the sub-actions' masks one after the other, or Gymnasium's tuple of masks.
            probability: as in Gymnasium.
        """
        if isinstance(mask, np.ndarray):
            mask = tuple(np.split(mask.astype(np.int8), np.cumsum(self.nvec)[:-1]))
        return super().sample(mask, probability)


def observation_space(layout: Layout, action_levels: NDArray[np.int64]) -> gymnasium.spaces.Dict:
    """What one agent of a role sees: its observation vector and its flat action mask."""
    return gymnasium.spaces.Dict(
        {
            "observation": gymnasium.spaces.Box(layout.low(), layout.high(), dtype=np.float32),
            "action_mask": gymnasium.spaces.Box(0, 1, (int(action_levels.sum()),), dtype=np.int8),
        }
    )
