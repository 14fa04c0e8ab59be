"""What can go wrong with a download, told so that the user knows what to do next."""

from __future__ import annotations

__all__ = [
    "DiskFullError",
    "DownloadFailedError",
    "FetchError",
    "InterruptedFetchError",
    "LicenceNotAcceptedError",
    "ManualDownloadError",
    "OfflineError",
]


class FetchError(ValueError):
    """A download that did not happen; the message says what was expected and what to do."""


class LicenceNotAcceptedError(FetchError):
    """The licence of the data has to be accepted first.

    Attributes:
        licence: its name, as ``--accept-licence`` takes it.
        url: its text.
    """

    def __init__(self, licence: str, title: str, url: str) -> None:
        self.licence = licence
        self.url = url
        super().__init__(
            f"the licence of this trace has not been accepted: {title}\n"
            f"  read it: {url}\n"
            f"  what to do: if you agree, run the command again with --accept-licence {licence}"
        )


class ManualDownloadError(FetchError):
    """The publisher offers no files for download without an account, a form or a query; the message has the steps."""


class OfflineError(FetchError):
    """No server could be reached; the message lists what to download by hand and where to put it."""


class DiskFullError(FetchError):
    """The disk has no room for the files, or ran out of it; partial files are kept."""


class InterruptedFetchError(FetchError):
    """The fetch was stopped from outside; partial files are kept."""


class DownloadFailedError(FetchError):
    """Some files could not be downloaded.

    Attributes:
        reasons: for each file, by its path in the trace, what went wrong at every mirror.
    """

    def __init__(self, reasons: dict[str, str], advice: str) -> None:
        self.reasons = reasons
        shown = list(reasons.items())[:10]
        lines = "".join(f"\n  {path}: {reason}" for path, reason in shown)
        more = f"\n  ... and {len(reasons) - len(shown)} more" if len(reasons) > len(shown) else ""
        count = "1 file was" if len(reasons) == 1 else f"{len(reasons):,} files were"
        super().__init__(f"{count} not downloaded:{lines}{more}\n  what to do: {advice}")
