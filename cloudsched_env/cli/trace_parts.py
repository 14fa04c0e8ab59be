"""Parts of a trace, as commands on profiles of tasks and on load profiles name them."""

from __future__ import annotations

__all__ = ["PART_HELP", "part_of"]

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
