"""Settings and commands as they are passed on with results: they name files, not where these lay on a machine."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["portable", "portable_command"]

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


def portable_command(script: str) -> str:
    """The command that runs now, for results: absolute paths among its arguments are cut to names.

    Args:
        script: its file below ``benchmarks``.
    """
    arguments = [Path(part).name if Path(part).is_absolute() else part for part in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{script}", *arguments])
