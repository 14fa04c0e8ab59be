"""Which nodes the oracle's schedulers look at: the section "Candidates" of `docs/simulator.md`, in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.oracle import OracleCluster

WORD = 2**64


def mix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WORD
    return x ^ (x >> 31)


def bits(key: int, stream: int, counter: int) -> int:
    return mix(mix((key + (stream + 1) * 0x9E3779B97F4A7C15 + (counter + 1) * 0xD1B54A32D192ED03) % WORD))


def stopped_shuffle(nodes: int, most: int, wanted: list[int], seed: int) -> list[int]:
    """``most`` of the nodes: those that are wanted first, up to half, then at random."""
    if nodes <= most:
        return list(range(nodes))
    entries = list(range(nodes))
    settled = 0
    for node in wanted:
        if settled < most // 2 and node not in entries[:settled]:
            other = entries.index(node)
            entries[settled], entries[other] = entries[other], entries[settled]
            settled += 1
    for i in range(settled, most):
        drawn = mix((seed + (i + 1) * 0x9E3779B97F4A7C15) % WORD) // 2**32
        other = i + drawn * (nodes - i) // 2**32
        entries[i], entries[other] = entries[other], entries[i]
    return entries[:most]


def choose(cluster: OracleCluster) -> None:
    """Give every scheduler its candidates for the step about to begin."""
    config = cluster.scenario.scheduling
    nodes, stores = len(cluster.compute), len(cluster.storage)
    first = (len(cluster.schedulers) + 1) * (nodes + stores)
    for s, agent in enumerate(cluster.schedulers):
        shards = [task.shard for task in agent.fifo[: config.window_slots]]
        homes = [n for shard in shards for n in cluster.homes[shard]]
        replicas = [r for shard in shards for r in cluster.replicas[shard]]
        seed = bits(cluster.key, first + 2 * s, cluster.k)
        agent.candidates = stopped_shuffle(nodes, config.candidate_nodes, homes, seed)
        seed = bits(cluster.key, first + 2 * s + 1, cluster.k)
        agent.observed_storage = stopped_shuffle(stores, config.candidate_nodes, replicas, seed)
