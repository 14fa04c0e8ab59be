"""Write the suite files of the leaderboard from the committed evaluation lists.

    python benchmarks/leaderboard/make_suites.py [--trace google.parquet]

Without a trace, only the suites of generated work and ``transfer`` are written. Files that exist are left alone unless
what would be written differs, and then nothing is written: a changed list needs a new version (`VERSION`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.source import TraceSource
from cloudsched_env.workload.splits import EvaluationEntry, committed_entries
from cloudsched_env.workload.window import InfeasibleWindowError

FOLDER = Path(__file__).parents[2] / "cloudsched_env" / "leaderboard" / "suites"
VERSION = 1
RUNS = 10
OPERATOR = "google2011"
STRESS = (
    "loss-30-v1", "loss-70-v1", "loss-50-bursty-v1", "stale-50-v1", "tenants-4-v1", "tenants-64-v1", "failures-v1",
    "flash-crowd-v1", "hot-shift-v1",
)  # fmt: skip


def generated(scenario: str, count: int, batch: int = 10) -> dict[str, Any]:
    """The first windows of the generator's test list: variants of one scenario share them."""
    load_scenario(scenario)
    windows = [{"seed": entry.seed} for entry in committed_entries("generated", "test")[:count]]
    return {"scenario": scenario, "batch": batch, "windows": windows}


def by_share(scenario: str, count: int, batch: int = 10) -> dict[str, Any]:
    """Windows spread evenly over the test split of any trace, in random order."""
    shares = np.random.default_rng(0).permutation(count) / (count - 1)
    seeds = [entry.seed for entry in committed_entries("generated", "test")[:count]]
    windows = [{"seed": seed, "share": round(float(s), 6)} for seed, s in zip(seeds, shares, strict=True)]
    return {"scenario": scenario, "batch": batch, "windows": windows}


def of_trace(scenario: str, trace: Path, count: int, batch: int = 10) -> dict[str, Any]:
    """The first windows of the excerpt's test list that can carry the scenario's load."""
    source, windows = TraceSource(trace, scenario, "test"), []
    for entry in committed_entries("google2011-excerpt", "test"):
        try:
            source.entry_episode(EvaluationEntry(entry.seed, entry.start_s))
        except InfeasibleWindowError:
            continue
        windows.append({"seed": entry.seed, "start_s": entry.start_s})
        if len(windows) == count:
            return {"scenario": scenario, "batch": batch, "windows": windows}
    raise ValueError(f"{scenario}: {len(windows)} feasible windows, {count} wanted")


def write(name: str, description: str, runs: int, workload: dict[str, Any], scenarios: list[dict[str, Any]]) -> None:
    """Write one suite, one window a line."""
    values = {"name": name, "version": VERSION, "description": description, "runs": runs, "workload": workload}
    blocks = []
    for entry in scenarios:
        lines = ",\n".join("    " + json.dumps(window) for window in entry["windows"])
        blocks.append(
            f'  {{"scenario": {json.dumps(entry["scenario"])}, "batch": {entry["batch"]}, "windows": [\n{lines}\n  ]}}'
        )
    text = json.dumps(values)[:-1] + ', "scenarios": [\n' + ",\n".join(blocks) + "\n]}\n"
    path = FOLDER / f"{name}-v{VERSION}.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != json.loads(text):
        raise typer.BadParameter(f"{path.name} would change: raise VERSION, published lists stay as they are")
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {sum(len(entry['windows']) for entry in scenarios)} windows x {runs} runs")


def main(trace: Annotated[Path | None, typer.Option(help="imported Google 2011 excerpt")] = None) -> None:
    """Write all suites."""
    on_generator = {"kind": "generated", "operator": OPERATOR}
    write("quick", "Two small scenarios: a first look within a minute", 5, on_generator,
          [generated("tiny-v1", 10), generated("paper-v1", 4, 4)])  # fmt: skip
    write("standard", "25, 50 and 250 agents on generated work: the headline, needs no data", RUNS, on_generator,
          [generated("paper-v1", 30), generated("medium-v1", 20), generated("large-v1", 10, 5)])  # fmt: skip
    write("stress", "25 agents under lost and late telemetry, other numbers of tenants, crashes, flash crowds, moving "
          "hot sets", RUNS, on_generator, [generated(scenario, 10) for scenario in STRESS])  # fmt: skip
    write("transfer", "Trained on one operator, played on windows of another operator's trace", RUNS,
          {"kind": "trace", "not_operator": OPERATOR}, [by_share("paper-v1", 20)])  # fmt: skip
    if trace is not None:
        # A window of large-v1 holds ten times the tasks, more than the excerpt has.
        write("trace", "25 and 50 agents on test windows of the Google 2011 trace", RUNS,
              {"kind": "trace", "operator": OPERATOR},
              [of_trace("paper-v1", trace, 30), of_trace("medium-v1", trace, 20)])  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
