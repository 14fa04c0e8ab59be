"""The two policies that are tuned, and what they are searched with: deviations, blocks of a role, constant knobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.knobs import KNOBS_OF, knob_choices
from cloudsched_env.agents.linear import LinearParameters, linear_agent
from cloudsched_env.agents.linear.features import CONTEXT_FEATURES, DEFER_CONTEXT_FEATURES
from cloudsched_env.agents.linear.parameters import POWER, Kind
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.play import MakeAgent
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.tuning import Played, Search, Tuned, tune
from cloudsched_env.workload.episode import Episode

__all__ = [
    "KNOBS_OF",
    "MakeLinear",
    "best_constants",
    "block",
    "constant_pairs",
    "deviations",
    "groups_of",
    "make_linear",
    "packaged",
    "pick_constants",
    "pick_nodes_on",
    "play_linear",
    "tune_linear",
    "with_constants",
    "with_nodes_on",
]

Floats = NDArray[np.float64]

MakeLinear = Callable[[str, LinearParameters], MakeAgent]
"""How parameters become an agent: by `make_linear`, or as one role beside the roles of another agent."""


def make_linear(name: str, parameters: LinearParameters) -> MakeAgent:
    """A maker of the linear agent with these parameters."""
    return partial(linear_agent, name, parameters)


def packaged(bench: Bench, kind: Kind) -> LinearParameters:
    """The packaged policy as a search on this bench starts from it: it may send nodes to sleep where they can."""
    parameters = LinearParameters.packaged(kind)
    return parameters.with_power() if bench.scenario.elastic.enabled else parameters


def groups_of(parameters: LinearParameters, role: str) -> tuple[str, ...]:
    """The groups of weights that decide for a role."""
    if role == "scheduler":
        return ("placement", "defer")
    return (*KNOBS_OF[role], POWER) if role == "compute" and parameters.has_power else KNOBS_OF[role]


def deviations(parameters: LinearParameters, settings: HeadroomSettings) -> Floats:
    """First standard deviation of every weight, by its group, ``[parameters]``."""
    values = []
    for name in LinearParameters.names(parameters.kind, parameters.has_power):
        group, _, feature = name.partition(".")
        if group == "placement":
            wide = settings.context_deviation if feature in CONTEXT_FEATURES else settings.placement_deviation
        elif group == "defer":
            in_context = feature in DEFER_CONTEXT_FEATURES
            wide = settings.defer_context_deviation if in_context else settings.defer_deviation
        else:
            wide = settings.level_deviation if feature == "bias" else settings.level_weight_deviation
        values.append(wide)
    return np.array(values)


def block(parameters: LinearParameters, role: str) -> NDArray[np.bool_]:
    """Which entries of the flat vector decide for a role, ``[parameters]``."""
    names, groups = LinearParameters.names(parameters.kind, parameters.has_power), groups_of(parameters, role)
    return np.array([name.partition(".")[0] in groups for name in names])


def with_constants(parameters: LinearParameters, levels: dict[str, float]) -> LinearParameters:
    """The same policy with some knobs fixed: their bias is the level, their other weights are 0."""
    weights = {group: dict(features) for group, features in parameters.weights.items()}
    for knob, level in levels.items():
        weights[knob] = dict.fromkeys(weights[knob], 0.0) | {"bias": float(level)}
    return replace(parameters, weights=weights)


def constant_pairs(bench: Bench, role: str) -> list[dict[str, int]]:
    """Every combination of levels of a role's knobs."""
    counts = [range(len(knob_choices(bench.scenario)[knob])) for knob in KNOBS_OF[role]]
    return [dict(zip(KNOBS_OF[role], levels, strict=True)) for levels in product(*counts)]


def with_nodes_on(parameters: LinearParameters, nodes_on: int, nodes: int) -> LinearParameters:
    """The same policy with a constant number of nodes on: the first ones, or the last ones if it is negative."""
    first, count = nodes_on > 0, abs(nodes_on)
    # On from one half: the threshold lies between the last node that is on and its neighbour, in ranks from 0 to 1.
    threshold = (count - 0.5 if first else nodes - count - 0.5) / max(1, nodes - 1)
    sign = 1.0 if first else -1.0
    weights = dict.fromkeys(parameters.weights[POWER], 0.0) | {"bias": 0.5 + sign * threshold, "rank": -sign}
    return replace(parameters, weights={**parameters.weights, POWER: weights})


def pick_nodes_on(
    bench: Bench, parameters: LinearParameters, windows: int, make: MakeLinear = make_linear
) -> tuple[LinearParameters, int, float]:
    """Fix the number of nodes that are on at the one that does best on validation windows, from either end.

    Returns:
        The policy, the number as `with_nodes_on` has it, and its mean J.
    """
    nodes, fewest = bench.scenario.role_counts["compute"], bench.scenario.elastic.minimum_nodes
    numbers = [nodes, *(end * n for n in range(min(fewest, nodes), nodes) for end in (1, -1))]
    policies = [with_nodes_on(parameters, number, nodes) for number in numbers]
    values = bench.rewards("nodes on", [make("nodes on", policy) for policy in policies], "validation", windows)
    means = values.mean(axis=1)
    best = int(means.argmax())
    return policies[best], numbers[best], float(means[best])


def pick_constants(
    bench: Bench, parameters: LinearParameters, role: str, windows: int, make: MakeLinear = make_linear
) -> tuple[LinearParameters, dict[str, int], list[float]]:
    """Fix a role's knobs at the levels that do best on validation windows.

    Where compute nodes can sleep, the number of nodes that are on is fixed first, with the knobs as they are.

    Returns:
        The policy, the levels, and the mean J of every combination of knobs in the order of `constant_pairs`.
    """
    power = {}
    if role == "compute" and parameters.has_power:
        parameters, power["nodes_on"], _ = pick_nodes_on(bench, parameters, windows, make)
    pairs = constant_pairs(bench, role)
    policies = [with_constants(parameters, dict(pair)) for pair in pairs]
    makers = [make("constant", policy) for policy in policies]
    values = bench.rewards(f"{role} constants", makers, "validation", windows).mean(axis=1)
    best = int(values.argmax())
    return policies[best], {**pairs[best], **power}, values.tolist()


def best_constants(bench: Bench, parameters: LinearParameters, windows: int) -> tuple[LinearParameters, float]:
    """Replace constant knobs by better ones, one role after the other, if validation windows say so.

    Args:
        bench: what plays.
        parameters: of kind ``static``.
        windows: validation windows.

    Returns:
        The policy and its mean J on the validation windows.
    """
    makers = [make_linear("static", parameters)]
    value = float(bench.rewards("static centre", makers, "validation", windows).mean())
    for role in KNOBS_OF:
        candidate, _, values = pick_constants(bench, parameters, role, windows)
        if max(values) > value:
            parameters, value = candidate, max(values)
    return parameters, value


def play_linear(
    bench: Bench,
    description: str,
    base: LinearParameters,
    train: Sequence[Episode],
    validation: Sequence[Episode],
    make: MakeLinear = make_linear,
) -> Played:
    """How `tune` plays linear policies of the kind of ``base``: team reward on windows of this bench."""

    def played(vectors: Floats, places: Sequence[int] | None, seed: int) -> Floats:
        episodes = validation if places is None else [train[place] for place in places]
        makers = [make(description, LinearParameters.from_vector(base.kind, v, "search")) for v in vectors]
        step = len(episodes)
        return bench.player.team_rewards(makers, episodes, seed, lambda: bench.progress.advance(step))

    return played


def tune_linear(
    bench: Bench,
    description: str,
    start: LinearParameters,
    deviation: Floats,
    settings: HeadroomSettings,
    generations: int,
    folder: Path | None,
    make: MakeLinear = make_linear,
) -> tuple[LinearParameters, Tuned]:
    """Tune a linear policy for team reward on the train windows of a bench.

    Args:
        bench: what plays.
        description: what the progress bar says.
        start: parameters of the first centre.
        deviation: first standard deviations, ``[parameters]``.
        settings: sizes.
        generations: of the search.
        folder: where its state is kept.
        make: how its parameters become an agent.
    """
    train = bench.episodes("train", settings.train_windows)
    validation = bench.episodes("validation", settings.validation_windows)
    search = Search(
        generations=generations,
        population=settings.population,
        elite_share=settings.elite_share,
        windows=settings.windows,
        pool=len(train),
        validate_every=settings.validate_every,
        seed=settings.seed,
    )
    measured = 2 + (generations - 1) // settings.validate_every
    bench.progress.begin(description, generations * settings.population * settings.windows + measured * len(validation))
    played = play_linear(bench, description, start, train, validation, make)
    of_a_generation = settings.population * settings.windows
    tuned = tune(
        start.to_vector(),
        deviation,
        played,
        search,
        folder,
        lambda done: bench.progress.advance(done * of_a_generation),
    )
    origin = (
        f"cross-entropy method, {generations} generations on {bench.scenario.id}, validation J {tuned.validation:.4f}"
    )
    return LinearParameters.from_vector(start.kind, tuned.vector, origin), tuned
