"""From raw results to Markdown: everybody's figures, and differences on the same windows."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.export import ENVIRONMENT
from cloudsched_env.evaluation.protocol import RANDOM
from cloudsched_env.evaluation.statistics import Interval, interquartile_mean, mean, probability_of_improvement
from cloudsched_env.leaderboard.convergence import PATIENCE, Curve, convergence, read_curve
from cloudsched_env.leaderboard.intervals import paired_interval, trainings_interval
from comparison.trainings import different_default
from comparison.variants import Difference

Floats = NDArray[np.float64]

SCORE, REWARD = "score", "team_reward"
COLUMNS = {
    SCORE: ("score IQM", ".3f"),
    REWARD: ("J", ".3f"),
    "useful_utilisation": ("useful CPU", ".3f"),
    "allocated_cpu": ("allocated CPU", ".3f"),
    "scheduling_latency_mean_ms": ("latency mean ms", ".0f"),
    "scheduling_latency_p95_ms": ("latency p95 ms", ".0f"),
    "slo_attainment": ("SLO", ".3f"),
    "minimum_tenant_share": ("min share", ".2f"),
}


@dataclass
class Row:
    """One variant, all its trainings, or one rule.

    Attributes:
        name: of the variant or rule.
        trained: whether it is a variant.
        seeds: of its trainings, ascending; a rule has one.
        metrics: ``{metric: [seeds, windows]}``, the score among them.
        descriptions: metadata of each seed.
        curves: of each training.
        epochs: epoch of each number of env steps in the curves.
    """

    name: str
    trained: bool
    seeds: list[int] = field(default_factory=list)
    metrics: dict[str, Floats] = field(default_factory=dict)
    descriptions: list[dict[str, Any]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    epochs: dict[float, int] = field(default_factory=dict)

    @property
    def warm_start(self) -> bool | None:
        """Whether its trainings began as clones of the expert; None for a rule."""
        return bool(self.descriptions[0]["training"].get("warm_start")) if self.trained else None

    def interval(self, metric: str) -> Interval:
        """Over trainings, each left out once; no interval for a rule or a single training."""
        statistic = interquartile_mean if metric == SCORE else _known_mean
        values = self.metrics[metric]
        if metric == SCORE:  # windows in which the bound and the random agent coincide have none
            values = values[:, ~np.isnan(values).any(axis=0)]
        return trainings_interval([values], statistic)


@dataclass(frozen=True)
class Results:
    """All results in a folder.

    Attributes:
        key: scenario, data, split, number of windows.
        data_tag: generated, excerpt or full trace.
        bound: ``{metric: [windows]}``.
        rows: by name.
        validation: team reward of rules on the validation windows.
        stale: files that are of other windows, and left out.
    """

    key: Mapping[str, Any]
    data_tag: str
    bound: Mapping[str, Floats]
    rows: Mapping[str, Row]
    validation: Mapping[str, float]
    stale: Sequence[str]

    @property
    def span(self) -> float:
        """Mean over windows of J_bound - J_random: what there is to gain."""
        return float((self.bound[REWARD] - self.rows[RANDOM].metrics[REWARD][0]).mean())

    @property
    def trained(self) -> list[Row]:
        """Rows of variants."""
        return [row for row in self.rows.values() if row.trained]


def load_results(out: Path) -> Results:
    """Read what the evaluation wrote.

    Raises:
        ValueError: there is nothing yet.
    """
    if not (out / "bound.json").is_file():
        raise ValueError(f"{out} holds no results: expected bound.json; evaluate first")
    reference = _read(out / "bound.json")
    rows: dict[str, Row] = {}
    stale = []
    for file in sorted((out / "raw").glob("*/seed_*.metadata.json"), key=lambda f: (f.parent.name, _seed_of(f))):
        described = _read(file)
        if described["key"] != reference["key"]:
            stale.append(f"{file.parent.name}/{file.name}")
            continue
        raw = file.with_name(file.name.replace(".metadata.json", ".json"))
        ((_, algorithms),) = _read(raw)[ENVIRONMENT].items()
        values = algorithms[described["name"]][f"seed_{described['seed']}"]["absolute_metrics"]
        row = rows.setdefault(described["name"], Row(described["name"], described["kind"] == "training"))
        row.seeds.append(described["seed"])
        row.descriptions.append(described)
        for metric in COLUMNS:
            numbers = np.array(values[metric], dtype=np.float64)
            row.metrics[metric] = np.vstack([row.metrics[metric], numbers]) if metric in row.metrics else numbers[None]
        if row.trained:
            path = out / "curves" / file.parent.name / f"seed_{described['seed']}.csv"
            with path.open(newline="", encoding="utf-8") as lines:
                epochs = {float(line["env_steps"]): int(float(line["epoch"])) for line in csv.DictReader(lines)}
            if epochs:  # trainings that are shorter than the first validation have no curve
                row.curves.append(read_curve(path))
                row.epochs |= epochs
    bound = {name: np.array(values, dtype=np.float64) for name, values in reference["bound"].items()}
    beside = out / "validation.json"
    validation = _read(beside)["team_reward"] if beside.is_file() else {}
    return Results(reference["key"], reference["data_tag"], bound, rows, validation, stale)


def convergence_cell(row: Row, threshold: float) -> str:
    """Median epoch at which trainings converged, and how many did; ``> budget`` if fewer than half."""
    if math.isnan(threshold) or not row.curves:
        return "not validated"
    found = convergence(row.curves, threshold)
    count = f"({found.converged} of {found.trainings})"
    if found.median_env_steps is not None:
        return f"{row.epochs[found.median_env_steps]} {count}"
    return f"> {row.epochs[found.budget_env_steps]} {count}"


def main_table(results: Results, order: Sequence[str], expert: str, command: str) -> str:
    """Variants in their order, then rules by score, then the bound.

    Args:
        results: of the evaluation.
        order: names of variants.
        expert: rule whose validation score is the threshold of convergence.
        command: that made the results.
    """
    threshold = results.validation.get(expert, math.nan)
    places = {name: place for place, name in enumerate(order)}
    variants = sorted(results.trained, key=lambda row: places.get(row.name, len(places)))
    rules = [row for row in results.rows.values() if not row.trained]
    rules.sort(key=lambda row: -row.interval(SCORE).estimate)
    titles = [title for title, _ in COLUMNS.values()]
    key = results.key
    lines = [
        f"# {key['scenario']}: all algorithms on the same {key['episodes']} {key['split']} windows",
        "",
        f"Data: {results.data_tag}. Score = (J - J_random) / (J_bound - J_random) of each window, interquartile mean "
        "over trainings and windows; all else are means. Brackets: 95 % intervals over training seeds on these "
        "windows, from leaving out one training at a time (jackknife with Student's t); rules have no seeds and no "
        "brackets. Policies are the checkpoints that were best on validation windows, and act as they did there; "
        "nothing was chosen on test windows. Convergence: median over trainings (Kaplan-Meier) of the first epoch from "
        f"which the validation J stays at or above that of `{expert}` ({threshold:.3f}) for {PATIENCE} validations, "
        "and how many trainings converged; the others are censored at their last epoch. Minutes: mean wall time of a "
        "training, cloning and validation included.",
        "",
        f"Command: `{command}`",
        "",
        f"| agent | seeds | {' | '.join(titles)} | epoch of convergence | env steps | minutes |",
        "|---|---:|" + "---:|" * (len(titles) + 3),
    ]
    for row in variants:
        trainings = [described["training"] for described in row.descriptions]
        steps = sorted({training["env_steps"] for training in trainings})
        minutes = float(np.mean([training["wall_clock_s"] for training in trainings])) / 60
        cells = [f"**{row.name}**", str(len(row.seeds)), *_cells(row)]
        cells.append(convergence_cell(row, threshold))
        cells.append(" to ".join(f"{step:,}" for step in dict.fromkeys((steps[0], steps[-1]))))
        lines.append(f"| {' | '.join([*cells, f'{minutes:.1f}'])} |")
    for row in rules:
        lines.append(f"| {' | '.join([f'`{row.name}`', '', *_cells(row), '', '', ''])} |")
    bounds = [
        "1" if metric == SCORE else f"{results.bound[metric].mean():{form}}" if metric in results.bound else ""
        for metric, (_, form) in COLUMNS.items()
    ]
    lines.append(f"| {' | '.join(['upper bound', '', *bounds, '', '', ''])} |")
    return "\n".join([*lines, *_remarks(results, variants)]) + "\n"


def difference_tables(results: Results, differences: Sequence[Difference]) -> str:
    """All tables of differences below what they have in common; empty without any."""
    if not differences:
        return ""
    text = (
        "\n## Differences\n\n"
        "In J, paired by window. Share of span: of J_bound - J_random, on average "
        f"{results.span:.3f}. First interval: over training seeds on these windows (one training left out at a time); "
        "second: seeds and windows both taken as random (crossed analysis of variance). Better in: share of seeds and "
        "windows. Where one of the two began from initial networks and the other as a clone of a tuned rule, the row "
        "says so: it does not compare the methods.\n"
    )
    tables = (difference_table(results, each.minuend, each.subtrahends) for each in differences)
    return text + "".join(f"\n{table}" for table in tables)


def difference_table(results: Results, minuend: str, subtrahends: Sequence[str]) -> str:
    """One variant minus others, window by window.

    Seed k is paired with seed k of another variant (they share nothing but their number), and with the one run of a
    rule; seeds that only one of the two has are left out.
    """
    if minuend not in results.rows:
        return f"No differences: there are no results of {minuend}.\n"
    lines = [
        f"| `{minuend}` minus | seeds | J [95 % over seeds] | share of span [95 % over seeds] | "
        "J [95 % over seeds and windows] | better in |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in subtrahends:
        if name not in results.rows:
            lines.append(f"| {name} | 0 | not run | | | |")
            continue
        difference = paired_matrix(results.rows[minuend], results.rows[name])
        if not len(difference):
            lines.append(f"| {name} | 0 | no seed in common | | | |")
            continue
        seeds = trainings_interval([difference], mean)
        share = Interval(*(100 * value / results.span for value in (seeds.estimate, seeds.low, seeds.high)))
        better = probability_of_improvement(difference, np.zeros_like(difference))
        label = _labelled(results.rows[minuend], results.rows[name])
        cells = [label, str(len(difference)), _cell(seeds, "+.4f"), _cell(share, "+.1f", " %")]
        both = _cell(paired_interval([difference]), "+.4f") + (" (windows only)" if len(difference) == 1 else "")
        lines.append(f"| {' | '.join([*cells, both])} | {100 * better:.0f} % |")
    return "\n".join(lines) + "\n"


def study_tables(results: Results, studies: Mapping[str, Sequence[str]]) -> str:
    """Of each study its variants, and what they differ by from the first of them; empty without a study."""
    parts = []
    for study, members in studies.items():
        first = results.rows.get(members[0])
        lines = [
            f"## {study}",
            "",
            f"| variant | seeds | score IQM | J | J minus that of {members[0]} [95 % over seeds] |",
            "|---|---:|---:|---:|---:|",
        ]
        for name in members:
            row = results.rows.get(name)
            if row is None:
                lines.append(f"| {name} | 0 | not run | not run | |")
                continue
            cells = [name, str(len(row.seeds)), *(_cell(row.interval(m), COLUMNS[m][1]) for m in (SCORE, REWARD))]
            difference = paired_matrix(row, first) if first is not None and row is not first else np.zeros((0, 0))
            found = _cell(trainings_interval([difference], mean), "+.4f") if len(difference) else ""
            lines.append(f"| {' | '.join([*cells, found])} |")
        parts.append("\n".join(lines))
    return "".join(f"\n{part}\n" for part in parts)


def paired_matrix(first: Row, second: Row) -> Floats:
    """First minus second in J on the same windows, ``[seeds, windows]``; seeds that both have, all for a rule."""
    if not second.trained:
        return first.metrics[REWARD] - second.metrics[REWARD]
    common = [seed for seed in first.seeds if seed in second.seeds]
    if not common:
        return np.zeros((0, first.metrics[REWARD].shape[1]))
    rows = [row.metrics[REWARD][[row.seeds.index(seed) for seed in common]] for row in (first, second)]
    return rows[0] - rows[1]


def _labelled(minuend: Row, subtrahend: Row) -> str:
    """The name of what is subtracted, and how it began if that differs."""
    if subtrahend.warm_start is None or subtrahend.warm_start == minuend.warm_start:
        return subtrahend.name
    beginnings = {True: "a clone", False: "initial networks"}
    return f"{subtrahend.name} (**from {beginnings[subtrahend.warm_start]}**)"


def _remarks(results: Results, variants: Sequence[Row]) -> list[str]:
    """What a reader must know before comparing: seeds of a variant that were not trained alike, stale files."""
    remarks = []
    for row in variants:
        for seed, described in zip(row.seeds[1:], row.descriptions[1:], strict=True):
            found = different_default(
                row.descriptions[0]["training"]["settings"], described["training"]["settings"], row.name
            )
            if found:
                remarks.append(f"Seeds {row.seeds[0]} and {seed} were not trained alike: {found}.")
    epochs = {described["training"]["epochs"] for row in variants for described in row.descriptions}
    if len(epochs) > 1:
        remarks.append(f"Trainings differ in epochs: {', '.join(map(str, sorted(epochs)))}.")
    if results.stale:
        remarks.append(f"Left out, of other windows or constants: {', '.join(results.stale)}.")
    return ["", *remarks] if remarks else []


def _cells(row: Row) -> list[str]:
    return [_cell(row.interval(metric), form) for metric, (_, form) in COLUMNS.items()]


def _cell(interval: Interval, form: str, unit: str = "") -> str:
    text = f"{interval.estimate:{form}}{unit}"
    return text if math.isnan(interval.low) else f"{text} [{interval.low:{form}}, {interval.high:{form}}]"


def _known_mean(values: Floats) -> Floats:
    found: Floats = np.nanmean(values, axis=-1)
    return found


def _seed_of(file: Path) -> int:
    return int(file.name.removeprefix("seed_").removesuffix(".metadata.json"))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
