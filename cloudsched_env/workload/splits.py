"""Which part of a workload is for training, which for validation and which for the test, and the fixed test lists.

Traces are split by time, so that no task is in two splits. The generator is split by seed streams. The list of
(window start, seed) of every evaluation on the Google 2011 excerpt and on the generator is a file in ``splits/``;
for other traces it follows from the same rule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from cloudsched_env.workload.episode import Split

__all__ = [
    "SPLITS",
    "SPLIT_STREAM",
    "EvaluationEntry",
    "TraceSplits",
    "committed_entries",
    "grid_entries",
    "seed_entries",
]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# Spawn keys: a SeedSequence with another spawn key is an independent stream, whatever its entropy.
SPLIT_STREAM: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}

# Shares of the Google 2011 excerpt of 19.65 hours: train to hour 12, validation to hour 15, test to the end.
TRAIN_END_SHARE = 12.0 / 19.65
VALIDATION_END_SHARE = 15.0 / 19.65
GRID_S = 900.0
_LEAST_GRID_STEPS = 8  # a shorter trace is split without rounding to the grid
_LIST_SEED = 20110501  # first day of the Google 2011 trace


@dataclass(frozen=True)
class EvaluationEntry:
    """One evaluation episode.

    Attributes:
        seed: seed of everything that is drawn.
        start_s: start of the window on the trace's clock; None for generated workload.
    """

    seed: int
    start_s: float | None = None


@dataclass(frozen=True)
class TraceSplits:
    """Borders of the splits on the trace's clock, in seconds; each split is [border, next border).

    Attributes:
        start_s: start of the train split.
        train_end_s: end of train, start of validation.
        validation_end_s: end of validation, start of test.
        end_s: end of the test split.
    """

    start_s: float
    train_end_s: float
    validation_end_s: float
    end_s: float

    def __post_init__(self) -> None:
        """Check the order of the borders.

        Raises:
            ValueError: if a split would be empty.
        """
        if not self.start_s < self.train_end_s < self.validation_end_s < self.end_s:
            raise ValueError(f"borders of splits must ascend, got {self}: use a longer trace or give explicit borders")

    @classmethod
    def by_share(cls, span_s: tuple[float, float]) -> TraceSplits:
        """The default rule: the shares of the Google 2011 excerpt, rounded to whole quarters of an hour.

        On that excerpt it gives train [0, 12 h), validation [12 h, 15 h), test [15 h, end).

        Args:
            span_s: first and last second of the trace.
        """
        start, end = span_s
        borders = [start + share * (end - start) for share in (TRAIN_END_SHARE, VALIDATION_END_SHARE)]
        if end - start >= _LEAST_GRID_STEPS * GRID_S:
            borders = [GRID_S * round(border / GRID_S) for border in borders]
        return cls(start, borders[0], borders[1], float(np.nextafter(end, np.inf)))

    @classmethod
    def by_hours(cls, span_s: tuple[float, float], train_end_h: float, validation_end_h: float) -> TraceSplits:
        """Explicit borders, in hours of the trace's clock.

        Args:
            span_s: first and last second of the trace.
            train_end_h: end of train.
            validation_end_h: end of validation.
        """
        return cls(span_s[0], 3600 * train_end_h, 3600 * validation_end_h, float(np.nextafter(span_s[1], np.inf)))

    def bounds(self, split: Split) -> tuple[float, float]:
        """Start and end of a split.

        Raises:
            ValueError: for an unknown split.
        """
        borders = (self.start_s, self.train_end_s, self.validation_end_s, self.end_s)
        if split not in SPLIT_STREAM:
            raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
        place = SPLIT_STREAM[split]
        return borders[place], borders[place + 1]

    def window_starts(self, split: Split, length_s: float) -> list[float]:
        """Starts on the quarter-hour grid of all windows that lie wholly inside a split.

        In a split that holds a window but none on the grid, the only start is that of the split.

        Args:
            split: the split.
            length_s: trace seconds of a window.
        """
        first, end = self.bounds(split)
        last = end - length_s
        starts = [GRID_S * k for k in range(int(np.ceil(first / GRID_S)), int(np.floor(last / GRID_S)) + 1)]
        return starts or ([first] if first <= last else [])


def grid_entries(starts: list[float], split: Split, rounds: int) -> list[EvaluationEntry]:
    """The rule of evaluation lists: all window starts in random order, again and again, each time with new seeds.

    Args:
        starts: window starts.
        split: the split; every split has its own order and seeds.
        rounds: how often each start occurs.
    """
    rng = np.random.default_rng(np.random.SeedSequence(_LIST_SEED, spawn_key=(SPLIT_STREAM[split],)))
    entries = []
    for _ in range(rounds):
        for place in rng.permutation(len(starts)).tolist():
            entries.append(EvaluationEntry(seed=int(rng.integers(2**32)), start_s=starts[place]))
    return entries


def seed_entries(split: Split, count: int) -> list[EvaluationEntry]:
    """The rule of evaluation lists of generated workload: random seeds.

    Args:
        split: the split; every split has its own seeds.
        count: how many.
    """
    rng = np.random.default_rng(np.random.SeedSequence(_LIST_SEED, spawn_key=(SPLIT_STREAM[split], 1)))
    return [EvaluationEntry(seed=int(seed)) for seed in rng.integers(2**32, size=count)]


def committed_entries(name: str, split: Split) -> list[EvaluationEntry]:
    """A committed list of evaluation episodes.

    Args:
        name: ``"google2011-excerpt"`` or ``"generated"``.
        split: ``"validation"`` or ``"test"``.

    Raises:
        ValueError: if there is no such list.
    """
    text = resources.files("cloudsched_env.workload").joinpath("splits", f"{name}.json").read_text(encoding="utf-8")
    lists = json.loads(text)["episodes"]
    if split not in lists:
        raise ValueError(f"no evaluation list for split {split!r}: expected one of {', '.join(lists)}")
    return [EvaluationEntry(**entry) for entry in lists[split]]
