"""What each tenant is entitled to, and how fairly it was served (`docs/simulator.md`, "Entitlement").

`divide_max_min` is the one definition of an entitlement: rewards and observations use it over a decaying window,
`cloudsched_env.evaluation.metrics` over the counted steps.
"""

from __future__ import annotations

from math import exp, log

from cloudsched_env.sim.compiled import compiled

__all__ = [
    "NEGLIGIBLE_CORE_S",
    "alpha_fair_share",
    "divide_max_min",
    "entitled_share",
    "smallest_share",
    "update_entitlements",
]

NEGLIGIBLE_CORE_S = 1e-9
"""A tenant whose demand is below this asks for nothing."""

# Share that counts as none, so that logarithms and powers of it are finite.
_SHARE_FLOOR = 0.01
_IS_ONE = 1e-6


@compiled
def divide_max_min(demand, weight, total, out):
    """Divide ``total`` max-min fairly among weighted claims (Bertsekas & Gallager, Data Networks, 1992, section 6.5).

    Claim g gets min(demand_g, weight_g x level), with one level for all such that the parts add up to the smaller of
    ``total`` and all demands: water-filling. Plain arithmetic on arrays, so that it also runs uncompiled (``py_func``).

    Args:
        demand: what each could use, not negative, ``[claims]``.
        weight: positive, ``[claims]``.
        total: what there is.
        out: the parts, ``[claims]``.
    """
    count = demand.shape[0]
    for g in range(count):
        out[g] = -1.0  # still rising with the level
    left = total
    while True:
        rising = 0.0
        for g in range(count):
            if out[g] < 0.0:
                rising += weight[g]
        if rising <= 0.0:
            return
        level = max(0.0, left) / rising
        filled = False
        for g in range(count):
            if out[g] < 0.0 and demand[g] <= weight[g] * level:
                out[g] = demand[g]
                left -= demand[g]
                filled = True
        if not filled:
            for g in range(count):
                if out[g] < 0.0:
                    out[g] = weight[g] * level
            return


@compiled
def update_entitlements(parameters, data, ledger, scratch, b, steps):
    """Renew the entitlements after ``steps`` more steps: both demands and what the cluster could do decay alike."""
    if not parameters.entitlement_enabled:
        return
    decay = parameters.fairness_decay
    for _ in range(steps):
        ledger.capacity_decayed[b] = decay * ledger.capacity_decayed[b] + parameters.total_cores * parameters.step_s
    for g in range(ledger.arrived_decayed.shape[1]):
        scratch.tenant_demand[g] = max(ledger.arrived_decayed[b, g], ledger.served_decayed[b, g])
    divide_max_min(scratch.tenant_demand, data.tenant_weight[b], ledger.capacity_decayed[b], ledger.entitled_decayed[b])


@compiled
def asks(ledger, b, g):
    """Whether tenant ``g`` has any demand in the window."""
    return max(ledger.arrived_decayed[b, g], ledger.served_decayed[b, g]) >= NEGLIGIBLE_CORE_S


@compiled
def entitled_share(ledger, b, g):
    """Served work of tenant ``g`` over its entitlement, at most 1; 1 for a tenant that is entitled to nothing."""
    entitled = ledger.entitled_decayed[b, g]
    if entitled < NEGLIGIBLE_CORE_S:
        return 1.0
    return min(1.0, ledger.served_decayed[b, g] / entitled)


@compiled
def smallest_share(ledger, b):
    """The smallest share of entitlement over the tenants with demand; 1 without any."""
    smallest = 1.0
    for g in range(ledger.entitled_decayed.shape[1]):
        if asks(ledger, b, g):
            smallest = min(smallest, entitled_share(ledger, b, g))
    return smallest


@compiled
def alpha_fair_share(parameters, data, ledger, b):
    """The equal share that is worth as much as the tenants' shares under alpha-fair utility, from 0 to 1.

    With U(y) = y^(1 - alpha) / (1 - alpha), log y for alpha = 1 (Mo & Walrand, IEEE/ACM ToN 8(5), 2000), it is
    U^-1 of the weighted mean of U, the "equally distributed equivalent" of Atkinson (1970): the same order as the sum
    of utilities, but bounded and in the unit of a share whatever alpha. 1 without any demand.
    """
    smallest = _SHARE_FLOOR + (1.0 - _SHARE_FLOOR) * smallest_share(ledger, b)
    alpha = parameters.fairness_alpha
    logarithmic = abs(alpha - 1.0) < _IS_ONE
    weights = 0.0
    utility = 0.0
    for g in range(ledger.entitled_decayed.shape[1]):
        if asks(ledger, b, g):
            weight = data.tenant_weight[b, g]
            # Relative to the smallest, so that no power overflows.
            y = (_SHARE_FLOOR + (1.0 - _SHARE_FLOOR) * entitled_share(ledger, b, g)) / smallest
            utility += weight * (log(y) if logarithmic else y ** (1.0 - alpha))
            weights += weight
    if weights <= 0.0:
        return 1.0
    mean = utility / weights
    equal = smallest * (exp(mean) if logarithmic else mean ** (1.0 / (1.0 - alpha)))
    return max(0.0, min(1.0, (equal - _SHARE_FLOOR) / (1.0 - _SHARE_FLOOR)))
