"""How agents are compared: every agent runs the same fixed episodes, with the same seeds, in batches.

The score of an episode is (J - J_random) / (J_bound - J_random): 0 is the random agent on that very episode, 1 an
upper bound that no policy can pass (`cloudsched_env.workload.bound`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents import Agent, ClusterInfo, check_actions, load_agent
from cloudsched_env.agents.check import check_agent
from cloudsched_env.evaluation.metrics import METRICS, summarise
from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.sim.result import EpisodeResult
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.bound import upper_bound
from cloudsched_env.workload.episode import Episode, Split
from cloudsched_env.workload.source import GeneratedSource, TraceSource, make_source
from cloudsched_env.workload.storage_load import StorageLoad

__all__ = ["BOUNDED_METRICS", "RANDOM", "AgentResult", "Evaluation", "Progress", "evaluate", "play", "play_all"]

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Called after every step with the agent's name, the episode-steps done, and the total of this evaluation."""

RANDOM = "random"
BATCH_SIZE = 30
BOUNDED_METRICS = ("team_reward", "useful_utilisation", "goodput", "latency_term", "fairness_term")


@dataclass(frozen=True)
class AgentResult:
    """One agent's episodes.

    Attributes:
        name: the agent.
        execution: what its agents exchange while they act: ``none``, ``role_summary`` or ``full``.
        metrics: ``{metric: [episodes]}`` by the names of `cloudsched_env.evaluation.metrics.METRICS`.
        decision_time_us: wall time of ``act`` per step of one cluster: median over steps, divided by the batch.
    """

    name: str
    execution: str
    metrics: Mapping[str, Floats]
    decision_time_us: float


@dataclass(frozen=True)
class Evaluation:
    """Results of all agents on the same episodes.

    Attributes:
        scenario: the cluster.
        split: where the episodes come from.
        seed: of the episode list, the clusters and the agents.
        episodes: how many.
        data_tag: whether the tasks are generated, an excerpt or a full trace.
        batch_size: clusters stepped at once; decision times depend on it, results do not.
        agents: one result per agent, in the order given.
        random: the random agent on the same episodes.
        bound: ``{metric: [episodes]}``, upper bounds of the metrics in `BOUNDED_METRICS`.
        storage_load: `StorageLoad.description` of the disks that compete for the storage nodes; None without.
    """

    scenario: Scenario
    split: Split
    seed: int
    episodes: int
    data_tag: str
    batch_size: int
    agents: tuple[AgentResult, ...]
    random: AgentResult
    bound: Mapping[str, Floats]
    storage_load: Mapping[str, Any] | None = None

    def score(self, agent: AgentResult) -> Floats:
        """(J - J_random) / (J_bound - J_random) of each episode, ``[episodes]``; NaN where the references coincide."""
        floor = self.random.metrics["team_reward"]
        span = self.bound["team_reward"] - floor
        gain = agent.metrics["team_reward"] - floor
        return np.divide(gain, span, out=np.full(len(span), np.nan), where=span > 0)


def evaluate(
    agents: Sequence[str | Agent],
    scenario: str | Scenario = "paper-v1",
    split: Split = "test",
    episodes: int = 30,
    seed: int = 0,
    trace: Any = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
    storage_load: StorageLoad | None = None,
) -> Evaluation:
    """Run agents on the same episodes.

    Args:
        agents: agents, or strings for `cloudsched_env.agents.load_agent`; their names must differ.
        scenario: an id or a `Scenario`.
        split: which windows or seeds the episodes come from.
        episodes: how many.
        seed: of the episode list, the clusters' telemetry and failures, and the agents.
        trace: task table of an imported trace; the calibrated generator without it.
        overrides: scenario fields changed by dotted name.
        batch_size: clusters stepped at once. Results of the package's own agents do not depend on it.
        progress: called after every step.
        storage_load: disks of a block trace that compete for the storage nodes.

    Raises:
        ValueError: for a wrong argument, or an agent that does not keep to the contract (`AgentError`).
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}: expected at least 1")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: expected at least 1")
    loaded = [load_agent(agent) if isinstance(agent, str) else agent for agent in agents]
    for agent in loaded:
        check_agent(agent, "evaluate")
    names = [agent.name for agent in loaded]
    if len(set(names)) < len(names):
        raise ValueError(f"agents have the same name: {names}; expected different names")
    cluster = load_scenario(scenario, overrides)
    source = cast("GeneratedSource | TraceSource", make_source(cluster, split, trace, storage_load))
    fixed = source.evaluation_episodes(episodes, seed)

    runs = loaded if RANDOM in names else [*loaded, load_agent(RANDOM)]
    steps = cluster.time.horizon_steps
    total = len(runs) * len(fixed) * steps
    results: dict[str, AgentResult] = {}
    environments: dict[int, CloudSchedVectorEnv] = {}
    for agent in runs:

        def report(step: int, name: str = agent.name, done: int = len(results) * len(fixed) * steps) -> None:
            if progress is not None:
                progress(name, done + step, total)

        results[agent.name] = play_all(
            agent, source, fixed, seed, batch_size=batch_size, environments=environments, report=report
        )
    bounds = [upper_bound(cluster, episode) for episode in fixed]
    return Evaluation(
        scenario=cluster,
        split=split,
        seed=seed,
        episodes=len(fixed),
        data_tag=fixed[0].data_tag,
        batch_size=min(batch_size, len(fixed)),
        agents=tuple(results[name] for name in names),
        random=results[RANDOM],
        bound={name: np.array([getattr(bound, name) for bound in bounds]) for name in BOUNDED_METRICS},
        storage_load=None if storage_load is None else storage_load.description,
    )


def play_all(
    agent: Agent,
    source: GeneratedSource | TraceSource,
    episodes: Sequence[Episode],
    seed: int,
    *,
    batch_size: int = BATCH_SIZE,
    environments: dict[int, CloudSchedVectorEnv] | None = None,
    report: Callable[[int], None] = lambda steps: None,
) -> AgentResult:
    """Play fixed episodes in batches, and measure them.

    Args:
        agent: what acts.
        source: where the episodes come from.
        episodes: the work.
        seed: of the agent and the clusters: the cluster of episode i gets ``seed + i``.
        batch_size: clusters stepped at once.
        environments: vector envs by number of clusters, which agents that are played one after the other can share.
        report: called after every step with the number of episode-steps done.
    """
    environments = {} if environments is None else environments
    records: list[EpisodeResult] = []
    times: list[Floats] = []
    steps = source.scenario.time.horizon_steps
    for first in range(0, len(episodes), batch_size):
        chunk = episodes[first : first + batch_size]
        if len(chunk) not in environments:
            environments[len(chunk)] = CloudSchedVectorEnv(source.scenario, len(chunk), source=source)

        def step_done(step: int, before: int = first * steps, size: int = len(chunk)) -> None:
            report(before + step * size)

        chunk_records, chunk_times = play(agent, environments[len(chunk)], chunk, seed + first, step_done)
        records += chunk_records
        times.append(chunk_times)
    summaries = [summarise(record) for record in records]
    return AgentResult(
        name=agent.name,
        execution=str(getattr(agent, "execution", "none")),
        metrics={entry.name: np.array([summary[entry.name] for summary in summaries]) for entry in METRICS},
        decision_time_us=1e6 * float(np.median(np.concatenate(times))),
    )


def play(
    agent: Agent,
    env: CloudSchedVectorEnv,
    episodes: Sequence[Episode],
    seed: int,
    report: Callable[[int], None] = lambda step: None,
) -> tuple[list[EpisodeResult], Floats]:
    """Play one batch of episodes to the horizon.

    Args:
        agent: what acts.
        env: a vector env with as many clusters as there are episodes.
        episodes: the work; cluster i gets seed ``seed + i``.
        seed: of the clusters and of the agent.
        report: called with the number of steps done.

    Returns:
        The records, and the wall time of each ``act`` in seconds divided by the number of clusters, ``[steps]``.
    """
    info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
    env.reset([seed + index for index in range(env.num_envs)], episodes=episodes)
    agent.reset(info, env.num_envs, seed)
    times, over = [], False
    while not over:
        began = time.perf_counter()
        actions = agent.act(env.observations, env.masks)
        times.append(time.perf_counter() - began)
        over = env.step(check_actions(actions, info, env.num_envs, agent.name))
        report(len(times))
    return env.results(), np.array(times) / env.num_envs
