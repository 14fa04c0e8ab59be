"""Is a submission complete, and are its numbers reproduced? A sample of its batches is played again, isolated.

A submission is a folder with a declaration ``agent.json``, whatever the agent needs beside it, and ``results`` as
``cloudsched leaderboard run`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.leaderboard.anchors import anchors_for
from cloudsched_env.leaderboard.compare import score_matrices
from cloudsched_env.leaderboard.declaration import NOT_DECLARED, Declaration
from cloudsched_env.leaderboard.episodes import inspect_data, scenario_digest
from cloudsched_env.leaderboard.execute import Executor, Here
from cloudsched_env.leaderboard.intervals import paired_interval
from cloudsched_env.leaderboard.isolation import Limits
from cloudsched_env.leaderboard.run import Progress
from cloudsched_env.leaderboard.store import AgentFolder, Results, boards
from cloudsched_env.leaderboard.suites import Batch, Suite, load_suite, suite_ids
from cloudsched_env.leaderboard.units import Unit, UnitResult

__all__ = ["TOLERANCE", "Verification", "verify_submission"]

TOLERANCE = 1e-6
"""Relative difference up to which a number counts as reproduced: raw files keep nine digits."""

Floats = NDArray[np.float64]


@dataclass
class Verification:
    """What was found.

    Attributes:
        agent: name of the agent.
        problems: what is missing or wrong in the folder.
        skipped: boards that could not be played again, and why.
        episodes: how many were played again.
        reproduced_episodes: how many of them gave the same numbers.
        differences: the first differences, for people.
        failures: what went wrong when it was played again.
        difference_holds_zero: for agents that do not promise the same episode for the same seed: whether the 95 %
            interval of the paired difference in team reward holds 0, by board.
        deterministic: whether the agent promises it.
    """

    agent: str
    deterministic: bool = True
    problems: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    episodes: int = 0
    reproduced_episodes: int = 0
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    difference_holds_zero: dict[str, bool] = field(default_factory=dict)

    @property
    def reproduced(self) -> bool:
        """Whether the folder is complete and everything that was played again came out as submitted."""
        if self.problems or self.failures or not self.episodes:
            return False
        if self.deterministic:
            return self.reproduced_episodes == self.episodes
        return all(self.difference_holds_zero.values())

    def lines(self) -> Iterator[str]:
        """The report."""
        yield from (f"problem: {text}" for text in self.problems)
        yield from (f"not played again: {text}" for text in self.skipped)
        yield from (f"failed: {text}" for text in self.failures)
        if self.episodes:
            yield f"{self.reproduced_episodes} of {self.episodes} episodes gave the same numbers (to {TOLERANCE:g})"
        yield from (f"differs: {text}" for text in self.differences)
        for board, holds in self.difference_holds_zero.items():
            verdict = "holds" if holds else "does not hold"
            yield f"{board}: the 95 % interval of the difference in team reward {verdict} 0"
        yield f"{self.agent}: {'reproduced' if self.reproduced else 'NOT reproduced'}"


def verify_submission(
    folder: Path,
    *,
    share: float = 0.1,
    seed: int = 0,
    trace: str | None = None,
    executor: Executor | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a submission and play a sample of it again.

    Args:
        folder: the submission.
        share: of all its batches; at least one of each scenario.
        seed: of the sample.
        trace: task table, to play results on a trace again.
        executor: where to play.
        limits: of the agent's process.
        progress: called after every batch.

    Raises:
        ValueError: there is no declaration.
    """
    declaration = Declaration.load(folder / "agent.json")
    found = Verification(declaration.name, declaration.deterministic)
    found.problems += _undeclared(declaration)
    units: list[Unit] = []
    submitted: dict[tuple[str, Batch], AgentFolder] = {}
    generator = np.random.default_rng(seed)
    try:
        results = list(boards(folder / "results"))
    except ValueError as error:
        found.problems.append(str(error))
        results = []
    for board in results:
        own = board.folder(declaration.slug)
        problems = _incomplete(board, own, declaration)
        found.problems += problems
        if problems:
            continue
        needs_trace = board.suite.workload.kind == "trace"
        try:
            data = inspect_data(board.suite, trace if needs_trace else None)
        except ValueError as error:
            found.skipped.append(f"{board.label}: {error}")
            continue
        if data != board.data:
            found.skipped.append(f"{board.label}: the trace here is another one than that of the results")
            continue
        for batch in _sample(board, declaration, share, generator):
            spec = declaration.resolved(batch.run)
            units.append(
                Unit(board.label, spec, board.suite, batch, trace if needs_trace else None, True, limits or Limits())
            )
            submitted[board.label, batch] = own
    total, done = sum(unit.batch.windows for unit in units), 0
    pairs: dict[str, list[Floats]] = {}
    for result in (executor or Here()).run(iter(units)):
        done += result.batch.windows
        if progress is not None:
            progress(declaration.name, done, total)
        if result.failure:
            text = (
                f"{result.agent}, {result.batch.scenario}, run {result.batch.run}: {result.failure}: {result.message}"
            )
            found.failures.append(text)
            continue
        _compare(found, result, submitted[result.agent, result.batch], pairs)
    if not declaration.deterministic:
        for label, differences in pairs.items():
            interval = paired_interval([np.concatenate(differences)[None, :]])
            found.difference_holds_zero[label] = not (interval.low > 0 or interval.high < 0)
    return found


def _undeclared(declaration: Declaration) -> list[str]:
    """Fields of the template that were left out."""
    wanted = {"description": declaration.description, "authors": declaration.authors, "code": declaration.code}
    missing = [name for name, value in wanted.items() if not value.strip()]
    missing += [n for n in ("tuning_budget", "validation_use") if getattr(declaration, n) in ("", NOT_DECLARED)]
    if declaration.kind == "learned":
        training = declaration.training
        missing += [f"training.{n}" for n in ("env_steps", "hours", "hardware", "operator") if not getattr(training, n)]
    return [f"agent.json: {name} is not declared" for name in missing]


def _incomplete(board: Results, own: AgentFolder, declaration: Declaration) -> list[str]:
    """What keeps a board from being played again and shown."""
    label = board.label
    if not _published(board.suite):
        return [f"{label}: {board.suite.id} ({board.suite.digest}) is no published suite"]
    if not (own.path / "agent.json").exists():
        return [f"{label}: no results of {declaration.name!r}"]
    problems = []
    if label != Results.label_of(board.suite, board.data):
        problems.append(
            f"{label}: the folder of {Results.label_of(board.suite, board.data)} has another name: rename it"
        )
    if own.declaration.to_dict() != declaration.to_dict():
        problems.append(f"{label}: the results were made with another agent.json than the submitted one: run it again")
    if own.failure is not None:
        problems.append(f"{label}: the agent failed: {own.failure['message']}")
    runs = list(range(declaration.runs(board.suite.runs)))
    metadata = own.metadata()
    for entry in board.suite.scenarios:
        if own.runs(entry.scenario) != runs:
            problems.append(f"{label}: {entry.scenario} has runs {own.runs(entry.scenario)}, expected {runs}")
            continue
        try:
            for run in runs:
                own.values(entry.scenario, run)
        except ValueError as error:
            problems.append(f"{label}: {error}")
        digests = {made.get("scenario_digest") for made in metadata.get(entry.scenario, {}).values()}
        if digests != {scenario_digest(entry.load())}:
            problems.append(f"{label}: {entry.scenario} was played with other constants than today's: run it again")
    if not problems:
        try:
            for matrix in score_matrices(own, anchors_for(board)).values():
                if (matrix > 1).any():
                    problems.append(f"{label}: a score is above 1, which no policy can reach")
        except ValueError as error:
            problems.append(f"{label}: {error}")
    return problems


def _published(suite: Suite) -> bool:
    """Whether a suite is one of the package's, and not another list under its name."""
    return suite.id in suite_ids() and load_suite(suite.id).digest == suite.digest


def _sample(board: Results, declaration: Declaration, share: float, generator: np.random.Generator) -> list[Batch]:
    """At least one batch of each scenario, ``share`` of all."""
    chosen = []
    for entry in board.suite.scenarios:
        batches = [
            batch
            for run in range(declaration.runs(board.suite.runs))
            for batch in board.suite.batches(entry.scenario, run)
        ]
        count = min(len(batches), max(1, round(share * len(batches))))
        chosen += [batches[place] for place in sorted(generator.permutation(len(batches))[:count].tolist())]
    return chosen


def _compare(found: Verification, result: UnitResult, own: AgentFolder, pairs: dict[str, list[Floats]]) -> None:
    """Compare one batch, number by number."""
    batch = result.batch
    values = own.values(batch.scenario, batch.run)
    places = range(batch.first, batch.first + batch.windows)
    played = {m.name: np.array(result.metrics[m.name], dtype=np.float64) for m in METRICS}
    told = {name: values[name][batch.first : batch.first + batch.windows] for name in played}
    same = {name: np.isclose(told[name], played[name], TOLERANCE, TOLERANCE, equal_nan=True) for name in played}
    found.episodes += batch.windows
    good = np.all(list(same.values()), axis=0)
    found.reproduced_episodes += int(good.sum())
    pairs.setdefault(result.agent, []).append(told["team_reward"] - played["team_reward"])
    for index, place in enumerate(places):
        if not good[index] and len(found.differences) < _SHOWN:
            name = next(n for n in _first(same) if not same[n][index])
            found.differences.append(
                f"{result.agent}, {batch.scenario}, run {batch.run}, window {place}: {name} is {told[name][index]:.9g} "
                f"in the submission, {played[name][index]:.9g} when played again"
            )


_SHOWN = 5


def _first(names: Iterable[str]) -> Sequence[str]:
    """The team reward before the rest: it is what scores are made of."""
    return sorted(names, key=lambda name: name != "team_reward")
