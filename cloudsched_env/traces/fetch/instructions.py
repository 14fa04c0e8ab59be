"""What a person has to do where a program cannot: without a network, or with a form, an account or a query between."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloudsched_env.traces.fetch.catalogue import Dataset, RemoteFile, plain_name, url_of
from cloudsched_env.traces.fetch.errors import FetchError
from cloudsched_env.traces.fetch.plan import Plan

__all__ = ["by_hand", "curl_commands", "describe_bytes", "import_command", "manual_steps"]


def describe_bytes(count: int | None) -> str:
    """A size for people; ``unknown`` for None."""
    if count is None:
        return "unknown"
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}" if count < 999.5 * limit else f"{count / limit:,.0f} {unit}"
    return f"{count} bytes"


def import_command(dataset: Dataset, folder: Path) -> str:
    """The command that turns the files into a task table, or how to see which formats can be imported."""
    from cloudsched_env.traces.formats import FORMATS

    for reader in FORMATS:
        if plain_name(reader.name) == plain_name(dataset.name):
            return f"cloudsched traces import {reader.name} {shlex.quote(str(folder))} -o {reader.name}.parquet"
    return f"cloudsched traces formats lists the readers of this version; it has none called {dataset.name}"


def manual_steps(dataset: Dataset, folder: Path) -> str:
    """How to get a trace that no program may download.

    Raises:
        FetchError: it can be downloaded.
    """
    if dataset.manual is None:
        raise FetchError(f"{dataset.name} can be downloaded: cloudsched traces fetch {dataset.name}")
    place = shlex.quote(str(folder))
    lines = [
        f"{dataset.title} cannot be downloaded by this command: {dataset.manual.reason}",
        f"  page: {dataset.page}",
        f"  licence: {dataset.licence.title}, {dataset.licence.url}",
        f"  mkdir -p {place}",
    ]
    for number, step in enumerate(dataset.manual.steps, start=1):
        first, *more = step.replace("{folder}", place).split("\n")
        lines += [f"  {number}. {first}", *(f"     {line}" for line in more)]
    lines.append(f"  afterwards {folder} holds:")
    lines += [f"     {line}" for line in dataset.manual.layout]
    lines.append(f"  next: {import_command(dataset, folder)}")
    return "\n".join(lines)


def by_hand(plan: Plan, files: Iterable[RemoteFile]) -> str:
    """What to download on another machine, from where, where to put it, and what comes next.

    Args:
        plan: what was asked for.
        files: those that are missing.
    """
    files, dataset, folder = list(files), plan.dataset, plan.folder
    lines = [f"what to download by hand ({dataset.title}, {len(files):,} files):"]
    if plan.lacks_checksums and dataset.checksums is not None:
        lines.append(f"  {url_of(dataset.mirrors[0], dataset.checksums)}\n    -> {folder / dataset.checksums}")
    for run in _runs(files):
        size = sum(file.about_bytes for file in run if file.about_bytes is not None)
        rough = "about " if any(file.published.size_bytes is None for file in run) else ""
        told = f"{rough}{describe_bytes(size)}" if size else "size unknown"
        if len(run) == 1:
            (file,) = run
            sha256 = f", sha256 {file.published.sha256}" if file.published.sha256 else ""
            lines.append(f"  {file.urls[0]}\n    -> {folder / file.path} ({told}{sha256})")
        else:
            lines.append(f"  {run[0].urls[0]}\n    to {run[-1].urls[0]}")
            lines.append(f"    -> {folder / run[0].path}\n    to {folder / run[-1].path} ({len(run):,} files, {told})")
    lines.append("the same with curl:")
    lines += [f"  {line}" for line in curl_commands(plan, files)]
    if dataset.mirrors[1:]:
        lines.append(f"other mirrors: {', '.join(dataset.mirrors[1:])}")
    lines.append("next, when the files are there (checks them, which needs no network):")
    lines.append(f"  {plan.command}")
    if dataset.after:
        lines.append(f"  {dataset.after}")
    lines.append(f"  {import_command(dataset, folder)}")
    return "\n".join(lines)


def curl_commands(plan: Plan, files: Iterable[RemoteFile]) -> Iterator[str]:
    """One command of curl for each run of consecutive parts."""
    common = "curl --fail --location --create-dirs --remote-time --continue-at -"
    if plan.lacks_checksums and plan.dataset.checksums is not None:
        target = shlex.quote(str(plan.folder / plan.dataset.checksums))
        yield f"{common} -o {target} {shlex.quote(url_of(plan.dataset.mirrors[0], plan.dataset.checksums))}"
    for run in _runs(list(files)):
        url, target = run[0].urls[0], str(plan.folder / run[0].path)
        if len(run) > 1:
            # curl counts through [00000-00013]; #1 stands for the number.
            numbers = [_NUMBER.search(file.path) for file in (run[0], run[-1])]
            counted = "-".join(number[1] for number in numbers if number)
            url = _NUMBER.sub(f"[{counted}]", url)
            target = str(plan.folder / _NUMBER.sub("#1", run[0].path))
        yield f"{common} -o {shlex.quote(target)} {shlex.quote(url)}"


# Where publishers put the part number: part-00003-of-00500.csv.gz, vm_cpu_readings-file-7-of-125.csv.gz.
_NUMBER = re.compile(r"(?<=-)(\d+)(?=-of-\d+\.[^/]*$)")


def _runs(files: list[RemoteFile]) -> list[list[RemoteFile]]:
    """Files of one table with consecutive part numbers together, in order."""
    runs: list[list[RemoteFile]] = []
    for file in files:
        before = runs[-1][-1] if runs else None
        follows = (
            before is not None
            and file.part is not None
            and before.part is not None
            and before.table == file.table
            and file.part == before.part + 1
            and _NUMBER.search(file.path) is not None
        )
        if follows:
            runs[-1].append(file)
        else:
            runs.append([file])
    return runs
