"""Which nodes a scheduler looks at in a step (`docs/simulator.md`, "Candidates").

On a large cluster nobody looks at every node for every decision: kube-scheduler stops at ``percentageOfNodesToScore``
(https://kubernetes.io/docs/concepts/scheduling-eviction/scheduler-perf-tuning/). Here a scheduler observes a fixed
number of nodes, those that hold the data of its visible tasks first, then a sample of the others, so that its cost
does not depend on the size of the cluster.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.draws import uniform

__all__ = ["draw_candidates"]


@compiled
def _swap(scratch, i, j):
    """Swap entries ``i`` and ``j`` of the order, and keep ``position`` its inverse."""
    first, second = scratch.order[i], scratch.order[j]
    scratch.order[i] = second
    scratch.order[j] = first
    scratch.position[second] = i
    scratch.position[first] = j


@compiled
def _prefer(scratch, node, taken):
    """Put ``node`` behind the ``taken`` entries that are chosen, unless it is among them; returns how many now are."""
    at = scratch.position[node]
    if at < taken:
        return taken
    scratch.drawn[taken] = at
    _swap(scratch, taken, at)
    return taken + 1


@compiled
def _complete(scratch, key, stream, step, nodes, taken, out):
    """Draw the rest without replacement (Durstenfeld's shuffle, stopped early), write all, and undo every swap."""
    count = out.shape[0]
    for i in range(taken, count):
        at = i + int(uniform(key, stream + i, step) * (nodes - i))
        scratch.drawn[i] = at
        _swap(scratch, i, at)
    for i in range(count):
        out[i] = scratch.order[i]
    for i in range(count - 1, -1, -1):
        _swap(scratch, i, scratch.drawn[i])


@compiled
def draw_candidates(parameters, clock, tasks, data, schedulers, storage, scratch, b):
    """Choose the nodes that each scheduler observes next; on a small cluster they are always all, in order."""
    nodes, storages = parameters.cores.shape[0], storage.alive.shape[1]
    most = parameters.candidate_nodes
    if nodes <= most and storages <= most:
        return
    count = schedulers.queue_head.shape[1]
    step, key = clock.step[b], clock.episode_key[b]
    first_stream = (count + 1) * (nodes + storages)  # those before are the links of telemetry
    for s in range(count):
        stream = first_stream + 2 * most * s
        if nodes > most:
            taken = 0
            i = schedulers.queue_head[b, s]
            for _ in range(parameters.window_slots):
                if i < 0:
                    break
                for h in range(data.homes.shape[2]):
                    if taken < most // 2:
                        taken = _prefer(scratch, data.homes[b, tasks.shard[b, i], h], taken)
                i = tasks.next_task[b, i]
            _complete(scratch, key, stream, step, nodes, taken, schedulers.candidates[b, s])
        if storages > most:
            taken = 0
            i = schedulers.queue_head[b, s]
            for _ in range(parameters.window_slots):
                if i < 0:
                    break
                for j in range(data.replicas.shape[2]):
                    if taken < most // 2:
                        taken = _prefer(scratch, data.replicas[b, tasks.shard[b, i], j], taken)
                i = tasks.next_task[b, i]
            _complete(scratch, key, stream + most, step, storages, taken, schedulers.observed_storage[b, s])
