"""Curves and a table of the trainings that are there."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.leaderboard.intervals import trainings_interval
from cloudsched_env.whole_file import write_whole
from torchrl_check.trainings import ALGORITHMS, IMPLEMENTATIONS

Floats = NDArray[np.float64]
Results = Sequence[Mapping[str, Any]]
NAMES = {"torchrl": "TorchRL", "ours": "ours", "mappo": "MAPPO", "qmix": "QMIX"}
_COLOURS = {"mappo": "tab:blue", "qmix": "tab:orange"}
_STYLES = {"torchrl": "--", "ours": "-"}
LAST_EPOCHS = 5


def of_cell(results: Results, implementation: str, algorithm: str) -> list[Mapping[str, Any]]:
    """Results of one implementation of one algorithm, by seed."""
    chosen = [r for r in results if (r["implementation"], r["algorithm"]) == (implementation, algorithm)]
    return sorted(chosen, key=lambda result: result["seed"])


def training_curves(results: Results) -> Floats:
    """Team reward of training episodes, ``[seeds, epochs]``."""
    return np.array([result["training_team_reward"] for result in results])


def validation_curves(results: Results) -> tuple[Floats, Floats]:
    """Epochs ``[n]`` and team reward of the greedy policy ``[seeds, n]``."""
    epochs = [int(epoch) for epoch in results[0]["validation_team_reward"]]
    return np.array(epochs), np.array([list(result["validation_team_reward"].values()) for result in results])


def best_of_each(curves: Floats) -> Floats:
    """Best validation of each training, ``[seeds]``."""
    return curves.max(axis=1)


def cell(values: Floats) -> str:
    """Mean over seeds with Student's 95 % interval."""
    found = trainings_interval([values[:, None]], lambda v: v.mean(axis=-1))
    if math.isnan(found.low):
        return f"{found.estimate:.3f}"
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def table(results: Results, references: Mapping[str, float], command: str) -> str:
    """All figures as Markdown."""
    plan = results[0]["plan"]
    lines = [
        f"# TorchRL's MAPPO and QMIX beside ours on {plan['scenario']}",
        "",
        f"Data: {results[0]['data']}. {plan['epochs']} epochs of {plan['epoch_env_steps']:,} env steps. Mean team "
        f"reward of counted steps; brackets: 95 % interval over training seeds (Student's t). Training: the last "
        f"{LAST_EPOCHS} epochs' episodes with explored actions. Validation: greedy on the same "
        f"{plan['validation_episodes']} fixed episodes for everyone. Best: of all validations of a training, chosen on "
        "these episodes, so somewhat too high.",
        "",
        f"Command: `{command}`",
        "",
        f"| algorithm | implementation | seeds | training, last {LAST_EPOCHS} epochs | untrained, greedy | "
        "validation at the end | best validation | CPU minutes a training |",
        "|---|---|---:|---|---|---|---|---:|",
    ]
    for algorithm in ALGORITHMS:
        for implementation in IMPLEMENTATIONS:
            chosen = of_cell(results, implementation, algorithm)
            if not chosen:
                continue
            _, validated = validation_curves(chosen)
            minutes = np.mean([result["cpu_s"] for result in chosen]) / 60
            lines.append(
                f"| {NAMES[algorithm]} | {NAMES[implementation]} | {len(chosen)} | "
                f"{cell(training_curves(chosen)[:, -LAST_EPOCHS:].mean(axis=1))} | {cell(validated[:, 0])} | "
                f"{cell(validated[:, -1])} | {cell(best_of_each(validated))} | {minutes:.1f} |"
            )
    lines += ["", *(f"`{name}` on the same validation episodes: {value:.3f}." for name, value in references.items())]
    return "\n".join(lines) + "\n"


def draw(results: Results, references: Mapping[str, float], path: Path) -> None:
    """Means over seeds with their range: training episodes on the left, validation on the right.

    Args:
        results: of trainings with one plan.
        references: rules on the validation episodes.
        path: an ``.svg`` file.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    plan = results[0]["plan"]
    # The same identifiers in every file, so that the same results give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "torchrl_check", "font.size": 9}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        FigureCanvasSVG(figure)
        training, validation = figure.subplots(1, 2, sharey=True)
        for algorithm in ALGORITHMS:
            for implementation in IMPLEMENTATIONS:
                chosen = of_cell(results, implementation, algorithm)
                if not chosen:
                    continue
                label = f"{NAMES[implementation]} {NAMES[algorithm]} ({len(chosen)})"
                explored = training_curves(chosen)
                curves = (
                    (training, np.arange(1, explored.shape[1] + 1), explored),
                    (validation, *validation_curves(chosen)),
                )
                for axes, epochs, values in curves:
                    steps = epochs * plan["epoch_env_steps"] / 1e3
                    colour, style = _COLOURS[algorithm], _STYLES[implementation]
                    axes.plot(steps, values.mean(axis=0), color=colour, linestyle=style, label=label)
                    axes.fill_between(
                        steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.12, linewidth=0
                    )
        for (name, value), style in zip(references.items(), (":", "-."), strict=False):
            validation.axhline(value, color="black", linestyle=style, linewidth=1, label=name)
        training.set_title("training episodes, explored actions", fontsize=9)
        validation.set_title(f"the same {plan['validation_episodes']} validation episodes, greedy", fontsize=9)
        training.set_ylabel("team reward")
        for axes in (training, validation):
            axes.set_xlabel("env steps (thousands)")
        validation.legend(fontsize=7)
        figure.suptitle(f"{plan['scenario']}, {results[0]['data']}: mean and range over seeds", fontsize=9)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_whole(path, text.getvalue())
