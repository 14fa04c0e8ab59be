"""From a suite to episodes, and what tells one workload from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cloudsched_env.leaderboard.suites import Suite, SuiteScenario, Window
from cloudsched_env.scenario import Scenario, comparable
from cloudsched_env.workload.episode import Episode, Split
from cloudsched_env.workload.source import EvaluationSource, GeneratedSource, TraceSource
from cloudsched_env.workload.splits import EvaluationEntry
from cloudsched_env.workload.tasks import RawTasks

__all__ = ["Data", "draw_episodes", "inspect_data", "scenario_digest", "trace_tasks"]

SPLIT: Split = "test"


@dataclass(frozen=True)
class Data:
    """Which tasks results are about; results of different data are never compared.

    Attributes:
        tag: ``generated``, ``excerpt`` or ``full trace``.
        operator: the generator's profile, or the format of the trace.
        digest: of the tasks of the trace, 12 hexadecimal digits; empty for generated work.
    """

    tag: str
    operator: str
    digest: str


@lru_cache(maxsize=2)
def trace_tasks(path: str) -> RawTasks:
    """Tasks of an imported trace; the last two are kept in memory."""
    return RawTasks.from_file(path)


def inspect_data(suite: Suite, trace: str | None) -> Data:
    """What data a run of the suite is about.

    Raises:
        ValueError: if the suite needs a trace and there is none, or one of the wrong operator, or one too many.
    """
    workload = suite.workload
    if workload.kind == "generated":
        if trace is not None:
            raise ValueError(f"suite {suite.id} is played on generated work: leave --trace out, or use suite trace")
        return Data("generated", GeneratedSource(suite.scenarios[0].load(), SPLIT).profile.name, "")
    if trace is None:
        raise ValueError(
            f"suite {suite.id} needs --trace FILE, a table from: cloudsched traces import (docs/traces.md)"
        )
    if not Path(trace).exists():
        raise ValueError(f"--trace: no file {trace}: import one with cloudsched traces import (docs/traces.md)")
    tasks = trace_tasks(trace)
    if workload.operator is not None and tasks.source != workload.operator:
        raise ValueError(f"suite {suite.id} is played on a trace of {workload.operator}, this one is of {tasks.source}")
    if workload.not_operator is not None and tasks.source == workload.not_operator:
        raise ValueError(
            f"suite {suite.id} asks for a trace of another operator than {workload.not_operator}, on which agents were "
            "trained: import one of another format"
        )
    return Data(tasks.data_tag, tasks.source, tasks.digest)


def draw_episodes(suite: Suite, entry: SuiteScenario, trace: str | None, places: Sequence[int]) -> list[Episode]:
    """The episodes of some windows of one scenario.

    Args:
        suite: the suite.
        entry: one of its scenarios.
        trace: the imported task table, for suites that need one.
        places: which windows.

    Raises:
        InfeasibleWindowError: if a window cannot carry the scenario's load (with another trace than was meant).
    """
    scenario = entry.load()
    source: EvaluationSource
    if suite.workload.kind == "generated":
        source = GeneratedSource(scenario, SPLIT)
    else:
        assert trace is not None
        source = TraceSource(trace_tasks(trace), scenario, SPLIT)
    episodes = []
    for place in places:
        window = entry.windows[place]
        episodes.append(source.entry_episode(EvaluationEntry(window.seed, _start_s(window, source))))
    return episodes


def _start_s(window: Window, source: EvaluationSource) -> float | None:
    if window.share is None:
        return window.start_s
    assert isinstance(source, TraceSource)
    starts = source.window_starts(SPLIT)
    return starts[round(window.share * (len(starts) - 1))]


def scenario_digest(scenario: Scenario) -> str:
    """Of all constants of a scenario, its description apart: 12 hexadecimal digits."""
    values = {name: value for name, value in comparable(scenario.to_dict()).items() if name != "description"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
