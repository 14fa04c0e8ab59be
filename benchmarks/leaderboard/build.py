"""Verify submissions, put them beside the reference results, render the page.

    python benchmarks/leaderboard/build.py --out site [--changed-since COMMIT] [--trace google.parquet]

A submission that is not reproduced costs its own row only: it is left out of the page, and the command ends with 1.
With ``--changed-since`` only submissions that differ from that commit are played again; the others have been before.
Anchors are the committed ones; what a submission brings of its own is not used.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cloudsched_env.leaderboard.declaration import Declaration
from cloudsched_env.leaderboard.isolation import Limits
from cloudsched_env.leaderboard.render import put_into, render_site
from cloudsched_env.leaderboard.standings import board_of
from cloudsched_env.leaderboard.store import boards
from cloudsched_env.leaderboard.verify import verify_submission

HERE = Path(__file__).parent
console = Console(soft_wrap=True, highlight=False)


def changed(folder: Path, since: str) -> bool:
    """Whether a folder differs from a commit."""
    command = ["git", "diff", "--quiet", since, "--", str(folder)]
    return subprocess.run(command, check=False, cwd=HERE).returncode != 0


def verified(folder: Path, share: float, trace: Path | None) -> bool:
    """Whether a submission is reproduced; says why if not. Nothing that it does ends this program."""
    limits = Limits(memory_mb=8192, call_s=30.0, batch_s=600.0)
    try:
        found = verify_submission(folder, share=share, limits=limits, trace=None if trace is None else str(trace))
    except Exception as error:  # a broken submission is its own problem
        console.print(f"{folder.name}: {type(error).__name__}: {error}", markup=False)
        return False
    for line in found.lines():
        console.print(f"{folder.name}: {line}", markup=False)
    return found.reproduced


def free(folder: Path, taken: set[str]) -> bool:
    """Whether no other agent has the submission's name, which is taken from then on."""
    slug = Declaration.load(folder / "agent.json").slug
    if slug in taken:
        console.print(f"{folder.name}: the name {slug} is taken, choose another", markup=False)
        return False
    taken.add(slug)
    return True


def gather(reference: Path, submissions: list[Path], into: Path) -> None:
    """The reference results, and of each submission its own agent and nothing else that it may bring along."""
    if reference.exists():
        shutil.copytree(reference, into, dirs_exist_ok=True)
    for folder in submissions:
        slug = Declaration.load(folder / "agent.json").slug
        for header in sorted(folder.glob("results/*/run.json")):
            own, target = header.parent / "agents" / slug, into / header.parent.name
            if own.exists():
                shutil.copytree(own, target / "agents" / slug)
                if not (target / "run.json").exists():
                    shutil.copy(header, target)


def main(
    out: Annotated[Path, typer.Option(help="folder of the site")] = Path("site"),
    results: Annotated[Path, typer.Option(help="reference results")] = HERE / "results",
    submissions: Annotated[Path, typer.Option(help="folder of submissions")] = HERE / "submissions",
    changed_since: Annotated[str, typer.Option(help="verify only submissions that differ from this commit")] = "",
    share: Annotated[float, typer.Option(help="share of batches played again")] = 0.1,
    trace: Annotated[Path | None, typer.Option(help="imported trace, for results on it")] = None,
    readme: Annotated[Path | None, typer.Option(help="page to put the tables into")] = None,
) -> None:
    """Verify, gather, render."""
    good: list[Path] = []
    bad: list[Path] = []
    taken = {path.parent.name for path in results.glob("*/agents/*/agent.json")}
    for folder in sorted(path.parent for path in submissions.glob("*/agent.json")):
        known = changed_since and not changed(folder, changed_since)
        if (known or verified(folder, share, trace)) and free(folder, taken):
            good.append(folder)
        else:
            bad.append(folder)
    with tempfile.TemporaryDirectory() as together:
        gather(results, good, Path(together))
        if not any(Path(together).iterdir()):
            console.print("no results yet: cloudsched leaderboard run … --out benchmarks/leaderboard/results")
            raise typer.Exit(1 if bad else 0)
        found = [board_of(board) for board in boards(Path(together))]
        console.print(f"wrote {render_site(found, out)}")
        if readme is not None:
            put_into(readme, found)
    if bad:
        console.print(f"not reproduced, left out: {', '.join(folder.name for folder in bad)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
