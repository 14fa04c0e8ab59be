"""The cluster as text, for terminals and SSH sessions."""

from __future__ import annotations

import numpy as np

from cloudsched_env.vector import CloudSchedVectorEnv

__all__ = ["draw_cluster"]

_BLOCKS = " ▁▂▃▄▅▆▇█"


def _bar(share: float, width: int = 10) -> str:
    """A horizontal bar of ``width`` characters in steps of an eighth."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    partial = "" if rest == 0 else "▏▎▍▌▋▊▉"[rest - 1]
    return ("█" * full + partial).ljust(width)


def draw_cluster(env: CloudSchedVectorEnv, cluster: int = 0) -> str:
    """One cluster of a batch: nodes with processor, memory and cache, storage with debt, queues, reward terms.

    Args:
        env: an environment whose first `reset` has happened.
        cluster: which of its clusters.

    Returns:
        Several lines of text.
    """
    state, scenario, b = env.simulator_state, env.scenario, cluster
    compute, storage, schedulers = state.compute, state.storage, state.schedulers
    now_s = state.clock.step[b] * scenario.time.step_s
    useful, goodput, latency, fairness = state.ledger.terms[b]
    lines = [
        f"{scenario.id}  t = {now_s:6.1f} s of {scenario.duration_s:g} s   team reward {env.team_reward[b]:.3f}  "
        f"(useful {useful:.2f}  goodput {goodput:.2f}  latency {latency:.2f}  fairness {fairness:.2f})",
        "node            cpu in use   run+queued cores   memory       cache fill   run  queue",
    ]
    step_s = scenario.time.step_s
    types = scenario.cluster.compute_nodes
    cores = np.repeat([t.cores for t in types], [t.count for t in types])
    memory = np.repeat([t.memory_gb for t in types], [t.count for t in types])
    for n in range(env.role_counts["compute"]):
        if not compute.alive[b, n]:
            lines.append(f"compute_{n:<7} down")
            continue
        cache_mb = 1000.0 * compute.cache_fraction[b, n] * memory[n]
        usage = compute.useful_core_s[b, n] / (cores[n] * step_s)
        load = (compute.running_cores[b, n] + compute.queued_cores[b, n]) / cores[n]
        fill = compute.occupied_mb[b, n] / cache_mb if cache_mb > 0 else 0.0
        lines.append(
            f"compute_{n:<7} {_bar(usage)}   {load:6.2f} x {cores[n]:4g}      "
            f"{_bar(compute.running_memory_gb[b, n] / memory[n])}   {_bar(fill)}  "
            f"{compute.running_tasks[b, n]:4d}  {compute.queue_length[b, n]:4d}"
        )
    lines.append("storage         bandwidth    stream speed   debt / soft   background   serve")
    soft_mb = scenario.compaction.soft_limit_s * scenario.storage.bandwidth_mb_per_s
    for r in range(env.role_counts["storage"]):
        if not storage.alive[b, r]:
            lines.append(f"storage_{r:<7} down")
            continue
        lines.append(
            f"storage_{r:<7} {_bar(storage.read_rate[b, r] + storage.write_rate_decayed[b, r])}   "
            f"{_bar(storage.stream_factor[b, r])}     {storage.debt_mb[b, r] / soft_mb:6.2f}        "
            f"{scenario.storage.background_shares[storage.background_level[b, r]]:4.0%}       "
            f"{scenario.storage.serve_weights[storage.serve_level[b, r]]:4g}"
        )
    for s in range(env.role_counts["scheduler"]):
        waiting = int(schedulers.queue_length[b, s])
        strip = _BLOCKS[-1] * min(40, waiting)
        lines.append(f"scheduler_{s:<5} {waiting:4d} waiting  {strip}")
    return "\n".join(lines)
