"""Settings as they are passed on with policies and results: they name files, not where these lay on a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["portable"]

_RUN_PARTS = 3  # of a policy's path: its run, and what tells that from others


def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a run's settings whose paths are cut to names.

    Args:
        settings: of any method, as `to_dict` gives them; groups that are missing are left out.
    """
    changed = dict(settings)
    if changed.get("trace"):
        changed["trace"] = Path(changed["trace"]).name
    load = changed.get("storage_load") or {}
    if load.get("table"):
        changed["storage_load"] = {**load, "table": Path(load["table"]).name}
    start = dict(changed.get("warm_start") or {})  # value decomposition has none
    if start.get("trajectories"):
        start["trajectories"] = Path(start["trajectories"]).name
    if start.get("policies"):
        start["policies"] = {role: "/".join(Path(p).parts[-_RUN_PARTS:]) for role, p in start["policies"].items()}
    return {**changed, "warm_start": start} if start else changed
