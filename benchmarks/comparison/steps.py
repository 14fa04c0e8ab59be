"""The steps of a comparison: train, evaluate, tabulate, publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.console import Console

from cloudsched_env.leaderboard.episodes import trace_tasks
from cloudsched_env.rllib.portable import portable_command
from cloudsched_env.rllib.ray_session import ray_session, silence_ray
from cloudsched_env.whole_file import write_whole
from comparison.evaluations import (
    KUBE_DEFAULT,
    TEST,
    VALIDATION,
    Windows,
    entries,
    evaluate_all,
    is_reported,
    validate_rules,
    validation_episodes,
)
from comparison.figure import draw_curves
from comparison.publish import publish
from comparison.remote import spawn_on_cluster
from comparison.tables import difference_tables, load_results, main_table, study_tables
from comparison.trainings import FINISHED, NEW, Plan, Training, order, record_expert, run_cloudsched, spawn, train_all
from comparison.variants import Experiment, Variant, check_settings, choose, of_studies, read_experiment

__all__ = ["STEPS", "Options", "run_steps"]

TRAIN, EVALUATE, TABLE, PUBLISH = STEPS = ("train", "evaluate", "table", "publish")
INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What is compared, on what, and how much of it is done now.

    Attributes:
        variants: file of variants.
        runs: folder of trainings.
        out: folder of results.
        rivals: rules to evaluate beside the expert and kube-scheduler's default.
        script: name of the script, for the command that is written into results.
        trace: task table, or folder of published files; None draws from the generator.
        trace_format: of published files.
        scenario: id.
        seeds: trainings of each variant.
        epochs: of each training.
        algorithms: whose variants without warm start are wanted; None for all.
        warm_start: whose variants with warm start are wanted; None for those of ``algorithms``.
        only: names of variants; the two above do not matter then.
        studies: names of studies whose variants are wanted; none for all.
        jobs: trainings at a time.
        address: Ray cluster to train on (``local`` starts one here); None for processes of this machine.
        episodes: test windows.
        baselines: where policies are published.
        steps: some of `STEPS`; none for all but the last.
    """

    variants: Path
    runs: Path
    out: Path
    rivals: Sequence[str]
    script: str
    trace: Path | None = None
    trace_format: str = "google2011"
    scenario: str = "paper-v1"
    seeds: int = 5
    epochs: int = 100
    algorithms: Sequence[str] | None = None
    warm_start: Sequence[str] | None = None
    only: Sequence[str] = ()
    studies: Sequence[str] = ()
    jobs: int = 1
    address: str | None = None
    episodes: int = 30
    baselines: Path = Path("baselines")
    steps: Sequence[str] = field(default=())


def run_steps(options: Options) -> None:
    """Do the steps that are wanted.

    Raises:
        typer.Exit: something failed, which has been said.
    """
    silence_ray()
    console = Console(stderr=True)
    steps = options.steps or (TRAIN, EVALUATE, TABLE)
    failures: list[str] = []
    try:
        experiment = read_experiment(options.variants)
        chosen = of_studies(experiment, options.studies)
        chosen = choose(chosen, options.algorithms, options.warm_start, options.only)
        settings = check_settings(chosen) if TRAIN in steps else {}
        tasks = import_trace(options.trace, options.trace_format, options.runs, console)
        plan = Plan(
            options.runs,
            options.scenario,
            tasks,
            digest_of_tasks(tasks),
            options.epochs,
            experiment.expert,
            experiment.recorded_episodes,
        )
        plan.keep()
        trainings = order(plan, chosen, options.seeds)
        for training in trainings if settings else ():
            training.check_defaults(settings[training.variant.name])
        key = Windows(plan.scenario, plan.trace, plan.data, TEST, options.episodes).key
        known = [
            t for t in trainings if is_reported(t, options.out, key, plan.epochs, settings.get(t.variant.name, {}))
        ]
        if known:
            console.print(f"{len(known)} trainings have results in {options.out} and no run here; they are done")
            trainings = [t for t in trainings if t not in known]
        command = portable_command(options.script)
        if TRAIN in steps:
            failures = train_step(plan, trainings, options, console)
        if EVALUATE in steps:
            evaluate_step(plan, trainings, list(options.rivals), options.episodes, options.out, command, console)
        if TABLE in steps:
            table_step(experiment, options.studies, options.out, command)
        if PUBLISH in steps:
            publish_step(
                plan, chosen, trainings, options.out, command, options.baselines, options.trace_format, console
            )
    except typer.Exit:  # is a RuntimeError too
        raise
    except (ValueError, RuntimeError, ConnectionError) as error:
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


def digest_of_tasks(tasks: Path | None) -> str:
    """What tells a task table from others in results."""
    return "generated" if tasks is None else trace_tasks(str(tasks)).digest


def train_step(plan: Plan, trainings: list[Training], options: Options, console: Console) -> list[str]:
    """Do the trainings that are missing; returns what failed."""
    if any(t.variant.warm_start and t.status(plan.epochs) == NEW for t in trainings):
        record_expert(plan, console)
    if options.address is None:
        failures, interrupted = train_all(plan, trainings, options.jobs, console, start=spawn)
    else:
        with ray_session(None if options.address == "local" else options.address, workers=options.jobs):
            failures, interrupted = train_all(plan, trainings, options.jobs, console, start=spawn_on_cluster)
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


def table_step(experiment: Experiment, studies: Sequence[str], out: Path, command: str) -> None:
    """Write and print all tables, and draw the curves."""
    results = load_results(out)
    names = [variant.name for variant in experiment.variants]
    text = main_table(results, names, experiment.expert, command)
    text += study_tables(results, {name: experiment.studies[name] for name in studies or experiment.studies})
    text += difference_tables(results, experiment.differences)
    if any(row.curves for row in results.trained):
        draw_curves(results, names, out / "curves.svg")
        text += "\n![Learning curves](curves.svg)\n"
    write_whole(out / "table.md", text)
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def publish_step(
    plan: Plan,
    variants: Sequence[Variant],
    trainings: list[Training],
    out: Path,
    command: str,
    folder: Path,
    trace_format: str,
    console: Console,
) -> None:
    """Write the folder of every variant that has results and policies, of trainings here or published before."""
    results = load_results(out)
    written = []
    for name in (variant.name for variant in variants if variant.name in results.rows):
        finished = [
            t
            for t in trainings
            if t.variant.name == name and t.status(plan.epochs) == FINISHED and t.seed in results.rows[name].seeds
        ]
        path = publish(plan, name, finished, results, command, folder, trace_format)
        if path is not None:
            written.append(path)
            console.print(str(path), highlight=False)
    if not written:
        raise ValueError("no variant has a training that is finished and evaluated: nothing to publish")
