"""The named scenarios: ``cloudsched_env/scenarios/*.json`` say in what they differ from what they extend."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from cloudsched_env.config_tree import changed
from cloudsched_env.scenario.tree import FIELD, Scenario

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["load_scenario", "scenario_chain", "scenario_ids"]


def _scenario_folder() -> Traversable:
    return resources.files("cloudsched_env") / "scenarios"


def scenario_ids() -> list[str]:
    """Names of the scenarios that come with the package."""
    entries = _scenario_folder().iterdir()
    return sorted(entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json"))


def scenario_chain(scenario_id: str) -> list[str]:
    """The named scenario and those that its file extends, nearest first: ``["large-v1", "paper-v1"]``.

    Raises:
        ValueError: for an unknown id, or scenarios that extend each other in a circle.
    """
    chain: list[str] = []
    following: str | None = scenario_id
    while following is not None:
        if following in chain:
            circle = " -> ".join((*chain, following))
            raise ValueError(f'scenarios extend each other in a circle: {circle}; remove "extends" from one of them')
        known = scenario_ids()
        if following not in known:
            asked = f" (extended by {chain[-1]!r})" if chain else ""
            raise ValueError(f"unknown scenario {following!r}{asked}: expected one of {', '.join(known)}")
        chain.append(following)
        following = _read_file(following)[0]
    return chain


def load_scenario(scenario: str | Scenario, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Return the named scenario, with fields overridden by dotted name.

    Args:
        scenario: an id of `scenario_ids` or a `Scenario`.
        overrides: changes as for `Scenario.override`.

    Raises:
        ValueError: for an unknown id (the known ones are named), field or value.
    """
    chosen = _load_file(scenario) if isinstance(scenario, str) else scenario
    return chosen if overrides is None or overrides == {} else chosen.override(overrides)


def _read_file(scenario_id: str) -> tuple[str | None, dict[str, Any]]:
    """What a scenario's file extends, or None, and in what the scenario differs from that."""
    changes = json.loads((_scenario_folder() / f"{scenario_id}.json").read_text(encoding="utf-8"))
    if not isinstance(changes, dict):
        raise ValueError(f"scenario file {scenario_id!r}: expected an object of fields, got {type(changes).__name__}")
    extends = changes.pop("extends", None)
    if extends is not None and not isinstance(extends, str):
        raise ValueError(f'scenario file {scenario_id!r}: "extends" is {extends!r}: expected the id of a scenario')
    return extends, changes


def _load_file(scenario_id: str) -> Scenario:
    """The scenario of a file: the defaults, with the differences of each file that it extends and its own."""
    chosen = Scenario()
    for member in reversed(scenario_chain(scenario_id)):
        chosen = changed(dataclasses.replace(chosen, id=member, description=""), _read_file(member)[1], FIELD)
    return chosen
