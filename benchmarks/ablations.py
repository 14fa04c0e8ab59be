"""What each part of the method is worth: one part changed at a time, everything else at its default.

    python benchmarks/ablations.py --minutes 10 --seeds 5 --workers 4
    python benchmarks/ablations.py --study lambda --study attention --scenario tiny-v1 --epochs 5
    python benchmarks/ablations.py --table                    # only the table, of what is there

A run is one variant and one seed: training (`cloudsched train`), then its policy on the fixed test windows
(`cloudsched evaluate`), each in a process of its own, ``--workers`` of them at a time. A run's folder holds the
training, ``result.json`` in marl-eval's layout and its metadata; it counts as done when the result is there, so a
repeated command does what is missing and resumes trainings that had begun. Variants that equal the default are run
once. ``plan.json`` keeps what all runs share; a command that asks for something else is refused.

Studies: ``lambda`` (weight of the local reward x mode of the global term), ``attention`` (none, mean, dot, several
heads, the most similar role only), ``execution`` (what policies receive of other roles), ``roles`` (one shared policy
with a one-hot role, a network for each role, random groups), ``credit`` (what lets a policy find out which of its
actions paid), ``replay`` (on-policy, off-policy), ``warm_start``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cloudsched_env.evaluation.statistics import bootstrap_interval, interquartile_mean
from cloudsched_env.rllib.ray_session import silence_ray
from cloudsched_env.rllib.settings import HRACSettings

COMMAND = "from cloudsched_env.cli import main; main()"
TRAJECTORIES = "{trajectories}"  # stands for the folder that is recorded once for all runs
LAMBDAS = (0.0, 0.2, 0.5, 0.8, 1.0)
MODES = ("td", "mix", "literal", "pbrs")


@dataclass(frozen=True)
class Variant:
    """One cell of a study: the settings that it changes, by dotted name."""

    study: str
    name: str
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """Folder of the variant: readable, and different for different settings; equal settings share their runs."""
        if not self.changes:
            return "default"
        digest = hashlib.sha256(json.dumps(sorted(self.changes)).encode()).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9.]+', '_', f'{self.study} {self.name}')}_{digest}"


def variant(study: str, name: str, **groups: Any) -> Variant:
    """A variant from ``group={setting: value}``, or ``setting=value``; values that are the defaults are no change."""
    defaults = HRACSettings().to_dict()
    networks = network_defaults()
    changes = []
    for group, values in groups.items():
        if not isinstance(values, Mapping):
            if defaults[group] != values:
                changes.append((group, values))
            continue
        for setting, value in values.items():
            known = networks.get(setting) if group == "networks" else defaults.get(group, {}).get(setting)
            if known != value:
                changes.append((f"{group}.{setting}", value))
    return Variant(study, name, tuple(sorted(changes)))


def network_defaults() -> dict[str, Any]:
    """Defaults of the networks, which are free-form in the settings."""
    from cloudsched_env.rllib.networks import NetworkConfig

    return NetworkConfig().to_dict()


def studies() -> dict[str, list[Variant]]:
    """All studies."""
    weights = [variant("lambda", f"{mode} {w}", lgrs={"mode": mode, "lambda": w}) for mode in MODES for w in LAMBDAS]
    # With lambda 1 nothing global is left, whatever the mode.
    weights = [v for v in weights if not (v.name.endswith("1.0") and not v.name.startswith("td"))]
    attention = {
        "off": {"similarity": "off"},
        "mean-pooled": {"similarity": "mean"},
        "dot, one head": {"similarity": "scaled_dot", "attention_heads": 1},
        "dot, four heads": {"similarity": "scaled_dot", "attention_heads": 4},
        "most similar role only": {"similarity": "scaled_dot", "attention_heads": 4, "attention_top_k": 1},
        "two most similar roles": {"similarity": "scaled_dot", "attention_heads": 4, "attention_top_k": 2},
    }
    return {
        "lambda": [
            variant("lambda", f"td {HRACSettings().lgrs.lambda_}"),
            *weights,
            variant("lambda", "off", lgrs={"mode": "off"}),
        ],
        "attention": [variant("attention", name, networks=values) for name, values in attention.items()],
        "execution": [
            variant("execution", mode, networks={"execution": mode}) for mode in ("none", "role_summary", "full")
        ],
        "roles": [
            variant("roles", name, roles={"map": name}) for name in ("agent_type", "node_size", "shared", "random:0")
        ],
        "credit": [
            variant("credit", "all of it"),
            variant("credit", "independent noise", exploration={"common_noise_steps": {"compute": 0, "storage": 0}}),
            variant("credit", "rewards not centred", centre_rewards=False),
            variant("credit", "luck in value targets", vtrace={"common_share": 1.0}),
            variant("credit", "arrivals of one's own", sampling={"copies": 1}),
            variant("credit", "horizon 20 s", discount=0.995),
            variant("credit", "horizon 10 s", discount=0.99),
        ],
        "replay": [
            variant("replay", "on-policy", replay={"rollouts": 0, "passes": 0}),
            variant("replay", "off-policy, 1 of 4", replay={"rollouts": 4, "passes": 1}),
            variant("replay", "off-policy, 2 of 8", replay={"rollouts": 8, "passes": 2}),
        ],
        "warm_start": [
            variant("warm_start", "cold"),
            variant("warm_start", "warm", warm_start={"trajectories": TRAJECTORIES}),
            variant("warm_start", "warm, critic cold", warm_start={"trajectories": TRAJECTORIES, "critic": False}),
            variant("warm_start", "warm, no entropy", warm_start={"trajectories": TRAJECTORIES, "entropy": 0.0}),
        ],
    }


@dataclass(frozen=True)
class Plan:
    """What all runs share."""

    out: Path
    scenario: str
    trace: Path | None
    stop: tuple[str, ...]
    settings: tuple[str, ...]
    episodes: int
    expert: str
    recorded: int

    @property
    def source(self) -> list[str]:
        """Arguments that name the workload."""
        return ["--scenario", self.scenario, *(["--trace", str(self.trace)] if self.trace else [])]

    @property
    def trajectories(self) -> Path:
        """Recorded once, for all warm starts."""
        return self.out / "trajectories"

    def folder(self, chosen: Variant, seed: int) -> Path:
        """Of one run."""
        return self.out / chosen.key / f"seed_{seed}"


def call(arguments: Sequence[str], log: Path) -> None:
    """One ``cloudsched`` command in a process of its own.

    Raises:
        RuntimeError: with the end of its output, if it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ cloudsched {shlex.join(arguments)}\n")
        file.flush()
        command = [sys.executable, "-c", COMMAND, *arguments]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        raise RuntimeError("\n".join([f"cloudsched {arguments[0]} failed, its output is in {log}:", *tail]))


def run(plan: Plan, chosen: Variant, seed: int) -> Path:
    """Train and evaluate one variant with one seed, or what is missing of it."""
    folder = plan.folder(chosen, seed)
    result, training, log = folder / "result.json", folder / "training", folder / "log.txt"
    if result.is_file():
        return result
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "trained").is_file():
        if (training / "latest.json").is_file():
            call(["train", "--resume", str(training), *plan.stop], log)
        else:
            changes = [f"--set={item}" for item in plan.settings]
            for name, value in chosen.changes:
                filled = str(plan.trajectories) if value == TRAJECTORIES else json.dumps(value)
                changes.append(f"--set={name}={filled}")
            call(
                ["train", "hrac_lgrs", *plan.source, "--seed", str(seed), "--out", str(training), *plan.stop, *changes],
                log,
            )
        (folder / "trained").touch()
    partial = folder / "partial.json"
    call(
        [
            *("evaluate", f'{training / "policy"}(name="{agent_name(chosen)}")', *plan.source),
            *("--episodes", str(plan.episodes), "--json", str(partial)),
        ],
        log,
    )
    write_result(partial, result, chosen, seed)
    return result


def agent_name(chosen: Variant) -> str:
    """Name of a variant in results."""
    return "default" if not chosen.changes else f"{chosen.study}: {chosen.name}"


def write_result(partial: Path, result: Path, chosen: Variant, seed: int) -> None:
    """One run in marl-eval's layout: environment, task, algorithm, run; the training seed is the run."""
    content = json.loads(partial.read_text(encoding="utf-8"))
    tasks = next(iter(content.values()))
    for task, algorithms in tasks.items():
        name = agent_name(chosen)
        runs = algorithms[name]
        tasks[task] = {name: {f"seed_{seed}": next(iter(runs.values()))}}  # without the random agent
    beside = partial.with_name("partial.metadata.json")
    metadata = json.loads(beside.read_text(encoding="utf-8"))
    metadata["ablation"] = {"study": chosen.study, "variant": chosen.name, "settings": dict(chosen.changes)}
    write_json(result.with_name("result.metadata.json"), metadata)
    write_json(result, content)
    partial.unlink()
    beside.unlink()


def write_json(path: Path, content: Any) -> None:
    """Replace a file in one step."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def scores_of(plan: Plan, chosen: Variant, seeds: Sequence[int], metric: str) -> np.ndarray:
    """A metric of the runs that are done, ``[seeds, episodes]``; an empty array if none is."""
    rows = []
    for seed in seeds:
        path = plan.folder(chosen, seed) / "result.json"
        if path.is_file():
            (tasks,) = json.loads(path.read_text(encoding="utf-8")).values()
            (algorithms,) = tasks.values()
            (runs,) = algorithms.values()
            rows.append(np.array(next(iter(runs.values()))["absolute_metrics"][metric], dtype=float))
    return np.array(rows)


def table(plan: Plan, chosen: Mapping[str, Sequence[Variant]], seeds: Sequence[int]) -> str:
    """All studies as one Markdown table: score and team reward with intervals over seeds and windows."""
    lines = [
        f"# Ablations on {plan.scenario}",
        "",
        f"Test windows: {plan.episodes}; score: 0 random, 1 the upper bound of each window. Interquartile means, 95 % "
        "bootstrap intervals over training seeds within windows. Equal settings in several studies are the same runs.",
        "",
        "| study | variant | seeds | score | team reward |",
        "|---|---|---:|---|---|",
    ]
    for study, variants in chosen.items():
        for entry in variants:
            cells = [study, entry.name + ("" if entry.changes else " (default)")]
            score = scores_of(plan, entry, seeds, "score")
            cells.append(str(len(score)))
            for metric in ("score", "team_reward"):
                values = scores_of(plan, entry, seeds, metric)
                if not len(values):
                    cells.append("not run")
                    continue
                values = values[:, ~np.isnan(values).any(axis=0)]
                found = bootstrap_interval(values, np.random.default_rng(0), statistic=interquartile_mean)
                cells.append(f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(
    study: Annotated[list[str] | None, typer.Option(help="studies to run; repeatable; all by default")] = None,
    out: Annotated[Path, typer.Option(help="folder of all runs")] = Path("runs/ablations"),
    scenario: Annotated[str, typer.Option(help="scenario id")] = "paper-v1",
    trace: Annotated[Path | None, typer.Option(exists=True, help="task table; the generator without one")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="training time of a run")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="epochs of a run; 60 if no time is given")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="training seeds of each variant")] = 5,
    episodes: Annotated[int, typer.Option(min=1, help="test windows")] = 30,
    workers: Annotated[int, typer.Option(min=1, help="runs at a time")] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="setting of all runs; repeatable")] = None,
    expert: Annotated[str, typer.Option(help="agent that warm starts clone")] = "linear_feedback",
    recorded: Annotated[int, typer.Option(min=2, help="episodes recorded of it")] = 32,
    only_table: Annotated[bool, typer.Option("--table", help="run nothing, print what is there")] = False,
) -> None:
    """Run the studies, then print and write the table."""
    silence_ray()
    console, status = Console(), Console(stderr=True)
    known = studies()
    unknown = sorted(set(study or ()) - set(known))
    if unknown:
        raise typer.BadParameter(f"unknown study {unknown}: expected some of {', '.join(known)}", param_hint="--study")
    chosen = {name: variants for name, variants in known.items() if not study or name in study}
    stop = ["--stop-minutes", str(minutes)] if minutes is not None else ["--stop-epochs", str(epochs or 60)]
    if minutes is not None and epochs is not None:
        stop += ["--stop-epochs", str(epochs)]
    plan = Plan(out, scenario, trace, tuple(stop), tuple(settings or ()), episodes, expert, recorded)
    failures: list[str] = []
    if only_table:
        plan = stored_plan(out)
    else:
        keep_plan(plan)
        failures = execute(plan, chosen, range(seeds), workers, status)
    text = table(plan, chosen, range(seeds))
    (out / "table.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    for failure in failures:
        status.print(failure, style="red", markup=False)
    if failures:
        raise typer.Exit(1)


def keep_plan(plan: Plan) -> None:
    """Write what all runs share, or compare it with what the runs that are there shared.

    Raises:
        typer.BadParameter: naming what differs.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    path = plan.out / "plan.json"
    wanted = {**dataclasses.asdict(plan), "trace": str(plan.trace) if plan.trace else None}
    del wanted["out"]
    wanted = json.loads(json.dumps(wanted))
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        for name, value in wanted.items():
            if found.get(name) != value:
                raise typer.BadParameter(
                    f"{plan.out} holds runs with {name} {found.get(name)}, not {value}: choose another folder",
                    param_hint="--out",
                )
        return
    write_json(path, wanted)


def stored_plan(out: Path) -> Plan:
    """What the runs of a folder share.

    Raises:
        typer.BadParameter: there are none.
    """
    path = out / "plan.json"
    if not path.is_file():
        raise typer.BadParameter(f"{out} holds no runs: expected plan.json", param_hint="--out")
    found = json.loads(path.read_text(encoding="utf-8"))
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
    trace = given.pop("trace", None)
    return Plan(out=out, trace=Path(trace) if trace else None, **given)


def execute(
    plan: Plan, chosen: Mapping[str, Sequence[Variant]], seeds: Sequence[int], workers: int, status: Console
) -> list[str]:
    """Do all runs that are missing; returns what failed, the others are not disturbed by it."""
    unique = {entry.key: entry for variants in chosen.values() for entry in variants}
    jobs = [(entry, seed) for seed in seeds for entry in unique.values()]
    missing = [job for job in jobs if not (plan.folder(*job) / "result.json").is_file()]
    needs_expert = any(value == TRAJECTORIES for entry, _ in missing for _, value in entry.changes)
    if needs_expert:
        log = plan.out / "record.txt"
        call(
            ["record", plan.expert, *plan.source, "--episodes", str(plan.recorded), "--out", str(plan.trajectories)],
            log,
        )
    failures: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=status) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        task = bar.add_task("ablations", total=len(jobs), completed=len(jobs) - len(missing))
        futures = {pool.submit(run, plan, entry, seed): (entry, seed) for entry, seed in missing}
        try:
            for future in as_completed(futures):
                entry, seed = futures[future]
                try:
                    future.result()
                except RuntimeError as error:
                    failures.append(f"{agent_name(entry)}, seed {seed}: {error}")
                bar.update(task, advance=1, description=f"{agent_name(entry)}, seed {seed}")
        except KeyboardInterrupt:
            # The processes got the signal too: trainings save a checkpoint, and a repeated command resumes them.
            pool.shutdown(cancel_futures=True)
            raise
    return failures


if __name__ == "__main__":
    typer.run(main)
