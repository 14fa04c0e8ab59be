"""``cloudsched headroom``: how much an algorithm could gain on a scenario, and what its parts are worth."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudsched_env.cli.evaluate import parse_override, parse_setting

__all__ = ["StudyBar", "app", "headroom"]

_EPILOG = """
**Examples**

`cloudsched headroom paper-v1`

`cloudsched headroom paper-v1 --trace google.parquet --out runs/headroom-google --threads 8`

`cloudsched headroom tiny-v1 --quick`

`cloudsched headroom failures-v1 --generations 8 --set validation_windows=8 --set 'grid_placements=["balanced"]'`

`cloudsched headroom paper-v1 --learned runs/hrac/policy --stages learned`

`cloudsched headroom paper-v1 --override workload.cpu_load=0.8 --stages heuristics,static,feedback`

Interrupt it at any time: the same command goes on where it was. With the default sizes, hours of work on two cores.
"""

app = typer.Typer(rich_markup_mode="markdown")


@app.command(epilog=_EPILOG, no_args_is_help=True)
def headroom(
    scenario: Annotated[str, typer.Argument(help="scenario id")],
    trace: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="task table of an imported trace; default: the generator"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder of the study", show_default="runs/headroom-SCENARIO")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option(help="scenario field, as in workload.cpu_load=0.8; repeatable")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="test windows", show_default="30")] = None,
    generations: Annotated[
        int | None,
        typer.Option(min=1, help="of tuning the static policy; feedback in proportion", show_default="60 and 160"),
    ] = None,
    population: Annotated[int | None, typer.Option(min=4, help="candidates of a generation", show_default="40")] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="train windows of a generation", show_default="16")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of windows, clusters, agents and tuner")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="results do not depend on it", show_default="all cores")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="any other size of the study (docs/headroom.md); repeatable"),
    ] = None,
    learned: Annotated[
        str, typer.Option(help="a trained policy's folder, or another agent: roles are knocked out of it too")
    ] = "",
    stages: Annotated[
        str | None, typer.Option(help="comma-separated; those that they build on are added", show_default="all")
    ] = None,
    docs: Annotated[
        Path | None, typer.Option(help="folder that gets SCENARIO.md (SCENARIO-TAG.md of a trace) and its picture too")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="very few windows: shows that it runs, measures nothing")
    ] = False,
) -> None:
    """Measure what separates simple, tuned and possible on a scenario: tables, JSON and one figure.

    Stages: heuristics, joint, static, feedback, bounds, knockout, learned (with --learned), couplings, staleness,
    local_rewards. Exit code 0 says that the study is done, whatever its gates say.
    """
    from rich.console import Console
    from rich.markup import escape

    from cloudsched_env.headroom.certified import SolverError
    from cloudsched_env.headroom.report import print_study, write_study
    from cloudsched_env.headroom.settings import HeadroomSettings
    from cloudsched_env.headroom.study import run_study, with_needed
    from cloudsched_env.scenario import load_scenario

    console, status = Console(), Console(stderr=True)
    folder = out if out is not None else Path("runs") / f"headroom-{scenario}"
    try:
        settings = HeadroomSettings(seed=seed)
        if quick:
            settings = settings.quick()
        sizes: dict[str, Any] = {
            "episodes": episodes,
            "population": population,
            "windows": windows,
            "learned": learned or None,
        }
        if generations is not None:
            ratio = settings.feedback_generations / settings.static_generations
            sizes |= {"static_generations": generations, "feedback_generations": max(1, round(ratio * generations))}
        if windows is not None:
            sizes["train_windows"] = max(settings.train_windows, 3 * windows)
        named = dict(parse_setting(text) for text in changes or [])
        settings = settings.changed({name: value for name, value in sizes.items() if value is not None} | named)
        cluster = load_scenario(scenario, dict(parse_override(text) for text in override or []))
        names = [name.strip() for name in stages.split(",") if name.strip()] if stages else []
        _require_packages([stage.name for stage in with_needed(names, bool(settings.learned))])
        with StudyBar(status) as bar:
            study = run_study(
                cluster,
                folder,
                settings,
                trace=trace,
                stages=names,
                threads=threads or os.cpu_count() or 1,
                progress=bar,
                entered=bar.enter,
            )
        written = write_study(study, folder, docs)
    except KeyboardInterrupt:
        status.print(f"interrupted: the same command goes on from what is in {folder}", markup=False)
        raise typer.Exit(130) from None
    except (ValueError, SolverError) as error:
        # The text may hold brackets, as in cloudsched-env[viz]: they are no markup.
        status.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    print_study(study, console)
    for path in written:
        status.print(f"wrote {path}", highlight=False)
    if not study.measured and not written:
        status.print(f"nothing to do: {folder} is up to date", highlight=False)


def _require_packages(stages: list[str]) -> None:
    """Fail before hours of work, not after.

    Raises:
        ValueError: naming the package and the extra that brings it.
    """
    needed = [("matplotlib", "viz", "the figure")]
    if "bounds" in stages:
        needed.append(("highspy", "headroom", "the linear program of stage bounds"))
    for package, extra, what in needed:
        if find_spec(package) is None:
            raise ValueError(f'{what} needs {package}, which is not installed: pip install "cloudsched-env[{extra}]"')


class StudyBar:
    """Progress of a study on the terminal: one line for the work at hand, one for each finished stage."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("episodes"),
            TimeElapsedColumn(),
            TextColumn("left"),
            Remaining(),
            console=console,
            transient=True,
        )
        self._task: Any = None
        self._stage = ""

    def __enter__(self) -> StudyBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def enter(self, stage: str, stored: bool) -> None:
        """A stage begins, or was found done."""
        self._stage = stage
        self._console.print(f"{stage}: {'done before' if stored else 'measuring'}", highlight=False)

    def begin(self, description: str, total: int) -> None:
        """A new piece of work of the stage."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(f"{self._stage} · {description}", total=total)

    def advance(self, episodes: int = 1) -> None:
        """So many episodes are done."""
        if self._task is not None:
            self._bar.advance(self._task, episodes)
