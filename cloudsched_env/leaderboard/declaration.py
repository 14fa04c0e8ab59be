"""What the authors of an agent declare: where it comes from, and what it cost to train and to tune."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from cloudsched_env.agents import AgentError
from cloudsched_env.agents.registry import KNOBS, LINEAR, PLACEMENTS
from cloudsched_env.config_tree import CHECKED, from_plain, to_plain

__all__ = ["Declaration", "Training", "is_built_in", "load_declarations"]

_BUILT_IN = re.compile(rf"^({'|'.join([*PLACEMENTS, *LINEAR])})(\(.*\))?(\+({'|'.join(KNOBS)})(\(.*\))?)?$", re.DOTALL)
NOT_DECLARED = "not declared"


@dataclass(frozen=True, config=CHECKED)
class Training:
    """What one training run cost.

    Attributes:
        env_steps: steps of one cluster.
        hours: wall time.
        hardware: what it ran on.
        operator: whose trace, or which generator profile, it was trained on.
    """

    env_steps: Annotated[int, Field(ge=0)] | None = None
    hours: Annotated[float, Field(ge=0)] | None = None
    hardware: str = ""
    operator: str = ""


@dataclass(frozen=True, config=CHECKED)
class Declaration:
    """One row of the leaderboard.

    Attributes:
        name: unique, shown in tables.
        spec: what `cloudsched_env.agents.load_agent` takes. ``{seed}`` stands for the run (an agent with it was trained
            anew for each run), ``{here}`` for the folder of the declaration.
        kind: ``heuristic`` or ``learned``.
        description: one or two sentences.
        authors: who.
        paper: address.
        code: address.
        training: cost of one training run; empty for what is not trained.
        trainings: number of training runs (seeds); None if the spec has no ``{seed}``.
        tuning_budget: what was spent on choosing hyper-parameters, in episodes or trials.
        validation_use: what validation windows were used for; test windows may be used for nothing.
        deterministic: whether the same seed gives the same episode on the same machine.
        curves: glob of training curves beside the declaration, one a training seed: CSV with ``env_steps`` and
            ``validation/team_reward``, which is empty where nothing was measured.
        convergence_threshold: validation team reward that counts as converged, fixed before training (that of the
            tuned heuristic).
    """

    name: str
    spec: str
    kind: Literal["heuristic", "learned"] = "learned"
    description: str = ""
    authors: str = ""
    paper: str = ""
    code: str = ""
    training: Training = field(default_factory=Training)
    trainings: Annotated[int, Field(ge=1)] | None = None
    tuning_budget: str = NOT_DECLARED
    validation_use: str = NOT_DECLARED
    deterministic: bool = True
    curves: str = ""
    convergence_threshold: float | None = None
    folder: str = ""

    def __post_init__(self) -> None:
        """Check what a row cannot do without.

        Raises:
            ValueError: naming the field.
        """
        for name in ("name", "spec"):
            if not getattr(self, name).strip():
                raise ValueError(f"declaration: {name} is empty")
        if ("{seed}" in self.spec) != (self.trainings is not None):
            raise ValueError(
                f'declaration of {self.name!r}: "trainings" says how many training seeds there are and goes with '
                '"{seed}" in the spec: give both or neither'
            )

    @property
    def slug(self) -> str:
        """A file name: letters, digits, dots and hyphens of the name, and a hash where others were left out."""
        plain = re.sub(r"[^A-Za-z0-9._]+", "-", self.name).strip("-.")[:60]
        if plain == self.name:
            return plain
        return f"{plain}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}".lstrip("-")

    @property
    def built_in(self) -> bool:
        """Whether it is code of this package and nothing else, which may run in the same process."""
        return is_built_in(self.spec)

    def runs(self, suite_runs: int) -> int:
        """How many runs of a suite it plays: all, or as many as it was trained for."""
        return suite_runs if self.trainings is None else min(suite_runs, self.trainings)

    def resolved(self, run: int) -> str:
        """The spec of one run."""
        return self.spec.replace("{seed}", str(run)).replace("{here}", self.folder)

    def to_dict(self) -> dict[str, Any]:
        """For `agent.json`: everything but the folder, which is of one machine."""
        values = to_plain(self)
        del values["folder"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: str = "") -> Declaration:
        """The inverse of `to_dict`.

        Raises:
            ValueError: for an unknown or missing field, or a value of another type or outside its range.
        """
        return from_plain(cls, {**values, "folder": folder}, "declaration field")

    @classmethod
    def load(cls, path: str | Path) -> Declaration:
        """Read a declaration file.

        Raises:
            ValueError: naming the file and what was expected.
        """
        file = Path(path)
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("expected a JSON object")
            return cls.from_dict(values, str(file.parent.resolve()))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}: {error}") from error


def _load_file(file: Path) -> list[Declaration]:
    """One declaration, or a list of them."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(values, list):
            return [Declaration.from_dict(value, str(file.parent.resolve())) for value in values]
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error
    return [Declaration.load(file)]


def is_built_in(spec: str) -> bool:
    """Whether a spec names a heuristic of this package (with parameters of its own, but no files)."""
    return _BUILT_IN.match(spec.strip()) is not None and "parameters=" not in spec


def load_declarations(agents: Sequence[str]) -> list[Declaration]:
    """Declarations of everything that was asked for.

    Args:
        agents: for each, a declaration file (``agent.json``; it may hold a list), a folder of such files, or a spec of
            `cloudsched_env.agents.load_agent`, for which nothing is declared but that rules of this package are
            heuristics without training.

    Raises:
        ValueError: for a file that is no declaration, or two agents of one name.
    """
    found: list[Declaration] = []
    for agent in agents:
        path = Path(agent)
        if agent.endswith(".json"):
            found += _load_file(path)
        elif path.is_dir() and not (path / "policy.json").exists():
            files = sorted(path.glob("*.json"))
            if not files:
                raise ValueError(f"folder {agent} holds neither declarations (*.json) nor a policy (policy.json)")
            found += [declaration for file in files for declaration in _load_file(file)]
        elif is_built_in(agent):
            found.append(Declaration(agent, agent, "heuristic", tuning_budget="none: defaults", validation_use="none"))
        else:
            found.append(Declaration(re.sub(r"^[^(]*/(?=[^/])", "", agent.rstrip("/")), agent))
    names = [declaration.slug for declaration in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AgentError(f"two agents have the same name: {', '.join(twice)}: give each a name of its own")
    return found
