"""A comparison of two streams on the terminal, and as a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cloudsched_env.cli.bars import bar
from cloudsched_env.workload.comparison import MARGINALS

if TYPE_CHECKING:
    from cloudsched_env.workload.comparison import StreamSample

__all__ = ["AIM_DISPERSION", "AIM_KS", "draw_figure", "print_comparison"]

AIM_KS = 0.05
"""Kolmogorov-Smirnov distance that a fitted profile should reach."""
AIM_DISPERSION = 0.2
"""Relative error of the index of dispersion that it should reach."""
_NAMES = ("A", "B", "train")


def print_comparison(console: Console, result: dict[str, Any]) -> None:
    """Print everything that `workload.comparison.compare` found.

    Args:
        console: where to.
        result: what was found; ``chance`` in it is from `sampling_noise`.
    """
    for name, sample in zip(_NAMES, result["samples"], strict=False):
        console.print(
            f"[bold]{name}[/bold]  {sample['label']}: [bold]{sample['data_tag']}[/bold], "
            f"{sample['windows']} windows of {sample['window_s']:g} s",
            soft_wrap=True,
        )
    drifts = len(result["samples"]) > 2
    chance = result.get("chance")
    console.print(_distances(result, drifts, chance))
    for key, title in (("dispersion", "jobs"), ("task_dispersion", "tasks")):
        console.print(_dispersions(result[key], title, drifts, chance if key == "dispersion" else None))
    console.print(_values("autocorrelation of job counts in bins of 10 s", "lag", result["autocorrelation"], drifts))
    for key, meaning in MARGINALS.items():
        console.print(_values(f"quantiles: {meaning}", "", result["tails"][key], drifts))
    console.print(_values("means over windows", "", result["statistics"], drifts))


def _distances(result: dict[str, Any], drifts: bool, chance: dict[str, Any] | None) -> Table:
    table = Table(title="Kolmogorov-Smirnov distance", title_justify="left")
    table.add_column("distribution")
    table.add_column("A - B", justify="right")
    table.add_column("0 to 0.2")
    if drifts:
        table.add_column("drift: A - train", justify="right")
        table.add_column("fit: B - train", justify="right")
    if chance:
        table.add_column("chance", justify="right")
    for key, row in result["ks"].items():
        style = "green" if row["distance"] <= AIM_KS else "yellow"
        cells = [MARGINALS[key], f"[{style}]{row['distance']:.3f}[/{style}]", bar(min(1.0, row["distance"] / 0.2), 16)]
        if drifts:
            cells += [f"{row['drift']:.3f}", f"{row['fit']:.3f}"]
        if chance:
            cells.append(f"{chance['ks'][key]:.3f}")
        table.add_row(*cells)
    return table


def _dispersions(rows: dict[str, Any], what: str, drifts: bool, chance: dict[str, Any] | None) -> Table:
    table = Table(title=f"variance / mean of counts of {what}, within windows", title_justify="left")
    for column in ("bin", "A", "B", "B / A"):
        table.add_column(column, justify="right")
    if drifts:
        table.add_column("train", justify="right")
        table.add_column("drift: train / A", justify="right")
    if chance:
        table.add_column("chance: +-", justify="right")
    for scale, row in rows.items():
        style = "green" if abs(row["ratio"] - 1.0) <= AIM_DISPERSION else "yellow"
        cells = [scale, f"{row['one']:.2f}", f"{row['other']:.2f}", f"[{style}]{row['ratio']:.2f}[/{style}]"]
        if drifts:
            cells += [f"{row['baseline']:.2f}", f"{row['drift_ratio']:.2f}"]
        if chance:
            cells.append(f"{100 * chance['dispersion'][scale]:.0f} %")
        table.add_row(*cells)
    return table


def _values(title: str, column: str, rows: dict[str, dict[str, float]], drifts: bool) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(column)
    for name in _NAMES[: 3 if drifts else 2]:
        table.add_column(name, justify="right")
    for label, row in rows.items():
        table.add_row(label, *(f"{value:,.4g}" if math.isfinite(value) else "-" for value in row.values()))
    return table


def draw_figure(path: Path, samples: Sequence[StreamSample]) -> None:
    """Draw distributions, burstiness and autocorrelation of the samples into one figure.

    Args:
        path: a file whose ending matplotlib knows, such as ``.png``.
        samples: what to draw, at most three.

    Raises:
        ModuleNotFoundError: if matplotlib is missing.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a figure needs matplotlib: pip install 'cloudsched-env[viz]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from cloudsched_env.workload.burstiness import DISPERSION_SCALES_S
    from cloudsched_env.workload.comparison import AUTOCORRELATION_BIN_S, AUTOCORRELATION_LAGS

    styles = ("-", "--", ":")
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), constrained_layout=True)
    for axis, (key, title) in zip(axes.flat, MARGINALS.items(), strict=False):
        for sample, style in zip(samples, styles, strict=False):
            values = np.sort(sample.marginal(key))
            axis.step(values, np.arange(1, len(values) + 1) / len(values), style, label=sample.label)
        axis.set(xscale="log", xlabel=title, ylabel="share")
        axis.set_xlim(left=max(float(np.quantile(samples[0].marginal(key), 0.01)), 1e-4))
    lags_s = [AUTOCORRELATION_BIN_S * lag for lag in AUTOCORRELATION_LAGS]
    for sample, style in zip(samples, styles, strict=False):
        axes[1, 1].plot(DISPERSION_SCALES_S, sample.dispersion(), style, marker=".")
        axes[1, 2].plot(lags_s, sample.autocorrelation(), style, marker=".")
    axes[1, 1].set(xscale="log", yscale="log", xlabel="bin, trace s", ylabel="variance / mean of job counts")
    axes[1, 2].set(xlabel="lag, trace s", ylabel="autocorrelation of job counts")
    axes[1, 3].axis("off")
    axes[1, 3].legend(*axes[0, 0].get_legend_handles_labels(), loc="center")
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        figure.savefig(partial, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
        plt.close(figure)
