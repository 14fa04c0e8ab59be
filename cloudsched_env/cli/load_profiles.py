"""What ``cloudsched traces fit | generate | compare`` do with load tables and load profiles."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from cloudsched_env.cli.trace_parts import part_of
from cloudsched_env.whole_file import write_whole

if TYPE_CHECKING:
    from cloudsched_env.traces.load_table import LoadTable
    from cloudsched_env.workload.load_comparison import LoadSample

__all__ = ["compare_load_tables", "fit_load_table", "generate_from_load_profile", "is_load", "refuse_options"]

_MOST_DRAWS, _LEAST_DRAWS = 100, 4  # of a profile that is compared
_DRAWN_INTERVALS = 5_000_000  # of all disks and draws together, which bounds the draws


def refuse_options(context: typer.Context, names: Sequence[str], what: str) -> None:
    """Refuse options that were given and mean nothing here.

    Args:
        context: of the command.
        names: the options as parameters.
        what: what they mean nothing for.

    Raises:
        ValueError: if one of them was given.
    """
    given = [
        "--" + name.replace("_", "-")
        for name in names
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    ]
    if given:
        raise ValueError(f"{', '.join(given)} means nothing for {what}: leave it out")


def is_load(what: str) -> bool:
    """Whether a file is a load table, or a name or file a load profile."""
    from cloudsched_env.traces.load_table import is_load_table
    from cloudsched_env.workload.load_profile import is_load_profile

    return is_load_profile(what) or (os.path.isfile(what) and is_load_table(what))


def _span(table: LoadTable) -> tuple[float, float]:
    """The covered time; the last interval may end after the last request."""
    return table.metadata.span_start_s, table.metadata.span_end_s


def fit_load_table(file: Path, output: Path, name: str, part: str, source: str | None) -> None:
    """Fit a load profile to a load table, write it, and print what it holds.

    Args:
        file: the load table.
        output: the profile, a .json file.
        name: its name.
        part: part of the table's time.
        source: where the trace comes from; by default as the table says.

    Raises:
        ValueError: if the part is unknown or has too few intervals.
    """
    from cloudsched_env.traces.load_table import load_background
    from cloudsched_env.workload.fit_load import fit_load_profile, load_series

    table = load_background(file)
    metadata = table.metadata
    series = load_series(table, part_of(_span(table), part))
    provenance = {
        "source": source or f"{metadata.title}, {metadata.data_tag}",
        "authors": metadata.citation,
        "url": metadata.url,
        "licence": f"{metadata.licence}; this file holds fitted statistics, no rows of the trace",
        "fitted_on_s": [round(series.start_s, 3), round(series.start_s + series.length_s, 3)],
        "fitted_part": part,
        "marginals": {"all": f"fitted to intervals of {series.interval_s:g} s of the trace ({metadata.data_tag})"},
        "command": f"cloudsched traces import --interval {series.interval_s:g}; cloudsched traces fit --part {part}",
    }
    data = fit_load_profile(series, name, provenance)
    write_whole(output, _profile_text(data))
    console = Console(highlight=False)
    console.print(
        f"{output}: {data['provenance']['fitted_requests']:,} requests of {_disks(data['devices'])} in "
        f"{series.length_s / 3600:.1f} h, intervals of {series.interval_s:g} s, {len(data['classes'])} classes",
        soft_wrap=True,
    )
    scales = ", ".join(f"{value:g} at {scale}" for scale, value in data["measured_dispersion"].items())
    console.print(f"variance / mean of the requests of a disk: {scales}", soft_wrap=True)
    console.print(f"next: cloudsched traces compare {file} {output} --part-a held-out", soft_wrap=True)


def generate_from_load_profile(
    name: str, output: Path, trace_format: str, hours: float, seed: int, devices: int | None
) -> None:
    """Draw requests from a load profile and write them as a load table or a block trace.

    Args:
        name: the profile.
        output: Parquet file, or folder for a published format.
        trace_format: ``"table"`` or a format of block traces.
        hours: length of the trace.
        seed: seed of everything that is drawn.
        devices: number of disks; by default as many as were fitted.

    Raises:
        ValueError: for a format of tasks or an unknown one, or what the format cannot hold.
    """
    from cloudsched_env.traces.writers import find_load_writer, write_load
    from cloudsched_env.workload.load_profile import read_load_profile
    from cloudsched_env.workload.load_stream import generate_load, write_load_table

    if trace_format != "table":
        find_load_writer(trace_format)
    profile = read_load_profile(name)
    with Console(stderr=True, highlight=False).status("drawing") as status:
        load = generate_load(profile, hours, seed, devices)
        requests = load.counts["requests"]
        status.update(f"writing {requests:,} requests")
        if trace_format == "table":
            write_load_table(load, output)
        else:
            write_load(load, trace_format, output)
    Console(highlight=False).print(
        f"{output}: {requests:,} requests of {_disks(load.devices)} in {hours:g} h, [bold]generated[/bold] from "
        f"profile {profile.name}, seed {seed}, as {trace_format}",
        soft_wrap=True,
    )


def compare_load_tables(first: str, second: str, part_a: str, part_b: str, seed: int, report: Path | None) -> None:
    """Hold a load table against another one, or against a load profile, and print it.

    Args:
        first: a load table.
        second: a load table or a load profile.
        part_a: part of the first one's time.
        part_b: part of the second one's time.
        seed: seed of what is drawn.
        report: file for all numbers, or None.

    Raises:
        ValueError: if they cannot be compared.
    """
    from cloudsched_env.cli.trace_comparison import Words, print_comparison
    from cloudsched_env.workload.load_comparison import (
        LOAD_MARGINALS,
        compare_loads,
        load_noise,
        sample_load_profile,
    )
    from cloudsched_env.workload.load_profile import is_load_profile, read_load_profile

    if not (is_load(first) and is_load(second)):
        raise ValueError(
            f"{first} and {second}: one is of tasks, the other of requests of disks; expected two of a kind"
        )
    if is_load_profile(first):
        raise ValueError(f"{first} is a load profile: give a load table as A, and the profile as B")
    one = _table_sample(first, part_a)
    baseline, chance = None, None
    if is_load_profile(second):
        stretch = one.stretches[0]
        draws = min(_MOST_DRAWS, max(_LEAST_DRAWS, _DRAWN_INTERVALS // stretch.requests.size))
        other = sample_load_profile(read_load_profile(second), stretch, draws, seed)
        chance = load_noise(other)
        if one.data_tag != "generated" and part_a in ("validation", "test", "held-out"):
            baseline = _table_sample(first, "train")
    else:
        other = _table_sample(second, part_b)
    result: dict[str, Any] = compare_loads(one, other, baseline)
    if chance:
        result["chance"] = chance
    if report:
        write_whole(report, json.dumps(result, indent=1) + "\n")
    words = Words(LOAD_MARGINALS, (("dispersion", "requests"),), f"intervals of {one.interval_s:g} s")
    print_comparison(Console(highlight=False), result, words)


def _table_sample(file: str, part: str) -> LoadSample:
    """A part of a load table."""
    from cloudsched_env.traces.load_table import load_background
    from cloudsched_env.workload.fit_load import load_series
    from cloudsched_env.workload.load_comparison import LoadSample

    table = load_background(file)
    series = load_series(table, part_of(_span(table), part))
    label = f"{Path(file).name}, {part}, {_disks(len(series.requests))}"
    return LoadSample(label, table.metadata.data_tag, (series,))


def _disks(count: int) -> str:
    return f"{count:,} disk" + ("s" if count != 1 else "")


def _profile_text(data: dict[str, Any]) -> str:
    """JSON with one class of disks a line: small, and readable in a diff."""
    return json.dumps(data, separators=(",", ":")).replace('{"share"', '\n{"share"') + "\n"
