"""The PettingZoo face: one cluster as a ``ParallelEnv``, dictionaries by agent name.

# Cloud-native database cluster

| | |
|---|---|
| Import | `import cloudsched_env; env = cloudsched_env.parallel_env("paper-v1")` |
| Registry | `pettingzoo.make("parallel", "cloudsched/paper-v1")` |
| Agents | `compute_0 …`, `storage_0 …`, `scheduler_0 …` |
| Actions | `MultiDiscrete` per role, masked |
| Observations | `{"observation": Box float32, "action_mask": Box int8}` per role |
| Parallel API | yes |

Compute nodes split their memory between execution and cache and limit admission; storage nodes divide bandwidth
between foreground and compaction and attract or shed reads; schedulers place the head of their queues on compute
nodes. The equations are in `docs/simulator.md`; every observed number has a name and a unit in
`cloudsched_env/roles/` and through `CloudSchedEnv.observation_fields`.

A scheduler chooses among candidate nodes: all of them on small clusters, a sample drawn anew in every step on large
ones. ``infos[scheduler]["candidates"]`` has their numbers: choice j sends a task to ``compute_<candidates[j]>``.

Episodes end by truncation at the horizon, never by termination. A node that fails stays an agent, masked to a no-op.

## Version History

* v0: first version.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.sim.result import EpisodeResult
from cloudsched_env.spaces import MaskedMultiDiscrete, observation_space
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode, Split, WorkloadSource

__all__ = ["CloudSchedEnv"]

Observation = dict[str, NDArray[Any]]

_EXAMPLE_OPTIONS = '{"overrides": {"workload.cpu_load": 0.8}}'
_RESEMBLES = 0.75  # of difflib: "override", "Overrides" and "overides" do, "rides" and "order" do not


class CloudSchedEnv(ParallelEnv[str, Observation, NDArray[np.int64]]):
    """One simulated cluster, with an agent for every compute node, storage node and scheduler.

    Args:
        scenario: an id such as ``"paper-v1"`` or a `Scenario`.
        reward: ``"team"`` gives every agent the team reward, ``"local"`` each its own, a number l in [0, 1] the mix
            l x local + (1 - l) x team.
        source: where episodes come from; the calibrated generator by default.
        split: which windows or seeds the default source draws from.
        overrides: scenario fields changed by dotted name, as in ``{"telemetry.loss_probability": 0.3}``. A ``source``
            that was made for the scenario follows them.
        render_mode: None or ``"ansi"`` (`render` returns text).

    Raises:
        ValueError: for an unknown scenario, field, reward or render mode, naming what was expected.

    Example:
        >>> import cloudsched_env
        >>> env = cloudsched_env.parallel_env("tiny-v1")
        >>> observations, infos = env.reset(seed=0)
        >>> actions = {a: env.action_space(a).sample(observations[a]["action_mask"]) for a in env.agents}
        >>> observations, rewards, terminations, truncations, infos = env.step(actions)
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - PettingZoo reads it from the class, instances add their scenario
        "name": "cloudsched_v0",
        "render_modes": ["ansi"],
        "render_fps": 10,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        scenario: str | Scenario = "paper-v1",
        *,
        reward: str | float = "team",
        source: WorkloadSource | None = None,
        split: Split = "train",
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode is {render_mode!r}: expected None or one of {self.metadata['render_modes']}")
        self._local_share = _local_share(reward)
        self.render_mode = render_mode
        chosen = load_scenario(scenario, overrides)
        if source is not None and source.scenario == load_scenario(scenario):
            source = _for_scenario(source, chosen)
        self._base = self._vector = CloudSchedVectorEnv(chosen, 1, source=source, split=split)
        self.metadata = {**type(self).metadata, "name": f"cloudsched_{self._vector.scenario.id.replace('-', '_')}"}
        counts = self._vector.role_counts
        self.possible_agents = [f"{role}_{i}" for role in ROLES for i in range(counts[role])]
        self.agents: list[str] = []
        self._agents_of = {role: [f"{role}_{i}" for i in range(counts[role])] for role in ROLES}
        self._role_of = {agent: role for role, agents in self._agents_of.items() for agent in agents}
        self.observation_spaces: dict[str, gymnasium.Space[Any]] = {}
        self.action_spaces: dict[str, gymnasium.Space[Any]] = {}
        for agent, role in self._role_of.items():
            levels = self._vector.action_levels[role]
            self.observation_spaces[agent] = observation_space(self._vector.layouts[role], levels)
            self.action_spaces[agent] = MaskedMultiDiscrete(levels)
        layout = self._vector.state_layout
        self.state_space = gymnasium.spaces.Box(layout.low(), layout.high(), dtype=np.float32)

    @property
    def scenario(self) -> Scenario:
        """The constants of the cluster, with the overrides of the running episode."""
        return self._vector.scenario

    def observation_space(self, agent: str) -> gymnasium.Space[Any]:
        """Space of one agent's observation; the same object every time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space[Any]:
        """Space of one agent's action; the same object every time."""
        return self.action_spaces[agent]

    def observation_fields(self, role: str) -> list[str]:
        """A name for each number that an agent of ``role`` observes, as in ``slots[3].cores``.

        Raises:
            ValueError: for an unknown role.
        """
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}: expected one of {', '.join(ROLES)}")
        return self._vector.layouts[role].names()

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin an episode.

        Args:
            seed: the same seed gives the same episode, byte for byte; without one the generator goes on.
            options: ``{"episode": Episode}`` runs that episode instead of a drawn one. ``{"overrides": {...}}`` changes
                scenario fields by dotted name, for this episode and on top of the overrides of the constructor; only
                fields that leave all spaces as they are. Other keys are ignored, as PettingZoo asks, but for those that
                look like overrides in the wrong place.

        Raises:
            ValueError: for an unknown field, a value out of range, or a field that would change a space, by name; for
                options that are no mapping, and keys that look like overrides in the wrong place.
        """
        given = _checked_options(options)
        episode = given.get("episode")
        if episode is not None and not isinstance(episode, Episode):
            raise ValueError(f'options["episode"] is a {type(episode).__name__}: expected an Episode')
        self._vector = self._with_overrides(given.get("overrides"))
        self._vector.reset(None if seed is None else [seed], episodes=None if episode is None else [episode])
        self.agents = list(self.possible_agents)
        return self._observe(), self._infos()

    def step(
        self, actions: dict[str, NDArray[np.int64]]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Advance the cluster by one control interval.

        Args:
            actions: one action for every agent in ``agents``; an empty dictionary once the episode is over.

        Raises:
            ValueError: when an agent is missing or unknown, or an action has the wrong shape or range.
        """
        if not self.agents:
            if actions:
                raise RuntimeError("the episode is over or has not begun: call reset() before step()")
            return {}, {}, {}, {}, {}
        batched = {role: self._stack(role, actions) for role in ROLES}
        if len(actions) != len(self.agents):
            unknown = sorted(set(actions) - set(self.agents))
            raise ValueError(f"actions for unknown agents {unknown}: expected exactly the agents in env.agents")
        over = self._vector.step(batched)
        team = float(self._vector.team_reward[0])
        share = self._local_share
        rewards: dict[str, float] = {}
        for role in ROLES:
            local = self._vector.local_rewards[role][0].tolist()
            for agent, own in zip(self._agents_of[role], local, strict=True):
                rewards[agent] = share * own + (1.0 - share) * team
        observations, infos = self._observe(), self._infos()
        terminations = dict.fromkeys(self.agents, False)
        truncations = dict.fromkeys(self.agents, over)
        if over:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def state(self) -> NDArray[np.float32]:
        """The global state for centralised training, float32 of `state_space`."""
        return self._vector.state[0].copy()

    def result(self) -> EpisodeResult:
        """Raw record of the episode so far, for `cloudsched_env.evaluation.metrics.summarise`."""
        return self._vector.results()[0]

    def render(self) -> str | None:
        """The cluster as text (``render_mode="ansi"``), or None."""
        if self.render_mode is None:
            gymnasium.logger.warn('render() was called without a render_mode: pass render_mode="ansi"')
            return None
        from cloudsched_env.render.ansi import draw_cluster  # only those who look pay for it

        return draw_cluster(self._vector)

    def close(self) -> None:
        """Nothing to release."""

    def _with_overrides(self, overrides: Mapping[str, Any] | None) -> CloudSchedVectorEnv:
        """The cluster with the constructor's scenario and these changes; its random numbers go on where they were."""
        overrides = {} if overrides is None else overrides
        scenario = self._base.scenario if overrides == {} else self._base.scenario.override(overrides)
        if scenario == self._vector.scenario:
            return self._vector
        if scenario == self._base.scenario:
            vector = self._base
        else:
            vector = CloudSchedVectorEnv(scenario, 1, source=_for_scenario(self._base.source, scenario))
            if _spaces(vector) != _spaces(self._base):
                fields = [name for name in overrides if self._changes_spaces(name, overrides[name])]
                raise ValueError(
                    f'options["overrides"]: {", ".join(fields or overrides)} would change the spaces of the agents, '
                    "which stay the same for all episodes: pass it to parallel_env(..., overrides=...) instead"
                )
        vector.generators = self._vector.generators
        return vector

    def _changes_spaces(self, name: str, value: Any) -> bool:
        """Whether one override alone would change a space; one that is not valid alone is suspected."""
        try:
            scenario = self._base.scenario.override({name: value})
        except ValueError:
            return True
        return _spaces(CloudSchedVectorEnv(scenario, 1)) != _spaces(self._base)

    def _observe(self) -> dict[str, Observation]:
        observations: dict[str, Observation] = {}
        for role in ROLES:
            rows = self._vector.observations[role][0].copy()
            masks = self._vector.masks[role][0].copy()
            for agent, row, mask in zip(self._agents_of[role], rows, masks, strict=True):
                observations[agent] = {"observation": row, "action_mask": mask}
        return observations

    def _infos(self) -> dict[str, dict[str, Any]]:
        team = float(self._vector.team_reward[0])
        infos: dict[str, dict[str, Any]] = {agent: {"team_reward": team} for agent in self.possible_agents}
        candidates = self._vector.candidates[0].copy()
        for agent, row in zip(self._agents_of["scheduler"], candidates, strict=True):
            infos[agent]["candidates"] = row
        return infos

    def _stack(self, role: str, actions: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
        """The role's actions as one array ``[1, agents, sub-actions]``."""
        agents = self._agents_of[role]
        try:
            rows = [actions[agent] for agent in agents]
        except KeyError as missing:
            raise ValueError(f"no action for agent {missing}: expected one for every agent in env.agents") from None
        try:
            return np.asarray(rows)[None]
        except ValueError:
            shape = (len(self._vector.action_levels[role]),)
            wrong = {agent: np.shape(actions[agent]) for agent in agents if np.shape(actions[agent]) != shape}
            raise ValueError(f"actions of role {role!r} must have shape {shape}, got {wrong}") from None


def _checked_options(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Options of a reset; what was meant as an override must not go unheard, or results are of another scenario.

    Raises:
        ValueError: for options that are no mapping, and for keys that are a dotted name or nearly "overrides".
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(f"options are {options!r}: expected a dictionary, such as {_EXAMPLE_OPTIONS}")
    for key in options:
        if not isinstance(key, str) or key == "overrides":
            continue
        if "." in key or difflib.get_close_matches(key.lower(), ["overrides"], cutoff=_RESEMBLES):
            raise ValueError(f"options[{key!r}]: scenario fields are changed as in options={_EXAMPLE_OPTIONS}")
    return options


def _spaces(vector: CloudSchedVectorEnv) -> tuple[Any, ...]:
    """All that the spaces of the agents and of the global state are made of."""
    return (
        vector.role_counts,
        vector.layouts,
        {r: v.tolist() for r, v in vector.action_levels.items()},
        vector.state_layout,
    )


def _for_scenario(source: WorkloadSource, scenario: Scenario) -> WorkloadSource:
    """The source made for another scenario.

    Raises:
        ValueError: if it is of a kind that cannot be.
    """
    if source.scenario == scenario:
        return source
    if not hasattr(source, "with_scenario"):
        raise ValueError(
            f"source {type(source).__name__} has no method with_scenario, so that it cannot follow overrides: give it "
            "one, or make the source for the scenario with its overrides"
        )
    following: WorkloadSource = source.with_scenario(scenario)
    return following


def _local_share(reward: str | float) -> float:
    named = {"team": 0.0, "local": 1.0}
    if isinstance(reward, str) and reward in named:
        return named[reward]
    if isinstance(reward, (int, float)) and not isinstance(reward, bool) and 0.0 <= reward <= 1.0:
        return float(reward)
    raise ValueError(f'reward is {reward!r}: expected "team", "local" or a number from 0 (team) to 1 (local)')
