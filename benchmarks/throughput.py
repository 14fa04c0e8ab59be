"""Steps per second of both faces, with PettingZoo's simple_spread and stock RLlib beside them, in one run.

    python benchmarks/throughput.py                 # the simulator, on one pinned core
    python benchmarks/throughput.py --rllib         # training too: role-batched path against stock RLlib PPO
    python benchmarks/throughput.py --scaling       # 25 to 1,024 agents: cost of an agent-step, exponent, memory
    python benchmarks/throughput.py --json out.json

Times are CPU time of this process, so that a busy machine disturbs them less; rounds alternate between the
subjects, and the median round is reported beside the best. Resets are timed apart from steps.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import cloudsched_env
from cloudsched_env.roles import compute, storage
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.whole_file import write_whole

Rates = dict[str, list[float]]
_DRAWN_STEPS = 16


def drawn_actions(env: CloudSchedVectorEnv) -> list[dict[str, np.ndarray]]:
    """Actions of all agents for some steps, drawn before anything is timed: the benchmark is about the environment.

    Levels stay where they begin and tasks go to candidates in proportion to their cores, so that the cluster is as busy
    as under a sensible scheduler (about 200 running tasks).
    """
    rng = np.random.default_rng(0)
    env.reset(0)
    scenario, counts, batch = env.scenario, env.role_counts, env.num_envs
    levels = {"compute": compute.initial_levels(scenario), "storage": storage.initial_levels(scenario)}
    fixed = {role: np.full((batch, counts[role], len(level)), level) for role, level in levels.items()}
    nodes = scenario.cluster.compute_nodes
    cores = np.repeat([n.cores for n in nodes], [n.count for n in nodes])
    if len(cores) > env.candidates.shape[-1]:
        raise ValueError(f"{scenario.id}: schedulers see some of the nodes only; use --scaling for large clusters")
    shape = (batch, counts["scheduler"], scenario.scheduling.window_slots)
    return [
        {**fixed, "scheduler": rng.choice(len(cores), size=shape, p=cores / cores.sum())} for _ in range(_DRAWN_STEPS)
    ]


def vector_steps(scenario: str, batch: int) -> Iterator[tuple[int, float, float]]:
    """Env steps, CPU seconds of steps and of resets, of one episode after the other."""
    env = CloudSchedVectorEnv(scenario, batch)
    drawn = drawn_actions(env)
    seed = 0
    while True:
        begun = time.process_time()
        env.reset(seed)
        reset_s = time.process_time() - begun
        seed += batch
        steps, over = 0, False
        begun = time.process_time()
        while not over:
            over = env.step(drawn[steps % len(drawn)])
            steps += 1
        yield steps * batch, time.process_time() - begun, reset_s


def parallel_steps(scenario: str) -> Iterator[tuple[int, float, float]]:
    """The same through the PettingZoo face."""
    env = cloudsched_env.parallel_env(scenario)
    by_role = drawn_actions(CloudSchedVectorEnv(scenario, 1))
    order = [(agent, *agent.rsplit("_", 1)) for agent in env.possible_agents]
    drawn = [{agent: actions[role][0, int(number)] for agent, role, number in order} for actions in by_role]
    seed = 0
    while True:
        begun = time.process_time()
        env.reset(seed=seed)
        reset_s = time.process_time() - begun
        seed += 1
        steps = 0
        begun = time.process_time()
        while env.agents:
            env.step(drawn[steps % len(drawn)])
            steps += 1
        yield steps, time.process_time() - begun, reset_s


def simple_spread_steps(agents: int) -> Iterator[tuple[int, float, float]]:
    """PettingZoo's best-known environment at the same number of agents."""
    from mpe2 import simple_spread_v3

    env = simple_spread_v3.parallel_env(N=agents, max_cycles=25)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    drawn = [{agent: int(rng.integers(0, 5)) for agent in env.possible_agents} for _ in range(16)]
    while True:
        begun = time.process_time()
        env.reset()
        reset_s = time.process_time() - begun
        steps = 0
        begun = time.process_time()
        while env.agents:
            env.step(drawn[steps % 16])
            steps += 1
        yield steps, time.process_time() - begun, reset_s


def measure(subjects: dict[str, Iterator[tuple[int, float, float]]], rounds: int, seconds: float) -> dict[str, Any]:
    """Run the subjects in turn; each round lasts at least ``seconds`` of CPU time of steps."""
    for subject in subjects.values():
        next(subject)  # compiles, warms up
    rates: Rates = {name: [] for name in subjects}
    resets: Rates = {name: [] for name in subjects}
    for _ in track(range(rounds), description="Measuring"):
        for name, subject in subjects.items():
            steps, spent = 0, 0.0
            while spent < seconds:
                done, step_s, reset_s = next(subject)
                steps, spent = steps + done, spent + step_s
                resets[name].append(reset_s)
            rates[name].append(steps / spent)
    return {
        name: {
            "env_steps_per_s_median": statistics.median(values),
            "env_steps_per_s_best": max(values),
            "reset_s_median": statistics.median(resets[name]),
        }
        for name, values in rates.items()
    }


def training_rates(scenario: str, minutes: float) -> dict[str, dict[str, float]]:
    """Agent steps per CPU second of whole training iterations: role-batched HRAC, and stock RLlib PPO."""
    from training_speed import role_batched_training, stock_training

    makers: dict[str, Callable[[], Iterator[tuple[int, float]]]] = {
        "role-batched HRAC": lambda: role_batched_training(scenario),
        "stock RLlib PPO": lambda: stock_training(scenario),
    }
    result: dict[str, dict[str, float]] = {}
    for name, maker in makers.items():
        iterations = maker()
        next(iterations)  # builds, warms up
        steps, spent = 0, 0.0
        while spent < minutes * 60:
            done, cpu_s = next(iterations)
            steps, spent = steps + done, spent + cpu_s
        result[name] = {"env_steps_per_s_median": steps / spent}
    return result


def scaling_table(name: str, face: dict[str, Any]) -> Table:
    """One face of `scaling.measure_scaling`."""
    from scaling import in_words

    title = f"{name}: exponent of the time of an env step {in_words(face)}"
    title += f"; of the largest two sizes {in_words(face['exponent_of_the_largest_two'])}"
    title += f"; of the best rounds {face['exponent_of_best_rounds']:.2f}"
    table = Table(title=title)
    columns = ("scenario", "agents", "B", "us/step", "best", "steps/s", "agent-steps/s", "ns/agent-step", "MB")
    for column in columns:
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for scenario, row in face["sizes"].items():
        table.add_row(
            scenario, f"{row['agents']:,}", str(row["batch"]), f"{row['env_step_us']:,.1f}",
            f"{row['env_step_us_best']:,.1f}",
            f"{row['env_steps_per_s']:,.0f}", f"{row['agent_steps_per_s']:,.0f}", f"{row['ns_per_agent_step']:,.0f}",
            f"{row['bytes_per_environment'] / 1e6:,.1f}",
        )  # fmt: skip
    return table


def report_scaling(rounds: int, seconds: float, candidates: int | None, json_file: Path | None) -> None:
    """Measure and print the cost of an agent-step from 25 to 1,024 agents."""
    from scaling import measure_scaling

    figures = measure_scaling(rounds, seconds, {"scheduling.candidate_nodes": candidates} if candidates else None)
    for name in ("one environment", "equal agents in all"):
        Console().print(scaling_table(name, figures[name]))
    if json_file is not None:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()}
        record = {"command": f"python {' '.join(sys.argv)}", **machine, **figures}
        write_whole(json_file, json.dumps(record, indent=2) + "\n")


def main(
    scenario: Annotated[str, typer.Option(help="Scenario to measure.")] = "paper-v1",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, alternating between the subjects.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.1, help="CPU seconds of a round.")] = 2.0,
    rllib: Annotated[bool, typer.Option("--rllib", help="Measure whole training iterations too.")] = False,
    scaling: Annotated[bool, typer.Option("--scaling", help="Measure 25 to 1,024 agents instead.")] = False,
    candidates: Annotated[int | None, typer.Option(min=1, help="With --scaling: nodes a scheduler observes.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="CPU minutes of each training.")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure environment and training speed."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if scaling:
        report_scaling(rounds, seconds, candidates, json_file)
        return
    counts = cloudsched_env.load_scenario(scenario).role_counts
    agents = sum(counts.values())
    subjects = {f"vector face, B = {batch}": vector_steps(scenario, batch) for batch in (1, 16, 64)}
    subjects["ParallelEnv face"] = parallel_steps(scenario)
    subjects[f"simple_spread_v3, N = {agents}"] = simple_spread_steps(agents)
    figures = measure(subjects, rounds, seconds)
    if rllib:
        figures |= training_rates(scenario, minutes)

    table = Table(title=f"{scenario}: {agents} agents, one core, CPU time, {rounds} rounds of {seconds:g} s")
    for column in ("subject", "env-steps/s", "best round", "agent-steps/s", "reset ms"):
        table.add_column(column, justify="left" if column == "subject" else "right")
    for name, row in figures.items():
        rate = row["env_steps_per_s_median"]
        best = f"{row['env_steps_per_s_best']:,.0f}" if "env_steps_per_s_best" in row else ""
        reset = f"{1e3 * row['reset_s_median']:.2f}" if "reset_s_median" in row else ""
        table.add_row(name, f"{rate:,.0f}", best, f"{rate * agents:,.0f}", reset)
    Console().print(table)
    if json_file is not None:
        record = {
            "scenario": scenario,
            "agents": agents,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "figures": figures,
        }
        write_whole(json_file, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
