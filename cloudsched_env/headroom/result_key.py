"""What a stored result depends on, as one digest: scenario, data, settings, and the code that computes it.

Code counts as Python reads it: without comments, docstrings and layout. Data counts as tasks: the same tasks in another
file, or written by another version of the importer, are the same data. So what cannot change a result does not make
hours of searching void.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from cloudsched_env.scenario import Scenario, comparable
from cloudsched_env.workload.tasks import RawTasks

__all__ = ["code_digest", "data_digest", "result_key"]

_PACKAGES = (
    "cloudsched_env.sim",
    "cloudsched_env.roles",
    "cloudsched_env.workload",
    "cloudsched_env.agents",
    "cloudsched_env.agents.heuristics",
    "cloudsched_env.agents.linear",
)
_FILES = (
    ("cloudsched_env", "vector.py"),
    ("cloudsched_env.agents", "parameters/linear_static.json"),
    ("cloudsched_env.agents", "parameters/linear_feedback.json"),
    ("cloudsched_env.evaluation", "metrics.py"),
    ("cloudsched_env.headroom", "bench.py"),
    ("cloudsched_env.headroom", "by_type.py"),
    ("cloudsched_env.headroom", "play.py"),
    ("cloudsched_env.headroom", "families.py"),
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def result_key(
    stage: str,
    scenario: Scenario,
    data: str,
    settings: Mapping[str, Any],
    modules: Sequence[str],
    needed: Sequence[str],
) -> str:
    """The digest of everything that a stage's result depends on.

    Args:
        stage: its name.
        scenario: the cluster.
        data: see `data_digest`.
        settings: those that the stage reads.
        modules: modules of ``cloudsched_env.headroom`` that it runs, beside what all stages run.
        needed: keys of the results that it builds on.
    """
    parts = {
        "stage": stage,
        "scenario": comparable(scenario.to_dict()),
        "data": data,
        "settings": dict(settings),
        "code": code_digest(modules),
        "needed": list(needed),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def data_digest(tasks: RawTasks | None) -> str:
    """A digest of all that episodes are made from; ``"generator"`` for None."""
    if tasks is None:
        return "generator"
    digest = hashlib.sha256()
    for field in dataclasses.fields(tasks):
        value = getattr(tasks, field.name)
        digest.update(field.name.encode())
        digest.update(np.ascontiguousarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def code_digest(modules: Sequence[str]) -> str:
    """A digest of the simulator, the agents, what all stages run, and the named modules of this package."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for entry in sorted(resources.files(package).iterdir(), key=lambda item: item.name):
            if entry.name.endswith(".py"):
                digest.update(_meaning(entry.read_text(encoding="utf-8")))
    for package, name in (*_FILES, *(("cloudsched_env.headroom", f"{module}.py") for module in modules)):
        text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
        digest.update(_meaning(text) if name.endswith(".py") else text.encode())
    return digest.hexdigest()


@cache
def _meaning(source: str) -> bytes:
    """Python source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()
