"""The reference agents on test windows: random, every simple heuristic, the two tuned policies, the fluid bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.heuristics.knobs import KNOBS_OF, knob_choices
from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.agents.registry import PLACEMENTS
from cloudsched_env.evaluation.protocol import BOUNDED_METRICS
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.by_type import make_by_type, pick_by_type
from cloudsched_env.headroom.families import best_constants, block, deviations, make_linear, packaged, tune_linear
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.tuning import Tuned
from cloudsched_env.workload.bound import upper_bound

__all__ = ["KUBE_DEFAULT", "RANDOM", "heuristics", "parameters_of", "tuned_feedback", "tuned_static"]

RANDOM = "random"
KUBE_DEFAULT = "balanced"
# The reactive rules with the autoscaler switched on, where nodes can sleep.
AUTOSCALER = "reactive(sleep_load=0.7)"
# Order in which roles are searched: those whose constants lose most come first.
ROLE_ORDER = ("storage", "compute", "scheduler")


def heuristics(bench: Bench, settings: HeadroomSettings) -> dict[str, Any]:
    """Random and every placement with constant and with reactive knobs, at their defaults; the fluid bound.

    Returns:
        ``metrics`` of each agent, ``bound`` of the metrics that have one, each ``[windows]``; where the windows start.
    """
    specs = [RANDOM, *(name for name in PLACEMENTS if name != RANDOM)]
    specs += [f"{name}+reactive" for name in PLACEMENTS]
    if bench.scenario.elastic.enabled:
        specs += [f"{name}+{AUTOSCALER}" for name in PLACEMENTS]
    makers = {spec: partial(load_agent, spec) for spec in specs}
    episodes = bench.episodes("test", settings.episodes)
    bounds = [upper_bound(bench.scenario, episode) for episode in episodes]
    return {
        "metrics": bench.metrics("heuristics", makers, "test", settings.episodes),
        "bound": {name: [float(getattr(bound, name)) for bound in bounds] for name in BOUNDED_METRICS},
        "data_tag": episodes[0].data_tag,
        "window_start_s": [episode.details.get("window_start_s") for episode in episodes],
    }


def tuned_static(bench: Bench, settings: HeadroomSettings, folder: Path) -> dict[str, Any]:
    """A fixed linear score and constant knobs: the search, then each role's constants once more by exhaustion.

    The search treats levels as real numbers and may end between two; trying all pairs on validation windows makes this
    rival as strong as its family allows. So does trying the search's step at other lengths, as for the feedback policy:
    what one of the two is given and the other not would count as the worth of feedback.

    Returns:
        What `_measured` does; ``by_type``: with constants by node type; ``start``: where the search came from;
        ``stretch``: the multiple of its step that was best.
    """
    start = packaged(bench, "static")
    found, tuned = tune_linear(
        bench, "tuning static", start, deviations(start, settings), settings, settings.static_generations, folder
    )
    found, _, stretch = _stretched(bench, start, found, settings)
    best, value = best_constants(bench, found, settings.validation_windows)
    result = _measured(bench, settings, "static", best, tuned, value)
    by_type = _by_type(bench, settings, best)
    return {**result, "by_type": by_type, "start": start.origin, "stretch": stretch}


def _by_type(bench: Bench, settings: HeadroomSettings, parameters: LinearParameters) -> dict[str, Any]:
    """The static policy with constants of its own for each type of compute node."""
    choices = knob_choices(bench.scenario)
    start = tuple(
        int(np.clip(round(parameters.weights[knob]["bias"]), 0, len(choices[knob]) - 1)) for knob in KNOBS_OF["compute"]
    )
    levels, value = pick_by_type(bench, parameters, start, settings.validation_windows)
    played = bench.metrics("static by type", {"static": make_by_type(parameters, levels)}, "test", settings.episodes)
    return {"levels": levels, "validation": value, "metrics": played["static"]}


def tuned_feedback(bench: Bench, settings: HeadroomSettings, folder: Path, static: Mapping[str, Any]) -> dict[str, Any]:
    """The same family with weights that depend on the state, searched from the tuned static policy.

    Where the packaged feedback policy, which was tuned for another cluster, is better, the search starts there: the
    rival should be as strong as its family allows.

    One role after the other with the others as they are, for a quarter of the generations each, then all together and
    more narrowly: noise in a hundred weights at once hides what a few of them are worth. What is tuned already (the
    static policy's weights) is searched more narrowly than what is new. A search that ends has often gone the right
    way and not far enough, so its step is tried at a few multiples of its length on validation windows.

    Returns:
        What `_measured` does; ``start``: where the search came from.
    """
    start = _better_start(bench, parameters_of(static).as_feedback(), settings)
    known = set(LinearParameters.names("static", start.has_power))
    names = LinearParameters.names("feedback", start.has_power)
    refined = np.array([settings.refinement if name in known else 1.0 for name in names])
    deviation = refined * deviations(start, settings)
    share = max(1, settings.feedback_generations // (len(ROLE_ORDER) + 1))
    stages = [(role, np.where(block(start, role), deviation, 0.0), share) for role in ROLE_ORDER]
    rest = max(1, settings.feedback_generations - share * len(ROLE_ORDER))
    stages.append(("all", settings.refinement * deviation, rest))
    found = start
    curve: list[tuple[int, float]] = []
    history: list[dict[str, float]] = []
    for name, spread, generations in stages:
        part = folder / name
        before_step = found
        found, tuned = tune_linear(bench, f"tuning feedback, {name}", found, spread, settings, generations, part)
        found, value, _ = _stretched(bench, before_step, found, settings)
        done = len(history)
        curve += [(done + generation, value) for generation, value in tuned.curve]
        history += tuned.history
    origin = (
        f"cross-entropy method, {len(history)} generations by role and together on {bench.scenario.id}, "
        f"validation J {value:.4f}"
    )
    tuned = replace(tuned, curve=curve, history=history)
    result = _measured(bench, settings, "feedback", replace(found, origin=origin), tuned, value)
    return {**result, "start": start.origin}


def _better_start(bench: Bench, static: LinearParameters, settings: HeadroomSettings) -> LinearParameters:
    """The tuned static policy, or the packaged feedback policy if that is better on validation windows."""
    starts = [static, packaged(bench, "feedback")]
    makers = [make_linear("start", start) for start in starts]
    values = bench.rewards("starts", makers, "validation", settings.validation_windows).mean(axis=1)
    return starts[int(values.argmax())]


def _stretched(
    bench: Bench, before: LinearParameters, after: LinearParameters, settings: HeadroomSettings
) -> tuple[LinearParameters, float, float]:
    """The step from one policy to another at the length that does best on validation windows.

    Returns:
        The policy, its mean J there, and the multiple of the step.
    """
    start, step = before.to_vector(), after.to_vector() - before.to_vector()
    policies = [after]
    policies += [LinearParameters.from_vector(after.kind, start + f * step, after.origin) for f in settings.stretches]
    makers = [make_linear("stretched", policy) for policy in policies]
    values = bench.rewards("length of the step", makers, "validation", settings.validation_windows).mean(axis=1)
    best = int(values.argmax())
    return policies[best], float(values[best]), (1.0, *settings.stretches)[best]


def parameters_of(result: Mapping[str, Any]) -> LinearParameters:
    """The policy that a tuning stage stored."""
    stored = result["parameters"]
    return LinearParameters(stored["kind"], stored["weights"], stored["origin"])


def _measured(
    bench: Bench, settings: HeadroomSettings, name: str, parameters: LinearParameters, tuned: Tuned, value: float
) -> dict[str, Any]:
    """A tuned policy as JSON types: parameters, J on validation windows, course of the search, metrics by window."""
    played = bench.metrics(f"{name} on test windows", {name: make_linear(name, parameters)}, "test", settings.episodes)
    return {
        "parameters": {"kind": parameters.kind, "weights": parameters.weights, "origin": parameters.origin},
        "validation": value,
        "curve": tuned.curve,
        "history": tuned.history,
        "metrics": played[name],
    }
