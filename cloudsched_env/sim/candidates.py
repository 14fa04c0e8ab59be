"""Which nodes a scheduler looks at in a step (`docs/simulator.md`, "Candidates").

On a large cluster nobody looks at every node for every decision: kube-scheduler stops at ``percentageOfNodesToScore``
(https://kubernetes.io/docs/concepts/scheduling-eviction/scheduler-perf-tuning/). Here a scheduler observes a fixed
number of nodes, those that hold the data of its visible tasks first, then a sample of the others, so that its cost
does not depend on the size of the cluster.
"""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.draws import random_bits, random_index

__all__ = ["draw_candidates"]


@compiled
def _prefer(scratch, node, taken):
    """Swap ``node`` behind the ``taken`` entries of the order that are settled, unless it is one; returns how many are.

    ``position`` is the inverse of ``order``.
    """
    at = scratch.position[node]
    if at < taken:
        return taken
    other = scratch.order[taken]
    scratch.order[taken] = node
    scratch.order[at] = other
    scratch.position[node] = taken
    scratch.position[other] = at
    scratch.drawn[taken] = at
    return taken + 1


@compiled
def _complete(scratch, seed, nodes, taken, out):
    """Draw the rest without replacement: Durstenfeld's shuffle (CACM 7(7), 1964), stopped early.

    ``order`` and ``position`` are put back to 0, 1, 2, ... wherever they were touched, so that nothing here costs more
    on a larger cluster.
    """
    count = out.shape[0]
    order, position, drawn = scratch.order, scratch.position, scratch.drawn
    for i in range(taken):
        out[i] = order[i]
    for i in range(taken, count):
        at = i + random_index(seed, i, nodes - i)
        drawn[i] = at
        out[i] = order[at]
        order[at] = order[i]  # entry i is settled: nobody reads it any more
    for i in range(count):
        at = drawn[i]
        order[i] = i
        order[at] = at
    for i in range(taken):
        at = drawn[i]
        position[i] = i
        position[at] = at


@compiled
def _choose(parameters, tasks, scratch, b, head, places, seed, nodes, out):
    """The nodes in ``places`` of the shards of visible tasks first, up to half of ``out``, then a sample."""
    taken = 0
    i = head
    for _ in range(parameters.window_slots):
        if i < 0:
            break
        m = tasks.shard[b, i]
        for j in range(places.shape[1]):
            if taken < out.shape[0] // 2:
                taken = _prefer(scratch, places[m, j], taken)
        i = tasks.next_task[b, i]
    _complete(scratch, seed, nodes, taken, out)


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
        head = schedulers.queue_head[b, s]
        if nodes > most:
            seed = random_bits(key, first_stream + 2 * s, step)
            out = schedulers.candidates[b, s]
            _choose(parameters, tasks, scratch, b, head, data.homes[b], seed, nodes, out)
        if storages > most:
            seed = random_bits(key, first_stream + 2 * s + 1, step)
            out = schedulers.observed_storage[b, s]
            _choose(parameters, tasks, scratch, b, head, data.replicas[b], seed, storages, out)
