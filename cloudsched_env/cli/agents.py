"""``cloudsched agents``: what `cloudsched evaluate` knows by name."""

from __future__ import annotations

import typer

__all__ = ["agents", "app"]

_EPILOG = """
**Examples**

`cloudsched agents`

`cloudsched evaluate "delay_scheduling(delay_s=1.0)+reactive" linear_static`
"""

app = typer.Typer(rich_markup_mode="markdown")


@app.command(epilog=_EPILOG)
def agents() -> None:
    """List the agents that are known by name, one line each."""
    from rich.console import Console
    from rich.table import Table

    from cloudsched_env.agents import list_agents

    table = Table(box=None, pad_edge=False)
    for heading in ("agent", "kind", "what it does"):
        table.add_column(heading, overflow="fold")
    for entry in list_agents():
        table.add_row(entry.name, entry.origin, entry.summary)
    console = Console()
    console.print(table)
    console.print(
        "\nAlso: placement+knobs (balanced+reactive), parameters (delay_scheduling(delay_s=1.0)), module:Class, "
        "file.py:Class, the folder of a trained policy.",
        markup=False,
    )
