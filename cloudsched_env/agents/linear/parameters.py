"""The weights of linear agents: a flat vector for tuners, named weights for people and files.

* ``static``: fixed weights of `PAIR_FEATURES`, a defer score, and one constant level for each knob;
* ``feedback``: weights of the `CONTEXT_FEATURES` too, and for each knob level = bias + weights . the node's features.

Where compute nodes can sleep there is one group more, ``power_level``: a node is on where bias + weights . features is
at least a half. One feature is its ``rank``, its place among the nodes from 0 to 1: a static policy keeps a constant
number of nodes on, a feedback policy as many as the load asks for.

The parameter files in ``agents/parameters`` say in ``origin`` where their numbers come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.knobs import KNOB_NAMES, KNOBS_OF
from cloudsched_env.agents.linear.features import (
    COMPUTE_FEATURES,
    CONTEXT_FEATURES,
    DEFER_CONTEXT_FEATURES,
    DEFER_FEATURES,
    PAIR_FEATURES,
    POWER_FEATURES,
    STORAGE_FEATURES,
)
from cloudsched_env.whole_file import write_whole

__all__ = ["POWER", "Kind", "LinearParameters"]

Floats = NDArray[np.float64]
Kind = Literal["static", "feedback"]

FILE_FORMAT = 2
POWER = "power_level"


def _knob_features(kind: Kind, knob: str) -> tuple[str, ...]:
    if kind == "static":
        return ("bias",)
    return ("bias", *(COMPUTE_FEATURES if knob in KNOBS_OF["compute"] else STORAGE_FEATURES))


def _groups(kind: Kind, power: bool) -> dict[str, tuple[str, ...]]:
    """Names of the weights of each group, in the order of the flat vector."""
    groups: dict[str, tuple[str, ...]] = {"placement": PAIR_FEATURES, "defer": DEFER_FEATURES}
    if kind == "feedback":
        groups = {"placement": PAIR_FEATURES + CONTEXT_FEATURES, "defer": DEFER_FEATURES + DEFER_CONTEXT_FEATURES}
    groups |= {knob: _knob_features(kind, knob) for knob in KNOB_NAMES}
    if power:
        groups[POWER] = ("bias", "rank", *(POWER_FEATURES if kind == "feedback" else ()))
    return groups


@dataclass(frozen=True)
class LinearParameters:
    """All weights of a linear agent.

    Attributes:
        kind: ``static`` (each knob is its bias) or ``feedback``.
        weights: ``{group: {feature: weight}}`` for the groups ``placement``, ``defer`` and each knob, complete, and
            where it sends nodes to sleep for ``power_level``.
        origin: where the numbers come from: set by hand, or the tuner's command.
    """

    kind: Kind
    weights: Mapping[str, Mapping[str, float]]
    origin: str = "unknown"

    @staticmethod
    def names(kind: Kind, power: bool = False) -> list[str]:
        """Names of the entries of the flat vector, as in ``placement.warmth``; with ``power`` also those of `POWER`."""
        return [f"{group}.{feature}" for group, features in _groups(kind, power).items() for feature in features]

    @classmethod
    def from_vector(cls, kind: Kind, vector: Sequence[float] | Floats, origin: str) -> LinearParameters:
        """Parameters from a flat vector in the order of `names`, with the group `POWER` if it is as long.

        Raises:
            ValueError: for a vector of the wrong length.
        """
        sizes = {power: len(cls.names(kind, power)) for power in (False, True)}
        if len(vector) not in sizes.values():
            raise ValueError(
                f"linear_{kind}: expected {sizes[False]} numbers, or {sizes[True]} with {POWER}, got {len(vector)}"
            )
        values, groups = iter(vector), _groups(kind, len(vector) == sizes[True])
        weights = {group: {feature: float(next(values)) for feature in features} for group, features in groups.items()}
        return cls(kind, weights, origin)

    @property
    def has_power(self) -> bool:
        """Whether it decides which nodes sleep; without, all stay on."""
        return POWER in self.weights

    def to_vector(self) -> Floats:
        """The weights as a flat vector in the order of `names`, float64."""
        groups = _groups(self.kind, self.has_power)
        return np.array([self.weights[group][feature] for group, features in groups.items() for feature in features])

    def group(self, name: str) -> Floats:
        """The weights of one group, float64."""
        return np.array([self.weights[name][feature] for feature in _groups(self.kind, self.has_power)[name]])

    def as_feedback(self) -> LinearParameters:
        """The same policy in the feedback family, with zero feedback: where a tuner starts from."""
        if self.kind == "feedback":
            return self
        weights = {
            group: {feature: self.weights[group].get(feature, 0.0) for feature in features}
            for group, features in _groups("feedback", self.has_power).items()
        }
        return replace(self, kind="feedback", weights=weights)

    def with_power(self) -> LinearParameters:
        """The same policy with the group `POWER`, all nodes on: where a tuner starts from if nodes can sleep."""
        if self.has_power:
            return self
        on = dict.fromkeys(_groups(self.kind, True)[POWER], 0.0) | {"bias": 1.0}
        return replace(self, weights={**self.weights, POWER: on})

    def save(self, path: str | Path) -> None:
        """Write a JSON file."""
        content = {"format": FILE_FORMAT, "kind": self.kind, "origin": self.origin, "weights": self.weights}
        write_whole(path, json.dumps(content, indent=1) + "\n")

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
        weights = content.get("weights", {})
        groups = _groups(kind, POWER in weights)
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
