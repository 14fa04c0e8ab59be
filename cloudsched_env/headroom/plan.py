"""Time bins and the work variables of the foresight bound: how much of each task fits into each bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.bound import fastest_rates, release_times, warmth_limits
from cloudsched_env.workload.episode import Episode

__all__ = ["Plan", "make_plan", "time_bins"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Deadlines and feasibility are compared with a slack that makes the bound looser, never tighter.
_SLACK_S = 1e-9
_SLACK = 1e-9


@dataclass(frozen=True)
class Plan:
    """Variables x: work of one task in one bin, before or after its deadline.

    Attributes:
        edges_steps: borders of the bins in steps, ``[bins + 1]``.
        edges_s: the same in seconds.
        task: task of each variable, ``[variables]``.
        bin: bin of each variable, ``[variables]``.
        most_core_s: most work that the task can do there, ``[variables]``.
        counted: 1 where the bin lies after the warm-up, ``[variables]``.
        on_time: 1 where the work lies before the deadline of a task that can meet it, ``[variables]``.
        work_core_s: work of each task, ``[tasks]``.
        fastest_cores: fastest rate of each task in any bin, ``[tasks]``.
        progress: largest part of each task that can be done by the end of each bin, ``[tasks, bins]``; above 1 where
            crashes let work be done again.
        read_mb: most cacheable bytes of each shard that can be read by the end of each bin, ``[shards, bins]``.
    """

    edges_steps: Integers
    edges_s: Floats
    task: Integers
    bin: Integers
    most_core_s: Floats
    counted: Floats
    on_time: Floats
    work_core_s: Floats
    fastest_cores: Floats
    progress: Floats
    read_mb: Floats

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.edges_s) - 1

    @property
    def lengths_s(self) -> Floats:
        """Length of each bin, ``[bins]``."""
        return np.diff(self.edges_s)


def time_bins(warmup_steps: int, horizon_steps: int, bin_steps: int) -> Integers:
    """Borders of bins of at most ``bin_steps`` steps, one of them at the end of the warm-up, ``[bins + 1]``."""
    before = np.arange(0, warmup_steps, bin_steps)
    after = np.arange(warmup_steps, horizon_steps, bin_steps)
    return np.concatenate((before, after, [horizon_steps])).astype(np.int64)


def make_plan(scenario: Scenario, episode: Episode, bin_steps: int) -> Plan:
    """Lay an episode's tasks out in bins.

    Args:
        scenario: the cluster.
        episode: its work.
        bin_steps: most steps of a bin.
    """
    edges_steps = time_bins(scenario.time.warmup_steps, scenario.time.horizon_steps, bin_steps)
    edges_s: Floats = edges_steps.astype(np.float64) * scenario.time.step_s
    bins, shards = len(edges_s) - 1, len(episode.shard_hot_set_mb)
    work = episode.cores * episode.base_time_s
    release = release_times(scenario, episode)[:, None]
    begin, end = edges_s[:-1][None, :], edges_s[1:][None, :]

    # How far tasks can get decides how warm caches can be, which decides how fast tasks can be: two passes.
    warm_rate = fastest_rates(scenario, episode, np.ones(shards))
    progress = warm_rate[:, None] * np.maximum(0.0, end - release) / work[:, None]
    if scenario.failure.compute_failures_per_hour == 0:
        progress = np.minimum(1.0, progress)
    read_mb = np.zeros((shards, bins))
    np.add.at(read_mb, episode.shard, progress * episode.cacheable_read_mb[:, None])
    rate = np.stack(
        [fastest_rates(scenario, episode, warmth_limits(scenario, episode, read_mb[:, b])) for b in range(bins)], axis=1
    )

    latest = np.minimum(scenario.duration_s, episode.arrival_s + episode.deadline_s)[:, None] + _SLACK_S
    whole = np.maximum(0.0, end - np.maximum(begin, release))
    early = np.maximum(0.0, np.minimum(latest, end) - np.maximum(begin, release))
    can_meet = (rate * early).sum(axis=1) >= work * (1.0 - _SLACK)
    can_meet &= latest[:, 0] >= edges_s[edges_steps == scenario.time.warmup_steps][0]
    early[~can_meet] = 0.0
    parts = []
    for length, flag in ((early, 1.0), (whole - early, 0.0)):
        task, place = np.nonzero(length > 0.0)
        parts.append((task, place, (rate * length)[task, place], np.full(len(task), flag)))
    task, place, most, on_time = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if scenario.failure.compute_failures_per_hour == 0:
        most = np.minimum(most, work[task])
    return Plan(
        edges_steps=edges_steps,
        edges_s=edges_s,
        task=task,
        bin=place,
        most_core_s=most,
        counted=(edges_steps[place] >= scenario.time.warmup_steps).astype(np.float64),
        on_time=on_time,
        work_core_s=work,
        fastest_cores=rate.max(axis=1),
        progress=progress,
        read_mb=read_mb,
    )
