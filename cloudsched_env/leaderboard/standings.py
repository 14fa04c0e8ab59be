"""Who stands where: everything that the page, the Markdown table and the command line show, computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.evaluation.statistics import Interval, interquartile_mean, mean, optimality_gap
from cloudsched_env.leaderboard.anchors import Anchors, anchors_for
from cloudsched_env.leaderboard.compare import SCORE, difference_matrices, score_matrices
from cloudsched_env.leaderboard.convergence import Convergence, Curve, convergence, read_curve
from cloudsched_env.leaderboard.declaration import Declaration
from cloudsched_env.leaderboard.episodes import scenario_digest
from cloudsched_env.leaderboard.intervals import (
    Matrices,
    paired_interval,
    seeds_interval,
    seeds_intervals_of_means,
    trainings_interval,
)
from cloudsched_env.leaderboard.store import AgentFolder, Results
from cloudsched_env.leaderboard.units import DECISION_TIME

__all__ = ["THRESHOLDS", "Board", "Profile", "Row", "board_of"]

Floats = NDArray[np.float64]
THRESHOLDS = np.round(np.linspace(0.0, 1.0, 51), 2)
_FIGURES = (*(entry.name for entry in METRICS), DECISION_TIME)


@dataclass(frozen=True)
class Profile:
    """Share of runs and windows whose score is above each of `THRESHOLDS`, with a pointwise band, ``[thresholds]``."""

    share: Floats
    low: Floats
    high: Floats


@dataclass
class Row:
    """One agent on one board.

    Attributes:
        folder: its results.
        declaration: what its authors say.
        status: ``ok``; ``failed`` (message says why); ``incomplete`` (something is missing); ``stale`` (played with
            other constants).
        message: on the status.
        runs: complete runs of every scenario.
        rank: 1 + the number of agents that are better beyond doubt (paired 95 % interval above 0); 0 if not ranked.
        tied: others have the same rank.
        score: interquartile mean, each scenario counting the same.
        mean_score: mean score.
        gap: optimality gap, mean of what is missing to the bound.
        by_scenario: score of each scenario.
        metrics: means of all metrics and of the decision time, each scenario counting the same.
        metrics_by_scenario: the same for each scenario.
        scores: ``{scenario: [runs, windows]}``.
        profile: of all scenarios.
        profiles: of each scenario.
        curves: of its trainings.
        convergence: of its trainings, if a threshold was declared.
    """

    folder: AgentFolder
    declaration: Declaration
    status: str = "ok"
    message: str = ""
    runs: int = 0
    rank: int = 0
    tied: bool = False
    score: Interval | None = None
    mean_score: Interval | None = None
    gap: Interval | None = None
    by_scenario: dict[str, Interval] = field(default_factory=dict)
    metrics: dict[str, Interval] = field(default_factory=dict)
    metrics_by_scenario: dict[str, dict[str, Interval]] = field(default_factory=dict)
    scores: dict[str, Floats] = field(default_factory=dict)
    profile: Profile | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    convergence: Convergence | None = None

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return self.folder.path.name

    @property
    def interval_over(self) -> str:
        """What its intervals are over: ``seeds`` or ``trainings``."""
        return "seeds" if self.declaration.trainings is None else "trainings"

    @property
    def execution(self) -> str:
        """What its parts exchange while they act, as its runs reported it."""
        modes = {run.get("execution", "none") for runs in self.folder.metadata().values() for run in runs.values()}
        return ", ".join(sorted(modes)) or "none"

    @property
    def budget(self) -> str:
        """The training budget in a few words."""
        training = self.declaration.training
        if self.declaration.kind == "heuristic":
            return "none"
        parts = []
        if training.env_steps is not None:
            parts.append(f"{training.env_steps / 1e6:.3g} M steps")
        if training.hours is not None:
            parts.append(f"{training.hours:.3g} h")
        return ", ".join(parts) or "not declared"


@dataclass(frozen=True)
class Board:
    """All agents on one suite and set of data.

    Attributes:
        results: the results.
        anchors: what scores are measured by.
        rows: ranked agents first, by score; then those without a score. Ranks need not ascend: an agent whose few
            trainings differ much is better than others on average, or worse, but not beyond doubt.
    """

    results: Results
    anchors: Anchors
    rows: list[Row]

    @property
    def label(self) -> str:
        """Unique among boards, fit for a file name."""
        return self.results.label

    @property
    def ranked(self) -> list[Row]:
        """Rows with a score."""
        return [row for row in self.rows if row.status == "ok"]


def board_of(results: Results, progress: Callable[[str, int, int], None] = lambda name, done, total: None) -> Board:
    """Compute a board.

    Args:
        results: of one suite.
        progress: called after every agent with its name, how many are done, and of how many.

    Raises:
        ValueError: the anchors are missing or stale.
    """
    anchors = anchors_for(results)
    folders = results.agents()
    rows = []
    for done, folder in enumerate(folders):
        try:
            rows.append(_row(folder, anchors))
        except ValueError as error:  # damaged files cost their own row only
            message = f"its results cannot be read: {error}".replace(f"{folder.path}/", "")
            rows.append(Row(folder, folder.declaration, "failed", message))
        progress(rows[-1].declaration.name, done + 1, len(folders))
    _rank(rows, anchors)
    order = {"ok": 0, "incomplete": 1, "stale": 2, "failed": 3}
    rows.sort(key=lambda row: (order[row.status], -row.score.estimate if row.score else 0.0, row.rank, row.slug))
    return Board(results, anchors, rows)


def _row(folder: AgentFolder, anchors: Anchors) -> Row:
    declaration = folder.declaration
    row = Row(folder, declaration)
    row.curves = [read_curve(path) for path in sorted(folder.path.glob("curves/*.csv"))]
    if row.curves and declaration.convergence_threshold is not None:
        row.convergence = convergence(row.curves, declaration.convergence_threshold)
    row.scores = score_matrices(folder, anchors)
    scenarios = [entry.scenario for entry in folder.suite.scenarios]
    row.runs = min((len(row.scores.get(scenario, ())) for scenario in scenarios), default=0)
    failure = folder.failure
    stale = _stale(folder)
    if failure is not None:
        row.status = "failed"
        row.message = f"{failure['kind']} on {failure['scenario']}, run {failure['run']}: {failure['message']}"
    elif stale:
        row.status, row.message = "stale", f"played with other constants of {', '.join(stale)}: run it again"
    elif row.runs == 0:
        missing = [scenario for scenario in scenarios if scenario not in row.scores]
        row.status, row.message = "incomplete", f"no complete run of {', '.join(missing)}"
    if row.status != "ok":
        return row
    # Runs that not every scenario has are left out: row i is run i everywhere.
    row.scores = {scenario: matrix[: row.runs] for scenario, matrix in row.scores.items()}
    matrices = list(row.scores.values())
    row.score = _interval(row, matrices, interquartile_mean)
    row.mean_score = _interval(row, matrices, mean)
    row.gap = _interval(row, matrices, optimality_gap)
    row.by_scenario = {s: _interval(row, [matrix], interquartile_mean) for s, matrix in row.scores.items()}
    stacked = {
        scenario: np.stack([folder.matrix(scenario, figure)[: row.runs] for figure in _FIGURES], axis=-1)
        for scenario in scenarios
    }
    row.metrics = _means(row, list(stacked.values()))
    row.metrics_by_scenario = {scenario: _means(row, [values]) for scenario, values in stacked.items()}
    row.profile = _profile(row, matrices)
    row.profiles = {scenario: _profile(row, [matrix]) for scenario, matrix in row.scores.items()}
    return row


def _stale(folder: AgentFolder) -> list[str]:
    """Scenarios of which a raw file was played with other constants than today's."""
    metadata = folder.metadata()
    return [
        entry.scenario
        for entry in folder.suite.scenarios
        for digest in [scenario_digest(entry.load())]
        if any(run.get("scenario_digest") != digest for run in metadata.get(entry.scenario, {}).values())
    ]


def _interval(row: Row, matrices: Matrices, statistic: Callable[[Floats], Floats]) -> Interval:
    if row.interval_over == "trainings":
        return trainings_interval(matrices, statistic)
    return seeds_interval(matrices, statistic)


def _means(row: Row, stacked: list[Floats]) -> dict[str, Interval]:
    """Means of all figures, ``[runs, windows, figures]`` of each scenario."""
    if row.interval_over == "seeds":
        return dict(zip(_FIGURES, seeds_intervals_of_means(stacked), strict=True))
    return {
        figure: trainings_interval([values[..., place] for values in stacked], _known_mean)
        for place, figure in enumerate(_FIGURES)
    }


def _known_mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(known, values, 0.0).sum(-1) / known.sum(-1)
    return found


def _profile(row: Row, matrices: Matrices) -> Profile:
    """The run-score distribution of rliable, each scenario counting the same."""
    above = [(matrix[..., None] > THRESHOLDS).astype(np.float64) for matrix in matrices]
    if row.interval_over == "seeds":
        found = seeds_intervals_of_means(above)
    else:
        found = [trainings_interval([m[..., t] for m in above], mean) for t in range(len(THRESHOLDS))]
    share = np.array([interval.estimate for interval in found])
    low = np.array([share[i] if np.isnan(f.low) else max(0.0, f.low) for i, f in enumerate(found)])
    high = np.array([share[i] if np.isnan(f.high) else min(1.0, f.high) for i, f in enumerate(found)])
    return Profile(share, low, high)


def _rank(rows: list[Row], anchors: Anchors) -> None:
    """Ranks from paired comparisons of scores: who is not worse beyond doubt is not ranked behind."""
    ranked = [row for row in rows if row.status == "ok"]
    for row in ranked:
        better = 0
        for other in ranked:
            if other is not row:
                pairs = list(difference_matrices(other.folder, row.folder, SCORE, anchors).values())
                shared = len({e.windows for e in row.folder.suite.scenarios}) == 1
                better += bool(paired_interval(pairs, same_windows=shared and len(pairs) > 1).low > 0)
        row.rank = 1 + better
    ranks = [row.rank for row in ranked]
    for row in ranked:
        row.tied = ranks.count(row.rank) > 1
