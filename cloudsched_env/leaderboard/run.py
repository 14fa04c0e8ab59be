"""Playing a suite: what is missing is played, what is there is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cloudsched_env.leaderboard.declaration import Declaration
from cloudsched_env.leaderboard.episodes import inspect_data, scenario_digest
from cloudsched_env.leaderboard.execute import Executor, Here
from cloudsched_env.leaderboard.isolation import Limits
from cloudsched_env.leaderboard.store import AgentFolder, Results, provenance
from cloudsched_env.leaderboard.suites import Batch, load_suite
from cloudsched_env.leaderboard.units import Unit, UnitResult
from cloudsched_env.scenario import load_scenario

__all__ = ["Progress", "RunSummary", "run_suite"]

Progress = Callable[[str, int, int], None]
"""Called after every batch with the agent's name, the episodes done, and the episodes of this call in all."""

_FOLDERS = re.compile(r"(?:/[\w.@~+-]+)+/")


@dataclass(frozen=True)
class RunSummary:
    """What a call of `run_suite` did.

    Attributes:
        results: where everything is.
        played: episodes that were played.
        kept: episodes that were there already.
        failures: ``{agent: message}`` of those that failed.
    """

    results: Results
    played: int
    kept: int
    failures: dict[str, str]


def run_suite(
    suite_name: str,
    declarations: Sequence[Declaration],
    out: Path,
    *,
    trace: str | None = None,
    runs: int | None = None,
    executor: Executor | None = None,
    isolate: bool | None = None,
    limits: Limits | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> RunSummary:
    """Play a suite with some agents; an agent that fails costs its own results only.

    Args:
        suite_name: for `load_suite`.
        declarations: the agents.
        out: folder of results; what is there is not played again.
        trace: task table, for suites on a trace.
        runs: only the first runs of the suite.
        executor: where to play; this process by default.
        isolate: whether agents run in processes of their own; by default all but rules of this package do.
        limits: of these processes.
        command: for the metadata.
        progress: called after every batch.

    Raises:
        ValueError: the suite does not exist, or asks for other data, or ``out`` holds something else.
    """
    suite = load_suite(suite_name)
    data = inspect_data(suite, trace)
    _check_operators(declarations, suite.workload.kind == "trace" and suite.workload.not_operator, data.operator)
    results = Results.open(out, suite, suite_name, data)
    chosen = suite.with_fewer(runs)
    folders: dict[str, AgentFolder] = {}
    work: list[tuple[Declaration, str, int, list[Batch]]] = []
    kept = 0
    for declaration in declarations:
        folder = folders[declaration.slug] = results.folder(declaration.slug)
        folder.declare(declaration)
        folder.forget_failure()
        journal = folder.journal()
        # The slowest scenarios first, so that all processes end together.
        for entry in sorted(chosen.scenarios, key=lambda item: -_size(item.scenario)):
            for run in range(declaration.runs(chosen.runs)):
                if folder.complete(entry.scenario, run):
                    kept += len(entry.windows)
                    continue
                there = journal.get((entry.scenario, run), {})
                missing = [
                    batch
                    for batch in suite.batches(entry.scenario, run)
                    if not all(place in there for place in range(batch.first, batch.first + batch.windows))
                ]
                kept += len(entry.windows) - sum(batch.windows for batch in missing)
                work.append((declaration, entry.scenario, run, missing))
    total = sum(batch.windows for *_, batches in work for batch in batches)
    names = {declaration.slug: declaration.name for declaration in declarations}
    where_from = {
        **provenance(command),
        "suite": suite.id,
        "suite_digest": suite.digest,
        "data": asdict(data),
    }
    digests = {entry.scenario: scenario_digest(entry.load()) for entry in suite.scenarios}
    failures: dict[str, str] = {}

    def units() -> Iterator[Unit]:
        for declaration, _, run, batches in work:
            isolated = not declaration.built_in if isolate is None else isolate
            for batch in batches:
                if declaration.slug not in failures:
                    spec = declaration.resolved(run)
                    yield Unit(declaration.slug, spec, suite, batch, trace, isolated, limits or Limits())

    def settle(slug: str, scenario: str, run: int) -> None:
        folders[slug].settle(scenario, run, {**where_from, "scenario_digest": digests[scenario]})

    left: dict[tuple[str, str, int], int] = {}
    for declaration, scenario, run, batches in work:
        left[declaration.slug, scenario, run] = len(batches)
        if not batches:  # interrupted between the last episode and the raw file
            settle(declaration.slug, scenario, run)
    played = done = 0
    try:
        for result in (executor or Here()).run(units()):
            key = (result.agent, result.batch.scenario, result.batch.run)
            if result.failure:
                result = _without_folders(result)
                failures.setdefault(result.agent, f"{result.failure}: {result.message}")
                folders[result.agent].fail(result)
            else:
                folders[result.agent].add(result)
                played += result.batch.windows
                left[key] -= 1
                if left[key] == 0:
                    settle(*key)
            done += result.batch.windows
            if progress is not None:
                progress(names[result.agent], done, total)
    finally:
        for folder in folders.values():
            folder.tidy()
    return RunSummary(results, played, kept, {names[slug]: message for slug, message in failures.items()})


def _size(scenario: str) -> int:
    """Agents of a scenario: a measure of what its episodes cost."""
    return sum(load_scenario(scenario).role_counts.values())


def _without_folders(result: UnitResult) -> UnitResult:
    """Results are published; the folders of one machine are not."""
    return replace(result, message=_FOLDERS.sub("", result.message))


def _check_operators(declarations: Sequence[Declaration], transfer: object, operator: str) -> None:
    """A suite of transfer is not for agents that were trained on the operator it is played on."""
    for declaration in declarations:
        if transfer and declaration.training.operator == operator:
            raise ValueError(f"{declaration.name} was trained on {operator}: transfer is played on a trace of another")
