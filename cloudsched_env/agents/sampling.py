"""Random choices under a mask, one generator a cluster, so that an episode does not depend on the batch around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Keeps an agent's draws apart from those of the cluster, which may have the same seed.
_AGENT_STREAM = 1

__all__ = ["cluster_generators", "nearest_allowed", "split_mask", "uniform_choice"]


def cluster_generators(seed: int, batch_size: int) -> list[np.random.Generator]:
    """One generator per cluster: cluster i of seed s draws what cluster 0 of seed s + i draws."""
    return [np.random.default_rng((_AGENT_STREAM, seed + index)) for index in range(batch_size)]


def uniform_choice(allowed: NDArray[np.bool_], generators: Sequence[np.random.Generator]) -> NDArray[np.int64]:
    """A uniformly drawn allowed entry of the last axis, i.i.d. over the other axes.

    Args:
        allowed: bool ``[batch, ..., choices]``, at least one choice allowed everywhere.
        generators: one per cluster of the batch.

    Returns:
        int64 ``[batch, ...]``.
    """
    draws = np.stack([generator.random(allowed.shape[1:]) for generator in generators])
    return np.where(allowed, draws, -1.0).argmax(axis=-1)


def split_mask(mask: NDArray[np.int8], levels: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """The mask of each sub-action, bool ``[batch, agents, levels of the sub-action]``."""
    return [part != 0 for part in np.split(mask, np.cumsum(levels)[:-1], axis=-1)]


def nearest_allowed(level: NDArray[np.int64], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The allowed level closest to the wanted one (the lower of two): a failed node may only keep its level.

    Args:
        level: wanted levels, int64 ``[batch, agents]``.
        allowed: bool ``[batch, agents, levels]``.
    """
    distance = np.abs(np.arange(allowed.shape[-1]) - level[..., None])
    return np.where(allowed, distance, allowed.shape[-1] + 1).argmin(axis=-1)
