"""Errors that a user can act on, as a message instead of a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from rich.console import Console

__all__ = ["reported"]


@contextlib.contextmanager
def reported(console: Console) -> Iterator[None]:
    """Print such an error, and end with exit code 1.

    Args:
        console: where to.
    """
    try:
        yield
    # TraceFormatError is a ValueError; ModuleNotFoundError names the extra to install.
    except (ValueError, MemoryError, OSError, ModuleNotFoundError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
