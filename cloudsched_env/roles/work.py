"""What the global state tells of work in progress: how much will count, how much is lost, and when it completes.

Goodput arrives in lumps, when large tasks complete. Whoever knows the work in progress and its deadlines can tell the
next seconds' lumps from luck; loads and queue lengths alone cannot. No agent observes this: it is for training only,
like the rest of the global state.

A task can still be *on time* if its deadline is no nearer than the rest of its work takes at full speed.
"""

from __future__ import annotations

from cloudsched_env.roles.layout import Field, clip
from cloudsched_env.sim.compiled import compiled

__all__ = ["DUE_S", "NODE_FIELDS", "SCHEDULER_FIELDS", "observe_node_work", "observe_scheduler_work"]

# Horizons, s at full speed, within which tasks complete; a node's tasks take half as long again in a tuned cluster.
DUE_S = (0.25, 0.75, 1.5, 3.0)

NODE_FIELDS = (
    Field("kept_work", "10 s of the node", 0, 8, "fresh: work done of running tasks that can be on time"),
    Field("work_left", "10 s of the node", 0, 8, "fresh: work left of running tasks that can be on time"),
    Field("lost_work_left", "10 s of the node", 0, 8, "fresh: work left of running tasks that will be late"),
    Field("spare_work", "10 s of the node", 0, 8, "fresh: work of on-time tasks x min(1, spare time / time left)"),
    Field("due_in_250_ms", "10 s of the node", 0, 8, "fresh: whole work of on-time tasks with less than 0.25 s left"),
    Field("due_in_750_ms", "10 s of the node", 0, 8, "fresh: the same, less than 0.75 s left at full speed"),
    Field("due_in_1500_ms", "10 s of the node", 0, 8, "fresh: the same, less than 1.5 s"),
    Field("due_in_3000_ms", "10 s of the node", 0, 8, "fresh: the same, less than 3 s"),
    Field("queued_work", "10 s of the node", 0, 8, "fresh: work of queued tasks that can be on time"),
    Field("queued_lost_work", "10 s of the node", 0, 8, "fresh: work of queued tasks that will be late"),
)
"""Follow what a compute node observes."""

SCHEDULER_FIELDS = (
    Field("waiting_work", "s of the cluster", 0, 8, "fresh: work of waiting tasks that can be on time"),
    Field("waiting_lost_work", "s of the cluster", 0, 8, "fresh: work of waiting tasks that will be late"),
)
"""Follow what is observed of a scheduler's queue; tasks that back off wait too."""

_NODE = len(NODE_FIELDS)
_DUE_250_MS, _DUE_750_MS, _DUE_1500_MS, _DUE_3000_MS = DUE_S
_NODE_UNIT_S = 10.0


@compiled
def _spare_s(tasks, b, i, now_s, left_s):
    """Time to the deadline of task ``i`` beyond the time that the rest of its work takes at full speed."""
    return tasks.deadline_s[b, i] - (now_s - tasks.arrival_s[b, i]) - left_s


@compiled
def observe_node_work(parameters, tasks, running, compute, b, now_s, out, first, width):
    """Write `NODE_FIELDS` of every compute node; those of node n begin at ``out[first + n * width]``."""
    nodes = compute.alive.shape[1]
    for n in range(nodes):
        for j in range(_NODE):
            out[first + n * width + j] = 0.0
    for k in range(running.slots_used[b]):
        n = running.node[b, k]
        o = first + n * width
        scale = parameters.per_core[n] / _NODE_UNIT_S
        work = running.cores[b, k] * running.base_time_s[b, k] * scale
        remaining = running.remaining[b, k]
        left_s = running.base_time_s[b, k] * remaining
        spare_s = _spare_s(tasks, b, running.task[b, k], now_s, left_s)
        if spare_s < 0.0:
            out[o + 2] += work * remaining
            continue
        out[o] += work * (1.0 - remaining)
        out[o + 1] += work * remaining
        out[o + 3] += work * (min(1.0, spare_s / left_s) if left_s > 0.0 else 1.0)
        if left_s < _DUE_3000_MS:
            out[o + 7] += work
            if left_s < _DUE_1500_MS:
                out[o + 6] += work
                if left_s < _DUE_750_MS:
                    out[o + 5] += work
                    if left_s < _DUE_250_MS:
                        out[o + 4] += work
    for n in range(nodes):
        o = first + n * width
        i = compute.queue_head[b, n]
        while i >= 0:
            work = tasks.cores[b, i] * tasks.base_time_s[b, i] * parameters.per_core[n] / _NODE_UNIT_S
            late = 1 if _spare_s(tasks, b, i, now_s, tasks.base_time_s[b, i]) < 0.0 else 0
            out[o + 8 + late] += work
            i = tasks.next_task[b, i]
        for j in range(_NODE):
            out[o + j] = clip(out[o + j], 0.0, 8.0)


@compiled
def observe_scheduler_work(parameters, tasks, schedulers, b, s, now_s, out):
    """Write `SCHEDULER_FIELDS` of scheduler ``s``."""
    on_time = 0.0
    lost = 0.0
    for queue in range(2):
        i = schedulers.queue_head[b, s] if queue == 0 else schedulers.backoff_head[b, s]
        while i >= 0:
            work = tasks.cores[b, i] * tasks.base_time_s[b, i] / parameters.total_cores
            if _spare_s(tasks, b, i, now_s, tasks.base_time_s[b, i]) < 0.0:
                lost += work
            else:
                on_time += work
            i = tasks.next_task[b, i]
    out[0] = clip(on_time, 0.0, 8.0)
    out[1] = clip(lost, 0.0, 8.0)
