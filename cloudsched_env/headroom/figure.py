"""One picture of a headroom study: the ladder from random to the bound, tuning, what roles are worth, staleness."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.evaluation.statistics import bootstrap_interval
from cloudsched_env.headroom.gates import CONSTANT_COSTS_AT_LEAST, span_of
from cloudsched_env.headroom.study import Study
from cloudsched_env.headroom.tables import ladder
from cloudsched_env.whole_file import beside

__all__ = ["draw"]

# Okabe and Ito's colours, which people with colour-blindness can tell apart.
_GREY, _BLUE, _ORANGE, _GREEN, _RED, _BLACK = "#999999", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#000000"
_PURPLE = "#CC79A7"
_POLICIES = {"random": _GREY, "kube_default": _ORANGE, "static": _GREEN, "feedback": _BLUE}

# Panels beside the ladder, by the stage that they need, and their heights in inches.
_HEIGHTS = {"static": 2.5, "knockout": 4.0, "staleness": 2.7}


def draw(study: Study, path: Path) -> None:
    """Write the picture; panels whose stage has not run are left out.

    Args:
        study: what was measured.
        path: a PNG file.

    Raises:
        ValueError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the figure needs {error.name}, which is not installed: pip install "cloudsched-env[viz]"'
        ) from error
    results, seed = study.results, study.content["settings"]["seed"]
    right = [name for name in _HEIGHTS if name in results]
    rows = ladder(results)
    heights = [_HEIGHTS[name] for name in right] or [1.0]
    figure = Figure(
        figsize=(13 if right else 7, max(4.5, 1.2 + 0.27 * len(rows), 0.6 + sum(heights))), layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(heights), 2 if right else 1, width_ratios=[1.15, 1] if right else [1], height_ratios=heights
    )
    figure.suptitle(
        f"Headroom of {study.content['scenario']['id']} — {study.content['data']['tag']} data, "
        f"{study.content['settings']['episodes']} test windows, 95 % intervals",
        fontsize=11,
    )
    _ladder(figure.add_subplot(grid[:, 0]), rows, seed)
    for place, name in enumerate(right):
        axes = figure.add_subplot(grid[place, 1])
        if name == "static":
            _tuning(axes, results)
        elif name == "knockout":
            _knockout(axes, study)
        else:
            _staleness(axes, results["staleness"], seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date that matplotlib would write, the same study gives the same bytes.
    with beside(path) as partial:
        figure.savefig(partial, dpi=130, metadata={"Software": None})


def _ladder(axes: Any, rows: list[tuple[str, dict[str, list[float]]]], seed: int) -> None:
    colours = {
        "random": _GREY, "best joint heuristic": _RED, "tuned static": _GREEN, "tuned feedback": _BLUE,
        "learned policy": _PURPLE, "upper bound (fluid)": _BLACK,
    }  # fmt: skip
    for place, (name, metrics) in enumerate(rows):
        interval = bootstrap_interval(metrics["team_reward"], np.random.default_rng(seed))
        colour = _ORANGE if "kube-scheduler" in name else colours.get(name, "#BBBBBB")
        axes.barh(place, interval.estimate, color=colour, height=0.72)
        spread = [[interval.estimate - interval.low], [interval.high - interval.estimate]]
        axes.errorbar(interval.estimate, place, xerr=spread, color="#333333", linewidth=1, capsize=2)
        axes.text(max(0.0, interval.high) + 0.008, place, f"{interval.estimate:.3f}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    top = max(float(np.mean(metrics["team_reward"])) for _, metrics in rows)
    lowest = min(float(np.mean(metrics["team_reward"])) for _, metrics in rows)
    axes.set_xlim(1.3 * min(0.0, lowest), top * 1.14)
    axes.set_xlabel("J, mean team reward per step")
    axes.set_title("From random to the upper bound", fontsize=10)
    _clean(axes)


def _tuning(axes: Any, results: Any) -> None:
    """J of the centres of the searches on validation windows; the diamonds are the policies that came out."""
    kinds = [kind for kind in ("static", "feedback") if kind in results]
    last = max(results[kind]["curve"][-1][0] for kind in kinds)
    for kind in kinds:
        found, colour = results[kind], _POLICIES[kind]
        generations, values = zip(*found["curve"], strict=True)
        axes.plot(generations, values, color=colour, marker="o", markersize=3, label=kind)
        # Beside the last generation, for the last centre may be the one that came out.
        axes.plot(generations[-1] + 0.02 * last, found["validation"], color=colour, marker="D", markersize=5)
    # A generation that is there twice ends the search of a role and begins the next one.
    seen = [generation for generation, _ in results["feedback"]["curve"]] if "feedback" in kinds else []
    for border in (later for earlier, later in pairwise(seen) if earlier == later):
        axes.axvline(border, color="#BBBBBB", linewidth=0.8, linestyle=":", zorder=0)
    axes.legend(frameon=False, fontsize=7.5, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 0.98))
    axes.set_xlabel(
        "generation; dots: centre of the search\ndiamond: result; dotted: feedback's next role, then all",
        fontsize=7.5,
    )
    axes.set_ylabel("J, validation windows")
    axes.set_title("Tuning", fontsize=10, pad=18)
    _clean(axes)


def _knockout(axes: Any, study: Study) -> None:
    results = study.results
    stage = results["knockout"]
    span = span_of(results, study.content["settings"]["seed"])
    labels: list[str] = []
    for role, stored in stage["roles"].items():
        for name, rewards in stored["team_reward"].items():
            loss = span.loss(stage["feedback"], rewards)
            best = name == stored["best_constant"]
            place = len(labels)
            axes.barh(place, 100 * loss.estimate, color=_BLUE if best else _GREY, height=0.7)
            spread = [[100 * (loss.estimate - loss.low)], [100 * (loss.high - loss.estimate)]]
            axes.errorbar(100 * loss.estimate, place, xerr=spread, color="#333333", linewidth=1, capsize=2)
            labels.append(f"{role}: {name}".replace(" (", "\n("))
    axes.axvline(100 * CONSTANT_COSTS_AT_LEAST, color=_RED, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"J lost, % of (bound - random)\nblue: best constant; dashed: its gate, {100 * CONSTANT_COSTS_AT_LEAST:g} %",
        fontsize=7.5,
    )
    axes.set_title("One role replaced", fontsize=10)
    _clean(axes)


def _staleness(axes: Any, stage: Any, seed: int) -> None:
    names = list(stage["delay"][0]["team_reward"])
    ages = [point["mean_age_steps"] for point in stage["delay"]]
    for name in names:
        intervals = [
            bootstrap_interval(point["team_reward"][name], np.random.default_rng(seed)) for point in stage["delay"]
        ]
        colour = _POLICIES.get(name, _BLACK)
        axes.plot(
            ages, [i.estimate for i in intervals], color=colour, marker="o", markersize=3, label=name.replace("_", " ")
        )
        axes.fill_between(ages, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.18)
    # Centred over the panel, with little between the entries: five policies fit into its width.
    axes.legend(
        frameon=False, fontsize=7.5, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 0.98),
        columnspacing=0.9, handlelength=1.2, handletextpad=0.4,
    )  # fmt: skip
    axes.set_xlabel("mean age of delivered telemetry, steps")
    axes.set_ylabel("J")
    axes.set_title("Older telemetry", fontsize=10, pad=18)
    _clean(axes)


def _clean(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
