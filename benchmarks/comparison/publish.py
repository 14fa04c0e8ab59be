"""``baselines/<variant>/``: the policy and the curve of every seed, configuration, and the command that made them.

seed_0/policy/     the checkpoint that was best on validation windows
seed_0/curve.csv   validation while training
config.yaml        every setting, with the seed that is the median by validation
README.md          scores, which seed is the median, how to repeat the training
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml

from cloudsched_env.whole_file import write_whole
from comparison.evaluations import curve, slug
from comparison.tables import REWARD, SCORE, Results
from comparison.trainings import NEW, Plan, Training, arguments

TASKS, TRAJECTORIES = "tasks.parquet", "trajectories"


def median_training(trainings: list[Training]) -> Training:
    """That of the median seed by its best validation score; the lower one of two in the middle."""

    def score(training: Training) -> tuple[float, int]:
        best = (training.state() or {}).get("best_score")
        return (float("-inf") if best is None else best, training.seed)

    ordered = sorted(trainings, key=score)
    return ordered[(len(ordered) - 1) // 2]


def publish(
    plan: Plan, trainings: list[Training], results: Results, command: str, folder: Path, trace_format: str
) -> Path:
    """Write the folder of one variant.

    Args:
        plan: what trainings share.
        trainings: the finished ones of the variant.
        results: of the evaluation, with this variant.
        command: of the comparison.
        folder: parent, ``baselines``.
        trace_format: of the published files behind the task table.

    Returns:
        The folder; what it held before is replaced, but for the seeds that were trained elsewhere and have results.
    """
    chosen = median_training(trainings)
    variant = chosen.variant
    final = folder / slug(variant.name)
    aside = folder / f".{slug(variant.name)}.tmp{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        run = json.loads((chosen.run / "run.json").read_text(encoding="utf-8"))
        write_whole(aside / "config.yaml", _config(plan, chosen, run))
        for training in trainings:
            seed = aside / f"seed_{training.seed}"
            shutil.copytree(training.policy, seed / "policy")
            write_whole(seed / "curve.csv", curve(training))
        for elsewhere in set(results.rows[variant.name].seeds) - {training.seed for training in trainings}:
            if (final / f"seed_{elsewhere}").is_dir():
                shutil.copytree(final / f"seed_{elsewhere}", aside / f"seed_{elsewhere}")
        write_whole(aside / "README.md", _readme(plan, chosen, trainings, run, results, command, trace_format))
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def _config(plan: Plan, training: Training, run: dict[str, Any]) -> str:
    """Every setting, as a file that `cloudsched train` takes; data are named on the command line."""
    from cloudsched_env.rllib.config_files import load_experiment
    from cloudsched_env.rllib.role_config import RoleBatchedConfig

    config = load_experiment(training.variant.algorithm).config
    assert isinstance(config, RoleBatchedConfig)
    settings = {name: value for name, value in run["settings"].items() if name not in ("scenario", "trace")}
    if "warm_start" in settings:
        settings["warm_start"] = {**settings["warm_start"], "trajectories": None}
    body = {
        "run": run["algorithm"],
        "env": plan.scenario,
        "stop": {"training_iteration": plan.epochs},
        "config": {"num_env_runners": run["num_env_runners"], "seed": training.seed, config.settings_name: settings},
    }
    head = "# Every setting of this training; --trace and trajectories are given on the command line (README.md).\n"
    return head + yaml.safe_dump({slug(training.variant.name): body}, sort_keys=False)


def _commands(plan: Plan, training: Training, trace_format: str) -> list[str]:
    """What one types to repeat this training, with names of files instead of where they lay."""
    trace = Path(TASKS) if plan.trace is not None else None
    portable_plan = Plan(Path(), plan.scenario, trace, plan.data, plan.epochs, plan.expert, plan.recorded_episodes)
    begun = Training(training.variant, training.seed, Path("runs") / slug(training.variant.name))
    lines = []
    if trace is not None:
        lines.append(["traces", "import", trace_format, "PUBLISHED_FILES", "-o", TASKS])
    if training.variant.warm_start:
        recorded = ["--episodes", str(plan.recorded_episodes), "--out", TRAJECTORIES]
        lines.append(["record", plan.expert, *portable_plan.source, *recorded])
    lines.append(arguments(portable_plan, begun, NEW))
    return [f"cloudsched {shlex.join(line)}" for line in lines]


def _readme(
    plan: Plan,
    chosen: Training,
    trainings: list[Training],
    run: dict[str, Any],
    results: Results,
    command: str,
    trace_format: str,
) -> str:
    row = results.rows[chosen.variant.name]
    place = row.seeds.index(chosen.seed)
    state = chosen.state() or {}
    score, reward = row.interval(SCORE), row.interval(REWARD)
    own = row.metrics[REWARD][place]
    versions = ", ".join(f"{name} {value}" for name, value in run["versions"].items())
    changed = json.dumps(dict(chosen.variant.settings))
    if state["best_score"] is None:
        checkpoint = f"after its last epoch ({state['epoch']}), never validated"
    else:
        checkpoint = (
            f"at its best epoch on validation windows ({state['best_epoch']} of {state['epoch']}, "
            f"J {state['best_score']:.4f})"
        )
    of_these = "" if len(trainings) == len(row.seeds) else f" of {len(trainings)} that were trained together"
    start = f"a clone of `{plan.expert}`" if chosen.variant.warm_start else "initial networks"
    return "\n".join(
        [
            f"# {chosen.variant.name} on {plan.scenario}",
            "",
            f"Data: {results.data_tag}. Algorithm `{chosen.variant.algorithm}`, begun from {start}; settings that "
            f"differ from the shipped configuration: {changed}; all of them: `config.yaml`.",
            "",
            f"`seed_*/policy`: policies, one a training seed ({len(row.seeds)} so far); `seed_*/curve.csv`: their "
            "validations. Seed "
            f"{chosen.seed} is the median by validation{of_these}: {checkpoint}; {state['env_steps']:,} env steps, "
            f"{state['elapsed_s'] / 60:.1f} minutes. Nothing was chosen on test windows.",
            "",
            "| | score IQM | J |",
            "|---|---:|---:|",
            f"| seed {chosen.seed}, {results.key['episodes']} test windows | {_iqm(row.metrics[SCORE][place]):.3f} | "
            f"{own.mean():.3f} |",
            f"| all seeds ({len(row.seeds)}) | {_with_interval(score)} | {_with_interval(reward)} |",
            "",
            f"Repeat the training of seed {chosen.seed}:",
            "",
            *(f"    {line}" for line in _commands(plan, chosen, trace_format)),
            "",
            f"Use it: `cloudsched evaluate baselines/{slug(chosen.variant.name)}/seed_{chosen.seed}/policy "
            f"linear_feedback balanced --scenario {plan.scenario}" + (f" --trace {TASKS}`" if plan.trace else "`"),
            "",
            f"All of the comparison: `{command}`. Trained with {versions}.",
            "",
        ]
    )


def _iqm(values: Any) -> float:
    from cloudsched_env.evaluation.statistics import interquartile_mean

    return float(interquartile_mean(values))


def _with_interval(interval: Any) -> str:
    text = f"{interval.estimate:.3f}"
    return text if interval.low != interval.low else f"{text} [{interval.low:.3f}, {interval.high:.3f}]"
