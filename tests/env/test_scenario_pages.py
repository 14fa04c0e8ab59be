"""``docs/scenarios`` says what the code does, of every scenario."""

import re

import pytest

from cloudsched_env.scenario import scenario_ids
from tests.env.measured_tables import DOCUMENTS
from tests.env.scenario_pages import (
    FAMILIES,
    FOLDER,
    all_studies,
    differences,
    failed_gates,
    family_of,
    members,
    refreshed,
    waivers,
)

PAGES = ["index", *FAMILIES]


@pytest.mark.parametrize("page", PAGES)
def test_generated_tables_are_up_to_date(page):
    path = FOLDER / f"{page}.md"
    assert refreshed(path) == path.read_text(), "run: python -m tests.env.scenario_pages"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_recorded_tables_of_other_documents_are_up_to_date(path):
    assert refreshed(path) == path.read_text(), "run: python -m tests.env.scenario_pages"


@pytest.mark.parametrize("scenario", scenario_ids())
def test_every_scenario_is_on_one_page_with_its_version(scenario):
    family = family_of(scenario)
    assert family is not None, f"add the family of {scenario} to tests/env/scenario_pages.py and write its page"
    text = (FOLDER / f"{family}.md").read_text()
    assert f"`{scenario}`" in text
    history = text.split("## Version history")[1]
    assert re.search(rf"^\| {scenario.rsplit('-', 1)[1]} \|", history, re.MULTILINE)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_page_has_all_parts(family):
    text = (FOLDER / f"{family}.md").read_text()
    for part in ("agents", "sizes", "differences", "headroom"):
        assert text.count(f"<!-- generated: {part} -->") == 1
    assert members(family)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (FOLDER / f"{page}.md").read_text()):
        assert target.startswith("http") or (FOLDER / target).is_file(), target


@pytest.mark.parametrize("study", all_studies())
def test_every_gate_that_fails_is_waived_with_a_reason_and_no_other(study):
    _, content = all_studies()[study]
    waived = [gate for waiver in waivers().get(study, []) for gate in waiver["gates"]]
    assert sorted(waived) == sorted(failed_gates(content)), (
        f"decide on the gates of {study}: benchmarks/gate_waivers.json"
    )
    for waiver in waivers().get(study, []):
        assert set(waiver) == {"gates", "reason"}
        assert len(waiver["reason"].split()) >= 5, "a reason says why the scenario is useful without the gate"


def test_waivers_are_of_studies_that_there_are():
    assert set(waivers()) <= set(all_studies())


def test_scenarios_without_a_study_are_listed_as_not_measured():
    (line,) = (line for line in (FOLDER / "index.md").read_text().splitlines() if line.startswith("Not measured: "))
    measured = {scenario_id for scenario_id, _ in all_studies().values()}
    assert set(re.findall(r"`([^`]+)`", line)) == set(scenario_ids()) - measured


def test_differences_name_the_field_and_both_values():
    base, rows = differences("loss-30-bursty-v1")
    assert base == "paper-v1"
    assert rows == [["`telemetry.loss_probability`", "0", "0.3"], ["`telemetry.loss_burst_length`", "1", "10"]]
    assert differences("paper-v1") == ("the defaults", [])
