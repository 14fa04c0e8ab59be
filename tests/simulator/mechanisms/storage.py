"""Runs of storage nodes: bandwidth sharing and quorum writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from cloudsched_env.sim.failure import Outage
from tests.simulator.drive import constant_actions, make_episode, play, times
from tests.simulator.isolated import isolated
from tests.simulator.mechanisms.background import with_changes
from tests.simulator.mechanisms.disciplines import first_come_response_s, shared_response_s
from tests.simulator.mechanisms.processor import Sharing, draw_sizes

BANDWIDTH_MB_PER_S = 1000.0
DISCIPLINES = (shared_response_s, first_come_response_s)
_MANY_CORES = ({"count": 1, "cores": 1000.0, "memory_gb": 1000.0},)


class Streams(NamedTuple):
    """What happened to streams that were there from the beginning, step by step."""

    finish_s: NDArray[np.float64]  # [tasks]
    stream_factor: NDArray[np.float64]  # [steps + 1]
    served_mb: NDArray[np.float64]  # [steps]
    progress: NDArray[np.float64]  # [steps, tasks], share of each task done in the step; NaN once it is over


def run_streams(
    base_time_s: ArrayLike,
    read_mb: ArrayLike,
    *,
    steps: int,
    stream_mb_per_s: float = 500.0,
    background_share: float = 0.0,
    sharing: bool = True,
    bandwidth_mb_per_s: float = BANDWIDTH_MB_PER_S,
    arrival_s: ArrayLike = 0.0,
    left_share: float = 1.0,
) -> Streams:
    """Tasks that compute for a time and read from one storage node; processors never limit them.

    Other volumes leave ``left_share`` of the node's bandwidth.
    """
    base, read, arrival = np.broadcast_arrays(*(np.asarray(a, float) for a in (base_time_s, read_mb, arrival_s)))
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=_MANY_CORES,
        storage__bandwidth_mb_per_s=bandwidth_mb_per_s,
        storage__read_stream_mb_per_s=stream_mb_per_s,
        storage__background_shares=(background_share,),
        storage__sharing_enabled=sharing,
        scheduling__window_slots=64,
    )
    episode = make_episode(scenario, base_time_s=base, scan_read_mb=read, arrival_s=arrival, memory_gb=1e-6, cores=0.1)
    episode = with_changes(episode, [0], [left_share], node=scenario.compute_count)
    factor, moved, remaining = [], [], []

    def watch(env, step):
        state = env.simulator_state
        factor.append(state.storage.stream_factor[0, 0])
        moved.append(env.results()[0].totals["storage_served_mb"])
        left = np.full(len(base), np.nan)
        slots = slice(0, state.running.slots_used[0])
        left[state.running.task[0, slots]] = state.running.remaining[0, slots]
        remaining.append(left)

    _, finish = times(play(scenario, [episode], watch=watch))
    remaining[0][arrival <= 0.0] = 1.0
    return Streams(finish[0], np.array(factor), np.diff(moved), -np.diff(np.array(remaining), axis=0))


def shared_stream_factor(
    base_time_s: ArrayLike, read_mb: ArrayLike, stream_mb_per_s: float, bandwidth_mb_per_s: float
) -> float:
    """Stream factor g at which the streams fill the bandwidth: sum of v / (b + v / (s g)) = B, or 1 if they cannot.

    Every task alternates between computing and reading, and all that read do so at the same rate s g: processor sharing
    of the bandwidth between active streams.
    """
    base, read = np.broadcast_arrays(np.asarray(base_time_s, float), np.asarray(read_mb, float))

    def excess(g: float) -> float:
        return float((read / (base + read / (stream_mb_per_s * g))).sum() - bandwidth_mb_per_s)

    return 1.0 if excess(1.0) <= 0.0 else brentq(excess, 1e-9, 1.0, xtol=1e-14)


def run_writes(
    delay: NDArray[np.float64], *, quorum: bool, write_mb: float = 1000.0, stream_mb_per_s: float = 1000.0
) -> NDArray[np.float64]:
    """Time per MB of a write, relative to the fastest stream, in clusters whose replicas write ``delay`` times slower.

    Args:
        delay: at least 1, ``[clusters, replicas]``.
        quorum: whether a majority has to acknowledge, or the fastest replica does.
        write_mb: size of the one write of each cluster.
        stream_mb_per_s: fastest stream.

    A replica writes slower because of its compaction debt between the limits, which is put there and stays: nothing
    is compacted, and writes leave no new debt.
    """
    clusters, replicas = delay.shape
    base_time_s = 1e-3
    scenario = isolated(
        time__horizon_steps=int(delay.max() * write_mb / stream_mb_per_s / 0.1) + 10,
        cluster__compute_nodes=_MANY_CORES,
        cluster__storage_nodes=replicas,
        workload__replicas=replicas,
        storage__write_stream_mb_per_s=stream_mb_per_s,
        storage__quorum_enabled=quorum,
        compaction__enabled=True,
        compaction__write_amplification=0.0,
        compaction__minimum_write_factor=0.0,
    )
    config, bandwidth = scenario.compaction, scenario.storage.bandwidth_mb_per_s
    # The task arrives a step after the debt, so that the kernel has turned the debt into write factors.
    episode = make_episode(scenario, base_time_s=base_time_s, write_mb=write_mb, arrival_s=scenario.time.step_s)

    def prepare(env):
        above_soft = (config.hard_limit_s - config.soft_limit_s) * (1.0 - 1.0 / delay)
        env.simulator_state.storage.debt_mb[:] = (config.soft_limit_s + above_soft) * bandwidth

    start, finish = times(play(scenario, [episode] * clusters, prepare=prepare))
    return (finish - start - base_time_s)[:, 0] / (write_mb / stream_mb_per_s)


def run_outage(replicas: int, down: Sequence[int], *, quorum: bool = True, reads: bool = False) -> tuple[float, float]:
    """Progress of a 10 s task while storage nodes are down (1 s to 2 s), and its finish; it writes, or it reads."""
    scenario = isolated(
        time__horizon_steps=200,
        cluster__compute_nodes=_MANY_CORES,
        cluster__storage_nodes=replicas,
        workload__replicas=replicas,
        storage__quorum_enabled=quorum,
    )
    moved = {"scan_read_mb": 10.0} if reads else {"write_mb": 10.0}
    episode = make_episode(scenario, base_time_s=10.0, **moved)
    nodes = scenario.compute_count
    outages: list[Outage] = [event for r in down for event in ((10, nodes + r, 0), (20, nodes + r, 1))]
    remaining = []

    def watch(env, step):
        remaining.append(env.simulator_state.running.remaining[0, 0] if step else 1.0)

    _, finish = times(play(scenario, [episode], outages=[outages], watch=watch))
    return remaining[10] - remaining[20], float(finish[0, 0])


def run_catch_up(write_mb_per_s: float, *, outage_s: float, steps: int = 300) -> NDArray[np.float64]:
    """Apply lag in MB of a replica that was down from 1 s on, while a task writes all the time; ``[steps + 1]``."""
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=_MANY_CORES,
        cluster__storage_nodes=3,
        workload__replicas=3,
        storage__bandwidth_mb_per_s=BANDWIDTH_MB_PER_S,
        storage__sharing_enabled=True,
    )
    long_s = 1e6
    episode = make_episode(scenario, base_time_s=long_s, write_mb=write_mb_per_s * long_s)
    node = scenario.compute_count + 2
    back = 10 + round(outage_s / scenario.time.step_s)
    lag = []

    def watch(env, step):
        lag.append(env.simulator_state.storage.lag_mb[0, 2])

    play(scenario, [episode], outages=[[(10, node, 0), (back, node, 1)]], watch=watch)
    return np.array(lag)


class Recovery(NamedTuple):
    """A replica that is down from 1 s on, and what happens beside it; ``[steps + 1]`` and ``[steps]``."""

    lag_mb: NDArray[np.float64]
    reader_progress: NDArray[np.float64]
    writer_progress: NDArray[np.float64]


def run_recovery(write_mb_per_s: float, read_mb_per_s: float, *, outage_s: float, steps: int = 150) -> Recovery:
    """One of three replicas is down for a while, beside a task that writes all the time and one that reads."""
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=_MANY_CORES,
        cluster__storage_nodes=3,
        workload__replicas=3,
        storage__bandwidth_mb_per_s=BANDWIDTH_MB_PER_S,
        storage__sharing_enabled=True,
    )
    long_s = 1e6
    episode = make_episode(
        scenario,
        base_time_s=long_s,
        write_mb=[write_mb_per_s * long_s, 0.0],
        scan_read_mb=[0.0, read_mb_per_s * long_s],
    )
    node = scenario.compute_count + 2
    back = 10 + round(outage_s / scenario.time.step_s)
    lag, remaining = [], []

    def watch(env, step):
        state = env.simulator_state
        lag.append(state.storage.lag_mb[0, 2])
        remaining.append(state.running.remaining[0, :2].copy() if step else np.ones(2))

    play(scenario, [episode], outages=[[(10, node, 0), (back, node, 1)]], watch=watch)
    writer, reader = -np.diff(np.array(remaining), axis=0).T
    return Recovery(np.array(lag), reader, writer)


def run_read_split(weights: Sequence[float]) -> NDArray[np.float64]:
    """Share of the reads of one shard that each replica serves under the given weights."""
    replicas = len(weights)
    scenario = isolated(
        time__horizon_steps=10,
        cluster__compute_nodes=_MANY_CORES,
        cluster__storage_nodes=replicas,
        workload__replicas=replicas,
        storage__serve_weights=tuple(weights),
    )
    actions = constant_actions(scenario, 1)
    actions["storage"][0, :, 1] = np.arange(replicas)
    episode = make_episode(scenario, base_time_s=100.0, scan_read_mb=10_000.0)
    rate = play(scenario, [episode], actions=actions).simulator_state.storage.read_rate[0]
    return rate / rate.sum()


def harmonic_gap(replicas: int, quorum: int) -> float:
    """Mean of the quorum-th smallest of ``replicas`` independent exponential times of mean 1 (Renyi 1953)."""
    return sum(1.0 / j for j in range(replicas - quorum + 1, replicas + 1))


class RandomStreams(NamedTuple):
    """Reads that arrived at random on one storage node, and what two disciplines would have made of them."""

    stepped: Sharing  # what the kernel made of them
    shared: Sharing  # the bandwidth shared equally in continuous time
    first_come: Sharing  # one read at a time
    busiest: NDArray[np.float64]  # most that each cluster moved in a step / bandwidth x step


def run_random_streams(
    load: float, *, step_s: float, clusters: int, tasks: int, seed: int, kind: str = "exponential"
) -> RandomStreams:
    """Poisson arrivals of reads that take 1 s alone on average; one stream can use the whole bandwidth.

    The first fifth and the last tenth do not count: the node begins empty, and ends without arrivals.
    """
    rng = np.random.default_rng(seed)
    size = draw_sizes(kind, (clusters, tasks), rng)
    arrival = np.cumsum(rng.exponential(1.0 / load, (clusters, tasks)), axis=1)
    scenario = isolated(
        time__step_s=step_s,
        time__horizon_steps=int((arrival.max() + 120.0) / step_s),
        cluster__compute_nodes=_MANY_CORES,
        storage__bandwidth_mb_per_s=BANDWIDTH_MB_PER_S,
        storage__read_stream_mb_per_s=BANDWIDTH_MB_PER_S,
        storage__sharing_enabled=True,
    )
    episodes = [
        make_episode(
            scenario, arrival_s=a, scan_read_mb=BANDWIDTH_MB_PER_S * x, base_time_s=1e-6, memory_gb=1e-6, cores=0.1
        )
        for a, x in zip(arrival, size, strict=True)
    ]
    busiest = np.zeros(clusters)

    def watch(env, step):
        np.maximum(busiest, env.simulator_state.storage.read_rate[:, 0], out=busiest)

    start, finish = times(play(scenario, episodes, watch=watch))
    counted = slice(tasks // 5, tasks - tasks // 10)
    responses = (
        finish - start,
        *(np.array([rule(*row) for row in zip(arrival, size, strict=True)]) for rule in DISCIPLINES),
    )
    return RandomStreams(*(Sharing(size[:, counted], response[:, counted]) for response in responses), busiest)
