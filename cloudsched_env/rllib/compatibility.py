"""Whether a run can go on with what is installed here, and if not, what differs."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloudsched_env.evaluation.interface import describe_roles, first_difference, roles_difference
from cloudsched_env.scenario import comparable, load_scenario

__all__ = ["IncompatibleCheckpointError", "check_run", "describe_scenario", "restored"]


class IncompatibleCheckpointError(ValueError):
    """A checkpoint does not fit the scenario, the roles or the packages that are installed."""


def describe_scenario(settings: Any) -> dict[str, Any]:
    """What weights and learning curves of a run depend on, for ``run.json``.

    Args:
        settings: of the run; its ``scenario`` and ``overrides`` are read.
    """
    scenario = load_scenario(settings.scenario, settings.overrides)
    return {"scenario": scenario.to_dict(), "roles": describe_roles(scenario)}


def check_run(folder: Path) -> None:
    """Compare a run's description with what is installed.

    Args:
        folder: of the run, with its ``run.json``.

    Raises:
        IncompatibleCheckpointError: naming scenario, role, field or package, what it was and what it is.
    """
    path = folder / "run.json"
    if not path.is_file():
        return
    description = json.loads(path.read_text(encoding="utf-8"))
    _check_ray(folder, str(description.get("versions", {}).get("ray", "")))
    settings = description.get("settings") or {}
    if "scenario" not in description or "scenario" not in settings:
        return  # an algorithm that does not train on one of our scenarios
    name = settings["scenario"]
    try:
        scenario = load_scenario(name, settings.get("overrides") or {})
    except ValueError as error:
        raise IncompatibleCheckpointError(
            f"the run in {folder} cannot go on: its scenario {name!r} does not load here: {error}"
        ) from error
    version = description.get("versions", {}).get("cloudsched_env")
    remedy = f"use the version it was begun with (cloudsched-env {version}) or begin a new run"
    difference = roles_difference(description["roles"], describe_roles(scenario))
    if difference is None:
        difference = first_difference(comparable(description["scenario"]), comparable(scenario.to_dict()), "field")
    if difference is not None:
        raise IncompatibleCheckpointError(
            f"the run in {folder} cannot go on: scenario {name!r}, {difference}; {remedy}"
        )


def restored(checkpoint: Path, restore: Callable[[], Any]) -> Any:
    """Restore an algorithm, and say which checkpoint it was if it cannot be read.

    Args:
        checkpoint: its folder.
        restore: does it.

    Raises:
        IncompatibleCheckpointError: with the reason.
    """
    try:
        return restore()
    except (
        OSError,
        EOFError,
        pickle.UnpicklingError,
        ValueError,
        KeyError,
        RuntimeError,
        AttributeError,
        ImportError,
    ) as error:
        others = sorted(p.name for p in checkpoint.parent.iterdir() if p != checkpoint and not p.name.startswith("."))
        also = f'; {", ".join(others)} beside it may be whole: name it as "last" in latest.json' if others else ""
        raise IncompatibleCheckpointError(
            f"the checkpoint {checkpoint} cannot be restored ({type(error).__name__}: {error}){also}"
        ) from error


def _check_ray(folder: Path, written: str) -> None:
    import ray

    # RLlib's checkpoints hold its own classes: they are read by the same minor version only.
    if written and written.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise IncompatibleCheckpointError(
            f"the run in {folder} cannot go on: it was written with ray {written}, ray {ray.__version__} is installed; "
            f"pip install 'ray[rllib]=={written}'"
        )
