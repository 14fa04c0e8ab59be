"""What each part of the method is worth: one part changed at a time, everything else at its default.

    python benchmarks/ablations.py tasks.parquet --seeds 3 --epochs 60 --jobs 2
    python benchmarks/ablations.py --study lambda --study attention --scenario tiny-v1 --epochs 5
    python benchmarks/ablations.py tasks.parquet --epochs 60 --address auto --jobs 64    # as tasks of a Ray cluster
    python benchmarks/ablations.py tasks.parquet --epochs 60 --table                     # of what is trained so far

The variants and the studies that they belong to are written in ``ablations.yaml``: weight of the local reward x mode of
the global term, attention, what policies receive of other roles, role maps, credit assignment, replay, warm start.
Trainings, evaluation and tables are those of ``comparison.py``, and so is what happens when they are interrupted: give
the same command again. Each study's table has the difference from its first variant, seed by seed and window by window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from comparison.steps import EVALUATE, TABLE, Options, run_steps

HERE = Path(__file__).resolve().parent


def main(
    trace: Annotated[Path | None, typer.Argument(exists=True, help="Task table, or folder of published files.")] = None,
    study: Annotated[list[str] | None, typer.Option(help="Studies to run; repeatable; all by default.")] = None,
    scenario: Annotated[str, typer.Option(help="Scenario id.")] = "paper-v1",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 60,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to train on (host:port, auto, or local); shares this file system.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of trainings.")] = Path("runs/ablations"),
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/ablations"),
    variants: Annotated[Path, typer.Option(exists=True, help="What to train.")] = HERE / "ablations.yaml",
    episodes: Annotated[int, typer.Option(min=1, help="Test windows.")] = 30,
    trace_format: Annotated[str, typer.Option("--format", help="Of published files.")] = "google2011",
    table: Annotated[bool, typer.Option("--table", help="Train nothing: evaluate and show what is there.")] = False,
) -> None:
    """Run the studies, then print and write the tables."""
    run_steps(
        Options(
            variants=variants,
            runs=runs,
            out=out,
            rivals=(),
            script=Path(__file__).name,
            trace=trace,
            trace_format=trace_format,
            scenario=scenario,
            seeds=seeds,
            epochs=epochs,
            studies=study or (),
            jobs=jobs,
            address=address,
            episodes=episodes,
            steps=(EVALUATE, TABLE) if table else (),
        )
    )


if __name__ == "__main__":
    typer.run(main)
