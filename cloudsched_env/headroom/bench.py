"""A scenario, the episodes it is measured on, and the threads that play them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.metrics import METRICS, summarise
from cloudsched_env.headroom.play import MakeAgent, ParallelPlayer
from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.episode import Episode, Split
from cloudsched_env.workload.source import make_source
from cloudsched_env.workload.tasks import RawTasks

__all__ = ["Bench", "Progress", "Silent"]

Floats = NDArray[np.float64]


class Progress(Protocol):
    """Where a study tells how far it is."""

    def begin(self, description: str, total: int) -> None:
        """A new piece of work of ``total`` episodes."""
        ...

    def advance(self, episodes: int = 1) -> None:
        """So many episodes of it are done; called from several threads."""
        ...


class Silent:
    """Tells nobody."""

    def begin(self, description: str, total: int) -> None:
        """Nothing."""

    def advance(self, episodes: int = 1) -> None:
        """Nothing."""


class Bench:
    """Plays agents on the fixed windows of one scenario.

    Every agent gets the same episodes and the same cluster seeds. A variant of the scenario is drawn from the same
    windows with the same seeds: what the variant does not change is the same.

    Args:
        scenario: the cluster.
        tasks: of a trace; the calibrated generator without it.
        seed: of the window lists and of the clusters.
        threads: that play.
        progress: hears of every agent that was played.
    """

    def __init__(
        self, scenario: Scenario, tasks: RawTasks | None, seed: int, threads: int, progress: Progress | None = None
    ) -> None:
        self.scenario = scenario
        self.tasks = tasks
        self.seed = seed
        self.threads = threads
        self.progress: Progress = progress or Silent()
        self.player = ParallelPlayer(scenario, threads)
        self._episodes: dict[Split, list[Episode]] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.player.close()

    def variant(self, changes: Mapping[str, Any]) -> Bench:
        """The same measurements on a scenario with other fields; to be closed by itself."""
        return Bench(self.scenario.override(changes), self.tasks, self.seed, self.threads, self.progress)

    def episodes(self, split: Split, count: int) -> list[Episode]:
        """The first episodes of the fixed list of a split.

        Raises:
            ValueError: if the list is shorter.
        """
        drawn = self._episodes.get(split, [])
        if len(drawn) < count:
            drawn = self._episodes[split] = make_source(self.scenario, split, self.tasks).evaluation_episodes(
                count, self.seed
            )
        return drawn[:count]

    def rewards(self, description: str, agents: Sequence[MakeAgent], split: Split, count: int) -> Floats:
        """Team reward J, ``[agents, episodes]``.

        Args:
            description: what the progress bar says.
            agents: makers of agents.
            split: whose fixed list.
            count: how many episodes of it.
        """
        return self.play(description, agents, self.episodes(split, count))

    def play(self, description: str, agents: Sequence[MakeAgent], episodes: Sequence[Episode]) -> Floats:
        """Team reward J on explicit episodes, ``[agents, episodes]``."""
        self.progress.begin(description, len(agents) * len(episodes))
        return self.player.team_rewards(agents, episodes, self.seed, lambda: self.progress.advance(len(episodes)))

    def metrics(
        self, description: str, agents: Mapping[str, MakeAgent], split: Split, count: int
    ) -> dict[str, dict[str, list[float | None]]]:
        """All metrics of agents, ``{agent: {metric: [episodes]}}``; None where a number does not exist."""
        episodes = self.episodes(split, count)
        self.progress.begin(description, len(agents) * count)

        def one(make: MakeAgent) -> dict[str, list[float | None]]:
            rows = [summarise(record) for record in self.player.records(make(), episodes, self.seed)]
            return {m.name: [None if np.isnan(row[m.name]) else row[m.name] for row in rows] for m in METRICS}

        played = self.player.map(one, agents.values(), lambda: self.progress.advance(count))
        return dict(zip(agents, played, strict=True))
