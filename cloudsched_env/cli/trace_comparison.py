"""A comparison of two streams on the terminal, and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cloudsched_env.cli.bars import bar
from cloudsched_env.whole_file import beside
from cloudsched_env.workload.comparison import MARGINALS

if TYPE_CHECKING:
    from cloudsched_env.workload.comparison import StreamSample

__all__ = ["AIM_DISPERSION", "AIM_KS", "TASK_WORDS", "Words", "draw_figure", "print_comparison"]

AIM_KS = 0.05
"""Kolmogorov-Smirnov distance that a fitted profile should reach."""
AIM_DISPERSION = 0.2
"""Relative error of the index of dispersion that it should reach."""
_NAMES = ("A", "B", "train")
_BAR_END = 0.2  # Kolmogorov-Smirnov distance of a full bar


@dataclass(frozen=True)
class Words:
    """What a comparison is about.

    Attributes:
        marginals: meaning of each distribution.
        dispersions: part of the result, and what is counted there; chance is known for the first.
        autocorrelation: of what.
    """

    marginals: Mapping[str, str]
    dispersions: tuple[tuple[str, str], ...]
    autocorrelation: str


TASK_WORDS = Words(MARGINALS, (("dispersion", "jobs"), ("task_dispersion", "tasks")), "bins of 10 s")


def print_comparison(console: Console, result: dict[str, Any], words: Words = TASK_WORDS) -> None:
    """Print everything that `workload.comparison.compare` found.

    Args:
        console: where to.
        result: what was found; ``chance`` in it is from `sampling_noise`.
        words: what it is about.
    """
    for name, sample in zip(_NAMES, result["samples"], strict=False):
        console.print(
            f"[bold]{name}[/bold]  {sample['label']}: [bold]{sample['data_tag']}[/bold], "
            f"{sample['windows']} windows of {sample['window_s']:g} s",
            soft_wrap=True,
        )
    drifts = len(result["samples"]) > 2
    chance = result.get("chance")
    console.print(_distances(result, words, drifts, chance))
    for key, title in words.dispersions:
        console.print(_dispersions(result[key], title, drifts, chance if key == "dispersion" else None))
    console.print(_legend(result, words, drifts, chance), soft_wrap=True)
    console.print(_values(f"autocorrelation, {words.autocorrelation}", "lag", result["autocorrelation"], drifts))
    console.print(_quantiles(result["tails"], words, drifts))
    console.print(_values("means over windows", "", result["statistics"], drifts))


def _distances(result: dict[str, Any], words: Words, drifts: bool, chance: dict[str, Any] | None) -> Table:
    table = Table(title="Kolmogorov-Smirnov distance", title_justify="left")
    table.add_column("distribution", no_wrap=True)
    table.add_column("A to B", justify="right")
    table.add_column(f"0 to {_BAR_END:g}")
    if drifts:
        table.add_column("drift", justify="right")
        table.add_column("fit", justify="right")
    if chance:
        table.add_column("chance", justify="right")
    for key, row in result["ks"].items():
        style = _style(row["distance"] <= AIM_KS)
        cells = [
            words.marginals[key],
            f"[{style}]{row['distance']:.3f}[/{style}]",
            bar(min(1.0, row["distance"] / _BAR_END), 10),
        ]
        if drifts:
            cells += [f"{row['drift']:.3f}", f"{row['fit']:.3f}"]
        if chance:
            cells.append(f"{chance['ks'][key]:.3f}")
        table.add_row(*cells)
    return table


def _legend(result: dict[str, Any], words: Words, drifts: bool, chance: dict[str, Any] | None) -> str:
    """What the columns and colours mean, and how many of the aims are met."""
    distances = [row["distance"] <= AIM_KS for row in result["ks"].values()]
    ratios = [abs(row["ratio"] - 1.0) <= AIM_DISPERSION for row in result["dispersion"].values()]
    lines = [
        f"Aims (green): a distance of {AIM_KS:g} or less, {sum(distances)} of {len(distances)}; "
        f"dispersion of {words.dispersions[0][1]} within {100 * AIM_DISPERSION:.0f} %, {sum(ratios)} of {len(ratios)}."
    ]
    if drifts:
        lines.append("drift: how far the trace's own train hours are from A. fit: how far B is from these hours.")
    if chance:
        lines.append("chance: how far two draws of the profile, each as long as A, are apart.")
    return "\n".join(lines)


def _style(met: bool) -> str:
    return "green" if met else "yellow"


def _dispersions(rows: dict[str, Any], what: str, drifts: bool, chance: dict[str, Any] | None) -> Table:
    table = Table(title=f"variance / mean of counts of {what}", title_justify="left")
    for column in ("bin", "A", "B", "B / A"):
        table.add_column(column, justify="right")
    if drifts:
        table.add_column("train", justify="right")
        table.add_column("train / A", justify="right")
    if chance:
        table.add_column("chance", justify="right")
    for scale, row in rows.items():
        style = _style(abs(row["ratio"] - 1.0) <= AIM_DISPERSION)
        cells = [scale, f"{row['one']:.2f}", f"{row['other']:.2f}", f"[{style}]{row['ratio']:.2f}[/{style}]"]
        if drifts:
            cells += [f"{row['baseline']:.2f}", f"{row['drift_ratio']:.2f}"]
        if chance:
            cells.append(f"± {100 * chance['dispersion'][scale]:.0f} %")
        table.add_row(*cells)
    return table


def _values(title: str, column: str, rows: dict[str, dict[str, float]], drifts: bool) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(column)
    for name in _NAMES[: 3 if drifts else 2]:
        table.add_column(name, justify="right")
    for label, row in rows.items():
        table.add_row(label, *map(_short, row.values()))
    return table


def _short(value: float) -> str:
    """Three digits, and no powers of ten for what is large."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _quantiles(tails: dict[str, Any], words: Words, drifts: bool) -> Table:
    """One block of rows a distribution, one column a quantile."""
    names = list(next(iter(tails.values())))
    table = Table(title="quantiles", title_justify="left")
    table.add_column("distribution", no_wrap=True)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    samples = list(zip(_NAMES, ("one", "other", "baseline"), strict=True))[: 3 if drifts else 2]
    for key, rows in tails.items():
        for place, (label, sample) in enumerate(samples):
            values = [_short(rows[name][sample]) for name in names]
            last = place == len(samples) - 1
            table.add_row("" if place else words.marginals[key], label, *values, end_section=last)
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

    from cloudsched_env.workload.burstiness import DISPERSION_SCALES_S, ks_distance
    from cloudsched_env.workload.comparison import AUTOCORRELATION_BIN_S, AUTOCORRELATION_LAGS

    looks: tuple[dict[str, Any], ...] = (
        {"color": "0.25", "linewidth": 2.2},
        {"color": "C1"},
        {"color": "C0", "linestyle": ":"},
    )
    named = [(f"{n}: {sample.label}", sample, look) for n, sample, look in zip(_NAMES, samples, looks, strict=False)]
    figure, axes = plt.subplots(2, 4, figsize=(15, 6.6), constrained_layout=True)
    for axis, (key, title) in zip(axes.flat, MARGINALS.items(), strict=False):
        for label, sample, look in named:
            values = np.sort(sample.marginal(key))
            axis.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=label, **look)
        distance = ks_distance(samples[0].marginal(key), samples[1].marginal(key))
        axis.set(xscale="log", ylim=(0, 1.02), xlabel=title, ylabel="share at or below")
        axis.set_title(f"distance A to B {distance:.3f}", fontsize=10)
        # Values of 0 are left of every logarithmic axis: the curve then begins above 0.
        positive = samples[0].marginal(key)
        axis.set_xlim(left=max(float(np.quantile(positive[positive > 0], 0.005)), 1e-5))
    lags_s = [AUTOCORRELATION_BIN_S * lag for lag in AUTOCORRELATION_LAGS]
    for _, sample, look in named:
        axes[1, 1].plot(DISPERSION_SCALES_S, sample.dispersion(), marker="o", markersize=4, **look)
        axes[1, 2].plot(lags_s, sample.autocorrelation(), marker="o", markersize=4, **look)
    reference = np.array(samples[0].dispersion())
    aim: dict[str, Any] = {"alpha": 0.15, "color": "0.25", "linewidth": 0}
    axes[1, 1].fill_between(
        DISPERSION_SCALES_S, (1 - AIM_DISPERSION) * reference, (1 + AIM_DISPERSION) * reference, **aim
    )
    axes[1, 1].set(xscale="log", xlabel="bin, s", ylabel="variance / mean of job counts", ylim=(0, None))
    axes[1, 1].set_xticks(DISPERSION_SCALES_S, [f"{scale:g}" for scale in DISPERSION_SCALES_S], minor=False)
    axes[1, 1].minorticks_off()
    axes[1, 1].set_title(f"burstiness (shaded: A within {100 * AIM_DISPERSION:.0f} %)", fontsize=10)
    axes[1, 2].axhline(0.0, color="0.7", linewidth=0.8)
    axes[1, 2].set(xlabel="lag, s", ylabel=f"correlation of job counts in {AUTOCORRELATION_BIN_S:g} s")
    axes[1, 2].set_title("autocorrelation", fontsize=10)
    axes[1, 3].axis("off")
    axes[1, 3].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", frameon=False)
    try:
        with beside(path) as partial:
            figure.savefig(partial, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    finally:
        plt.close(figure)
