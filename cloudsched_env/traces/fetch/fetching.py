"""Carry out a plan: licence, checksums, room on the disk, several files at a time, manifest."""

from __future__ import annotations

import contextlib
import random
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from cloudsched_env.traces.fetch.catalogue import RemoteFile, url_of
from cloudsched_env.traces.fetch.checksums import Checksums, sha256_of
from cloudsched_env.traces.fetch.download import AllMirrorsFailed, Downloaded, RetryConfig, download
from cloudsched_env.traces.fetch.errors import (
    DiskFullError,
    DownloadFailedError,
    FetchError,
    LicenceNotAcceptedError,
    ManualDownloadError,
    OfflineError,
)
from cloudsched_env.traces.fetch.instructions import by_hand, describe_bytes, manual_steps
from cloudsched_env.traces.fetch.manifest import FetchedFile, Manifest
from cloudsched_env.traces.fetch.plan import Plan, is_unchanged
from cloudsched_env.traces.fetch.transport import Client, TransportConfig, check_address

__all__ = ["FetchConfig", "FetchReport", "OnProgress", "fetch", "needs_acceptance"]

# on_progress(stage, path, bytes done, size or None), from several threads.
OnProgress = Callable[[Literal["check", "download"], str, int, "int | None"], None]

_LOCK_NAME = ".fetch.lock"
_SAVE_EVERY_FILES = 20


@dataclass(frozen=True)
class FetchConfig:
    """How to fetch.

    Attributes:
        jobs: files at a time.
        recheck: hash files again that the manifest lists as unchanged.
        unverified: go on without the published checksums where the publisher's list cannot be had.
        seed: of the random waits between attempts.
        transport: limits of a request.
        retry: patience.
    """

    jobs: int = 4
    recheck: bool = False
    unverified: bool = False
    seed: int = 0
    transport: TransportConfig = field(default_factory=TransportConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"FetchConfig.jobs: expected at least 1, got {self.jobs}")


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did.

    Attributes:
        downloaded: paths of files that came over the network, in the order of the plan.
        present: paths of files that were there.
        bytes: size of all files of the plan.
        not_compared: paths for which nothing is published that they could be compared with.
    """

    downloaded: tuple[str, ...]
    present: tuple[str, ...]
    bytes: int
    not_compared: tuple[str, ...]


def needs_acceptance(plan: Plan, accepted: Collection[str] = ()) -> bool:
    """Whether the licence still has to be accepted for the folder of this plan."""
    licence = plan.dataset.licence
    if not licence.acceptance_required or licence.name in accepted:
        return False
    return not Manifest(plan.folder, plan.dataset).accepted(licence)


def fetch(
    plan: Plan,
    *,
    accepted: Collection[str] = (),
    config: FetchConfig | None = None,
    on_progress: OnProgress | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> FetchReport:
    """Download what a plan lacks and check what is there.

    Args:
        plan: from `cloudsched_env.traces.fetch.plan.make_plan`.
        accepted: names of accepted licences.
        config: how.
        on_progress: hears of progress, from several threads.
        now: the clock, for the manifest.

    Raises:
        ManualDownloadError: the trace cannot be had by a program; the message has the steps.
        LicenceNotAcceptedError: the licence has not been accepted.
        OfflineError: no server can be reached; the message lists what to download by hand.
        DiskFullError: the files do not fit.
        DownloadFailedError: some files failed; the others are complete.
        KeyboardInterrupt: after what was transferred has been kept.
    """
    if plan.dataset.manual is not None:
        raise ManualDownloadError(manual_steps(plan.dataset, plan.folder))
    licence = plan.dataset.licence
    if needs_acceptance(plan, accepted):
        raise LicenceNotAcceptedError(licence.name, licence.title, licence.url)
    for mirror in plan.selection.mirrors:
        check_mirror(mirror)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _locked(plan.folder):
        manifest = Manifest(plan.folder, plan.dataset)
        if licence.name in accepted:
            manifest.accept(licence, _stamp(now))
        run = _Run(plan, manifest, config or FetchConfig(), on_progress or _ignore, now)
        try:
            return run.work()
        finally:
            manifest.save()


def check_mirror(url: str) -> None:
    """Refuse an address that cannot be a mirror.

    Raises:
        FetchError: it is not https (plain http is for this machine only), or has a query.
    """
    from cloudsched_env.traces.fetch.transport import Fault

    try:
        check_address(url)
    except Fault as fault:
        raise FetchError(f"--mirror {fault.reason}") from fault
    if "?" in url or "#" in url:
        raise FetchError(f"--mirror {url}: expected an address to which paths of files can be appended")


class _Run:
    """One fetch, from the checksums to the report."""

    def __init__(
        self, plan: Plan, manifest: Manifest, config: FetchConfig, on_progress: OnProgress, now: Callable[[], datetime]
    ) -> None:
        self.plan = plan
        self.manifest = manifest
        self.config = config
        self.on_progress = on_progress
        self.now = now
        self.stop = threading.Event()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Made when the network is needed: checking files that are there needs neither network nor requests."""
        if self._client is None:
            self._client = Client(self.config.transport)
        return self._client

    def work(self) -> FetchReport:
        """Do it."""
        sums = self._checksums()
        failed: dict[str, str] = {}
        missing = []
        for file in self.plan.files:
            target = self.plan.folder / file.path
            if not target.is_file():
                self.manifest.forget(file.path)
                missing.append(file)
            elif problem := self._check_present(file, target, self._published(file, sums)):
                failed[file.path] = problem
        downloaded: set[str] = set()
        if missing:
            self._check_room(missing)
            failed.update(self._download_all(missing, sums, downloaded))
        if failed:
            raise DownloadFailedError(
                failed,
                f"run the command again to try once more: {self.plan.command}\n"
                f"  if it stays so, see whether the publisher moved the files: {self.plan.dataset.page}",
            )
        entries = {file.path: self.manifest.get(file.path) for file in self.plan.files}
        return FetchReport(
            downloaded=tuple(path for path in entries if path in downloaded),
            present=tuple(path for path in entries if path not in downloaded),
            bytes=sum(entry.bytes for entry in entries.values() if entry),
            not_compared=tuple(path for path, entry in entries.items() if entry and entry.verified_by == "size"),
        )

    def _published(self, file: RemoteFile, sums: Checksums | None) -> str | None:
        return file.published.sha256 or (None if sums is None else sums.find(file.path))

    def _checksums(self) -> Checksums | None:
        """The published list, fetched if it is not there."""
        name = self.plan.dataset.checksums
        if name is None:
            return None
        target = self.plan.folder / name
        if not target.is_file():
            # The publisher first, here: the sums are what a mirror of somebody else is checked with.
            mirrors = (*self.plan.dataset.mirrors, *self.plan.selection.mirrors)
            file = RemoteFile(name, "checksums", tuple(url_of(mirror, name) for mirror in mirrors))
            try:
                self._download(file, None)
            except AllMirrorsFailed as error:
                if error.unreachable:
                    raise self._offline(error) from error
                if self.config.unverified:
                    return None
                raise DownloadFailedError(
                    {name: error.reason},
                    "without this list the files cannot be compared with what was published; try again later, or "
                    "accept that with --unverified",
                ) from error
        return Checksums(target.read_text(encoding="utf-8", errors="replace"), str(target))

    def _check_present(self, file: RemoteFile, target: Path, published: str | None) -> str | None:
        """Compare a file that is there with what is published; returns what is wrong with it."""
        entry = self.manifest.get(file.path)
        unchanged = is_unchanged(target, file.path, self.manifest)
        if entry is not None and unchanged and not self.config.recheck and published in (None, entry.sha256):
            return None
        size, done = target.stat().st_size, 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            self.on_progress("check", file.path, done, size)

        sha256 = sha256_of(target, on_bytes)
        expected = published or (entry.sha256 if entry else None)
        wrong_size = file.published.size_bytes not in (None, size)
        if wrong_size or expected not in (None, sha256):
            source = "published" if published else "recorded when it was fetched"
            return (
                f"the file that is there differs: SHA-256 is {sha256}, {source} is {expected} "
                f"(move or delete {target} to download it)"
                if not wrong_size
                else f"the file that is there has {size:,} bytes, published are {file.published.size_bytes:,} "
                f"(move or delete {target} to download it)"
            )
        if entry is None or not unchanged:
            verified = "published sha256" if published else "size"
            self.manifest.add(file.path, self._entry(target, sha256, verified, "", "", ""))
        return None

    def _entry(
        self, target: Path, sha256: str, verified_by: str, url: str, etag: str, last_modified: str
    ) -> FetchedFile:
        found = target.stat()
        return FetchedFile(
            found.st_size, sha256, verified_by, url, _stamp(self.now), found.st_mtime_ns, etag, last_modified
        )

    def _check_room(self, missing: list[RemoteFile]) -> None:
        needed = self.plan.missing_bytes
        free = shutil.disk_usage(self.plan.folder).free - self.config.retry.disk_reserve_bytes
        if needed > free:
            raise DiskFullError(
                f"{self.plan.folder}: about {describe_bytes(needed)} are to be downloaded and "
                f"{describe_bytes(max(free, 0))} are free\n"
                "  what to do: free space, choose another folder with --to, or fewer files with --tables or --parts"
            )

    def _offline(self, error: AllMirrorsFailed) -> OfflineError:
        files = [file for file in self.plan.files if not (self.plan.folder / file.path).is_file()]
        return OfflineError(f"no server could be reached: {error.reason}\n{by_hand(self.plan, files)}")

    def _download(self, file: RemoteFile, sha256: str | None) -> Downloaded:
        return download(
            file,
            self.plan.folder / file.path,
            self.client,
            sha256=sha256,
            retry=self.config.retry,
            rng=random.Random(f"{self.config.seed} {file.path}"),
            stop=self.stop,
            on_bytes=lambda done, total: self.on_progress("download", file.path, done, total),
        )

    def _fetch_one(self, file: RemoteFile, sha256: str | None) -> None:
        result = self._download(file, sha256)
        version = result.version
        target = self.plan.folder / file.path
        self.manifest.add(
            file.path,
            self._entry(target, result.sha256, result.verified_by, version.url, version.etag, version.last_modified),
        )

    def _download_all(self, missing: list[RemoteFile], sums: Checksums | None, downloaded: set[str]) -> dict[str, str]:
        """Several at a time; returns what failed, by path."""
        failed: dict[str, str] = {}
        client = self.client  # made here, so that a missing package is told before threads start
        assert client is not None
        with ThreadPoolExecutor(self.config.jobs, thread_name_prefix="fetch") as pool, self._stopping():
            pending: dict[Future[None], RemoteFile] = {
                pool.submit(self._fetch_one, file, self._published(file, sums)): file for file in missing
            }
            try:
                while pending:
                    # The time limit lets an interrupt from the keyboard through on every system.
                    for future in wait(pending, timeout=0.5, return_when=FIRST_COMPLETED).done:
                        file = pending.pop(future)
                        try:
                            future.result()
                        except AllMirrorsFailed as error:
                            if error.unreachable:
                                raise self._offline(error) from error
                            failed[file.path] = error.reason
                            continue
                        downloaded.add(file.path)
                        if len(downloaded) % _SAVE_EVERY_FILES == 0:
                            self.manifest.save()
            except BaseException:
                for future in pending:
                    future.cancel()
                raise
        return failed

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Ends every transfer when the block is left by an error, an interrupt from the keyboard included."""
        try:
            yield
        except BaseException:
            self.stop.set()
            if self._client is not None:
                self._client.abort()
            raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps a second fetch out of the folder; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows, where nothing keeps it out
        yield
        return
    with open(folder / _LOCK_NAME, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FetchError(
                f"{folder}: another fetch is at work in this folder\n  what to do: wait for it, or choose another "
                "folder with --to"
            ) from error
        yield


def _stamp(now: Callable[[], datetime]) -> str:
    return now().astimezone(timezone.utc).isoformat(timespec="seconds")


def _ignore(*_: object) -> None:
    pass
