"""An independent check: TorchRL's MAPPO and QMIX on the PettingZoo face beside ours on the array face.

    pip install "cloudsched-env[rllib,viz,leaderboard,torchrl]"
    python benchmarks/torchrl_check.py --seeds 3 --epochs 48 --out runs/torchrl_check
    python benchmarks/torchrl_check.py --seeds 1 --epochs 6 --out runs/first_look    # some minutes
    python benchmarks/torchrl_check.py --only torchrl-qmix --only ours-qmix --out runs/qmix
    python benchmarks/torchrl_check.py --seeds 3 --epochs 12 --table                 # of what is recorded here

Implementations that share nothing but the environment should learn about as much from as many env steps. TorchRL brings
its own networks (perceptrons with parameters shared within a role), value estimators, losses, mixer, replay buffer and
exploration; discount, trace decay, step sizes, gradient steps per env step, clip ranges and limits are those of ours.
What is done with what is in the docstrings of `torchrl_check/torchrl_mappo.py` and `torchrl_check/torchrl_qmix.py`, our
settings are in `torchrl_check/plan.py`. Ours begin without the preferences that new networks of ours are given by
default, which TorchRL's do not have.

What stays different: TorchRL's wrapper knows one categorical choice for an agent, so sub-actions are joined into one
there (feasible on `tiny-v1` only), with one random draw for all of them, while ours explores each on its own; ours
encodes slots and nodes with shared weights and has a pointer.

Curves are the team reward of training episodes and of the greedy policy on fixed validation episodes; TorchRL's
networks play those on the array face, through the code of `cloudsched evaluate`. One file a training, written aside and
renamed: Ctrl-C loses the training that runs, and the same command goes on with the others.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cloudsched_env.rllib.ray_session import ray_session, silence_ray
from cloudsched_env.whole_file import write_whole

_EPILOG = """\
Examples:

- `python benchmarks/torchrl_check.py --seeds 3 --epochs 48 --out runs/torchrl_check`

- `python benchmarks/torchrl_check.py --seeds 1 --epochs 6 --out runs/first_look` (some minutes)

- `python benchmarks/torchrl_check.py --only torchrl-qmix --only ours-qmix --out runs/qmix`

- `python benchmarks/torchrl_check.py --epochs 12 --table` (of what is recorded; trains nothing)
"""

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=_EPILOG)
def main(
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 48,
    episodes: Annotated[int, typer.Option(min=5, help="Training episodes of an epoch, a multiple of 5.")] = 5,
    validate_every: Annotated[int, typer.Option(min=1, help="Epochs between validations.")] = 3,
    validation_episodes: Annotated[int, typer.Option(min=1, help="Fixed episodes of a validation.")] = 16,
    only: Annotated[
        list[str] | None, typer.Option(help="torchrl, ours, mappo, qmix, or both as in ours-qmix; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/torchrl_check"),
    table: Annotated[bool, typer.Option("--table", help="Train nothing: tabulate and draw what is there.")] = False,
) -> None:
    """Train what is missing, then write table.md and curves.svg."""
    silence_ray()
    from torchrl_check.plan import Plan
    from torchrl_check.report import draw
    from torchrl_check.report import table as tabulate
    from torchrl_check.trainings import (
        Validation,
        all_trainings,
        finished,
        references,
        train,
        write_result,
    )

    torch.set_num_threads(1)
    console, errors = Console(), Console(stderr=True)
    try:
        plan = Plan(
            epochs=epochs,
            episodes=episodes,
            validate_every=validate_every,
            validation_episodes=validation_episodes,
        )
        cells = all_trainings(seeds, only or ())
        if not cells:
            raise ValueError(
                f"--only {' '.join(only or ())}: expected torchrl, ours, mappo, qmix, or both as ours-qmix"
            )
        missing = [cell for cell in cells if finished(out, cell, plan) is None and not table]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    validation = Validation(plan)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs, left"))
    try:
        with ExitStack() as stack:
            if any(cell.implementation == "ours" for cell in missing):
                stack.enter_context(ray_session())  # once for all, it takes seconds to start
            bar = stack.enter_context(Progress(*columns, TimeRemainingColumn(), console=errors, transient=True))
            task = bar.add_task("training", total=len(missing) * plan.epochs)
            for cell in missing:
                bar.update(task, description=cell.file.removesuffix(".json"))
                result = train(cell, plan, validation, lambda epoch: bar.advance(task))
                write_result(out, cell, result)
                last = list(result["validation_team_reward"].values())[-1]
                bar.console.print(f"{cell.file}: {last:.3f} on validation, {result['cpu_s'] / 60:.1f} CPU min")
    except KeyboardInterrupt:
        errors.print("stopped by Ctrl-C: finished trainings are kept; give the same command again to go on")
        raise typer.Exit(130) from None
    except ModuleNotFoundError as error:
        if error.name not in ("torchrl", "tensordict"):
            raise
        errors.print("TorchRL is not installed: pip install 'cloudsched-env[torchrl]', or --only ours")
        raise typer.Exit(2) from error
    results = [result for cell in cells if (result := finished(out, cell, plan)) is not None]
    if not results:
        errors.print(f"{out} holds no results yet: leave --table out to train")
        raise typer.Exit(2)
    command = shlex.join(
        ["python", "benchmarks/torchrl_check.py", *[word for word in sys.argv[1:] if word != "--table"]]
    )
    markdown = tabulate(results, references(out, plan, validation), command)
    write_whole(out / "table.md", markdown)
    draw(results, references(out, plan, validation), out / "curves.svg")
    console.print(Markdown(markdown))


if __name__ == "__main__":
    app()
