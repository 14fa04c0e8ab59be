"""Pages and Croissant descriptions say what the readers declare."""

from __future__ import annotations

import json

import pytest

from cloudsched_env.traces.croissant import croissant
from cloudsched_env.traces.formats import FORMATS
from tests.traces.format_pages import DOCS, pages


def test_committed_pages_are_those_of_the_declarations():
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, "run python -m tests.traces.format_pages"
    assert {path.stem for path in DOCS.glob("*.md")} >= {entry.name for entry in FORMATS}


def test_the_overview_links_every_page():
    overview = (DOCS.parent / "traces.md").read_text(encoding="utf-8")
    for entry in FORMATS:
        assert f"(traces/{entry.name}.md)" in overview
        assert f"`{entry.name}`" in overview


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_croissant_describes_every_table_and_column_once(entry):
    found = croissant(entry)
    assert [record["name"] for record in found["recordSet"]] == [table.name for table in entry.tables]
    identifiers = [field["@id"] for record in found["recordSet"] for field in record["field"]]
    assert len(set(identifiers)) == len(identifiers) == sum(len(table.columns) for table in entry.tables)
    files = {item["@id"] for item in found["distribution"]}
    for record in found["recordSet"]:
        assert all(field["source"]["fileSet"]["@id"] in files for field in record["field"])


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_mlcroissant_accepts_the_description(entry, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(croissant(entry)))
    dataset = mlcroissant.Dataset(jsonld=path)
    assert dataset.metadata.name == entry.name
    assert not dataset.metadata.ctx.issues.errors
