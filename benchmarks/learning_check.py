"""Does training teach anything? A short run on tiny-v1 must clearly beat random actions, or this exits with 1.

    python benchmarks/learning_check.py qmix vdn --epochs 6
    python benchmarks/learning_check.py hrac_lgrs --epochs 6 --out runs/check

Networks begin without the preferences that new networks are given by default (the scenario's initial levels, less
loaded nodes): with them an untrained one does as well as a good rule, and beating random would show nothing. The
exported policy, the same networks before training and the random agent play the same validation episodes, through the
code of ``cloudsched evaluate``. Too slow for the tests (a minute or two for each algorithm on a quiet core), and a
short run says nothing on which algorithm is better.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from cloudsched_env.evaluation.protocol import evaluate
from cloudsched_env.evaluation.statistics import paired_difference
from cloudsched_env.rllib.networks import ROLES, TrainedAgent, build_networks, load_policy, save_policy
from cloudsched_env.whole_file import write_whole

console = Console(highlight=False)
RIVAL = "least_allocated"  # the best simple rule on tiny-v1, for scale
WITHOUT_PREFERENCES = ["networks.level_preference=0", "networks.load_aversion=0"]


def train(algorithm: str, scenario: str, epochs: int, seed: int, settings: list[str], out: Path) -> None:
    """Train with the command that users type."""
    arguments = ["train", algorithm, "--scenario", scenario, "--stop-epochs", str(epochs), "--seed", str(seed)]
    arguments += [word for item in settings for word in ("--set", item)] + ["--out", str(out)]
    console.print(f"\n[bold]$ cloudsched {shlex.join(arguments)}[/bold]", soft_wrap=True)
    command = [sys.executable, "-c", "from cloudsched_env.cli import main; main()", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise typer.Exit(2)


def untrained(policy: Path, seed: int, folder: Path) -> TrainedAgent:
    """The networks of a policy as they are before training."""
    loaded = load_policy(policy)
    torch.manual_seed(seed)
    networks = build_networks(loaded.scenario, loaded.config)
    metadata = {"deterministic": loaded.metadata["deterministic"]}
    save_policy(folder, {role: networks[role] for role in ROLES}, loaded.scenario, loaded.config, metadata)
    return TrainedAgent(folder, name="untrained")


def main(
    algorithms: Annotated[list[str], typer.Argument(help="Shipped configurations or files.")],
    scenario: Annotated[str, typer.Option(help="Scenario.")] = "tiny-v1",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of 10,000 env steps.")] = 6,
    episodes: Annotated[int, typer.Option(min=2, help="Validation episodes.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the runs.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="As of train.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs; algorithms that have one are not trained again.")] = (
        Path("runs/learning_check")
    ),
    record: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Train, evaluate, compare with random."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    figures = {}
    for algorithm in algorithms:
        folder = out / Path(algorithm).stem
        if not (folder / "latest.json").exists():
            train(algorithm, scenario, epochs, seed, [*WITHOUT_PREFERENCES, *(settings or [])], folder)
        policy = folder / "policy"
        agents = [str(policy), untrained(policy, seed, folder / "untrained"), RIVAL]
        result = evaluate(agents, scenario, "validation", episodes)
        trained, before, rival = (agent.metrics["team_reward"] for agent in result.agents)
        random = result.random.metrics["team_reward"]
        gain = paired_difference(trained, random, np.random.default_rng(0))
        wins = int((trained > random).sum())
        figures[algorithm] = {
            "team_reward": float(trained.mean()),
            "untrained": float(before.mean()),
            "random": float(random.mean()),
            RIVAL: float(rival.mean()),
            "gain_over_random": [gain.estimate, gain.low, gain.high],
            "episodes_better_than_random": wins,
            "episodes": len(trained),
            "epochs": json.loads((policy / "policy.json").read_text())["metadata"]["epoch"],
            "seed": seed,
            "settings": [*WITHOUT_PREFERENCES, *(settings or [])],
            "scenario": scenario,
            "data": result.data_tag,
        }
        console.print(
            f"{algorithm}: {trained.mean():.3f}, before training {before.mean():.3f}, random {random.mean():.3f}, "
            f"{RIVAL} {rival.mean():.3f}; gain over random {gain.estimate:+.3f} [{gain.low:.3f}, {gain.high:.3f}], "
            f"better in {wins} of {len(trained)} episodes"
        )
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps(figures, indent=2) + "\n")
    failed = [name for name, values in figures.items() if values["gain_over_random"][1] <= 0.0]
    if failed:
        console.print(f"[red]not clearly better than random: {', '.join(failed)}[/red]")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
