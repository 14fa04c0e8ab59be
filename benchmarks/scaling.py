"""What an agent-step costs in clusters of 25 to 1,024 agents (``python benchmarks/throughput.py --scaling``).

Every scenario of the ladder is stepped in the same process, in turn. Each task goes to a candidate drawn in proportion
to its cores, outside of the timed calls, and node knobs are fixed, so that about as many tasks run per agent in all of
them. Each is measured twice: one environment alone (B = 1), which is what a user
sees and has the fixed cost of a call in it, and in batches with about the same number of agents in all (B = 1,024 /
agents), which compares the simulator itself at equal pressure on the processor's caches.

The exponent is the slope of log(time of an env step) over log(agents). All sizes are measured within each round, so
each round gives an exponent of its own: the figure is their mean, with Student's 95 % interval over rounds. It says how
far the mean would move with other rounds on this machine, not whether one power law fits: the slope between the two
largest sizes is given beside it, and where the two differ the cost bends. On a machine with other work, which takes
part of the shared cache, the best round of each size comes closest to the simulator's own cost, so the exponent of the
best rounds is given too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.special import stdtrit

from cloudsched_env.evaluation.statistics import CONFIDENCE
from cloudsched_env.roles import compute, storage
from cloudsched_env.vector import CloudSchedVectorEnv

__all__ = ["SIZES", "exponent", "in_words", "measure_scaling", "summary_of_slopes"]

Floats = NDArray[np.float64]

SIZES = ("paper-v1", "medium-v1", "large-v1", "internet-v1")
_AGENTS_IN_A_BATCH = 1024
_WARM_UP_STEPS = 150  # until as many tasks run as later on
_DRAWS = 16


@dataclass
class Subject:
    """One environment that is stepped round after round."""

    scenario: str
    batch: int
    overrides: dict[str, Any]

    def __post_init__(self) -> None:
        self.env = CloudSchedVectorEnv(self.scenario, self.batch, overrides=self.overrides)
        self.agents = sum(self.env.role_counts.values())
        self.seed = 0
        s, rng = self.env.scenario, np.random.default_rng(0)
        nodes = s.cluster.compute_nodes
        self.cores = np.repeat([n.cores for n in nodes], [n.count for n in nodes])
        shape = (self.batch, s.cluster.schedulers, s.scheduling.window_slots, 1)
        self.draws = [rng.random(shape) for _ in range(_DRAWS)]
        levels = {"compute": compute.initial_levels(s), "storage": storage.initial_levels(s)}
        self.fixed = {
            role: np.full((self.batch, self.env.role_counts[role], len(level)), level) for role, level in levels.items()
        }
        self._begin()

    def _begin(self) -> None:
        self.env.reset(self.seed)
        self.seed += self.batch
        self.step = 0
        while self.step < _WARM_UP_STEPS:
            self._advance()

    def _advance(self) -> int:
        """One step; returns its CPU time in ns, without that of choosing actions."""
        self.step += 1
        ends = self.cores[self.env.candidates].cumsum(axis=-1)[:, :, None, :]
        choices = (self.draws[self.step % _DRAWS] * ends[..., -1:] >= ends).sum(axis=-1)
        actions = {**self.fixed, "scheduler": choices}
        begun = time.process_time_ns()
        self.env.step(actions)
        return time.process_time_ns() - begun

    def seconds_per_env_step(self, seconds: float) -> float:
        """Median CPU seconds of one step of one cluster over at least ``seconds`` of stepping; resets are not timed.

        Steps are timed in blocks of two telemetry intervals, because a step that publishes costs more than others.
        """
        block = 2 * self.env.scenario.telemetry.publish_every_steps
        spent: list[float] = []
        while sum(spent) < seconds or len(spent) < 5:
            if self.step + block > self.env.scenario.time.horizon_steps:
                self._begin()
            spent.append(sum(self._advance() for _ in range(block)) / 1e9)
        return float(np.median(spent)) / block / self.batch

    def state_bytes(self) -> int:
        """Bytes of one cluster: state, observations and masks; working memory that a batch shares counts once."""
        state = self.env.simulator_state
        shared = sum(array.nbytes for array in state.scratch)
        arrays = [array for group in state[:-1] for array in group]
        arrays += [*self.env.observations.values(), *self.env.masks.values(), self.env.state]
        return sum(array.nbytes for array in arrays) // self.batch + shared


def exponent(agents: Sequence[int], seconds: Floats) -> dict[str, Any]:
    """Slope of log time over log agents in each round, and what they have in common.

    Args:
        agents: sizes.
        seconds: time of each size in each round, ``[rounds, sizes]``.
    """
    return summary_of_slopes(np.polyfit(np.log(agents), np.log(seconds).T, 1)[0])


def summary_of_slopes(slopes: Floats) -> dict[str, Any]:
    """Mean of the rounds' slopes with Student's interval.

    The bootstrap of so few rounds cannot reach beyond the smallest and the largest of them: with three it would hold
    the true slope three times of four at most, whatever level it is asked for.

    Args:
        slopes: one a round.

    Returns:
        No interval (None) with a single round.
    """
    mean, rounds = float(np.mean(slopes)), len(slopes)
    interval = None
    if rounds > 1:
        reach = float(stdtrit(rounds - 1, 0.5 + CONFIDENCE / 2)) * float(np.std(slopes, ddof=1)) / math.sqrt(rounds)
        interval = [mean - reach, mean + reach]
    return {"exponent": mean, "interval_95": interval, "rounds": [float(slope) for slope in slopes]}


def in_words(fit: Mapping[str, Any]) -> str:
    """An exponent for tables: with its interval and the number of rounds."""
    rounds = len(fit["rounds"])
    if fit["interval_95"] is None:
        return f"{fit['exponent']:.2f} (one round)"
    low, high = fit["interval_95"]
    return f"{fit['exponent']:.2f} [{low:.2f}, {high:.2f}] (95 %, {rounds} rounds)"


def measure_scaling(rounds: int, seconds: float, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Times, exponents and bytes of all `SIZES`.

    Args:
        rounds: how often every size is measured.
        seconds: CPU seconds of a measurement.
        overrides: scenario fields changed by dotted name, in all sizes.
    """
    result: dict[str, Any] = {
        "overrides": overrides or {},
        "actions": "candidates in proportion to their cores, fixed knobs",
    }
    for face in ("one environment", "equal agents in all"):
        subjects = []
        for name in track(SIZES, description=f"Warming up, {face}"):
            probe = CloudSchedVectorEnv(name)
            agents = sum(probe.role_counts.values())
            batch = 1 if face == "one environment" else max(1, round(_AGENTS_IN_A_BATCH / agents))
            subjects.append(Subject(name, batch, overrides or {}))
        times = np.array(
            [[s.seconds_per_env_step(seconds) for s in subjects] for _ in track(range(rounds), description=face)]
        )
        median = np.median(times, axis=0)
        sizes = [s.agents for s in subjects]
        result[face] = {
            "sizes": {
                s.scenario: {
                    "agents": s.agents,
                    "batch": s.batch,
                    "env_step_us": 1e6 * float(t),
                    "env_step_us_best": 1e6 * float(best),
                    "env_steps_per_s": 1 / float(t),
                    "agent_steps_per_s": s.agents / float(t),
                    "ns_per_agent_step": 1e9 * float(t) / s.agents,
                    "running_tasks_per_agent": float(s.env.simulator_state.running.slots_used.mean()) / s.agents,
                    "bytes_per_environment": s.state_bytes(),
                    "tasks_of_an_episode": int(np.mean([episode.tasks for episode in s.env.episodes])),
                }
                for s, t, best in zip(subjects, median, times.min(axis=0), strict=True)
            },
            **exponent(sizes, times),
            "exponent_of_the_largest_two": exponent(sizes[-2:], times[:, -2:]),
            "exponent_of_best_rounds": exponent(sizes, times.min(axis=0)[None])["exponent"],
            "env_step_us_of_rounds": (1e6 * times).tolist(),
        }
    return result
