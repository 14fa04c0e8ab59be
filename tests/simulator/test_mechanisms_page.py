"""The page on mechanisms names every switch, and every figure and test that it names exists."""

import re
from pathlib import Path

from cloudsched_env.scenario import Scenario, switch_names
from tests.simulator.isolated import OFF_VALUES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "mechanisms.md").read_text(encoding="utf-8")


def test_every_switch_of_a_scenario_is_in_the_table():
    missing = [name for name in switch_names() if f"`{name}`" not in PAGE]
    assert not missing, f"docs/mechanisms.md: add a row for {missing}"


def test_fields_named_in_the_table_exist():
    table = PAGE.split("## Switches")[1].split("## CPU")[0]
    scenario = Scenario()
    groups = {name.split(".")[0] for name in OFF_VALUES} | {name.split(".")[0] for name in switch_names()}
    names = [name for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", table) if name.split(".")[0] in groups]
    assert len(names) > 15
    for name in names:
        group, field = name.split(".")
        assert hasattr(getattr(scenario, group), field), name


def test_figures_and_tests_that_the_page_names_exist():
    figures = re.findall(r"\]\((images/mechanisms/[\w-]+\.svg)\)", PAGE)
    tests = re.findall(r"`(tests/simulator/[\w]+\.py)`", PAGE)
    assert len(figures) >= 10
    assert len(set(tests)) >= 10
    for path in figures:
        size = (ROOT / "docs" / path).stat().st_size
        assert size < 100_000, path
    for path in tests:
        assert (ROOT / path).is_file(), path
    drawn = {path.stem for path in (ROOT / "docs" / "images" / "mechanisms").glob("*.svg")}
    assert drawn == {Path(path).stem for path in figures}
    guarding = {path.name for path in (ROOT / "tests" / "simulator").glob("test_textbook_*.py")}
    assert guarding <= {Path(path).name for path in tests}
