"""How many candidate nodes a scheduler should look at: team reward of simple rules by their number.

python benchmarks/candidates.py --json benchmarks/results/candidates.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.whole_file import write_whole

CANDIDATES = {"medium-v1": (8, 16, 32), "large-v1": (8, 16, 32, 64, 160)}
AGENTS = ("least_allocated", "locality", "linear_static")


def mean_reward(scenario: str, candidates: int, agent_name: str, episodes: int) -> float:
    """Mean team reward after the warm-up of the same validation episodes whatever the rule."""
    env = CloudSchedVectorEnv(
        scenario, episodes, split="validation", overrides={"scheduling.candidate_nodes": candidates}
    )
    env.reset(0)
    agent = load_agent(agent_name)
    agent.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), episodes, 0)
    over = False
    while not over:
        over = env.step(agent.act(env.observations, env.masks))
    totals = [result.totals for result in env.results()]
    return float(np.mean([entry["team_reward"] / entry["steps"] for entry in totals]))


def main(
    episodes: Annotated[int, typer.Option(min=1, help="Validation episodes of each cell.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure the effect of the number of candidates on placement."""
    cells = [(scenario, agent, k) for scenario, counts in CANDIDATES.items() for agent in AGENTS for k in counts]
    rewards: dict[str, dict[str, dict[str, Any]]] = {}
    for scenario, agent, k in track(cells, description="Episodes"):
        rewards.setdefault(scenario, {}).setdefault(agent, {})[str(k)] = mean_reward(scenario, k, agent, episodes)
    columns = sorted({k for counts in CANDIDATES.values() for k in counts})
    table = Table(title=f"team reward by candidate nodes, {episodes} episodes")
    for column in ("scenario", "rule", *map(str, columns)):
        table.add_column(column)
    for scenario, rows in rewards.items():
        for agent, row in rows.items():
            cells_of_row = [f"{row[str(k)]:.3f}" if str(k) in row else "" for k in columns]
            table.add_row(scenario, agent, *cells_of_row)
    Console().print(table)
    if json_file is not None:
        record = {"command": f"python {' '.join(sys.argv)}", "episodes": episodes, "team_reward": rewards}
        write_whole(json_file, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
