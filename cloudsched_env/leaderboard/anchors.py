"""What a score is measured by: on every window the random agent (0) and an upper bound (1).

Anchors depend on the dynamics, not on any agent; they are computed by one command (``cloudsched leaderboard anchors``),
committed, and refused when a scenario's constants have changed since.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.leaderboard.declaration import load_declarations
from cloudsched_env.leaderboard.episodes import Data, draw_episodes, inspect_data, scenario_digest
from cloudsched_env.leaderboard.execute import Executor
from cloudsched_env.leaderboard.run import Progress, run_suite
from cloudsched_env.leaderboard.store import AgentFolder, Results
from cloudsched_env.leaderboard.suites import Suite, load_suite
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.bound import upper_bound

__all__ = ["Anchors", "anchors_for", "compute_anchors", "load_anchors"]

Floats = NDArray[np.float64]
RANDOM = "random"


@dataclass(frozen=True)
class Anchors:
    """Team rewards J that scores are measured by.

    Attributes:
        suite: suite id.
        digest: of the suite.
        data: what tasks it was played on.
        scenario_digests: of the constants of each scenario.
        random: the random agent's J, mean over runs, ``{scenario: [windows]}``.
        bound: upper bound of J, ``{scenario: [windows]}``.
    """

    suite: str
    digest: str
    data: Data
    scenario_digests: Mapping[str, str]
    random: Mapping[str, Floats]
    bound: Mapping[str, Floats]

    def score(self, scenario: str, team_reward: Floats) -> Floats:
        """(J - J_random) / (J_bound - J_random), windows on the last axis.

        Raises:
            ValueError: if the bound is not above the random agent, which says that one of them is wrong.
        """
        floor, top = self.random[scenario], self.bound[scenario]
        if (top <= floor).any():
            raise ValueError(f"anchors of {scenario}: the upper bound is not above the random agent in every window")
        return (team_reward - floor) / (top - floor)

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        scenarios = {
            name: {
                "scenario_digest": self.scenario_digests[name],
                "random": [float(f"{value:.9g}") for value in self.random[name]],
                "bound": [float(f"{value:.9g}") for value in self.bound[name]],
            }
            for name in self.random
        }
        content = {"suite": self.suite, "digest": self.digest, "data": asdict(self.data), "scenarios": scenarios}
        write_whole(path, json.dumps(content, indent=1) + "\n")


def compute_anchors(
    suite_name: str,
    *,
    trace: str | None = None,
    keep: Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Anchors:
    """Play the random agent on all runs of a suite, and bound every window.

    Args:
        suite_name: for `load_suite`.
        trace: task table, for suites on a trace.
        keep: folder of results to take the random agent's episodes from, and to put into what it lacks, so that an
            interrupted call goes on where it stopped; by default a temporary one.
        executor: where to play.
        progress: called after every batch.

    Raises:
        ValueError: the folder's episodes of the random agent are of other constants than today's.
    """
    suite = load_suite(suite_name)
    data = inspect_data(suite, trace)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if keep is None else keep
        played = _random(suite_name, suite, data, folder, trace, executor, progress)
        random = {e.scenario: played.matrix(e.scenario, "team_reward").mean(axis=0) for e in suite.scenarios}
    bound, digests = {}, {}
    for entry in suite.scenarios:
        scenario = entry.load()
        episodes = draw_episodes(suite, entry, trace, range(len(entry.windows)))
        bound[entry.scenario] = np.array([upper_bound(scenario, episode).team_reward for episode in episodes])
        digests[entry.scenario] = scenario_digest(scenario)
    return Anchors(suite.id, suite.digest, data, digests, random, bound)


def _random(
    suite_name: str,
    suite: Suite,
    data: Data,
    folder: Path,
    trace: str | None,
    executor: Executor | None,
    progress: Progress | None,
) -> AgentFolder:
    """All runs of the random agent; those that the folder holds already are not played again."""
    (declaration,) = load_declarations([RANDOM])
    played = Results.open(folder, suite, suite_name, data).folder(declaration.slug)
    if (played.path / "agent.json").exists():
        declaration = played.declaration  # with whatever else is said of it there
    run_suite(suite_name, [declaration], folder, trace=trace, executor=executor, progress=progress)
    metadata = played.metadata()
    for entry in suite.scenarios:
        digests = {run["scenario_digest"] for run in metadata[entry.scenario].values()}
        if digests != {scenario_digest(entry.load())}:
            raise ValueError(
                f"{played.path}: {entry.scenario} was played with other constants than today's: remove that folder"
            )
    return played


def anchors_for(results: Results) -> Anchors:
    """The anchors of some results: the committed ones, or ``anchors.json`` beside the results.

    Raises:
        ValueError: there are none, or they are of another list or other constants; it names the command.
    """
    beside = results.path / "anchors.json"
    committed = resources.files("cloudsched_env.leaderboard").joinpath("anchors", f"{results.label}.json")
    needs_trace = " --trace FILE" if results.suite.workload.kind == "trace" else ""
    command = f"cloudsched leaderboard anchors {results.suite.id}{needs_trace} --out {results.path.parent}"
    found = [file.read_text(encoding="utf-8") for file in (committed, beside) if file.is_file()]
    if not found:
        raise ValueError(f"there are no anchors of {results.label} yet: {command}")
    problem: ValueError | None = None
    for text in found:
        try:
            return _checked(load_anchors(text, results.suite), results)
        except ValueError as error:
            problem = problem or error
    raise ValueError(f"{problem}: {command}")


def _checked(anchors: Anchors, results: Results) -> Anchors:
    """The anchors, if they are of these results' data and of today's constants."""
    if anchors.data != results.data:
        raise ValueError(f"the anchors of {results.label} are of {anchors.data}, the results of {results.data}")
    digests = {entry.scenario: scenario_digest(entry.load()) for entry in results.suite.scenarios}
    stale = [name for name, digest in digests.items() if anchors.scenario_digests[name] != digest]
    if stale:
        raise ValueError(f"constants of {', '.join(stale)} have changed since the anchors were computed")
    return anchors


def load_anchors(text: str, suite: Suite) -> Anchors:
    """Anchors from their file.

    Raises:
        ValueError: if they are of another list of windows.
    """
    values = json.loads(text)
    if values["suite"] != suite.id or values["digest"] != suite.digest:
        raise ValueError(
            f"these anchors are of {values['suite']} ({values['digest']}), not of {suite.id} ({suite.digest})"
        )
    scenarios = values["scenarios"]
    return Anchors(
        values["suite"],
        values["digest"],
        Data(**values["data"]),
        {name: entry["scenario_digest"] for name, entry in scenarios.items()},
        {name: np.array(entry["random"]) for name, entry in scenarios.items()},
        {name: np.array(entry["bound"]) for name, entry in scenarios.items()},
    )
