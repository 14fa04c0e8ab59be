"""Flash crowds: for a short time, some tenants send work several times as fast as otherwise.

A crowd is a time change of arrivals. Take a tenant that is hit by crowds during a set of times I of total length |I| in
an episode of length T. With the intensity g(t) = factor inside I and 1 outside, its arrivals move to

    t' = G^-1(t / T x G(T)),    G(t) = integral of g from 0 to t = t + (factor - 1) |I and [0, t]|.

A stream of constant rate becomes one whose rate inside I is ``factor`` times the rate outside. No task is added or
removed, and the order of a tenant's tasks is kept: every offered load of the episode stays exactly what it was. Outside
the crowds a tenant that is hit sends less than it would without them.

Crowds never overlap, lie wholly in the counted part of the episode, and have uniformly distributed positions; each hits
tenants of its own choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario

__all__ = ["FlashCrowds", "draw_flash_crowds"]


@dataclass(frozen=True)
class FlashCrowds:
    """The flash crowds of one episode.

    Attributes:
        start_s: ascending starts, ``[crowds]``.
        length_s: length of each.
        hit: which tenants each crowd hits, bool ``[crowds, tenants]``.
        factor: arrival intensity of a hit tenant inside, relative to outside.
        duration_s: length of the episode.
    """

    start_s: NDArray[np.float64]
    length_s: float
    hit: NDArray[np.bool_]
    factor: float
    duration_s: float

    def move(self, arrival_s: NDArray[np.float64], tenant: NDArray[np.int32]) -> NDArray[np.float64]:
        """Arrivals after the time change; not sorted, since tenants that are not hit stay where they were.

        Args:
            arrival_s: times in [0, T), ``[tasks]``.
            tenant: tenant of each task, ``[tasks]``.

        Returns:
            Times in [0, T), ``[tasks]``; ascending within each tenant if ``arrival_s`` is.
        """
        moved = arrival_s.copy()
        patterns, pattern = np.unique(self.hit.T, axis=0, return_inverse=True)
        pattern_of_task = pattern.reshape(-1)[tenant]
        for place, hits in enumerate(patterns):
            if hits.any():
                tasks = np.flatnonzero(pattern_of_task == place)
                moved[tasks] = self._change_time(arrival_s[tasks], self.start_s[hits])
        return moved

    def _change_time(self, arrival_s: NDArray[np.float64], start_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Invert G, which is piecewise linear with corners at the crowds' borders."""
        corners = np.concatenate(
            ([0.0], np.column_stack((start_s, start_s + self.length_s)).ravel(), [self.duration_s])
        )
        slopes = np.where(np.arange(len(corners) - 1) % 2 == 1, self.factor, 1.0)
        integral = np.concatenate(([0.0], np.cumsum(slopes * np.diff(corners))))
        moved = np.interp(arrival_s * (integral[-1] / self.duration_s), integral, corners)
        return np.minimum(moved, np.nextafter(self.duration_s, 0.0))

    def to_details(self) -> list[dict[str, Any]]:
        """The crowds as plain JSON types, for `Episode.details`."""
        return [
            {"start_s": start, "end_s": start + self.length_s, "tenants": np.flatnonzero(hit).tolist()}
            for start, hit in zip(self.start_s.tolist(), self.hit, strict=True)
        ]


def draw_flash_crowds(scenario: Scenario, rng: np.random.Generator) -> FlashCrowds | None:
    """Draw when the crowds of an episode come and whom they hit.

    Args:
        scenario: the cluster; `WorkloadConfig` has the number, factor, length and share of tenants.
        rng: source of randomness; untouched if the scenario has no crowds.

    Returns:
        The crowds, or None if the scenario has none.
    """
    workload, time = scenario.workload, scenario.time
    crowds, length_s = workload.flash_crowds, workload.flash_crowd_duration_s
    if crowds == 0:
        return None
    warmup_s = time.warmup_steps * time.step_s
    # Non-overlapping intervals at uniform positions: order statistics of the time that they leave free.
    free_s = max(0.0, scenario.duration_s - warmup_s - crowds * length_s)
    start_s = warmup_s + np.sort(rng.uniform(0.0, free_s, size=crowds)) + length_s * np.arange(crowds)
    hit_count = max(1, round(workload.flash_crowd_tenant_share * workload.tenants))
    ranks = np.argsort(rng.random((crowds, workload.tenants)), axis=1)
    return FlashCrowds(start_s, length_s, ranks < hit_count, workload.flash_crowd_factor, scenario.duration_s)
