"""Does an agent keep to the contract? Everything that would cost it its place, found within seconds.

The agent runs in a process of its own (`IsolatedAgent`) on a few steps of each scenario. Its observations are recorded
and shown again: to a fresh copy with the same seed, to the same copy after another episode, to one cluster by itself,
and with the observations of everybody but one agent exchanged. What should not change must not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents import Actions, ClusterInfo, check_actions
from cloudsched_env.leaderboard.isolation import AgentFailedError, IsolatedAgent, Limits
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.source import make_source

__all__ = ["Finding", "check_conformance"]

SCENARIOS = ("tiny-v1", "paper-v1")
STEPS = 25
_CLUSTERS, _SEED = 2, 11
_LOCAL_STEPS = 4

Arrays = dict[str, NDArray]
Step = tuple[Arrays, Arrays]
"""Observations and masks of one step."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        scenario: where; empty before any.
        what: which check.
        level: ``ok``, ``warning`` (it may run, but should know) or ``error`` (it will not run, or not be scored).
        message: what is right or wrong, and where.
    """

    scenario: str
    what: str
    level: Literal["ok", "warning", "error"]
    message: str


def check_conformance(
    spec: str,
    scenarios: Sequence[str] = SCENARIOS,
    steps: int = STEPS,
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Finding]:
    """Run all checks.

    Args:
        spec: what `cloudsched_env.agents.load_agent` takes.
        scenarios: on which scenarios.
        steps: of each.
        limits: of the agent's process.
        progress: called with what is being checked.
    """
    progress("loading")
    try:
        agent = IsolatedAgent(spec, limits, watch=True)
    except AgentFailedError as error:
        return [Finding("", "loads", "error", f"{error.kind}: {error}")]
    findings = [Finding("", "loads", "ok", f"{agent.name!r} has reset and act")]
    for number, scenario in enumerate(scenarios):
        progress(scenario)
        try:
            if number:
                agent = IsolatedAgent(spec, limits, watch=True)
            with agent:
                findings += _Check(spec, scenario, steps, limits).findings(agent)
        except AgentFailedError as error:
            findings.append(Finding(scenario, "runs", "error", f"{error.kind}: {error}"))
    return findings


class _Check:
    """All checks on one scenario."""

    def __init__(self, spec: str, scenario: str, steps: int, limits: Limits | None) -> None:
        self.spec, self.scenario, self.limits = spec, scenario, limits
        self.env = CloudSchedVectorEnv(scenario, _CLUSTERS)
        self.info = ClusterInfo(self.env.scenario, self.env.layouts, self.env.action_levels, self.env.role_counts)
        self.steps = min(steps, self.env.scenario.time.horizon_steps)
        self.seen: list[Step] = []
        self.chosen: list[Actions] = []

    def findings(self, agent: IsolatedAgent) -> Iterator[Finding]:
        self._record(agent)
        yield self._say("spaces", "ok", f"{self.steps} steps of {_CLUSTERS} clusters: shapes, types and levels fit")
        yield self._say("state", "ok", "acts on copies of observations and masks, in a process without the simulator")
        if agent.changed:
            changed = ", ".join(sorted(agent.changed))
            yield self._say("inputs", "error", f"writes into its {changed}: make copies before changing them")
        yield self._masks()
        self._play(agent, list(reversed(self.seen)), _SEED + 1)  # another episode in between
        again = self._play(agent, self.seen, _SEED)
        execution = agent.execution
        with IsolatedAgent(self.spec, self.limits) as fresh:
            once_more = self._play(fresh, self.seen, _SEED)
            other_seed = self._play(fresh, self.seen, _SEED + 1000)
            alone, times_s = self._alone(fresh)
            local = list(self._local(fresh, execution))
        yield self._same(
            "determinism", once_more, "a fresh copy with the same seed", "all randomness must come from seed"
        )
        yield self._same("episodes", again, "the same copy after another episode", "reset must forget everything")
        difference = _first_difference(self.chosen, alone, self.info)
        if difference is None:
            yield self._say("batch", "ok", "a cluster is played the same alone and within a batch")
        else:
            yield self._say("batch", "warning", f"a cluster is played otherwise within a batch ({difference}): results "
                            "depend on the batch, which suites fix")  # fmt: skip
        random = _first_difference(self.chosen, other_seed, self.info) is not None
        yield from (self._locality(found, random) for found in local)
        step_s = self.env.scenario.time.step_s
        level: Literal["ok", "warning"] = "ok" if times_s < step_s else "warning"
        yield self._say("time", level, f"{1e6 * times_s:.0f} us a decision (median, one cluster), the control interval "
                        f"is {1e6 * step_s:.0f} us")  # fmt: skip

    def _record(self, agent: IsolatedAgent) -> None:
        episodes = make_source(self.env.scenario, "validation").evaluation_episodes(_CLUSTERS)
        self.env.reset(_SEED, episodes=episodes)
        agent.reset(self.info, _CLUSTERS, _SEED)
        for _ in range(self.steps):
            step = (
                {r: a.copy() for r, a in self.env.observations.items()},
                {r: a.copy() for r, a in self.env.masks.items()},
            )
            actions = check_actions(agent.act(*step), self.info, _CLUSTERS, agent.name)
            self.seen.append(step)
            self.chosen.append({role: array.copy() for role, array in actions.items()})
            self.env.step(actions)

    def _play(self, agent: IsolatedAgent, seen: Sequence[Step], seed: int) -> list[Actions]:
        agent.reset(self.info, len(seen[0][0]["compute"]), seed)
        return [agent.act(*step) for step in seen]

    def _masks(self) -> Finding:
        count, total, first = 0, 0, ""
        for step, ((_, masks), actions) in enumerate(zip(self.seen, self.chosen, strict=True)):
            for role, array in actions.items():
                starts = np.cumsum([0, *self.info.action_levels[role][:-1]])
                allowed = np.take_along_axis(masks[role], array + starts, axis=-1)
                bad = np.argwhere(allowed == 0)
                total += allowed.size
                count += len(bad)
                if len(bad) and not first:
                    _, index, part = (int(i) for i in bad[0])
                    first = (
                        f"first in step {step}: {role}_{index} chose level {array[tuple(bad[0])]} of sub-action {part}"
                    )
        if not count:
            return self._say("masks", "ok", "chose allowed levels only")
        return self._say("masks", "warning", f"{count} of {total} sub-actions were masked and did nothing; {first}")

    def _alone(self, agent: IsolatedAgent) -> tuple[list[Actions], float]:
        """Each cluster by itself, put together again; and the median decision time."""
        parts, times_s = [], []
        for cluster in range(_CLUSTERS):
            seen = [
                tuple({role: array[cluster : cluster + 1] for role, array in arrays.items()} for arrays in step)
                for step in self.seen
            ]
            parts.append(self._play(agent, seen, _SEED + cluster))  # type: ignore[arg-type]
            times_s.append(agent.decision_times_s())
        together = [
            {role: np.concatenate([part[step][role] for part in parts]) for role in parts[0][step]}
            for step in range(len(self.seen))
        ]
        return together, float(np.median(np.concatenate(times_s)))

    def _local(self, agent: IsolatedAgent, execution: str) -> Iterator[str]:
        """Agents that act otherwise when only what the others see is exchanged."""
        if execution != "none":
            yield f"={execution}"
            return
        first = self.seen[:_LOCAL_STEPS]
        later = self.seen[-_LOCAL_STEPS:]
        for role, count in self.info.role_counts.items():
            for index in sorted({0, count - 1}):
                seen = []
                for own, other in zip(first, later, strict=True):
                    mixed = tuple({r: a.copy() for r, a in arrays.items()} for arrays in other)
                    for kind in range(2):
                        mixed[kind][role][:, index] = own[kind][role][:, index]
                    seen.append(mixed)
                found = self._play(agent, seen, _SEED)  # type: ignore[arg-type]
                mine = [actions[role][:, index] for actions in found]
                before = [actions[role][:, index] for actions in self.chosen[:_LOCAL_STEPS]]
                if not np.array_equal(mine, before):
                    yield f"{role}_{index}"
                    return
        yield ""

    def _locality(self, found: str, random: bool) -> Finding:
        if found.startswith("="):
            return self._say("locality", "ok", f'declares execution = "{found[1:]}": its agents exchange information')
        if not found:
            return self._say("locality", "ok", "agents act on their own observation only")
        if random:
            return self._say("locality", "warning", f"{found} acts otherwise when others see something else; it draws "
                             "at random, so that may be why: give each agent draws of its own to be sure")  # fmt: skip
        return self._say("locality", "error", f"{found} acts otherwise when only what others see is changed: act on "
                         'the own observation, or declare execution = "role_summary" or "full"')  # fmt: skip

    def _same(self, what: str, actions: list[Actions], whom: str, hint: str) -> Finding:
        difference = _first_difference(self.chosen, actions, self.info)
        if difference is None:
            return self._say(what, "ok", f"{whom} acts the same")
        return self._say(what, "error", f"{whom} acts otherwise, {difference}: {hint}")

    def _say(self, what: str, level: Literal["ok", "warning", "error"], message: str) -> Finding:
        return Finding(self.scenario, what, level, message)


def _first_difference(first: Sequence[Actions], second: Sequence[Actions], info: ClusterInfo) -> str | None:
    """Where two records of actions differ for the first time."""
    for step, (one, other) in enumerate(zip(first, second, strict=True)):
        for role in info.role_counts:
            places = np.argwhere(one[role] != other[role])
            if len(places):
                cluster, index, part = (int(i) for i in places[0])
                levels = f"{one[role][cluster, index, part]} and {other[role][cluster, index, part]}"
                return f"first in step {step}: sub-action {part} of {role}_{index} is {levels}"
    return None
