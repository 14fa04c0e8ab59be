"""The smallest piece of work: one agent plays one batch of one suite, in whatever process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cloudsched_env.agents import Agent, AgentError, load_agent
from cloudsched_env.evaluation.metrics import METRICS, summarise
from cloudsched_env.evaluation.protocol import play
from cloudsched_env.leaderboard.episodes import draw_episodes
from cloudsched_env.leaderboard.isolation import AgentFailedError, IsolatedAgent, Limits
from cloudsched_env.leaderboard.suites import Batch, Suite
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode

__all__ = ["DECISION_TIME", "Unit", "UnitResult", "play_unit"]

DECISION_TIME = "decision_time_us"
"""Beside the metrics in every raw result: wall time of ``act`` per step and cluster, median over the batch's steps."""

_KEPT_EPISODES, _KEPT_ENVIRONMENTS, _KEPT_AGENTS = 400, 4, 2


@dataclass(frozen=True)
class Unit:
    """One agent, one batch.

    Attributes:
        agent: slug of the agent, for the one who collects results.
        spec: for `load_agent`, of this run.
        suite: the suite.
        batch: which episodes of it.
        trace: task table, for suites that need one.
        isolated: the agent runs in a process of its own.
        limits: of that process.
    """

    agent: str
    spec: str
    suite: Suite
    batch: Batch
    trace: str | None = None
    isolated: bool = True
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class UnitResult:
    """What came out.

    Attributes:
        agent: as in the unit.
        batch: as in the unit.
        execution: what the agent's parts exchange while they act.
        metrics: ``{metric: [windows]}`` with `DECISION_TIME`; None where a number does not exist; empty on failure.
        seconds: wall time of the whole batch.
        failure: kind of failure (``crash``, ``hang``, ``memory``, ``contract``), empty if there was none.
        message: on the failure.
    """

    agent: str
    batch: Batch
    execution: str = "none"
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str = ""
    message: str = ""


class _Kept:
    """What a process keeps between units: drawn episodes, environments, agents; oldest out first."""

    def __init__(self) -> None:
        self.episodes: OrderedDict[tuple[str, str | None, str, int], Episode] = OrderedDict()
        self.environments: OrderedDict[tuple[str, int], CloudSchedVectorEnv] = OrderedDict()
        self.agents: OrderedDict[tuple[str, bool, Limits], Agent] = OrderedDict()


_kept = _Kept()


def play_unit(unit: Unit) -> UnitResult:
    """Play one batch; whatever the agent does wrong is in the result, not raised.

    Raises:
        ValueError: the suite cannot be played with this trace.
    """
    began = time.perf_counter()
    episodes = _episodes(unit)
    env = _environment(unit, len(episodes))
    key = (unit.spec, unit.isolated, unit.limits)
    try:
        agent = _agent(unit)
        records, times_s = play(agent, env, episodes, unit.batch.seed)
    except AgentFailedError as error:
        _drop_agent(key)
        return UnitResult(unit.agent, unit.batch, failure=error.kind, message=str(error))
    except AgentError as error:
        _drop_agent(key)
        return UnitResult(unit.agent, unit.batch, failure="contract", message=str(error))
    except MemoryError as error:
        _drop_agent(key)
        return UnitResult(unit.agent, unit.batch, failure="memory", message=f"out of memory: {error}")
    except Exception as error:  # agents may raise whatever they like; the simulator's own errors are tested apart
        _drop_agent(key)
        return UnitResult(unit.agent, unit.batch, failure="crash", message=f"{type(error).__name__}: {error}")
    if isinstance(agent, IsolatedAgent):
        times_s = agent.decision_times_s()
    rows = [summarise(record) for record in records]
    metrics = {m.name: [None if np.isnan(row[m.name]) else row[m.name] for row in rows] for m in METRICS}
    metrics[DECISION_TIME] = [1e6 * float(np.median(times_s))] * len(rows)
    execution = str(getattr(agent, "execution", "none"))
    return UnitResult(unit.agent, unit.batch, execution, metrics, time.perf_counter() - began)


def _episodes(unit: Unit) -> list[Episode]:
    """The batch's episodes, drawn once a process."""
    places = range(unit.batch.first, unit.batch.first + unit.batch.windows)

    def key(place: int) -> tuple[str, str | None, str, int]:
        return unit.suite.digest, unit.trace, unit.batch.scenario, place

    missing: Sequence[int] = [place for place in places if key(place) not in _kept.episodes]
    drawn = draw_episodes(unit.suite, unit.suite.scenario(unit.batch.scenario), unit.trace, missing)
    for place, episode in zip(missing, drawn, strict=True):
        _kept.episodes[key(place)] = episode
    episodes = [_kept.episodes[key(place)] for place in places]
    while len(_kept.episodes) > _KEPT_EPISODES:
        _kept.episodes.popitem(last=False)
    return episodes


def _environment(unit: Unit, size: int) -> CloudSchedVectorEnv:
    key = (unit.batch.scenario, size)
    if key not in _kept.environments:
        _kept.environments[key] = CloudSchedVectorEnv(unit.suite.scenario(unit.batch.scenario).load(), size)
    _kept.environments.move_to_end(key)
    while len(_kept.environments) > _KEPT_ENVIRONMENTS:
        _kept.environments.popitem(last=False)
    return _kept.environments[key]


def _agent(unit: Unit) -> Agent:
    key = (unit.spec, unit.isolated, unit.limits)
    if key not in _kept.agents:
        _kept.agents[key] = IsolatedAgent(unit.spec, unit.limits) if unit.isolated else load_agent(unit.spec)
    _kept.agents.move_to_end(key)
    while len(_kept.agents) > _KEPT_AGENTS:
        _drop_agent(next(iter(_kept.agents)))
    return _kept.agents[key]


def _drop_agent(key: tuple[str, bool, Limits]) -> None:
    agent = _kept.agents.pop(key, None)
    if isinstance(agent, IsolatedAgent):
        agent.close()
