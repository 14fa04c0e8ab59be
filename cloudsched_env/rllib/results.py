"""From RLlib's nested results to one flat row an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_RETURN_MEAN,
    EVALUATION_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)

from cloudsched_env.rllib.runner import EPISODE

__all__ = ["VALIDATION_SCORE", "epoch_row", "result_named", "validation_score"]

VALIDATION_SCORE = "validation/team_reward"
_OTHER_SCORE = f"validation/{EPISODE_RETURN_MEAN}"  # algorithms that train on the PettingZoo face report returns


def epoch_row(result: Mapping[str, Any], epoch: int, elapsed_s: float, validated: bool = False) -> dict[str, float]:
    """One row of the logs.

    Args:
        result: what ``algorithm.train()`` returned.
        epoch: its number, from 1.
        elapsed_s: wall time of training so far.
        validated: whether a validation was run in this epoch; RLlib repeats the last one's results otherwise.

    Returns:
        ``epoch``, ``env_steps``, ``minutes``; metrics of finished training episodes under their own names; those of a
        validation, if there was one in this epoch, as ``validation/…``; statistics of the update as ``role/…``.
    """
    sampled = result.get(ENV_RUNNER_RESULTS, {})
    row: dict[str, float] = {
        "epoch": float(epoch),
        "env_steps": float(sampled.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, math.nan)),
        "minutes": elapsed_s / 60,
    }
    _take(row, "", sampled.get(EPISODE, {}))
    _take(row, f"{ENV_RUNNER_RESULTS}/", {EPISODE_RETURN_MEAN: sampled.get(EPISODE_RETURN_MEAN)})
    if validated:
        validation = result.get(EVALUATION_RESULTS, {}).get(ENV_RUNNER_RESULTS, {})
        _take(row, "validation/", validation.get(EPISODE, {}))
        _take(row, "validation/", {EPISODE_RETURN_MEAN: validation.get(EPISODE_RETURN_MEAN)})
    for module, values in result.get(LEARNER_RESULTS, {}).items():
        if module != ALL_MODULES and isinstance(values, Mapping):
            _take(row, f"{module}/", values)
    timers = result.get(TIMERS, {})
    for name, label in ((ENV_RUNNER_SAMPLING_TIMER, "sampling_s"), (LEARNER_UPDATE_TIMER, "update_s")):
        _take(row, "timers/", {label: timers.get(name)})
    return row


def result_named(row: Mapping[str, float], name: str) -> float | None:
    """A result by its name in the logs, or by the name that RLlib and Tune give it; None if there is none so far."""
    if name == "training_iteration":
        return row.get("epoch")
    if name in ("timesteps_total", "num_env_steps_sampled_lifetime", "env_runners/num_env_steps_sampled_lifetime"):
        return row.get("env_steps")
    if name == "time_total_s":
        return 60 * row["minutes"] if "minutes" in row else None
    return row.get(name)


def validation_score(row: Mapping[str, float]) -> float | None:
    """What checkpoints are compared by; None in an epoch without validation."""
    return row.get(VALIDATION_SCORE, row.get(_OTHER_SCORE))


def _take(row: dict[str, float], prefix: str, values: Mapping[str, Any]) -> None:
    for name, value in sorted(values.items()):
        if _is_number(value):
            row[f"{prefix}{name}"] = float(value)


def _is_number(value: Any) -> bool:
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
