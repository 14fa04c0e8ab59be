"""The same cluster with its couplings switched off, one at a time and all together.

A scenario is hard because one role's decision changes what the others meet. If a gap between simple and tuned policies
is due to that, it must close when the couplings are off; what stays is due to something else. The switches are the
scenario's own: every field that is declared as a switch and is on. Telemetry stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import deviations, make_linear, packaged, tune_linear
from cloudsched_env.headroom.joint import grid, halving
from cloudsched_env.headroom.play import MakeAgent
from cloudsched_env.headroom.policies import KUBE_DEFAULT, RANDOM, parameters_of
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.scenario import Scenario, switch_names
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.bound import upper_bound

__all__ = ["ALL_OFF", "ALL_ON", "switch_off", "switches"]

ALL_ON, ALL_OFF = "all on", "all off"


def switches(scenario: Scenario) -> list[str]:
    """Dotted names of the mechanisms that are on and can be switched off."""
    on = scenario.to_dict()
    return [name for name in switch_names() if on[name.split(".")[0]][name.split(".")[1]]]


def switch_off(
    bench: Bench, settings: HeadroomSettings, static: Mapping[str, Any], feedback: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Measure simple and tuned policies with every coupling on, each one off, and all off.

    *Simple* is kube-scheduler's default with the constants that are best in that variant: chosen anew on a few of its
    validation windows. The tuned policies are those of the scenario as it is; with all off, the feedback policy is also
    tuned anew, from the best on validation windows of these two and the policy that their own tuning began with.

    Args:
        bench: what plays.
        settings: sizes, and whether couplings are switched off one at a time too.
        static: result of the stage of that name.
        feedback: likewise.
        folder: where each variant is kept as soon as it is measured, and the state of the search.

    Returns:
        ``variants``: for each its overrides, the spec of *simple*, and J on test windows of each policy and the bound.
    """
    names = switches(bench.scenario)
    single = {f"{name} off": {name: False} for name in names} if settings.single_couplings else {}
    variants: dict[str, dict[str, Any]] = {ALL_ON: {}, **single, ALL_OFF: dict.fromkeys(names, False)}
    tuned = {"static": parameters_of(static), "feedback": parameters_of(feedback)}
    measured: dict[str, dict[str, Any]] = {}
    for name, changes in variants.items():
        kept = folder / f"{name.replace(' ', '_')}.json"
        if not kept.is_file():
            search = folder / "all_off" if name == ALL_OFF else None
            write_whole(kept, json.dumps(_measure(bench, settings, name, changes, tuned, search)) + "\n")
        measured[name] = json.loads(kept.read_text(encoding="utf-8"))
    return {"variants": measured}


def _measure(
    bench: Bench,
    settings: HeadroomSettings,
    name: str,
    changes: dict[str, Any],
    tuned: Mapping[str, LinearParameters],
    folder: Path | None,
) -> dict[str, Any]:
    """All policies in one variant; the feedback policy is tuned anew where there is a folder for it."""
    with bench.variant(changes) as variant:
        windows = min(settings.coupling_windows, settings.validation_windows)
        winner, _ = halving(
            variant,
            grid(variant, (KUBE_DEFAULT,)),
            min(settings.grid_windows, windows),
            windows,
            settings.grid_reduction,
        )
        makers: dict[str, MakeAgent] = {
            "random": partial(load_agent, RANDOM),
            "kube_default": partial(load_agent, KUBE_DEFAULT),
            "simple": partial(load_agent, winner.spec),
            **{kind: make_linear(kind, parameters) for kind, parameters in tuned.items()},
        }
        if folder is not None:
            makers["retuned"] = make_linear("retuned", _tuned_anew(variant, settings, tuned, folder))
        played = variant.rewards(f"couplings: {name}", list(makers.values()), "test", settings.episodes)
        bounds = [
            float(upper_bound(variant.scenario, episode).team_reward)
            for episode in variant.episodes("test", settings.episodes)
        ]
        rewards = {agent: row.tolist() for agent, row in zip(makers, played, strict=True)}
    return {"overrides": changes, "simple": winner.spec, "team_reward": rewards, "bound": bounds}


def _tuned_anew(
    variant: Bench, settings: HeadroomSettings, tuned: Mapping[str, LinearParameters], folder: Path
) -> LinearParameters:
    starts = [parameters.as_feedback() for parameters in (*tuned.values(), packaged(variant, "static"))]
    values = variant.rewards(
        "starts", [make_linear("start", start) for start in starts], "validation", settings.validation_windows
    )
    start = starts[int(np.argmax(values.mean(axis=1)))]
    found, _ = tune_linear(
        variant,
        "tuning with all couplings off",
        start,
        deviations(start, settings),
        settings,
        settings.coupling_generations,
        folder,
    )
    return found
