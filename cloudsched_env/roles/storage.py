"""Storage nodes: they divide bandwidth between foreground and compaction, and attract or shed reads."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles.layout import Block, Field, Layout
from cloudsched_env.scenario import Scenario

__all__ = ["ACTIONS", "FIELDS", "action_levels", "layout"]

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


def layout(scenario: Scenario) -> Layout:
    """The observation of one storage node."""
    return Layout("storage", (Block("node", FIELDS),))


def action_levels(scenario: Scenario) -> np.ndarray:
    """Choices of each action in `ACTIONS`, int64 of shape ``[2]``."""
    return np.array([len(scenario.storage.background_shares), len(scenario.storage.serve_weights)])
