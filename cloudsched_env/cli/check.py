"""``cloudsched check``: does an agent keep to the contract?"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["app", "check"]

app = typer.Typer(rich_markup_mode="markdown", no_args_is_help=True)

_EPILOG = """
**Examples**

`cloudsched check my_agent.py:MyAgent`

`cloudsched check path/to/policy --scenario large-v1`
"""


@app.command(epilog=_EPILOG, no_args_is_help=True)
def check(
    agent: Annotated[str, typer.Argument(help="agent spec, as for evaluate")],
    scenario: Annotated[
        list[str] | None, typer.Option(help="scenario id; repeatable; default: tiny-v1, paper-v1")
    ] = None,
    steps: Annotated[int, typer.Option(min=8, help="steps of each scenario")] = 25,
    memory_mb: Annotated[int, typer.Option(min=256, help="address space of the agent's process")] = 8192,
    call_s: Annotated[float, typer.Option(min=0.1, help="longest call of reset or act")] = 30.0,
) -> None:
    """Run an agent for a few steps and say what is wrong with it, and where.

    Checked are spaces, masks, determinism under a seed, state carried between episodes, whether a cluster is played the
    same alone and in a batch, whether agents act on their own observation only, and decision time. The agent runs in a
    process of its own, which does not hold the simulator.
    """
    from rich.console import Console
    from rich.markup import escape

    from cloudsched_env.leaderboard.conformance import SCENARIOS, check_conformance
    from cloudsched_env.leaderboard.isolation import Limits

    console, status = Console(), Console(stderr=True)
    limits = Limits(memory_mb=memory_mb, call_s=call_s)
    try:
        with status.status("checking") as shown:
            findings = check_conformance(
                agent, scenario or SCENARIOS, steps, limits, lambda text: shown.update(f"checking: {text}")
            )
    except ValueError as error:
        status.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    signs = {"ok": "[green]ok[/green]     ", "warning": "[yellow]warning[/yellow]", "error": "[red]error[/red]  "}
    for found in findings:
        console.print(
            f"{signs[found.level]} {found.scenario:9} {found.what:12} {escape(found.message)}",
            highlight=False,
            soft_wrap=True,
        )
    errors = sum(found.level == "error" for found in findings)
    warnings = sum(found.level == "warning" for found in findings)
    console.print(f"{errors} errors, {warnings} warnings", highlight=False)
    if errors:
        raise typer.Exit(1)
