"""The array face: B clusters stepped at once, one array per role.

The compiled step is assembled here from the mechanisms in `cloudsched_env.sim` and the observations in
`cloudsched_env.roles`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.roles import compute as compute_role
from cloudsched_env.roles import scheduler as scheduler_role
from cloudsched_env.roles import state as global_state
from cloudsched_env.roles import storage as storage_role
from cloudsched_env.roles.compute import mask_compute, observe_compute
from cloudsched_env.roles.layout import Layout
from cloudsched_env.roles.scheduler import observe_scheduler
from cloudsched_env.roles.state import observe_cluster
from cloudsched_env.roles.storage import mask_storage, observe_storage
from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.sim.compiled import compiled, entry_point, source_fingerprint
from cloudsched_env.sim.failure import Outage, draw_outages
from cloudsched_env.sim.load import load_episode, record
from cloudsched_env.sim.parameters import make_parameters
from cloudsched_env.sim.result import EpisodeResult
from cloudsched_env.sim.reward import local_rewards
from cloudsched_env.sim.state import State, allocate
from cloudsched_env.sim.step import begin_cluster, step_cluster
from cloudsched_env.workload.episode import Episode, Split, WorkloadSource
from cloudsched_env.workload.source import make_source
from cloudsched_env.workload.validation import check_episode

__all__ = ["ROLES", "CloudSchedVectorEnv"]

ROLES = ("compute", "storage", "scheduler")


@compiled
def _observe(parameters, state, b, o_compute, o_storage, o_scheduler, m_compute, m_storage, m_scheduler, o_state):  # noqa: ANN001, ANN202
    """Write the observations, masks and global state of cluster ``b``."""
    clock, compute, storage, telemetry = state.clock, state.compute, state.storage, state.telemetry
    nodes = parameters.cores.shape[0]
    for n in range(nodes):
        observe_compute(parameters, clock, compute, telemetry, b, n, o_compute[b, n])
        mask_compute(parameters, clock, compute, b, n, m_compute[b, n])
    for r in range(storage.alive.shape[1]):
        observe_storage(parameters, clock, storage, telemetry, b, r, nodes + r, o_storage[b, r])
        mask_storage(parameters, clock, storage, b, r, m_storage[b, r])
    for s in range(state.schedulers.queue_length.shape[1]):
        observe_scheduler(
            parameters, clock, state.tasks, state.data, state.schedulers, telemetry, state.ledger, state.scratch,
            b, s, o_scheduler[b, s], m_scheduler[b, s],
        )  # fmt: skip
    observe_cluster(
        parameters, clock, state.tasks, state.data, state.running, compute, state.schedulers, state.ledger, b,
        o_compute[b], o_storage[b], o_scheduler[b], o_state[b],
    )  # fmt: skip


@entry_point
def _find_out_of_range(actions, levels):  # noqa: ANN001, ANN202
    """Flat position of the first action that is not one of its levels, or -1."""
    for b in range(actions.shape[0]):
        for i in range(actions.shape[1]):
            for k in range(actions.shape[2]):
                if actions[b, i, k] < 0 or actions[b, i, k] >= levels[k]:
                    return (b * actions.shape[1] + i) * actions.shape[2] + k
    return -1


def _make_advance_batch(fingerprint: int) -> Callable[..., None]:
    """The entry point of the compiled code; capturing the fingerprint makes it part of the key of its disk cache."""

    @entry_point
    def advance_batch(parameters, state, begin, actions, observations, masks, o_state, local, team):  # noqa: ANN001, ANN202
        if fingerprint == 0:
            return
        for b in range(o_state.shape[0]):
            if begin:
                begin_cluster(parameters, state, b)
            else:
                team[b] = step_cluster(
                    parameters, state, b, actions[0][b], actions[1][b], actions[2][b],
                    masks[0][b], masks[1][b], masks[2][b],
                )  # fmt: skip
                local_rewards(
                    parameters, state.compute, state.storage, state.schedulers, state.ledger, b,
                    local[0][b], local[1][b], local[2][b],
                )  # fmt: skip
            _observe(
                parameters, state, b, observations[0], observations[1], observations[2],
                masks[0], masks[1], masks[2], o_state,
            )  # fmt: skip

    return advance_batch


_advance_batch = _make_advance_batch(source_fingerprint())
_compilation_announced = threading.Event()


@contextmanager
def _announce_compilation(patience_s: float = 6.0) -> Iterator[None]:
    """Say so on standard error when the first call takes long because it compiles (once per installation)."""
    if _compilation_announced.is_set():
        yield
        return
    started = time.perf_counter()
    told = threading.Event()

    def tell() -> None:
        told.set()
        print(
            "cloudsched-env: compiling the simulator (once per installation, up to a minute or two) ...",
            file=sys.stderr,
            flush=True,
        )

    timer = threading.Timer(patience_s, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _compilation_announced.set()
        if told.is_set():
            print(f"cloudsched-env: compiled in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


class CloudSchedVectorEnv:
    """B clusters of one scenario in lockstep; outputs are arrays that every step overwrites in place.

    Args:
        scenario: an id such as ``"paper-v1"`` or a `Scenario`.
        num_envs: B, how many clusters.
        source: where episodes come from; the calibrated generator by default.
        split: which windows or seeds the default source draws from.
        overrides: scenario fields changed by dotted name.

    Attributes:
        scenario: the `Scenario`.
        num_envs: B.
        roles: ``("compute", "storage", "scheduler")``.
        role_counts: agents of each role.
        layouts: observation layout of each role.
        action_levels: choices of each sub-action, ``{role: int64 [sub-actions]}``.
        state_layout: layout of the global state.
        observations: ``{role: float32 [B, agents, observation size]}``.
        masks: ``{role: int8 [B, agents, sum of action levels]}``.
        state: float32 ``[B, state size]``.
        local_rewards: ``{role: float32 [B, agents]}``.
        team_reward: float32 ``[B]``.
        episodes: the B episodes that are running.

    Raises:
        ValueError: for an unknown scenario or field, or ``num_envs`` below 1.
    """

    roles: tuple[str, ...] = ROLES

    def __init__(
        self,
        scenario: str | Scenario = "paper-v1",
        num_envs: int = 1,
        *,
        source: WorkloadSource | None = None,
        split: Split = "train",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}: expected at least 1")
        self.scenario = load_scenario(scenario, overrides)
        self.num_envs = num_envs
        self._source = source
        self._split: Split = split
        self.role_counts = self.scenario.role_counts
        role_modules: dict[str, Any] = {"compute": compute_role, "storage": storage_role, "scheduler": scheduler_role}
        self.layouts: dict[str, Layout] = {role: role_modules[role].layout(self.scenario) for role in ROLES}
        self.action_levels: dict[str, NDArray[np.int64]] = {
            role: role_modules[role].action_levels(self.scenario).astype(np.int64) for role in ROLES
        }
        self.state_layout = global_state.layout(self.scenario)
        self._parameters = make_parameters(self.scenario)
        self._state: State | None = None
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._steps_left = 0
        self.episodes: list[Episode] = []

        def per_role(size: Callable[[str], int], dtype: Any) -> dict[str, NDArray[Any]]:
            return {role: np.zeros((num_envs, self.role_counts[role], size(role)), dtype) for role in ROLES}

        self.observations = per_role(lambda role: self.layouts[role].size, np.float32)
        self.masks = per_role(lambda role: int(self.action_levels[role].sum()), np.int8)
        self.state = np.zeros((num_envs, self.state_layout.size), np.float32)
        self.local_rewards = {role: np.zeros((num_envs, self.role_counts[role]), np.float32) for role in ROLES}
        self.team_reward = np.zeros(num_envs, np.float32)
        self._observations = tuple(self.observations[role] for role in ROLES)
        self._masks = tuple(self.masks[role] for role in ROLES)
        self._local_rewards = tuple(self.local_rewards[role] for role in ROLES)
        self._no_actions = tuple(
            np.zeros((num_envs, self.role_counts[role], len(self.action_levels[role])), np.int64) for role in ROLES
        )

    def reset(
        self,
        seeds: int | Sequence[int] | None = None,
        *,
        episodes: Sequence[Episode] | None = None,
        outages: Sequence[list[Outage]] | None = None,
    ) -> None:
        """Begin a new episode in every cluster.

        The same seed gives the same bytes whatever B is and wherever in the batch the cluster stands.

        Args:
            seeds: one seed per cluster, or one integer s for seeds s, s + 1, …; without it the clusters' generators
                go on from where they are.
            episodes: B explicit episodes instead of ones drawn from the source.
            outages: B explicit schedules of crashes and repairs instead of drawn ones
                (see `cloudsched_env.sim.failure.Outage`).

        Raises:
            ValueError: when a list is not of length B, or an episode does not belong to this scenario.
        """
        batch = self.num_envs
        if seeds is not None:
            values = [seeds + b for b in range(batch)] if isinstance(seeds, (int, np.integer)) else list(seeds)
            _require_length("seeds", values, batch)
            self._rngs = [np.random.default_rng(int(seed)) for seed in values]
        if episodes is not None:
            _require_length("episodes", episodes, batch)
        if outages is not None:
            _require_length("outages", outages, batch)
        self.episodes = [self.source.episode(self._rngs[b]) if episodes is None else episodes[b] for b in range(batch)]
        for episode in self.episodes:
            check_episode(self.scenario, episode)
        schedules = [
            draw_outages(self.scenario, self._rngs[b]) if outages is None else sorted(outages[b]) for b in range(batch)
        ]
        keys = [int(rng.integers(0, 2**63)) for rng in self._rngs]
        state = self._room_for(
            max(e.tasks for e in self.episodes),
            max(len(events) for events in schedules),
            max(len(e.background_step) for e in self.episodes),
        )
        for b in range(batch):
            load_episode(state, b, self.scenario, self._parameters, self.episodes[b], schedules[b], keys[b])
        for array in (*self._local_rewards, self.team_reward):
            array[:] = 0.0
        with _announce_compilation():
            self._advance(state, True, self._no_actions)
        self._steps_left = self.scenario.time.horizon_steps

    def step(self, actions: Mapping[str, NDArray[np.integer[Any]]]) -> bool:
        """Advance every cluster by one control interval.

        Args:
            actions: ``{role: integers [B, agents, sub-actions]}``.

        Returns:
            True when the horizon is reached (all clusters at once): outputs then show the final state, and
            `reset` must be called before the next step.

        Raises:
            RuntimeError: before the first `reset` and after the horizon.
            ValueError: for a missing role, a wrong shape, dtype or an action out of range, naming what was expected.
        """
        if self._steps_left == 0 or self._state is None:
            raise RuntimeError("the episodes are over or have not begun: call reset() before step()")
        checked = tuple(self._check_actions(role, actions) for role in ROLES)
        self._advance(self._state, False, checked)
        self._steps_left -= 1
        return self._steps_left == 0

    def results(self) -> list[EpisodeResult]:
        """Raw records of the B episodes so far, for `cloudsched_env.evaluation`.

        Raises:
            RuntimeError: before the first `reset`.
        """
        if self._state is None:
            raise RuntimeError("no episode has begun: call reset() first")
        return [record(self._state, b, self.scenario, self.episodes[b]) for b in range(self.num_envs)]

    @property
    def source(self) -> WorkloadSource:
        """Where episodes come from; the calibrated generator is loaded when it is first needed."""
        if self._source is None:
            self._source = make_source(self.scenario, self._split)
        return self._source

    @property
    def generators(self) -> list[np.random.Generator]:
        """Each cluster's source of randomness; assign those of another env to go on where it is.

        Raises:
            ValueError: when assigned a list that is not of length B.
        """
        return self._rngs

    @generators.setter
    def generators(self, generators: Sequence[np.random.Generator]) -> None:
        _require_length("generators", generators, self.num_envs)
        self._rngs = list(generators)

    @property
    def candidates(self) -> NDArray[np.int32]:
        """Compute nodes behind the schedulers' choices in the next step, int32 ``[B, schedulers, candidates]``.

        Choice j of a scheduler sends a task to node ``candidates[b, s, j]``. On clusters of at most
        ``scheduling.candidate_nodes`` nodes these are all nodes in order. A view; every step overwrites it.

        Raises:
            RuntimeError: before the first `reset`.
        """
        return self.simulator_state.schedulers.candidates

    @property
    def simulator_state(self) -> State:
        """The struct of arrays behind the observations, for tests and pictures; reading only.

        Raises:
            RuntimeError: before the first `reset`.
        """
        if self._state is None:
            raise RuntimeError("no episode has begun: call reset() first")
        return self._state

    def _room_for(self, tasks: int, outages: int, changes: int) -> State:
        """The state arrays, made larger if an episode does not fit."""
        state = self._state
        if (
            state is None
            or state.tasks.cores.shape[1] < tasks
            or state.data.outage_step.shape[1] < outages
            or state.data.background_step.shape[1] < changes
        ):
            old_tasks = 0 if state is None else state.tasks.cores.shape[1]
            capacity = max(1, tasks, old_tasks)
            self._state = state = allocate(self.scenario, self.num_envs, capacity, max(1, outages), max(1, changes))
        return state

    def _advance(self, state: State, begin: bool, actions: tuple[NDArray[np.int64], ...]) -> None:
        _advance_batch(
            self._parameters, state, begin, actions, self._observations, self._masks, self.state,
            self._local_rewards, self.team_reward,
        )  # fmt: skip

    def _check_actions(self, role: str, actions: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        if role not in actions:
            raise ValueError(f"no actions for role {role!r}: expected the keys {list(ROLES)}, got {list(actions)}")
        levels = self.action_levels[role]
        shape = (self.num_envs, self.role_counts[role], len(levels))
        given = np.asarray(actions[role])
        if given.shape != shape:
            raise ValueError(f"actions of role {role!r} have shape {given.shape}: expected {shape}")
        if given.dtype.kind not in "iu":
            raise ValueError(f"actions of role {role!r} have dtype {given.dtype}: expected integers")
        # Writeable and contiguous: the kernel is compiled for such arrays, and would be once more for others.
        array = np.require(given, np.int64, ("C", "W"))
        position = _find_out_of_range(array, levels)
        if position >= 0:
            b, i, k = (int(v) for v in np.unravel_index(position, shape))
            raise ValueError(
                f"action {array[b, i, k]} of {role}_{i} (cluster {b}, sub-action {k}) is out of range: "
                f"expected 0 to {levels[k] - 1}"
            )
        return array


def _require_length(name: str, values: Sequence[Any], batch: int) -> None:
    if len(values) != batch:
        raise ValueError(f"{name} has length {len(values)}: expected one per cluster, {batch}")
