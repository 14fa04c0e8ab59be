"""Where episodes come from: the calibrated generator, or the windows of a trace."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.workload.assumptions import SYNTHETIC_COLUMNS
from cloudsched_env.workload.episode import DataTag, Episode, Split
from cloudsched_env.workload.generator import generate_window, window_limits_s
from cloudsched_env.workload.index import TraceIndex
from cloudsched_env.workload.profile import Profile, load_profile
from cloudsched_env.workload.splits import (
    SPLIT_STREAM,
    EvaluationEntry,
    TraceSplits,
    committed_entries,
    grid_entries,
    seed_entries,
)
from cloudsched_env.workload.storage_load import StorageLoad
from cloudsched_env.workload.stream_profile import StreamProfile
from cloudsched_env.workload.tasks import RawTasks
from cloudsched_env.workload.window import (
    InfeasibleWindowError,
    build_episode,
    fan_out_limit,
    target_tasks,
    window_length_s,
)

__all__ = ["EvaluationSource", "GeneratedSource", "TraceSource", "make_source"]

# Tries of a random window before a source gives up: a window may hold too few tasks for the scenario's load.
_TRIES = 100
# A generated window is a little larger than the episode needs, so that the target rate is nearly always met.
_GENERATED_SURPLUS = 1.3
# Lists that are not committed: how often each window start of a trace occurs, and seeds of the generator's train split.
_LIST_ROUNDS = 16
_TRAIN_ENTRIES = 256
_GOOGLE_LIST = "google2011-excerpt"
_GENERATED_LIST = "generated"


def _spawn(rng: np.random.Generator, split: Split) -> np.random.Generator:
    """A generator of the split's own stream, seeded by the next numbers of ``rng``."""
    entropy = rng.integers(2**63, size=2).tolist()
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(SPLIT_STREAM[split],)))


def _seeded(entry: EvaluationEntry, seed: int, split: Split) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([entry.seed, seed], spawn_key=(SPLIT_STREAM[split],)))


class EvaluationSource(abc.ABC):
    """What the generator and traces have in common: random episodes, and a fixed list for evaluation.

    Args:
        scenario: an id or a `Scenario`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        data_tag: where the tasks come from.
        storage_load: disks of a block trace that compete for the storage nodes; none by default.

    Raises:
        ValueError: for an unknown split.
    """

    def __init__(
        self, scenario: str | Scenario, split: Split, data_tag: DataTag, storage_load: StorageLoad | None = None
    ) -> None:
        if split not in SPLIT_STREAM:
            raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLIT_STREAM)}")
        self.scenario = load_scenario(scenario)
        self.split: Split = split
        self.data_tag: DataTag = data_tag
        self.storage_load = storage_load

    @abc.abstractmethod
    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw one episode; all randomness comes from ``rng``."""

    @abc.abstractmethod
    def evaluation_entries(self) -> list[EvaluationEntry]:
        """The fixed list of evaluation episodes of this source, in order."""

    @abc.abstractmethod
    def with_scenario(self, scenario: str | Scenario) -> EvaluationSource:
        """The same source of tasks, with the same split, for another scenario."""

    @abc.abstractmethod
    def _build(self, start_s: float | None, rng: np.random.Generator) -> Episode:
        """The episode of one window."""

    def _complete(self, start_s: float | None, rng: np.random.Generator) -> Episode:
        """The episode of one window; what else is on the storage nodes is drawn last and changes no other draw."""
        episode = self._build(start_s, rng)
        load = self.storage_load
        return episode if load is None else load.add_to(episode, self.scenario, self.split, rng)

    def _draw(self, start: Callable[[np.random.Generator], float | None], rng: np.random.Generator) -> Episode:
        """Draw windows until one can carry the scenario's load."""
        stream = _spawn(rng, self.split)
        problem = ""
        for _ in range(_TRIES):
            try:
                return self._complete(start(stream), stream)
            except InfeasibleWindowError as error:
                problem = str(error)
        raise InfeasibleWindowError(f"none of {_TRIES} random windows of split {self.split!r} is feasible: {problem}")

    def entry_episode(self, entry: EvaluationEntry, seed: int = 0) -> Episode:
        """The episode of one entry of an evaluation list, by itself.

        Args:
            entry: window and seed.
            seed: as for `evaluation_episodes`.

        Raises:
            InfeasibleWindowError: if the window cannot carry the scenario's load.
        """
        return self._complete(entry.start_s, _seeded(entry, seed, self.split))

    def evaluation_episodes(self, count: int, seed: int = 0) -> list[Episode]:
        """The first episodes of the fixed list; windows that cannot carry the scenario's load are passed over.

        Args:
            count: how many.
            seed: 0 for the published list; another seed keeps its windows and draws all else anew.

        Raises:
            ValueError: if the list holds fewer feasible episodes than wanted.
        """
        if count < 1:
            raise ValueError(f"count is {count}: expected at least 1")
        episodes: list[Episode] = []
        problem = ""
        entries = self.evaluation_entries()
        for place, entry in enumerate(entries):
            try:
                episode = self.entry_episode(entry, seed)
            except InfeasibleWindowError as error:
                problem = str(error)
                continue
            episode.details["evaluation"] = {"place": place, "seed": seed}
            episodes.append(episode)
            if len(episodes) == count:
                return episodes
        remedy = (
            f"the last window: {problem}" if problem and not episodes else "ask for fewer or use another seed as well"
        )
        raise ValueError(
            f"the {self.split} list of this source has {len(entries)} episodes, {len(episodes)} of them feasible "
            f"for scenario {self.scenario.id!r}: {count} were asked for; {remedy}"
        )


class GeneratedSource(EvaluationSource):
    """Episodes of the calibrated generator; needs no data. The splits are disjoint streams of seeds.

    Args:
        scenario: an id or a `Scenario`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        profile: what the generator draws from; the scenario's ``workload.profile`` by default.
        storage_load: see `EvaluationSource`.

    Raises:
        ValueError: if the scenario names a profile that does not exist, or compresses time so little or so much that
            millions of jobs would be drawn for nothing.
    """

    def __init__(
        self,
        scenario: str | Scenario = "paper-v1",
        split: Split = "train",
        profile: Profile | StreamProfile | None = None,
        storage_load: StorageLoad | None = None,
    ) -> None:
        super().__init__(scenario, split, "generated", storage_load)
        self._given_profile = profile
        self.profile = profile or load_profile(self.scenario.workload.profile)
        self._check_compression()
        self._details = {
            "source": f"generated:{self.profile.name}",
            "split": split,
            "synthetic_columns": {"all columns": f"drawn from profile {self.profile.name}", **SYNTHETIC_COLUMNS},
        }

    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw one episode; all randomness comes from ``rng``.

        Raises:
            InfeasibleWindowError: if the scenario's load cannot be had from its task rate.
        """
        return self._draw(lambda _: None, rng)

    def evaluation_entries(self) -> list[EvaluationEntry]:
        """The fixed list of evaluation episodes of this source, in order."""
        if self.split == "train":
            return seed_entries(self.split, _TRAIN_ENTRIES)
        return committed_entries(_GENERATED_LIST, self.split)

    def with_scenario(self, scenario: str | Scenario) -> GeneratedSource:
        """The same generator and split for another scenario."""
        return GeneratedSource(scenario, self.split, self._given_profile, self.storage_load)

    def _check_compression(self) -> None:
        """Refuse windows that take far longer to draw than an episode of their tasks needs.

        Raises:
            ValueError: naming the field.
        """
        scenario, compression = self.scenario, self.scenario.workload.time_compression
        length_s, tasks = window_length_s(scenario), target_tasks(scenario)
        shortest_s, longest_s = window_limits_s(self.profile, self._wanted_tasks(), fan_out_limit(scenario))
        what = (
            f"scenario {scenario.id!r}: workload.time_compression {compression:g} makes an episode a window of "
            f"{length_s:.3g} s of the stream"
        )
        if length_s < shortest_s:
            raise ValueError(
                f"{what}, too short for the generator to fill with {tasks} tasks: expected at least "
                f"{compression * shortest_s / length_s:.3g}, or a lower workload.task_rate_per_s"
            )
        if length_s > longest_s:
            raise ValueError(
                f"{what}, far more than {tasks} tasks need: expected at most {compression * longest_s / length_s:.3g}"
            )

    def _wanted_tasks(self) -> float:
        return _GENERATED_SURPLUS * target_tasks(self.scenario)

    def _build(self, start_s: float | None, rng: np.random.Generator) -> Episode:
        scenario, length_s = self.scenario, window_length_s(self.scenario)
        tasks = generate_window(self.profile, length_s, self._wanted_tasks(), fan_out_limit(scenario), rng)
        return build_episode(tasks, scenario, rng, self.data_tag, dict(self._details))


class TraceSource(EvaluationSource):
    """Episodes cut from an imported trace; the splits are disjoint in time.

    A window lies wholly inside its split and holds what the trace holds: possibly fewer tasks than the target rate,
    never tasks of another time.

    Args:
        trace: tasks, or the path of a canonical task table (``cloudsched traces import``).
        scenario: an id or a `Scenario`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        splits: borders in time; `TraceSplits.by_share` of the trace's span by default.
        storage_load: see `EvaluationSource`.

    Raises:
        ValueError: if the split is shorter than one window, or the scenario keeps more tasks of a job than were kept of
            rows that stand for many (`RawTasks.copies_limit`).
    """

    def __init__(
        self,
        trace: str | Path | RawTasks,
        scenario: str | Scenario = "paper-v1",
        split: Split = "train",
        splits: TraceSplits | None = None,
        storage_load: StorageLoad | None = None,
    ) -> None:
        tasks = trace if isinstance(trace, RawTasks) else RawTasks.from_file(trace)
        super().__init__(scenario, split, tasks.data_tag, storage_load)
        self.splits = splits or TraceSplits.by_share(tasks.span_s)
        self._length_s = window_length_s(self.scenario)
        first, end = self.splits.bounds(split)
        if end - first < self._length_s:
            raise ValueError(
                f"split {split!r} covers {end - first:.0f} s of the trace, one episode of scenario "
                f"{self.scenario.id!r} needs {self._length_s:.0f} s: import a longer trace, lower "
                "workload.time_compression or give other borders (TraceSplits)"
            )
        limit, wanted = tasks.copies_limit, fan_out_limit(self.scenario)
        if limit is not None and limit < wanted:
            raise ValueError(
                f"the rows of this trace stand for so many tasks that only {limit:,} of each are kept, and scenario "
                f"{self.scenario.id!r} keeps up to {wanted:,} tasks of a job: lower workload.fan_out_cap, or import "
                "fewer parts of the trace"
            )
        self._committed = (
            tasks.source == "google2011"
            and tasks.data_tag != "generated"
            and splits is None
            and _is_google_excerpt(self.splits)
        )
        self._tasks, self._given_splits = tasks, splits
        self._index = TraceIndex(tasks, fan_out_limit(self.scenario))
        self._details: dict[str, Any] = {
            "source": tasks.source,
            "split": split,
            "synthetic_columns": {**tasks.synthetic_columns, **SYNTHETIC_COLUMNS},
        }

    def window_starts(self, split: Split | None = None) -> list[float]:
        """Starts of evaluation windows on the trace's clock: a grid of quarter hours.

        Args:
            split: the split; this source's own by default.
        """
        return self.splits.window_starts(split or self.split, self._length_s)

    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw one episode from a window that starts anywhere in the split; all randomness comes from ``rng``.

        Raises:
            InfeasibleWindowError: if windows of the split cannot carry the scenario's load.
        """
        first, end = self.splits.bounds(self.split)
        last = end - self._length_s
        return self._draw(lambda stream: float(stream.uniform(first, last)), rng)

    def evaluation_entries(self) -> list[EvaluationEntry]:
        """The fixed list of evaluation episodes of this source, in order."""
        if self._committed and self.split != "train":
            entries = committed_entries(_GOOGLE_LIST, self.split)
        else:
            entries = grid_entries(self.window_starts(), self.split, _LIST_ROUNDS)
        first, end = self.splits.bounds(self.split)
        return [e for e in entries if e.start_s is not None and first <= e.start_s <= end - self._length_s]

    def with_scenario(self, scenario: str | Scenario) -> TraceSource:
        """The same trace, split and borders for another scenario.

        Raises:
            ValueError: if the split is shorter than one window of that scenario.
        """
        return TraceSource(self._tasks, scenario, self.split, self._given_splits, self.storage_load)

    def _build(self, start_s: float | None, rng: np.random.Generator) -> Episode:
        if start_s is None:
            raise ValueError("an episode of a trace needs the start of its window")
        tasks = self._index.cut(start_s, self._length_s)
        return build_episode(tasks, self.scenario, rng, self.data_tag, {**self._details, "window_start_s": start_s})


def _is_google_excerpt(splits: TraceSplits) -> bool:
    """Whether the committed list of the 14-part excerpt (19.65 h) fits these borders."""
    return splits.train_end_s == 43200 and splits.validation_end_s == 54000 and 70_000 <= splits.end_s < 71_000


def make_source(
    scenario: str | Scenario = "paper-v1",
    split: Split = "train",
    trace: str | Path | RawTasks | None = None,
    storage_load: StorageLoad | None = None,
) -> EvaluationSource:
    """The source of a scenario's episodes.

    Args:
        scenario: an id or a `Scenario`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        trace: a canonical task table; the calibrated generator without one.
        storage_load: disks of a block trace that compete for the storage nodes.
    """
    if trace is None:
        return GeneratedSource(scenario, split, storage_load=storage_load)
    return TraceSource(trace, scenario, split, storage_load=storage_load)
