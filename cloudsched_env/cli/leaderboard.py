"""``cloudsched leaderboard``: play suites, compare agents, show where they stand, verify submissions."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from cloudsched_env.leaderboard.execute import Executor
    from cloudsched_env.leaderboard.standings import Board

__all__ = ["app"]

app = typer.Typer(
    rich_markup_mode="markdown", no_args_is_help=True, help="Fixed suites, standings with intervals, a static page."
)

Jobs = Annotated[int, typer.Option(min=0, help="processes; 0: one a core")]
Address = Annotated[
    str, typer.Option(help="Ray cluster to play on instead (host:port, or auto); needs the extra rllib")
]
Trace = Annotated[Path | None, typer.Option(help="task table of an imported trace, for suites on a trace")]

_RUN_EPILOG = """
**Examples**

`cloudsched leaderboard run --suite quick --agents balanced --agents my_agent.py:MyAgent --out results`

`cloudsched leaderboard run --suite standard --agents my_agent.json --out results --address auto`

The same command again plays only what is missing.
"""


@app.command()
def suites() -> None:
    """List the suites: what is played, how often, and on what work."""
    from rich.table import Table

    from cloudsched_env.leaderboard.suites import load_suite, suite_ids

    table = Table("suite", "work", "scenarios (windows)", "runs", "what for", box=None, padding=(0, 2, 0, 0))
    for name in suite_ids():
        suite = load_suite(name)
        work = suite.workload.operator or f"not {suite.workload.not_operator}"
        listed = ", ".join(f"{entry.scenario} ({len(entry.windows)})" for entry in suite.scenarios)
        table.add_row(name, f"{suite.workload.kind}: {work}", listed, str(suite.runs), suite.description)
    _console().print(table)


@app.command(epilog=_RUN_EPILOG, no_args_is_help=True)
def run(
    agents: Annotated[
        list[str], typer.Option(help="agent spec, declaration (agent.json) or folder of them; repeatable")
    ],
    out: Annotated[Path, typer.Option(help="folder of results; what is there is not played again")],
    suite: Annotated[str, typer.Option(help="suite id or file")] = "quick",
    trace: Trace = None,
    runs: Annotated[int | None, typer.Option(min=1, help="only the first runs of the suite")] = None,
    jobs: Jobs = 0,
    address: Address = "",
    isolate: Annotated[
        bool | None,
        typer.Option("--isolate/--no-isolate", help="agents in processes of their own; default: all but own rules"),
    ] = None,
    memory_mb: Annotated[int, typer.Option(min=256, help="address space of an isolated agent")] = 8192,
    call_s: Annotated[float, typer.Option(min=0.1, help="longest call of an isolated agent, for a batch")] = 30.0,
    batch_s: Annotated[float, typer.Option(min=1.0, help="longest batch of episodes of an isolated agent")] = 900.0,
) -> None:
    """Play a suite; resumable, in parallel, every agent on the same windows with the same seeds."""
    from cloudsched_env.leaderboard.declaration import load_declarations
    from cloudsched_env.leaderboard.isolation import Limits
    from cloudsched_env.leaderboard.run import run_suite

    console = _console(stderr=True)
    with _errors(console):
        declarations = load_declarations(agents)
        with _episodes(console) as progress:
            done = run_suite(
                suite,
                declarations,
                out,
                trace=None if trace is None else str(trace),
                runs=runs,
                executor=_executor(jobs, address),
                isolate=isolate,
                limits=Limits(memory_mb=memory_mb, call_s=call_s, batch_s=batch_s),
                command=shlex.join(["cloudsched", *sys.argv[1:]]),
                progress=progress,
            )
        console.print(f"{done.played} episodes played, {done.kept} were there already: {done.results.path}")
        for name, message in done.failures.items():
            console.print(f"[red]failed:[/red] {_escape(name)}: {_escape(message)}", soft_wrap=True)
        try:
            _print_board(_boards(done.results.path, console)[0])
        except ValueError as error:
            console.print(f"no scores yet: {error}", markup=False, soft_wrap=True)
    if done.failures:
        raise typer.Exit(1)


@app.command(no_args_is_help=True)
def anchors(
    suite: Annotated[str, typer.Argument(help="suite id or file")],
    trace: Trace = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of results, for a trace of one's own; default: the package's own files")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="folder of results with the random agent's episodes; what it lacks is played and kept there; default: "
            "one of its own under runs/anchors for each version of the simulator"
        ),
    ] = None,
    jobs: Jobs = 0,
    address: Address = "",
) -> None:
    """Compute what scores are measured by: the random agent and the upper bound on every window; resumable."""
    from cloudsched_env.leaderboard import anchors as module
    from cloudsched_env.leaderboard.store import Results
    from cloudsched_env.leaderboard.suites import load_suite
    from cloudsched_env.sim.compiled import source_fingerprint

    console = _console(stderr=True)
    with _errors(console):
        with _episodes(console) as progress:
            found = module.compute_anchors(
                suite,
                trace=None if trace is None else str(trace),
                keep=keep or Path("runs", "anchors", f"{source_fingerprint():012x}"),
                executor=_executor(jobs, address),
                progress=progress,
            )
        if out is None:
            file = Path(module.__file__).parent / "anchors" / f"{Results.label_of(load_suite(suite), found.data)}.json"
        else:
            file = Results.open(out, load_suite(suite), suite, found.data).path / "anchors.json"
        found.write(file)
        console.print(f"wrote {file}", soft_wrap=True, highlight=False)


@app.command(no_args_is_help=True)
def compare(
    first: Annotated[str, typer.Argument(help="agent, as in the results")],
    second: Annotated[str, typer.Argument(help="agent that it is compared with")],
    results: Annotated[Path, typer.Option("--results", help="folder of results")],
    metric: Annotated[list[str] | None, typer.Option(help="score or a metric; repeatable; default: all")] = None,
    by_scenario: Annotated[bool, typer.Option(help="also each scenario by itself")] = True,
) -> None:
    """Paired difference, interval and probability of improvement, per scenario and metric."""
    from rich.table import Table

    from cloudsched_env.leaderboard.anchors import anchors_for
    from cloudsched_env.leaderboard.compare import ALL
    from cloudsched_env.leaderboard.compare import compare as compare_agents
    from cloudsched_env.leaderboard.site.format import figure, form_of, spread
    from cloudsched_env.leaderboard.store import boards

    console = _console(stderr=True)
    with _errors(console):
        for board in boards(results):
            folders = {folder.declaration.name: folder for folder in board.agents()}
            missing = [name for name in (first, second) if name not in folders]
            if missing:
                console.print(
                    f"{board.label}: no results of {missing[0]!r}, there are {', '.join(folders)}", markup=False
                )
                continue
            table = Table(title=f"{board.label}: {_escape(first)} - {_escape(second)}", title_justify="left", box=None)
            for heading in ("metric", "scenario"):
                table.add_column(heading)
            for heading in ("difference [95 %]", "P(improvement) [95 %]"):
                table.add_column(heading, justify="right")
            table.add_column("verdict")
            found = compare_agents(folders[first], folders[second], anchors_for(board), metric or ())
            several = any(entry.scenario == ALL for entry in found)
            for entry in found:
                if by_scenario or not several or entry.scenario == ALL:
                    form = form_of(entry.metric)
                    table.add_row(
                        entry.metric,
                        entry.scenario,
                        f"{figure(entry.difference, form)} {spread(entry.difference, form)}",
                        f"{figure(entry.improvement, 'share')} {spread(entry.improvement, 'share')}",
                        entry.verdict,
                    )
            _console().print(table)
            _console().print("Intervals take seeds and windows as random; tie: the interval holds 0.", style="dim")


@app.command(no_args_is_help=True)
def show(results: Annotated[Path, typer.Argument(help="folder of results")]) -> None:
    """Print the standings."""
    console = _console(stderr=True)
    with _errors(console):
        for board in _boards(results, console):
            _print_board(board)


@app.command(no_args_is_help=True)
def pack(results: Annotated[Path, typer.Argument(help="folder of results")]) -> None:
    """Compress raw results, so that they fit into a repository; every other command reads them as before."""
    from cloudsched_env.leaderboard.store import boards

    console = _console(stderr=True)
    with _errors(console):
        for board in boards(results):
            sizes = [folder.pack() for folder in board.agents()]
            before, after = (sum(size[i] for size in sizes) / 1e6 for i in range(2))
            _console().print(f"{board.label}: {before:.2f} MB, now {after:.2f} MB", highlight=False)


@app.command(no_args_is_help=True)
def render(
    results: Annotated[Path, typer.Argument(help="folder of results")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder of the site")] = Path("site"),
    readme: Annotated[Path | None, typer.Option(help="page with markers to put the Markdown table into")] = None,
) -> None:
    """Write the static page: no server, no network, opens from the file system."""
    from cloudsched_env.leaderboard.render import put_into, render_site

    console = _console(stderr=True)
    with _errors(console):
        found = _boards(results, console)
        page = render_site(found, out)
        console.print(f"wrote {page}", soft_wrap=True, highlight=False)
        if readme is not None:
            put_into(readme, found)
            console.print(f"wrote the table into {readme}", highlight=False)


@app.command(no_args_is_help=True)
def verify(
    submission: Annotated[Path, typer.Argument(help="folder of the submission (agent.json, results)")],
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="share of batches played again, at least one each")
    ] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="of the sample")] = 0,
    trace: Trace = None,
    jobs: Jobs = 0,
) -> None:
    """Play a sample of a submission's episodes again and say whether its numbers are reproduced."""
    from cloudsched_env.leaderboard.verify import verify_submission

    console = _console(stderr=True)
    with _errors(console):
        with _episodes(console) as progress:
            found = verify_submission(
                submission,
                share=share,
                seed=seed,
                trace=None if trace is None else str(trace),
                executor=_executor(jobs, ""),
                progress=progress,
            )
        for line in found.lines():
            _console().print(line, markup=False, highlight=False, soft_wrap=True)
    if not found.reproduced:
        raise typer.Exit(1)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _errors(console: Console) -> Iterator[None]:
    """What went wrong in one line; an interruption says that nothing is lost."""
    try:
        yield
    except (ValueError, RuntimeError, ModuleNotFoundError) as error:
        console.print(f"[red]error:[/red] {_escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        console.print("stopped; finished episodes are kept: the same command goes on from here")
        raise typer.Exit(130) from None


@contextmanager
def _episodes(console: Console) -> Iterator[Any]:
    """A progress bar over episodes with the time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda name, done, total: bar.update(task, description=_escape(name), completed=done, total=total)


def _executor(jobs: int, address: str) -> Executor:
    from cloudsched_env.leaderboard.execute import Here, Processes

    if address:
        try:
            from cloudsched_env.rllib.leaderboard_cluster import RayCluster
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"--address: {error} (pip install 'cloudsched-env[rllib]')") from error
        return RayCluster(address)
    count = jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    return Here() if count == 1 else Processes(count)


def _boards(folder: Path, console: Console) -> list[Board]:
    from cloudsched_env.leaderboard.standings import board_of
    from cloudsched_env.leaderboard.store import boards

    with console.status("computing standings") as status:
        return [
            board_of(each, lambda name, done, total: status.update(f"computing standings: {done} of {total}"))
            for each in boards(folder)
        ]


def _print_board(board: Board) -> None:
    from rich.table import Table

    from cloudsched_env.leaderboard.render import KEY_METRICS
    from cloudsched_env.leaderboard.site.format import figure, form_of, spread, title_of
    from cloudsched_env.leaderboard.units import DECISION_TIME

    table = Table(title=board.label, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("rank", justify="right")
    table.add_column("agent", overflow="fold")
    for name in ("score", *KEY_METRICS, DECISION_TIME):
        table.add_column(title_of(name), justify="right")
    for row in board.rows:
        name = _escape(row.declaration.name)
        if row.status != "ok" or row.score is None:
            table.add_row("-", name, f"[red]{row.status}[/red]")
            continue
        table.add_row(
            f"{row.rank}{'=' if row.tied else ''}",
            name,
            f"{figure(row.score, 'score')} {_escape(spread(row.score, 'score'))}",
            *(figure(row.metrics[key], form_of(key)) for key in (*KEY_METRICS, DECISION_TIME)),
        )
    _console().print(table)
    for row in board.rows:
        if row.status != "ok":
            _console().print(f"{row.declaration.name}: {row.status}: {row.message}", markup=False, soft_wrap=True)
