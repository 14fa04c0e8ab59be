"""Playing many agents on the same episodes, in parallel: common random numbers, one figure per (agent, episode)."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.protocol import Agent, ClusterInfo
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.result import EpisodeResult
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode

__all__ = ["ParallelPlayer"]


class ParallelPlayer:
    """Plays agents on lists of episodes, one thread a core: the compiled step and linear agents release the GIL.

    Args:
        scenario: the cluster.
        workers: threads.
        batch_size: clusters that one thread steps at once.
    """

    def __init__(self, scenario: Scenario, workers: int, batch_size: int = 16) -> None:
        self.scenario = scenario
        self.batch_size = batch_size
        self._pool = ThreadPoolExecutor(max(1, workers))
        self._free: dict[int, queue.SimpleQueue[CloudSchedVectorEnv]] = {}

    def records(self, agent: Agent, episodes: Sequence[Episode], seed: int) -> list[EpisodeResult]:
        """Play one agent; cluster i has seed ``seed + i``, whatever the batch size."""
        records: list[EpisodeResult] = []
        for first in range(0, len(episodes), self.batch_size):
            records += self._play_batch(agent, episodes[first : first + self.batch_size], seed + first)
        return records

    def team_rewards(
        self,
        agents: Iterable[Callable[[], Agent]],
        episodes: Sequence[Episode],
        seed: int,
        report: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float64]:
        """Mean team reward per counted step, ``[agents, episodes]``.

        Args:
            agents: makers of agents (an agent has state, so each thread makes its own).
            episodes: the work.
            seed: of the clusters' telemetry and failures.
            report: called after every agent.
        """

        def one(make: Callable[[], Agent]) -> list[float]:
            rewards = [r.totals["team_reward"] / r.totals["steps"] for r in self.records(make(), episodes, seed)]
            report()
            return rewards

        return np.array(list(self._pool.map(one, agents)))

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _play_batch(self, agent: Agent, episodes: Sequence[Episode], seed: int) -> list[EpisodeResult]:
        spare = self._free.setdefault(len(episodes), queue.SimpleQueue())
        try:
            env = spare.get_nowait()
        except queue.Empty:
            env = CloudSchedVectorEnv(self.scenario, len(episodes))
        info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
        env.reset([seed + index for index in range(env.num_envs)], episodes=episodes)
        agent.reset(info, env.num_envs, seed)
        over = False
        while not over:
            over = env.step(agent.act(env.observations, env.masks))
        records = env.results()
        spare.put(env)
        return records
