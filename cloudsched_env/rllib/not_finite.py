"""`NotFiniteError`: data that nothing can be learned from, by role and column."""

from __future__ import annotations

__all__ = ["NotFiniteError"]


class NotFiniteError(ValueError):
    """Numbers that are not finite; the message names role and column."""
