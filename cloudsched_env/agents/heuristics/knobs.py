"""Rules for the node knobs: constant, reactive to the node's own state, or random.

Knobs are the actions of compute nodes (cache split, admission) and storage nodes (compaction share, serve weight).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.heuristics.placement import limit
from cloudsched_env.agents.protocol import ClusterInfo, Masks, Observations
from cloudsched_env.agents.sampling import nearest_allowed, split_mask, uniform_choice
from cloudsched_env.agents.view import NodeView
from cloudsched_env.scenario import Scenario

__all__ = [
    "KNOBS_OF",
    "KNOB_NAMES",
    "ON",
    "STANDBY",
    "Knobs",
    "RandomKnobs",
    "ReactiveKnobs",
    "StaticKnobs",
    "knob_choices",
    "nearest_level",
]

KNOBS_OF = {
    "compute": ("cache_level", "admission_level", "purge_level"),
    "storage": ("background_level", "serve_level"),
}
KNOB_NAMES = KNOBS_OF["compute"] + KNOBS_OF["storage"]

Levels = NDArray[np.int64]
STANDBY, ON = 0, 1
"""The power levels of compute nodes that can sleep."""


def nearest_level(values: NDArray[np.floating], levels: Sequence[float]) -> Levels:
    """Index of the level closest to each value: turns an observed setting back into the level that set it."""
    return np.abs(np.asarray(levels) - np.asarray(values)[..., None]).argmin(axis=-1)


@dataclass(frozen=True)
class Knobs:
    """A rule that sets all node knobs in every step; fields are its tunable parameters."""

    summary: ClassVar[str] = ""

    def check(self, scenario: Scenario) -> None:
        """Refuse parameters that the scenario has no level for.

        Raises:
            ValueError: naming the parameter and the levels that exist.
        """

    def wanted(self, info: ClusterInfo, observations: Observations, step: int) -> tuple[Levels | int, ...]:
        """Wanted levels in the order of `KNOB_NAMES`, constants or int64 ``[batch, agents]``; the caller clips them."""
        raise NotImplementedError

    def power(self, info: ClusterInfo, observations: Observations, step: int) -> Levels | int:
        """Wanted power levels of compute nodes where they can sleep, 1 on: by default they stay on."""
        return ON

    def choose(
        self,
        info: ClusterInfo,
        observations: Observations,
        masks: Masks,
        step: int,
        generators: Sequence[np.random.Generator],
    ) -> dict[str, Levels]:
        """Levels of compute and storage nodes, int64 ``{role: [batch, agents, sub-actions]}``, within the mask."""
        wanted = self.wanted(info, observations, step)
        compute_knobs = len(KNOBS_OF["compute"])
        of_compute = list(wanted[:compute_knobs])
        if info.scenario.elastic.enabled:
            of_compute.append(self.power(info, observations, step))
        actions = {}
        for role, levels in (("compute", of_compute), ("storage", wanted[compute_knobs:])):
            shape = observations[role].shape[:2]
            parts = split_mask(masks[role], info.action_levels[role])
            actions[role] = np.stack(
                [
                    nearest_allowed(np.clip(np.broadcast_to(level, shape), 0, part.shape[-1] - 1), part)
                    for level, part in zip(levels, parts, strict=True)
                ],
                axis=-1,
            )
        return actions


@dataclass(frozen=True)
class StaticKnobs(Knobs):
    """One constant level for each knob; None stands for the scenario's initial level."""

    summary: ClassVar[str] = "constant levels, by default the scenario's initial ones"
    cache_level: int | None = None
    admission_level: int | None = None
    purge_level: int | None = None
    background_level: int | None = None
    serve_level: int | None = None
    power_level: int = ON

    def check(self, scenario: Scenario) -> None:
        """Refuse levels that the scenario does not have."""
        for name, choices in knob_choices(scenario).items():
            level = getattr(self, name)
            if level is not None and not 0 <= level < len(choices):
                raise ValueError(f"static({name}={level}): expected 0 to {len(choices) - 1}, the levels of {choices}")
        if self.power_level not in (STANDBY, ON):
            raise ValueError(f"static(power_level={self.power_level}): expected {STANDBY} (standby) or {ON} (on)")

    def power(self, info: ClusterInfo, observations: Observations, step: int) -> int:
        """The constant; with standby, nodes beyond ``elastic.minimum_nodes`` sleep."""
        return self.power_level

    def wanted(self, info: ClusterInfo, observations: Observations, step: int) -> tuple[int, ...]:
        """The constants."""
        chosen = (getattr(self, name) for name in KNOB_NAMES)
        return tuple(
            initial if level is None else level
            for level, initial in zip(chosen, _initial_levels(info.scenario), strict=True)
        )


@dataclass(frozen=True)
class RandomKnobs(Knobs):
    """Uniform over the allowed levels, i.i.d. in every step."""

    summary: ClassVar[str] = "uniform over allowed levels, i.i.d. in every step"

    def choose(
        self,
        info: ClusterInfo,
        observations: Observations,
        masks: Masks,
        step: int,
        generators: Sequence[np.random.Generator],
    ) -> dict[str, Levels]:
        """Draw every knob of every node."""
        return {
            role: np.stack(
                [uniform_choice(part, generators) for part in split_mask(masks[role], info.action_levels[role])],
                axis=-1,
            )
            for role in ("compute", "storage")
        }


@dataclass(frozen=True)
class ReactiveKnobs(Knobs):
    """Thresholds on the node's own state, as database engines ship them.

    *Admission*: gradient concurrency limit (as in Netflix's concurrency-limits): efficiency is the ratio of unloaded
    to actual run time; below ``efficiency_low`` one level down, above ``efficiency_high`` with tasks waiting one
    level up. *Cache split*: like an autoscaler's working-set rule (Neon's local file cache): memory pressure takes
    cache away; a full cache with a low hit ratio, and memory to spare, gets more. *Compaction*: hysteresis on debt,
    as RocksDB raises its compaction rate by pending bytes: the shares 8 %, 25 % and 50 % below, between and above two
    debts. *Purge*: on above a threshold of garbage, off below a lower one, as vacuum is triggered. *Serve weight*: a
    node whose streams are slower than its peers' sheds reads, a faster one attracts them.
    All move by at most one level per period.

    *Power*, where nodes can sleep and ``sleep_load`` is above 0: an autoscaler's target band (as in the Kubernetes
    cluster autoscaler, which removes nodes that are less than half requested). A node goes to sleep while the nodes
    that are on are loaded less than ``sleep_load``, queues at schedulers included, and it is itself below
    ``idle_load``, in turns; it wakes up, all that sleep do, when they are loaded more than ``wake_load``.
    """

    summary: ClassVar[str] = (
        "thresholds with hysteresis: pressure, hit ratio, compaction debt, garbage, own stream factor"
    )
    period_steps: int = limit(5, 1, 100, "steps between decisions of a compute node")
    efficiency_low: float = limit(0.80, 0.1, 1.0, "efficiency below which admission goes down")
    efficiency_high: float = limit(0.95, 0.1, 1.0, "efficiency above which admission may go up")
    pressure_high: float = limit(1.1, 0.1, 4.0, "execution-memory pressure above which the cache shrinks")
    pressure_low: float = limit(0.6, 0.1, 4.0, "execution-memory pressure below which the cache may grow")
    hit_ratio_low: float = limit(0.8, 0.0, 1.0, "hit ratio below which a full cache grows")
    debt_low: float = limit(0.4, 0.0, 4.0, "debt / soft limit at which compaction leaves its lowest share")
    debt_high: float = limit(0.8, 0.0, 4.0, "debt / soft limit at which compaction takes its highest share")
    debt_hysteresis: float = limit(0.1, 0.0, 1.0, "fall of the debt below a threshold before its share is given back")
    garbage_low: float = limit(0.3, 0.0, 8.0, "garbage / soft limit below which purging goes back to its lowest share")
    garbage_high: float = limit(
        0.7, 0.0, 8.0, "garbage / soft limit above which purging takes its second highest share"
    )
    stream_margin: float = limit(0.1, 0.0, 1.0, "difference to the peers' stream factor that moves the serve weight")

    sleep_load: float = limit(0.0, 0.0, 4.0, "load of the nodes that are on below which idle nodes sleep; 0: never")
    wake_load: float = limit(2.0, 0.0, 4.0, "load of the nodes that are on above which sleeping nodes wake")
    idle_load: float = limit(1.0, 0.0, 4.0, "own load below which a node may go to sleep")
    sleep_turns: int = limit(16, 1, 64, "a node may go to sleep at one in so many of its decisions")

    # Background shares of the three debt bands; the scenario's nearest levels are used.
    BAND_SHARES: ClassVar[tuple[float, float, float]] = (0.08, 0.25, 0.50)

    def check(self, scenario: Scenario) -> None:
        """Refuse thresholds in the wrong order."""
        for low, high in (
            ("efficiency_low", "efficiency_high"),
            ("pressure_low", "pressure_high"),
            ("debt_low", "debt_high"),
            ("garbage_low", "garbage_high"),
            ("sleep_load", "wake_load"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"reactive: {low} {getattr(self, low)} must not exceed {high} {getattr(self, high)}")

    def wanted(self, info: ClusterInfo, observations: Observations, step: int) -> tuple[Levels, ...]:
        """Levels from the nodes' own observations; the current levels are read back from them too."""
        scenario = info.scenario
        node = NodeView(info.layouts["compute"], observations["compute"])
        cache = nearest_level(node["cache_target"], scenario.compute.cache_fractions)
        admission = nearest_level(node["memory_overcommit"], scenario.compute.memory_overcommit)
        if step % self.period_steps == 0:
            efficiency, pressure = node["efficiency"], node["execution_memory_pressure"]
            waiting = node["queue_length"] > 0
            idle = node["running_cores_load"] <= 0  # an idle node's efficiency says nothing
            grow = waiting & (efficiency >= self.efficiency_high)
            admission = admission + np.where(idle, 0, grow.astype(np.int64) - (efficiency < self.efficiency_low))
            hungry = (node["hit_ratio"] < self.hit_ratio_low) & (node["cache_fill"] > 0.95)
            spare = pressure + node["queued_memory_load"] < self.pressure_low
            cache = cache + (hungry & spare).astype(np.int64) - (pressure > self.pressure_high)

        garbage, last = node["garbage"], len(scenario.purge.shares) - 1
        purge = nearest_level(node["purge_share"], scenario.purge.shares)
        purge = np.where(garbage > self.garbage_high, max(0, last - 1), np.where(garbage < self.garbage_low, 0, purge))

        store = NodeView(info.layouts["storage"], observations["storage"])
        shares = scenario.storage.background_shares
        bands = nearest_level(np.array(self.BAND_SHARES), shares)
        band = np.abs(np.take(np.asarray(shares), bands) - store["background_share"][..., None]).argmin(axis=-1)
        debt = store["debt"][..., None]
        thresholds = np.array([self.debt_low, self.debt_high])
        rise = (debt > thresholds).sum(axis=-1)
        keep = (debt > thresholds - self.debt_hysteresis).sum(axis=-1)
        background = bands[np.clip(band, rise, keep)]
        serve = nearest_level(store["serve_weight"], scenario.storage.serve_weights)
        lead = store["stream_factor"] - store["mean_stream_factor"]
        neutral = scenario.storage.initial_serve_level
        target = neutral + np.sign(lead).astype(np.int64) * (np.abs(lead) > self.stream_margin)
        serve = serve + np.sign(target - serve)
        return cache, admission, purge, background, serve

    def power(self, info: ClusterInfo, observations: Observations, step: int) -> Levels | int:
        """On, unless the rule is switched on and says otherwise."""
        if self.sleep_load <= 0:
            return ON
        node = NodeView(info.layouts["compute"], observations["compute"])
        load = node["load_of_on"] + node["waiting_of_on"]
        own = node["running_cores_load"] + node["queued_cores_load"]
        keep = node["power_level"].astype(np.int64)
        # Telemetry is late: without turns, all nodes would go to sleep before the first one is seen to have done so.
        decision = step // info.scenario.compute.decision_interval_steps
        turn = np.arange(load.shape[-1]) % self.sleep_turns == decision % self.sleep_turns
        sleep = (load < self.sleep_load) & (own < self.idle_load) & turn
        return np.where(load > self.wake_load, ON, np.where(sleep, STANDBY, keep))


def knob_choices(scenario: Scenario) -> Mapping[str, Sequence[float]]:
    """The levels of each knob, in the order of `KNOB_NAMES`."""
    return {
        "cache_level": scenario.compute.cache_fractions,
        "admission_level": scenario.compute.memory_overcommit,
        "purge_level": scenario.purge.shares,
        "background_level": scenario.storage.background_shares,
        "serve_level": scenario.storage.serve_weights,
    }


def _initial_levels(scenario: Scenario) -> tuple[int, ...]:
    return (
        scenario.compute.initial_cache_level,
        scenario.compute.initial_admission_level,
        scenario.purge.initial_level,
        scenario.storage.initial_background_level,
        scenario.storage.initial_serve_level,
    )
