"""Trainings, one after the other, each kept in a file of its own."""

from __future__ import annotations

import importlib
import json
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.protocol import play_all
from cloudsched_env.scenario import load_scenario
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.source import make_source
from torchrl_check.plan import Plan, Trainer

IMPLEMENTATIONS, ALGORITHMS = ("torchrl", "ours"), ("mappo", "qmix")
REFERENCES = ("random", "least_allocated")
_MODULES = {
    ("torchrl", "mappo"): "torchrl_check.torchrl_mappo",
    ("torchrl", "qmix"): "torchrl_check.torchrl_qmix",
    ("ours", "mappo"): "torchrl_check.ours",
    ("ours", "qmix"): "torchrl_check.ours",
}


@dataclass(frozen=True)
class Training:
    """One cell of the comparison."""

    implementation: str
    algorithm: str
    seed: int

    @property
    def file(self) -> str:
        """Name of the result."""
        return f"{self.implementation}_{self.algorithm}_seed{self.seed}.json"

    def trainer(self) -> Trainer:
        """What trains it; TorchRL is imported only where it is used."""
        module = importlib.import_module(_MODULES[self.implementation, self.algorithm])
        return getattr(module, self.algorithm)  # type: ignore[no-any-return]


def all_trainings(seeds: int, only: Iterable[str] = ()) -> list[Training]:
    """All cells, seed by seed, so that an interrupted comparison is even.

    Args:
        seeds: how many.
        only: names of implementations, algorithms or both with a hyphen; all if empty.
    """
    wanted = set(only)
    return [
        Training(implementation, algorithm, seed)
        for seed in range(seeds)
        for implementation in IMPLEMENTATIONS
        for algorithm in ALGORITHMS
        if not wanted or wanted & {implementation, algorithm, f"{implementation}-{algorithm}"}
    ]


class Validation:
    """The fixed validation episodes, the same for everyone."""

    def __init__(self, plan: Plan) -> None:
        self._source: Any = make_source(load_scenario(plan.scenario), "validation", None)
        self._episodes = self._source.evaluation_episodes(plan.validation_episodes, 0)
        self._environments: dict[int, Any] = {}
        self.data_tag = str(self._episodes[0].data_tag)

    def team_reward(self, agent: Any) -> float:
        """Mean over episodes."""
        result = play_all(agent, self._source, self._episodes, 0, environments=self._environments)
        return float(result.metrics["team_reward"].mean())


def finished(folder: Path, training: Training, plan: Plan) -> dict[str, Any] | None:
    """A training's result, if there is one.

    Raises:
        ValueError: if it was made with another plan.
    """
    file = folder / training.file
    if not file.is_file():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if result["plan"] != plan.describe():
        raise ValueError(f"{file.name} was trained with {result['plan']}, this is {plan.describe()}: use another --out")
    return result


def train(
    training: Training, plan: Plan, validation: Validation, epoch_done: Callable[[int], None] = lambda epoch: None
) -> dict[str, Any]:
    """Train and validate.

    Args:
        training: what.
        plan: how.
        validation: the episodes.
        epoch_done: called after every epoch.

    Returns:
        What is written: the curves with what made them.
    """
    curve, validated = [], {}
    begun = time.process_time()
    for epoch, state in enumerate(training.trainer()(plan, training.seed)):
        if state.team_reward is not None:
            curve.append(state.team_reward)
            epoch_done(epoch)
        if epoch % plan.validate_every == 0 or epoch == plan.epochs:
            validated[str(epoch)] = validation.team_reward(state.agent)
    return {
        "implementation": training.implementation,
        "algorithm": training.algorithm,
        "seed": training.seed,
        "plan": plan.describe(),
        "data": validation.data_tag,
        "training_team_reward": curve,
        "validation_team_reward": validated,
        "cpu_s": round(time.process_time() - begun, 1),
        "versions": _versions(),
    }


def write_result(folder: Path, training: Training, result: dict[str, Any]) -> None:
    """Write aside and rename."""
    write_whole(folder / training.file, json.dumps(result, indent=1) + "\n")


def references(folder: Path, plan: Plan, validation: Validation) -> dict[str, float]:
    """What the random agent and the best simple rule reach on the same validation episodes."""
    file = folder / "references.json"
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["plan"] == plan.describe():
            return dict(kept["validation_team_reward"])
    values = {name: validation.team_reward(load_agent(name)) for name in REFERENCES}
    content = {"plan": plan.describe(), "data": validation.data_tag, "validation_team_reward": values}
    write_whole(file, json.dumps(content, indent=1) + "\n")
    return values


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("cloudsched-env", "ray", "torchrl", "tensordict"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
