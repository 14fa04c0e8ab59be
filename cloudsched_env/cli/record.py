"""``cloudsched record``: write what agents observe and do on train windows, for warm starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloudsched_env.cli.evaluate import parse_override
from cloudsched_env.cli.storage_load import StorageLoadFile, StorageLoadShare, read_storage_load

__all__ = ["app", "record"]

_EPILOG = """
**Examples**

`cloudsched record linear_feedback --episodes 32 --out runs/trajectories`

`cloudsched record linear_static "least_allocated+reactive" --scenario tiny-v1 --out runs/tiny`

`cloudsched train hrac_lgrs --set warm_start.trajectories=runs/trajectories --stop-epochs 60`
"""

app = typer.Typer(rich_markup_mode="markdown", no_args_is_help=True)


@app.command(epilog=_EPILOG, no_args_is_help=True)
def record(
    agent: Annotated[list[str], typer.Argument(help="agents to record, as for `cloudsched evaluate`")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the trajectories")],
    scenario: Annotated[str, typer.Option(help="scenario id")] = "paper-v1",
    episodes: Annotated[int, typer.Option(min=1, help="train windows, the same for every agent")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="seed of episodes, clusters and agents")] = 0,
    trace: Annotated[
        Path | None, typer.Option(exists=True, help="task table of an imported trace; default: the generator")
    ] = None,
    storage_load: StorageLoadFile = None,
    storage_load_share: StorageLoadShare = None,
    override: Annotated[
        list[str] | None, typer.Option(help="scenario field, as in telemetry.loss_probability=0.3; repeatable")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="episodes that are played at once and written together")] = 8,
) -> None:
    """Record agents on train windows, in Parquet.

    Every role's observations, action masks, actions and rewards are kept, and the global state. Called again, it
    passes over what the folder holds already: an interrupted recording goes on, and agents can be added.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from cloudsched_env.evaluation.recording import record as run

    status = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    try:
        overrides = dict(parse_override(text) for text in override or [])
        with Progress(*columns, TimeRemainingColumn(), console=status, transient=True) as bar:
            task = bar.add_task("loading", total=None)

            def show(name: str, done: int, total: int) -> None:
                bar.update(task, description=name, completed=done, total=total)

            description = run(
                agent,
                out,
                scenario,
                episodes,
                seed,
                trace,
                overrides=overrides,
                batch_size=batch_size,
                progress=show,
                storage_load=read_storage_load(storage_load, storage_load_share),
            )
    except ValueError as error:
        status.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except OSError as error:
        status.print(
            f"error: cannot write to {out}: {error.strerror or error}; parts recorded so far are kept, repeat the "
            "command to go on",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from error
    for entry in description["recordings"]:
        count = sum(len(part["episodes"]) for part in entry["parts"])
        reward = sum(part["mean_team_reward"] * len(part["episodes"]) for part in entry["parts"]) / count
        status.print(f"{entry['agent']}: {count} episodes, mean team reward {reward:.4f}", highlight=False)
    print(out)
