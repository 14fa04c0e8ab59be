"""One file: from which mirror, from which byte on, how often, and whether it is the file that was published."""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import random
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cloudsched_env.traces.fetch.catalogue import RemoteFile
from cloudsched_env.traces.fetch.errors import DiskFullError, InterruptedFetchError
from cloudsched_env.traces.fetch.partial import PartialFile, Version
from cloudsched_env.traces.fetch.transport import Client, Fault

__all__ = ["AllMirrorsFailed", "Downloaded", "RetryConfig", "download"]

# Called with the bytes that are there and the size, None while it is unknown.
OnBytes = Callable[[int, "int | None"], None]

_READ_BYTES = 1 << 18
_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quotas
# Names whose bytes are compressed already: they are asked for as they are stored. A store that knows such a file as
# "gzip-encoded text" would otherwise unpack it on the way, which changes the checksum and makes resuming impossible.
_PACKED = (".gz", ".tgz")


@dataclass(frozen=True)
class RetryConfig:
    """How patient a download is.

    Attributes:
        attempts: requests to one address without any new byte before it is given up.
        attempts_unreachable: the same while no connection can be opened at all.
        first_wait_s: longest wait before the second attempt; it doubles with every further one.
        longest_wait_s: limit of that.
        disk_reserve_bytes: free space that a download leaves.
    """

    attempts: int = 6
    attempts_unreachable: int = 2
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    disk_reserve_bytes: int = 64 << 20

    def wait_s(self, failures: int, rng: random.Random) -> float:
        """Time before the next attempt: exponential back-off with full jitter.

        Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): uniform between 0 and the bound,
        so that many clients that failed together do not come back together.
        """
        return rng.uniform(0.0, min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1)))


@dataclass(frozen=True)
class Downloaded:
    """A complete file.

    Attributes:
        version: where it came from.
        bytes: its size.
        sha256: its checksum.
        verified_by: what it was compared with.
    """

    version: Version
    bytes: int
    sha256: str
    verified_by: str


class AllMirrorsFailed(Exception):  # noqa: N818 - an outcome that the caller turns into an error for the user
    """No address gave the file.

    Attributes:
        reason: what went wrong at each.
        unreachable: whether no server was reached at all.
    """

    def __init__(self, reasons: list[tuple[str, Fault]]) -> None:
        self.unreachable = all(fault.kind == "unreachable" for _, fault in reasons)
        self.reason = "; ".join(f"{url}: {fault.reason}" for url, fault in reasons)
        super().__init__(self.reason)


def download(
    file: RemoteFile,
    target: Path,
    client: Client,
    *,
    sha256: str | None = None,
    retry: RetryConfig,
    rng: random.Random,
    stop: threading.Event,
    on_bytes: OnBytes | None = None,
) -> Downloaded:
    """Download a file, going on where an earlier attempt ended.

    Args:
        file: what, and from where.
        target: final name; it appears only when the file is complete and checked.
        client: makes the requests.
        sha256: published checksum, if it is known from elsewhere than the catalogue.
        retry: patience.
        rng: draws the waits.
        stop: ends the download early when set.
        on_bytes: hears of progress.

    Raises:
        AllMirrorsFailed: no address gave it.
        DiskFullError: it does not fit; what was transferred is kept.
        InterruptedFetchError: `stop` was set; what was transferred is kept.
    """
    transfer = _Transfer(file, target, client, sha256 or file.published.sha256, retry, stop, on_bytes)
    reasons = []
    with transfer:
        for url in file.urls:
            failures, furthest = 0, transfer.partial.bytes
            while True:
                try:
                    return transfer.attempt(url)
                except Fault as fault:
                    transfer.check_stop()
                    last = fault
                # A connection that breaks again and again but brings new bytes each time gets there in the end.
                failures = 0 if transfer.partial.bytes > furthest else failures + 1
                furthest = max(furthest, transfer.partial.bytes)
                limit = retry.attempts_unreachable if last.kind == "unreachable" else retry.attempts
                if last.kind in ("permanent", "corrupt") or failures >= limit:
                    reasons.append((url, last))
                    break
                wait = retry.wait_s(max(failures, 1), rng)
                if stop.wait(max(wait, last.retry_after_s or 0.0)):
                    transfer.check_stop()
    raise AllMirrorsFailed(reasons)


class _Transfer:
    """State of one download over all its attempts."""

    def __init__(
        self,
        file: RemoteFile,
        target: Path,
        client: Client,
        sha256: str | None,
        retry: RetryConfig,
        stop: threading.Event,
        on_bytes: OnBytes | None,
    ) -> None:
        self.file = file
        self.client = client
        self.sha256 = sha256
        self.retry = retry
        self.stop = stop
        self.on_bytes = on_bytes or (lambda done, total: None)
        self.partial = PartialFile(target)
        self._stored = file.path.endswith(_PACKED)

    def __enter__(self) -> _Transfer:
        with self._named_disk_errors():
            self.partial.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.partial.close()

    def check_stop(self) -> None:
        """Raise if the download is to end."""
        if self.stop.is_set():
            raise InterruptedFetchError(f"{self.file.path}: stopped after {self.partial.bytes:,} bytes, which are kept")

    def attempt(self, url: str) -> Downloaded:
        """Ask once for what is missing.

        Raises:
            Fault: it did not come, or not right.
        """
        self.check_stop()
        resumed = self._may_resume(url)
        headers = {"Accept-Encoding": "gzip" if self._stored else "identity"}
        if resumed:
            assert self.partial.version is not None
            headers["Range"] = f"bytes={self.partial.bytes}-"
            condition = self.partial.version.if_range if self.partial.version.url == url else None
            if condition:
                headers["If-Range"] = condition
        with self.client.get(url, headers) as response:
            if response.status_code == 416:
                self._answer_416(response, resumed)
            else:
                resumed = self._line_up(response, url, resumed)
                self._receive(response)
        with self._named_disk_errors():
            return self._check(response, resumed)

    def _may_resume(self, url: str) -> bool:
        """Whether the bytes that are there can be the beginning of what this address holds.

        From the same address the server (If-Range) and `same_content` decide. From another mirror, only a published
        checksum can tell in the end whether the halves fit together.
        """
        version = self.partial.version
        return version is not None and self.partial.bytes > 0 and (version.url == url or self.sha256 is not None)

    def _answer_416(self, response: Any, asked: bool) -> None:
        """Nothing after the last byte: either everything is there, or the file became shorter."""
        match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        version = self.partial.version
        if not asked or version is None or match is None or int(match[1]) != self.partial.bytes:
            self._start_again("the file on the server is another one now")
        if not version.same_content(_version(response, version.url, int(match[1]))):
            self._start_again("the file on the server is another one now")
        self._check_size(self.partial.bytes)

    def _line_up(self, response: Any, url: str, asked: bool) -> bool:
        """Bring the partial file to where the answer begins; returns whether it is a continuation."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity" and not self._stored:
            raise Fault("permanent", f"the server sent a re-encoded form ({encoding}) instead of the published file")
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise Fault("permanent", "the server sent a web page instead of the file (a login or a notice, perhaps)")
        if response.status_code == 200:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            if total is None and not chunked and self.sha256 is None:
                raise Fault("permanent", "the server does not tell the size, so a cut connection could not be noticed")
            self._check_size(total)
            self._check_room(total)
            with self._named_disk_errors():
                self.partial.begin(_version(response, url, total))
            return False
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        version = self.partial.version
        if not asked or version is None or match is None or int(match[1]) != self.partial.bytes:
            self._start_again("the server sent another part of the file than was asked for")
        total = None if match[3] == "*" else int(match[3])
        found = _version(response, url, total)
        # Of another mirror only the size can be compared; the checksum at the end decides.
        expected = version if version.url == url else Version(url, total_bytes=version.total_bytes)
        if not expected.same_content(found):
            self._start_again("the file on the server is another one now")
        self._check_size(total)
        self._check_room(total)
        with self._named_disk_errors():
            self.partial.go_on(found)
        return True

    def _start_again(self, reason: str) -> NoReturn:
        with self._named_disk_errors():
            self.partial.begin(Version(""))
        raise Fault("temporary", reason)

    def _check_size(self, total: int | None) -> None:
        size = self.file.published.size_bytes
        if size is not None and total is not None and total != size:
            raise Fault("corrupt", f"{total:,} bytes, but the published file has {size:,}")

    def _check_room(self, total: int | None) -> None:
        free = shutil.disk_usage(self.partial.target.parent).free - self.retry.disk_reserve_bytes
        missing = 0 if total is None else total - self.partial.bytes
        if missing > free:
            raise self._disk_full(f"{missing:,} bytes are missing and {max(free, 0):,} are free")

    def _receive(self, response: Any) -> None:
        """Write the body."""
        version = self.partial.version
        assert version is not None
        total = version.total_bytes
        config = self.client.config
        window_start, window_bytes = time.monotonic(), self.partial.bytes
        self.on_bytes(self.partial.bytes, total)
        while total is None or self.partial.bytes < total:
            try:
                with self.client.named_faults():
                    data = response.raw.read1(_READ_BYTES, decode_content=False)
            except Fault as fault:
                raise self._broken_off(fault.reason) from fault
            if self.stop.is_set():
                self.check_stop()
            if not data:
                break
            if total is not None and self.partial.bytes + len(data) > total:
                raise Fault("temporary", "the server sent more than it announced")
            with self._named_disk_errors():
                self.partial.write(data)
            self.on_bytes(self.partial.bytes, total)
            now = time.monotonic()
            if now - window_start >= config.slow_window_s:
                rate = (self.partial.bytes - window_bytes) / (now - window_start)
                if rate < config.slow_bytes_per_s:
                    raise Fault("temporary", f"too slow: {rate:,.0f} bytes/s over {now - window_start:.0f} s")
                window_start, window_bytes = now, self.partial.bytes
        if total is None:
            self.on_bytes(self.partial.bytes, self.partial.bytes)
        elif self.partial.bytes < total:
            raise self._broken_off("the connection was cut")

    def _broken_off(self, reason: str) -> Fault:
        version = self.partial.version
        total = None if version is None else version.total_bytes
        of_all = "" if total is None else f" of {total:,}"
        return Fault("temporary", f"{reason}, after {self.partial.bytes:,}{of_all} bytes")

    def _check(self, response: Any, resumed: bool) -> Downloaded:
        """Compare with what was published; give the file its name, or put it aside."""
        version = self.partial.version
        assert version is not None
        sha256, md5 = self.partial.digests()
        server_md5 = _md5_of_whole_file(response)
        self._check_size(self.partial.bytes)
        if self.sha256 is not None and sha256 != self.sha256:
            problem = f"wrong checksum: SHA-256 is {sha256}, published is {self.sha256}"
        elif self.sha256 is None and server_md5 is not None and server_md5 != md5:
            problem = f"wrong checksum: MD5 is {md5.hex()}, the server announced {server_md5.hex()}"
        else:
            self.partial.finish()
            verified = "size" if server_md5 is None else "md5 of the server"
            return Downloaded(
                version, self.partial.bytes, sha256, "published sha256" if self.sha256 is not None else verified
            )
        if resumed:
            # The earlier bytes may be at fault: once more from the beginning, before the mirror is blamed.
            self._start_again(f"{problem} (after going on from an earlier part; it is downloaded anew)")
        aside = self.partial.quarantine()
        self.partial.open()
        raise Fault("corrupt", f"{problem}; the bytes were put aside as {aside.name}")

    @contextlib.contextmanager
    def _named_disk_errors(self) -> Any:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise self._disk_full(error.strerror or "no space left") from error
            raise

    def _disk_full(self, detail: str) -> DiskFullError:
        return DiskFullError(
            f"{self.partial.target}: the disk is full ({detail}); what was transferred is kept\n"
            "  what to do: free space, or choose another folder with --to, and run the command again: it goes on "
            "where it stopped"
        )


def _version(response: Any, url: str, total: int | None = None) -> Version:
    return Version(
        url,
        response.headers.get("ETag", ""),
        response.headers.get("Last-Modified", ""),
        total,
    )


def _md5_of_whole_file(response: Any) -> bytes | None:
    """MD5 of the stored file, where a store announces it.

    Google sends ``x-goog-hash``, Azure ``x-ms-blob-content-md5``, others ``Content-MD5``. The last is that of the body,
    so it says nothing of the whole file when only a part was sent.
    """
    found = re.search(r"md5=([A-Za-z0-9+/]+=*)", response.headers.get("x-goog-hash", ""))
    encoded = found[1] if found else response.headers.get("x-ms-blob-content-md5")
    if encoded is None and response.status_code == 200:
        encoded = response.headers.get("Content-MD5")
    try:
        digest = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == 16 else None
