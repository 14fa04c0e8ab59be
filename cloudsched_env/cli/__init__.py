"""The ``cloudsched`` command. Sub-commands live in one module each and import what they need when they run."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

__all__ = ["build_app", "main"]

_HELP = "Benchmark for multi-agent reinforcement learning on cloud-native database clusters."

# Name on the command line and module; a module offers `app` (a typer.Typer). One whose app holds a single command
# and no callback becomes that command itself. Order is the order of the help page.
COMMANDS = {
    "evaluate": "cloudsched_env.cli.evaluate",
    "agents": "cloudsched_env.cli.agents",
    "check": "cloudsched_env.cli.check",
    "leaderboard": "cloudsched_env.cli.leaderboard",
    "headroom": "cloudsched_env.cli.headroom",
    "record": "cloudsched_env.cli.record",
    "train": "cloudsched_env.cli.train",
    "attention": "cloudsched_env.cli.attention",
    "traces": "cloudsched_env.cli.traces",
}


def build_app() -> Any:
    """The typer application with every sub-command of `COMMANDS` that this installation has.

    A sub-command whose module fails for want of an optional package stays in the help page and names the package
    when it is called.

    Raises:
        ModuleNotFoundError: typer or rich is not installed.
    """
    import typer

    app = typer.Typer(
        name="cloudsched", help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown"
    )

    def version(show: bool) -> None:
        if show:
            from cloudsched_env import __version__

            typer.echo(f"cloudsched-env {__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        _version: bool = typer.Option(
            False, "--version", help="Print the version and exit.", callback=version, is_eager=True
        ),
    ) -> None:
        pass

    for name, module_name in COMMANDS.items():
        if importlib.util.find_spec(module_name) is None:
            continue
        try:
            sub_app = importlib.import_module(module_name).app
        except ModuleNotFoundError as error:
            _add_unavailable(app, name, error)
            continue
        if len(sub_app.registered_commands) == 1 and not sub_app.registered_groups and not sub_app.registered_callback:
            command = sub_app.registered_commands[0]
            app.command(name, help=command.help, epilog=command.epilog, no_args_is_help=command.no_args_is_help)(
                command.callback
            )
        else:
            app.add_typer(sub_app, name=name)
    return app


def _add_unavailable(app: Any, name: str, error: ModuleNotFoundError) -> None:
    """A command that only tells which package it lacks."""
    import typer

    @app.command(
        name,
        help=f"Not available: needs the package {error.name}.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def unavailable() -> None:
        typer.echo(f"cloudsched {name}: {error} (pip install 'cloudsched-env[all]' installs every extra)", err=True)
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the ``cloudsched`` script."""
    try:
        import rich  # noqa: F401 - the sub-commands print with it
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        print(
            f"The cloudsched command needs the package {error.name}: pip install 'cloudsched-env[cli]'", file=sys.stderr
        )
        raise SystemExit(1) from None
    build_app()()


def __getattr__(name: str) -> Any:
    # `app` is built on demand, so that importing this package needs neither typer nor rich.
    if name == "app":
        return build_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
