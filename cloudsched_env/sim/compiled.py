"""How the simulator is compiled: one decorator, and a fingerprint that keeps cached machine code honest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any

import numba

__all__ = ["SIMULATOR", "compiled", "entry_point", "source_fingerprint"]

SIMULATOR = ("cloudsched_env.sim", "cloudsched_env.roles")

# Division by zero follows IEEE 754 as in numpy (no checks in the hot loops); fast-math stays off, so that results do
# not depend on how the compiler reorders sums. Nothing here allocates, so numba's reference counting (`_nrt`) is off:
# with it, every use of an array of the state costs two atomic operations, and a step takes twice as long.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "nogil": True, "_nrt": False}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a part of the simulator into whatever entry point calls it.

    It is inlined, because passing the state's groups of arrays by value costs more than most mechanisms do. It has
    no cache of its own: numba would not notice that a function which it calls has changed in another file.
    """
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def entry_point(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls and keep the machine code on disk.

    Numba renews cached code when the function's own file changes; to renew it when the simulator does, the function
    must capture `source_fingerprint` in a closure, which makes it part of the cache's key.
    """
    return numba.njit(cache=True, **_OPTIONS)(function)


def source_fingerprint(*packages: str) -> int:
    """A number that changes with any source file of the packages, by default the simulator and the roles.

    Numba invalidates cached code when the file of a function changes, but not when a function that it calls
    changes in another file. The entry point captures this number, which makes it part of the cache's key.
    """
    digest = hashlib.sha256()
    for package in packages or SIMULATOR:
        folder = resources.files(package)
        for entry in sorted(folder.iterdir(), key=lambda item: item.name):
            if entry.name.endswith(".py"):
                digest.update(entry.read_bytes())
    return int.from_bytes(digest.digest()[:6], "big")
