"""All shipped algorithms against every rule, on test windows that nothing was chosen on.

    python benchmarks/comparison.py tasks.parquet --seeds 5 --epochs 100 --jobs 2
    python benchmarks/comparison.py tasks.parquet --seeds 1 --algorithms qmix,vdn --warm-start ''
    python benchmarks/comparison.py tasks.parquet --seeds 5 --epochs 100 --evaluate --table  # of what is trained so far
    python benchmarks/comparison.py tasks.parquet --seeds 5 --epochs 100 --publish           # baselines/<variant>/

What each row was trained with is written in ``comparison.yaml``. TRACE is a task table (``.parquet``) or a folder of
published files, which is imported first; without one, work is generated. Steps, all but the last without being named:

* ``--train``: every variant with every seed for the same number of epochs (equal env steps), seed 0 of all variants
  first, ``--jobs`` at a time, each `cloudsched train` in a process of its own.
* ``--evaluate``: rules, the random agent and the policies of finished trainings (the checkpoint that was best on
  validation windows) on the same test windows, one after the other; raw results in marl-eval's layout.
* ``--table``: ``table.md`` and the learning curves, of whatever has been evaluated.
* ``--publish``: for every variant the policies of all seeds, with configuration, curves and command.

Nothing is lost by Ctrl-C, a kill or a power cut, and nothing is repeated: give the same command again. More epochs go
on with finished trainings; what failed is reported at the end and tried again by the next command.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from comparison.evaluations import (
    KUBE_DEFAULT,
    TEST,
    VALIDATION,
    Windows,
    entries,
    evaluate_all,
    validate_rules,
    validation_episodes,
)
from comparison.figure import draw_curves
from comparison.publish import publish
from comparison.tables import difference_table, load_results, main_table
from comparison.trainings import FINISHED, NEW, Plan, Training, order, record_expert, run_cloudsched, train_all
from comparison.variants import Experiment, check_settings, choose, read_experiment
from rich.console import Console

from cloudsched_env.agents.registry import PLACEMENTS
from cloudsched_env.leaderboard.store import write_file
from cloudsched_env.rllib.ray_session import silence_ray

HERE = Path(__file__).resolve().parent
TUNED = "static(background_level=3,admission_level=2)"
RIVALS = [
    *PLACEMENTS,
    *(f"{name}+reactive" for name in PLACEMENTS if name != "random"),
    *(f"{name}+{TUNED}" for name in ("balanced", "least_allocated", "bounded_load_hash", "power_of_two")),
    "linear_static",
    "linear_feedback",
]
INTERRUPTED = 130


def main(
    trace: Annotated[Path | None, typer.Argument(exists=True, help="Task table, or folder of published files.")] = None,
    scenario: Annotated[str, typer.Option(help="Scenario id.")] = "paper-v1",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 100,
    algorithms: Annotated[
        str | None, typer.Option(help="Algorithms to train from initial networks, with commas; all by default.")
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(help="Algorithms to train from a clone; those of --algorithms by default."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Just this variant; repeatable.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    runs: Annotated[Path, typer.Option(help="Folder of trainings.")] = Path("runs/comparison"),
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/comparison"),
    variants: Annotated[Path, typer.Option(exists=True, help="What to train.")] = HERE / "comparison.yaml",
    episodes: Annotated[int, typer.Option(min=1, help="Test windows.")] = 30,
    rival: Annotated[list[str] | None, typer.Option(help="Rules to evaluate; repeatable; all by default.")] = None,
    trace_format: Annotated[str, typer.Option("--format", help="Of published files.")] = "google2011",
    baselines: Annotated[Path, typer.Option(help="Where --publish writes.")] = Path("baselines"),
    train: Annotated[bool, typer.Option("--train", help="Only this step, and others that are named.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Likewise.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Likewise.")] = False,
    publish_too: Annotated[bool, typer.Option("--publish", help="Likewise; never done without being named.")] = False,
) -> None:
    """Train, evaluate, tabulate, publish."""
    silence_ray()
    console = Console(stderr=True)
    everything = not (train or evaluate or table or publish_too)
    failures: list[str] = []
    try:
        experiment = read_experiment(variants)
        chosen = choose(experiment.variants, _names(algorithms), _names(warm_start), only or ())
        settings = check_settings(chosen) if train or everything else {}
        tasks = import_trace(trace, trace_format, runs, console)
        plan = Plan(runs, scenario, tasks, fingerprint(tasks), epochs, experiment.expert, experiment.recorded_episodes)
        plan.keep()
        trainings = order(plan, chosen, seeds)
        for training in trainings if settings else ():
            training.check_defaults(settings[training.variant.name])
        command = shlex.join(["python", "benchmarks/comparison.py", *_portable_arguments(trace)])
        if train or everything:
            failures = train_step(plan, trainings, jobs, console)
        if evaluate or everything:
            evaluate_step(plan, trainings, rival or RIVALS, episodes, out, command, console)
        if table or everything:
            table_step(experiment, out, command)
        if publish_too:
            publish_step(plan, trainings, out, command, baselines, trace_format, console)
    except typer.Exit:  # is a RuntimeError too
        raise
    except (ValueError, RuntimeError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from error
    for failure in failures:
        console.print(failure, style="red", markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def import_trace(trace: Path | None, trace_format: str, runs: Path, console: Console) -> Path | None:
    """The task table: what was given, or the published files imported into ``runs``."""
    if trace is None or trace.is_file():
        return trace
    tasks = runs / "tasks.parquet"
    if not tasks.exists():
        runs.mkdir(parents=True, exist_ok=True)
        run_cloudsched(["traces", "import", trace_format, str(trace), "-o", str(tasks)], console)
    return tasks


def fingerprint(tasks: Path | None) -> str:
    """What tells a task table from others, 12 hexadecimal digits of its bytes."""
    if tasks is None:
        return "generated"
    with tasks.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def train_step(plan: Plan, trainings: list[Training], jobs: int, console: Console) -> list[str]:
    """Do the trainings that are missing; returns what failed."""
    if any(t.variant.warm_start and t.status(plan.epochs) == NEW for t in trainings):
        record_expert(plan, console)
    failures, interrupted = train_all(plan, trainings, jobs, console)
    if interrupted:
        console.print("interrupted; give the same command again to go on")
        raise typer.Exit(INTERRUPTED)
    return failures


def evaluate_step(
    plan: Plan, trainings: list[Training], rules: list[str], episodes: int, out: Path, command: str, console: Console
) -> None:
    """Play what has not been played, on the test windows; two rules also on those of validation."""
    wanted = entries([*rules, plan.expert, KUBE_DEFAULT], trainings, plan.epochs)
    finished = [entry.training for entry in wanted if entry.training is not None]
    unfinished = len(trainings) - len(finished)
    if unfinished:
        console.print(f"{unfinished} of {len(trainings)} trainings are not finished and are left out", style="yellow")
    played = evaluate_all(Windows(plan.scenario, plan.trace, plan.data, TEST, episodes), wanted, out, command, console)
    console.print(f"{played} agents played, {len(wanted) - played} were played before", highlight=False)
    if finished:
        count = validation_episodes(finished)
        windows = Windows(plan.scenario, plan.trace, plan.data, VALIDATION, count)
        validate_rules(windows, [plan.expert, KUBE_DEFAULT], out)


def table_step(experiment: Experiment, out: Path, command: str) -> None:
    """Write and print both tables, and draw the curves."""
    results = load_results(out)
    names = [variant.name for variant in experiment.variants]
    text = main_table(results, names, experiment.expert, command)
    if experiment.minuend is not None:
        text += "\n" + difference_table(results, experiment.minuend, experiment.subtrahends)
    if any(row.curves for row in results.trained):
        draw_curves(results, names, out / "curves.svg")
        text += "\n![Learning curves](curves.svg)\n"
    write_file(out / "table.md", text)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def publish_step(
    plan: Plan,
    trainings: list[Training],
    out: Path,
    command: str,
    folder: Path,
    trace_format: str,
    console: Console,
) -> None:
    """Write the folder of every variant whose trainings are finished and evaluated."""
    results = load_results(out)
    by_variant: dict[str, list[Training]] = {}
    for training in trainings:
        row = results.rows.get(training.variant.name)
        if training.status(plan.epochs) == FINISHED and row is not None and training.seed in row.seeds:
            by_variant.setdefault(training.variant.name, []).append(training)
    if not by_variant:
        raise ValueError("no variant has a training that is finished and evaluated: nothing to publish")
    for of_variant in by_variant.values():
        console.print(str(publish(plan, of_variant, results, command, folder, trace_format)), highlight=False)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _portable_arguments(trace: Path | None) -> list[str]:
    """The arguments of this command, with the trace's name instead of where it lay."""
    return [trace.name if trace is not None and part == str(trace) else part for part in sys.argv[1:]]


if __name__ == "__main__":
    typer.run(main)
