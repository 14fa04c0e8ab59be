"""Compaction debt of a log-structured store: amplification and write stalls (`docs/simulator.md`, steps 8 and 11)."""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled

__all__ = ["accrue_debt", "read_amplification"]


@compiled
def read_amplification(parameters, storage, b, r):
    """Bytes read from disk per byte asked for: more sorted runs are open while compaction lags."""
    if not parameters.compaction_enabled:
        return 1.0
    depth = min(storage.debt_mb[b, r] / parameters.soft_limit_mb, parameters.read_amplification_cap)
    return 1.0 + parameters.read_amplification_slope * depth


@compiled
def accrue_debt(parameters, storage, b, r, written_mb):
    """Add the debt of what was written, take off what compaction did, and set the write factor.

    Compacting a small debt is inefficient (few overlapping runs): the rate is u B D / (D + D0). Writes slow down
    linearly between the soft and the hard limit, as TiKV's flow control does with pending compaction bytes.
    """
    if not parameters.compaction_enabled:
        storage.debt_mb[b, r] = 0.0
        storage.write_factor[b, r] = 1.0
        return
    debt = storage.debt_mb[b, r]
    compacted = 0.0
    if storage.alive[b, r] == 1 and debt > 0.0:
        share = parameters.background_shares[storage.background_level[b, r]]
        rate = share * storage.available_mb_per_s[b, r] * parameters.step_s
        compacted = rate * debt / (debt + parameters.efficient_debt_mb)
    debt = max(0.0, debt + parameters.write_amplification * written_mb - compacted)
    span = max(parameters.hard_limit_mb - parameters.soft_limit_mb, 1e-9)
    factor = 1.0 - (debt - parameters.soft_limit_mb) / span
    storage.debt_mb[b, r] = debt
    storage.write_factor[b, r] = min(1.0, max(parameters.minimum_write_factor, factor))
