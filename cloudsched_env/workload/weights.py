"""Weights of tenants: how the cluster is to be divided when everybody wants it (`docs/workload.md`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario

__all__ = ["WEIGHT_TIERS", "draw_tenant_weights"]

WEIGHT_TIERS = (1.0, 2.0, 4.0)
"""Weights of the service tiers with ``workload.tenant_weights`` skewed."""


def draw_tenant_weights(scenario: Scenario, rng: np.random.Generator) -> NDArray[np.float64]:
    """The weight of each tenant, ``[tenants]``.

    Equal weights are 1. Skewed ones are drawn independently from `WEIGHT_TIERS` with odds inverse to the weight, so
    that each tier is entitled to the same part of the cluster in the mean. Weights are a convention of the benchmark:
    the traces hold none.

    Args:
        scenario: the cluster.
        rng: source of randomness; not used with equal weights.
    """
    if scenario.workload.tenant_weights == "equal":
        return np.ones(scenario.workload.tenants)
    tiers = np.array(WEIGHT_TIERS)
    odds = 1.0 / tiers
    return rng.choice(tiers, size=scenario.workload.tenants, p=odds / odds.sum())
