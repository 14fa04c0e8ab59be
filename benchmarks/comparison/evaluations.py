"""Everybody on the same test windows: one raw file an agent and training seed, in marl-eval's layout.

OUT/bound.json                            which windows; upper bound and random agent on each
OUT/validation.json                       the expert and kube-scheduler's default on the validation windows
OUT/raw/<name>/seed_0.json                environment -> task -> algorithm -> run -> metric -> episodes
OUT/raw/<name>/seed_0.metadata.json       command, versions, data, training time and env steps, settings
OUT/curves/<variant>/seed_0.csv           validation while training
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.identity import policy_digest
from cloudsched_env.evaluation.export import ENVIRONMENT, marl_eval_results, metadata
from cloudsched_env.evaluation.protocol import BATCH_SIZE, BOUNDED_METRICS, RANDOM, AgentResult, Evaluation, play_all
from cloudsched_env.leaderboard.episodes import scenario_digest, trace_tasks
from cloudsched_env.leaderboard.store import provenance
from cloudsched_env.rllib.portable import portable
from cloudsched_env.scenario import load_scenario
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.bound import upper_bound
from cloudsched_env.workload.episode import Split
from cloudsched_env.workload.source import GeneratedSource, TraceSource, make_source
from comparison.trainings import FINISHED, Training, different_default

TEST, VALIDATION = "test", "validation"
SEED = 0  # of the published list of windows, of clusters and agents: the same for everybody
KUBE_DEFAULT = "balanced"
CURVE_COLUMNS = ("epoch", "env_steps", "minutes", "validation/team_reward")
_DIGITS = 9  # significant digits of raw numbers: a billionth is far below any interval

Floats = NDArray[np.float64]


@dataclass
class Windows:
    """Fixed episodes on which agents are played one after the other.

    Attributes:
        scenario: id.
        trace: task table; None for the generator.
        data: what tells the table from others.
        split: which windows.
        count: how many.
    """

    scenario: str
    trace: Path | None
    data: str
    split: Split
    count: int

    def __post_init__(self) -> None:
        self.cluster = load_scenario(self.scenario)
        self._source: GeneratedSource | TraceSource | None = None
        self._episodes: list[Any] = []
        self._environments: dict[int, Any] = {}

    @property
    def key(self) -> dict[str, Any]:
        """What results must have in common to be compared."""
        return {
            "scenario": self.scenario,
            "scenario_digest": scenario_digest(self.cluster),
            "data": self.data,
            "split": self.split,
            "episodes": self.count,
            "seed": SEED,
        }

    @property
    def episodes(self) -> list[Any]:
        """The episodes; cut when they are first needed."""
        if self._source is None:
            tasks = trace_tasks(str(self.trace)) if self.trace is not None else None  # read once, for all splits
            self._source = cast("GeneratedSource | TraceSource", make_source(self.cluster, self.split, tasks))
            self._episodes = self._source.evaluation_episodes(self.count, SEED)
        return self._episodes

    def play(self, spec: str) -> AgentResult:
        """One agent on all of them."""
        episodes = self.episodes
        assert self._source is not None
        return play_all(load_agent(spec), self._source, episodes, SEED, environments=self._environments)

    def evaluation(self, agent: AgentResult, random: AgentResult, bound: Mapping[str, Floats]) -> Evaluation:
        """As `cloudsched evaluate` has it."""
        return Evaluation(
            scenario=self.cluster,
            split=self.split,
            seed=SEED,
            episodes=self.count,
            data_tag=self.episodes[0].data_tag,
            batch_size=min(BATCH_SIZE, self.count),
            agents=(agent,),
            random=random,
            bound=bound,
        )


@dataclass(frozen=True)
class Entry:
    """What is to be played: a rule, or the policy of a training."""

    name: str
    spec: str
    seed: int
    identity: str
    training: Training | None = None

    def file(self, out: Path) -> Path:
        """Its raw results."""
        return out / "raw" / slug(self.name) / f"seed_{self.seed}.json"


def slug(name: str) -> str:
    """A folder name; readable, different for different names."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).strip("_")


def entries(rules: Sequence[str], trainings: Sequence[Training], epochs: int) -> list[Entry]:
    """Rules, the random agent among them, and the policies of finished trainings (the best ones on validation).

    A policy is known by its bytes: one that was trained on since is played again.
    """
    found = [Entry(rule, rule, SEED, rule) for rule in dict.fromkeys((RANDOM, *rules))]
    for training in trainings:
        if training.status(epochs) == FINISHED:
            policy = training.policy
            spec = f"{policy}(name={json.dumps(training.variant.name)})"
            found.append(Entry(training.variant.name, spec, training.seed, policy_digest(policy), training))
    return found


def is_reported(
    training: Training, out: Path, key: Mapping[str, Any], epochs: int, settings: Mapping[str, Any]
) -> bool:
    """Whether the results of a training are there though its run is not, as where it was done on another machine.

    Args:
        training: which.
        out: folder of the results.
        key: of the windows.
        epochs: that it was to have.
        settings: all settings of its variant now; empty if they are not to be compared.

    Raises:
        ValueError: it was trained with other settings.
    """
    file = Entry(training.variant.name, "", training.seed, "").file(out)
    if training.state() is not None or not (file.is_file() and _metadata_path(file).is_file()):
        return False
    found = json.loads(_metadata_path(file).read_text(encoding="utf-8"))
    if found["key"] != dict(key) or found["training"]["epochs"] != epochs:
        return False
    different = different_default(found["training"]["settings"], settings, training.variant.name) if settings else None
    if different:
        raise ValueError(
            f"{training.name} has results in {file.parent} of other settings: {different}; give the variant another "
            "name, or remove these results (all seeds of a row must have the same)"
        )
    return True


def is_played(entry: Entry, out: Path, key: Mapping[str, Any]) -> bool:
    """Whether its raw file is there, of these windows and this very policy."""
    beside = _metadata_path(entry.file(out))
    if not (entry.file(out).is_file() and beside.is_file()):
        return False
    found = json.loads(beside.read_text(encoding="utf-8"))
    return bool(found["key"] == dict(key) and found["identity"] == entry.identity)


def evaluate_all(windows: Windows, wanted: Sequence[Entry], out: Path, command: str, console: Console) -> int:
    """Play what has not been played, one agent after the other; each is on disk before the next begins.

    Returns:
        How many agents were played.
    """
    missing = [entry for entry in wanted if not is_played(entry, out, windows.key)]
    if not missing:
        return 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("random agent and upper bound", total=len(wanted), completed=len(wanted) - len(missing))
        random, bound = _reference(windows, out)
        for entry in missing:
            bar.update(task, description=f"{entry.name}, seed {entry.seed}")
            result = random if entry.name == RANDOM else windows.play(entry.spec)
            _write(entry, windows.evaluation(result, random, bound), windows.key, out, command)
            bar.advance(task)
    return len(missing)


def _reference(windows: Windows, out: Path) -> tuple[AgentResult, dict[str, Floats]]:
    """The random agent and the upper bound, computed once."""
    path = out / "bound.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] == windows.key:
            known = {name: _array(values) for name, values in found["random"]["metrics"].items()}
            random = AgentResult(RANDOM, found["random"]["execution"], known, found["random"]["decision_time_us"])
            return random, {name: _array(values) for name, values in found["bound"].items()}
    random = windows.play(RANDOM)
    bounds = [upper_bound(windows.cluster, episode) for episode in windows.episodes]
    bound = {name: np.array([getattr(each, name) for each in bounds]) for name in BOUNDED_METRICS}
    content = {
        "key": windows.key,
        "data_tag": windows.episodes[0].data_tag,
        "bound": {name: _plain(values) for name, values in bound.items()},
        "random": {
            "execution": random.execution,
            "decision_time_us": random.decision_time_us,
            "metrics": {name: _plain(values) for name, values in random.metrics.items()},
        },
    }
    write_whole(path, json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
    return random, bound


def _write(entry: Entry, evaluation: Evaluation, key: Mapping[str, Any], out: Path, command: str) -> None:
    """Raw numbers, then what they are of: without the second, the first do not count."""
    ((task, algorithms),) = marl_eval_results(evaluation)[ENVIRONMENT].items()
    # Agents may call themselves otherwise; rows are called what they were asked for by.
    (values,) = algorithms[evaluation.agents[0].name].values()
    content = {ENVIRONMENT: {task: {entry.name: {f"seed_{entry.seed}": _rounded(values)}}}}
    file = entry.file(out)
    beside = _metadata_path(file)
    beside.unlink(missing_ok=True)
    write_whole(file, json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
    described = metadata(evaluation, command)
    described = {
        "name": entry.name,
        "seed": entry.seed,
        "kind": "rule" if entry.training is None else "training",
        "key": dict(key),
        "identity": entry.identity,
        **provenance(command),
        "versions": {**described["versions"], **provenance(command)["versions"]},
        "data_tag": evaluation.data_tag,
        "execution": evaluation.agents[0].execution,
        "decision_time_us": evaluation.agents[0].decision_time_us,
    }
    if entry.training is not None:
        described["training"] = _describe(entry.training)
        write_whole(out / "curves" / slug(entry.name) / f"seed_{entry.seed}.csv", curve(entry.training))
    write_whole(beside, json.dumps(described, indent=1) + "\n")


def _describe(training: Training) -> dict[str, Any]:
    """What the training came to, and with what settings."""
    state = training.state() or {}
    run = json.loads((training.run / "run.json").read_text(encoding="utf-8"))
    return {
        "algorithm": training.variant.algorithm,
        "warm_start": training.variant.warm_start,
        "changed_settings": dict(training.variant.settings),
        "settings": portable(run["settings"]),
        "seed": training.seed,
        "epochs": state["epoch"],
        "env_steps": state["env_steps"],
        "wall_clock_s": round(state["elapsed_s"], 1),
        "checkpoint": "best on validation",
        "best_epoch": state["best_epoch"],
        "best_validation_team_reward": state["best_score"],
        "versions": run["versions"],
    }


def curve(training: Training) -> str:
    """Its validations as CSV: the columns of ``progress.csv`` that are shown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CURVE_COLUMNS)
    with (training.run / "progress.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get(CURVE_COLUMNS[-1]):
                writer.writerow([f"{float(row[name]):.10g}" for name in CURVE_COLUMNS])
    return text.getvalue()


def validate_rules(windows: Windows, rules: Sequence[str], out: Path) -> dict[str, float]:
    """Team reward of rules on the windows that training validates on; played once.

    Args:
        windows: of the validation split.
        rules: which.
        out: folder of the results.

    Returns:
        ``{rule: mean team reward}``.
    """
    path = out / "validation.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] == windows.key and set(rules) <= set(found["team_reward"]):
            return dict(found["team_reward"])
    values = {rule: float(windows.play(rule).metrics["team_reward"].mean()) for rule in dict.fromkeys(rules)}
    write_whole(path, json.dumps({"key": windows.key, "team_reward": values}, indent=1) + "\n")
    return values


def validation_episodes(trainings: Sequence[Training]) -> int:
    """Number of validation windows of finished trainings.

    Raises:
        ValueError: they differ: curves and convergence could not be compared.
    """
    counts = {
        json.loads((t.run / "run.json").read_text(encoding="utf-8"))["settings"]["validation"]["episodes"]: t.name
        for t in trainings
    }
    if len(counts) > 1:
        raise ValueError(f"validation.episodes differs between trainings: {counts}; expected the same for all variants")
    return int(next(iter(counts)))


def _metadata_path(file: Path) -> Path:
    return file.with_name(f"{file.stem}.metadata.json")


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _array(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
