"""``baselines/<variant>/``: the policy and the curve of every seed, configuration, and the command that made them.

seed_0/policy/     the checkpoint that was best on validation windows
seed_0/curve.csv   validation while training
config.yaml        every setting, with the seed that README.md tells how to repeat: the median by validation
README.md          scores of all seeds by their rank on validation windows, how to repeat the training

Seeds that were trained elsewhere count like those that were trained here: all have results, and their policies are
those that were published before.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudsched_env.agents.identity import policy_digest
from cloudsched_env.whole_file import write_whole
from comparison.evaluations import curve, slug
from comparison.tables import REWARD, SCORE, Results, Row
from comparison.trainings import NEW, Plan, Training, arguments
from comparison.variants import Variant

TASKS, TRAJECTORIES = "tasks.parquet", "trajectories"
_ORDINALS = ("best", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class Choice:
    """The seed that stands for its variant.

    Attributes:
        seed: which.
        ranking: all seeds with results, the best on validation windows first.
        median: the seed in the middle of them, the lower one of two; another one if its policy is not here.
    """

    seed: int
    ranking: tuple[int, ...]
    median: int

    def in_words(self) -> str:
        """What the seed is among all of them."""
        count, rank = len(self.ranking), self.ranking.index(self.seed)
        if count == 1:
            return "the only one so far"
        if self.seed != self.median:
            place = _ORDINALS[rank] if rank < len(_ORDINALS) else f"number {rank + 1}"
            missing = f"the policy of that, seed {self.median}, was not published"
            return f"the {place} of {count} by validation (not the median: {missing})"
        which = "the median" if count % 2 else "the lower of the two in the middle"
        return f"{which} of all {count} by validation"


def choose_seed(scores: Mapping[int, float | None], available: Collection[int]) -> Choice:
    """The seed of the median best validation score among all, or the one nearest to it in rank whose policy is here.

    Args:
        scores: best validation score of every seed that has results, wherever it was trained; None without one.
        available: seeds whose policy is here.
    """
    worst_first = sorted(scores, key=lambda seed: (float("-inf") if (best := scores[seed]) is None else best, seed))
    middle = (len(worst_first) - 1) // 2
    nearest = min((abs(rank - middle), rank) for rank, seed in enumerate(worst_first) if seed in available)[1]
    return Choice(worst_first[nearest], tuple(reversed(worst_first)), worst_first[middle])


def publish(
    plan: Plan,
    name: str,
    trainings: Sequence[Training],
    results: Results,
    command: str,
    folder: Path,
    trace_format: str,
) -> Path | None:
    """Write the folder of one variant.

    Args:
        plan: what trainings share.
        name: of the variant.
        trainings: those of the variant that were finished here.
        results: of the evaluation, with this variant.
        command: of the comparison.
        folder: parent, ``baselines``.
        trace_format: of the published files behind the task table.

    Returns:
        The folder, None if no policy of the variant is here. What it held before is replaced, but for the policies that
        were trained elsewhere and have results.
    """
    row, final = results.rows[name], folder / slug(name)
    here = {training.seed: training for training in trainings}
    kept = [seed for seed in row.seeds if seed not in here and _is_published(row, seed, final)]
    if not (here or kept):
        return None
    scores = {seed: _training_of(row, seed)["best_validation_team_reward"] for seed in row.seeds}
    choice = choose_seed(scores, {*here, *kept})
    aside = folder / f".{slug(name)}.tmp{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for seed, training in here.items():
            shutil.copytree(training.policy, aside / f"seed_{seed}" / "policy")
            write_whole(aside / f"seed_{seed}" / "curve.csv", curve(training))
        for seed in kept:
            shutil.copytree(final / f"seed_{seed}", aside / f"seed_{seed}")
        write_whole(aside / "config.yaml", config_text(name, plan.scenario, _training_of(row, choice.seed)))
        published = sorted({*here, *kept})
        write_whole(aside / "README.md", _readme(plan, row, choice, published, results, command, trace_format))
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def config_text(name: str, scenario: str, training: Mapping[str, Any]) -> str:
    """Every setting, as a file that `cloudsched train` takes; data are named on the command line.

    Args:
        name: of the variant.
        scenario: id.
        training: as results describe it.
    """
    from cloudsched_env.rllib.config_files import load_experiment
    from cloudsched_env.rllib.role_config import RoleBatchedConfig

    config = load_experiment(training["algorithm"]).config
    assert isinstance(config, RoleBatchedConfig)
    assert config.algo_class is not None
    settings = {key: value for key, value in training["settings"].items() if key not in ("scenario", "trace")}
    if "warm_start" in settings:
        settings["warm_start"] = {**settings["warm_start"], "trajectories": None}
    own = {"num_env_runners": config.num_env_runners, "seed": training["seed"], config.settings_name: settings}
    body = {
        "run": config.algo_class.__name__,
        "env": scenario,
        "stop": {"training_iteration": training["epochs"]},
        "config": own,
    }
    head = "# Every setting of this training; --trace and trajectories are given on the command line (README.md).\n"
    return head + yaml.safe_dump({slug(name): body}, sort_keys=False)


def _training_of(row: Row, seed: int) -> dict[str, Any]:
    """What results say of the training with one seed."""
    found: dict[str, Any] = row.descriptions[row.seeds.index(seed)]["training"]
    return found


def _is_published(row: Row, seed: int, final: Path) -> bool:
    """Whether the policy that has the results was published before."""
    policy = final / f"seed_{seed}" / "policy"
    return policy.is_dir() and policy_digest(policy) == row.descriptions[row.seeds.index(seed)]["identity"]


def _commands(plan: Plan, name: str, training: Mapping[str, Any], trace_format: str) -> list[str]:
    """What one types to repeat a training, with names of files instead of where they lay."""
    variant = Variant(name, training["algorithm"], training["warm_start"], training["changed_settings"])
    trace = Path(TASKS) if plan.trace is not None else None
    epochs = training["epochs"]
    portable_plan = Plan(Path(), plan.scenario, trace, plan.data, epochs, plan.expert, plan.recorded_episodes)
    begun = Training(variant, training["seed"], Path("runs") / slug(name))
    lines = []
    if trace is not None:
        lines.append(["traces", "import", trace_format, "PUBLISHED_FILES", "-o", TASKS])
    if variant.warm_start:
        recorded = ["--episodes", str(plan.recorded_episodes), "--out", TRAJECTORIES]
        lines.append(["record", plan.expert, *portable_plan.source, *recorded])
    lines.append(arguments(portable_plan, begun, NEW))
    return [f"cloudsched {shlex.join(line)}" for line in lines]


def _readme(
    plan: Plan,
    row: Row,
    choice: Choice,
    published: Sequence[int],
    results: Results,
    command: str,
    trace_format: str,
) -> str:
    training = _training_of(row, choice.seed)
    versions = ", ".join(f"{name} {value}" for name, value in training["versions"].items())
    changed = json.dumps(dict(training["changed_settings"]))
    start = f"a clone of `{plan.expert}`" if training["warm_start"] else "initial networks"
    folder = slug(row.name)
    return "\n".join(
        [
            f"# {row.name} on {plan.scenario}",
            "",
            f"Data: {results.data_tag}. Algorithm `{training['algorithm']}`, begun from {start}; settings that "
            f"differ from the shipped configuration: {changed}; all of them: `config.yaml`.",
            "",
            f"`seed_*/policy`: policies, one a training seed ({len(published)} so far); `seed_*/curve.csv`: their "
            f"validations. Seed {choice.seed} is {choice.in_words()}; {training['env_steps']:,} env steps, "
            f"{training['wall_clock_s'] / 60:.1f} minutes. Each policy is the checkpoint that was best on validation "
            "windows; nothing was chosen on test windows.",
            "",
            *_scores(row, choice, results.key["episodes"]),
            "",
            f"Repeat the training of seed {choice.seed}:",
            "",
            *(f"    {line}" for line in _commands(plan, row.name, training, trace_format)),
            "",
            f"Use it: `cloudsched evaluate baselines/{folder}/seed_{choice.seed}/policy "
            f"linear_feedback balanced --scenario {plan.scenario}" + (f" --trace {TASKS}`" if plan.trace else "`"),
            "",
            f"All of the comparison: `{command}`. Trained with {versions}.",
            "",
        ]
    )


def _scores(row: Row, choice: Choice, windows: int) -> list[str]:
    """All seeds, the best on validation windows first, and what they are together."""
    lines = [
        f"| seed, best on validation first | J on validation | epoch | score IQM, {windows} test windows | J |",
        "|---|---:|---:|---:|---:|",
    ]
    for seed in choice.ranking:
        training, place = _training_of(row, seed), row.seeds.index(seed)
        best = training["best_validation_team_reward"]
        checkpoint = (
            ["never", f"{training['epochs']}"] if best is None else [f"{best:.4f}", f"{training['best_epoch']}"]
        )
        name = f"**{seed}**" if seed == choice.seed else str(seed)
        test = [f"{_iqm(row.metrics[SCORE][place]):.3f}", f"{row.metrics[REWARD][place].mean():.3f}"]
        lines.append(f"| {' | '.join([name, *checkpoint, *test])} |")
    together = [_with_interval(row.interval(metric)) for metric in (SCORE, REWARD)]
    lines.append(f"| {' | '.join([f'all ({len(row.seeds)})', '', '', *together])} |")
    return lines


def _iqm(values: Any) -> float:
    from cloudsched_env.evaluation.statistics import interquartile_mean

    return float(interquartile_mean(values))


def _with_interval(interval: Any) -> str:
    text = f"{interval.estimate:.3f}"
    return text if interval.low != interval.low else f"{text} [{interval.low:.3f}, {interval.high:.3f}]"
