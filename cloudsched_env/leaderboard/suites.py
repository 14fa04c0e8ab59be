"""Suites: committed lists of (scenario version, window, seed) that everybody plays.

A suite is a file ``suites/<name>-v<version>.json``. Files of published versions never change: other windows, scenarios
or numbers of episodes are a new version. `Suite.digest` is written into every result, so that results of different
lists cannot be mixed by accident.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from cloudsched_env.scenario import Scenario, load_scenario

__all__ = ["SEED_STRIDE", "Batch", "Suite", "SuiteScenario", "Window", "Workload", "load_suite", "suite_ids"]

SEED_STRIDE = 10_000
"""Run r plays window i with cluster seed ``r * SEED_STRIDE + i``."""

_FILE = re.compile(r"^(?P<name>[a-z][a-z0-9-]*)-v(?P<version>\d+)$")
_KEYS = {"name", "version", "description", "runs", "workload", "scenarios"}


@dataclass(frozen=True)
class Window:
    """Where one episode's work comes from.

    Attributes:
        seed: of all that is drawn for it.
        start_s: start on the trace's clock; None for generated work, and where ``share`` is given.
        share: start as a share of the test split's window starts, 0 the first and 1 the last: for traces that the
            suite does not know.
    """

    seed: int
    start_s: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class Workload:
    """What tasks a suite is made of.

    Attributes:
        kind: ``generated`` needs no data, ``trace`` an imported task table.
        operator: whose trace it must be, or the profile of the generator; None for any operator but ``not_operator``.
        not_operator: the operator that agents may have been trained on.
    """

    kind: Literal["generated", "trace"]
    operator: str | None = None
    not_operator: str | None = None


@dataclass(frozen=True)
class Batch:
    """Episodes that are stepped side by side; the smallest piece of work.

    Attributes:
        scenario: scenario id.
        run: which repetition.
        first: place of its first window.
        windows: how many windows.
    """

    scenario: str
    run: int
    first: int
    windows: int

    @property
    def seed(self) -> int:
        """Seed of the agent and of the first cluster; cluster i has ``seed + i``."""
        return self.run * SEED_STRIDE + self.first


@dataclass(frozen=True)
class SuiteScenario:
    """One scenario of a suite.

    Attributes:
        scenario: versioned scenario id.
        windows: its episodes, in order.
        batch: clusters stepped at once. It is part of the suite, because the results of an agent that draws for a whole
            batch from one generator depend on it.
    """

    scenario: str
    windows: tuple[Window, ...]
    batch: int

    def load(self) -> Scenario:
        """The constants of the cluster."""
        return load_scenario(self.scenario)


@dataclass(frozen=True)
class Suite:
    """A list of episodes, and how often each is played.

    Attributes:
        name: what people call it.
        version: a changed list is a new version.
        description: one sentence.
        runs: repetitions of every window with other seeds; for trained agents one run a training seed.
        workload: what tasks it is made of.
        scenarios: what is played.
        digest: of all the above but the description, 12 hexadecimal digits.
    """

    name: str
    version: int
    description: str
    runs: int
    workload: Workload
    scenarios: tuple[SuiteScenario, ...]
    digest: str

    @property
    def id(self) -> str:
        """Name and version, as in ``standard-v1``."""
        return f"{self.name}-v{self.version}"

    @property
    def episodes_per_run(self) -> int:
        """Episodes of one run over all scenarios."""
        return sum(len(entry.windows) for entry in self.scenarios)

    def scenario(self, scenario_id: str) -> SuiteScenario:
        """One of its scenarios.

        Raises:
            KeyError: naming those that there are.
        """
        for entry in self.scenarios:
            if entry.scenario == scenario_id:
                return entry
        names = ", ".join(entry.scenario for entry in self.scenarios)
        raise KeyError(f"suite {self.id} has no scenario {scenario_id!r}: expected one of {names}")

    def batches(self, scenario_id: str, run: int) -> list[Batch]:
        """The fixed batches of one scenario and run, in order."""
        entry = self.scenario(scenario_id)
        count = len(entry.windows)
        return [
            Batch(scenario_id, run, first, min(entry.batch, count - first)) for first in range(0, count, entry.batch)
        ]

    def with_fewer(self, runs: int | None) -> Suite:
        """The same suite with fewer runs: results of more runs contain those of fewer.

        Raises:
            ValueError: if there are not so many.
        """
        if runs is None or runs == self.runs:
            return self
        if not 1 <= runs <= self.runs:
            raise ValueError(f"--runs is {runs}: expected 1 to {self.runs}, the runs of suite {self.id}")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Suite(**{**values, "runs": runs})


def suite_ids() -> list[str]:
    """Ids of all suites that come with the package, newest version of each name first."""
    folder = resources.files("cloudsched_env.leaderboard").joinpath("suites")
    found = [entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")]
    parsed = [(match["name"], -int(match["version"]), name) for name in found if (match := _FILE.match(name))]
    return [name for _, _, name in sorted(parsed)]


def load_suite(name: str) -> Suite:
    """Read a suite.

    Args:
        name: an id (``standard-v1``), a name (``standard``: its newest version), or the path of a file.

    Raises:
        ValueError: for an unknown name, or a file that does not describe a suite, saying what was expected.
    """
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"no suite file {name}: expected one of {', '.join(suite_ids())}, or the path of a file")
        return _parse(path.read_text(encoding="utf-8"), path.stem)
    for suite_id in suite_ids():
        match = _FILE.match(suite_id)
        if suite_id == name or (match is not None and match["name"] == name):
            file = resources.files("cloudsched_env.leaderboard").joinpath("suites", f"{suite_id}.json")
            return _parse(file.read_text(encoding="utf-8"), suite_id)
    raise ValueError(f"unknown suite {name!r}: expected one of {', '.join(suite_ids())}, or the path of a file")


def _parse(text: str, stem: str) -> Suite:
    where = f"suite file {stem}.json"
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}, line {error.lineno}: {error.msg}") from error
    if not isinstance(values, dict) or set(values) != _KEYS:
        raise ValueError(f"{where}: expected an object with the keys {', '.join(sorted(_KEYS))}")
    try:
        scenarios = tuple(
            SuiteScenario(
                entry["scenario"], tuple(Window(**window) for window in entry["windows"]), int(entry["batch"])
            )
            for entry in values["scenarios"]
        )
        workload = Workload(**values["workload"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error
    suite = Suite(
        name=values["name"],
        version=int(values["version"]),
        description=values["description"],
        runs=int(values["runs"]),
        workload=workload,
        scenarios=scenarios,
        digest=_digest(values),
    )
    if suite.id != stem:
        raise ValueError(f"{where} says that it is {suite.id}: name and version must be those of the file")
    _check(suite, where)
    return suite


def _check(suite: Suite, where: str) -> None:
    if suite.runs < 1 or not suite.scenarios:
        raise ValueError(f"{where}: expected at least one run and one scenario")
    if suite.workload.kind not in ("generated", "trace"):
        raise ValueError(f"{where}: workload.kind is {suite.workload.kind!r}, expected generated or trace")
    names = [entry.scenario for entry in suite.scenarios]
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: a scenario is listed twice: {names}")
    for entry in suite.scenarios:
        if entry.batch < 1 or not 1 <= len(entry.windows) <= SEED_STRIDE:
            raise ValueError(f"{where}: {entry.scenario} needs a batch of at least 1 and 1 to {SEED_STRIDE} windows")
        placed = [window.start_s is not None or window.share is not None for window in entry.windows]
        if any(place != (suite.workload.kind == "trace") for place in placed):
            raise ValueError(
                f"{where}: {entry.scenario}: windows of a trace need start_s or share, generated ones none"
            )
        entry.load()


def _digest(values: Mapping[str, Any]) -> str:
    content = {key: value for key, value in values.items() if key != "description"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
