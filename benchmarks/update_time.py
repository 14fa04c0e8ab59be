"""Time of a policy update by number of agents, and how it grows.

    python benchmarks/update_time.py --json benchmarks/results/update_time.json
    python benchmarks/update_time.py --rounds 5 --sizes 5,25,100

*An update* is one call of the learner on one batch of roll-outs: reward shaping, values and V-trace (the connector),
and ``update.epochs`` passes of gradient steps. *An iteration* is that and sampling the batch: stepping the clusters
and the policies' forward passes. Clusters are paper-v1 with counts, tenants and load scaled to the number of agents.

Three sweeps:

* ``env steps``: 500 env steps a batch at every size, gradient steps on at most ``update.agents_per_role`` agents a role
  and env step, as is the default. The data grow with the agents; the work of the policies' gradient steps does not.
* ``agent samples``: 12,500 agent steps a batch at every size, so fewer env steps of larger clusters.
* ``env steps, all agents``: as the first, without sub-sampling: what that is worth.

One more row is the default configuration at 25 agents (5,000 env steps a batch; 2,500 in records before that changed).

The exponent is the slope of log time over log agents. Every round measures all sizes in turn and gives a slope; the
figure is their mean, with Student's 95 % interval over rounds (`benchmarks/scaling.py`), which is wide with few rounds.
One power law need not fit: the slope between the two largest sizes is given beside it, and is above the overall one
where a curve bends upwards. Times are CPU time of one thread, which a busy machine disturbs less (not wholly: caches
are shared, so the best round of each size is given too); wall time is recorded as well. Results are written after every
measurement, and a repeated command goes on where the last one ended; with `--rounds` as many as are there it only
summarises anew.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scaling import exponent, in_words

import cloudsched_env
from cloudsched_env.rllib.hrac import HRACConfig, register_vector_env
from cloudsched_env.rllib.learner import HRACLearner
from cloudsched_env.rllib.modules import spaces
from cloudsched_env.rllib.ray_session import silence_ray
from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from cloudsched_env.scenario import load_scenario
from cloudsched_env.whole_file import write_whole

SIZES = (5, 10, 25, 50, 100, 200, 1000)
ENV_STEPS, AGENT_SAMPLES = 500, 12_500
SWEEPS = ("env steps", "agent samples", "env steps, all agents")
DEFAULT = "default configuration"
_MINIBATCHES = 5  # as many as in the default configuration: 5,000 env steps in minibatches of 1,000


def scaled_cluster(agents: int) -> dict[str, Any]:
    """Overrides that give paper-v1 another number of agents, in the proportions 16 : 6 : 3."""
    schedulers = max(1, round(agents * 3 / 25))
    storage = max(1, round(agents * 6 / 25))
    compute = agents - schedulers - storage
    return {
        "cluster.compute_nodes": [{"count": compute, "cores": 8.0, "memory_gb": 16.0}],
        "cluster.storage_nodes": storage,
        "cluster.schedulers": schedulers,
        "workload.replicas": min(3, storage),
        "workload.tenants": 4 * schedulers,
        "workload.task_rate_per_s": 60.0 * agents / 25,
        "time.horizon_steps": 160,
    }


def batch_shape(sweep: str, agents: int) -> tuple[int, int]:
    """Steps and clusters of a batch."""
    steps = ENV_STEPS if sweep != "agent samples" else max(_MINIBATCHES, AGENT_SAMPLES // agents)
    clusters = max(1, round(steps / 50))
    return round(steps / clusters), clusters


@dataclass
class Subject:
    """One size in one sweep: a runner that samples batches and a learner that trains on them."""

    sweep: str
    agents: int

    def __post_init__(self) -> None:
        settings: dict[str, Any] = {"scenario": "paper-v1", "validation.every_epochs": 0}
        if self.sweep != DEFAULT:
            rollout_steps, clusters = batch_shape(self.sweep, self.agents)
            settings |= {
                "overrides": scaled_cluster(self.agents),
                "sampling.rollout_steps": rollout_steps,
                "sampling.clusters": clusters,
                "sampling.phases": 1,
                "update.minibatch_steps": max(1, rollout_steps * clusters // _MINIBATCHES),
            }
        if self.sweep == SWEEPS[2]:
            settings["update.agents_per_role"] = 0
        self.config = HRACConfig().hrac(settings)
        self.config.validate()
        self.runner = RoleBatchedEnvRunner(config=self.config, worker_index=0)
        scenario = load_scenario(self.config.settings.scenario, self.config.settings.overrides)
        spec = self.config.get_multi_rl_module_spec(spaces=spaces(scenario))
        self.learner = HRACLearner(config=self.config, module_spec=spec)
        self.learner.build()
        self.measure()  # warm-up

    def measure(self) -> dict[str, float]:
        """Seconds of sampling a batch and of the update on it."""
        times: dict[str, float] = {}
        cpu, wall = time.process_time(), time.perf_counter()
        episodes = self.runner.sample()
        times["sampling_cpu_s"], times["sampling_wall_s"] = time.process_time() - cpu, time.perf_counter() - wall
        cpu, wall = time.process_time(), time.perf_counter()
        self.learner.update(
            episodes=episodes, num_epochs=self.config.num_epochs, minibatch_size=self.config.minibatch_size
        )
        times["update_cpu_s"], times["update_wall_s"] = time.process_time() - cpu, time.perf_counter() - wall
        (rollout,) = episodes
        return {**times, "env_steps": float(rollout.env_steps()), "agent_steps": float(rollout.agent_steps())}


def summarise(measured: dict[str, list[dict[str, float]]], sizes: list[int]) -> dict[str, Any]:
    """Medians by size, exponents by sweep."""
    summary: dict[str, Any] = {}
    for sweep in (*SWEEPS, DEFAULT):
        chosen = [n for n in sizes if measured.get(f"{sweep}/{n}")]
        if not chosen:
            continue
        rounds = min(len(measured[f"{sweep}/{n}"]) for n in chosen)
        entry: dict[str, Any] = {"rounds": rounds, "sizes": {}}
        for n in chosen:
            rows = measured[f"{sweep}/{n}"]
            entry["sizes"][str(n)] = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
            entry["sizes"][str(n)]["update_cpu_s_best"] = min(row["update_cpu_s"] for row in rows)
        if len(chosen) > 2:
            for name, parts in (("update", ["update_cpu_s"]), ("iteration", ["update_cpu_s", "sampling_cpu_s"])):
                times = np.array(
                    [[sum(measured[f"{sweep}/{n}"][k][part] for part in parts) for n in chosen] for k in range(rounds)]
                )
                entry[f"{name}_exponent"] = exponent(chosen, times)
                entry[f"{name}_exponent_of_best_rounds"] = exponent(chosen, times.min(axis=0)[None])["exponent"]
                entry[f"{name}_exponent_of_the_largest_two"] = exponent(chosen[-2:], times[:, -2:])
        summary[sweep] = entry
    return summary


def show(summary: dict[str, Any], console: Console) -> None:
    """Print the table."""
    for sweep, entry in summary.items():
        table = Table(title=sweep, title_justify="left")
        for heading in ("agents", "env steps", "agent steps", "update CPU s", "best", "iteration CPU s"):
            table.add_column(heading, justify="right")
        for agents, row in entry["sizes"].items():
            table.add_row(
                agents,
                f"{row['env_steps']:.0f}",
                f"{row['agent_steps']:.0f}",
                f"{row['update_cpu_s']:.3f}",
                f"{row['update_cpu_s_best']:.3f}",
                f"{row['update_cpu_s'] + row['sampling_cpu_s']:.3f}",
            )
        console.print(table)
        for name in ("update", "iteration"):
            if f"{name}_exponent" in entry:
                last = in_words(entry[f"{name}_exponent_of_the_largest_two"])
                console.print(f"{name}: exponent {in_words(entry[f'{name}_exponent'])}, at the end {last}")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="measurements of each size")] = 10,
    sizes: Annotated[str, typer.Option(help="numbers of agents, at least 5")] = ",".join(map(str, SIZES)),
    json_file: Annotated[Path | None, typer.Option("--json", help="results; a file that exists is completed")] = None,
) -> None:
    """Measure, print the table, write the results."""
    silence_ray()
    torch.set_num_threads(1)
    register_vector_env()
    console = Console()
    wanted = [int(part) for part in sizes.split(",")]
    measured: dict[str, list[dict[str, float]]] = {}
    if json_file is not None and json_file.is_file():
        measured = json.loads(json_file.read_text(encoding="utf-8"))["measurements"]
    cells = [(sweep, n) for sweep in SWEEPS for n in wanted] + [(DEFAULT, 25)]
    missing = [cell for cell in cells if len(measured.get("/".join(map(str, cell)), [])) < rounds]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=len(missing) * rounds)
        subjects: dict[tuple[str, int], Subject] = {}
        for k in range(rounds):
            for sweep, agents in missing:
                rows = measured.setdefault(f"{sweep}/{agents}", [])
                bar.update(task, description=f"{sweep}, {agents} agents")
                if len(rows) <= k:
                    if (sweep, agents) not in subjects:
                        subjects[sweep, agents] = Subject(sweep, agents)
                    rows.append(subjects[sweep, agents].measure())
                    if json_file is not None:
                        write_whole(json_file, json.dumps(content_of(measured, wanted), indent=1) + "\n")
                bar.advance(task)
    if json_file is not None and measured:
        # Also when nothing was missing: the summary may be an older one.
        write_whole(json_file, json.dumps(content_of(measured, wanted), indent=1) + "\n")
    show(summarise(measured, wanted), console)


def content_of(measured: dict[str, list[dict[str, float]]], sizes: list[int]) -> dict[str, Any]:
    """Everything that is written."""
    return {
        "command": "python benchmarks/update_time.py",
        "versions": {
            "cloudsched-env": cloudsched_env.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1},
        "summary": summarise(measured, sizes),
        "measurements": measured,
    }


if __name__ == "__main__":
    typer.run(main)
