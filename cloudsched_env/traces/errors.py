"""The one exception that trace files raise, and the message for a missing optional package."""

from __future__ import annotations

import importlib
from os import PathLike
from types import ModuleType

__all__ = ["TraceFormatError", "require"]


class TraceFormatError(ValueError):
    """A trace file, or a task table, is not what its format promises.

    Attributes:
        problem: what was found.
        file: the file (or folder) it was found in.
        line: line number from 1, if it is about one line.
        column: name of the column, if it is about one column.
        expected: what the format promises.
        remedy: what the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | PathLike[str] | None = None,
        line: int | None = None,
        column: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.line = line
        self.column = column
        self.expected = expected
        self.remedy = remedy
        place = [] if file is None else [str(file)]
        if line is not None:
            place.append(f"line {line}")
        if column is not None:
            place.append(f"column {column}")
        message = (", ".join(place) + ": " if place else "") + problem
        if expected:
            message += f"\n  expected: {expected}"
        if remedy:
            message += f"\n  what to do: {remedy}"
        super().__init__(message)


def require(module: str) -> ModuleType:
    """Import an optional package of the ``traces`` extra.

    Args:
        module: dotted name, such as ``"pyarrow.parquet"``.

    Raises:
        ModuleNotFoundError: it is not installed; the message names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"Reading and writing traces needs the package {package}: pip install 'cloudsched-env[traces]'",
            name=package,
        ) from error
