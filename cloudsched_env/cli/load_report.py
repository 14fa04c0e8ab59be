"""A load table on the terminal: traffic over time, quantiles, busiest devices, and what the table declares."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloudsched_env.cli.bars import bar, sparkline
from cloudsched_env.cli.trace_report import print_declarations, print_files, print_rows
from cloudsched_env.traces.load_table import LoadTable
from cloudsched_env.traces.summary import LEVELS, quantiles, rebin

__all__ = ["print_load_report"]

_WIDTH = 64
_RATES = ("reads_per_s", "writes_per_s", "read_mb_per_s", "write_mb_per_s", "latency_mean_s")


def print_load_report(console: Console, table: LoadTable, title: str, *, list_files: bool = False) -> None:
    """Print a load table.

    Args:
        console: where to.
        table: the load table, with all columns.
        title: what to call it.
        list_files: also print each source file with its checksum.
    """
    metadata = table.metadata
    interval = float(table["interval_s"][0])
    devices = table.categories["device"]
    console.print(f"[bold]{escape(title)}[/bold]: {metadata.title}, [bold]{metadata.data_tag}[/bold]")
    console.print(
        f"{len(table):,} intervals of {interval:g} s with traffic, {len(devices):,} devices; "
        f"{(metadata.span_end_s - metadata.span_start_s) / 3600:,.2f} h"
    )
    console.print(f"clock: {metadata.clock}\n")
    bins = np.round((table["start_s"] - table["start_s"].min()) / interval).astype(np.int64)
    for name, column in (("reads", "read_mb_per_s"), ("writes", "write_mb_per_s")):
        total = np.bincount(bins, weights=table[column])
        console.print(
            f"[bold]{name}[/bold], all devices, MB/s over time: mean {total.mean():.3g}, max {total.max():.3g}"
        )
        console.print(f"  {sparkline(_means(total))}")
    grid = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    grid.add_column("rates", no_wrap=True)
    for heading in ("n", *(f"p{round(100 * level)}" for level in LEVELS), "max", "mean"):
        grid.add_column(heading, justify="right")
    for name in _RATES:
        found = quantiles(table[name])
        if found.count:
            numbers = (*found.levels, found.maximum, found.mean)
            grid.add_row(
                name, f"{found.count:,}", *(f"{value:.2g}" if value < 100 else f"{value:,.0f}" for value in numbers)
            )
    console.print(grid)
    traffic = np.bincount(
        table["device"], weights=(table["read_mb_per_s"] + table["write_mb_per_s"]) * interval, minlength=len(devices)
    )
    console.print("\n[bold]devices[/bold] with most traffic")
    for code in np.argsort(-traffic, kind="stable")[:5]:
        share = traffic[code] / max(traffic.sum(), 1e-12)
        console.print(f"  {devices[code]}: {traffic[code]:,.1f} MB, {share:.1%} {bar(share)}", markup=False)
    console.print()
    print_declarations(console, metadata)
    print_rows(console, metadata)
    print_files(console, metadata, list_files)


def _means(values: np.ndarray) -> list[float]:
    """Means of neighbours, so that they fit on a line."""
    return [float(value) for value in rebin(values, _WIDTH)]
