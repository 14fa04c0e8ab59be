"""Results for machines: raw values in marl-eval's layout, and what is needed to repeat them."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import cloudsched_env
from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.evaluation.protocol import Evaluation
from cloudsched_env.whole_file import write_whole

__all__ = ["marl_eval_results", "metadata", "write_json"]

ENVIRONMENT = "cloudsched"


def marl_eval_results(evaluation: Evaluation) -> dict[str, Any]:
    """Raw per-episode results as environment -> task -> algorithm -> run -> step and absolute metrics.

    The layout is that of marl-eval (Gorsane et al., NeurIPS 2022), which reads a file of it directly. There is one
    evaluation per run here, so ``step_1`` and ``absolute_metrics`` hold the same episodes. A number that does not
    exist for an episode is null.
    """
    task = f"{evaluation.scenario.id}/{evaluation.split}"
    algorithms: dict[str, Any] = {}
    for agent in (*evaluation.agents, evaluation.random):
        values = {name: _plain(series) for name, series in agent.metrics.items()}
        values["score"] = _plain(evaluation.score(agent))
        values["decision_time_us"] = [agent.decision_time_us]
        algorithms[agent.name] = {
            f"seed_{evaluation.seed}": {"step_1": {"step_count": 0, **values}, "absolute_metrics": values}
        }
    return {ENVIRONMENT: {task: algorithms}}


def metadata(evaluation: Evaluation, command: str) -> dict[str, Any]:
    """What is needed to repeat the evaluation: versions, scenario, seeds, data tag, machine, command."""
    return {
        "command": command,
        "versions": {"cloudsched-env": cloudsched_env.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("numpy", "numba", "torch", "ray")},
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "scenario": evaluation.scenario.to_dict(),
        "split": evaluation.split,
        "seed": evaluation.seed,
        "episodes": evaluation.episodes,
        "data_tag": evaluation.data_tag,
        "storage_load": evaluation.storage_load,
        "batch_size": evaluation.batch_size,
        "execution": {agent.name: agent.execution for agent in evaluation.agents},
        "bound": {name: _plain(values) for name, values in evaluation.bound.items()},
        "metrics": {
            entry.name: {"unit": entry.unit, "better": entry.better, "definition": entry.definition}
            for entry in METRICS
        },
    }


def write_json(evaluation: Evaluation, path: str | Path, command: str) -> tuple[Path, Path]:
    """Write results to ``path`` and metadata beside them to ``<stem>.metadata.json``.

    Two files, because a reader of marl-eval's layout takes every top-level key for an environment.

    Returns:
        The two paths.
    """
    results = Path(path)
    beside = results.with_name(f"{results.stem}.metadata.json")
    for target, content in ((results, marl_eval_results(evaluation)), (beside, metadata(evaluation, command))):
        # Compact where there are many numbers: a comparison of thirty agents has forty thousand of them.
        layout: dict[str, Any] = {"indent": 1} if target == beside else {"separators": (",", ":")}
        write_whole(target, json.dumps(content, allow_nan=False, **layout) + "\n")
    return results, beside


def _plain(values: np.ndarray) -> list[float | None]:
    """As JSON numbers; null where there is none, as JSON has no NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
