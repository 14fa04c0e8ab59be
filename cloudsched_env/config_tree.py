"""Configuration as trees of frozen dataclasses whose fields know their range, unit and meaning; pydantic checks them.

Fields are addressed by dotted name, as in ``telemetry.loss_probability``. A trailing underscore that Python needs
(``lambda_``) is no part of the public name (``lambda``). Whoever gets a name or a value wrong is told the field, the
value and what was expected, in one line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

__all__ = [
    "CHECKED",
    "changed",
    "field_names",
    "from_plain",
    "limits",
    "marked",
    "nearest_names",
    "number",
    "option",
    "to_plain",
    "unit_of",
]

T = TypeVar("T")

CHECKED = ConfigDict(strict=True, extra="forbid", validate_by_name=True, validate_by_alias=True)
"""How the dataclasses of a tree are checked: ``@dataclass(frozen=True, config=CHECKED)`` of `pydantic.dataclasses`."""

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
_KINDS = {"string": "str", "tuple": "a list", "dict": "a mapping", "dataclass": "a group of fields"}


def number(default: float, low: float, high: float, doc: str, unit: str = "", name: str | None = None) -> Any:
    """A numeric field from ``low`` to ``high``.

    Args:
        default: its default.
        low: smallest value.
        high: largest value.
        doc: what it means.
        unit: what it is measured in.
        name: its public name, where that is no name in Python.
    """
    return Field(default, ge=low, le=high, description=doc, alias=name, json_schema_extra={"unit": unit})


def marked(default: Any, unit: str, doc: str) -> Any:
    """A field that is no number but of a certain kind, such as a switch."""
    return Field(default, description=doc, json_schema_extra={"unit": unit})


def option(default_factory: Any, doc: str) -> Any:
    """A field that begins as a collection."""
    return Field(default_factory=default_factory, description=doc)


def changed(base: T, changes: Mapping[str, Any], what: str) -> T:
    """A copy of a tree with fields changed.

    Args:
        base: the tree; it stays as it is.
        changes: by dotted name, or nested. Below a field that is a mapping, dots belong to its keys, and its entries
            are merged with those that are there.
        what: a field is called, as in "setting".

    Raises:
        ValueError: for a name that no field has (the nearest known ones are suggested), a field that is changed twice,
            a value of another type or outside its range, or values that do not fit each other.
    """
    values = to_plain(base)
    _put(values, _nested(type(base), changes, "", what, type(base)), type(base))
    return _built(type(base), values, what)


def from_plain(kind: type[T], values: Mapping[str, Any], what: str) -> T:
    """The inverse of `to_plain`; missing names keep their defaults.

    Raises:
        ValueError: as `changed`.
    """
    return _built(kind, _nested(kind, values, "", what, kind), what)


def to_plain(tree: Any) -> dict[str, Any]:
    """A tree as plain JSON types, under public names."""
    plain: dict[str, Any] = _adapter(type(tree)).dump_python(tree, mode="json", by_alias=True)
    return plain


def field_names(kind: type[Any], prefix: str = "") -> list[str]:
    """Dotted public names of all fields that are no groups."""
    names: list[str] = []
    for name, hint in _fields(kind):
        names += field_names(hint, f"{prefix}{name}.") if _is_group(hint) else [prefix + name]
    return names


def nearest_names(name: str, known: Iterable[str]) -> str:
    """A phrase that helps after a typing error: the nearest known names, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not near:
        near = [k for k in known if k.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"


def limits(kind: type[Any], name: str) -> tuple[float, float] | None:
    """Smallest and largest value of a numeric field of a group; None if it is no such field."""
    return _limits(_info(kind, [name]))


def unit_of(kind: type[Any], name: str) -> str:
    """What a field of a group is measured in, or which kind of field it is; empty if nothing is said of it."""
    return _unit(_info(kind, [name]))


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _fields(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """Public names and types."""
    hints = typing.get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        yield entry.name.rstrip("_"), hints[entry.name]


def _is_group(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint)


def _built(kind: type[T], values: Mapping[str, Any], what: str) -> T:
    """A tree from nested values whose names are known to be its own."""
    try:
        text = json.dumps(values, default=_jsonable)
        built: T = _adapter(kind).validate_json(text)
        return built
    except ValidationError as error:
        raise ValueError(_explain(error, kind, what)) from error
    except TypeError as error:
        raise ValueError(f"{what}: {error}") from error


def _nested(kind: type[Any], changes: Mapping[str, Any], path: str, what: str, root: type[Any]) -> dict[str, Any]:
    """Dotted names to nested mappings, refusing names that no field has."""
    tree: dict[str, Any] = {}
    known = dict(_fields(kind))
    for given, value in changes.items():
        if not isinstance(given, str):
            raise ValueError(f"{what} {given!r}: expected a dotted name, such as {field_names(root)[-1]!r}")
        head, _, rest = given.partition(".")
        where = path + given
        if head not in known:
            raise ValueError(f"unknown {what} {where!r}: {nearest_names(where, field_names(root))}")
        hint = known[head]
        if rest:
            value = {rest: value}
        if _is_group(hint):
            if not isinstance(value, Mapping):
                raise ValueError(f"{what} {path + head!r} is {value!r}: expected a group of fields")
            inner = _nested(hint, value, f"{path}{head}.", what, root)
            _join(tree.setdefault(head, {}), inner, f"{path}{head}", what)
            continue
        if typing.get_origin(hint) is Mapping:
            if not isinstance(value, Mapping):
                raise ValueError(f"{what} {path + head!r} is {value!r}: expected a mapping")
            _join(tree.setdefault(head, {}), dict(value), f"{path}{head}", what)
            continue
        if rest:
            raise ValueError(f"unknown {what} {where!r}: {path + head!r} is a single value")
        _join(tree, {head: value}, path.rstrip("."), what)
    return tree


def _join(tree: dict[str, Any], more: Mapping[str, Any], path: str, what: str) -> None:
    """Add what is not there yet; groups are joined."""
    for name, value in more.items():
        where = f"{path}.{name}" if path else name
        if name not in tree:
            tree[name] = value
        elif isinstance(tree[name], dict) and isinstance(value, dict):
            _join(tree[name], value, where, what)
        else:
            raise ValueError(f"{what} {where!r} is changed twice")


def _put(values: dict[str, Any], tree: Mapping[str, Any], kind: type[Any]) -> None:
    """Write changes into plain values; groups and mappings are merged, all else is replaced."""
    kinds = dict(_fields(kind))
    for name, value in tree.items():
        if _is_group(kinds[name]):
            _put(values[name], value, kinds[name])
        elif typing.get_origin(kinds[name]) is Mapping:
            values[name] = {**values[name], **value}
        else:
            values[name] = value


def _jsonable(value: Any) -> Any:
    """What JSON does not know but is as good: numbers and arrays of numpy, dataclasses."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain(value)
    raise TypeError(f"{value!r} is neither a number, a text, a list nor a mapping of such")


def _info(kind: type[Any], path: Iterable[str | int]) -> Any:
    """Pydantic's description of the field at a path of public names and places in lists; None if it has none.

    Below a mapping, whose keys are no fields, it is the mapping's.
    """
    found: Any = None
    for part in path:
        if found is not None and typing.get_origin(found.annotation) is Mapping:
            return found
        if isinstance(part, int):
            (kind, *_) = typing.get_args(found.annotation)
            continue
        fields = getattr(kind, "__pydantic_fields__", {})
        found = fields.get(part) or fields.get(f"{part}_")
        if found is None:
            return None
        kind = found.annotation
    return found


def _unit(info: Any) -> str:
    extra = getattr(info, "json_schema_extra", None)
    return str(extra.get("unit", "")) if isinstance(extra, Mapping) else ""


def _limits(info: Any) -> tuple[float, float] | None:
    found = {type(limit): limit for limit in getattr(info, "metadata", ())}
    return (found[Ge].ge, found[Le].le) if {Ge, Le} <= set(found) else None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, also of one that is the type of a container's entries."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return inner
    return next((found for part in inner if (found := _choices(part))), ())


def _explain(error: ValidationError, kind: type[Any], what: str) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":  # of a __post_init__, which says it in its own words
        return str(first["ctx"]["error"])
    where = ""
    for part in first["loc"]:
        if part == "[key]":  # pydantic's mark of a mapping's key
            continue
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    if first["type"] == "missing":
        return f"{what} {where!r} is missing"
    said = f"{what} {where!r} is {first['input']!r}"
    info = _info(kind, [part for part in first["loc"] if isinstance(part, (str, int))])
    if (span := _limits(info)) and first["type"] in ("greater_than_equal", "less_than_equal"):
        return f"{said}: expected {span[0]:.10g} to {span[1]:.10g} ({_unit(info) or info.description})"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown {what} {where!r}"
    if first["type"] == "literal_error":
        return f"{said}: expected one of {', '.join(map(str, _choices(info.annotation)))}"
    if first["type"].endswith(("_type", "_from_float", "_parsing")):
        name = first["type"].split("_")[0]
        return f"{said}: expected {_KINDS.get(name, name)}"
    return f"{said}: {first['msg'].replace('Input should be', 'expected')}"
