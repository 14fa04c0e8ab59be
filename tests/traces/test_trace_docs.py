"""Pages and Croissant descriptions say what the readers declare."""

from __future__ import annotations

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
def test_mlcroissant_accepts_the_committed_description(entry):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=DOCS / "croissant" / f"{entry.name}.croissant.json")
    assert dataset.metadata.name == entry.name
    assert not dataset.metadata.ctx.issues.errors
    assert {record.uuid for record in dataset.metadata.record_sets} == {table.name for table in entry.tables}


def test_mlcroissant_refuses_a_field_of_a_file_that_is_not_described():
    # Guards the test above: it would show nothing if anything were accepted.
    mlcroissant = pytest.importorskip("mlcroissant")
    broken = croissant(FORMATS[0])
    broken["recordSet"][0]["field"][0]["source"]["fileSet"]["@id"] = "no-such-files"
    with pytest.raises(mlcroissant.ValidationError, match="no-such-files"):
        mlcroissant.Dataset(jsonld=broken)


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_keys_are_columns_that_may_not_be_null(entry):
    found = {record["name"]: record for record in croissant(entry)["recordSet"]}
    for table in entry.tables:
        names = table.key_columns or table.unique
        nullable = [name for name in names if table.column(name).nullable]
        expected = [f"{table.name}/{name.replace(' ', '_')}" for name in names]
        key = [part["@id"] for part in found[table.name].get("key", [])]
        assert key == ([] if nullable else expected)
