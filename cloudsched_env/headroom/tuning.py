"""Tuning a policy by the cross-entropy method on train windows, with a state on disk after every generation.

All candidates of a generation play the same windows with the same cluster seeds (common random numbers), so that they
differ by what they do and not by what they meet; the next generation draws other windows from the pool, so that none
is learned by heart. What is returned is not the last centre but the one that did best on validation windows, the
start included: tuning never makes a policy worse there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.headroom.cross_entropy import CrossEntropySearch
from cloudsched_env.whole_file import write_whole

__all__ = ["Played", "Search", "Tuned", "tune"]

Floats = NDArray[np.float64]

Played = Callable[[Floats, Sequence[int] | None, int], Floats]
"""Values of policies: ``(vectors [policies, parameters], places in the train pool or None for the validation windows,
seed of the clusters) -> [policies, windows]``."""

STATE_FILE = "search.json"
# Clusters of one generation have seeds of their own, so that losses of telemetry are not learned by heart either.
_SEEDS_OF_A_GENERATION = 1000


@dataclass(frozen=True)
class Search:
    """Size and shape of one search.

    Attributes:
        generations: how many.
        population: candidates of each.
        elite_share: share of them that the distribution is refitted to.
        windows: train windows of a generation.
        pool: train windows there are.
        validate_every: generations between two measurements of the centre.
        seed: of the candidates, the choice of windows and the clusters.
    """

    generations: int
    population: int
    elite_share: float
    windows: int
    pool: int
    validate_every: int
    seed: int


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        vector: the best centre on validation windows, ``[parameters]``.
        validation: its mean value there.
        curve: ``(generation, mean value of the centre on validation windows)``; generation 0 is the start.
        history: for each generation the mean values of the elite and the centre on its train windows.
    """

    vector: Floats
    validation: float
    curve: list[tuple[int, float]]
    history: list[dict[str, float]]


def tune(
    start: Floats,
    deviation: Floats,
    played: Played,
    search: Search,
    folder: Path | None,
    resumed: Callable[[int], None] = lambda generations: None,
) -> Tuned:
    """Search for the policy with the highest mean value.

    The result depends on the arguments only: not on the number of threads, and not on how often the search was
    interrupted. After each generation the whole state is written to the folder; a search that finds a state there goes
    on from it, and an interruption loses at most one generation.

    Args:
        start: centre of the first generation, ``[parameters]``.
        deviation: first standard deviations, ``[parameters]``; 0 keeps an entry as it is.
        played: plays policies.
        search: size of the search.
        folder: where the state is kept; None for nowhere.
        resumed: told of the generations that a state found in the folder has behind it.

    Raises:
        ValueError: if the folder holds the state of another search, or a value is not finite.
    """
    path = None if folder is None else folder / STATE_FILE
    asked = {
        **{name: getattr(search, name) for name in search.__dataclass_fields__},
        "start": np.asarray(start, dtype=np.float64).tolist(),
        "deviation": np.asarray(deviation, dtype=np.float64).tolist(),
    }
    if path is not None and path.is_file():
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["asked"] != asked:
            raise ValueError(f"{path}: holds a search with another start or size: expected an empty folder or the same")
        method = CrossEntropySearch.from_json(json.dumps(state["method"]))
        best, curve = np.array(state["best"]), [(int(g), float(v)) for g, v in state["curve"]]
        resumed(method.generation)
    else:
        method = CrossEntropySearch(
            mean=start,
            deviation=deviation,
            generator=np.random.default_rng(search.seed),
            population=search.population,
            elite_share=search.elite_share,
            generations=search.generations,
        )
        best, curve = method.mean.copy(), [(0, float(played(method.mean[None], None, search.seed).mean()))]
    while not method.done:
        windows = np.sort(method.generator.choice(search.pool, size=search.windows, replace=False))
        candidates = method.ask()
        seed = search.seed + _SEEDS_OF_A_GENERATION * (method.generation + 1)
        values = played(candidates, windows.tolist(), seed)
        method.tell(candidates, values.mean(axis=1))
        if method.generation % search.validate_every == 0 or method.done:
            value = float(played(method.mean[None], None, search.seed).mean())
            if value > max(v for _, v in curve):
                best = method.mean.copy()
            curve.append((method.generation, value))
        if path is not None:
            content = {"asked": asked, "best": best.tolist(), "curve": curve, "method": json.loads(method.to_json())}
            write_whole(path, json.dumps(content))
    return Tuned(best, max(value for _, value in curve), curve, method.history)
