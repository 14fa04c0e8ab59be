"""Every metric of an episode, defined once: `METRICS` is the definition that the docs and the command line print."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.entitlement import divide_max_min
from cloudsched_env.sim.result import EpisodeResult

__all__ = ["METRICS", "Metric", "entitlement", "jain_index", "metric", "summarise"]

Floats = NDArray[np.float64]
Group = Literal["reward", "resources", "latency", "service", "fairness", "events", "offered"]


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Attributes:
        name: key in the result of `summarise`.
        unit: its unit, ``"1"`` for ratios.
        better: ``higher``, ``lower``, or empty where neither is good in itself.
        group: where the report shows it.
        definition: exact definition.
    """

    name: str
    unit: str
    better: Literal["higher", "lower", ""]
    group: Group
    definition: str


METRICS: tuple[Metric, ...] = (
    Metric("team_reward", "1", "higher", "reward", "J: mean team reward over counted steps"),
    Metric("latency_term", "1", "higher", "reward", "mean of L, the latency term of the team reward"),
    Metric("fairness_term", "1", "higher", "reward", "mean of F, the fairness term of the team reward"),
    Metric(
        "useful_utilisation",
        "1",
        "higher",
        "resources",
        "work that advanced tasks / (cores x time), progress later lost to crashes excluded",
    ),
    Metric(
        "busy_utilisation",
        "1",
        "",
        "resources",
        "processor share in use / (cores x time), overheads of spill and contention included",
    ),
    Metric(
        "allocated_cpu",
        "1",
        "",
        "resources",
        "requested cores of running tasks, at most each node's cores, / cores; averaged over time",
    ),
    Metric("allocated_cpu_uncapped", "1", "", "resources", "the same without the cap: above 1 is over-commitment"),
    Metric(
        "allocated_memory",
        "1",
        "",
        "resources",
        "memory of running tasks, at most each node's memory, / memory; averaged over time",
    ),
    Metric(
        "storage_bandwidth_use",
        "1",
        "",
        "resources",
        "bytes moved for tasks, read amplification included, / (bandwidth of all storage nodes x time); no compaction",
    ),
    Metric(
        "spill_gb", "GB", "lower", "resources", "memory of running tasks beyond execution memory, averaged over time"
    ),
    Metric(
        "active_core_share",
        "1",
        "lower",
        "resources",
        "cores of nodes that are not asleep / all cores, averaged over time; 1 where nodes cannot sleep",
    ),
    Metric("cache_hit_ratio", "1", "higher", "resources", "cacheable bytes found in the cache / cacheable bytes read"),
    Metric(
        "usage_deviation",
        "1",
        "lower",
        "resources",
        "standard deviation over compute nodes of useful utilisation in a step, averaged over steps",
    ),
    Metric(
        "scheduling_latency_mean_ms",
        "ms",
        "lower",
        "latency",
        "start of (the last) execution - arrival, mean over counted tasks; a task not started has its age at the end",
    ),
    Metric("scheduling_latency_p50_ms", "ms", "lower", "latency", "median of the same"),
    Metric("scheduling_latency_p95_ms", "ms", "lower", "latency", "95th percentile of the same"),
    Metric("scheduling_latency_p99_ms", "ms", "lower", "latency", "99th percentile of the same"),
    Metric(
        "response_time_mean_s",
        "s",
        "lower",
        "latency",
        "finish - arrival, mean over counted tasks; a task not finished has its age at the end (a lower bound)",
    ),
    Metric("response_time_p95_s", "s", "lower", "latency", "95th percentile of the same"),
    Metric("slowdown_mean", "1", "lower", "latency", "response time / base time, mean over counted tasks, likewise"),
    Metric("slowdown_p95", "1", "lower", "latency", "95th percentile of the same"),
    Metric("waiting_tasks", "tasks", "lower", "latency", "tasks arrived, not running nor finished, mean over steps"),
    Metric(
        "slo_attainment",
        "1",
        "higher",
        "service",
        "counted tasks finished by their deadline / counted tasks that finished or whose deadline passed unfinished",
    ),
    Metric(
        "goodput",
        "1",
        "higher",
        "service",
        "mean of G: work of tasks completed on time in a step / (cores x step), at most 2 in a step",
    ),
    Metric(
        "completion_ratio", "1", "higher", "service", "counted tasks that finished within the episode / counted tasks"
    ),
    Metric(
        "jain_index",
        "1",
        "higher",
        "fairness",
        "Jain's index (sum x)^2 / (n sum x^2) of x = served work / entitlement, over tenants with work",
    ),
    Metric(
        "minimum_tenant_share",
        "1",
        "higher",
        "fairness",
        "smallest served work / entitlement over tenants with work; 0 if none was served",
    ),
    Metric("lost_core_s", "core-s", "lower", "events", "work lost to crashes"),
    Metric("requeued", "tasks", "lower", "events", "tasks sent back to their scheduler by crashes"),
    Metric("bounced", "tasks", "lower", "events", "tasks sent to a node that was down or not on"),
    Metric("invalid_actions", "sub-actions", "lower", "events", "masked sub-actions that were chosen"),
    Metric("offered_cpu", "1", "", "offered", "work of counted tasks / (cores x time)"),
    Metric("offered_memory", "1", "", "offered", "memory x base time of counted tasks / (memory x time)"),
    Metric("offered_reads", "1", "", "offered", "bytes that counted tasks read without any cache / (bandwidth x time)"),
    Metric(
        "offered_writes", "1", "", "offered", "bytes that counted tasks write, times replicas, / (bandwidth x time)"
    ),
    Metric("counted_tasks", "tasks", "", "offered", "tasks that arrived in counted steps, after the warm-up"),
)

_BY_NAME = {entry.name: entry for entry in METRICS}


def metric(name: str) -> Metric:
    """The definition of a metric.

    Raises:
        KeyError: naming the metrics that there are.
    """
    if name not in _BY_NAME:
        raise KeyError(f"unknown metric {name!r}: expected one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def summarise(result: EpisodeResult) -> dict[str, float]:
    """All metrics of one episode, keyed and ordered as `METRICS`.

    A ratio without a denominator (no counted task, nothing read) is NaN, never 0 or 1. Counted tasks are those
    that arrived after the warm-up and before the end. Percentiles interpolate linearly between order statistics (type
    7 of Hyndman and Fan, numpy's default).

    Args:
        result: raw record of a finished episode.
    """
    scenario, totals = result.scenario, result.totals
    steps = totals["steps"]
    time_s = steps * scenario.time.step_s
    cores, memory_gb, bandwidth_mb_per_s = _capacity(scenario)
    values = {
        "team_reward": _ratio(totals["team_reward"], steps),
        "latency_term": _ratio(totals["latency_term"], steps),
        "fairness_term": _ratio(totals["fairness_term"], steps),
        "useful_utilisation": _ratio(totals["useful_core_s"] - totals["lost_core_s"], cores * time_s),
        "busy_utilisation": _ratio(totals["busy_core_s"], cores * time_s),
        "allocated_cpu": _ratio(totals["allocated_core_capped_s"], cores * time_s),
        "allocated_cpu_uncapped": _ratio(totals["allocated_core_s"], cores * time_s),
        "allocated_memory": _ratio(totals["allocated_memory_gb_s"], memory_gb * time_s),
        "storage_bandwidth_use": _ratio(totals["storage_served_mb"], bandwidth_mb_per_s * time_s),
        "spill_gb": _ratio(totals["spill_gb_s"], time_s),
        "active_core_share": _ratio(totals["active_core_share"], steps),
        "cache_hit_ratio": _ratio(totals["cache_hit_mb"], totals["cacheable_mb"]),
        "usage_deviation": _ratio(totals["usage_deviation"], steps),
        "waiting_tasks": _ratio(totals["waiting_tasks"], steps),
        "goodput": _ratio(totals["goodput_term"], steps),
        "lost_core_s": totals["lost_core_s"],
        "requeued": totals["requeued"],
        "bounced": totals["bounced"],
        "invalid_actions": totals["invalid_actions"],
    }
    values |= _task_metrics(result) | _fairness_metrics(result) | _offered_load(result, time_s)
    return {entry.name: float(values[entry.name]) for entry in METRICS}


def entitlement(demand: Floats, total: float, weight: Floats | None = None) -> Floats:
    """Max-min fair division of ``total``: everyone gets the smaller of the demand and weight x a common level.

    Args:
        demand: what each tenant could use, not negative, ``[tenants]``.
        total: what there is.
        weight: positive, ``[tenants]``; equal by default.

    Returns:
        Entitlements, ``[tenants]``; their sum is ``total``, or that of the demands if it is less.
    """
    share = np.empty(len(demand))
    # The definition of the simulator, run as plain Python.
    divide_max_min.py_func(demand, np.ones(len(demand)) if weight is None else weight, total, share)
    return share


def jain_index(shares: Floats) -> float:
    """Jain, Chiu and Hawe (1984): (sum x)^2 / (n sum x^2), between 1/n and 1; NaN without any share."""
    return _ratio(float(shares.sum()) ** 2, len(shares) * float((shares**2).sum()))


def _counted(result: EpisodeResult) -> NDArray[np.bool_]:
    time = result.scenario.time
    arrival = result.episode.arrival_s
    return (arrival > time.warmup_steps * time.step_s) & (arrival <= time.horizon_steps * time.step_s)


def _task_metrics(result: EpisodeResult) -> dict[str, float]:
    counted, episode, end_s = _counted(result), result.episode, result.scenario.duration_s
    arrival, deadline = episode.arrival_s[counted], episode.deadline_s[counted]
    start, finish = result.start_s[counted], result.finish_s[counted]
    latency_ms = 1000.0 * (np.where(np.isnan(start), end_s, start) - arrival)
    finished = ~np.isnan(finish)
    response_s = np.where(finished, finish, end_s) - arrival
    slowdown = response_s / episode.base_time_s[counted]
    on_time = finished & (response_s <= deadline)
    decided = finished | (response_s > deadline)
    return {
        "scheduling_latency_mean_ms": _mean(latency_ms),
        "scheduling_latency_p50_ms": _percentile(latency_ms, 50),
        "scheduling_latency_p95_ms": _percentile(latency_ms, 95),
        "scheduling_latency_p99_ms": _percentile(latency_ms, 99),
        "response_time_mean_s": _mean(response_s),
        "response_time_p95_s": _percentile(response_s, 95),
        "slowdown_mean": _mean(slowdown),
        "slowdown_p95": _percentile(slowdown, 95),
        "slo_attainment": _ratio(on_time.sum(), decided.sum()),
        "completion_ratio": _ratio(finished.sum(), len(finished)),
    }


def _fairness_metrics(result: EpisodeResult) -> dict[str, float]:
    served, arrived = result.tenant_served_core_s, result.tenant_arrived_core_s
    # Work left over from the warm-up may be served in counted steps: a tenant wanted at least what it was given.
    demand = np.maximum(arrived, served)
    active = demand > 1e-9
    cores, _, _ = _capacity(result.scenario)
    capacity_core_s = cores * result.totals["steps"] * result.scenario.time.step_s
    fair = entitlement(demand[active], capacity_core_s, result.episode.tenant_weight[active])
    shares = np.divide(served[active], fair, out=np.full(len(fair), np.nan), where=fair > 0)
    return {
        "jain_index": jain_index(shares),
        # Where nothing was served at all there is nothing to divide, but whoever asked was left with nothing.
        "minimum_tenant_share": float(np.nan_to_num(shares).min()) if len(shares) else math.nan,
    }


def _offered_load(result: EpisodeResult, time_s: float) -> dict[str, float]:
    counted, episode, scenario = _counted(result), result.episode, result.scenario
    cores, memory_gb, bandwidth_mb_per_s = _capacity(scenario)
    base_s = episode.base_time_s[counted]
    reads = (episode.cacheable_read_mb + episode.scan_read_mb)[counted].sum()
    writes = episode.write_mb[counted].sum() * episode.shard_replicas.shape[1]
    return {
        "offered_cpu": _ratio((episode.cores[counted] * base_s).sum(), cores * time_s),
        "offered_memory": _ratio((episode.memory_gb[counted] * base_s).sum(), memory_gb * time_s),
        "offered_reads": _ratio(reads, bandwidth_mb_per_s * time_s),
        "offered_writes": _ratio(writes, bandwidth_mb_per_s * time_s),
        "counted_tasks": float(counted.sum()),
    }


def _capacity(scenario: Scenario) -> tuple[float, float, float]:
    """Cores, GB of memory and MB/s of storage bandwidth of the whole cluster, all nodes up."""
    types = scenario.cluster.compute_nodes
    return (
        sum(node.count * node.cores for node in types),
        sum(node.count * node.memory_gb for node in types),
        scenario.cluster.storage_nodes * scenario.storage.bandwidth_mb_per_s,
    )


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator else math.nan


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _percentile(values: Floats, percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else math.nan
