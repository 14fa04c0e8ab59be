"""Tables of documents that are made of the records in ``benchmarks/results/tables`` and of one headroom study."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cloudsched_env.evaluation.statistics import Interval, paired_difference
from cloudsched_env.headroom.span import ratio_interval

ROOT = pathlib.Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "results" / "tables"
STUDY = ROOT / "benchmarks" / "results" / "headroom" / "paper-v1-excerpt.json"

Row = Mapping[str, Any]


def load_record(name: str) -> dict[str, Any]:
    """A record by the stem of its file."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def table(header: list[str], rows: list[list[str]], numbers_from: int = 1) -> str:
    """A Markdown table; columns from ``numbers_from`` on are aligned as numbers."""
    rule = ["---" if column < numbers_from else "---:" for column in range(len(header))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))


def origin(name: str, record: Mapping[str, Any]) -> str:
    """Where the figures of a table come from."""
    return (
        f"\n{record['episodes']} {record['split']} episodes, the same for all; seed {record['seed']}, data tag "
        f"*{record['data_tag']}*. ±: standard error. Brackets: paired differences with 95 % bootstrap intervals.\n"
        f"`{record['command']}` writes `benchmarks/results/tables/{name}.json`.\n"
    )


def mean_cell(values: Any, digits: int = 3) -> str:
    """Mean ± standard error over episodes."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def interval_cell(interval: Interval, scale: float = 1.0, digits: int = 3) -> str:
    """An estimate with its sign and its interval."""
    shown = (f"{scale * value:+.{digits}f}" for value in (interval.estimate, interval.low, interval.high))
    estimate, low, high = (text if float(text) else text[1:] for text in shown)
    return f"{estimate} [{low}, {high}]"


def difference_cell(values: Any, baseline: Any) -> str:
    """Paired difference of two rows of episodes."""
    return interval_cell(paired_difference(values, baseline, np.random.default_rng(0)))


def candidates_table() -> str:
    """Team reward by the number of candidate nodes, and differences from the default."""
    record = load_record("candidates")
    cells: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in record["rows"]:
        for agent, metrics in row["agents"].items():
            count = row["overrides"]["scheduling.candidate_nodes"]
            cells.setdefault((row["scenario"], agent), {})[count] = metrics["team_reward"]
    counts = sorted({count for row in cells.values() for count in row})
    rows = []
    for (scenario, agent), row in cells.items():
        shown = [
            "" if count not in row
            else mean_cell(row[count]) if count == 16
            else difference_cell(row[count], row[16])
            for count in counts
        ]  # fmt: skip
        rows.append([f"`{scenario}`", f"`{agent}`", *shown])
    header = ["scenario", "rule", *(f"K = {count}" if count == 16 else f"{count} minus 16" for count in counts)]
    return table(header, rows, 2) + origin("candidates", record)


def hot_shift_table() -> str:
    """Rules with and without shifts and compaction, and what switching each of them off changes."""
    record = load_record("hot-shift")
    as_it_is, no_shifts, no_compaction, neither = (row["agents"] for row in record["rows"])
    agents = list(as_it_is)
    rows = []
    for row in record["rows"]:
        of = row["agents"]
        cells = (f"{mean_cell(of[a]['team_reward'])}, {np.mean(of[a]['cache_hit_ratio']):.2f}" for a in agents)
        rows.append([changed(row) or f"`{row['scenario']}`", *cells])
    for label, without, with_it in (
        ("shifts off", no_shifts, as_it_is),
        ("shifts off, where compaction is off", neither, no_compaction),
        ("compaction off", no_compaction, as_it_is),
    ):
        pairs = ((without[agent]["team_reward"], with_it[agent]["team_reward"]) for agent in agents)
        rows.append([f"difference: {label}", *(difference_cell(*pair) for pair in pairs)])
    return table(["", *(f"`{agent}`" for agent in agents)], rows) + origin("hot-shift", record)


def elastic_table() -> str:
    """Rules that keep all nodes on, the fewest, or some."""
    record = load_record("elastic")
    (row,) = record["rows"]
    reference = next(iter(row["agents"].values()))["team_reward"]
    rows = [
        [
            f"`{agent}`",
            mean_cell(metrics["team_reward"]),
            "" if metrics["team_reward"] is reference else difference_cell(metrics["team_reward"], reference),
            *(f"{np.mean(metrics[name]):.2f}" for name in ("active_core_share", "goodput", "slo_attainment")),
            f"{np.mean(metrics['scheduling_latency_p95_ms']) / 1000:.1f}",
            f"{np.mean(metrics['bounced']):,.0f}",
        ]
        for agent, metrics in row["agents"].items()
    ]
    rows.append(["upper bound", mean_cell(row["bound"]), *[""] * 6])
    header = ["agent", "J", "minus the first", "cores not asleep", "goodput", "SLO attainment"]
    header += ["p95 scheduling latency, s", "bounced tasks"]
    return table(header, rows) + origin("elastic", record)


def switches_table() -> str:
    """Quorum and spilling off on several scenarios."""
    record = load_record("switches")
    variants: dict[tuple[str, str], dict[str, Row]] = {}
    for row in record["rows"]:
        off = [name for name, value in row["overrides"].items() if value is False]
        others = {name: value for name, value in row["overrides"].items() if name not in off}
        variants.setdefault((row["scenario"], changed({"overrides": others})), {})[", ".join(off)] = row["agents"]
    rows = []
    for (scenario, others), agents in variants.items():
        for agent, metrics in agents[""].items():
            on = metrics["team_reward"]
            differences = (
                difference_cell(agents[name][agent]["team_reward"], on)
                for name in ("storage.quorum_enabled", "compute.spill_enabled")
            )
            shown = f"`{scenario}`" + (f", {others}" if others else "")
            rows.append([shown, f"`{agent}`", mean_cell(on), *differences])
    return table(["scenario", "agent", "J", "quorum off", "spill off"], rows, 2) + origin("switches", record)


def levers_table() -> str:
    """What the tuned feedback policy loses with a role that does not adapt, as a share of the span."""
    record = load_record("levers")
    rows = []
    for row in record["rows"]:
        rewards = {agent: np.array(metrics["team_reward"]) for agent, metrics in row["agents"].items()}
        random, tuned, scheduler, compute = rewards.values()
        span = np.array(row["bound"]) - random
        losses = [
            interval_cell(ratio_interval(tuned - other, span, 0), 100, 1) + " %" for other in (compute, scheduler)
        ]
        rows.append([f"`{row['scenario']}`", changed(row), mean_cell(tuned), *losses])
    header = ["scenario", "changed", "J, `linear_feedback`", "compute nodes at constants", "static scheduler"]
    return table(header, rows, 2) + origin("levers", record)


def changed(row: Row) -> str:
    """The overrides of a row in words."""
    return ", ".join(f"`{name}` {str(value).lower() if value is False else f'{value:g}'}" for name, value in
                     row["overrides"].items())  # fmt: skip


def couplings_table() -> str:
    """Of every coupling of the excerpt's study: what is left of the gap without it, and what others gain."""
    study = json.loads(STUDY.read_text(encoding="utf-8"))
    variants = study["results"]["couplings"]["variants"]
    on = variants["all on"]["team_reward"]
    rows = []
    for name, variant in variants.items():
        if name == "all on":
            continue
        rewards = variant["team_reward"]
        closed = ratio_interval(_gap(on) - _gap(rewards), _gap(on), study["settings"].get("seed", 0))
        gains = [difference_cell(rewards[agent], on[agent]) for agent in ("random", "simple", "feedback")]
        rows.append([f"`{name[:-4]}`" if "." in name else name, interval_cell(closed, 100, 0) + " %", *gains])
    return table(["off", "gap closed", "random", "simple", "tuned feedback"], rows)


def _gap(rewards: Mapping[str, list[float]]) -> np.ndarray:
    """J of the best tuned policy minus that of the simple one, by window, as the gate has it."""
    tuned = max((rewards[name] for name in ("static", "feedback", "retuned") if name in rewards), key=np.mean)
    return np.array(tuned) - np.array(rewards["simple"])


PARTS = {
    "candidates": candidates_table,
    "hot_shift": hot_shift_table,
    "elastic": elastic_table,
    "switches": switches_table,
    "levers": levers_table,
    "couplings": couplings_table,
}
DOCUMENTS = (ROOT / "docs" / "simulator.md", ROOT / "docs" / "calibration.md")
