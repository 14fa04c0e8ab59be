"""What stored arrays and weights depend on: the fields that roles observe, their levels, the number of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudsched_env.roles import compute, scheduler, state, storage
from cloudsched_env.scenario import Scenario

__all__ = ["ROLE_MODULES", "describe_roles", "first_difference", "roles_difference"]

ROLE_MODULES: dict[str, Any] = {"compute": compute, "storage": storage, "scheduler": scheduler}


def describe_roles(scenario: Scenario) -> dict[str, Any]:
    """Fields and axes of the observed blocks, levels and number of agents by role, as plain JSON types."""
    described: dict[str, Any] = {}
    for role, module in {**ROLE_MODULES, "state": state}.items():
        blocks = {
            block.name: {
                "fields": [f"{entry.name} [{entry.unit}]" for entry in block.fields],
                "axes": [[name, length] for name, length in block.axes],
            }
            for block in module.layout(scenario).blocks
        }
        described[role] = {"observes": blocks}
    for role, module in ROLE_MODULES.items():
        described[role]["action_levels"] = [int(level) for level in module.action_levels(scenario)]
        described[role]["agents"] = scenario.role_counts[role]
    return described


def roles_difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first role and field in which two descriptions differ, in words; None if there is none.

    Args:
        stored: what was described when something was stored.
        wanted: what it is to be used with now.
    """

    def pairs() -> Any:
        for role, expected in wanted.items():
            known = stored.get(role, {"observes": {}})
            yield f"role {role!r}: blocks observed", list(expected["observes"]), list(known["observes"])
            for block, content in expected["observes"].items():
                theirs = known["observes"][block]
                where = f"role {role!r}, block {block!r}"
                for place, (one, other) in enumerate(zip(content["fields"], theirs["fields"], strict=False)):
                    yield f"{where}, field {place}", one, other
                yield f"{where}: number of fields", len(content["fields"]), len(theirs["fields"])
                yield f"{where}: length of axes", content["axes"], theirs["axes"]
            for name in ("action_levels", "agents"):
                yield f"role {role!r}: {name}", expected.get(name), known.get(name)

    for what, ours, theirs in pairs():
        if ours != theirs:
            return f"{what} is {ours} now, but was {theirs}"
    return None


def first_difference(stored: Any, wanted: Any, name: str) -> str | None:
    """The first entry in which two nested mappings differ, by its dotted name; None if they are equal.

    Args:
        stored: what was written; read from JSON, so tuples have become lists.
        wanted: what there is now.
        name: of the whole.
    """
    wanted = _as_json(wanted)
    if stored == wanted:
        return None
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in [*wanted, *stored]:
            if stored.get(key) != wanted.get(key):
                return first_difference(stored.get(key), wanted.get(key), f"{name}.{key}")
    return f"{name} is {wanted!r} now, but was {stored!r}"


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(entry) for entry in value]
    return value
