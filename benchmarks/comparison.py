"""All shipped algorithms against every rule, on test windows that nothing was chosen on.

    python benchmarks/comparison.py tasks.parquet --seeds 5 --epochs 100 --jobs 2
    python benchmarks/comparison.py tasks.parquet --seeds 1 --algorithms qmix,vdn --warm-start ''
    python benchmarks/comparison.py tasks.parquet --seeds 5 --epochs 100 --evaluate --table  # of what is trained so far
    python benchmarks/comparison.py tasks.parquet --seeds 5 --epochs 100 --publish           # baselines/<variant>/

What each row was trained with is written in ``comparison.yaml``. TRACE is a task table (``.parquet``) or a folder of
published files, which is imported first; without one, work is generated. Steps, all but the last without being named:

* ``--train``: every variant with every seed for the same number of epochs (equal env steps), seed 0 of all variants
  first, ``--jobs`` at a time, each `cloudsched train` in a process of its own.
* ``--evaluate``: rules, the random agent and the policies of finished trainings (the checkpoint that was best on
  validation windows) on the same test windows, one after the other; raw results in marl-eval's layout.
* ``--table``: ``table.md`` and the learning curves, of whatever has been evaluated.
* ``--publish``: for every variant the policies of all seeds, with configuration, curves and command.

Nothing is lost by Ctrl-C, a kill or a power cut, and nothing is repeated: give the same command again. More epochs go
on with finished trainings; what failed is reported at the end and tried again by the next command. Trainings whose
results lie in --out are done even if their runs are elsewhere, so that several machines can share the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from comparison.steps import STEPS, Options, run_steps

from cloudsched_env.agents.registry import PLACEMENTS

HERE = Path(__file__).resolve().parent
TUNED = "static(background_level=3,admission_level=2)"
# The rule that other results are compared with, after a second search (27 generations).
LONGER = 'linear_feedback(parameters="baselines/linear_feedback+longer/parameters.json")'
RIVALS = [
    *PLACEMENTS,
    *(f"{name}+reactive" for name in PLACEMENTS if name != "random"),
    *(f"{name}+{TUNED}" for name in ("balanced", "least_allocated", "bounded_load_hash", "power_of_two")),
    "linear_static",
    "linear_feedback",
    LONGER,
]


def main(
    trace: Annotated[Path | None, typer.Argument(exists=True, help="Task table, or folder of published files.")] = None,
    scenario: Annotated[str, typer.Option(help="Scenario id.")] = "paper-v1",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 100,
    algorithms: Annotated[
        str | None, typer.Option(help="Algorithms to train from initial networks, with commas; all by default.")
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(help="Algorithms to train from a clone; those of --algorithms by default."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Just this variant; repeatable.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to train on (host:port, auto, or local); shares this file system.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of trainings.")] = Path("runs/comparison"),
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/comparison"),
    variants: Annotated[Path, typer.Option(exists=True, help="What to train.")] = HERE / "comparison.yaml",
    episodes: Annotated[int, typer.Option(min=1, help="Test windows.")] = 30,
    rival: Annotated[list[str] | None, typer.Option(help="Rules to evaluate; repeatable; all by default.")] = None,
    trace_format: Annotated[str, typer.Option("--format", help="Of published files.")] = "google2011",
    baselines: Annotated[Path, typer.Option(help="Where --publish writes.")] = Path("baselines"),
    train: Annotated[bool, typer.Option("--train", help="Only this step, and others that are named.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Likewise.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Likewise.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Likewise; never done without being named.")] = False,
) -> None:
    """Train, evaluate, tabulate, publish."""
    named = (train, evaluate, table, publish)
    run_steps(
        Options(
            variants=variants,
            runs=runs,
            out=out,
            rivals=rival or RIVALS,
            script=Path(__file__).name,
            trace=trace,
            trace_format=trace_format,
            scenario=scenario,
            seeds=seeds,
            epochs=epochs,
            algorithms=_names(algorithms),
            warm_start=_names(warm_start),
            only=only or (),
            jobs=jobs,
            address=address,
            episodes=episodes,
            baselines=baselines,
            steps=[step for step, wanted in zip(STEPS, named, strict=True) if wanted],
        )
    )


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    typer.run(main)
