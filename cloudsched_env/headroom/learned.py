"""What each role is worth to a trained policy: the knock-out of `knockout`, from a policy that was learned.

The loss of the best constant is a lower bound of what adapting is worth: it depends on how well the policy that it is
taken from adapts. A learned policy that is better than the tuned feedback policy gives the better bound. Constants are
chosen anew beside its roles, and the static policy's weights of the scheduler are tuned beside its nodes, so that the
rival loses nothing by having been made for other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import (
    MakeLinear,
    block,
    deviations,
    make_linear,
    pick_constants,
    tune_linear,
)
from cloudsched_env.headroom.knockout import ROLES, one_role
from cloudsched_env.headroom.play import MakeAgent
from cloudsched_env.headroom.policies import KUBE_DEFAULT, RANDOM, parameters_of
from cloudsched_env.headroom.settings import HeadroomSettings

__all__ = ["beside", "knock_out_learned"]


def beside(spec: str, role: str) -> MakeLinear:
    """How a linear policy plays one role beside the other roles of another agent.

    Args:
        spec: of the other agent.
        role: what the linear policy plays.
    """

    def make(name: str, parameters: LinearParameters) -> MakeAgent:
        return one_role(partial(load_agent, spec), role, make_linear(name, parameters))

    return make


def knock_out_learned(
    bench: Bench, settings: HeadroomSettings, static: Mapping[str, Any], feedback: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Replace each role of the policy ``settings.learned``.

    Args:
        bench: what plays.
        settings: sizes, and the policy.
        static: result of the stage of that name.
        feedback: likewise.
        folder: where the state of the search is kept.

    Returns:
        ``agent``: its spec; ``validation``: mean J on validation windows of it and of the feedback policy;
        ``metrics`` on test windows; ``roles`` as `knock_out` has them; ``scheduler``: the
        weights that were tuned beside it.
    """
    spec = settings.learned
    fixed, adaptive = parameters_of(static), parameters_of(feedback)
    rest = partial(load_agent, spec)
    whole: dict[str, MakeAgent] = {"learned": rest, "feedback": make_linear("feedback", adaptive)}
    validation = bench.rewards("learned", list(whole.values()), "validation", settings.validation_windows).mean(axis=1)
    roles: dict[str, dict[str, Any]] = {}
    scheduler, curve = _tuned_beside(bench, settings, spec, fixed, folder)
    for role in ROLES:
        make = beside(spec, role)
        makers: dict[str, MakeAgent] = {
            "random": one_role(rest, role, partial(load_agent, RANDOM)),
            "feedback policy's": make("feedback", adaptive),
        }
        if role == "scheduler":
            constants: dict[str, MakeAgent] = {
                "static policy's weights": make("static", fixed),
                "static weights tuned beside it": make("tuned beside", scheduler),
                f"kube-scheduler default ({KUBE_DEFAULT})": one_role(rest, role, partial(load_agent, KUBE_DEFAULT)),
            }
            values = bench.rewards(
                "scheduler constants", list(constants.values()), "validation", settings.validation_windows
            )
            constant = list(constants)[int(values.mean(axis=1).argmax())]
            makers |= constants
        else:
            best, levels, _ = pick_constants(bench, fixed, role, settings.validation_windows, make)
            constant = "best constant (" + ", ".join(f"{knob} {level}" for knob, level in levels.items()) + ")"
            makers[constant] = make("constant", best)
        played = bench.rewards(f"knock-out {role}, learned", list(makers.values()), "test", settings.episodes)
        roles[role] = {
            "best_constant": constant,
            "team_reward": {name: row.tolist() for name, row in zip(makers, played, strict=True)},
        }
    metrics = bench.metrics("learned", {"learned": rest}, "test", settings.episodes)["learned"]
    return {
        "agent": spec,
        "validation": dict(zip(whole, validation.tolist(), strict=True)),
        "metrics": metrics,
        "roles": roles,
        "scheduler": {"kind": scheduler.kind, "weights": scheduler.weights, "origin": scheduler.origin, "curve": curve},
    }


def _tuned_beside(
    bench: Bench, settings: HeadroomSettings, spec: str, static: LinearParameters, folder: Path
) -> tuple[LinearParameters, list[tuple[int, float]]]:
    """The static policy's scheduler, tuned beside the nodes of the learned policy."""
    spread = np.where(block(static, "scheduler"), settings.refinement * deviations(static, settings), 0.0)
    found, tuned = tune_linear(
        bench,
        "tuning static weights beside the learned policy",
        static,
        spread,
        settings,
        settings.learned_generations,
        folder,
        beside(spec, "scheduler"),
    )
    return found, tuned.curve
