"""`cloudsched traces fetch`: what a person sees, from the list of traces to the imported table."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("requests")
from typer.testing import CliRunner

from cloudsched_env.cli import build_app, trace_fetch
from cloudsched_env.traces.fetch import DATASETS
from tests.traces import google_files as g
from tests.traces.publisher import Fault, Publisher, wait_until

TASKS_0 = "task_events/part-00000-of-00500.csv.gz"
ACCEPT = ("--accept-licence", "CC-BY-4.0")


@pytest.fixture(scope="module")
def app():
    return build_app()


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, bytes]:
    """Three parts of a small trace in the published layout, with its checksums."""
    folder = g.write_trace(
        tmp_path_factory.mktemp("bucket"), g.random_events(np.random.default_rng(7), jobs=60), parts=3
    )
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.gz")}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in files.items())
    return {**files, "SHA256SUM": sums.encode()}


@pytest.fixture
def bucket(published):
    with Publisher(published) as publisher:
        yield publisher


@pytest.fixture
def google(bucket, monkeypatch):
    """The local server in place of the publisher, so that a test asks nobody else."""
    from cloudsched_env.traces import fetch

    find = fetch.find_dataset
    monkeypatch.setattr(fetch, "find_dataset", lambda name: dataclasses.replace(find(name), mirrors=(bucket.url,)))
    return bucket


def call(app, *arguments: object, code: int = 0):
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, ["traces", *words], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def plain(text: str) -> str:
    return " ".join(text.split())


def test_a_fetched_trace_can_be_imported_by_the_command_that_is_named_next(app, google, tmp_path):
    folder = tmp_path / "g"
    fetched = call(app, "fetch", "google2011", "--parts", "0-2", "--to", folder, "--timeout", 5, *ACCEPT)
    text = plain(fetched.stdout)
    assert f"{folder}: 7 files downloaded, 0 were there" in text
    assert "cite: C. Reiss" in text
    command = f"cloudsched traces import google2011 {folder} -o google2011.parquet"
    assert f"next: {command}" in text
    words = command.split()[2:]
    imported = call(app, *words[:-1], tmp_path / words[-1])
    assert "excerpt (3 of 500 parts" in plain(imported.stdout)

    again = call(app, "fetch", "google2011", "--parts", "0-2", "--to", folder)
    assert "0 files downloaded, 7 were there" in plain(again.stdout)


def test_the_plan_is_shown_without_asking_anybody(app, google, tmp_path):
    mirror = "https://mirror.example.org/google"
    options = ("fetch", "google2011", "--parts", "0-13", "--to", tmp_path / "g", "--mirror", mirror)
    text = plain(call(app, *options, "--dry-run").stdout)
    assert f"from: {mirror} or from: {google.url} to:" in text
    assert "CC-BY-4.0, Creative Commons Attribution 4.0" in text
    assert "(has to be accepted)" in text
    assert "task_events 14 0 14 about 28 MB" in text
    assert "machine_events 1 0 1 about 347 kB" in text
    assert "to download: 29 files, 30.8 MB; free on the disk:" in text
    assert google.requests == []
    assert not (tmp_path / "g").exists()

    call(app, *options[:3], "0-2", *options[4:6], *ACCEPT)
    text = plain(call(app, *options, "--dry-run").stdout)
    assert "task_events 14 3 11 about 22 MB" in text
    assert "machine_events 1 1 0 -" in text


def test_unknown_sizes_are_called_unknown(app, tmp_path):
    text = plain(call(app, "fetch", "azure-v2", "--to", tmp_path / "a", "--dry-run").stdout)
    assert "vmtable 1 0 1 unknown" in text
    assert "to download: 1 files, 0 bytes and 1 files of unknown size" in text


def test_missing_files_can_be_listed_for_another_downloader(app, tmp_path):
    lines = call(app, "fetch", "google2011", "--parts", "4-5", "--to", tmp_path, "--urls").stdout.splitlines()
    assert len(lines) == 5
    url, path = lines[1].split("\t")
    assert url == "https://storage.googleapis.com/clusterdata-2011-2/task_events/part-00005-of-00500.csv.gz"
    assert path == str(tmp_path / "task_events/part-00005-of-00500.csv.gz")


def test_without_a_format_everything_there_is_is_listed(app):
    text = plain(call(app, "fetch").stdout)
    for dataset in DATASETS:
        assert f"{dataset.name} {dataset.title} {dataset.licence.name}" in text
    assert "on demand: machine_attributes, task_constraints, task_usage" in text


def test_the_help_page_has_examples(app):
    text = plain(call(app, "fetch", "--help").stdout)
    assert "cloudsched traces fetch google2011 --parts 0-13 --accept-licence CC-BY-4.0" in text
    assert "--dry-run" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("google2012",), "no trace to fetch is called 'google2012'; expected one of: google2011"),
        (("google2011", "--parts", "600"), "task_events has no part 600"),
        (("google2011", "--tables", "nodes"), "no such table: nodes"),
        (("google2011",), "run the command again with --accept-licence CC-BY-4.0"),
        (("redset",), "Attribution-NonCommercial 4.0: no commercial use read it: https://creativecommons.org/"),
        (("redset", *ACCEPT), "the licence of redset is CC-BY-NC-4.0"),
        (("google2019", *ACCEPT), "through BigQuery only"),
        (("google2011", *ACCEPT, "--mirror", "http://example.org"), "plain http is refused"),
    ],
)
def test_what_cannot_be_done_ends_with_a_reason_and_exit_code_1(app, tmp_path, arguments, message):
    result = call(app, "fetch", *arguments, "--to", tmp_path / "x", code=1)
    assert message in plain(result.stderr)
    assert "Traceback" not in result.output
    assert not (tmp_path / "x").exists()


def test_the_steps_of_a_manual_download_are_a_plan_too(app, tmp_path):
    text = call(app, "fetch", "google2019", "--to", tmp_path / "x", "--dry-run").stdout
    assert "bq --location=US extract" in text
    assert f"gcloud storage cp 'gs://YOUR_BUCKET/clusterdata_2019_a/*' {tmp_path / 'x'}/" in text


def test_at_a_terminal_the_licence_is_asked_for(app, google, tmp_path, monkeypatch):
    monkeypatch.setattr(trace_fetch, "_is_interactive", lambda: True)
    words = ["traces", "fetch", "google2011", "--parts", "0", "--to", str(tmp_path / "g")]
    refused = CliRunner().invoke(app, words, input="n\n")
    assert refused.exit_code == 1
    assert "licence CC-BY-4.0: Creative Commons Attribution 4.0" in refused.stderr
    assert "Do you accept this licence?" in refused.stderr
    assert google.requests == []
    assert CliRunner().invoke(app, words, input="y\n").exit_code == 0
    asked_again = CliRunner().invoke(app, words)  # it is recorded with the files
    assert asked_again.exit_code == 0
    assert "accept" not in asked_again.stderr


def test_a_missing_and_a_wrong_file_are_both_told_and_the_rest_is_there(app, google, tmp_path):
    bucket = google
    bucket.files = dict(bucket.files)
    del bucket.files["task_events/part-00001-of-00500.csv.gz"]
    bucket.files["job_events/part-00002-of-00500.csv.gz"] = b"<html>"
    result = call(app, "fetch", "google2011", "--parts", "0-2", "--to", tmp_path, *ACCEPT, code=1)
    text = plain(result.stderr)
    assert "2 files were not downloaded" in text
    assert "task_events/part-00001-of-00500.csv.gz: " in text
    assert "HTTP 404" in text
    assert "wrong checksum: SHA-256 is" in text
    assert "put aside as part-00002-of-00500.csv.gz.corrupt" in text
    assert (tmp_path / TASKS_0).read_bytes() == bucket.files[TASKS_0]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupt_from_the_keyboard_keeps_what_was_transferred(bucket, tmp_path):
    content = bucket.files[TASKS_0]
    bucket.always[TASKS_0] = Fault(trickle=(300, 60.0))  # then silence, out of which the interrupt has to wake it
    words = ["traces", "fetch", "google2011", "--parts", "0", "--to", str(tmp_path), *ACCEPT]
    # A shell starts what runs in the background with SIGINT ignored, and so would this process be.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import dataclasses, cloudsched_env.traces.fetch as fetch; find = fetch.find_dataset\n"
        f"fetch.find_dataset = lambda name: dataclasses.replace(find(name), mirrors=({bucket.url!r},))\n"
        "from cloudsched_env.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = tmp_path / f"{TASKS_0}.part"
    try:
        wait_until(lambda: part.exists() and part.stat().st_size >= 300, 60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped; what was transferred is kept" in plain(errors)
    assert "Traceback" not in errors
    assert part.read_bytes() == content[:300]

    bucket.always.clear()
    bucket.requests.clear()
    subprocess.run(command, check=True, capture_output=True)
    assert [(request.range, request.sent) for request in bucket.asked(TASKS_0)] == [("bytes=300-", len(content) - 300)]
    assert (tmp_path / TASKS_0).read_bytes() == content


def test_the_list_and_the_help_need_no_network_library():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from cloudsched_env.cli import build_app\n"
        "for words in (['--help'], [], ['redset', '--dry-run']):\n"
        "    result = CliRunner().invoke(build_app(), ['traces', 'fetch', *words])\n"
        "    assert result.exit_code == 0, result.output\n"
        "print([name for name in ('requests', 'urllib3', 'pyarrow', 'duckdb') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
