"""The best joint heuristic: a grid over placements, compute knobs and storage knobs, thinned out round by round.

The grid has every placement with every pair of levels of the compute nodes, or reactive compute knobs, and every pair
of levels of the storage nodes, or reactive storage knobs: some thousands of combinations. Measuring all on many
windows would take hours, so this is successive halving (Jamieson and Talwalkar, AISTATS 2016) over windows: the first
round plays all on a few validation windows, each further one plays the best of the last on twice as many, until the
last few have played all of them. What is lost is a combination that is among the best on all windows but far from it
on the first ones. Parameters of placements stay at their defaults. Where nodes can sleep, the winner is tried with
autoscalers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents import load_agent
from cloudsched_env.agents.heuristics import HeuristicAgent, Knobs, ReactiveKnobs
from cloudsched_env.agents.heuristics.knobs import KNOB_NAMES, Levels
from cloudsched_env.agents.protocol import ClusterInfo, Observations
from cloudsched_env.agents.registry import PLACEMENTS
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import KNOBS_OF, constant_pairs
from cloudsched_env.headroom.play import team_reward
from cloudsched_env.headroom.settings import HeadroomSettings

__all__ = ["Combination", "best_joint_heuristic", "grid", "halving"]

Floats = NDArray[np.float64]

# Clusters stepped at once; randomised placements draw by row, so that results would change with it.
_ROWS = 128
# Loads of the nodes that are on below which the autoscalers let idle nodes sleep.
SLEEP_LOADS = (0.3, 0.5, 0.7, 0.9, 1.1)


@dataclass(frozen=True)
class Combination:
    """One point of the grid.

    Attributes:
        placement: name of a placement.
        compute: levels of cache, admission and purging; None for reactive knobs.
        storage: levels of background and serve weight; None for reactive knobs.
        sleep_load: of the autoscaler among the reactive compute knobs; 0 keeps all nodes on.
    """

    placement: str
    compute: tuple[int, ...] | None
    storage: tuple[int, ...] | None
    sleep_load: float = 0.0

    @property
    def spec(self) -> str:
        """How `cloudsched_env.agents.load_agent` names it."""
        levels = {
            role: dict(zip(KNOBS_OF[role], chosen, strict=True))
            for role, chosen in (("compute", self.compute), ("storage", self.storage))
            if chosen is not None
        }
        texts = {role: ",".join(f"{knob}={level}" for knob, level in chosen.items()) for role, chosen in levels.items()}
        if len(texts) == 2:
            return f"{self.placement}+static({texts['compute']},{texts['storage']})"
        rules = dict.fromkeys(KNOBS_OF, "reactive")
        if self.sleep_load:
            rules["compute"] = f"reactive(sleep_load={self.sleep_load})"
        rules |= {role: f"static({text})" for role, text in texts.items()}
        if rules["compute"] == rules["storage"]:
            return f"{self.placement}+reactive"
        compute, storage = (f"{self.placement}+{rules[role]}" for role in ("compute", "storage"))
        return f'mixed(compute="{compute}", storage="{storage}", scheduler="{self.placement}")'


@dataclass(frozen=True)
class _RowKnobs(Knobs):
    """Another constant for every cluster of the batch, or the reactive level where the constant is -1."""

    summary: ClassVar[str] = "constants by cluster"
    levels: Levels = field(default_factory=lambda: np.empty((0, len(KNOB_NAMES)), np.int64))
    reactive: ReactiveKnobs = field(default_factory=ReactiveKnobs)

    def wanted(self, info: ClusterInfo, observations: Observations, step: int) -> tuple[Levels, ...]:
        adaptive = self.reactive.wanted(info, observations, step)
        return tuple(
            np.where(self.levels[:, k, None] < 0, level, self.levels[:, k, None]) for k, level in enumerate(adaptive)
        )


def grid(bench: Bench, placements: Sequence[str] = ()) -> list[Combination]:
    """All combinations, by default with all placements."""
    compute = [None, *(tuple(pair.values()) for pair in constant_pairs(bench, "compute"))]
    storage = [None, *(tuple(pair.values()) for pair in constant_pairs(bench, "storage"))]
    return [Combination(name, c, s) for name in (placements or PLACEMENTS) for c in compute for s in storage]


def measure(bench: Bench, combinations: Sequence[Combination], windows: int) -> Floats:
    """J of combinations on the first validation windows, ``[combinations, windows]``."""
    episodes = bench.episodes("validation", windows)
    by_placement: dict[str, list[tuple[int, int]]] = {}
    for index, combination in enumerate(combinations):
        by_placement.setdefault(combination.placement, []).extend((index, window) for window in range(windows))
    chunks = [
        (name, rows[first : first + _ROWS])
        for name, rows in by_placement.items()
        for first in range(0, len(rows), _ROWS)
    ]
    values = np.empty((len(combinations), windows))

    def play(chunk: tuple[str, list[tuple[int, int]]]) -> None:
        name, rows = chunk
        adaptive = {role: (-1,) * len(knobs) for role, knobs in KNOBS_OF.items()}
        levels = np.array(
            [
                [
                    *(combinations[i].compute or adaptive["compute"]),
                    *(combinations[i].storage or adaptive["storage"]),
                ]
                for i, _ in rows
            ]
        )
        agent = HeuristicAgent(name, PLACEMENTS[name](), _RowKnobs(levels))
        records = bench.player.batch(
            agent, [episodes[window] for _, window in rows], [bench.seed + window for _, window in rows]
        )
        for (index, window), record in zip(rows, records, strict=True):
            values[index, window] = team_reward(record)
        bench.progress.advance(len(rows))

    bench.progress.begin(f"joint grid, {len(combinations)} combinations", len(combinations) * windows)
    bench.player.map(play, chunks)
    return values


def halving(
    bench: Bench, combinations: Sequence[Combination], first_windows: int, windows: int, reduction: int
) -> tuple[Combination, list[dict[str, Any]]]:
    """The best combination on validation windows, by successive halving.

    Args:
        bench: what plays.
        combinations: what there is to choose from.
        first_windows: of the first round.
        windows: of the last round; each round doubles them.
        reduction: a round keeps one combination in this many.

    Returns:
        The winner, and for each round its size, its windows, the best mean J, and who had it.
    """
    left, played, rounds = list(combinations), min(first_windows, windows), []
    while True:
        means = measure(bench, left, played).mean(axis=1)
        order = np.argsort(-means, kind="stable")
        rounds.append(
            {
                "combinations": len(left),
                "windows": played,
                "best": float(means[order[0]]),
                "leaders": [left[i].spec for i in order[:5]],
            }
        )
        if played == windows or len(left) == 1:
            return left[order[0]], rounds
        left = [left[i] for i in sorted(order[: max(1, -(-len(left) // reduction))])]
        played = min(windows, 2 * played)


def _with_autoscaler(bench: Bench, winner: Combination, windows: int) -> tuple[Combination, dict[str, Any]]:
    """The winner of the grid, or its placement and storage with one of the autoscalers, whichever does best.

    Autoscalers are part of the reactive compute knobs. The grid has all nodes on: with each of these in it, it would
    be six times as large.
    """
    scaled = [replace(winner, compute=None, sleep_load=load) for load in SLEEP_LOADS]
    combinations = [winner, *scaled]
    makers = [partial(load_agent, combination.spec) for combination in combinations]
    means = bench.rewards("autoscalers", makers, "validation", windows).mean(axis=1)
    order = np.argsort(-means, kind="stable")
    tried = {
        "combinations": len(combinations),
        "windows": windows,
        "best": float(means[order[0]]),
        "leaders": [combinations[i].spec for i in order[:5]],
    }
    return combinations[order[0]], tried


def best_joint_heuristic(bench: Bench, settings: HeadroomSettings) -> dict[str, Any]:
    """Choose on validation windows, measure on test windows."""
    combinations = grid(bench, settings.grid_placements)
    winner, rounds = halving(
        bench, combinations, settings.grid_windows, settings.validation_windows, settings.grid_reduction
    )
    if bench.scenario.elastic.enabled:
        winner, tried = _with_autoscaler(bench, winner, settings.validation_windows)
        rounds.append(tried)
    played = bench.metrics(
        "best joint heuristic", {"joint": lambda: load_agent(winner.spec)}, "test", settings.episodes
    )
    return {"winner": winner.spec, "combinations": len(combinations), "rounds": rounds, "metrics": played["joint"]}
