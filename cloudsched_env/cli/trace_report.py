"""A task table on the terminal: tables with small histograms, and everything the table declares about itself."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloudsched_env.cli.bars import bar, sparkline
from cloudsched_env.traces.metadata import TraceMetadata
from cloudsched_env.traces.summary import LEVELS, arrivals_per_hour, log_histogram, quantiles, rebin, shares, skew
from cloudsched_env.traces.table import TASK_COLUMNS, TaskTable

__all__ = ["REPORT_COLUMNS", "print_declarations", "print_files", "print_report", "print_rows"]

REPORT_COLUMNS = (
    "arrival_s",
    "tenant",
    "job",
    "shard_key",
    "priority",
    "slo_class",
    "cpu_cores",
    "mem_gb",
    "duration_s",
    "duration_censored",
    "outcome",
    "instances",
    "parents",
    "gpus",
    "queue_s",
    "cpu_core_s",
    "mem_used_gb",
    "read_mb",
    "write_mb",
    "spill_mb",
    "disk_io_s",
)
"""Columns that the report looks at; a large table need not be loaded whole."""

_SPARK_WIDTH = 64
_HISTOGRAM_WIDTH = 40
_SLO_NAMES = {0: "latency-critical", 1: "normal", 2: "batch"}
_TOP_TENANTS = 10
_UNITS = {column.name: column.unit for column in TASK_COLUMNS}


def print_report(console: Console, table: TaskTable, title: str, *, list_files: bool = False) -> None:
    """Print a task table that was loaded with `REPORT_COLUMNS`.

    Args:
        console: where to.
        table: the task table.
        title: what to call it.
        list_files: also print each source file with its checksum.
    """
    metadata = table.metadata
    hours = (metadata.span_end_s - metadata.span_start_s) / 3600
    console.print(f"[bold]{escape(title)}[/bold]: {metadata.title}, [bold]{metadata.data_tag}[/bold]")
    console.print(
        f"{len(table):,} tasks of {len(np.unique(table['job'])):,} jobs, {len(table.categories['tenant']):,} tenants, "
        f"{len(table.categories['shard_key']):,} shard keys; {hours:,.2f} h "
        f"({metadata.span_start_s:,.0f} s to {metadata.span_end_s:,.0f} s), "
        f"{metadata.parts_read} of {metadata.parts_published} published parts"
    )
    console.print(f"clock: {metadata.clock}\n")
    _print_arrivals(console, table)
    _print_numbers(console, table)
    _print_use(console, table)
    _print_outcomes(console, table)
    _print_classes(console, table)
    _print_tenants(console, table)
    _print_machines(console, metadata)
    print_declarations(console, metadata)
    print_rows(console, metadata)
    print_files(console, metadata, list_files)


def _print_arrivals(console: Console, table: TaskTable) -> None:
    histogram = arrivals_per_hour(table)
    bins = rebin(histogram.counts, _SPARK_WIDTH)
    width = -(-len(histogram.counts) // _SPARK_WIDTH)
    unit = "hour" if width == 1 else f"{width} hours"
    mean = len(table) / max(1e-9, (histogram.edges[-1] - histogram.edges[0]) / 3600)
    console.print(f"[bold]arrivals[/bold] (one character: {unit}; the last one may cover less)")
    console.print(f"  {sparkline(bins.tolist())}")
    console.print(
        f"  per hour: mean {mean:,.0f}, smallest {histogram.counts.min():,}, largest {histogram.counts.max():,}\n"
    )


def _print_numbers(console: Console, table: TaskTable) -> None:
    ended = np.where(table["duration_censored"], np.nan, table["duration_s"])
    bounds = np.where(table["duration_censored"], table["duration_s"], np.nan)
    columns = {
        f"cpu ({_UNITS['cpu_cores']})": table["cpu_cores"],
        f"memory ({_UNITS['mem_gb']})": table["mem_gb"],
        f"duration ({_UNITS['duration_s']})": ended,
        f"censored ({_UNITS['duration_s']})": bounds,
    }
    grid = _grid("requests", right=("tasks", "null", *(f"p{round(100 * level)}" for level in LEVELS), "max", "mean"))
    histograms = _grid("on a log scale", right=("smallest",))
    histograms.add_column("")
    histograms.add_column("largest")
    for name, values in columns.items():
        found = quantiles(values)
        numbers = [_number(value) for value in (*found.levels, found.maximum, found.mean)]
        # What is missing from a row of durations is in another row or was never scheduled, so it is no null.
        nulls = "" if "(s)" in name else _count(found.nulls)
        grid.add_row(name, _count(found.count), nulls, *numbers)
        bins = log_histogram(values, bins=_HISTOGRAM_WIDTH)
        histograms.add_row(name, _number(bins.edges[0]), sparkline(bins.counts.tolist()), _number(bins.edges[-1]))
    console.print(grid)
    console.print()
    console.print(histograms)
    console.print()


def _print_use(console: Console, table: TaskTable) -> None:
    """What tasks waited for and really used, where the trace says so."""
    columns = {
        f"{name} ({_UNITS[name]})": table[name]
        for name in (
            "queue_s",
            "gpus",
            "cpu_core_s",
            "mem_used_gb",
            "read_mb",
            "write_mb",
            "spill_mb",
            "disk_io_s",
        )
    }
    requested = table["cpu_cores"] * table["duration_s"] * table["instances"]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["cpu used / requested"] = np.where(requested > 0, table["cpu_core_s"] / requested, np.nan)
        columns["memory used / requested"] = np.where(
            table["mem_gb"] > 0, table["mem_used_gb"] / table["mem_gb"], np.nan
        )
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    if not columns:
        return
    grid = _grid("wait and use", right=("tasks", *(f"p{round(100 * level)}" for level in LEVELS), "max", "mean"))
    for name, values in columns.items():
        found = quantiles(values)
        grid.add_row(
            name, _count(found.count), *(_number(value) for value in (*found.levels, found.maximum, found.mean))
        )
    console.print(grid)
    waiting = sum(bool(name) for name in table.names("parents")) if table.categories["parents"] else 0
    if waiting:
        console.print(f"{waiting:,} tasks ({waiting / len(table):.1%}) wait for other tasks of their job")
    if table["instances"].max() > 1:
        console.print(f"{int(table['instances'].sum(dtype=np.int64)):,} instances in {len(table):,} tasks")
    console.print()


def _print_outcomes(console: Console, table: TaskTable) -> None:
    grid = _grid("first execution", right=("tasks", "share"))
    grid.add_column("")
    grid.add_column("median duration (s)", justify="right")
    names = table.categories["outcome"]
    for code, count, share in shares(table["outcome"]):
        median = quantiles(table["duration_s"][table["outcome"] == code]).levels[LEVELS.index(0.5)]
        grid.add_row(names[code], f"{count:,}", f"{share:.1%}", bar(share), _number(median))
    console.print(grid)
    console.print()


def _print_classes(console: Console, table: TaskTable) -> None:
    for column, names in (("priority", {}), ("slo_class", _SLO_NAMES)):
        if (table[column] < 0).all():
            continue
        grid = _grid(column, right=("tasks", "share"))
        grid.add_column("")
        for value, count, share in shares(table[column]):
            label = f"{value} {names[value]}" if names else str(value)
            grid.add_row(label, f"{count:,}", f"{share:.1%}", bar(share))
        console.print(grid)
        console.print()


def _print_tenants(console: Console, table: TaskTable) -> None:
    if not table.categories["tenant"] and not table.categories["shard_key"]:
        return
    tenants = skew(table["tenant"], len(table.categories["tenant"]))
    keys = skew(table["shard_key"], len(table.categories["shard_key"]))
    grid = _grid("tenant", right=("tasks", "share"))
    grid.add_column("")
    total = max(1, int(tenants.counts.sum()))
    for code, count in zip(tenants.order[:_TOP_TENANTS], tenants.counts[:_TOP_TENANTS], strict=True):
        name = table.categories["tenant"][code]
        share = int(count) / total
        grid.add_row(escape(name if len(name) <= 16 else name[:13] + "..."), f"{count:,}", f"{share:.1%}", bar(share))
    console.print(grid)
    for label, found in (("tenants", tenants), ("shard keys", keys)):
        console.print(
            f"  skew of {label}: top 1 {found.top_share(1):.1%}, top 5 {found.top_share(5):.1%}, "
            f"top 10 {found.top_share(10):.1%} of tasks; Gini {found.gini:.3f}"
        )
    console.print()


def _print_machines(console: Console, metadata: TraceMetadata) -> None:
    if not metadata.machine_mix:
        return
    total = sum(kind.count for kind in metadata.machine_mix)
    grid = _grid("machines", right=("share", "cores", "memory (GB)", "published CPU", "published memory"))
    for kind in metadata.machine_mix:
        numbers = (kind.cores, kind.memory_gb, kind.published_cpu, kind.published_memory)
        cells = ["null" if value is None else _number(value) for value in numbers]
        counted = (f"{kind.count:,}", f"{kind.count / total:.1%}") if kind.count else ("assumed", "")
        grid.add_row(*counted, *cells)
    console.print(grid)
    console.print()


def print_declarations(console: Console, metadata: TraceMetadata) -> None:
    """Print what a canonical table declares: synthetic and derived columns, assumptions."""
    console.print("[bold]synthetic columns[/bold] (not in the trace)")
    for column in metadata.synthetic_columns:
        console.print(f"  {column.name}: {escape(column.absent_because)}; {escape(column.filled_by)}")
    console.print("[bold]derived columns[/bold]")
    for name, rule in metadata.derived_columns.items():
        console.print(f"  {name}: {escape(rule)}")
    console.print("[bold]assumptions[/bold]")
    for line in metadata.assumptions:
        console.print(f"  {escape(line)}")
    console.print()


def print_rows(console: Console, metadata: TraceMetadata) -> None:
    """Print what became of every source row."""
    grid = _grid("rows accounted for", right=("count",))
    for name, count in metadata.rows.items():
        grid.add_row(name.replace("_", " "), f"{count:,}")
    for reason, count in metadata.skipped_rows.items():
        grid.add_row(f"[yellow]skipped: {escape(reason)}[/yellow]", f"{count:,}")
    console.print(grid)
    for row in metadata.skipped_examples:
        console.print(f"  {row.file}, line {row.line}: {row.reason}", markup=False)
    console.print()


def print_files(console: Console, metadata: TraceMetadata, list_files: bool) -> None:
    """Print source files, mapping, licence and citation."""
    size = sum(source.bytes for source in metadata.source_files)
    console.print(
        f"source: {len(metadata.source_files):,} files, {size / 1e6:,.1f} MB (--files lists them with their sha256)"
    )
    if list_files:
        for source in metadata.source_files:
            console.print(
                f"  {source.sha256}  {source.name}  {source.bytes:,} bytes  {source.rows:,} rows",
                markup=False,
                soft_wrap=True,
            )
    console.print(f"mapping: {metadata.format} version {metadata.mapping_version}, written by {metadata.written_by}")
    console.print(f"licence: {escape(metadata.licence)}\ncite: {escape(metadata.citation)}\ndata: {metadata.url}")


def _grid(first: str, right: tuple[str, ...]) -> Table:
    grid = Table(box=None, padding=(0, 1), collapse_padding=True, pad_edge=False, header_style="bold")
    grid.add_column(first, no_wrap=True)
    for name in right:
        grid.add_column(name, justify="right")
    return grid


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _count(value: int) -> str:
    """A count that stays narrow: the grid of quantiles must fit into 80 columns."""
    return f"{value:,}" if value < 1_000_000 else f"{value / 1e6:.2f}M"
