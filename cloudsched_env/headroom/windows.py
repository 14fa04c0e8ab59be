"""Shortened windows: the beginning of an episode as an episode of its own, small enough for a linear program."""

from __future__ import annotations

import dataclasses

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import TASK_COLUMNS, Episode

__all__ = ["shorten"]


def shorten(scenario: Scenario, episode: Episode, horizon_steps: int) -> tuple[Scenario, Episode]:
    """The first steps of an episode, with the tasks that arrive in them.

    Only the beginning can stand alone: where a later part starts depends on the policy. The latency term of the team
    reward is relative to the arrival rate of the shorter window.

    Args:
        scenario: the cluster.
        episode: its work.
        horizon_steps: length of the window, warm-up included.

    Returns:
        The scenario with that horizon, and its episode.

    Raises:
        ValueError: if the window is not longer than the warm-up, or longer than the episode.
    """
    time = scenario.time
    if not time.warmup_steps < horizon_steps <= time.horizon_steps:
        raise ValueError(
            f"a window of {horizon_steps} steps: expected more than the warm-up, {time.warmup_steps}, "
            f"and at most the episode, {time.horizon_steps}"
        )
    # Arrivals are those of the episode, flash crowds among them; a window has no room for more of them than fit.
    counted_s = horizon_steps * time.step_s - time.warmup_steps * time.step_s
    room = int(counted_s // scenario.workload.flash_crowd_duration_s)
    crowds = min(scenario.workload.flash_crowds, room)
    shorter = dataclasses.replace(
        scenario,
        time=dataclasses.replace(time, horizon_steps=horizon_steps),
        workload=dataclasses.replace(scenario.workload, flash_crowds=crowds),
    )
    kept = int((episode.arrival_s <= shorter.duration_s).sum())
    columns = {name: getattr(episode, name)[:kept] for name in TASK_COLUMNS}
    details = {**episode.details, "window_steps": horizon_steps}
    return shorter, dataclasses.replace(episode, **columns, details=details)
