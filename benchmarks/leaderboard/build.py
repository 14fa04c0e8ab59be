"""Verify submissions, put them beside the reference results, render the page.

    python benchmarks/leaderboard/build.py --out site [--changed-since COMMIT] [--trace google.parquet]

A submission that is not reproduced costs its own row only: it is left out of the page, and the command ends with 1.
With ``--changed-since`` only submissions that differ from that commit are played again; the others have been before.
If the simulator differs from that commit, so may the numbers of all, and all are played again.
Results on a trace can only be played again with that trace: without it, those of submissions are left out and counted
as neither good nor bad. Anchors are the committed ones; what a submission brings of its own is not used.
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
from cloudsched_env.leaderboard.episodes import inspect_data
from cloudsched_env.leaderboard.isolation import Limits
from cloudsched_env.leaderboard.render import put_into, render_site
from cloudsched_env.leaderboard.standings import board_of
from cloudsched_env.leaderboard.store import Results, boards
from cloudsched_env.leaderboard.verify import verify_submission

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# What the numbers of every agent depend on: after a change here all submissions are played again.
DYNAMICS = ("sim", "roles", "workload", "scenarios", "scenario", "vector.py", "evaluation", "agents")
console = Console(soft_wrap=True, highlight=False)


def changed(folder: Path, since: str, *parts: str) -> bool:
    """Whether a folder differs from a commit, files included that git does not know yet.

    Args:
        folder: in a git repository.
        since: the commit.
        parts: only these paths below the folder.

    Raises:
        typer.BadParameter: git does not know the commit.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", *arguments, "--", *(parts or ["."])]
        return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)

    differs = git("diff", "--quiet", since)
    if differs.returncode not in (0, 1):
        raise typer.BadParameter(f"--changed-since {since}: {differs.stderr.strip()}")
    return differs.returncode == 1 or bool(git("ls-files", "--others", "--exclude-standard").stdout)


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
    try:
        slug = Declaration.load(folder / "agent.json").slug
    except ValueError as error:
        console.print(f"{folder.name}: {error}", markup=False)
        return False
    if slug in taken:
        console.print(f"{folder.name}: the name {slug} is taken, choose another", markup=False)
        return False
    taken.add(slug)
    return True


def here(board: Results, trace: Path | None) -> bool:
    """Whether the work that results were played on is at hand, so that they can be played again."""
    if board.suite.workload.kind == "generated":
        return True
    try:
        return trace is not None and inspect_data(board.suite, str(trace)) == board.data
    except ValueError:  # a trace of another operator
        return False


def gather(folder: Path, into: Path, trace: Path | None) -> None:
    """Of a submission its own agent and nothing else that it may bring along.

    Raises:
        ValueError: it cannot be read.
    """
    slug = Declaration.load(folder / "agent.json").slug
    for board in boards(folder / "results"):
        own, target = board.folder(slug).path, into / Results.label_of(board.suite, board.data)
        if not own.exists():
            continue
        if not here(board, trace):
            console.print(f"{folder.name}: {board.label} is left out: without its --trace it cannot be played again")
            continue
        shutil.copytree(own, target / "agents" / slug)
        if not (target / "run.json").exists():
            shutil.copy(board.path / "run.json", target)


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
    everything = not changed_since or changed(ROOT / "cloudsched_env", changed_since, *DYNAMICS)
    for folder in sorted(path.parent for path in submissions.glob("*/agent.json")):
        known = not everything and not changed(folder, changed_since)
        if (known or verified(folder, share, trace)) and free(folder, taken):
            good.append(folder)
        else:
            bad.append(folder)
    with tempfile.TemporaryDirectory() as together:
        if results.exists():
            shutil.copytree(results, together, dirs_exist_ok=True)
        for folder in good:
            try:
                gather(folder, Path(together), trace)
            except (OSError, ValueError) as error:  # known from before, and damaged since
                console.print(f"{folder.name}: {error}", markup=False)
                bad.append(folder)
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
