"""``cloudsched train``: train an algorithm on a scenario, with a progress bar, checkpoints and a policy folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["app", "parse_value", "run_training"]

app = typer.Typer(rich_markup_mode="markdown")

_EPILOG = """
**Examples**

`cloudsched train hrac_lgrs --stop-epochs 60 --out runs/first`

`cloudsched train hrac_lgrs --scenario paper-v1 --trace google.parquet --stop-minutes 10 --seed 3 --out runs/google`

`cloudsched train hrac_lgrs --set lgrs.mode=mix --set lgrs.lambda=0.5 --set update.epochs=4 --stop-epochs 60`

`cloudsched train hrac_lgrs --override telemetry.loss_probability=0.3 --stop-epochs 60`

`cloudsched train mappo --set update.epochs=5 --stop-epochs 60 --out runs/mappo`

`cloudsched train qmix --set exploration.anneal_env_steps=200000 --stop-epochs 60 --out runs/qmix`

`cloudsched train hrac_lgrs --set warm_start.trajectories=runs/trajectories --stop-epochs 60`

`cloudsched train --resume runs/first --stop-epochs 120`

`cloudsched train my_config.yaml --num-env-runners 4 --num-learners 2 --address auto --stop-minutes 60`
"""


@app.command(epilog=_EPILOG, no_args_is_help=True)
def train(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[ALGORITHM|FILE]",
            help="A shipped configuration (hrac_lgrs, mappo, ippo, happo, qmix, vdn) or a .py or .yaml file.",
        ),
    ] = None,
    scenario: Annotated[str | None, typer.Option(help="Named scenario to train on.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Task table from `cloudsched traces import`; the generator without one.")
    ] = None,
    stop_epochs: Annotated[int | None, typer.Option(min=1, help="Stop after this many epochs.")] = None,
    stop_minutes: Annotated[float | None, typer.Option(min=0, help="Stop after this much training time.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    num_env_runners: Annotated[
        int | None, typer.Option(min=0, help="Remote runners; 0 samples in this process.")
    ] = None,
    num_learners: Annotated[int | None, typer.Option(min=0, help="Remote learners; 0 learns in this process.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run.", show_default="runs/NAME")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; may be repeated.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--override", metavar="NAME=VALUE", help="A field of the scenario; may be repeated."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN_DIR", help="Go on from a run's last checkpoint.")] = None,
    checkpoint_every: Annotated[int, typer.Option(min=0, help="Epochs between checkpoints; 0: only at the end.")] = 5,
    address: Annotated[str | None, typer.Option(help="Ray cluster; this machine without it.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train an algorithm; an epoch is 10,000 env steps. Ctrl-C keeps a checkpoint and the policy."""
    if (what is None) == (resume is None):
        raise typer.BadParameter("give an algorithm or a file, or --resume RUN_DIR, and not both")
    if resume is not None:
        changed = {"--scenario": scenario, "--trace": trace, "--seed": seed, "--out": out, "--set": settings}
        changed |= {"--override": overrides, "--num-env-runners": num_env_runners, "--num-learners": num_learners}
        wrong = [name for name, value in changed.items() if value]
        if wrong:
            raise typer.BadParameter(f"{', '.join(wrong)}: a resumed run goes on with the settings it was begun with")

    def configure() -> tuple[Any, str, dict[str, float]]:
        from cloudsched_env.rllib.config_files import load_experiment
        from cloudsched_env.rllib.role_config import RoleBatchedConfig

        experiment = load_experiment(str(what))
        config = experiment.config
        changes: dict[str, Any] = dict(_assignment(item, "--set") for item in settings or [])
        if scenario is not None:
            changes["scenario"] = scenario
        if trace is not None:
            if not trace.is_file():
                raise FileNotFoundError(f"--trace {trace}: no such file; `cloudsched traces import` makes one")
            changes["trace"] = str(trace.resolve())
        if changes.get("storage_load.table") is not None:
            changes["storage_load.table"] = str(Path(str(changes["storage_load.table"])).resolve())
        if changes.get("warm_start.trajectories") is not None:
            from cloudsched_env.evaluation.trajectories import read_description

            trajectories = Path(str(changes["warm_start.trajectories"])).resolve()
            read_description(trajectories)  # a wrong folder is told before anything is started
            changes["warm_start.trajectories"] = str(trajectories)
        for role, folder in dict(changes.pop("warm_start.policies", {})).items():
            changes[f"warm_start.policies.{role}"] = folder
        for name in [name for name in changes if name.startswith("warm_start.policies.")]:
            changes[name] = str(Path(str(changes[name])).resolve())
        if overrides:
            changes["overrides"] = dict(_assignment(item, "--override") for item in overrides)
        if changes:
            if not isinstance(config, RoleBatchedConfig):
                raise ValueError(
                    f"{', '.join(changes)}: only our own algorithms have such settings, not {type(config).__name__}"
                )
            config.change_settings(changes)
        if seed is not None:
            config.debugging(seed=seed)
        if num_env_runners is not None:
            config.env_runners(num_env_runners=num_env_runners)
        if num_learners is not None:
            config.learners(num_learners=num_learners)
        return config, experiment.name, experiment.stop

    run_training(
        configure=None if resume is not None else configure,
        out=resume or out,
        stop={"training_iteration": stop_epochs} if stop_epochs is not None else {},
        stop_minutes=stop_minutes,
        checkpoint_every=lambda: checkpoint_every,
        address=address,
        progress=not quiet,
    )


def run_training(
    *,
    configure: Callable[[], tuple[Any, str, dict[str, float]]] | None,
    out: Path | None,
    stop: dict[str, float],
    stop_minutes: float | None,
    checkpoint_every: Callable[[], int],
    address: str | None,
    progress: bool,
    parent: Path = Path("runs"),
) -> None:
    """Run training for a command: mistakes of the user end with one line, not with a traceback.

    Args:
        configure: returns config, name and default stop criteria; None resumes the run in ``out``.
        out: folder of the run; ``<parent>/<name>`` by default.
        stop: criteria of the command line; they replace those of the configuration.
        stop_minutes: wall time of training.
        checkpoint_every: epochs between checkpoints, asked for once the configuration is read.
        address: of a Ray cluster.
        progress: show progress.
        parent: where the folder of the run is made if ``out`` is None.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    try:
        from cloudsched_env.rllib.ray_session import silence_ray

        silence_ray()
        from cloudsched_env.rllib.training import TrainingOptions, train

        with console.status("loading RLlib …"):
            config, name, default_stop = configure() if configure is not None else (None, "", {})
        folder = out if out is not None else parent / name
        options = TrainingOptions(
            out=folder,
            resume=configure is None,
            stop=stop or ({} if stop_minutes is not None else default_stop),
            stop_minutes=stop_minutes,
            checkpoint_every=checkpoint_every(),
            address=address,
            progress=progress,
        )
        report = train(config, options)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("ray", "torch", "yaml", "tensorboard", "safetensors"):
            raise
        console.print(f"[red]training needs {error.name}[/red]: pip install 'cloudsched-env\\[rllib]'")
        raise typer.Exit(1) from None
    except (ValueError, FileNotFoundError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(2) from error
    except (OSError, RuntimeError) as error:
        from cloudsched_env.rllib.failures import describe_failure

        text = describe_failure(error, folder)
        if text is None:
            raise
        console.print(f"error: {text}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    state = report.state
    best = "" if state.best_score is None else f", best validation {state.best_score:.4f} at epoch {state.best_epoch}"
    console.print(f"{state.epoch} epochs, {state.env_steps:,} env steps, {state.elapsed_s / 60:.1f} min{best}")
    print(report.folder)
    if report.interrupted:
        raise typer.Exit(130)


def parse_value(text: str) -> Any:
    """A value of the command line: JSON where it is JSON (``0.5``, ``true``, ``null``, ``[1, 2]``), else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _assignment(item: str, option: str) -> tuple[str, Any]:
    name, sign, value = item.partition("=")
    if not sign or not name:
        raise ValueError(f"{option} {item}: expected NAME=VALUE")
    return name.strip(), parse_value(value.strip())
