"""Exact load: the factor that brings a clipped, weighted sum to a target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["scale_to_target"]

_RELATIVE_TOLERANCE = 1e-13
_ITERATIONS = 200


def scale_to_target(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    low: float,
    high: float,
    target: float,
) -> NDArray[np.float64]:
    """Scale values by one common factor and clip them, so that their weighted sum is the target.

    Solves sum(weights x clip(factor x values, low, high)) = target for the factor by bisection, sped up by
    Newton steps: the sum is increasing and piecewise linear in the factor, so that a Newton step from the right
    piece is exact. Where clipping keeps the sum from the target, all values are at the nearer clip limit.

    Args:
        values: positive values, ``[n]``.
        weights: positive weights, ``[n]``.
        low: smallest scaled value.
        high: largest scaled value.
        target: the weighted sum wanted.

    Returns:
        Scaled and clipped values, ``[n]``.
    """
    total = float(weights.sum())
    if target <= low * total:
        return np.full_like(values, low)
    if target >= high * total:
        return np.full_like(values, high)
    weighted = weights * values
    below, above = low / float(values.max()), high / float(values.min())
    factor = min(max(target / float(weighted.sum()), below), above)
    scaled = values
    for _ in range(_ITERATIONS):
        product = factor * values
        scaled = np.clip(product, low, high)
        error = float(weights @ scaled) - target
        if abs(error) <= _RELATIVE_TOLERANCE * target:
            break
        if error > 0:
            above = factor
        else:
            below = factor
        slope = float(weighted @ (product == scaled))
        factor = factor - error / slope if slope > 0 else below
        if not below < factor < above:
            factor = float(np.sqrt(below * above)) if below > 0 else 0.5 * above
            if factor in (below, above):
                break
    return scaled
