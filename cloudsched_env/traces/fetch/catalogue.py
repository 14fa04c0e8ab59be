"""What a publisher offers: files by table and part, their sizes and checksums, the licence.

A dataset is declared, never discovered: local paths come from here and from nowhere else, so that no server can
choose where a file is written. `cloudsched_env.traces.fetch.datasets` holds the declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from cloudsched_env.traces.fetch.errors import FetchError

__all__ = [
    "Dataset",
    "Licence",
    "ManualSource",
    "PublishedFile",
    "RemoteFile",
    "RemoteTable",
    "check_path",
    "parse_parts",
    "plain_name",
    "select",
    "url_of",
]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")


def check_path(path: str) -> str:
    """The path itself, if it names a file below the folder of a trace on every system.

    Raises:
        ValueError: it is empty, absolute, leaves the folder, or has characters that some system treats specially.
    """
    parts = path.split("/")
    if not all(_NAME.fullmatch(part) and part not in (".", "..") for part in parts):
        raise ValueError(
            f"not a safe path for a published file: {path!r}; expected names of letters, digits, '_', '.', '+' and "
            "'-', separated by '/'"
        )
    return path


@dataclass(frozen=True)
class Licence:
    """Terms of a trace.

    Attributes:
        name: short name, which ``--accept-licence`` takes.
        title: full name, with the restriction that matters most.
        url: where its text is.
        acceptance_required: whether the publisher binds the download to the terms, so that they have to be accepted.
    """

    name: str
    title: str
    url: str
    acceptance_required: bool


@dataclass(frozen=True)
class PublishedFile:
    """Size and checksum of one file, where they are published.

    Attributes:
        sha256: lower-case hexadecimal digest.
        size_bytes: exact size.
    """

    sha256: str | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256: expected 64 lower-case hexadecimal digits, got {self.sha256!r}")


@dataclass(frozen=True)
class RemoteTable:
    """The files of one table.

    Attributes:
        name: what ``--tables`` calls it.
        path: path of its file below a mirror's address and below the local folder; with ``{part:05d}`` or the like
            if the table is split.
        parts: numbers of the first and the last part, None for a single file.
        default: whether it is fetched when no tables are named.
        about_bytes: size of one file as far as it is known (a mean, or rounded by the publisher).
        files: exact size and checksum by part number (0 for a single file).
        note: what to know before fetching it.
    """

    name: str
    path: str
    parts: tuple[int, int] | None = None
    default: bool = True
    about_bytes: int | None = None
    files: tuple[tuple[int, PublishedFile], ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        for number in self.parts or (0,):
            check_path(self.path_of(number))

    def numbers(self) -> range:
        """Part numbers; a single file is number 0."""
        return range(1) if self.parts is None else range(self.parts[0], self.parts[1] + 1)

    def path_of(self, number: int) -> str:
        """Path of a part."""
        return self.path.format(part=number)

    def published(self, number: int) -> PublishedFile:
        """What is published about a part."""
        return dict(self.files).get(number, PublishedFile())


@dataclass(frozen=True)
class ManualSource:
    """A trace that cannot be downloaded by a program.

    Attributes:
        reason: why not.
        steps: what to do, in order; ``{folder}`` stands for the local folder.
        layout: files that have to be in the folder afterwards.
    """

    reason: str
    steps: tuple[str, ...]
    layout: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """One published trace.

    Attributes:
        name: what the command line calls it.
        title: full name.
        page: the publisher's page.
        folder: local folder, unless another is given.
        licence: terms.
        mirrors: https addresses that hold the layout, the official one first.
        tables: files by table.
        checksums: path of a published list of SHA-256 sums (as of ``sha256sum``), which is fetched and used.
        manual: how to get it by hand; then there are no mirrors and no tables.
        after: what to do with the files before the import, if anything.
        citation: how to cite it.
    """

    name: str
    title: str
    page: str
    folder: str
    licence: Licence
    mirrors: tuple[str, ...] = ()
    tables: tuple[RemoteTable, ...] = ()
    checksums: str | None = None
    manual: ManualSource | None = None
    after: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        if (self.manual is None) == (not self.mirrors or not self.tables):
            raise ValueError(f"{self.name}: expected either mirrors and tables, or a manual source")
        check_path(self.folder)
        if self.checksums is not None:
            check_path(self.checksums)


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        path: path below the local folder.
        table: its table.
        urls: where it is, in the order in which they are tried.
        published: exact size and checksum, where published.
        about_bytes: expected size, exact or not; None if unknown.
        part: part number, None for a single file.
    """

    path: str
    table: str
    urls: tuple[str, ...]
    published: PublishedFile = PublishedFile()
    about_bytes: int | None = None
    part: int | None = None


def plain_name(name: str) -> str:
    """A name of a trace without what people write in different ways: case, hyphens, underscores."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def url_of(mirror: str, path: str) -> str:
    """Address of a file below a mirror's address."""
    return f"{mirror.rstrip('/')}/{quote(path)}"


def parse_parts(text: str) -> tuple[int, ...]:
    """Part numbers from ``"0-13"`` or ``"0,5,7-9"``, sorted, without repetition.

    Raises:
        FetchError: the text is of another form.
    """
    numbers: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", piece)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise FetchError(f"--parts {text}: expected numbers and ascending ranges, such as 0-13 or 0,5,7-9")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(numbers))


def select(
    dataset: Dataset, *, tables: Iterable[str] | None = None, parts: str | None = None, mirrors: Iterable[str] = ()
) -> tuple[RemoteFile, ...]:
    """Files of a dataset.

    Args:
        dataset: what is published.
        tables: names of tables; ``["all"]`` for every one; by default those that the import needs.
        parts: part numbers, as `parse_parts` takes them; tables with a single file ignore them.
        mirrors: further addresses that hold the published layout, tried before the dataset's own.

    Raises:
        FetchError: a table or part does not exist, or no chosen table has parts.
    """
    known = {table.name: table for table in dataset.tables}
    names = [table.name for table in dataset.tables if table.default] if tables is None else list(dict.fromkeys(tables))
    if names == ["all"]:
        names = list(known)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise FetchError(
            f"{dataset.name}: no such table: {', '.join(unknown) or '(none named)'}; expected all or some of: "
            f"{', '.join(known)}"
        )
    chosen = [known[name] for name in names]
    wanted = None if parts is None else parse_parts(parts)
    split = [table for table in chosen if table.parts is not None]
    if wanted is not None and not split:
        raise FetchError(f"--parts {parts}: the chosen tables of {dataset.name} are single files; leave --parts out")
    addresses = (*mirrors, *dataset.mirrors)
    files = []
    for table in chosen:
        numbers: Iterable[int] = table.numbers()
        if wanted is not None and table.parts is not None:
            outside = [number for number in wanted if number not in table.numbers()]
            if outside:
                raise FetchError(
                    f"--parts {parts}: {table.name} has no part {outside[0]}; expected parts {table.parts[0]} to "
                    f"{table.parts[1]}"
                )
            numbers = wanted
        for number in numbers:
            path, published = table.path_of(number), table.published(number)
            about = published.size_bytes if published.size_bytes is not None else table.about_bytes
            urls = tuple(url_of(mirror, path) for mirror in addresses)
            part = None if table.parts is None else number
            files.append(RemoteFile(path, table.name, urls, published, about, part))
    return tuple(files)
