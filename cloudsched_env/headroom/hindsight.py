"""An achievable lower bound of the optimum: a policy tuned on the very window that it is then measured on.

Nobody can know the future of a window, but the policy that was tuned for it did run in the simulator: the best
policy reaches at least as much. Together with the upper bounds this encloses the optimum of each window,

    hindsight  <=  optimum  <=  foresight (linear program)  <=  fluid,

and the widths of the two outer gaps say how much of "bound - agent" may be the bound's own slack.

The tuner and the policy family are handed in, so that any of both can be used: a policy is a flat vector, `Evaluate`
runs vectors in the simulator, and `Tune` searches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.headroom.linear_program import ForesightBound
from cloudsched_env.workload.episode import Episode

__all__ = ["Evaluate", "Hindsight", "Tightness", "Tune", "hindsight", "tightness"]

Floats = NDArray[np.float64]

Evaluate = Callable[[Floats], Floats]
"""Team reward J of policies on all windows: parameters ``[policies, parameters]`` to ``[policies, windows]``."""

Tune = Callable[[Sequence[Episode], Floats, int], Floats]
"""Search for good parameters: ``(episodes, start_parameters [parameters], budget) -> parameters [parameters]``.

The budget is the number of episodes that the tuner may play."""


@dataclass(frozen=True)
class Hindsight:
    """The best of all policies on each window: those that were tuned, for this window or another, and the starts.

    Attributes:
        team_reward: J of the best policy on each window, ``[windows]``.
        parameters: its parameters, ``[windows, parameters]``.
        start_reward: J of the best start on each window, ``[windows]``.
        own_reward: J on each window of the policies tuned for it, the best of them, ``[windows]``.
    """

    team_reward: Floats
    parameters: Floats
    start_reward: Floats
    own_reward: Floats


@dataclass(frozen=True)
class Tightness:
    """How well bounds enclose the optimum, in team reward J; one entry per window, ``[windows]`` each.

    Attributes:
        fluid: fluid bound.
        foresight: bound of the linear program.
        hindsight: what a policy reached.
    """

    fluid: Floats
    foresight: Floats
    hindsight: Floats

    @property
    def fluid_gap(self) -> Floats:
        """What the linear program takes off the fluid bound, ``[windows]``."""
        return self.fluid - self.foresight

    @property
    def unknown(self) -> Floats:
        """Where the optimum lies is not known more closely than this, ``[windows]``."""
        return self.foresight - self.hindsight


def hindsight(episodes: Sequence[Episode], starts: Floats, tune: Tune, evaluate: Evaluate, budget: int) -> Hindsight:
    """Tune a policy for each window from each start, and keep the best on each window.

    Every policy is measured on every window: one that was tuned for another window may be the best here too, and
    taking it only raises a lower bound that is achieved in any case.

    Args:
        episodes: the windows.
        starts: parameters to start from, ``[starts, parameters]``.
        tune: the tuner; called once for each window and start with that window alone.
        evaluate: team reward of policies on these windows, in this order.
        budget: episodes that each call of the tuner may play.

    Raises:
        ValueError: for wrong shapes, of the arguments or of what the tuner or the evaluation returned.
    """
    starts = np.asarray(starts, dtype=np.float64)
    if starts.ndim != 2 or starts.size == 0:
        raise ValueError(f"starts have shape {starts.shape}: expected [starts, parameters], at least one of each")
    if not episodes:
        raise ValueError("no windows: expected at least one episode")
    tuned = []
    for episode in episodes:
        for start in starts:
            found = np.asarray(tune([episode], start.copy(), budget), dtype=np.float64)
            if found.shape != start.shape:
                raise ValueError(f"the tuner returned parameters of shape {found.shape}: expected {start.shape}")
            tuned.append(found)
    policies = np.concatenate((starts, np.stack(tuned)))
    rewards = np.asarray(evaluate(policies), dtype=np.float64)
    windows = np.arange(len(episodes))
    if rewards.shape != (len(policies), len(windows)):
        raise ValueError(
            f"the evaluation returned shape {rewards.shape}: expected {(len(policies), len(windows))}, "
            "policies and windows"
        )
    best = rewards.argmax(axis=0)
    by_window = rewards[len(starts) :].reshape(len(windows), len(starts), len(windows))
    return Hindsight(
        team_reward=rewards[best, windows],
        parameters=policies[best],
        start_reward=rewards[: len(starts)].max(axis=0),
        own_reward=by_window[windows, :, windows].max(axis=1),
    )


def tightness(bounds: Sequence[ForesightBound], reached: Hindsight) -> Tightness:
    """Put the bounds of windows beside what hindsight reached on them.

    Args:
        bounds: of each window.
        reached: on the same windows.

    Raises:
        ValueError: if the numbers of windows differ, or a policy reached more than an upper bound: then either the two
            are not of the same windows, or the bound is wrong.
    """
    if len(bounds) != len(reached.team_reward):
        raise ValueError(f"{len(bounds)} bounds for {len(reached.team_reward)} windows: expected one for each")
    fluid = np.array([bound.fluid.team_reward for bound in bounds])
    foresight = np.array([bound.team_reward for bound in bounds])
    above = np.flatnonzero(reached.team_reward > foresight + 1e-9)
    if len(above):
        window = int(above[0])
        raise ValueError(
            f"window {window}: a policy reached J {reached.team_reward[window]:.6f}, above its upper bound "
            f"{foresight[window]:.6f}; expected bounds and rewards of the same windows in the same order"
        )
    return Tightness(fluid, foresight, reached.team_reward)
