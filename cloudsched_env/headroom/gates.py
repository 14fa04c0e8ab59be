"""When a scenario is worth shipping: conditions on the numbers of a headroom study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cloudsched_env.evaluation.statistics import Interval, bootstrap_interval, paired_difference
from cloudsched_env.headroom.couplings import ALL_OFF, ALL_ON
from cloudsched_env.headroom.policies import RANDOM
from cloudsched_env.headroom.span import Span, ratio_interval

__all__ = ["Gate", "Results", "compute_gates", "span_of"]

Results = Mapping[str, Mapping[str, Any]]
"""What the stages of a study returned, by their names; stages that have not run are absent."""

RANDOM_UTILISATION_AT_MOST = 0.7
FEEDBACK_OVER_STATIC_AT_LEAST = 0.08
CONSTANT_COSTS_AT_LEAST = 0.03
RANDOM_COSTS_AT_LEAST = 0.08
COUPLINGS_CLOSE_AT_LEAST = 0.5
# More than all of the gap closes if tuning ends below the simple policy; far more says that tuning failed there.
COUPLINGS_CLOSE_AT_MOST = 1.5
CORRELATION_BETWEEN = (0.3, 0.7)


@dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        name: short name.
        meaning: what the value is.
        interval: estimate of the value with its 95 % bootstrap interval over test windows.
        at_least: smallest value that passes, if there is one.
        at_most: largest value that passes, if there is one.
        above: what the whole interval must exceed, if there is such a number: that an effect exists at all.
    """

    name: str
    meaning: str
    interval: Interval
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None

    @property
    def value(self) -> float:
        """The estimate."""
        return self.interval.estimate

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limits; a value that does not exist fails."""
        return bool(
            np.isfinite(self.value)
            and (self.at_least is None or self.value >= self.at_least)
            and (self.at_most is None or self.value <= self.at_most)
            and (self.above is None or self.interval.low > self.above)
        )

    @property
    def threshold(self) -> str:
        """The limits, for people."""
        parts = [f"≥ {self.at_least:g}"] if self.at_least is not None else []
        parts += [f"≤ {self.at_most:g}"] if self.at_most is not None else []
        parts += [f"interval > {self.above:g}"] if self.above is not None else []
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        interval = {k: None if np.isnan(v) else v for k, v in asdict(self.interval).items()}
        return {
            "name": self.name,
            "meaning": self.meaning,
            "value": interval["estimate"],
            "interval": interval,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "above": self.above,
            "passed": self.passed,
        }


def span_of(results: Results, seed: int) -> Span:
    """The random agent and the fluid bound on the test windows.

    Raises:
        KeyError: without the stage ``heuristics``.
    """
    stage = results["heuristics"]
    floor = np.array(stage["metrics"][RANDOM]["team_reward"])
    return Span(floor, np.array(stage["bound"]["team_reward"]), seed)


def compute_gates(results: Results, seed: int) -> list[Gate]:
    """All gates for which the stages have run.

    Args:
        results: of the stages.
        seed: of the bootstrap.
    """
    if "heuristics" not in results:
        return []
    span = span_of(results, seed)
    gates = [_random_utilisation(results, seed)]
    if "static" in results and "feedback" in results:
        gates += _tuned(results, span)
    if "knockout" in results:
        gates += _knockout(results, span)
    if "couplings" in results:
        gates.append(_couplings(results, seed))
    if "local_rewards" in results:
        gates += _local_rewards(results, seed)
    return gates


def _random_utilisation(results: Results, seed: int) -> Gate:
    stage = results["heuristics"]
    used = stage["metrics"][RANDOM]["useful_utilisation"]
    return Gate(
        "random is bad",
        "useful utilisation of the random agent / of the bound",
        ratio_interval(used, stage["bound"]["useful_utilisation"], seed),
        at_most=RANDOM_UTILISATION_AT_MOST,
    )


def _tuned(results: Results, span: Span) -> Iterator[Gate]:
    static, feedback = (np.array(results[name]["metrics"]["team_reward"]) for name in ("static", "feedback"))
    yield Gate(
        "feedback pays",
        "(J feedback - J static) / (bound - J random)",
        span.share(feedback - static),
        at_least=FEEDBACK_OVER_STATIC_AT_LEAST,
    )
    yield Gate(
        "room is left",
        "(bound - J feedback) / (bound - J random)",
        span.share(span.bound - feedback),
        above=0.0,
    )


def _knockout(results: Results, span: Span) -> Iterator[Gate]:
    """Of the best policy known, for what a role is worth is seen by whoever plays it well."""
    whole, roles, of = results["knockout"]["feedback"], results["knockout"]["roles"], "the tuned feedback policy"
    if "learned" in results:
        learned = results["learned"]
        if learned["validation"]["learned"] > learned["validation"]["feedback"]:
            whole, roles, of = learned["metrics"]["team_reward"], learned["roles"], "the learned policy"
    for role, stored in roles.items():
        rewards = stored["team_reward"]
        yield Gate(
            f"{role} adapts",
            f"J that {of} loses with the {role} role at its {_plain(stored['best_constant'])} / (bound - J random)",
            span.loss(whole, rewards[stored["best_constant"]]),
            at_least=CONSTANT_COSTS_AT_LEAST,
        )
        yield Gate(
            f"{role} matters",
            f"J that {of} loses with the {role} role at random / (bound - J random)",
            span.loss(whole, rewards["random"]),
            at_least=RANDOM_COSTS_AT_LEAST,
        )


def _plain(constant: str) -> str:
    return constant if constant.startswith("best") else f"best rule that does not adapt ({constant})"


def _couplings(results: Results, seed: int) -> Gate:
    variants = results["couplings"]["variants"]

    def gap(name: str) -> np.ndarray:
        """J of the best tuned policy - J of the simple one, by window."""
        rewards = {agent: np.array(values) for agent, values in variants[name]["team_reward"].items()}
        tuned = max((rewards[a] for a in ("static", "feedback", "retuned") if a in rewards), key=np.mean)
        return tuned - rewards["simple"]

    on, off = gap(ALL_ON), gap(ALL_OFF)
    # Without a gap there is nothing that couplings could make: such a scenario fails.
    exists = on.mean() > 0
    return Gate(
        "couplings make it",
        "share of the gap between tuned and simple policies that closes with all couplings off",
        ratio_interval(on - off, on, seed) if exists else Interval(np.nan, np.nan, np.nan),
        at_least=COUPLINGS_CLOSE_AT_LEAST,
        at_most=COUPLINGS_CLOSE_AT_MOST,
    )


def _local_rewards(results: Results, seed: int) -> Iterator[Gate]:
    stage = results["local_rewards"]
    low, high = CORRELATION_BETWEEN
    for unit in ("step", "second"):
        values = np.array(stage["correlation"]["all"][unit], dtype=np.float64)
        yield Gate(
            f"local rewards guide ({unit})",
            f"correlation within an episode of the sum of local rewards with the team reward, per {unit}",
            bootstrap_interval(values, np.random.default_rng(seed)),
            at_least=low,
            at_most=high,
        )
    turns = stage["turns"]
    yield Gate(
        "selfishness costs",
        "team J lost when each role maximises its local reward",
        paired_difference(turns[0]["team_reward"], turns[-1]["team_reward"], np.random.default_rng(seed)),
        above=0.0,
    )
