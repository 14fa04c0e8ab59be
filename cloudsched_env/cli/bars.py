"""Histograms in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bar", "sparkline"]

_LEVELS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def sparkline(values: Sequence[float]) -> str:
    """One character for each value, scaled to the largest; a value of 0 is a blank.

    Raises:
        ValueError: a value is negative.
    """
    if any(value < 0 for value in values):
        raise ValueError("sparkline: expected values of at least 0")
    top = max(values, default=0)
    return "".join(" " if value == 0 else _LEVELS[min(7, int(8 * value / top))] for value in values)


def bar(share: float, width: int = 20) -> str:
    """A horizontal bar for a share in [0, 1], exact to an eighth of a character.

    Raises:
        ValueError: the share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"bar: expected a share in [0, 1], got {share}")
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
