"""A whole trace from a local server that serves the published layout."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from datetime import datetime, timezone

import pytest

pytest.importorskip("requests")

from cloudsched_env.traces.fetch import FetchConfig, FetchError, Selection, fetch, find_dataset, make_plan
from cloudsched_env.traces.fetch.catalogue import PublishedFile
from cloudsched_env.traces.fetch.download import RetryConfig
from cloudsched_env.traces.fetch.errors import (
    DiskFullError,
    DownloadFailedError,
    LicenceNotAcceptedError,
    ManualDownloadError,
    OfflineError,
)
from cloudsched_env.traces.fetch.transport import TransportConfig
from tests.traces.publisher import Fault, Publisher

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
QUICK = FetchConfig(
    transport=TransportConfig(connect_timeout_s=2.0, read_timeout_s=5.0),
    retry=RetryConfig(attempts=2, first_wait_s=0.01, disk_reserve_bytes=0),
)
TASKS_1 = "task_events/part-00001-of-00500.csv.gz"
MACHINES = "machine_events/part-00000-of-00001.csv.gz"


def google_layout(parts: int = 4) -> dict[str, bytes]:
    """Folders, parts and SHA256SUM as in the bucket; the rows do not matter here."""
    rng = random.Random(3)
    files = {MACHINES: gzip.compress(rng.randbytes(2000), mtime=0)}
    for number in range(parts):
        for table in ("task_events", "job_events", "task_usage"):
            path = f"{table}/part-{number:05d}-of-00500.csv.gz"
            files[path] = gzip.compress(rng.randbytes(20_000 + number), mtime=0)
    listed = "".join(f"{hashlib.sha256(content).hexdigest()} *{path}\n" for path, content in sorted(files.items()))
    return {**files, "SHA256SUM": listed.encode()}


@pytest.fixture
def bucket():
    with Publisher(google_layout()) as publisher:
        yield publisher


@pytest.fixture
def google(bucket):
    """The declared trace, published at the local server only."""
    return dataclasses.replace(find_dataset("google2011"), mirrors=(bucket.url,))


def run(dataset, folder, *, parts="0-3", tables=None, accepted=("CC-BY-4.0",), config=QUICK, **options):
    plan = make_plan(dataset, folder, Selection(tables, parts))
    return fetch(plan, accepted=accepted, config=config, now=lambda: NOON, **options)


def manifest_of(folder):
    return json.loads((folder / "fetch-manifest.json").read_text())


def test_a_trace_arrives_in_the_published_layout_with_a_manifest(bucket, google, tmp_path):
    heard = []
    report = run(google, tmp_path / "g", on_progress=lambda *event: heard.append(event))
    assert len(report.downloaded) == 9
    assert report.not_compared == ()
    found = {
        path.relative_to(tmp_path / "g").as_posix()
        for path in (tmp_path / "g").rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert found == {*report.downloaded, "SHA256SUM", "fetch-manifest.json"}
    for path in report.downloaded:
        assert (tmp_path / "g" / path).read_bytes() == bucket.files[path]
    assert report.bytes == sum(len(bucket.files[path]) for path in report.downloaded)
    manifest = manifest_of(tmp_path / "g")
    assert manifest["dataset"] == "google2011"
    assert manifest["licence"]["url"] == "https://creativecommons.org/licenses/by/4.0/"
    assert manifest["licence_accepted"] == {"CC-BY-4.0": "2026-03-01T12:00:00+00:00"}
    assert set(manifest["files"]) == set(report.downloaded)
    entry = manifest["files"][TASKS_1]
    content = bucket.files[TASKS_1]
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert (entry["bytes"], entry["verified_by"]) == (len(content), "published sha256")
    assert (entry["url"], entry["fetched_at"]) == (f"{bucket.url}/{TASKS_1}", "2026-03-01T12:00:00+00:00")
    assert {event[1] for event in heard if event[0] == "download"} == {*report.downloaded, "SHA256SUM"}


def test_a_second_run_asks_for_nothing(bucket, google, tmp_path):
    run(google, tmp_path)
    bucket.requests.clear()
    report = run(google, tmp_path, accepted=())  # the acceptance is remembered with the files
    assert bucket.requests == []
    assert (len(report.downloaded), len(report.present)) == (0, 9)


def test_more_parts_later_fetch_only_what_is_new(bucket, google, tmp_path):
    run(google, tmp_path, parts="0-1")
    bucket.requests.clear()
    report = run(google, tmp_path, parts="0-3")
    assert {request.path for request in bucket.requests} == set(report.downloaded)
    assert len(report.downloaded) == 4
    assert len(manifest_of(tmp_path)["files"]) == 9


def test_files_that_were_put_there_by_hand_are_checked_without_a_network(bucket, google, tmp_path):
    for path, content in bucket.files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    plan = make_plan(google, tmp_path, Selection(parts="0-3"))
    assert (len(plan.unchecked), plan.missing) == (9, ())
    heard = []
    report = run(google, tmp_path, on_progress=lambda *event: heard.append(event))
    assert bucket.requests == []
    assert len(report.present) == 9
    assert ("check", TASKS_1, len(bucket.files[TASKS_1]), len(bucket.files[TASKS_1])) in heard
    assert manifest_of(tmp_path)["files"][TASKS_1]["verified_by"] == "published sha256"
    assert len(make_plan(google, tmp_path, Selection(parts="0-3")).present) == 9


def test_a_file_that_differs_is_told_and_left_alone(bucket, google, tmp_path):
    (tmp_path / "task_events").mkdir()
    (tmp_path / TASKS_1).write_bytes(b"mine")
    with pytest.raises(DownloadFailedError, match=f"{TASKS_1}: the file that is there differs") as caught:
        run(google, tmp_path)
    assert hashlib.sha256(b"mine").hexdigest() in str(caught.value)
    assert f"move or delete {tmp_path / TASKS_1}" in str(caught.value)
    assert (tmp_path / TASKS_1).read_bytes() == b"mine"
    assert len(manifest_of(tmp_path)["files"]) == 8  # the others were fetched


def test_a_file_that_changed_on_the_disk_is_noticed(bucket, google, tmp_path):
    run(google, tmp_path)
    content = bytearray(bucket.files[TASKS_1])
    content[100] ^= 1
    (tmp_path / TASKS_1).write_bytes(content)
    with pytest.raises(DownloadFailedError, match=f"{TASKS_1}: the file that is there differs"):
        run(google, tmp_path)


def test_silent_damage_is_noticed_when_asked_to_look(bucket, google, tmp_path):
    run(google, tmp_path)
    before = (tmp_path / TASKS_1).stat()
    content = bytearray(bucket.files[TASKS_1])
    content[100] ^= 1
    (tmp_path / TASKS_1).write_bytes(content)
    os.utime(tmp_path / TASKS_1, ns=(before.st_atime_ns, before.st_mtime_ns))
    run(google, tmp_path)
    with pytest.raises(DownloadFailedError, match="differs"):
        run(google, tmp_path, config=dataclasses.replace(QUICK, recheck=True))


def test_a_file_that_was_deleted_is_fetched_again(bucket, google, tmp_path):
    run(google, tmp_path)
    (tmp_path / TASKS_1).unlink()
    bucket.requests.clear()
    assert run(google, tmp_path).downloaded == (TASKS_1,)
    assert [request.path for request in bucket.requests] == [TASKS_1]


def test_one_bad_file_does_not_keep_the_others_and_the_next_run_completes_them(bucket, google, tmp_path):
    good = bucket.files[TASKS_1]
    bucket.files[TASKS_1] = gzip.compress(b"something else")
    with pytest.raises(DownloadFailedError) as caught:
        run(google, tmp_path)
    assert list(caught.value.reasons) == [TASKS_1]
    assert "wrong checksum" in str(caught.value)
    assert "cloudsched traces fetch google2011 --to" in str(caught.value)
    assert "--parts 0-3" in str(caught.value)
    assert len(manifest_of(tmp_path)["files"]) == 8
    bucket.files[TASKS_1] = good
    bucket.requests.clear()
    assert run(google, tmp_path).downloaded == (TASKS_1,)
    assert [request.path for request in bucket.requests] == [TASKS_1]


def test_an_interrupted_run_goes_on_with_a_range_request(bucket, google, tmp_path):
    bucket.always[TASKS_1] = Fault(cut_after=15_000, ignore_range=True)
    with pytest.raises(DownloadFailedError, match="cut"):
        run(google, tmp_path)
    bucket.always.clear()
    bucket.requests.clear()
    plan = make_plan(google, tmp_path, Selection(parts="0-3"))
    assert plan.partial_bytes == 15_000
    run(google, tmp_path)
    (request,) = bucket.requests
    assert (request.range, request.status) == ("bytes=15000-", 206)
    assert request.sent == len(bucket.files[TASKS_1]) - 15_000
    assert (tmp_path / TASKS_1).read_bytes() == bucket.files[TASKS_1]


def test_without_the_list_of_checksums_nothing_is_fetched_unless_allowed(bucket, google, tmp_path):
    del bucket.files["SHA256SUM"]
    with pytest.raises(DownloadFailedError, match=r"(?s)SHA256SUM: .*HTTP 404.*--unverified"):
        run(google, tmp_path)
    assert {request.path for request in bucket.requests} == {"SHA256SUM"}
    report = run(google, tmp_path, config=dataclasses.replace(QUICK, unverified=True))
    assert set(report.not_compared) == set(report.downloaded)


def test_a_web_page_in_place_of_the_list_of_checksums_is_refused(bucket, google, tmp_path):
    bucket.files["SHA256SUM"] = b"<html>please log in</html>"
    with pytest.raises(FetchError, match=r"SHA256SUM, line 1: expected a SHA-256 sum"):
        run(google, tmp_path)


def test_a_licence_has_to_be_accepted_before_anything_is_asked_for(bucket, google, tmp_path):
    for accepted in ((), ("CC-BY-NC-4.0",)):
        with pytest.raises(LicenceNotAcceptedError, match=r"--accept-licence CC-BY-4\.0") as caught:
            run(google, tmp_path / "g", accepted=accepted)
        assert "https://creativecommons.org/licenses/by/4.0/" in str(caught.value)
    assert bucket.requests == []
    assert not (tmp_path / "g").exists()


def test_a_licence_that_binds_nobody_to_accept_is_not_asked_for(bucket, google, tmp_path):
    free = dataclasses.replace(google, licence=dataclasses.replace(google.licence, acceptance_required=False))
    assert run(free, tmp_path, accepted=()).downloaded


def test_a_folder_keeps_to_one_trace(bucket, google, tmp_path):
    run(google, tmp_path)
    with pytest.raises(FetchError, match="this folder holds google2011, not alibaba2018"):
        make_plan(find_dataset("alibaba2018"), tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 99}', "\x00"])
def test_a_damaged_manifest_is_told_with_a_remedy(google, tmp_path, text):
    (tmp_path / "fetch-manifest.json").write_text(text)
    with pytest.raises(FetchError, match=r"not a manifest of fetched files.*\n.*delete it"):
        make_plan(google, tmp_path)


def test_without_a_network_everything_to_do_by_hand_is_told(tmp_path):
    nowhere = dataclasses.replace(find_dataset("google2011"), mirrors=("https://no-such-host.invalid/google",))
    with pytest.raises(OfflineError) as caught:
        run(nowhere, tmp_path / "g")
    text = str(caught.value)
    assert "no server could be reached" in text
    assert "9 files" in text
    assert "https://no-such-host.invalid/google/SHA256SUM\n" in text
    assert f"-> {tmp_path}/g/task_events/part-00000-of-00500.csv.gz" in text
    assert f"cloudsched traces fetch google2011 --to {tmp_path}/g --parts 0-3" in text
    assert "cloudsched traces import google2011" in text


def test_a_network_that_goes_away_leaves_only_the_missing_files_to_do(bucket, google, tmp_path):
    run(google, tmp_path, parts="0-2")
    nowhere = dataclasses.replace(google, mirrors=("https://no-such-host.invalid/google",))
    with pytest.raises(OfflineError) as caught:
        run(nowhere, tmp_path, parts="0-3")
    text = str(caught.value)
    assert "2 files" in text
    assert "SHA256SUM" not in text
    assert "part-00003" in text
    assert "part-00002" not in text


def test_a_trace_behind_a_form_is_never_pretended_to_be_fetched(tmp_path):
    for name in ("google2019", "alibaba-block", "msr-block"):
        dataset = find_dataset(name)
        with pytest.raises(ManualDownloadError, match="cannot be downloaded by this command"):
            fetch(make_plan_of_manual(dataset, tmp_path / name), accepted=[dataset.licence.name])
        assert not (tmp_path / name).exists()


def make_plan_of_manual(dataset, folder):
    from cloudsched_env.traces.fetch.plan import Plan

    return Plan(dataset, folder, Selection(), (), frozenset(), frozenset(), 0)


def test_several_files_are_fetched_at_a_time_and_no_more_than_asked(bucket, google, tmp_path):
    together, most, lock = [0], [0], threading.Lock()
    meeting = threading.Barrier(3, timeout=10)

    def on_request(request):
        if not request.path.startswith(("task_events", "job_events")):
            return
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        if request.path in {f"task_events/part-0000{number}-of-00500.csv.gz" for number in range(3)}:
            meeting.wait()  # passes only if three are asked for at the same time
        with lock:
            together[0] -= 1

    bucket.on_request = on_request
    run(google, tmp_path, config=dataclasses.replace(QUICK, jobs=3))
    assert most[0] == 3


def test_a_full_disk_is_told_before_the_first_byte_and_with_what_is_needed(bucket, google, tmp_path, monkeypatch):
    run(google, tmp_path, parts="0")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    bucket.requests.clear()
    # Two parts of 2 MB and 0.17 MB, as they are known from the catalogue.
    with pytest.raises(DiskFullError, match=r"about 2\.17 MB are to be downloaded and 1 MB are free"):
        run(google, tmp_path, parts="1")
    assert bucket.requests == []


def test_two_fetches_do_not_share_a_folder(google, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with open(tmp_path / ".fetch.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another fetch is at work"):
            run(google, tmp_path)
    run(google, tmp_path)


def test_mirrors_of_the_user_are_tried_first_and_have_to_be_safe(bucket, google, tmp_path):
    nowhere = dataclasses.replace(google, mirrors=("https://no-such-host.invalid/google",))
    plan = make_plan(nowhere, tmp_path, Selection(parts="0", mirrors=(bucket.url,)))
    assert len(fetch(plan, accepted=["CC-BY-4.0"], config=QUICK).downloaded) == 3
    for unsafe in ("http://example.org/x", "ftp://example.org", "https://example.org/?file="):
        plan = make_plan(nowhere, tmp_path / "other", Selection(parts="0", mirrors=(unsafe,)))
        with pytest.raises(FetchError, match="--mirror"):
            fetch(plan, accepted=["CC-BY-4.0"], config=QUICK)


def test_a_mirror_of_somebody_else_is_checked_with_the_sums_of_the_publisher(bucket, google, tmp_path):
    forged = google_layout()
    forged[TASKS_1] = gzip.compress(b"forged")
    listed = [f"{hashlib.sha256(content).hexdigest()} *{path}" for path, content in forged.items()]
    with Publisher({**forged, "SHA256SUM": "\n".join(listed).encode()}) as mirror:
        plan = make_plan(google, tmp_path, Selection(parts="0-3", mirrors=(mirror.url,)))
        fetch(plan, accepted=["CC-BY-4.0"], config=QUICK)
        assert len(mirror.requests) == 9
    assert (tmp_path / TASKS_1).read_bytes() == bucket.files[TASKS_1]
    assert {request.path for request in bucket.requests} == {"SHA256SUM", TASKS_1}


def archive(name: str, content: bytes) -> bytes:
    """A .tar.gz with one file, as Alibaba publishes its tables."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_archives_of_alibaba_are_checked_against_the_declared_sums(tmp_path):
    declared = find_dataset("alibaba2018")
    tasks = archive("batch_task.csv", b"M1,1,j_1,1,Terminated,1,2,100,0.5\n" * 3000)
    machines = archive("machine_meta.csv", b"m_1,0,1,a,96,100,USING\n")
    files = {"batch_task.tar.gz": tasks, "machine_meta.tar.gz": machines}
    with Publisher(files) as server:
        here = dataclasses.replace(declared, mirrors=(server.url,))
        with pytest.raises(DownloadFailedError, match="published is 7c4b32361bd1ec2083647a8f52a6854a03bc125ca5c2026"):
            run(here, tmp_path / "real sums", parts=None, accepted=["alibaba-research"])
        tables = tuple(
            dataclasses.replace(
                table, files=((0, PublishedFile(hashlib.sha256(files.get(table.path, b"")).hexdigest())),)
            )
            for table in declared.tables
        )
        server.faults["batch_task.tar.gz"] = [Fault(cut_after=100), Fault(status=503)]
        report = run(
            dataclasses.replace(here, tables=tables), tmp_path / "a", parts=None, accepted=["alibaba-research"]
        )
    assert set(report.downloaded) == set(files)
    with tarfile.open(tmp_path / "a" / "batch_task.tar.gz") as tar:
        assert tar.extractfile("batch_task.csv").read(8) == b"M1,1,j_1"


def test_a_base_installation_is_told_which_extra_it_lacks(tmp_path):
    # A module that is None in sys.modules cannot be imported.
    code = (
        "import sys; sys.modules['requests'] = None\n"
        "from pathlib import Path\n"
        "from cloudsched_env.traces.fetch import fetch, find_dataset, make_plan\n"
        "dataset = find_dataset('alibaba-gpu2020')\n"
        "try:\n"
        f"    fetch(make_plan(dataset, Path({str(tmp_path)!r})))\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs the package requests: pip install 'cloudsched-env[traces]'" in result.stdout
