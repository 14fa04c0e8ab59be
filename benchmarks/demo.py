"""`make demo`: train HRAC + LGRS for a few minutes, then compare it with every heuristic on episodes it never saw.

    python benchmarks/demo.py --minutes 4
    python benchmarks/demo.py --minutes 4 --trace path/to/google-clusterdata-2011-2

Every step is a command that users type themselves; it is printed before it runs.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cloudsched_env.agents.registry import PLACEMENTS

console = Console()

# The packing and random-order placements do badly at these loads, but they are what real schedulers offer: all of them
# are in the table, each with its default node knobs, the two best kinds with tuned or reactive ones too.
RIVALS = [
    *PLACEMENTS,
    "least_allocated+static(background_level=3,admission_level=2)",
    "bounded_load_hash+reactive",
    "linear_static",
    "linear_feedback",
]


def run(*arguments: str) -> None:
    """Print a command as a user would type it, and run it."""
    console.print(f"\n[bold]$ cloudsched {shlex.join(arguments)}[/bold]", highlight=False, soft_wrap=True)
    command = [sys.executable, "-c", "from cloudsched_env.cli import main; main()", *arguments]
    finished = subprocess.run(command, check=False)
    if finished.returncode:
        raise typer.Exit(finished.returncode)


def main(
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 4.0,
    trace: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the published Google 2011 files.")
    ] = None,
    scenario: Annotated[str, typer.Option(help="Scenario.")] = "paper-v1",
    episodes: Annotated[int, typer.Option(min=1, help="Test episodes.")] = 30,
    out: Annotated[Path, typer.Option(help="Folder for the run and the imported trace.")] = Path("runs/demo"),
) -> None:
    """Train and compare."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    table: list[str] = []
    if trace is not None:
        tasks = out.parent / "google2011.parquet"
        tasks.parent.mkdir(parents=True, exist_ok=True)
        run("traces", "import", "google2011", str(trace), "-o", str(tasks))
        table = ["--trace", str(tasks)]
    run("train", "hrac_lgrs", "--scenario", scenario, *table, "--stop-minutes", str(minutes), "--out", str(out))
    policy = str(out / "policy")
    run("evaluate", policy, *RIVALS, "--scenario", scenario, *table, "--split", "test", "--episodes", str(episodes))
    console.print(
        f"\nTensorBoard: [bold]{Path(sys.executable).parent}/tensorboard --logdir {out}[/bold]", highlight=False
    )


if __name__ == "__main__":
    typer.run(main)
