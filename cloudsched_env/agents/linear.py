"""The strongest hand-made family: a linear placement score, and knobs that are constants or linear in the node's state.

`LinearParameters` maps between a flat vector, which a tuner searches, and named weights, which a JSON file keeps:

* ``linear_static``: placement weights and one constant level for each knob;
* ``linear_feedback``: placement weights, and for each knob level = round(bias + weights . features of the node).

The parameter files in ``agents/parameters`` say in ``origin`` where their numbers come from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.agent import HeuristicAgent
from cloudsched_env.agents.heuristics.knobs import KNOB_NAMES, Knobs
from cloudsched_env.agents.heuristics.placement import PlacementMemory, ScoredPlacement
from cloudsched_env.agents.protocol import ClusterInfo, Observations
from cloudsched_env.agents.view import READ_UNIT_MB, TIME_UNIT_S, NodeView, SchedulerView, TaskView

__all__ = [
    "COMPUTE_FEATURES",
    "DEFER_FEATURES",
    "PLACEMENT_FEATURES",
    "STORAGE_FEATURES",
    "LinearKnobs",
    "LinearParameters",
    "LinearPlacement",
    "linear_agent",
]

Floats = NDArray[np.float64]
Kind = Literal["static", "feedback"]

FILE_FORMAT = 1


def _same_node(view: SchedulerView, task: TaskView, memory: PlacementMemory) -> Floats:
    """1 on the node of the scheduler's last task if this one belongs to the same job."""
    return task.same_job * (np.arange(view.nodes) == memory.last_node[..., None])


def _load(view: SchedulerView, task: TaskView) -> Floats:
    return (view.requested_cores + task.cores) / view.node_cores


def _pressure(view: SchedulerView, task: TaskView) -> Floats:
    return (view.requested_memory_gb + task.memory_gb) / view.execution_memory_gb


def _miss(task: TaskView) -> Floats:
    """Bytes expected from storage, in 4 GB: what no cache helps, and the cold part of the rest."""
    return task.estimated_read_mb / READ_UNIT_MB * (1.0 - (1.0 - task.scan_share) * task.warmth)


# Features of a (task, node) pair, each broadcasting to [batch, schedulers, nodes].
PLACEMENT_FEATURES: dict[str, Callable[[SchedulerView, TaskView, PlacementMemory], Floats]] = {
    "running_load": lambda view, task, memory: view.running_cores_load,
    "queued_load": lambda view, task, memory: view.queued_cores_load,
    "own_unseen_load": lambda view, task, memory: view.assigned_cores / view.node_cores,
    "memory_pressure": lambda view, task, memory: _pressure(view, task),
    "expected_miss": lambda view, task, memory: _miss(task),
    "warmth": lambda view, task, memory: task.warmth,
    "node_cores": lambda view, task, memory: view.node_cores / view.node_cores.max(axis=-1, keepdims=True),
    "home": lambda view, task, memory: task.home,
    "same_node_as_job": _same_node,
    "load_above_1": lambda view, task, memory: np.maximum(_load(view, task) - 1.0, 0.0),
    "load_above_1.5": lambda view, task, memory: np.maximum(_load(view, task) - 1.5, 0.0),
    "memory_above_1": lambda view, task, memory: np.maximum(_pressure(view, task) - 1.0, 0.0),
    "miss_on_busy_storage": lambda view, task, memory: _miss(task) * task.replica_congestion,
    "io_wait": lambda view, task, memory: view.io_wait,
    "memory_share": lambda view, task, memory: task.memory_gb / view.node_memory_gb,
}
# A task is deferred if bias + age weight x age / 10 s exceeds the best node's score.
DEFER_FEATURES = ("bias", "age")
COMPUTE_FEATURES = (
    "running_memory_load",
    "queued_memory_load",
    "running_cores_load",
    "queued_cores_load",
    "hit_ratio",
    "read_rate",
    "io_wait",
    "efficiency",
    "cores",
    "storage_stream_factor",
    "storage_write_rate",
    "processor_share",
)
STORAGE_FEATURES = (
    "debt",
    "debt_above_0.8",
    "read_rate",
    "write_rate",
    "stream_factor",
    "write_factor",
    "served_share",
    "mean_debt",
    "mean_read_rate",
    "mean_write_rate",
)


def _knob_features(kind: Kind, knob: str) -> tuple[str, ...]:
    if kind == "static":
        return ("bias",)
    return ("bias", *(COMPUTE_FEATURES if knob in KNOB_NAMES[:2] else STORAGE_FEATURES))


def _groups(kind: Kind) -> dict[str, tuple[str, ...]]:
    """Names of the weights of each group, in the order of the flat vector."""
    groups: dict[str, tuple[str, ...]] = {"placement": tuple(PLACEMENT_FEATURES), "defer": DEFER_FEATURES}
    return groups | {knob: _knob_features(kind, knob) for knob in KNOB_NAMES}


@dataclass(frozen=True)
class LinearParameters:
    """All weights of a linear agent.

    Attributes:
        kind: ``static`` (each knob is its bias) or ``feedback``.
        weights: ``{group: {feature: weight}}`` for the groups ``placement``, ``defer`` and each knob, complete.
        origin: where the numbers come from: set by hand, or the tuner's command.
    """

    kind: Kind
    weights: Mapping[str, Mapping[str, float]]
    origin: str = "unknown"

    @staticmethod
    def names(kind: Kind) -> list[str]:
        """Names of the entries of the flat vector, as in ``placement.warmth``."""
        return [f"{group}.{feature}" for group, features in _groups(kind).items() for feature in features]

    @classmethod
    def from_vector(cls, kind: Kind, vector: Sequence[float] | Floats, origin: str) -> LinearParameters:
        """Parameters from a flat vector in the order of `names`.

        Raises:
            ValueError: for a vector of the wrong length.
        """
        expected = cls.names(kind)
        if len(vector) != len(expected):
            raise ValueError(f"linear_{kind}: expected {len(expected)} numbers, got {len(vector)}")
        values = iter(vector)
        weights = {
            group: {feature: float(next(values)) for feature in features} for group, features in _groups(kind).items()
        }
        return cls(kind, weights, origin)

    def to_vector(self) -> Floats:
        """The weights as a flat vector in the order of `names`, float64."""
        return np.array(
            [self.weights[group][feature] for group, features in _groups(self.kind).items() for feature in features]
        )

    def group(self, name: str) -> Floats:
        """The weights of one group, float64."""
        return np.array([self.weights[name][feature] for feature in _groups(self.kind)[name]])

    def as_feedback(self) -> LinearParameters:
        """The same policy in the feedback family, with zero feedback: where a tuner starts from."""
        if self.kind == "feedback":
            return self
        weights = {
            group: {feature: self.weights[group].get(feature, 0.0) for feature in features}
            for group, features in _groups("feedback").items()
        }
        return replace(self, kind="feedback", weights=weights)

    def save(self, path: str | Path) -> None:
        """Write a JSON file."""
        content = {"format": FILE_FORMAT, "kind": self.kind, "origin": self.origin, "weights": self.weights}
        Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> LinearParameters:
        """Read a file written by `save`.

        Raises:
            ValueError: naming the file and what is missing or unknown in it.
            FileNotFoundError: if there is no such file.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"), str(path))

    @classmethod
    def from_json(cls, text: str, where: str) -> LinearParameters:
        """Parse the content of a parameter file; ``where`` names it in errors."""
        content: Any = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FILE_FORMAT:
            raise ValueError(f"{where}: expected a linear parameter file of format {FILE_FORMAT}")
        kind = content.get("kind")
        if kind not in ("static", "feedback"):
            raise ValueError(f"{where}: kind is {kind!r}, expected 'static' or 'feedback'")
        groups, weights = _groups(kind), content.get("weights", {})
        expected = {f"{group}.{feature}" for group, features in groups.items() for feature in features}
        given = {f"{group}.{feature}" for group, features in weights.items() for feature in features}
        if expected != given:
            raise ValueError(
                f"{where}: missing weights {sorted(expected - given)}, unknown weights {sorted(given - expected)}"
            )
        ordered = {g: {feature: float(weights[g][feature]) for feature in features} for g, features in groups.items()}
        return cls(kind, ordered, str(content.get("origin", "unknown")))

    @classmethod
    def packaged(cls, kind: Kind) -> LinearParameters:
        """The parameters that come with the package."""
        name = f"linear_{kind}.json"
        text = (resources.files("cloudsched_env") / "agents" / "parameters" / name).read_text(encoding="utf-8")
        return cls.from_json(text, name)


@dataclass(frozen=True)
class LinearPlacement(ScoredPlacement):
    """The node with the highest weighted sum of `PLACEMENT_FEATURES`; defers if none beats the defer score."""

    summary: ClassVar[str] = "linear score over load, memory, warmth, expected misses"
    weights: tuple[float, ...] = (0.0,) * len(PLACEMENT_FEATURES)
    defer: tuple[float, float] = (-1e9, 0.0)

    def score(
        self, view: SchedulerView, task: TaskView, feasible: NDArray[np.bool_], memory: PlacementMemory
    ) -> Floats:
        """Linear score, -inf where deferring is better."""
        total = np.zeros(view.node_cores.shape)
        for weight, feature in zip(self.weights, PLACEMENT_FEATURES.values(), strict=True):
            if weight:
                total += weight * feature(view, task, memory)
        defer = self.defer[0] + self.defer[1] * task.age_s / TIME_UNIT_S
        return np.where(total >= defer, total, -np.inf)


@dataclass(frozen=True)
class LinearKnobs(Knobs):
    """Knob level = round(bias + weights . features of the node), clipped to the levels; constant without weights."""

    summary: ClassVar[str] = "levels linear in the node's own state"
    parameters: LinearParameters | None = None

    def wanted(self, info: ClusterInfo, observations: Observations, step: int) -> tuple[Any, Any, Any, Any]:
        """Rounded linear forms."""
        if self.parameters is None:
            raise ValueError("LinearKnobs: parameters are missing")
        features = {"compute": np.empty(0), "storage": np.empty(0)}
        if self.parameters.kind == "feedback":
            node = NodeView(info.layouts["compute"], observations["compute"])
            store = NodeView(info.layouts["storage"], observations["storage"])
            features["compute"] = np.stack([node[name] for name in COMPUTE_FEATURES], axis=-1)
            above = np.maximum(store["debt"] - 0.8, 0.0)
            columns = [above if name == "debt_above_0.8" else store[name] for name in STORAGE_FEATURES]
            features["storage"] = np.stack(columns, axis=-1)
        levels = []
        for role, knob in zip(("compute", "compute", "storage", "storage"), KNOB_NAMES, strict=True):
            bias, *weights = self.parameters.group(knob)
            value = features[role] @ np.array(weights) + bias if weights else np.asarray(bias)
            levels.append(np.rint(value).astype(np.int64))
        return levels[0], levels[1], levels[2], levels[3]


def linear_agent(name: str, parameters: LinearParameters) -> HeuristicAgent:
    """The agent with these parameters."""
    defer_bias, defer_age = parameters.group("defer")
    placement = LinearPlacement(tuple(parameters.group("placement")), (float(defer_bias), float(defer_age)))
    return HeuristicAgent(name, placement, LinearKnobs(parameters))
