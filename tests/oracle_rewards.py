"""Rewards of the oracle: the section of that name in `docs/simulator.md`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.oracle import OracleCluster


def latency_term(cluster: OracleCluster) -> float:
    if not cluster.tasks:
        return 1.0
    rate = len(cluster.tasks) / cluster.scenario.duration_s
    return 1 / (1 + cluster.waiting / (rate * cluster.scenario.reward.latency_scale_s))


def tenant_share(cluster: OracleCluster, g: int) -> float:
    return min(1.0, cluster.served[g] / cluster.arrived[g]) if cluster.arrived[g] >= 1e-9 else 1.0


def fairness_term(cluster: OracleCluster) -> float:
    shares = [tenant_share(cluster, g) for g in range(len(cluster.arrived)) if cluster.arrived[g] >= 1e-9]
    squares = sum(x * x for x in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares > 0 else 1.0


def demands(cluster: OracleCluster) -> list[float]:
    return [max(arrived, served) for arrived, served in zip(cluster.arrived, cluster.served, strict=True)]


def capacity_decayed(cluster: OracleCluster) -> float:
    """Work that the cluster could have done since the beginning, each step decayed by its age."""
    decay = cluster.scenario.reward.fairness_decay
    return sum(cluster.cores * cluster.dt * decay**age for age in range(cluster.k))


def entitlements(cluster: OracleCluster) -> list[float]:
    """Water-filling by its definition: the level at which all is given away, above the corners of the water line."""
    wanted, total = demands(cluster), capacity_decayed(cluster)
    if sum(wanted) <= total:
        return wanted

    def given(level: float) -> list[float]:
        return [min(d, w * level) for d, w in zip(wanted, cluster.weights, strict=True)]

    below = 0.0  # the highest corner of the water line that does not give away too much
    for corner in sorted(d / w for d, w in zip(wanted, cluster.weights, strict=True)):
        if sum(given(corner)) <= total:
            below = corner
    rising = sum(w for d, w in zip(wanted, cluster.weights, strict=True) if d / w > below)
    return given(below + (total - sum(given(below))) / rising)


def entitled_share(cluster: OracleCluster, g: int, entitled: list[float]) -> float:
    return min(1.0, cluster.served[g] / entitled[g]) if entitled[g] >= 1e-9 else 1.0


def fair_objective(cluster: OracleCluster) -> float:
    """The team rewards that are made of shares of entitlement."""
    reward, wanted, entitled = cluster.scenario.reward, demands(cluster), entitlements(cluster)
    asking = [g for g, demand in enumerate(wanted) if demand >= 1e-9]
    shares = [entitled_share(cluster, g, entitled) for g in asking]
    if not shares:
        return 1.0
    if reward.team == "min_share":
        return min(shares)
    values, weights = [0.01 + 0.99 * x for x in shares], [cluster.weights[g] for g in asking]
    alpha = reward.fairness_alpha
    if alpha == 1:
        equal = math.exp(sum(w * math.log(y) for w, y in zip(weights, values, strict=True)) / sum(weights))
    else:
        power = sum(w * y ** (1 - alpha) for w, y in zip(weights, values, strict=True)) / sum(weights)
        equal = power ** (1 / (1 - alpha))
    return (equal - 0.01) / 0.99


def settle(cluster: OracleCluster) -> None:
    """Item 15: rewards of the step, and the totals that go with them."""
    reward = cluster.scenario.reward
    capacity = cluster.cores * cluster.dt
    useful = sum(node.useful for node in cluster.compute) / capacity
    goodput = min(2.0, sum(cluster.on_time) / capacity)
    cluster.terms = {
        "useful": useful,
        "goodput": goodput,
        "latency": latency_term(cluster),
        "fairness": fairness_term(cluster),
    }
    cluster.team_reward = sum(getattr(reward, f"{name}_weight") * term for name, term in cluster.terms.items())
    if reward.team == "goodput":
        cluster.team_reward = goodput
    elif reward.team != "mixed":
        cluster.team_reward = fair_objective(cluster)
    elastic = cluster.scenario.elastic
    if elastic.enabled:
        cluster.team_reward -= elastic.cost_weight * cluster.active_share
    schedulers = []
    for s, scheduler in enumerate(cluster.schedulers):
        own = sum(work for g, work in enumerate(cluster.on_time) if cluster.tenant_scheduler[g] == s)
        bonus = reward.scheduler_goodput_weight * min(2.0, own / capacity) * len(cluster.schedulers)
        waiting = len(scheduler.fifo) + len(scheduler.backing_off)
        schedulers.append(bonus - min(1.0, waiting / 16))
    cluster.local_rewards = {
        "compute": [
            min(1.0, node.busy / cluster.dt / node.cores) - 0.5 * min(1.0, len(node.queue) / 4) if node.alive else 0.0
            for node in cluster.compute
        ],
        "storage": [
            0.5 * min(node.stream_factor, node.served_share) + 0.5 * (1 - min(1.0, node.debt / cluster.soft))
            if node.alive
            else 0.0
            for node in cluster.storage
        ],
        "scheduler": schedulers,
    }
    if elastic.enabled:
        own = cluster.local_rewards["compute"]
        for n, node in enumerate(cluster.compute):
            own[n] = 0.0 if node.power == "asleep" else own[n] - elastic.cost_weight * node.alive
    cluster.count("active_core_share", cluster.active_share)
    usage = [node.useful / (node.cores * cluster.dt) for node in cluster.compute]
    mean = sum(usage) / len(usage)
    cluster.count("steps", 1)
    cluster.count("team_reward", cluster.team_reward)
    for name, term in cluster.terms.items():
        cluster.count(f"{name}_term", term)
    cluster.count("usage_deviation", math.sqrt(sum((u - mean) ** 2 for u in usage) / len(usage)))
    cluster.count("waiting_tasks", cluster.waiting)
