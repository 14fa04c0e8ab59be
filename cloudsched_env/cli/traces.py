"""``cloudsched traces``: import published traces and look at what they hold."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cloudsched_env.cli import trace_fetch
from cloudsched_env.cli.reported import reported
from cloudsched_env.cli.trace_profiles import register

if TYPE_CHECKING:
    from cloudsched_env.traces.metadata import TraceMetadata

__all__ = ["app"]

app = typer.Typer(
    help="Import published cluster traces and describe them.", no_args_is_help=True, rich_markup_mode="markdown"
)

_IMPORT_EPILOG = """
**Examples**

`cloudsched traces import google2011 clusterdata-2011-2 -o google.parquet`

`cloudsched traces import auto PATH -o tasks.parquet`  (recognises the format and says why)

`cloudsched traces import google2011 DIR -o excerpt.parquet --memory-limit 500MB --threads 2 --on-error skip`
"""
_DESCRIBE_EPILOG = """
**Examples**

`cloudsched traces describe google.parquet`

`cloudsched traces describe google.parquet --json | jq .rows`
"""


TABLE_NAMES = {"tasks": "a task table", "load": "a load table (storage traffic in intervals)"}


class OnErrorChoice(str, Enum):
    """What to do with a malformed row."""

    fail = "fail"
    skip = "skip"


@app.command("import", epilog=_IMPORT_EPILOG, no_args_is_help=True)
def import_trace(
    trace_format: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="A published format, or auto; `cloudsched traces formats` lists them."),
    ],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder with the published files, names as published, or one file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Parquet file to write.")],
    memory_limit: Annotated[
        str, typer.Option(metavar="SIZE", help="What the query engine keeps in memory before it spills to disk.")
    ] = "1GB",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads.", show_default="all cores")] = None,
    on_error: Annotated[
        OnErrorChoice, typer.Option(help="Stop at the first malformed row, or leave such rows out and count them.")
    ] = OnErrorChoice.fail,
    interval: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Block traces: length of an interval.", show_default="10"),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, although an interrupted import to FILE could go on.")
    ] = False,
) -> None:
    """Turn published trace files into one task table, or block traces into one load table (Parquet).

    The files are read as they are published, out of core. The table appears under its name only when it is complete.
    An import that was interrupted goes on where it was when the same command is run again.
    """
    from cloudsched_env.traces.formats import FORMATS, find_format
    from cloudsched_env.traces.recognise import recognise
    from cloudsched_env.traces.work import EngineConfig, work_folder

    errors = Console(stderr=True, highlight=False)
    with reported(errors):
        if trace_format == "auto":
            finding, others = recognise(path, FORMATS)
            chosen = finding.format
            for reason in finding.reasons:
                errors.print(f"{chosen.name}: {reason}", markup=False, soft_wrap=True)
            for other in others:
                errors.print(f"not {other.format.name}: {'; '.join(other.reasons)}", markup=False, soft_wrap=True)
        else:
            chosen = find_format(trace_format)
        engine = EngineConfig(memory_limit, threads)
        try:
            with _ProgressBars(errors) as bars:
                metadata = chosen.import_folder(
                    path,
                    output,
                    engine=engine,
                    on_error=on_error.value,
                    on_progress=bars.update,
                    restart=restart,
                    interval_s=interval,
                )
        except KeyboardInterrupt:
            errors.print("interrupted; what was read is kept: the same command goes on from there", style="yellow")
            raise typer.Exit(130) from None
        except ValueError:
            if work_folder(output).is_dir():
                errors.print("what was read is kept: the same command goes on from there", style="yellow")
            raise
    _report_import(output, metadata, chosen.kind)


@app.command(epilog=_DESCRIBE_EPILOG, no_args_is_help=True)
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A task table written by `cloudsched traces import`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the table's metadata as JSON instead.")] = False,
    files: Annotated[bool, typer.Option("--files", help="List every source file with its checksum.")] = False,
) -> None:
    """Show what a task table holds: arrivals, requests, durations, tenants, and what is synthetic."""
    from cloudsched_env.cli.load_report import print_load_report
    from cloudsched_env.cli.trace_report import REPORT_COLUMNS, print_report
    from cloudsched_env.traces.load_table import is_load_table, load_background
    from cloudsched_env.traces.table import load_tasks

    with reported(Console(stderr=True, highlight=False)):
        if is_load_table(file):
            load = load_background(file)
            if as_json:
                typer.echo(load.metadata.to_json())
            else:
                print_load_report(Console(highlight=False), load, file.name, list_files=files)
            return
        if as_json:
            typer.echo(load_tasks(file, columns=["job"]).metadata.to_json())
            return
        table = load_tasks(file, columns=REPORT_COLUMNS)

    print_report(Console(highlight=False), table, file.name, list_files=files)


@app.command()
def formats() -> None:
    """List the published formats that can be imported."""
    from rich.markup import escape
    from rich.padding import Padding

    from cloudsched_env.traces.formats import FORMATS

    console = Console(highlight=False)
    for entry in FORMATS:
        console.print(f"[bold]{entry.name}[/bold]  {entry.title}")
        for table in entry.tables:
            optional = "" if table.required else "  (optional)"
            console.print(f"  {table.layout}{optional}", markup=False, soft_wrap=True)
            console.print(Padding(escape(", ".join(column.name for column in table.columns)), (0, 0, 0, 4)))
        console.print(f"  licence: {entry.licence}\n  data: {entry.url}", markup=False, soft_wrap=True)
        console.print(f"  becomes: {TABLE_NAMES[entry.kind]}")
        console.print(f"  cloudsched traces import {entry.name} PATH -o {entry.name}.parquet")


app.command("fetch", epilog=trace_fetch.EPILOG)(trace_fetch.fetch_trace)


class _ProgressBars:
    """One bar for each stage of an import, with rate and estimated time left."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class RateColumn(ProgressColumn):
            def render(self, task: Any) -> Text:
                # Stages are reported in few, uneven steps: the mean rate is steadier than rich's moving window.
                seconds = task.finished_time or task.elapsed
                speed = task.completed / seconds if seconds else 0.0
                if task.fields["unit"] == "bytes":
                    return Text(f"{speed / 1e6:,.1f} MB/s")
                if task.fields["unit"] == "queries":
                    return Text(f"{task.completed:.0f} of {task.total:.0f} queries")
                return Text(f"{speed:,.0f} {task.fields['unit']}/s")

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            RateColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )
        self._stages: dict[str, Any] = {}

    def __enter__(self) -> _ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int, unit: str) -> None:
        """See `cloudsched_env.traces.staging.OnProgress`."""
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=total, unit=unit)
        self._progress.update(self._stages[stage], completed=done, total=total)


def _report_import(output: Path, metadata: TraceMetadata, kind: str) -> None:
    """What was written, and what a user should not overlook."""
    console = Console(highlight=False)
    rows = metadata.rows
    console.print(
        f"{output}: {rows['arrivals']:,} {'tasks' if kind == 'tasks' else 'intervals'} from {metadata.title}, "
        f"{metadata.data_tag} ({metadata.parts_read} of {metadata.parts_published} parts, "
        f"{(metadata.span_end_s - metadata.span_start_s) / 3600:.1f} h)",
        soft_wrap=True,
    )
    for reason, count in metadata.skipped_rows.items():
        console.print(f"skipped {count:,} rows: {reason}", style="yellow", markup=False, soft_wrap=True)
    for row in metadata.skipped_examples:
        column = f", column {row.column}" if row.column else ""
        console.print(f"  {row.file}, line {row.line}{column}: {row.reason}", markup=False, soft_wrap=True)
    lost = rows.get("arrivals_of_jobs_not_in_job_events", 0)
    if lost:
        console.print(
            f"{lost:,} tasks belong to jobs that are not in job_events and have no shard_key; "
            "add the same parts of job_events as of task_events",
            style="yellow",
            soft_wrap=True,
        )
    if metadata.data_tag == "generated":
        console.print(
            f"no real trace: {metadata.synthetic_columns[0].filled_by}", style="yellow", markup=False, soft_wrap=True
        )
    synthetic = ", ".join(column.name for column in metadata.synthetic_columns if column.name != "all columns")
    if synthetic:
        console.print(f"not in the trace, null in the table: {synthetic}", soft_wrap=True)
    console.print(f"licence: {metadata.licence}", soft_wrap=True)
    console.print(f"next: cloudsched traces describe {output}", soft_wrap=True)


register(app)
