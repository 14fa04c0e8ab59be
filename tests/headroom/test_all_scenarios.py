"""`benchmarks/headroom.py`, on a very short scenario."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.scenario import load_scenario, scenario_ids
from tests.scripts import load_script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    return load_script("headroom.py", "headroom_script")


def test_every_shipped_scenario_is_studied_once(script):
    ids = [scenario.id for scenario in script.chosen([])]
    assert sorted(ids) == sorted(scenario_ids())


def test_larger_clusters_have_smaller_studies(script):
    sizes = [script.settings_for(scenario) for scenario in script.chosen([])]
    work = [s.population * s.windows * (s.static_generations + s.feedback_generations) for s in sizes]
    assert work == sorted(work, reverse=True)
    assert work[-1] < work[0] / 10


def test_large_clusters_are_studied_without_grids_of_constants(script):
    small, large = (script.stages_for(load_scenario(name)) for name in ("loss-30-v1", "internet-v1"))
    assert set(small) - set(large) == {"joint", "couplings"}
    assert {"heuristics", "static", "feedback", "bounds", "knockout", "staleness", "local_rewards"} <= set(large)


def test_a_trained_policy_is_studied_where_it_was_trained(script):
    with_policy, without = (load_scenario(name) for name in ("paper-v1", "loss-30-v1"))
    assert set(script.stages_for(with_policy)) - set(script.stages_for(without)) == {"learned"}
    assert (ROOT / script.settings_for(with_policy).learned).is_dir()
    assert not script.settings_for(without).learned


def test_what_is_kept_is_not_measured_again(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("highspy")
    monkeypatch.setattr(script, "BASE", replace(HeadroomSettings().quick(), grid_placements=("least_allocated",)))
    scenario = load_scenario("tiny-v1", {"time.warmup_steps": 5, "time.horizon_steps": 30})
    runs, results, docs = tmp_path / "runs", tmp_path / "results", tmp_path / "docs"
    assert script.study_one(scenario, runs, results, docs, threads=2)
    kept = results / "tiny-v1.json"
    content, page = kept.read_text(encoding="utf-8"), (docs / "tiny-v1.md").read_text(encoding="utf-8")
    assert set(json.loads(content)["results"]) >= {"joint", "feedback", "bounds", "couplings"}
    script.main(keep_study=runs / "tiny-v1", results=tmp_path / "again")
    assert (tmp_path / "again" / "tiny-v1.json").read_text(encoding="utf-8") == content
    on_a_trace = json.loads(content) | {"data": {"trace": "x", "tag": "full trace"}}
    (runs / "tiny-v1" / "headroom.json").write_text(json.dumps(on_a_trace), encoding="utf-8")
    script.main(keep_study=runs / "tiny-v1", results=tmp_path / "again")
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["tiny-v1-full-trace.json", "tiny-v1.json"]
    text, picture = (tmp_path / "redrawn" / f"tiny-v1.{ending}" for ending in ("md", "png"))
    script.main(redraw_all=True, results=results, docs=tmp_path / "redrawn")
    assert "# Headroom of `tiny-v1`" in text.read_text(encoding="utf-8")
    picture.unlink()
    script.main(redraw_all=True, results=results, docs=tmp_path / "redrawn")
    assert picture.is_file()
    shutil.rmtree(runs)
    assert not script.study_one(scenario, runs, results, docs, threads=2)
    assert kept.read_text(encoding="utf-8") == content
    assert (docs / "tiny-v1.md").read_text(encoding="utf-8") == page
