"""``cloudsched traces fetch``: download a published trace from where its publisher puts it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from cloudsched_env.traces.fetch import FetchReport, Plan

__all__ = ["EPILOG", "fetch_trace"]

EPILOG = """
**Examples**

`cloudsched traces fetch` (lists what there is)

`cloudsched traces fetch google2011 --parts 0-13 --dry-run`

`cloudsched traces fetch google2011 --parts 0-13 --accept-licence CC-BY-4.0`

`cloudsched traces fetch google2011 --tables all --to /data/google --jobs 8`

`cloudsched traces fetch redset --tables provisioned_sample_1pct --mirror https://mirror.example.org/redset`
"""
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def fetch_trace(
    trace_format: Annotated[
        str | None, typer.Argument(metavar="[FORMAT]", help="What to fetch; without it, everything there is is listed.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to put it.", show_default="named like the trace")
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Tables, or all.", show_default="those that the import needs"),
    ] = None,
    parts: Annotated[
        str | None, typer.Option(metavar="N-M", help="Parts of tables that are split: 0-13 or 0,5,7-9.")
    ] = None,
    accept_licence: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Accept the licence of that name without being asked.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="An address with the published layout, tried first; may be repeated."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Files at a time.")] = 4,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="S", help="Longest silence of a server, in seconds.")
    ] = 30.0,
    attempts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Attempts without progress before a mirror is given up.")
    ] = 6,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and sizes; no network is used.")] = False,
    urls: Annotated[
        bool, typer.Option("--urls", help="Print address, tab and local path of every missing file; no network.")
    ] = False,
    recheck: Annotated[bool, typer.Option("--recheck", help="Hash every file that is there again.")] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Go on if the published list of checksums cannot be had.")
    ] = False,
) -> None:
    """Download a published trace, with resume, mirrors and checksums.

    An interrupted fetch goes on where it stopped when the same command is run again. Files appear under their names
    only when they are complete and their checksums are right. Without a network the command says what to download by
    hand and where to put it.
    """
    errors = Console(stderr=True, highlight=False)
    try:
        if trace_format is None:
            _list_datasets()
            return
        from cloudsched_env.traces.fetch import FetchConfig, Selection, find_dataset, make_plan
        from cloudsched_env.traces.fetch.download import RetryConfig
        from cloudsched_env.traces.fetch.transport import TransportConfig

        dataset = find_dataset(trace_format)
        names = None if tables is None else tuple(name.strip() for name in tables.split(",") if name.strip())
        place = Path(dataset.folder) if folder is None else folder
        if dataset.manual is not None:
            _explain_manual(dataset, place, dry_run)
            return
        plan = make_plan(dataset, place, Selection(names, parts, tuple(mirror or ())))
        if urls:
            for file in plan.missing:
                typer.echo(f"{file.urls[0]}\t{place / file.path}")
            return
        if dry_run:
            _show_plan(Console(highlight=False), plan)
            return
        accepted = _accepted_licences(plan, set(accept_licence or ()))
        config = FetchConfig(
            jobs=jobs,
            recheck=recheck,
            unverified=unverified,
            transport=TransportConfig(read_timeout_s=timeout_s, connect_timeout_s=min(timeout_s, 15.0)),
            retry=RetryConfig(attempts=attempts),
        )
        report = _fetch_with_bars(errors, plan, accepted, config)
    except KeyboardInterrupt:
        errors.print("stopped; what was transferred is kept, the same command goes on from there", style="yellow")
        raise typer.Exit(_INTERRUPTED) from None
    # FetchError is a ValueError; ModuleNotFoundError names the extra to install.
    except (ValueError, OSError, ModuleNotFoundError) as error:
        errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _tell(Console(highlight=False), plan, report)


def _fetch_with_bars(errors: Console, plan: Plan, accepted: set[str], config: Any) -> FetchReport:
    from cloudsched_env.traces.fetch import fetch

    with _Bars(errors, plan) as bars:
        return fetch(plan, accepted=accepted, config=config, on_progress=bars.update)


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _accepted_licences(plan: Plan, accepted: set[str]) -> set[str]:
    """Licences from the command line, and the answer to the question where it can be asked."""
    from cloudsched_env.traces.fetch import FetchError, needs_acceptance

    licence = plan.dataset.licence
    wrong = accepted - {licence.name}
    if wrong:
        raise FetchError(
            f"--accept-licence {sorted(wrong)[0]}: the licence of {plan.dataset.name} is {licence.name} "
            f"({licence.title}, {licence.url})"
        )
    if needs_acceptance(plan, accepted) and _is_interactive():
        typer.echo(f"{plan.dataset.title}\n  licence {licence.name}: {licence.title}\n  {licence.url}", err=True)
        if typer.confirm("Do you accept this licence?", default=False, err=True):
            return {licence.name}
    return accepted


def _list_datasets() -> None:
    from cloudsched_env.traces.fetch import DATASETS

    console = Console(highlight=False)
    for dataset in DATASETS:
        default = [table.name for table in dataset.tables if table.default]
        others = [table.name for table in dataset.tables if not table.default]
        console.print(
            f"[bold]{dataset.name}[/bold]  {dataset.title}  [dim]{dataset.licence.name}[/dim]", soft_wrap=True
        )
        if dataset.manual is not None:
            console.print("  by hand; fetch tells how")
            continue
        shown = ", ".join(others[:6]) + (f" and {len(others) - 6} more" if len(others) > 6 else "")
        console.print(
            f"  {', '.join(default)}" + (f"  [dim]on demand: {shown}[/dim]" if others else ""), soft_wrap=True
        )


def _explain_manual(dataset: Any, folder: Path, dry_run: bool) -> None:
    """The steps; an error unless only the plan was asked for, because nothing was fetched."""
    from cloudsched_env.traces.fetch.errors import ManualDownloadError
    from cloudsched_env.traces.fetch.instructions import manual_steps

    steps = manual_steps(dataset, folder)
    if not dry_run:
        raise ManualDownloadError(steps)
    typer.echo(steps)


def _show_plan(console: Console, plan: Plan) -> None:
    import shutil

    from rich.table import Table

    from cloudsched_env.traces.fetch.instructions import describe_bytes

    dataset = plan.dataset
    grid = Table(box=None, pad_edge=False)
    grid.add_column("table")
    for heading in ("files", "there", "missing"):
        grid.add_column(heading, justify="right")
    grid.add_column("size of the missing", justify="right")
    grid.add_column("note", overflow="fold")
    notes = {table.name: table.note for table in dataset.tables}
    missing = {file.path for file in plan.missing}
    for name in dict.fromkeys(file.table for file in plan.files):
        files = [file for file in plan.files if file.table == name]
        lacking = [file for file in files if file.path in missing]
        sizes = [file.about_bytes for file in lacking]
        exact = all(file.published.size_bytes is not None for file in lacking)
        known = sum(size for size in sizes if size is not None)
        told = "unknown" if None in sizes else f"{'' if exact else 'about '}{describe_bytes(known)}"
        grid.add_row(
            name,
            f"{len(files):,}",
            f"{len(files) - len(lacking):,}",
            f"{len(lacking):,}",
            told if lacking else "-",
            notes[name],
        )
    console.print(f"{dataset.title}\n  page: {dataset.page}", soft_wrap=True)
    licence = dataset.licence
    question = " (has to be accepted)" if licence.acceptance_required else ""
    console.print(f"  licence: {licence.name}, {licence.title}, {licence.url}{question}", soft_wrap=True)
    for number, address in enumerate((*plan.selection.mirrors, *dataset.mirrors)):
        console.print(f"  {'from' if number == 0 else 'or from'}: {address}", soft_wrap=True)
    console.print(f"  to: {plan.folder}", soft_wrap=True)
    console.print(grid)
    unknown = sum(file.about_bytes is None for file in plan.missing)
    more = f" and {unknown} files of unknown size" if unknown else ""
    place = next(path for path in (plan.folder, *plan.folder.absolute().parents) if path.exists())
    console.print(
        f"to download: {len(plan.missing):,} files, {describe_bytes(plan.missing_bytes)}{more}; "
        f"free on the disk: {describe_bytes(shutil.disk_usage(place).free)}",
        soft_wrap=True,
    )
    if plan.unchecked:
        console.print(f"{len(plan.unchecked):,} files are there and will be checked", soft_wrap=True)


def _tell(console: Console, plan: Plan, report: FetchReport) -> None:
    from cloudsched_env.traces.fetch.instructions import describe_bytes, import_command
    from cloudsched_env.traces.fetch.manifest import MANIFEST_NAME

    console.print(
        f"{plan.folder}: {len(report.downloaded):,} files downloaded, {len(report.present):,} were there, "
        f"{describe_bytes(report.bytes)} in all; {MANIFEST_NAME} lists them",
        soft_wrap=True,
    )
    if report.not_compared:
        console.print(
            f"{len(report.not_compared):,} files could be checked by their size only: no checksum is published for "
            "them",
            style="yellow",
            soft_wrap=True,
        )
    licence = plan.dataset.licence
    console.print(f"licence: {licence.name}, {licence.title}, {licence.url}", soft_wrap=True)
    if plan.dataset.citation:
        console.print(f"cite: {plan.dataset.citation}", soft_wrap=True)
    if plan.dataset.after:
        console.print(f"next: {plan.dataset.after}", soft_wrap=True)
    console.print(f"next: {import_command(plan.dataset, plan.folder)}", soft_wrap=True)


class _Bars:
    """A bar for everything, and one for each file that is being transferred or checked."""

    def __init__(self, console: Console, plan: Plan) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )
        self._lock = threading.Lock()
        # Size as far as it is known: from the plan, then from the server.
        self._sizes = {file.path: file.about_bytes or 0 for file in plan.missing}
        self._done = dict.fromkeys(self._sizes, 0)
        self._complete: set[str] = set()
        self._tasks: dict[str, Any] = {}
        self._all = self._progress.add_task(f"0 of {len(self._sizes):,} files", total=None) if self._sizes else None

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, stage: str, path: str, done: int, total: int | None) -> None:
        """See `cloudsched_env.traces.fetch.fetching.OnProgress`."""
        with self._lock:
            if path not in self._tasks:
                name = f"{'checking' if stage == 'check' else 'fetching'} {path}"
                self._tasks[path] = self._progress.add_task(name, total=total)
            if done == total:
                self._complete.add(path)
                self._progress.remove_task(self._tasks.pop(path))
            else:
                self._complete.discard(path)
                self._progress.update(self._tasks[path], completed=done, total=total)
            if path in self._sizes:
                self._done[path] = done
                self._sizes[path] = max(total or self._sizes[path], done)
                self._update_all()

    def _update_all(self) -> None:
        finished = len(self._complete & self._sizes.keys())
        assert self._all is not None
        # A total that leaves out files of unknown size would promise too early an end.
        known = all(self._sizes.values())
        self._progress.update(
            self._all,
            description=f"{finished:,} of {len(self._sizes):,} files",
            completed=sum(self._done.values()),
            total=sum(self._sizes.values()) if known else None,
        )
