"""HRAC + LGRS on the real Google 2011 excerpt against every heuristic, on test windows that nothing was chosen on.

    python benchmarks/google2011.py path/to/google-clusterdata-2011-2 --seeds 3 --minutes 10

Imports the published files, trains one policy a seed on hours 0 to 12 (validation on hours 12 to 15 picks the
checkpoint), evaluates all agents on the same test windows (hours 15 on) and writes raw per-episode results, their
metadata and a Markdown table to ``benchmarks/results/google2011``. Finished steps are not repeated, so the command
can be given again after an interruption; ``--resume`` is passed to trainings that had begun.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from cloudsched_env.agents.registry import PLACEMENTS
from cloudsched_env.evaluation.export import write_json
from cloudsched_env.evaluation.protocol import AgentResult, Evaluation, evaluate
from cloudsched_env.evaluation.statistics import bootstrap_interval, interquartile_mean, mean

console = Console()

TUNED = "static(background_level=3,admission_level=2)"
RIVALS = [
    *PLACEMENTS,
    *(f"{name}+reactive" for name in PLACEMENTS if name != "random"),
    *(f"{name}+{TUNED}" for name in ("balanced", "least_allocated", "bounded_load_hash", "power_of_two")),
    "linear_static",
    "linear_feedback",
]
COLUMNS = {
    "team_reward": ("team reward", ".3f"),
    "useful_utilisation": ("useful CPU", ".3f"),
    "allocated_cpu": ("allocated CPU", ".3f"),
    "scheduling_latency_mean_ms": ("latency mean ms", ".0f"),
    "scheduling_latency_p95_ms": ("p95 ms", ".0f"),
    "slo_attainment": ("SLO", ".3f"),
    "minimum_tenant_share": ("min share", ".2f"),
}


def cloudsched(*arguments: str) -> None:
    """Run a command as a user would, and stop if it fails."""
    console.print(f"[bold]$ cloudsched {shlex.join(arguments)}[/bold]", highlight=False, soft_wrap=True)
    command = [sys.executable, "-c", "from cloudsched_env.cli import main; main()", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise typer.Exit(1)


def interval_cell(values: np.ndarray, form: str, *, score: bool = False) -> str:
    """An estimate with its 95 % bootstrap interval; the interquartile mean for scores, the mean otherwise."""
    statistic = interquartile_mean if score else mean
    found = bootstrap_interval(values, np.random.default_rng(0), statistic=statistic)
    return f"{found.estimate:{form}} [{found.low:{form}}, {found.high:{form}}]"


def markdown(evaluation: Evaluation, trained: list[str], command: str) -> str:
    """The comparison as a table, agents by score; the trained policies of all seeds also as one row."""
    rows: list[tuple[float, str]] = []

    def row(name: str, score: np.ndarray, metrics: dict[str, np.ndarray], decision_us: float) -> None:
        cells = [f"| {name}", interval_cell(score, ".3f", score=True)]
        cells += [interval_cell(metrics[key], form) for key, (_, form) in COLUMNS.items()]
        rows.append((float(np.mean(score)), " | ".join([*cells, f"{decision_us:.0f} |"])))

    by_name: dict[str, AgentResult] = {agent.name: agent for agent in evaluation.agents}
    policies = [by_name[name] for name in trained]
    if policies:
        # As rliable does: training seeds are resampled within each window, so the interval is about seeds.
        metrics = {key: np.stack([p.metrics[key] for p in policies]) for key in COLUMNS}
        score = np.stack([evaluation.score(p) for p in policies])
        row(f"**HRAC + LGRS** ({len(policies)} seeds)", score, metrics, np.mean([p.decision_time_us for p in policies]))
    for agent in evaluation.agents:
        row(f"`{agent.name}`", evaluation.score(agent), dict(agent.metrics), agent.decision_time_us)
    head = ["agent", "score (IQM)", *(title for title, _ in COLUMNS.values()), "decision us"]
    bound = {key: float(np.mean(values)) for key, values in evaluation.bound.items()}
    lines = [
        f"Scenario {evaluation.scenario.id}, split {evaluation.split}, {evaluation.episodes} episodes, data: "
        f"{evaluation.data_tag}. Score = (J - J_random) / (J_bound - J_random); brackets are 95 % bootstrap intervals.",
        "Upper bound: " + ", ".join(f"{key} {value:.3f}" for key, value in bound.items()) + ".",
        "",
        f"Command: `{command}`",
        "",
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
        *(text for _, text in sorted(rows, key=lambda entry: -entry[0])),
    ]
    return "\n".join(lines) + "\n"


def main(
    trace: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of the published files.")],
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds.")] = 3,
    minutes: Annotated[float, typer.Option(min=0.1, help="Training minutes of a seed.")] = 10.0,
    episodes: Annotated[int, typer.Option(min=1, help="Test episodes.")] = 30,
    runs: Annotated[Path, typer.Option(help="Folder of trainings and the imported trace.")] = Path("runs/google2011"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("benchmarks/results/google2011"),
    only_seed: Annotated[
        int | None, typer.Option(help="Train just this seed and stop; runs seeds side by side.")
    ] = None,
) -> None:
    """Import, train, evaluate, record."""
    runs.mkdir(parents=True, exist_ok=True)
    tasks = runs / "tasks.parquet"
    if not tasks.exists():
        cloudsched("traces", "import", "google2011", str(trace), "-o", str(tasks))
    specs: list[str] = []
    names: list[str] = []
    for seed in range(seeds) if only_seed is None else [only_seed]:
        folder = runs / f"seed{seed}"
        if not (folder / "finished").exists():
            begun = ["--resume", str(folder)] if (folder / "latest.json").exists() else []
            fresh = ["hrac_lgrs", "--scenario", "paper-v1", "--trace", str(tasks), "--seed", str(seed)]
            where = begun or [*fresh, "--out", str(folder)]
            cloudsched("train", *where, "--stop-minutes", f"{minutes:g}")
            (folder / "finished").touch()
        names.append(f"hrac_lgrs_seed{seed}")
        specs.append(f'{folder / "policy"}(name="{names[-1]}")')
    if only_seed is not None:
        return
    command = shlex.join(["python", "benchmarks/google2011.py", "path/to/google-clusterdata-2011-2", *sys.argv[2:]])
    with console.status("Evaluating on test windows"):
        evaluation = evaluate([*specs, *RIVALS], "paper-v1", "test", episodes, 0, tasks)
    out.mkdir(parents=True, exist_ok=True)
    write_json(evaluation, out / "results.json", command)
    table = markdown(evaluation, names, command)
    (out / "table.md").write_text(table, encoding="utf-8")
    console.print(table, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
