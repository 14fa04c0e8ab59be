"""Offered loads, and how tight the upper bound is: fluid, linear program and hindsight on shortened windows.

The fluid bound costs nothing and is taken on whole windows; the linear program knows memory, caches and storage too,
but only shortened windows are affordable. On these, three numbers enclose the best that any policy could do: what a
policy tuned on that very window reaches is below it, the linear program above, the fluid bound above that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import deviations, make_linear
from cloudsched_env.headroom.hindsight import hindsight, tightness
from cloudsched_env.headroom.linear_program import foresight_bound
from cloudsched_env.headroom.offered import RESOURCES, offered_loads
from cloudsched_env.headroom.play import ParallelPlayer
from cloudsched_env.headroom.policies import KUBE_DEFAULT, RANDOM, parameters_of
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.tuning import Search, tune
from cloudsched_env.headroom.windows import shorten
from cloudsched_env.workload.episode import Episode

__all__ = ["study_bounds"]

Floats = NDArray[np.float64]


def study_bounds(
    bench: Bench, settings: HeadroomSettings, static: Mapping[str, Any], feedback: Mapping[str, Any]
) -> dict[str, Any]:
    """Offered loads of the test windows; bounds and policies on the beginnings of the first of them.

    Returns:
        ``offered``: each quantity with its definition and its mean, least and largest value over test windows;
        ``team_reward``: J of policies, hindsight and bounds on the shortened windows; ``useful_utilisation``: of the
        bounds there; ``steps``: length of these windows; ``programs``: sizes and times of the linear programs.
    """
    episodes = bench.episodes("test", settings.episodes)
    loads = offered_loads(bench.scenario, episodes)
    offered = {
        r.name: {"unit": r.unit, "definition": r.definition, **dataclasses.asdict(getattr(loads, r.name))}
        for r in RESOURCES
    }
    clock = bench.scenario.time
    steps = min(clock.warmup_steps + settings.bound_steps, clock.horizon_steps)
    pairs = [shorten(bench.scenario, episode, steps) for episode in episodes[: settings.bound_windows]]
    scenario, windows = pairs[0][0], [episode for _, episode in pairs]

    bench.progress.begin("linear programs", len(windows))
    bounds = bench.player.map(partial(foresight_bound, scenario), windows, bench.progress.advance)
    tuned = {"static": parameters_of(static), "feedback": parameters_of(feedback)}
    makers = {RANDOM: partial(load_agent, RANDOM), "kube_default": partial(load_agent, KUBE_DEFAULT)} | {
        name: make_linear(name, parameters) for name, parameters in tuned.items()
    }
    player = ParallelPlayer(scenario, bench.threads)
    try:
        bench.progress.begin("shortened windows", len(makers) * len(windows))
        played = player.team_rewards(makers.values(), windows, bench.seed, lambda: bench.progress.advance(len(windows)))
        starts = [parameters.as_feedback() for parameters in tuned.values()]
        reached = _hindsight(bench, settings, player, windows, starts)
    finally:
        player.close()
    enclosed = tightness(bounds, reached)
    rewards = {name: row.tolist() for name, row in zip(makers, played, strict=True)}
    rewards |= {
        "hindsight": enclosed.hindsight.tolist(),
        "foresight": enclosed.foresight.tolist(),
        "fluid": enclosed.fluid.tolist(),
    }
    return {
        "offered": offered,
        "steps": steps,
        "team_reward": rewards,
        "useful_utilisation": {
            "foresight": [bound.useful_utilisation for bound in bounds],
            "fluid": [bound.fluid.useful_utilisation for bound in bounds],
        },
        "programs": [
            {"variables": b.variables, "rows": b.rows, "seconds": b.seconds, "optimal": b.optimal} for b in bounds
        ],
    }


def _hindsight(
    bench: Bench,
    settings: HeadroomSettings,
    player: ParallelPlayer,
    windows: Sequence[Episode],
    starts: Sequence[LinearParameters],
) -> Any:
    """The best feedback policy on each window, tuned on that window: it knows its tasks and its lost messages."""
    wide = settings.refinement * deviations(starts[0], settings)
    budget = settings.hindsight_generations * settings.population
    bench.progress.begin("hindsight", len(windows) * len(starts) * budget)

    def play(vectors: Floats, episodes: Sequence[Episode], seed: int) -> Floats:
        makers = [make_linear("hindsight", LinearParameters.from_vector("feedback", v, "search")) for v in vectors]
        return player.team_rewards(makers, episodes, seed, bench.progress.advance)

    def search(episodes: Sequence[Episode], start: Floats, episodes_to_play: int) -> Floats:
        # On all windows together (`evaluate`), cluster i has this seed: here it meets the same losses and crashes.
        place = next(i for i, episode in enumerate(windows) if episode is episodes[0])
        size = Search(
            generations=max(1, episodes_to_play // settings.population),
            population=settings.population,
            elite_share=settings.elite_share,
            windows=1,
            pool=1,
            validate_every=1,
            seed=settings.seed,
        )
        return tune(start, wide, lambda v, places, seed: play(v, episodes, bench.seed + place), size, None).vector

    return hindsight(
        windows,
        np.stack([start.to_vector() for start in starts]),
        search,
        lambda policies: play(policies, windows, bench.seed),
        budget,
    )
