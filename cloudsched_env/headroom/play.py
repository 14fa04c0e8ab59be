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

__all__ = ["MakeAgent", "ParallelPlayer", "Watch", "team_reward"]

MakeAgent = Callable[[], Agent]
"""Makes a new agent; an agent has state, so each thread needs its own."""
Watch = Callable[[CloudSchedVectorEnv, int], None]
"""Called after every step with the environment and the index of the first episode of its batch."""


def team_reward(record: EpisodeResult) -> float:
    """J: mean team reward per counted step."""
    return record.totals["team_reward"] / record.totals["steps"]


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

    def records(
        self, agent: Agent, episodes: Sequence[Episode], seed: int, watch: Watch | None = None
    ) -> list[EpisodeResult]:
        """Play one agent; cluster i has seed ``seed + i``, whatever the batch size.

        Args:
            agent: what acts.
            episodes: the work.
            seed: of the clusters' telemetry and failures, and of the agent.
            watch: looks at every step of every batch.
        """
        records: list[EpisodeResult] = []
        for first in range(0, len(episodes), self.batch_size):
            chunk = episodes[first : first + self.batch_size]
            seeds = [seed + first + index for index in range(len(chunk))]
            records += self.batch(agent, chunk, seeds, watch, first)
        return records

    def team_rewards(
        self,
        agents: Iterable[MakeAgent],
        episodes: Sequence[Episode],
        seed: int,
        report: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float64]:
        """Mean team reward per counted step, ``[agents, episodes]``.

        Args:
            agents: makers of agents.
            episodes: the work.
            seed: of the clusters' telemetry and failures.
            report: called after every agent.
        """
        return np.array(
            self.map(lambda make: [team_reward(r) for r in self.records(make(), episodes, seed)], agents, report)
        )

    def map(self, function: Callable, items: Iterable, report: Callable[[], None] = lambda: None) -> list:
        """Results of a function for all items, in order, computed by the threads; ``report`` follows every item."""

        def one(item: object) -> object:
            result = function(item)
            report()
            return result

        return list(self._pool.map(one, items))

    def batch(
        self,
        agent: Agent,
        episodes: Sequence[Episode],
        seeds: Sequence[int],
        watch: Watch | None = None,
        first: int = 0,
    ) -> list[EpisodeResult]:
        """Play one batch, one cluster an episode, each with its own seed; the agent has the first one.

        Args:
            agent: what acts.
            episodes: the work.
            seeds: of the clusters.
            watch: looks at every step.
            first: what ``watch`` is told of the place of this batch.
        """
        spare = self._free.setdefault(len(episodes), queue.SimpleQueue())
        try:
            env = spare.get_nowait()
        except queue.Empty:
            env = CloudSchedVectorEnv(self.scenario, len(episodes))
        info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
        env.reset(list(seeds), episodes=episodes)
        agent.reset(info, env.num_envs, seeds[0])
        over = False
        while not over:
            over = env.step(agent.act(env.observations, env.masks))
            if watch is not None:
                watch(env, first)
        records = env.results()
        spare.put(env)
        return records

    def close(self) -> None:
        """Stop the threads: what is running ends, what is waiting does not begin."""
        self._pool.shutdown(wait=True, cancel_futures=True)
