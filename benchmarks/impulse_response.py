"""What a change of levels for some seconds does to the team reward, and when.

    python benchmarks/impulse_response.py linear_static purge_level
    python benchmarks/impulse_response.py runs/mine/policy cache_level --trace google.parquet --for-s 10 --json out.json

An agent plays train windows; then all nodes of the knob's role are held at one level from ``--at-s`` on for ``--for-s``
seconds, in the same windows of the same clusters with the same seeds. The table has the difference in the sum of team
rewards over the seconds that follow, with 95 % intervals over windows. Where a cost comes first and the gain later, a
learner whose discount looks no further than the cost learns to avoid the gain: the row says how far it has to look.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.agents.heuristics.knobs import KNOBS_OF
from cloudsched_env.evaluation.statistics import Interval, paired_difference
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.source import make_source

console = Console(highlight=False)


def play(
    env: CloudSchedVectorEnv,
    agent: Any,
    seeds: list[int],
    until_step: int,
    held: tuple[str, int, int, range] | None = None,
) -> NDArray[np.float64]:
    """Team rewards ``[steps, windows]``.

    Args:
        env: clusters, one for each window.
        agent: who plays.
        seeds: of windows and clusters.
        until_step: number of steps.
        held: role, sub-action, level and steps at which all agents of the role are held there, as far as masks allow.
    """
    env.reset(seeds)
    agent.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), env.num_envs, 0)
    rewards = np.empty((until_step, env.num_envs))
    for step in range(until_step):
        actions = agent.act(env.observations, env.masks)
        if held is not None and step in held[3]:
            role, knob, level, _ = held
            first = int(env.action_levels[role][:knob].sum())
            allowed = env.masks[role][..., first + level] != 0
            chosen = actions[role].copy()
            chosen[..., knob] = np.where(allowed, level, chosen[..., knob])
            actions = {**actions, role: chosen}
        env.step(actions)
        rewards[step] = env.team_reward
    return rewards


def response(
    changed: NDArray[np.float64], unchanged: NDArray[np.float64], first_step: int, steps: list[int]
) -> list[Interval]:
    """Difference in the sum of rewards from ``first_step`` on, for each number of steps that follow."""
    return [
        paired_difference(
            changed[first_step : first_step + count].sum(0),
            unchanged[first_step : first_step + count].sum(0),
            np.random.default_rng(0),
        )
        for count in steps
    ]


def main(
    agent: Annotated[str, typer.Argument(help="Agent, as `cloudsched agents` names it, or a policy's folder.")],
    knob: Annotated[str, typer.Argument(help="One of a node's, as purge_level or serve_level.")],
    scenario: Annotated[str, typer.Option(help="Scenario id.")] = "paper-v1",
    trace: Annotated[Path | None, typer.Option(exists=True, help="Task table; default: the generator.")] = None,
    windows: Annotated[int, typer.Option(min=2, help="Train windows.")] = 150,
    at_s: Annotated[float, typer.Option(min=0, help="When the level changes.")] = 15.0,
    for_s: Annotated[float, typer.Option(min=0.1, help="For how long.")] = 3.0,
    result: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Measure the response to each level."""
    role = next((role for role, names in KNOBS_OF.items() if knob in names), None)
    if role is None:
        known = ", ".join(name for names in KNOBS_OF.values() for name in names)
        raise typer.BadParameter(f"unknown knob {knob!r}: expected one of {known}", param_hint="KNOB")
    source = make_source(scenario, "train", trace)
    env = CloudSchedVectorEnv(source.scenario, windows, source=source)
    index, step_s = KNOBS_OF[role].index(knob), env.scenario.time.step_s
    first, held = round(at_s / step_s), round(for_s / step_s)
    last = env.scenario.time.horizon_steps
    after = [n for n in (round(s / step_s) for s in (1, 3, 5, 10, 15, 20, 30, 50, 100)) if first + n <= last]
    if not after:
        raise typer.BadParameter(f"an episode has {last * step_s:g} s: expected less", param_hint="--at-s")
    seeds = list(range(windows))
    player = load_agent(agent)
    unchanged = play(env, player, seeds, first + after[-1])
    responses: dict[int, list[Interval]] = {}
    levels = range(int(env.action_levels[role][index]))
    for level in track(levels, description=f"levels of {knob}", console=console, transient=True):
        steps = range(first, first + held)
        changed = play(env, player, seeds, first + after[-1], (role, index, level, steps))
        responses[level] = response(changed, unchanged, first, after)
    title = f"{knob} held for {for_s:g} s, {agent}: difference of summed team rewards"
    table = Table("within", *(f"level {level}" for level in responses), title=title)
    for row, count in enumerate(after):
        intervals = [responses[level][row] for level in responses]
        table.add_row(f"{count * step_s:g} s", *(f"{v.estimate:+.2f}±{(v.high - v.low) / 2:.2f}" for v in intervals))
    console.print(table)
    if result is not None:
        record = {
            "command": shlex.join(["python", "benchmarks/impulse_response.py", *sys.argv[1:]]),
            "scenario": env.scenario.id,
            "data": source.data_tag,
            "after_s": [n * step_s for n in after],
            "difference": {str(k): [(v.estimate, v.low, v.high) for v in row] for k, row in responses.items()},
        }
        write_whole(result, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
