"""How a study was made, as its page says it: checked on the stored studies, and on one that is made up."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.cli import build_app
from cloudsched_env.headroom import policies, provenance, study
from cloudsched_env.headroom.report import markdown, page_name
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.tuning import Tuned
from cloudsched_env.scenario import load_scenario

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "benchmarks" / "results" / "headroom").glob("*.json"))
PAGES = ROOT / "docs" / "scenarios" / "headroom"


def content_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def asked_for(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command line asks `run_study` for."""
    asked: dict[str, Any] = {}

    def stop(scenario: Any, out: Path, settings: HeadroomSettings, **options: Any) -> None:
        asked.update(options, scenario=scenario, settings=settings)
        raise ValueError("stopped before any work")

    monkeypatch.setattr(study, "run_study", stop)
    table = tmp_path / provenance.TASK_TABLE
    table.touch()
    assert words[0] == "cloudsched"
    given = [str(table) if word == provenance.TASK_TABLE else word for word in words[1:]]
    result = CliRunner().invoke(build_app(), [*given, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert "stopped before any work" in result.output
    return asked


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_command_on_a_page_asks_for_the_study_that_is_stored(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    content = content_of(path)
    asked = asked_for(provenance.command(content), tmp_path, monkeypatch)
    stored = HeadroomSettings().changed(content["settings"])
    assert asked["settings"] == stored
    assert asked["scenario"].id == content["scenario"]["id"]
    assert (asked["trace"] is None) == (content["data"]["trace"] == "generator")
    chosen = study.with_needed(asked["stages"], bool(stored.learned))
    assert [stage.name for stage in chosen] == list(content["results"])


def made_up(settings: HeadroomSettings, **overrides: Any) -> dict[str, Any]:
    """The content of a study that was not made."""
    scenario = load_scenario("tiny-v1", overrides)
    stages = study.with_needed([], bool(settings.learned))
    return {
        "scenario": scenario.to_dict(),
        "data": {"trace": "generator", "tag": "generated"},
        "settings": dataclasses.asdict(settings),
        "results": {stage.name: {} for stage in stages},
        "seconds": {"heuristics": 1800.0, "static": 1800.0},
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (HeadroomSettings(), []),
        (HeadroomSettings().quick(), ["--quick"]),
        (HeadroomSettings(seed=3).quick(), ["--seed", "3", "--quick"]),
        (HeadroomSettings(windows=4).quick(), ["--quick"]),
        (HeadroomSettings().quick().changed({"population": 7}), ["--quick", "--set", "population=7"]),
        (HeadroomSettings(delays=(0, 3)), ["--set", "delays=[0,3]"]),
        (HeadroomSettings(learned="a b/policy"), ["--learned", "a b/policy"]),
    ],
)
def test_the_command_says_what_differs_from_the_defaults_or_the_quick_sizes(
    settings: HeadroomSettings, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = provenance.command(made_up(settings))
    assert words == ["cloudsched", "headroom", "tiny-v1", *expected]
    assert asked_for(words, tmp_path, monkeypatch)["settings"] == settings


def test_the_command_has_the_overrides_and_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = made_up(HeadroomSettings().quick(), **{"workload.cpu_load": 0.5, "telemetry.delay_steps": 2})
    content["results"] = {"heuristics": {}, "static": {}}
    asked = asked_for(provenance.command(content), tmp_path, monkeypatch)
    assert asked["scenario"].to_dict() == content["scenario"]
    assert asked["stages"] == ["heuristics", "static"]


def test_lines_of_the_command_join_to_the_command():
    for path in STUDIES:
        lines = provenance.command_lines(content_of(path))
        assert all(len(line) <= 120 for line in lines)
        assert shlex.split("\n".join(lines).replace("\\\n", "")) == provenance.command(content_of(path))


def tuned(**changes: Any) -> dict[str, Any]:
    content = made_up(HeadroomSettings(static_generations=8, feedback_generations=24))
    content["results"] = {
        "static": {
            "curve": [[0, 0.55], [5, 0.56]],
            "validation": 0.57,
            "parameters": {"origin": "searched"},
            "start": "made by hand",
            "stretch": 1.0,
        },
        "feedback": {"curve": [[0, 0.57], [6, 0.58]], "validation": 0.59, "start": "searched"},
    }
    content["results"]["static"].update(changes)
    return content


def test_a_static_search_that_did_not_beat_its_start_is_told():
    assert not any("static search never" in text for text in provenance.search_warnings(tuned()))
    (told,) = (t for t in provenance.search_warnings(tuned(curve=[[0, 0.5527], [5, 0.5478]])) if "static search" in t)
    assert "J 0.5527 on validation windows, at best 0.5478 later" in told
    assert "the packaged one with constants chosen anew" in told
    (told,) = provenance.search_warnings(tuned(curve=[[0, 0.57], [5, 0.57]]))[:1]
    assert "the packaged one as it is" in told


def test_what_feedback_had_more_of_is_told():
    (told,) = provenance.search_warnings(tuned())
    assert told.startswith("The feedback search had 24 generations against 8: ")
    before = tuned()
    del before["results"]["static"]["stretch"]
    (told,) = provenance.search_warnings(before)
    assert "steps tried at several lengths, which the static search's were not" in told
    equal = tuned()
    equal["settings"]["feedback_generations"] = 8
    assert provenance.search_warnings(equal) == []


def test_starts_are_told_also_of_studies_that_did_not_record_them():
    recorded = provenance.starts(tuned()["results"])
    assert recorded == [
        "The static search began at the packaged policy (made by hand).",
        "The feedback search began at the tuned static policy.",
    ]
    before = copy.deepcopy(tuned()["results"])
    for found in before.values():
        del found["start"]
    assert "60 generations" in provenance.starts(before)[0]
    assert provenance.starts(before)[1] == "The feedback search began at the tuned static policy."
    before["feedback"]["curve"][0][1] = 0.575
    assert "160 generations" in provenance.starts(before)[1]
    assert provenance.duration(tuned()) == "1.0 hours"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_pages_are_those_of_the_stored_studies(path: Path):
    content = content_of(path)
    assert page_name(content) == path.stem
    text = markdown(study.Study(content["results"], content, []), f"{path.stem}.png")
    page = (PAGES / f"{path.stem}.md").read_text(encoding="utf-8")
    assert page == text, "run: python benchmarks/headroom.py --redraw"
    settings = content["settings"]
    for kind in ("static", "feedback"):
        assert f"{kind} {settings[f'{kind}_generations']} generations x {settings['population']} candidates" in page


def test_the_figure_has_a_panel_of_both_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figure = pytest.importorskip("matplotlib.figure")
    from cloudsched_env.headroom.figure import draw

    drawn: list[Any] = []

    def keep(self: Any, path: Path, **options: Any) -> None:
        drawn.extend(self.axes)
        Path(path).touch()

    monkeypatch.setattr(figure.Figure, "savefig", keep)
    content = content_of(ROOT / "benchmarks" / "results" / "headroom" / "flash-crowd-v1.json")
    draw(study.Study(content["results"], content, []), tmp_path / "figure.png")
    titles = [axes.get_title() for axes in drawn]
    assert titles == ["From random to the upper bound", "Tuning", "One role replaced", "Older telemetry"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn[1].lines}
    for kind in ("static", "feedback"):
        assert lines[kind] == content["results"][kind]["curve"]


class StandInBench:
    """Measures a policy by its distance from a wanted vector, without playing."""

    def __init__(self, wanted: np.ndarray) -> None:
        self.scenario, self.wanted = load_scenario("tiny-v1"), wanted

    def rewards(self, description: str, makers: list[Any], split: str, count: int) -> np.ndarray:
        return np.array([[-np.abs(make.args[1].to_vector() - self.wanted).sum()] * count for make in makers])

    def metrics(self, description: str, agents: dict[str, Any], split: str, count: int) -> dict[str, Any]:
        return {name: {} for name in agents}


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0])
def test_the_static_searchs_step_is_tried_at_other_lengths(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start = LinearParameters.packaged("static")
    step = np.linspace(-1.0, 1.0, len(start.to_vector()))
    found = LinearParameters.from_vector("static", start.to_vector() + step, "searched")
    bench = StandInBench(start.to_vector() + factor * step)
    searched = Tuned(found.to_vector(), 0.0, [(0, -1.0), (5, 0.0)], [])
    monkeypatch.setattr(policies, "tune_linear", lambda *arguments: (found, searched))
    monkeypatch.setattr(policies, "best_constants", lambda bench, parameters, windows: (parameters, 0.0))
    monkeypatch.setattr(policies, "_by_type", lambda bench, settings, parameters: {})
    result = policies.tuned_static(bench, HeadroomSettings(), tmp_path)
    assert result["stretch"] == factor
    assert result["start"] == start.origin
    assert policies.parameters_of(result).to_vector() == pytest.approx(bench.wanted)
