"""What each role is worth: the state-feedback policy with one role replaced by something simpler.

Roles are replaced by the random agent, by the best of their constants, and by other rules. Constants are chosen on
validation windows; what is reported is measured on test windows, window by window against the whole policy. For
compute and storage nodes the constants are all pairs of levels. A scheduler has no constant: its place is taken by the
best on validation windows of the rules that do not adapt, the static policy's weights and kube-scheduler's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.linear import LinearParameters, linear_agent
from cloudsched_env.agents.mixed import MixedAgent
from cloudsched_env.agents.protocol import Agent
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.by_type import make_by_type, pick_by_type
from cloudsched_env.headroom.families import KNOBS_OF, constant_pairs, groups_of, make_linear, pick_constants
from cloudsched_env.headroom.play import MakeAgent
from cloudsched_env.headroom.policies import KUBE_DEFAULT, RANDOM, parameters_of
from cloudsched_env.headroom.settings import HeadroomSettings

__all__ = ["ROLES", "knock_out", "one_role", "replaced"]

ROLES = ("scheduler", "compute", "storage")


def one_role(rest: MakeAgent, role: str, one: MakeAgent) -> MakeAgent:
    """A maker of an agent in which another plays one role."""

    def make() -> Agent:
        others, player = rest(), one()
        return MixedAgent(f"{player.name} as {role}", {each: player if each == role else others for each in ROLES})

    return make


def replaced(parameters: LinearParameters, role: str, spec: str) -> MakeAgent:
    """A maker of the linear policy in which another agent plays one role."""
    return one_role(make_linear("rest", parameters), role, partial(load_agent, spec))


def knock_out(
    bench: Bench, settings: HeadroomSettings, static: Mapping[str, Any], feedback: Mapping[str, Any]
) -> dict[str, Any]:
    """Replace each role of the feedback policy.

    Returns:
        ``roles``: for each role and each replacement J on test windows, and which of them is its best constant;
        ``constants``: mean J on validation windows of every constant.
    """
    policy, fixed = parameters_of(feedback), parameters_of(static).as_feedback()
    roles: dict[str, dict[str, Any]] = {}
    constants: dict[str, list[dict[str, Any]]] = {}
    for role in ROLES:
        makers: dict[str, MakeAgent] = {"random": replaced(policy, role, RANDOM)}
        as_static = replace(
            policy, weights={**policy.weights, **{g: fixed.weights[g] for g in groups_of(policy, role)}}
        )
        static_name = "static policy's weights" if role == "scheduler" else "static policy's levels"
        makers[static_name] = make_linear(f"static {role}", as_static)
        if role == "scheduler":
            makers[f"kube-scheduler default ({KUBE_DEFAULT})"] = replaced(policy, role, KUBE_DEFAULT)
            names = [name for name in makers if name != "random"]
            values = bench.rewards(
                "scheduler constants", [makers[n] for n in names], "validation", settings.validation_windows
            ).mean(axis=1)
            constant = names[int(values.argmax())]
            constants[role] = [{"name": n, "validation": float(v)} for n, v in zip(names, values, strict=True)]
        else:
            best, levels, means = pick_constants(bench, policy, role, settings.validation_windows)
            constant = "best constant (" + ", ".join(f"{knob} {level}" for knob, level in levels.items()) + ")"
            makers[constant] = make_linear("constant", best)
            if role == "compute":
                by_type, _ = pick_by_type(
                    bench,
                    best,
                    tuple(levels[knob] for knob in KNOBS_OF[role]),
                    settings.validation_windows,
                )
                makers["best constants by node type"] = make_by_type(best, by_type)
            makers["reactive rules"] = replaced(policy, role, f"{KUBE_DEFAULT}+reactive")
            constants[role] = [
                {**pair, "validation": value} for pair, value in zip(constant_pairs(bench, role), means, strict=True)
            ]
        played = bench.rewards(f"knock-out {role}", list(makers.values()), "test", settings.episodes)
        roles[role] = {
            "best_constant": constant,
            "team_reward": {name: row.tolist() for name, row in zip(makers, played, strict=True)},
        }
    whole = bench.rewards("feedback", [partial(linear_agent, "feedback", policy)], "test", settings.episodes)
    return {"feedback": whole[0].tolist(), "roles": roles, "constants": constants}
