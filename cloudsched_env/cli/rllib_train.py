"""The sub-commands of ``rllib``: today ``rllib train file``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudsched_env.cli.train import run_training

__all__ = ["app"]

_FILE_EPILOG = """
**Examples**

`rllib train file rllib_configs/hrac_lgrs.py`

`rllib train file rllib_configs/hrac_lgrs.yaml --stop '{"training_iteration": 100}' --checkpoint-freq 10`

`rllib train file ppo.yaml --ray-address auto`
"""


app = typer.Typer(
    name="rllib",
    help="Train RLlib algorithms from configuration files.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
trainer = typer.Typer(help="Train from a configuration file.", no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(trainer, name="train")


@app.callback()
def root() -> None:
    pass


@trainer.callback()
def train_root() -> None:
    pass


@trainer.command("file", epilog=_FILE_EPILOG, no_args_is_help=True)
def file(
    config_file: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A .py file that defines `config` (and `stop`), or YAML {name: {run, env, stop, config}}.",
        ),
    ],
    checkpoint_freq: Annotated[
        int | None, typer.Option(min=0, help="Iterations between checkpoints; 0: only at the end.")
    ] = None,
    stop: Annotated[
        str | None, typer.Option(help="Stop criteria as JSON; replaces those of the file.", metavar="JSON")
    ] = None,
    local_dir: Annotated[Path, typer.Option(help="Where the folder of the run is made.")] = Path("runs"),
    experiment_name: Annotated[str | None, typer.Option(help="Name of that folder.")] = None,
    restore: Annotated[
        Path | None, typer.Option(metavar="RUN_DIR", help="Go on from this run's last checkpoint.")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="Ray cluster; this machine without it.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train what a configuration file describes."""
    criteria = _criteria(stop)
    frequency = checkpoint_freq
    if restore is not None and not criteria:
        raise typer.BadParameter("--restore needs --stop: the criteria of the file were met already")

    def configure() -> tuple[Any, str, dict[str, float]]:
        nonlocal frequency
        from cloudsched_env.rllib.config_files import load_experiment

        experiment = load_experiment(config_file)
        if frequency is None:
            frequency = experiment.checkpoint_every
        return experiment.config, experiment_name or experiment.name, experiment.stop

    run_training(
        configure=configure if restore is None else None,
        out=restore,
        parent=local_dir,
        stop=criteria,
        stop_minutes=None,
        checkpoint_every=lambda: 5 if frequency is None else frequency,
        address=ray_address,
        progress=not quiet,
    )


def _criteria(text: str | None) -> dict[str, float]:
    if text is None:
        return {}
    try:
        criteria = json.loads(text)
        return {str(name): float(bound) for name, bound in criteria.items()}
    except (json.JSONDecodeError, AttributeError, TypeError, ValueError):
        raise typer.BadParameter(
            f"--stop {text}: expected JSON such as '{{\"training_iteration\": 100}}'", param_hint="--stop"
        ) from None
