"""The records behind small tables of the documents: which are stale, and what makes them so."""

import json

import pytest

from tests.env.measured_tables import PARTS, RECORDS, load_record
from tests.scripts import load_script

recorded = load_script("recorded.py")
NAMES = sorted(path.stem for path in RECORDS.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_no_record_is_stale(name):
    record = load_record(name)
    assert record["fingerprint"] == recorded.current_fingerprint(record), (
        f"benchmarks/results/tables/{name}.json was measured on other dynamics: run `{record['command']}`, then "
        "`python -m tests.env.scenario_pages`, and read what the documents say of the table"
    )


def test_every_record_has_a_table():
    assert {name.replace("-", "_") for name in NAMES} == set(PARTS) - {"couplings"}


def test_a_fingerprint_changes_with_the_scenario_and_its_overrides():
    plain = recorded.fingerprint([("tiny-v1", {})])
    assert plain == recorded.fingerprint([("tiny-v1", {})])
    assert plain != recorded.fingerprint([("paper-v1", {})])
    assert plain != recorded.fingerprint([("tiny-v1", {"purge.enabled": False})])


def test_a_fingerprint_changes_with_what_the_scenario_does():
    golden = {"tiny-v1": "one", "paper-v1": "two"}
    before = recorded.fingerprint([("tiny-v1", {})], golden)
    assert before == recorded.fingerprint([("tiny-v1", {})], {**golden, "paper-v1": "three"})
    assert before != recorded.fingerprint([("tiny-v1", {})], {**golden, "tiny-v1": "three"})


def test_a_record_holds_every_episode_and_how_to_repeat_it(tmp_path):
    cell = recorded.Cell("tiny-v1", ("least_allocated",), {"time.horizon_steps": 20}, ("team_reward", "bounced"))
    record = recorded.measure([cell], 2, "a command")
    recorded.write(tmp_path / "record.json", record)
    read = json.loads((tmp_path / "record.json").read_text())
    assert read == record
    assert (read["split"], read["seed"], read["episodes"], read["data_tag"]) == ("validation", 0, 2, "generated")
    (row,) = read["rows"]
    rewards = row["agents"]["least_allocated"]["team_reward"]
    assert len(rewards) == 2
    assert all(reward <= bound for reward, bound in zip(rewards, row["bound"], strict=True))
    assert read["fingerprint"] == recorded.current_fingerprint(read)
