"""What authors declare of an agent: what is wrong in the file is named by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudsched_env.leaderboard.declaration import Declaration, load_declarations

WHOLE = {"name": "mine", "spec": "{here}/mine.py:Mine", "training": {"env_steps": 10, "hours": 0.5}}


def test_a_declaration_survives_json_without_the_folder_of_one_machine():
    declared = Declaration.from_dict(WHOLE, folder="/somewhere")
    assert declared.resolved(3) == "/somewhere/mine.py:Mine"
    stored = json.loads(json.dumps(declared.to_dict()))
    assert "folder" not in stored
    assert Declaration.from_dict(stored, folder="/somewhere") == declared


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spec": None}, "'spec' is None: expected str"),
        ({"name": 3}, "'name' is 3: expected str"),
        ({"name": " "}, "name is empty"),
        ({"trainig": {}}, "unknown declaration field 'trainig': did you mean"),
        ({"training": {"hour": 1}}, "unknown declaration field 'training.hour': did you mean 'training.hours'"),
        ({"training": {"hours": -1}}, "'training.hours' is -1: expected greater than or equal to 0"),
        ({"kind": "magic"}, "'kind' is 'magic': expected one of heuristic, learned"),
        ({"spec": "p/{seed}", "trainings": 0}, "'trainings' is 0: expected greater than or equal to 1"),
        ({"spec": "p/{seed}"}, "give both or neither"),
        ({"trainings": 3}, "give both or neither"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(tmp_path, changes: dict[str, Any], message: str):
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({**WHOLE, **changes}))
    with pytest.raises(ValueError, match=message) as caught:
        load_declarations([str(path)])
    assert str(path) in str(caught.value)


def test_a_missing_field_is_named(tmp_path):
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({"name": "mine"}))
    with pytest.raises(ValueError, match="declaration field 'spec' is missing"):
        load_declarations([str(path)])
