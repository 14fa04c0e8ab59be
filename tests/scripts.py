"""Scripts of `benchmarks/`, which are no part of the package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load_script(path: str, name: str | None = None) -> ModuleType:
    """Run a script as a module; what lies beside it can be imported by it.

    Args:
        path: below ``benchmarks``.
        name: of the module; the file's by default.
    """
    file = BENCHMARKS / path
    name = name or file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module
