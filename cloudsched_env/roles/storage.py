"""Storage nodes: they divide bandwidth between foreground and compaction, and attract or shed reads."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout, clip
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.telemetry import (
    MEAN_DEBT,
    MEAN_READ_RATE,
    MEAN_STREAM_FACTOR,
    MEAN_WRITE_RATE,
    WORST_APPLY_LAG,
    held_row,
)

__all__ = [
    "ACTIONS",
    "ENGINE_FIELDS",
    "FIELDS",
    "action_levels",
    "actions",
    "fields",
    "initial_levels",
    "layout",
    "mask_storage",
    "observe_storage",
]

ACTIONS = ("background_level", "serve_level")

FIELDS = (
    Field("alive", "0/1", 0, 1, "fresh: the node is up"),
    Field("debt", "soft limits", 0, 8, "fresh: compaction debt / soft limit"),
    Field("read_rate", "1", 0, 4, "fresh: amplified read bytes / bandwidth, last step"),
    Field("write_rate", "1", 0, 4, "fresh: written bytes / bandwidth, decayed 0.8 per step"),
    Field("stream_factor", "1", 0, 1, "fresh: speed of a stream / its fastest"),
    Field("write_factor", "1", 0, 1, "fresh: write speed left by the debt"),
    Field("served_share", "1", 0, 1, "fresh: demanded bytes that were served, last step"),
    Field("apply_lag", "s of bandwidth", 0, 8, "fresh: acknowledged bytes not yet written"),
    Field("background_share", "1", 0, 1, "fresh: compaction's share of bandwidth"),
    Field("serve_weight", "1", 0, 4, "fresh: weight with which it attracts reads"),
    Field("mean_debt", "soft limits", 0, 8, "stale: mean debt of storage nodes"),
    Field("mean_read_rate", "1", 0, 4, "stale: mean read rate of storage nodes"),
    Field("mean_write_rate", "1", 0, 4, "stale: mean write rate of storage nodes"),
    Field("mean_stream_factor", "1", 0, 1, "stale: mean stream factor of storage nodes"),
    Field("telemetry_age", "10 s", 0, 8, "age of the storage summary / 10 s"),
)


ENGINE_FIELDS = (
    Field("compaction_time", "10 s", 0, 8, "fresh: debt / what compaction takes off it per second now, / 10 s"),
    Field("write_stall", "1", 0, 1, "fresh: 1 - write factor, decayed 0.9 per step"),
    Field("worst_lag", "s of bandwidth", 0, 8, "stale: largest apply lag of a storage node"),
)
"""Follow `FIELDS` with ``observation.engine_metrics``."""


def fields(scenario: Scenario) -> tuple[Field, ...]:
    """What a storage node of the scenario observes."""
    return FIELDS + (ENGINE_FIELDS if scenario.observation.engine_metrics else ())


def layout(scenario: Scenario) -> Layout:
    """The observation of one storage node."""
    return Layout("storage", (Block("node", fields(scenario)),))


def actions(scenario: Scenario) -> tuple[str, ...]:
    """Names of the sub-actions."""
    return ACTIONS


def action_levels(scenario: Scenario) -> np.ndarray:
    """Choices of each action in `ACTIONS`, int64 of shape ``[2]``."""
    return np.array([len(scenario.storage.background_shares), len(scenario.storage.serve_weights)])


def initial_levels(scenario: Scenario) -> tuple[int, int]:
    """The levels that a node has before its first action, in the order of `ACTIONS`."""
    return scenario.storage.initial_background_level, scenario.storage.initial_serve_level


_FIELDS = len(FIELDS)


@compiled
def _observe_engine(parameters, storage, summary, b, r, out):
    """Write `ENGINE_FIELDS` of storage node ``r``."""
    debt = storage.debt_mb[b, r]
    rate = parameters.background_shares[storage.background_level[b, r]] * storage.available_mb_per_s[b, r]
    seconds = 0.0
    if debt > 0.0:
        seconds = (debt + parameters.efficient_debt_mb) / rate if rate > 0.0 else 1e9
    out[0] = clip(seconds / 10.0, 0.0, 8.0)
    out[1] = storage.stall_decayed[b, r]
    out[2] = clip(summary[WORST_APPLY_LAG], 0.0, 8.0)


@compiled
def observe_storage(parameters, clock, storage, telemetry, b, r, observer, out):
    """Write what storage node ``r`` observes, in the order of `FIELDS`; ``observer`` is its row in the summaries."""
    held = held_row(parameters, clock, b, observer)
    summary = telemetry.summary_view[b, held]
    out[0] = storage.alive[b, r]
    out[1] = clip(storage.debt_mb[b, r] / parameters.soft_limit_mb, 0.0, 8.0)
    out[2] = clip(storage.read_rate[b, r], 0.0, 4.0)
    out[3] = clip(storage.write_rate_decayed[b, r], 0.0, 4.0)
    out[4] = storage.stream_factor[b, r]
    out[5] = storage.write_factor[b, r]
    out[6] = storage.served_share[b, r]
    out[7] = clip(storage.lag_mb[b, r] / parameters.bandwidth_mb_per_s, 0.0, 8.0)
    out[8] = parameters.background_shares[storage.background_level[b, r]]
    out[9] = clip(parameters.serve_weights[storage.serve_level[b, r]], 0.0, 4.0)
    out[10] = clip(summary[MEAN_DEBT], 0.0, 8.0)
    out[11] = clip(summary[MEAN_READ_RATE], 0.0, 4.0)
    out[12] = clip(summary[MEAN_WRITE_RATE], 0.0, 4.0)
    out[13] = summary[MEAN_STREAM_FACTOR]
    out[14] = clip((clock.step[b] - telemetry.summary_stamp[b, held]) * parameters.step_s / 10.0, 0.0, 8.0)
    if parameters.engine_metrics:
        _observe_engine(parameters, storage, summary, b, r, out[_FIELDS:])


@compiled
def mask_storage(parameters, clock, storage, b, r, out):
    """Allow every level of a live node whose turn it is; a node that waits or is down keeps what it has."""
    interval = parameters.storage_interval_steps
    if storage.alive[b, r] == 1 and clock.step[b] % interval == r % interval:
        out[:] = 1
        return
    out[:] = 0
    out[storage.background_level[b, r]] = 1
    out[parameters.background_shares.shape[0] + storage.serve_level[b, r]] = 1
