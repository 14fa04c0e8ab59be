"""Trees of configuration: names, values and errors, whatever the tree is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import (
    CHECKED,
    changed,
    field_names,
    from_plain,
    limits,
    marked,
    number,
    option,
    to_plain,
    unit_of,
)


@dataclass(frozen=True, config=CHECKED)
class Disk:
    size_gb: float = number(10.0, 1, 1e6, "how much it holds", "GB")
    kind: Literal["ssd", "hdd"] = "ssd"


@dataclass(frozen=True, config=CHECKED)
class Decay:
    lambda_: float = number(0.9, 0.0, 1.0, "trace decay", name="lambda")
    by_name: Mapping[str, float] = option(dict, "where it differs")


@dataclass(frozen=True, config=CHECKED)
class Machine:
    cores: int = number(4, 1, 128, "cores it has", "cores")
    decay: Decay = Field(default_factory=Decay)
    disks: tuple[Disk, ...] = (Disk(),)
    turbo: bool = marked(False, "switch", "whether it may exceed its clock")
    note: str | None = None

    def __post_init__(self) -> None:
        if self.turbo and self.cores > 64:
            raise ValueError("turbo needs at most 64 cores")


def change(changes: Mapping[str, Any]) -> Machine:
    return changed(Machine(), changes, "field")


def test_names_are_dotted_nested_or_mixed_and_lose_pythons_underscore():
    wanted = Machine(decay=Decay(lambda_=0.5, by_name={"a.b": 0.1}))
    assert change({"decay.lambda": 0.5, "decay.by_name.a.b": 0.1}) == wanted
    assert change({"decay": {"lambda": 0.5, "by_name": {"a.b": 0.1}}}) == wanted
    assert change({"decay": {"lambda": 0.5}, "decay.by_name": {"a.b": 0.1}}) == wanted
    assert field_names(Machine) == ["cores", "decay.lambda", "decay.by_name", "disks", "turbo", "note"]


def test_a_tree_survives_plain_types_and_the_base_stays_as_it_was():
    base = Machine()
    tree = changed(base, {"disks": [{"size_gb": 3}, {}], "note": "x", "decay.by_name": {"a": 1}}, "field")
    assert to_plain(tree) == {
        "cores": 4,
        "decay": {"lambda": 0.9, "by_name": {"a": 1.0}},
        "disks": [{"size_gb": 3.0, "kind": "ssd"}, {"size_gb": 10.0, "kind": "ssd"}],
        "turbo": False,
        "note": "x",
    }
    assert from_plain(Machine, to_plain(tree), "field") == tree
    assert base == Machine()


def test_entries_of_mappings_are_merged_and_lists_are_replaced():
    first = change({"decay.by_name": {"a": 0.1}, "disks": [{}, {}]})
    second = changed(first, {"decay.by_name.b": 0.2, "disks": [{"kind": "hdd"}]}, "field")
    assert second.decay.by_name == {"a": 0.1, "b": 0.2}
    assert second.disks == (Disk(kind="hdd"),)


def test_numbers_of_numpy_and_ready_groups_are_as_good():
    assert change({"cores": np.int64(8), "decay.lambda": np.float32(0.5)}) == Machine(cores=8, decay=Decay(lambda_=0.5))
    assert change({"disks": (Disk(2.0), {"size_gb": 3})}).disks == (Disk(2.0), Disk(3.0))
    assert type(change({"decay.lambda": 1}).decay.lambda_) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"core": 3}, r"unknown field 'core': did you mean 'cores'"),
        ({"lambda": 0.3}, r"unknown field 'lambda': did you mean 'decay.lambda'\?"),
        ({"decay.lambda_": 0.3}, r"unknown field 'decay.lambda_': did you mean 'decay.lambda'"),
        ({"cores.x": 3}, r"unknown field 'cores.x': 'cores' is a single value"),
        ({"cores": 0}, r"^field 'cores' is 0: expected 1 to 128 \(cores\)$"),
        ({"decay.lambda": 2}, r"^field 'decay.lambda' is 2.*: expected 0 to 1 \(trace decay\)$"),
        ({"decay.lambda": float("nan")}, r"^field 'decay.lambda' is nan: expected 0 to 1"),
        (
            {"disks": [{}, {"size_gb": 1e9}]},
            r"^field 'disks\[1\].size_gb' is 1000000000.0: expected 1 to 1000000 \(GB\)$",
        ),
        ({"disks": [{"kind": "tape"}]}, r"^field 'disks\[0\].kind' is 'tape': expected one of ssd, hdd$"),
        ({"disks": [{"sizegb": 1}]}, r"unknown field 'disks\[0\].sizegb'"),
        ({"cores": 2.5}, r"^field 'cores' is 2.5: expected int$"),
        ({"cores": True}, r"^field 'cores' is True: expected int$"),
        ({"cores": "2"}, r"^field 'cores' is '2': expected int$"),
        ({"turbo": 1}, r"^field 'turbo' is 1: expected bool$"),
        ({"note": 3}, r"^field 'note' is 3: expected str$"),
        ({"decay": 3}, r"^field 'decay' is 3: expected a group of fields$"),
        ({"decay.by_name": 3}, r"^field 'decay.by_name' is 3: expected a mapping$"),
        ({"decay.by_name": {"a": "x"}}, r"^field 'decay.by_name.a' is 'x': expected float$"),
        ({"decay.lambda": 0.1, "decay": {"lambda": 0.2}}, r"^field 'decay.lambda' is changed twice$"),
        ({"note": object()}, r"^field: <object .*> is neither a number"),
        ({"turbo": True, "cores": 100}, r"^turbo needs at most 64 cores$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        change(changes)
    assert "\n" not in str(caught.value)


def test_fields_know_their_range_and_unit():
    assert limits(Machine, "cores") == (1, 128)
    assert limits(Machine, "turbo") is None
    assert (unit_of(Machine, "cores"), unit_of(Machine, "turbo"), unit_of(Machine, "note")) == ("cores", "switch", "")
