"""What commands on profiles of tasks and on load profiles share: parts of a trace, and files that appear complete."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PART_HELP", "part_of", "write_text"]

_PARTS = ("train", "validation", "test", "held-out", "whole")
PART_HELP = f"Part of the table's time: {', '.join(_PARTS)} (held-out: validation and test)."


def part_of(span_s: tuple[float, float], part: str) -> tuple[float, float]:
    """Start and end of a part of a trace that covers a span.

    Raises:
        ValueError: for an unknown part (the known ones are named), or a trace too short for parts.
    """
    from cloudsched_env.workload.splits import TraceSplits

    if part not in _PARTS:
        raise ValueError(f"unknown part {part!r}: expected one of {', '.join(_PARTS)}")
    if part == "whole":
        return float(span_s[0]), float(span_s[1])
    splits = TraceSplits.by_share(span_s)
    if part == "held-out":
        return splits.bounds("validation")[0], splits.bounds("test")[1]
    return splits.bounds(part)  # type: ignore[arg-type]


def write_text(path: Path, text: str) -> None:
    """Write beside the target, sync, rename: the file is either the old or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
