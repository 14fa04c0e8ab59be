"""One control interval of one cluster: the mechanisms in the order of `docs/simulator.md`."""

from __future__ import annotations

from cloudsched_env.sim.arrivals import admit_arrivals
from cloudsched_env.sim.background import apply_background
from cloudsched_env.sim.candidates import draw_candidates
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.entitlement import update_entitlements
from cloudsched_env.sim.failure import apply_outages
from cloudsched_env.sim.memory import admit, split_memory
from cloudsched_env.sim.power import set_power, settle_power
from cloudsched_env.sim.processor import share_processors
from cloudsched_env.sim.progress import advance_tasks
from cloudsched_env.sim.purge import settle_garbage
from cloudsched_env.sim.reward import book_step, team_reward
from cloudsched_env.sim.scheduling import end_backoffs, place
from cloudsched_env.sim.storage import open_paths, settle_storage, share_bandwidth
from cloudsched_env.sim.telemetry import circulate

__all__ = ["begin_cluster", "step_cluster"]


@compiled
def _set_level(level, chosen, masks, first, knob, b):
    """Take over one level per node where the mask allows; returns the number of masked sub-actions."""
    invalid = 0
    for n in range(level.shape[1]):
        if masks[n, first + chosen[n, knob]] == 1:
            level[b, n] = chosen[n, knob]
        else:
            invalid += 1
    return invalid


@compiled
def step_cluster(
    parameters, state, b, compute_actions, storage_actions, scheduler_actions, compute_masks, storage_masks, masks
):
    """Advance cluster ``b`` by one control interval; returns the team reward.

    Actions are int64 ``[compute nodes, 2 (3 if elastic)]``, ``[storage nodes, 2]`` and ``[schedulers, slots]``;
    masks are those shown with the last observation (``masks`` are the schedulers').
    """
    clock, tasks, data, running = state.clock, state.tasks, state.data, state.running
    compute, storage, schedulers = state.compute, state.storage, state.schedulers
    ledger, scratch = state.ledger, state.scratch
    now_s = clock.step[b] * parameters.step_s
    counted = clock.step[b] >= parameters.warmup_steps

    shares, fractions = parameters.background_shares.shape[0], parameters.cache_fractions.shape[0]
    limits = parameters.memory_overcommit.shape[0]
    invalid = _set_level(storage.background_level, storage_actions, storage_masks, 0, 0, b)
    invalid += _set_level(storage.serve_level, storage_actions, storage_masks, shares, 1, b)
    invalid += _set_level(compute.cache_level, compute_actions, compute_masks, 0, 0, b)
    invalid += _set_level(compute.admission_level, compute_actions, compute_masks, fractions, 1, b)
    invalid += _set_level(compute.purge_level, compute_actions, compute_masks, fractions + limits, 2, b)
    invalid += set_power(parameters, clock, compute, compute_actions, compute_masks, b)
    masked, bounced = place(
        parameters, clock, tasks, compute, schedulers, state.telemetry, b, now_s, scheduler_actions, masks
    )
    invalid += masked
    split_memory(parameters, compute, b)
    admit(parameters, tasks, running, compute, b, now_s)
    open_paths(parameters, data, storage, scratch, b)
    share_processors(parameters, data, running, compute, scratch, b, now_s)
    share_bandwidth(parameters, data, running, storage, scratch, b)
    advance_tasks(parameters, tasks, data, running, compute, ledger, scratch, b, clock.step[b], now_s)
    settle_garbage(parameters, compute, scratch, b)
    moved_mb = settle_storage(parameters, data, storage, scratch, b)

    clock.step[b] += 1
    now_s = clock.step[b] * parameters.step_s
    decay = parameters.fairness_decay
    for g in range(ledger.served_decayed.shape[1]):
        ledger.served_decayed[b, g] = decay * ledger.served_decayed[b, g] + scratch.tenant_work[g]
    apply_background(parameters, clock, data, compute, storage, b)
    requeued, lost = apply_outages(clock, tasks, data, running, compute, storage, schedulers, b)
    settle_power(parameters, clock, compute, b)
    end_backoffs(clock, tasks, schedulers, b)
    admit_arrivals(clock, tasks, data, schedulers, ledger, b, now_s, decay, counted)
    update_entitlements(parameters, data, ledger, scratch, b, 1)
    circulate(parameters, clock, data, compute, storage, schedulers, state.telemetry, b)
    draw_candidates(parameters, clock, tasks, data, schedulers, storage, scratch, b)
    reward = team_reward(parameters, tasks, data, compute, schedulers, ledger, b)
    if counted:
        book_step(
            parameters, compute, schedulers, ledger, scratch, b,
            reward, moved_mb, invalid, bounced, requeued, lost,
        )  # fmt: skip
    return reward


@compiled
def begin_cluster(parameters, state, b):
    """Bring a freshly loaded cluster to its first observation: first arrivals, first snapshot, reward terms."""
    clock, tasks, data, compute = state.clock, state.tasks, state.data, state.compute
    storage, schedulers, ledger = state.storage, state.schedulers, state.ledger
    apply_background(parameters, clock, data, compute, storage, b)
    admit_arrivals(clock, tasks, data, schedulers, ledger, b, 0.0, 1.0, False)
    update_entitlements(parameters, data, ledger, state.scratch, b, 0)
    circulate(parameters, clock, data, compute, storage, schedulers, state.telemetry, b)
    draw_candidates(parameters, clock, tasks, data, schedulers, storage, state.scratch, b)
    team_reward(parameters, tasks, data, compute, schedulers, ledger, b)
