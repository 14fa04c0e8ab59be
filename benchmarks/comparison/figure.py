"""Learning curves of all variants in one figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.leaderboard.convergence import Curve
from cloudsched_env.whole_file import write_whole
from comparison.tables import Results

Floats = NDArray[np.float64]


def common_curve(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Curves at the env steps at which all of them were validated.

    Returns:
        Env steps ``[n]`` and scores ``[trainings, n]``.
    """
    steps = sorted(set.intersection(*(set(curve.env_steps.tolist()) for curve in curves)))
    scores = [dict(zip(curve.env_steps.tolist(), curve.score.tolist(), strict=True)) for curve in curves]
    return np.array(steps), np.array([[score[step] for step in steps] for score in scores])


def draw_curves(results: Results, order: Sequence[str], path: Path) -> None:
    """Mean validation J over env steps with the range over seeds, and rules on the same windows as lines.

    Args:
        results: of the evaluation.
        order: names of variants.
        path: an ``.svg`` file.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    colours = matplotlib.colormaps["tab10"].colors
    variants = [results.rows[name] for name in order if name in results.rows and results.rows[name].curves]
    bases = list(dict.fromkeys(row.name.partition("+")[0] for row in variants))
    # The same identifiers in every file, so that the same results give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "comparison", "font.size": 9}):
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for row in variants:
            base, _, rest = row.name.partition("+")
            colour = colours[bases.index(base) % len(colours)]
            steps, scores = common_curve(row.curves)
            axes.plot(
                steps / 1e6,
                scores.mean(axis=0),
                color=colour,
                linestyle="--" if rest else "-",
                label=f"{row.name} ({len(scores)})",
            )
            axes.fill_between(
                steps / 1e6, scores.min(axis=0), scores.max(axis=0), color=colour, alpha=0.12, linewidth=0
            )
        for (rule, value), style in zip(results.validation.items(), (":", "-."), strict=False):
            axes.axhline(value, color="black", linestyle=style, linewidth=1, label=rule)
        axes.set_xlabel("env steps (millions)")
        axes.set_ylabel("J on validation windows")
        axes.set_title(f"{results.key['scenario']}, {results.data_tag}: mean and range over seeds", fontsize=9)
        axes.legend(fontsize=7, ncols=2)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_whole(path, text.getvalue())
