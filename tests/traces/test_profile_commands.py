"""`cloudsched traces fit | generate | compare`, one after the other, as a person uses them."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("typer")
from typer.testing import CliRunner

from cloudsched_env.cli import build_app
from cloudsched_env.workload.profile import load_profile
from cloudsched_env.workload.stream_profile import StreamProfile


@pytest.fixture(scope="module")
def app():
    return build_app()


def call(app, *arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["traces", *map(str, arguments)], env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output + repr(result.exception)
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def table(app, tmp_path_factory):
    path = tmp_path_factory.mktemp("profiles") / "made.parquet"
    text = call(app, "generate", "google2011-nested", "-o", path, "--hours", 4, "--seed", 4)
    assert "generated from profile google2011-nested, seed 4, as table" in text
    return path


@pytest.fixture(scope="module")
def fitted(app, table):
    path = table.with_name("fitted.json")
    text = call(app, "fit", table, "-o", path, "--kinds", 20)
    assert "variance / mean of job counts within an hour: " in text
    return path


def test_fit_writes_a_profile_of_the_train_part_only(fitted):
    profile = load_profile(str(fitted))
    assert isinstance(profile, StreamProfile)
    assert profile.name == "fitted"
    assert profile.provenance["fitted_part"] == "train"
    assert profile.provenance["fitted_on_s"] == [0.0, 9000.0]
    assert 6 <= len(profile.kinds) <= 26
    assert not list(fitted.parent.glob(".*partial"))


def test_a_fitted_profile_makes_the_episodes_of_a_scenario(fitted):
    import numpy as np

    from cloudsched_env.scenario import load_scenario
    from cloudsched_env.workload import GeneratedSource

    scenario = load_scenario("tiny-v1", {"workload.profile": str(fitted)})
    episode = GeneratedSource(scenario, "test").episode(np.random.default_rng(0))
    assert episode.details["source"] == "generated:fitted"


def test_compare_prints_and_writes_all_numbers(app, table, fitted, tmp_path):
    text = call(
        app, "compare", table, fitted, "--part-a", "train", "--windows", 10, "--json", tmp_path / "c.json"
    )  # fmt: skip
    assert "A made.parquet, train: generated" in text
    assert "Kolmogorov-Smirnov distance" in text
    result = json.loads((tmp_path / "c.json").read_text())
    assert result["ks"]["cpu_request"]["distance"] < 0.15
    assert set(result["dispersion"]) == {"1 s", "10 s", "60 s", "300 s"}
    assert "chance" in result


def test_compare_adds_the_drift_where_a_real_table_is_held_out(app, tmp_path):
    import dataclasses

    import pyarrow as pa
    import pyarrow.parquet as pq

    from cloudsched_env.traces.metadata import TraceMetadata
    from cloudsched_env.traces.table import METADATA_KEY

    made = tmp_path / "made.parquet"
    call(app, "generate", "google2011-nested", "-o", made, "--hours", 3)
    content = pq.read_table(made)
    metadata = TraceMetadata.from_json(content.schema.metadata[METADATA_KEY].decode())
    metadata = dataclasses.replace(metadata, data_tag="excerpt")
    known = {**content.schema.metadata, METADATA_KEY: metadata.to_json().encode()}
    real = tmp_path / "real.parquet"
    pq.write_table(pa.table(content.columns, schema=content.schema.with_metadata(known)), real)
    text = call(
        app, "compare", real, "google2011-nested", "--part-a", "held-out", "--window-s", 1800, "--windows", 10,
        "--json", tmp_path / "c.json",
    )  # fmt: skip
    assert "drift: how far the trace's own train hours are from A" in text
    result = json.loads((tmp_path / "c.json").read_text())
    assert [sample["label"] for sample in result["samples"]][2] == "real.parquet, train"
    assert set(result["ks"]["memory_gb"]) == {"distance", "drift", "fit"}


def test_compare_draws_a_figure(app, table, fitted, tmp_path):
    pytest.importorskip("matplotlib")
    call(app, "compare", table, fitted, "--windows", 4, "--figure", tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["f.png"]


@pytest.mark.parametrize("trace_format", ["google2011", "redset"])
def test_generate_writes_published_formats(app, tmp_path, trace_format):
    profile = "redset" if trace_format == "redset" else "google2011-nested"
    text = call(app, "generate", profile, "-o", tmp_path / "x", "--format", trace_format, "--hours", 0.05)
    assert f"as {trace_format}" in text
    assert json.loads((tmp_path / "x" / "GENERATED.json").read_text())["data_tag"] == "generated"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "nobody", "-o", "x"), "unknown workload profile 'nobody': expected one of alibaba2017"),
        (("generate", "google2011", "-o", "x"), "is of the model of paper-v1"),
        (("generate", "redset", "-o", "x", "--format", "borg"), "unknown format 'borg'"),
        (("fit", "TABLE", "-o", "x.txt"), "ends in .json"),
        (("fit", "TABLE", "-o", "x.json", "--part", "second"), "unknown part 'second': expected one of train"),
        (("compare", "nothing", "redset"), "neither a file nor a shipped profile"),
        (("compare", "TABLE", "redset", "--window-s", "9e9"), "use shorter windows"),
    ],
)
def test_what_cannot_be_done_is_explained(app, table, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [str(table) if argument == "TABLE" else argument for argument in arguments]
    assert message in call(app, *given, code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_profile_is_refused(app, tmp_path):
    (tmp_path / "p.json").write_text('{"model": "nested clusters"}')
    assert "cannot be read" in call(app, "generate", tmp_path / "p.json", "-o", tmp_path / "x", code=1)
