"""How many candidate nodes a scheduler should look at: team reward of simple rules by their number.

    python benchmarks/candidates.py

Writes ``benchmarks/results/tables/candidates.json``; then ``python -m tests.env.scenario_pages`` renews the table of
``docs/simulator.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from recorded import Cell, measure, write

CANDIDATES = {"medium-v1": (8, 16, 32), "large-v1": (8, 16, 32, 64, 160)}
AGENTS = ("least_allocated", "locality", "linear_static")
BATCH = {"medium-v1": 16, "large-v1": 4}


def main(
    episodes: Annotated[int, typer.Option(min=2, help="Validation episodes of each cell.")] = 16,
    results: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/tables"),
) -> None:
    """Measure the effect of the number of candidates on placement."""
    cells = [
        Cell(scenario, AGENTS, {"scheduling.candidate_nodes": count}, batch=BATCH[scenario])
        for scenario, counts in CANDIDATES.items()
        for count in counts
    ]
    command = f"python benchmarks/candidates.py --episodes {episodes}"
    write(results / "candidates.json", measure(cells, episodes, command))


if __name__ == "__main__":
    typer.run(main)
