"""A distribution of one quantity as a function of a standard normal score."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.normal import normal_quantile

__all__ = ["Marginal", "continuous_marginal", "discrete_marginal", "interpolated_marginal"]

# Normal scores at which continuous distributions are kept.
_QUANTILES = np.concatenate(([0.0005, 0.002, 0.005], np.linspace(0.01, 0.99, 50), [0.995, 0.998, 0.9995]))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Marginal:
    """A distribution as a function of a standard normal score.

    Discrete ones (requests are few popular values) step, continuous ones are interpolated in the logarithm.

    Attributes:
        scores: normal scores, ascending; discrete: upper border of each value but the last.
        values: the values, ascending for ascending scores.
        discrete: whether it steps.
    """

    scores: Floats
    values: Floats
    discrete: bool

    def at(self, score: Floats) -> Floats:
        """Values at normal scores, same shape."""
        if self.discrete:
            return self.values[np.searchsorted(self.scores, score)]
        return np.exp(np.interp(score, self.scores, self._log_values))

    def at_probability(self, probability: Floats) -> Floats:
        """Quantiles, same shape."""
        return self.at(normal_quantile(probability))

    @functools.cached_property
    def _log_values(self) -> Floats:
        return np.log(self.values)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Marginal:
        """From a profile's JSON."""
        return cls(np.array(data["scores"]), np.array(data["values"]), bool(data["discrete"]))


def discrete_marginal(values: Floats, weights: Floats | None = None, most: int = 120) -> dict[str, Any]:
    """Popular values with their probabilities, as JSON; rarer values go to the nearest popular one.

    Args:
        values: a sample, ``[values]``.
        weights: of the sample's members; all 1 by default.
        most: values that are kept apart.
    """
    weights = np.ones(len(values)) if weights is None else weights
    atoms, inverse = np.unique(rounded(values), return_inverse=True)
    mass = np.bincount(inverse.reshape(-1), weights)
    kept = np.sort(atoms[np.argsort(-mass, kind="stable")[:most]])
    nearest = np.searchsorted((kept[1:] + kept[:-1]) / 2, atoms)
    mass = np.bincount(nearest, mass, minlength=len(kept))
    scores = normal_quantile(np.cumsum(mass)[:-1] / mass.sum())
    return {"discrete": True, "scores": np.round(scores, 4).tolist(), "values": kept.tolist()}


def continuous_marginal(values: Floats, weights: Floats | None = None, floor: float = 1e-4) -> dict[str, Any]:
    """Quantiles on a grid of normal scores, as JSON.

    Args:
        values: a sample, ``[values]``.
        weights: of the sample's members; all 1 by default.
        floor: least value.
    """
    order = np.argsort(values, kind="stable")
    weights = (np.ones(len(values)) if weights is None else weights)[order]
    middle = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    quantiles = np.maximum(np.interp(_QUANTILES, middle, values[order]), floor)
    return interpolated_marginal(_QUANTILES, quantiles)


def interpolated_marginal(probabilities: Any, quantiles: Any) -> dict[str, Any]:
    """Given quantiles, as JSON; between them, the logarithm of the value is linear in the normal score.

    Args:
        probabilities: strictly between 0 and 1, ascending.
        quantiles: positive, ascending.
    """
    scores = normal_quantile(np.asarray(probabilities, dtype=np.float64))
    return {"discrete": False, "scores": np.round(scores, 4).tolist(), "values": rounded(quantiles).tolist()}


def rounded(values: Any, digits: int = 4) -> Floats:
    """Values with so many significant digits: a profile need not hold more precision than it has."""
    array = np.asarray(values, dtype=np.float64)
    unique, inverse = np.unique(array, return_inverse=True)
    return np.array([float(f"{value:.{digits}g}") for value in unique.tolist()])[inverse.reshape(array.shape)]
