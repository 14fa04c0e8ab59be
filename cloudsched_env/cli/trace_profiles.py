"""``cloudsched traces fit | generate | compare``: profiles of traces, and what is drawn from them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cloudsched_env.cli.reported import reported
from cloudsched_env.cli.trace_parts import PART_HELP, part_of
from cloudsched_env.whole_file import write_whole

if TYPE_CHECKING:
    from cloudsched_env.workload.comparison import StreamSample
    from cloudsched_env.workload.profile import Profile
    from cloudsched_env.workload.stream_profile import StreamProfile

__all__ = ["register"]

_WINDOW_S = 3600.0

_FIT_EPILOG = """
**Examples**

`cloudsched traces fit google.parquet -o google.json`

`cloudsched traces fit mine.parquet -o mine.json --part whole --kinds 64 --source "own cluster, May 2026"`
"""
_GENERATE_EPILOG = """
**Examples**

`cloudsched traces generate google2011-nested -o google.parquet --hours 6 --seed 1`

`cloudsched traces generate mine.json -o made --format google2011 --hours 2`
"""
_COMPARE_EPILOG = """
**Examples**

`cloudsched traces compare google.parquet google2011-nested --part-a held-out`

`cloudsched traces compare google.parquet google.parquet --part-a held-out --part-b train --figure drift.png`
"""


def register(app: typer.Typer) -> None:
    """Add the three commands to ``cloudsched traces``."""
    app.command(epilog=_FIT_EPILOG, no_args_is_help=True)(fit)
    app.command(epilog=_GENERATE_EPILOG, no_args_is_help=True)(generate)
    app.command(epilog=_COMPARE_EPILOG, no_args_is_help=True)(compare)


def fit(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A task table or a load table written by `cloudsched traces import`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="Profile to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the profile.", show_default="that of the file")] = None,
    part: Annotated[str, typer.Option(metavar="PART", help=PART_HELP)] = "train",
    kinds: Annotated[int, typer.Option(min=1, metavar="N", help="About how many kinds of jobs are told apart.")] = 48,
    clock_hour: Annotated[
        float, typer.Option(min=0, max=24, metavar="H", help="Hour of the day at second 0 of the trace's clock.")
    ] = 0.0,
    instant_s: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            max=10,
            metavar="S",
            help="Jobs closer than this count as sent at one instant. More than the clock's noise, less than the time "
            "between separate submissions; a clock that ticks in whole seconds is recognised and needs nothing here.",
            show_default="0.1",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Where the trace comes from.", show_default="as the table says")
    ] = None,
) -> None:
    """Fit a profile to a trace: bursts, users, names, kinds of jobs, requests and run times.

    By default only the train part of the time is looked at, so that the rest can be held against it.
    A profile holds statistics, no rows. Of a load table, rates, sizes and bursts of disks are fitted; `--kinds`,
    `--clock-hour` and `--instant-s` are of tasks.
    """
    from rich.progress import Progress

    from cloudsched_env.cli.load_profiles import fit_load_table, refuse_options
    from cloudsched_env.traces.formats import request_unit_of
    from cloudsched_env.traces.load_table import is_load_table
    from cloudsched_env.traces.table import load_tasks
    from cloudsched_env.workload.fit import FitConfig, fit_profile, job_table
    from cloudsched_env.workload.tasks import RawTasks

    errors = Console(stderr=True, highlight=False)
    with reported(errors):
        if output.suffix != ".json":
            raise ValueError(f"{output}: expected a name that ends in .json, by which scenarios find it")
        if is_load_table(file):
            refuse_options(context, ("kinds", "clock_hour", "instant_s"), "a load table")
            fit_load_table(file, output, name or output.stem, part, source)
            return
    with reported(errors), Progress(console=errors, transient=True) as progress:
        bar = progress.add_task("reading", total=6)

        def stage(text: str) -> None:
            progress.update(bar, advance=1, description=text)

        tasks = RawTasks.from_file(file)
        table = load_tasks(file, ("priority", "scheduling_class"))
        span = part_of(tasks.span_s, part)
        stage("jobs")
        jobs = job_table(tasks, span, table["priority"][tasks.row], table["scheduling_class"][tasks.row])
        metadata = table.metadata
        instant = FitConfig.instant_s if instant_s is None else instant_s
        provenance = {
            "source": source or f"{metadata.title}, {metadata.data_tag}",
            "authors": metadata.citation,
            "url": metadata.url,
            "licence": f"{metadata.licence}; this file holds fitted statistics, no rows of the trace",
            "fitted_on_s": [round(span[0], 3), round(span[1], 3)],
            "fitted_part": part,
            "marginals": {"all": f"fitted to rows of the trace ({metadata.data_tag})"},
            "command": f"cloudsched traces fit --part {part} --kinds {kinds} --clock-hour {clock_hour:g} "
            f"--instant-s {instant:g}",
        }
        hour = (clock_hour + span[0] / 3600.0) % 24.0
        config = FitConfig(
            kinds=kinds, clock_hour=hour, machine_memory_gb=request_unit_of(metadata).memory_gb, instant_s=instant
        )
        data = fit_profile(jobs, name or output.stem, provenance, config, stage)
        write_whole(output, _profile_text(data))
    console = Console(highlight=False)
    arrivals = data["arrivals"]
    console.print(
        f"{output}: {len(jobs.arrival_s):,} jobs of {len(data['users']['share'])} users in "
        f"{jobs.length_s / 3600:.1f} h, {len(data['kinds'])} kinds",
        soft_wrap=True,
    )
    scales = ", ".join(f"{value:g} at {scale}" for scale, value in arrivals["measured_dispersion"].items())
    console.print(f"variance / mean of job counts within an hour: {scales}", soft_wrap=True)
    first, end = part_of(tasks.span_s, "held-out")
    held_s = end - first
    # Windows of an hour do not fit into the held-out part of a short trace.
    shorter = "" if held_s >= _WINDOW_S else f" --window-s {max(10, int(held_s // 4))}"
    console.print(f"next: cloudsched traces compare {file} {output} --part-a held-out{shorter}", soft_wrap=True)


def generate(
    context: typer.Context,
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A shipped profile, or a .json file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Parquet file, or folder for a published format.")
    ],
    trace_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="`table`, or a published format.")
    ] = "table",
    hours: Annotated[float, typer.Option(metavar="H", help="Length of the trace.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    start_hour: Annotated[float, typer.Option(min=0, max=24, metavar="H", help="Hour of the day at the start.")] = 0.0,
    devices: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Disks of a load profile.", show_default="as many as were fitted"),
    ] = None,
) -> None:
    """Draw a trace from a profile and write it as a table or in a published format.

    A profile of tasks makes a task table or a format of tasks, a load profile a load table or a block trace.
    What is written says that it is generated: the table in its data tag, a folder in its file GENERATED.json.
    """
    from cloudsched_env.cli.load_profiles import generate_from_load_profile, refuse_options
    from cloudsched_env.traces.writers import find_writer, write_trace
    from cloudsched_env.workload.canonical import generate_trace, write_table
    from cloudsched_env.workload.load_profile import is_load_profile

    errors = Console(stderr=True, highlight=False)
    with reported(errors):
        if is_load_profile(profile):
            refuse_options(context, ("start_hour",), "a load profile")
            generate_from_load_profile(profile, output, trace_format, hours, seed, devices)
            return
        refuse_options(context, ("devices",), "a profile of tasks")
        chosen = _stream_profile(profile)
        if trace_format != "table":
            find_writer(trace_format)
        with errors.status("drawing") as status:
            trace = generate_trace(chosen, hours, seed, start_hour)
            status.update(f"writing {len(trace):,} tasks")
            if trace_format == "table":
                write_table(trace, output)
            else:
                write_trace(trace, trace_format, output)
    console = Console(highlight=False)
    console.print(
        f"{output}: {len(trace):,} tasks of {len(trace.first_of_job):,} jobs in {hours:g} h, "
        f"[bold]generated[/bold] from profile {chosen.name}, seed {seed}, as {trace_format}",
        soft_wrap=True,
    )


def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A table (usually real), or a profile of tasks.")],
    second: Annotated[str, typer.Argument(metavar="B", help="A profile, or a table (usually generated).")],
    part_a: Annotated[str, typer.Option(metavar="PART", help=PART_HELP)] = "whole",
    part_b: Annotated[str, typer.Option(metavar="PART", help=PART_HELP)] = "whole",
    window_s: Annotated[float, typer.Option(min=10, metavar="S", help="Length of a window.")] = _WINDOW_S,
    windows: Annotated[int, typer.Option(min=2, metavar="N", help="Windows drawn from a profile.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")] = 0,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the comparison.")] = None,
    report: Annotated[Path | None, typer.Option("--json", metavar="FILE.json", help="Write all numbers.")] = None,
) -> None:
    """Hold one stream of tasks against another: distributions, burstiness, tails, autocorrelation, skew.

    With a real A and a profile B two yardsticks are added: how far the trace's train part is from A (drift), and how
    far two draws of B as large as A are apart (chance). Load tables are compared in rates, sizes and bursts of disks.
    """
    import numpy as np
    from rich.progress import Progress

    from cloudsched_env.cli.load_profiles import compare_load_tables, is_load, refuse_options
    from cloudsched_env.cli.trace_comparison import draw_figure, print_comparison
    from cloudsched_env.workload.comparison import compare as compare_samples
    from cloudsched_env.workload.comparison import sampling_noise

    errors = Console(stderr=True, highlight=False)
    with reported(errors):
        if is_load(first) or is_load(second):
            refuse_options(context, ("window_s", "windows", "figure"), "load tables")
            compare_load_tables(first, second, part_a, part_b, seed, report)
            return
    with reported(errors), Progress(console=errors, transient=True) as progress:
        bar = progress.add_task("windows", total=None)

        def on_window(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        generators = np.random.default_rng(seed).spawn(3)
        one, _ = _sample(first, part_a, window_s, windows, generators[0], on_window)
        other, drawn_from = _sample(second, part_b, window_s, windows, generators[1], on_window)
        baseline = None
        if drawn_from is not None and one.data_tag != "generated" and part_a in ("validation", "test", "held-out"):
            baseline, _ = _sample(first, "train", window_s, windows, generators[0], on_window)
        progress.update(bar, description="statistics", total=None)
        result = compare_samples(one, other, baseline)
        if drawn_from is not None:
            progress.update(bar, description="chance")
            result["chance"] = sampling_noise(drawn_from, one, generators[2])
        if report:
            write_whole(report, json.dumps(result, indent=1) + "\n")
        if figure:
            draw_figure(figure, [one, other, *([baseline] if baseline else [])])
    print_comparison(Console(highlight=False), result)


def _sample(
    what: str, part: str, window_s: float, windows: int, rng: Any, on_window: Any
) -> tuple[StreamSample, Profile | StreamProfile | None]:
    """Windows of a table or of a profile; the profile if it is one."""
    from cloudsched_env.workload.comparison import sample_profile, sample_trace
    from cloudsched_env.workload.profile import load_profile, profile_names
    from cloudsched_env.workload.tasks import RawTasks

    if what in profile_names() or what.endswith(".json"):
        profile = load_profile(what)
        return sample_profile(profile, windows, window_s, rng, on_window), profile
    if not os.path.isfile(what):
        raise ValueError(
            f"{what!r} is neither a file nor a shipped profile: expected a task table (Parquet), a profile (.json), or "
            f"one of {', '.join(profile_names())}"
        )
    tasks = RawTasks.from_file(what)
    return sample_trace(tasks, part_of(tasks.span_s, part), window_s, f"{Path(what).name}, {part}"), None


def _stream_profile(name: str) -> StreamProfile:
    """A profile from which whole traces can be drawn.

    Raises:
        ValueError: if it is of the older model, which knows windows only.
    """
    from cloudsched_env.workload.profile import load_profile, profile_names
    from cloudsched_env.workload.stream_profile import StreamProfile

    profile = load_profile(name)
    if not isinstance(profile, StreamProfile):
        known = [n for n in profile_names() if isinstance(load_profile(n), StreamProfile)]
        raise ValueError(
            f"profile {name!r} is of the model of paper-v1, which draws windows of episodes and no priorities: "
            f"expected one of {', '.join(known)}, or a file that `cloudsched traces fit` wrote"
        )
    return profile


def _profile_text(data: dict[str, Any]) -> str:
    """JSON with one kind a line: small, and readable in a diff."""
    return json.dumps(data, separators=(",", ":")).replace('},{"slo_class"', '},\n{"slo_class"') + "\n"
