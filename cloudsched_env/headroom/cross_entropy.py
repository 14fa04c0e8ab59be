"""The cross-entropy method over a real vector, with a state that can be saved between generations.

Rubinstein & Kroese, The Cross-Entropy Method (2004); with a noise floor that falls over the generations, as Szita &
Lorincz (Neural Computation 2006) found it necessary against early convergence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.whole_file import write_whole

__all__ = ["CrossEntropySearch"]

Floats = NDArray[np.float64]


@dataclass
class CrossEntropySearch:
    """Maximises a noisy function: draw from a normal distribution, refit it to the best draws, repeat.

    Attributes:
        mean: centre of the search, ``[dimension]``.
        deviation: standard deviation of each entry, ``[dimension]``.
        generator: source of all randomness.
        population: draws of a generation, the mean itself included as the first.
        elite_share: share of the draws that the distribution is refitted to.
        smoothing: weight of the refitted distribution against the one before.
        floor: extra deviation at the start as a share of the first deviation; falls linearly to 0 at ``generations``.
        generations: length of the search.
        generation: generations done.
        history: for each generation the mean value of the elite and of the centre.
    """

    mean: Floats
    deviation: Floats
    generator: np.random.Generator
    population: int = 40
    elite_share: float = 0.25
    smoothing: float = 0.7
    floor: float = 0.2
    generations: int = 60
    generation: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    first_deviation: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        self.mean = np.asarray(self.mean, dtype=np.float64)
        self.deviation = np.asarray(self.deviation, dtype=np.float64)
        if self.mean.shape != self.deviation.shape or self.mean.ndim != 1:
            raise ValueError(f"mean {self.mean.shape} and deviation {self.deviation.shape}: expected equal vectors")
        if not len(self.first_deviation):
            self.first_deviation = self.deviation.copy()

    @property
    def done(self) -> bool:
        """Whether all generations have been made."""
        return self.generation >= self.generations

    def ask(self) -> Floats:
        """The next candidates, ``[population, dimension]``; the first is the mean."""
        noise = self.generator.standard_normal((self.population, len(self.mean)))
        noise[0] = 0.0
        return self.mean + noise * self.deviation

    def tell(self, candidates: Floats, values: Floats) -> None:
        """Refit the distribution to the candidates with the highest values, ``[population]``.

        Raises:
            ValueError: if a value is not finite or their number is wrong.
        """
        if values.shape != (len(candidates),) or not np.isfinite(values).all():
            raise ValueError(f"expected {len(candidates)} finite values, got {values}")
        elite = np.argsort(-values, kind="stable")[: max(2, round(self.elite_share * len(candidates)))]
        chosen = candidates[elite]
        rest = max(0.0, 1.0 - (self.generation + 1) / self.generations)
        deviation = np.sqrt(chosen.var(axis=0) + (self.floor * rest * self.first_deviation) ** 2)
        self.mean = (1 - self.smoothing) * self.mean + self.smoothing * chosen.mean(axis=0)
        self.deviation = (1 - self.smoothing) * self.deviation + self.smoothing * deviation
        self.generation += 1
        self.history.append({"elite": float(values[elite].mean()), "centre": float(values[0])})

    def to_json(self) -> str:
        """The whole state, the generator's included."""
        content: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("population", "elite_share", "smoothing", "floor", "generations", "generation", "history")
        }
        for name in ("mean", "deviation", "first_deviation"):
            content[name] = getattr(self, name).tolist()
        return json.dumps({**content, "generator": self.generator.bit_generator.state}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> CrossEntropySearch:
        """The search that `to_json` wrote down; it goes on exactly as if it had not been interrupted."""
        content = json.loads(text)
        generator = np.random.default_rng()
        generator.bit_generator.state = content.pop("generator")
        for name in ("mean", "deviation", "first_deviation"):
            content[name] = np.array(content[name])
        return cls(generator=generator, **content)

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, whole or not at all."""
        write_whole(path, self.to_json())
