"""One download against a server that cuts, lies, stalls and changes its mind."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import random
import shutil
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("requests")

from cloudsched_env.traces.fetch import partial
from cloudsched_env.traces.fetch.catalogue import PublishedFile, RemoteFile
from cloudsched_env.traces.fetch.download import AllMirrorsFailed, RetryConfig, download
from cloudsched_env.traces.fetch.errors import DiskFullError, InterruptedFetchError
from cloudsched_env.traces.fetch.partial import PartialFile
from cloudsched_env.traces.fetch.transport import Client, Fault, TransportConfig, check_address
from tests.traces.publisher import Fault as ServerFault
from tests.traces.publisher import Publisher, wait_until

NAME = "table/part-00000-of-00500.csv.gz"
CONTENT = random.Random(5).randbytes(700_000)
OTHER = random.Random(6).randbytes(650_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryConfig(attempts=3, first_wait_s=0.01, longest_wait_s=0.02, disk_reserve_bytes=0)


@pytest.fixture
def server():
    with Publisher({NAME: CONTENT}) as publisher:
        yield publisher


@pytest.fixture
def mirror():
    with Publisher({NAME: CONTENT}) as publisher:
        yield publisher


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "trace" / NAME


def get(target, *servers, sha256=SHA256, retry=QUICK, stop=None, transport=None, name=NAME, size=None, on_bytes=None):
    urls = tuple(server if isinstance(server, str) else f"{server.url}/{name}" for server in servers)
    file = RemoteFile(name, "table", urls, PublishedFile(sha256, size))
    client = Client(transport or TransportConfig(read_timeout_s=5.0, connect_timeout_s=2.0))
    return download(
        file,
        target,
        client,
        retry=retry,
        rng=random.Random(0),
        stop=stop or threading.Event(),
        on_bytes=on_bytes,
    )


def leave_a_part(target, server, after=300_000, **options):
    """What an interrupted run leaves."""
    server.faults[NAME] = [ServerFault(cut_after=after), ServerFault(status=403)]
    with pytest.raises(AllMirrorsFailed, match="HTTP 403"):
        get(target, server, **options)
    server.requests.clear()


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_under_its_name_and_nothing_else_is_left(server, target):
    heard = []
    result = get(target, server, on_bytes=lambda done, total: heard.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert left(target) == [target.name]
    assert (result.bytes, result.sha256, result.verified_by) == (len(CONTENT), SHA256, "published sha256")
    assert heard[0] == (0, len(CONTENT))
    assert heard[-1] == (len(CONTENT), len(CONTENT))
    assert server.requests[0].headers["User-Agent"].startswith("cloudsched-env")


def test_a_cut_connection_is_gone_on_with_and_only_the_rest_is_sent(server, target):
    server.faults[NAME] = [ServerFault(cut_after=300_000)]
    get(target, server)
    first, second = server.requests
    assert first.range is None
    assert second.range == "bytes=300000-"
    assert second.headers["If-Range"] == server.etag(NAME)
    assert (second.status, first.sent, second.sent) == (206, 300_000, len(CONTENT) - 300_000)
    assert target.read_bytes() == CONTENT
    assert left(target) == [target.name]


def test_a_later_run_goes_on_where_an_earlier_one_ended(server, target):
    leave_a_part(target, server)
    assert left(target) == [f"{target.name}.part", f"{target.name}.part.json"]
    get(target, server)
    (request,) = server.requests
    assert (request.range, request.status, request.sent) == ("bytes=300000-", 206, len(CONTENT) - 300_000)
    assert target.read_bytes() == CONTENT


def test_without_a_published_checksum_a_file_is_gone_on_with_too(server, target):
    leave_a_part(target, server, sha256=None)
    result = get(target, server, sha256=None)
    assert server.requests[0].sent == len(CONTENT) - 300_000
    assert (target.read_bytes(), result.verified_by) == (CONTENT, "size")


def test_a_server_that_ignores_ranges_sends_everything_again(server, target):
    leave_a_part(target, server)
    server.faults[NAME] = [ServerFault(ignore_range=True)]
    get(target, server)
    assert (server.requests[0].range, server.requests[0].status) == ("bytes=300000-", 200)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("polite", [True, False], ids=["If-Range heeded", "If-Range ignored"])
@pytest.mark.parametrize("tells", ["etag", "weak etag", "last-modified", "size"])
def test_a_file_that_changed_between_attempts_is_downloaded_anew(server, target, polite, tells):
    def tell(version):
        server.etags[NAME] = {"etag": f'"{version}"', "weak etag": f'W/"{version}"'}.get(tells)
        server.modified[NAME] = f"Mon, 0{version} Mar 2021 00:00:00 GMT" if tells == "last-modified" else None

    tell(1)
    leave_a_part(target, server, sha256=None)
    tell(2)
    server.files[NAME] = OTHER
    server.always[NAME] = ServerFault(ignore_if_range=not polite)
    get(target, server, sha256=None)
    assert target.read_bytes() == OTHER
    assert left(target) == [target.name]


def test_a_part_that_is_longer_than_the_changed_file_is_dropped(server, target):
    leave_a_part(target, server, after=500_000, sha256=None)
    server.files[NAME] = OTHER[:1000]
    server.always[NAME] = ServerFault(ignore_if_range=True)
    get(target, server, sha256=None)
    assert [request.status for request in server.requests] == [416, 200]
    assert target.read_bytes() == OTHER[:1000]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_part_that_is_complete_is_checked_and_not_sent_again(server, target, sha256):
    leave_a_part(target, server, after=len(CONTENT) - 1, sha256=sha256)
    part = target.with_name(target.name + ".part")
    part.write_bytes(CONTENT)
    note = target.with_name(target.name + ".part.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"synced_bytes": len(CONTENT)}))
    get(target, server, sha256=sha256)
    assert [(request.status, request.sent) for request in server.requests] == [(416, 0)]
    assert target.read_bytes() == CONTENT


def test_bytes_that_were_not_known_to_be_on_the_disk_are_asked_for_again(server, target):
    leave_a_part(target, server)
    with open(target.with_name(target.name + ".part"), "ab") as file:
        file.write(bytes(50_000))  # a crash left zeros behind the last synced byte
    get(target, server)
    assert [request.range for request in server.requests] == ["bytes=300000-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"version": {"url": 1, "x": 2}, "synced_bytes": 9}'])
def test_a_part_without_a_sound_note_is_not_trusted(server, target, note):
    leave_a_part(target, server)
    target.with_name(target.name + ".part.json").write_text(note)
    get(target, server)
    assert [request.range for request in server.requests] == [None]
    assert target.read_bytes() == CONTENT


def test_a_damaged_part_costs_one_more_download_and_does_no_harm(server, target):
    leave_a_part(target, server)
    part = target.with_name(target.name + ".part")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    get(target, server)
    assert [request.range for request in server.requests] == ["bytes=300000-", None]
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_puts_the_bytes_aside_and_names_both_sums(server, target):
    server.files[NAME] = OTHER
    with pytest.raises(AllMirrorsFailed) as caught:
        get(target, server)
    assert f"SHA-256 is {hashlib.sha256(OTHER).hexdigest()}, published is {SHA256}" in str(caught.value)
    assert len(server.requests) == 1  # the same bytes again would not help
    assert left(target) == [f"{target.name}.corrupt"]
    assert target.with_name(f"{target.name}.corrupt").read_bytes() == OTHER
    assert not caught.value.unreachable

    server.files[NAME] = CONTENT
    get(target, server)
    assert left(target) == [target.name]


def test_a_wrong_file_at_one_mirror_is_taken_from_the_next(server, mirror, target):
    server.files[NAME] = OTHER
    result = get(target, server, mirror)
    assert target.read_bytes() == CONTENT
    assert result.version.url.startswith(mirror.url)
    assert left(target) == [target.name]


def test_a_published_size_is_compared_before_anything_is_transferred(server, target):
    with pytest.raises(AllMirrorsFailed, match="700,000 bytes, but the published file has 699,999"):
        get(target, server, sha256=None, size=699_999)
    assert not target.exists()
    get(target, server, sha256=None, size=700_000)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("header", ["Content-MD5", "x-ms-blob-content-md5", "x-goog-hash"])
def test_the_md5_sum_of_a_store_stands_in_for_a_missing_checksum(server, target, header):
    def announce(content):
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        server.extra[header] = f"crc32c=AAAAAA==,md5={digest}" if header == "x-goog-hash" else digest

    announce(OTHER)
    with pytest.raises(AllMirrorsFailed, match=f"the server announced {hashlib.md5(OTHER).hexdigest()}"):
        get(target, server, sha256=None)
    assert not target.exists()
    announce(CONTENT)
    assert get(target, server, sha256=None).verified_by == "md5 of the server"


def test_a_published_checksum_outranks_the_md5_sum_of_a_store(server, target):
    server.extra["Content-MD5"] = base64.b64encode(bytes(16)).decode()
    assert get(target, server).verified_by == "published sha256"


def test_the_md5_sum_of_a_part_is_not_taken_for_that_of_the_file(server, target):
    server.faults[NAME] = [
        ServerFault(cut_after=300_000),
        ServerFault(headers={"Content-MD5": base64.b64encode(hashlib.md5(CONTENT[300_000:]).digest()).decode()}),
    ]
    assert get(target, server, sha256=None).verified_by == "size"
    assert len(server.requests) == 2


def test_a_missing_file_is_taken_from_the_next_mirror_at_once(server, mirror, target):
    del server.files[NAME]
    get(target, server, mirror)
    assert (len(server.requests), len(mirror.requests)) == (1, 1)
    assert target.read_bytes() == CONTENT


def test_a_file_that_no_mirror_has_is_told_with_every_address(server, mirror, target):
    del server.files[NAME], mirror.files[NAME]
    with pytest.raises(AllMirrorsFailed) as caught:
        get(target, server, mirror)
    assert f"{server.url}/{NAME}: HTTP 404 Not Found; {mirror.url}/{NAME}: HTTP 404" in str(caught.value)
    assert not caught.value.unreachable
    assert left(target) == []


class RecordedStop(threading.Event):
    """Does not wait, but remembers for how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return self.is_set()


@pytest.mark.parametrize(
    ("retry_after", "low", "high"), [("7", 7, 7), ("99999", 300, 300), ("soon", 0, 0.02), ("", 0, 0.02)]
)
def test_a_busy_server_is_asked_again_when_it_says(server, target, retry_after, low, high):
    stop = RecordedStop()
    server.faults[NAME] = [ServerFault(status=503, headers={"Retry-After": retry_after})]
    get(target, server, stop=stop)
    assert target.read_bytes() == CONTENT
    assert len(stop.waits) == 1
    assert low <= stop.waits[0] <= high


def test_a_server_that_stays_busy_is_given_up_after_the_agreed_attempts(server, mirror, target):
    server.always[NAME] = ServerFault(status=503)
    get(target, server, mirror)
    assert len(server.requests) == QUICK.attempts
    assert target.read_bytes() == CONTENT


@given(st.integers(1, 60), st.integers(0, 2**32), st.floats(0.1, 10), st.floats(0.1, 100))
def test_waits_grow_exponentially_up_to_a_limit_and_are_reproducible(failures, seed, first, longest):
    retry = RetryConfig(first_wait_s=first, longest_wait_s=longest)
    wait = retry.wait_s(failures, random.Random(seed))
    assert 0 <= wait <= min(longest, first * 2 ** (failures - 1))
    assert wait == retry.wait_s(failures, random.Random(seed))


def test_waits_are_spread_over_the_whole_interval():
    rng = random.Random(1)
    waits = [RetryConfig(first_wait_s=1.0, longest_wait_s=60.0).wait_s(4, rng) for _ in range(2000)]
    assert min(waits) < 0.1
    assert max(waits) > 7.9
    assert 3.8 < sum(waits) / len(waits) < 4.2  # uniform over 0 to 8


def test_a_connection_that_always_breaks_but_brings_new_bytes_gets_there(server, target):
    server.always[NAME] = ServerFault(cut_after=70_000)
    get(target, server)
    assert len(server.requests) == 10  # far more than the attempts without progress
    assert target.read_bytes() == CONTENT


def test_a_server_that_always_cuts_and_ignores_ranges_is_given_up(server, target):
    server.always[NAME] = ServerFault(cut_after=70_000, ignore_range=True)
    with pytest.raises(AllMirrorsFailed, match=r"cut .*, after 70,000 of 700,000 bytes"):
        get(target, server)
    assert len(server.requests) == 1 + QUICK.attempts  # only the first one brought new bytes


def test_a_silent_server_is_given_up_and_asked_again(server, target):
    server.faults[NAME] = [ServerFault(stall_s=5.0)]
    get(target, server, transport=TransportConfig(read_timeout_s=0.3))
    assert len(server.requests) == 2
    assert target.read_bytes() == CONTENT


def test_a_server_that_stays_silent_is_named_with_the_limit(server, target):
    server.always[NAME] = ServerFault(stall_s=5.0)
    with pytest.raises(AllMirrorsFailed, match=r"the server was silent for 0\.2 s"):
        get(target, server, transport=TransportConfig(read_timeout_s=0.2), retry=RetryConfig(attempts=1))


def test_a_transfer_that_trickles_is_given_up_and_gone_on_with(server, target):
    server.faults[NAME] = [ServerFault(trickle=(10, 0.05))]
    slow = TransportConfig(read_timeout_s=5.0, slow_bytes_per_s=10_000, slow_window_s=0.3)
    get(target, server, transport=slow)
    assert len(server.requests) == 2
    assert server.requests[1].range is not None
    assert target.read_bytes() == CONTENT


def test_a_slow_transfer_above_the_limit_is_left_alone(server, target):
    server.faults[NAME] = [ServerFault(trickle=(100_000, 0.1))]
    get(target, server, transport=TransportConfig(slow_bytes_per_s=10_000, slow_window_s=0.2))
    assert len(server.requests) == 1


def test_no_server_at_all_is_told_apart_from_servers_that_refuse(server, target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/{NAME}"
    with pytest.raises(AllMirrorsFailed, match="no connection") as caught:
        get(target, nobody)
    assert caught.value.unreachable
    with pytest.raises(AllMirrorsFailed, match="no connection") as caught:
        get(target, "https://no-such-host.invalid/file")
    assert caught.value.unreachable
    get(target, nobody, server)
    assert target.read_bytes() == CONTENT


def test_a_part_from_one_mirror_is_completed_from_another_if_a_checksum_can_tell(server, mirror, target):
    server.faults[NAME] = [ServerFault(cut_after=300_000), *[ServerFault(status=404)] * 2]
    mirror.etags[NAME] = '"of this mirror"'
    get(target, server, mirror)
    assert mirror.requests[0].range == "bytes=300000-"
    assert "If-Range" not in mirror.requests[0].headers
    assert target.read_bytes() == CONTENT


def test_without_a_checksum_the_next_mirror_starts_anew(server, mirror, target):
    server.faults[NAME] = [ServerFault(cut_after=300_000), ServerFault(status=404)]
    get(target, server, mirror, sha256=None)
    assert [request.range for request in mirror.requests] == [None]
    assert target.read_bytes() == CONTENT


def test_halves_of_different_files_are_noticed_and_downloaded_anew(server, mirror, target):
    server.files[NAME] = random.Random(9).randbytes(len(CONTENT))
    server.faults[NAME] = [ServerFault(cut_after=300_000), ServerFault(status=404)]
    get(target, server, mirror)
    assert [request.range for request in mirror.requests] == ["bytes=300000-", None]
    assert target.read_bytes() == CONTENT


def test_another_range_than_asked_for_is_not_taken(server, target):
    leave_a_part(target, server, sha256=None)
    server.faults[NAME] = [ServerFault(range_shift=10)]
    get(target, server, sha256=None)
    assert target.read_bytes() == CONTENT


def test_a_chunked_answer_without_a_length_is_taken_and_its_cut_noticed(server, target):
    server.faults[NAME] = [
        ServerFault(chunked=True, trickle=(50_000, 0.0), cut_after=200_000),
        ServerFault(chunked=True),
    ]
    get(target, server, sha256=None)
    assert len(server.requests) == 2
    assert target.read_bytes() == CONTENT


def test_an_answer_whose_end_cannot_be_told_from_a_cut_needs_a_checksum(server, target):
    server.always[NAME] = ServerFault(plain=True)
    with pytest.raises(AllMirrorsFailed, match="does not tell the size"):
        get(target, server, sha256=None)
    get(target, server)
    assert target.read_bytes() == CONTENT


def test_a_gzip_file_is_kept_as_it_is_stored(server, target):
    server.extra["Content-Encoding"] = "gzip"  # some stores label their .gz files so
    get(target, server)
    assert server.requests[0].headers["Accept-Encoding"] == "gzip"
    assert target.read_bytes() == CONTENT


def test_a_file_that_was_compressed_on_the_way_is_refused(server, tmp_path):
    server.files["nodes.csv"] = CONTENT
    server.faults["nodes.csv"] = [ServerFault(headers={"Content-Encoding": "gzip"})]
    with pytest.raises(AllMirrorsFailed, match=r"re-encoded form \(gzip\)"):
        get(tmp_path / "nodes.csv", server, name="nodes.csv")
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_web_page_is_not_taken_for_the_file(server, target):
    server.always[NAME] = ServerFault(body=b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(AllMirrorsFailed, match="sent a web page instead of the file"):
        get(target, server, sha256=None)
    assert left(target) == []


def test_credentials_of_the_user_are_never_sent(server, target, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    get(target, server)
    assert not {"Authorization", "Cookie"} & set(server.requests[0].headers)


def test_the_server_has_no_say_in_the_local_path(server, mirror, target, tmp_path):
    server.always[NAME] = ServerFault(status=302, headers={"Location": f"{mirror.url}/a/../../etc/passwd"})
    mirror.files["etc/passwd"] = CONTENT
    mirror.extra["Content-Disposition"] = 'attachment; filename="../../evil.csv"'
    get(target, server)
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert found == [f"trace/{NAME}"]


@pytest.mark.parametrize(
    "to", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "//example.org/x", "https:///x"]
)
def test_a_redirect_away_from_https_is_refused_before_anything_is_asked(server, target, to):
    server.always[NAME] = ServerFault(status=302, headers={"Location": to})
    with pytest.raises(AllMirrorsFailed, match="redirect from"):
        get(target, server)
    assert len(server.requests) == 1


def test_a_ring_of_redirects_ends(server, target):
    server.always[NAME] = ServerFault(status=302, headers={"Location": f"/{NAME}"})
    with pytest.raises(AllMirrorsFailed, match="more than 5 redirects"):
        get(target, server)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "url", ["https://example.org/a", "http://127.0.0.1:80/a", "http://[::1]/a", "http://localhost/a"]
)
def test_https_and_this_machine_may_be_asked(url):
    check_address(url)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a", "http://127.0.0.1.example.org/a", "http://localhost.example.org", "gs://bucket/a", ""],
)
def test_anything_else_may_not(url):
    with pytest.raises(Fault, match="https"):
        check_address(url)


@pytest.mark.parametrize("inside", ["https://127.0.0.1/a", "http://localhost/a"])
def test_a_public_server_cannot_send_the_client_to_this_machine(inside):
    with pytest.raises(Fault, match="a redirect to this machine is refused"):
        check_address(inside, "https://example.org/a")
    check_address(inside, "http://127.0.0.1:8000/a")


def test_a_disk_without_room_is_told_before_the_transfer(server, target, monkeypatch):
    usage = shutil.disk_usage(target.anchor)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=699_999))
    with pytest.raises(DiskFullError, match="700,000 bytes are missing and 699,999 are free"):
        get(target, server)
    assert left(target) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=700_000))
    get(target, server)


def test_a_disk_that_fills_up_keeps_what_was_written(server, target, monkeypatch):
    capacity = 250_000
    write, write_note = PartialFile.write, partial.write_whole

    def write_until_full(self, data):
        fits = capacity - self.bytes
        if len(data) > fits:
            self._file.write(data[:fits])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    def write_note_until_full(path, text):
        if target.with_name(f"{target.name}.part").stat().st_size + len(text) > capacity:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_note(path, text)

    server.always[NAME] = ServerFault(trickle=(50_000, 0.01))
    with monkeypatch.context() as full:
        full.setattr(PartialFile, "write", write_until_full)
        full.setattr(partial, "write_whole", write_note_until_full)
        with pytest.raises(DiskFullError, match=r"(?s)the disk is full.*is kept.*goes on where it stopped"):
            get(target, server)
    assert not target.exists()
    kept = target.with_name(f"{target.name}.part").stat().st_size
    assert 100_000 < kept < capacity  # a little is given up for the note beside it
    server.requests.clear()
    get(target, server)
    assert server.requests[0].range == f"bytes={kept}-"
    assert target.read_bytes() == CONTENT


def test_other_errors_of_the_disk_are_not_called_a_full_disk(server, target, monkeypatch):
    def broken(self, data):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(PartialFile, "write", broken)
    with pytest.raises(OSError, match="Input/output error"):
        get(target, server)


def test_a_stopped_download_ends_at_once_and_keeps_its_bytes(server, target):
    server.always[NAME] = ServerFault(trickle=(3000, 60.0))  # then silence
    stop, outcome = threading.Event(), []
    client = Client(TransportConfig(read_timeout_s=30.0))
    file = RemoteFile(NAME, "table", (f"{server.url}/{NAME}",))

    def work():
        try:
            download(file, target, client, retry=QUICK, rng=random.Random(0), stop=stop)
        except InterruptedFetchError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    part = target.with_name(f"{target.name}.part")
    wait_until(lambda: part.exists() and part.stat().st_size == 3000)
    stop.set()
    client.abort()
    thread.join(timeout=5.0)
    assert not thread.is_alive()
    assert "stopped after" in str(outcome[0])
    server.always.clear()
    server.requests.clear()
    get(target, server)
    assert server.requests[0].range == "bytes=3000-"
    assert target.read_bytes() == CONTENT
