"""Queues and placement: FIFO per scheduler, FIFO per node, decisions that travel (`docs/simulator.md`, step 2)."""

from __future__ import annotations

from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.in_flight import count_dispatch
from cloudsched_env.sim.state import IN_BACKOFF, IN_FIFO, IN_NODE_QUEUE, ON

__all__ = ["end_backoffs", "enter_fifo", "enter_node_queue", "leave_node_queue", "place", "waiting_tasks"]


@compiled
def enter_fifo(tasks, schedulers, b, s, i):
    """Append task ``i`` to the FIFO of scheduler ``s``."""
    tail = schedulers.queue_tail[b, s]
    if tail < 0:
        schedulers.queue_head[b, s] = i
    else:
        tasks.next_task[b, tail] = i
    tasks.next_task[b, i] = -1
    tasks.place[b, i] = IN_FIFO
    schedulers.queue_tail[b, s] = i
    schedulers.queue_length[b, s] += 1
    schedulers.queued_cores[b, s] += tasks.cores[b, i]


@compiled
def leave_fifo(tasks, schedulers, b, s, previous, i):
    """Take task ``i``, which follows ``previous`` (-1: is the head), out of the FIFO; returns the task behind it."""
    behind = tasks.next_task[b, i]
    if previous < 0:
        schedulers.queue_head[b, s] = behind
    else:
        tasks.next_task[b, previous] = behind
    if behind < 0:
        schedulers.queue_tail[b, s] = previous
    schedulers.queue_length[b, s] -= 1
    if schedulers.queue_length[b, s] == 0:
        schedulers.queued_cores[b, s] = 0.0  # drops what rounding left
    else:
        schedulers.queued_cores[b, s] -= tasks.cores[b, i]
    return behind


@compiled
def back_off(tasks, schedulers, b, s, i, release_step):
    """Take task ``i`` aside until ``release_step``; every back-off is equally long, so the list stays in order."""
    tail = schedulers.backoff_tail[b, s]
    if tail < 0:
        schedulers.backoff_head[b, s] = i
    else:
        tasks.next_task[b, tail] = i
    tasks.next_task[b, i] = -1
    tasks.place[b, i] = IN_BACKOFF
    tasks.release_step[b, i] = release_step
    schedulers.backoff_tail[b, s] = i
    schedulers.backoff_length[b, s] += 1


@compiled
def end_backoffs(clock, tasks, schedulers, b):
    """Let tasks whose back-off is over enter their FIFOs again, at the tail."""
    for s in range(schedulers.queue_length.shape[1]):
        i = schedulers.backoff_head[b, s]
        while i >= 0 and tasks.release_step[b, i] <= clock.step[b]:
            behind = tasks.next_task[b, i]
            schedulers.backoff_head[b, s] = behind
            if behind < 0:
                schedulers.backoff_tail[b, s] = -1
            schedulers.backoff_length[b, s] -= 1
            enter_fifo(tasks, schedulers, b, s, i)
            i = behind


@compiled
def enter_node_queue(tasks, compute, b, n, i, ready_s):
    """Append task ``i`` to the queue of compute node ``n``; it may start from ``ready_s`` on."""
    tail = compute.queue_tail[b, n]
    if tail < 0:
        compute.queue_head[b, n] = i
    else:
        tasks.next_task[b, tail] = i
    tasks.next_task[b, i] = -1
    tasks.place[b, i] = IN_NODE_QUEUE
    tasks.ready_s[b, i] = ready_s
    compute.queue_tail[b, n] = i
    compute.queue_length[b, n] += 1
    compute.queued_cores[b, n] += tasks.cores[b, i]
    compute.queued_memory_gb[b, n] += tasks.memory_gb[b, i]


@compiled
def leave_node_queue(tasks, compute, b, n):
    """Take the head out of the queue of compute node ``n`` and return it."""
    i = compute.queue_head[b, n]
    behind = tasks.next_task[b, i]
    compute.queue_head[b, n] = behind
    compute.queue_length[b, n] -= 1
    if behind < 0:
        compute.queue_tail[b, n] = -1
        compute.queued_cores[b, n] = 0.0  # drops what rounding left
        compute.queued_memory_gb[b, n] = 0.0
    else:
        compute.queued_cores[b, n] -= tasks.cores[b, i]
        compute.queued_memory_gb[b, n] -= tasks.memory_gb[b, i]
    return i


@compiled
def waiting_tasks(compute, schedulers, b):
    """Tasks that have arrived and neither run nor are finished: those in any queue."""
    waiting = 0
    for n in range(compute.queue_length.shape[1]):
        waiting += compute.queue_length[b, n]
    for s in range(schedulers.queue_length.shape[1]):
        waiting += schedulers.queue_length[b, s] + schedulers.backoff_length[b, s]
    return waiting


@compiled
def place(parameters, clock, tasks, compute, schedulers, telemetry, b, now_s, actions, masks):
    """Carry out the placements of all schedulers.

    A deferred task backs off, as an unschedulable pod does in kube-scheduler's back-off queue, so that it does not
    block those behind it.

    ``actions`` is int64 ``[schedulers, slots]``, one of the scheduler's candidates or their number to defer; ``masks``
    is int8 ``[schedulers, slots x (candidates + 1)]`` as shown with the last observation. Returns the number of masked
    actions, which were treated as deferred, and of tasks refused by a node that is down or not on.
    """
    defer = schedulers.candidates.shape[2]
    ready_s = now_s + parameters.dispatch_delay_s
    invalid = 0
    bounced = 0
    for s in range(actions.shape[0]):
        previous = -1
        i = schedulers.queue_head[b, s]
        refused = -1
        refused_tail = -1
        for slot in range(parameters.window_slots):
            choice = actions[s, slot]
            if masks[s, slot * (defer + 1) + choice] == 0:
                invalid += 1
                choice = defer
            if i < 0:
                continue
            if choice == defer and parameters.backoff_steps == 0:
                previous = i
                i = tasks.next_task[b, i]
                continue
            behind = leave_fifo(tasks, schedulers, b, s, previous, i)
            if choice == defer:
                back_off(tasks, schedulers, b, s, i, clock.step[b] + parameters.backoff_steps)
                i = behind
                continue
            n = schedulers.candidates[b, s, choice]
            if compute.alive[b, n] == 1 and compute.power[b, n] == ON:
                enter_node_queue(tasks, compute, b, n, i, ready_s)
                cores, memory_gb = tasks.cores[b, i], tasks.memory_gb[b, i]
                count_dispatch(parameters, clock, schedulers, telemetry, b, s, n, cores, memory_gb)
            else:
                bounced += 1
                if refused < 0:
                    refused = i
                else:
                    tasks.next_task[b, refused_tail] = i
                tasks.next_task[b, i] = -1
                refused_tail = i
            i = behind
        while refused >= 0:
            behind = tasks.next_task[b, refused]
            enter_fifo(tasks, schedulers, b, s, refused)
            refused = behind
    return invalid, bounced
