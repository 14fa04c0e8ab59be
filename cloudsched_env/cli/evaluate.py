"""``cloudsched evaluate``: compare agents on the same episodes."""

from __future__ import annotations

import json
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudsched_env.cli.storage_load import StorageLoadFile, StorageLoadShare, read_storage_load

__all__ = ["app", "evaluate", "parse_override", "parse_setting"]


class SplitName(str, Enum):
    """Windows or seeds that episodes come from."""

    train = "train"
    validation = "validation"
    test = "test"


_EPILOG = """
**Examples**

`cloudsched evaluate random least_allocated balanced+reactive`

`cloudsched evaluate "least_allocated+static(background_level=3,admission_level=2)" --episodes 60`

`cloudsched evaluate my_agent.py:MyAgent locality --scenario tiny-v1 --split validation`

`cloudsched evaluate linear_feedback --override telemetry.loss_probability=0.3 --json results.json`

`cloudsched evaluate balanced linear_feedback --storage-load disks.parquet --storage-load-share 0.3`
"""

app = typer.Typer(rich_markup_mode="markdown", no_args_is_help=True)


@app.command(epilog=_EPILOG, no_args_is_help=True)
def evaluate(
    agent: Annotated[list[str], typer.Argument(help="agents to compare; differences are to the first")],
    scenario: Annotated[str, typer.Option(help="scenario id")] = "paper-v1",
    split: Annotated[SplitName, typer.Option(help="windows or seeds the episodes come from")] = SplitName.test,
    episodes: Annotated[int, typer.Option(min=1, help="episodes, the same for every agent")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="seed of episodes, clusters and agents")] = 0,
    trace: Annotated[
        Path | None, typer.Option(exists=True, help="task table of an imported trace; default: the generator")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write raw results (marl-eval layout) and their metadata")
    ] = None,
    storage_load: StorageLoadFile = None,
    storage_load_share: StorageLoadShare = None,
    override: Annotated[
        list[str] | None, typer.Option(help="scenario field, as in telemetry.loss_probability=0.3; repeatable")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="clusters stepped at once")] = 30,
) -> None:
    """Run agents on the same episodes and compare them.

    An AGENT is a name listed by `cloudsched agents`, with parameters and a rule for the node knobs if wanted; a class
    in a module (`package.module:Class`) or a file (`file.py:Class`); or the folder of a trained policy.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from cloudsched_env.evaluation.export import write_json
    from cloudsched_env.evaluation.protocol import evaluate as run
    from cloudsched_env.evaluation.report import print_report

    console, status = Console(), Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cluster-steps"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    try:
        overrides = dict(parse_override(text) for text in override or [])
        with Progress(*columns, console=status, transient=True) as bar:
            task = bar.add_task("loading", total=None)

            def show(name: str, done: int, total: int) -> None:
                bar.update(task, description=name, completed=done, total=total)

            evaluation = run(
                agent,
                scenario,
                split.value,
                episodes,
                seed,
                trace,
                overrides=overrides,
                batch_size=batch_size,
                progress=show,
                storage_load=read_storage_load(storage_load, storage_load_share),
            )
    except ValueError as error:
        status.print(f"[red]error:[/red] {error}", markup=True, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    print_report(evaluation, console, seed=seed)
    if json_file is not None:
        for path in write_json(evaluation, json_file, shlex.join(["cloudsched", *sys.argv[1:]])):
            status.print(f"wrote {path}", highlight=False)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``group.field=value``; the value is JSON, as in ``0.3``, ``true`` or ``[0.1, 0.2]``.

    Raises:
        ValueError: if it does not have that form.
    """
    return _assignment("--override", text, "field=value", "telemetry.loss_probability=0.3")


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``name=value``, as `parse_override` does, for ``--set``.

    Raises:
        ValueError: if it does not have that form.
    """
    return _assignment("--set", text, "name=value", "validation_windows=8")


def _assignment(option: str, text: str, form: str, example: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if not equals or not name:
            raise ValueError
        return name.strip(), json.loads(value)
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: expected {form} with a JSON value, as in {example}") from error
