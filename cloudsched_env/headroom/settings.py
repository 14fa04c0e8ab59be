"""How much is measured: numbers of windows, generations and candidates. Every default of the study is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import ConfigDict

from cloudsched_env.agents.registry import PLACEMENTS
from cloudsched_env.config_tree import CHECKED, changed

__all__ = ["HeadroomSettings"]


@dataclass(frozen=True)
class HeadroomSettings:
    """Size of a headroom study.

    Attributes:
        seed: of the window lists, the clusters, the agents, the tuner and the bootstrap.
        episodes: test windows; every reported team reward is measured on these.
        validation_windows: windows on which centres of the search and constants are chosen.
        train_windows: pool that each generation draws its windows from.
        windows: train windows of a generation, the same for all its candidates.
        static_generations: of the cross-entropy method for the static policy.
        feedback_generations: of the same for the state-feedback policy.
        population: candidates of a generation.
        elite_share: share of them that the distribution is refitted to.
        validate_every: generations between two measurements of the centre on validation windows.
        placement_deviation: first standard deviation of the weights of pair features.
        context_deviation: of their products with the situation.
        defer_deviation: of the defer score's constant and weight of age.
        defer_context_deviation: of its other weights.
        level_deviation: of a knob's constant, in levels.
        level_weight_deviation: of a knob's weights, in levels.
        refinement: factor on the deviations of weights that a search starts from tuned.
        stretches: after each search of either policy its whole step is tried at these multiples of its length too.
        grid_placements: placements of the joint grid; empty for all.
        grid_windows: validation windows of its first round.
        grid_reduction: each round keeps one combination in this many, and doubles the windows.
        single_couplings: switch couplings off one at a time too, not only all together.
        coupling_generations: of the re-tuning with all couplings off.
        coupling_windows: validation windows for the constants that are chosen anew for each coupling.
        delays: steps from a snapshot to its delivery in the staleness sweep.
        losses: probabilities in the loss sweep.
        bound_windows: shortened windows of the linear program and of hindsight.
        bound_steps: their counted steps, after the warm-up; at most those of the episode.
        hindsight_generations: of the tuning on each of these windows.
        selfish_rounds: how often each role improves its own reward.
        selfish_generations: of each of those searches.
        learned: a trained policy's folder, or the spec of another agent, that roles are knocked out of too; or empty.
        learned_generations: of tuning the static policy's scheduler beside its nodes.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED

    seed: int = 0
    episodes: int = 30
    validation_windows: int = 24
    train_windows: int = 64
    windows: int = 16
    static_generations: int = 60
    feedback_generations: int = 160
    population: int = 40
    elite_share: float = 0.25
    validate_every: int = 5
    placement_deviation: float = 0.5
    context_deviation: float = 0.3
    defer_deviation: float = 1.0
    defer_context_deviation: float = 0.5
    level_deviation: float = 0.8
    level_weight_deviation: float = 0.8
    refinement: float = 0.4
    stretches: tuple[float, ...] = (1.25, 1.5, 2.0)
    grid_placements: tuple[str, ...] = ()
    grid_windows: int = 2
    grid_reduction: int = 6
    single_couplings: bool = True
    coupling_generations: int = 30
    coupling_windows: int = 8
    delays: tuple[int, ...] = (0, 5, 10, 20, 35)
    losses: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7)
    bound_windows: int = 6
    bound_steps: int = 200
    hindsight_generations: int = 12
    selfish_rounds: int = 2
    selfish_generations: int = 6
    learned: str = ""
    learned_generations: int = 15

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: naming the setting and what was expected.
        """
        for name in (
            "episodes", "validation_windows", "windows", "static_generations", "feedback_generations",
            "validate_every", "grid_windows", "coupling_generations", "coupling_windows", "bound_windows",
            "bound_steps", "hindsight_generations", "selfish_rounds", "selfish_generations", "learned_generations",
        ):  # fmt: skip
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("seed", self.seed >= 0, "at least 0")
        self._require("elite_share", 0.0 < self.elite_share <= 1.0, "a share above 0, at most 1")
        for name in (
            "placement_deviation", "context_deviation", "defer_deviation", "defer_context_deviation",
            "level_deviation", "level_weight_deviation", "refinement",
        ):  # fmt: skip
            self._require(name, getattr(self, name) >= 0.0, "at least 0")
        self._require("stretches", all(factor > 0.0 for factor in self.stretches), "factors above 0")
        self._require("delays", bool(self.delays) and min(self.delays) >= 0, "one or more, each at least 0")
        possible = bool(self.losses) and 0.0 <= min(self.losses) <= max(self.losses) <= 1.0
        self._require("losses", possible, "one or more probabilities from 0 to 1")
        unknown = [name for name in self.grid_placements if name not in PLACEMENTS]
        self._require("grid_placements", not unknown, f"some of {', '.join(PLACEMENTS)}")
        if self.population < 4:
            raise ValueError(f"population is {self.population}: expected at least 4, of which some are the elite")
        if self.train_windows < self.windows:
            raise ValueError(
                f"train_windows is {self.train_windows}: expected at least the {self.windows} windows of a generation"
            )
        if self.grid_reduction < 2:
            raise ValueError(f"grid_reduction is {self.grid_reduction}: expected at least 2")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}: expected {expected}")

    def changed(self, changes: Mapping[str, Any]) -> HeadroomSettings:
        """A copy with settings changed by name; lists stand for tuples.

        Raises:
            ValueError: for an unknown name (the nearest ones are suggested), a value of another type or out of range.
        """
        return changed(self, changes, "setting")

    def quick(self) -> HeadroomSettings:
        """The same study with very few windows and generations: shows that all stages run, its numbers say nothing."""
        return replace(
            self,
            episodes=3,
            validation_windows=2,
            train_windows=4,
            windows=2,
            static_generations=2,
            feedback_generations=2,
            population=4,
            validate_every=1,
            grid_placements=("least_allocated", "locality"),
            grid_windows=1,
            grid_reduction=40,
            coupling_generations=1,
            coupling_windows=1,
            delays=(0, 10),
            losses=(0.0, 0.5),
            bound_windows=1,
            bound_steps=20,
            hindsight_generations=1,
            selfish_rounds=1,
            selfish_generations=1,
            learned_generations=1,
        )
