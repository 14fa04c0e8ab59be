"""What the agents of the oracle see: each field of `cloudsched_env/roles` by its name, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cloudsched_env.roles import compute, scheduler, storage, work
from cloudsched_env.roles import state as global_state
from cloudsched_env.roles.layout import Field
from tests.oracle_parts import ComputeNode, Task, ratio
from tests.oracle_rewards import capacity_decayed, demands, entitled_share, entitlements, tenant_share

if TYPE_CHECKING:
    from tests.oracle import OracleCluster

AGE_SCALE_S = 10


def row(fields: tuple[Field, ...], values: dict[str, float]) -> list[float]:
    """Values in the order of the fields, clipped to their range; every field needs a value and no other has one."""
    assert values.keys() == {entry.name for entry in fields}, values.keys() ^ {entry.name for entry in fields}
    return [max(entry.low, min(entry.high, float(values[entry.name]))) for entry in fields]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def working_set(cluster: OracleCluster, node: ComputeNode) -> float:
    return sum(part * cluster.hot_set[m] for m, part in node.touched.items()) / 1000 / node.memory


def snapshot(cluster: OracleCluster) -> dict[str, Any]:
    """What every node publishes, and the summary of storage nodes."""
    computes = []
    for n, node in enumerate(cluster.compute):
        tasks = cluster.on_node(n)
        computes.append(
            {
                "alive": node.accepts,
                "running_cores": sum(task.cores for task in tasks),
                "running_memory": sum(task.memory for task in tasks),
                "queued_cores": sum(task.cores for task in node.queue),
                "queued_memory": sum(task.memory for task in node.queue),
                "execution_memory": node.execution_memory,
                "efficiency": node.efficiency,
                "io_wait": node.io_wait,
                "available_cores": node.available_cores,
                "hit_ratio": ratio(node.hit_decayed, node.cacheable_decayed),
                "working_set": working_set(cluster, node),
                "spill": node.spill / node.memory,
                "warmth": [min(1.0, a / h) for a, h in zip(node.valid, cluster.hot_set, strict=True)],
            }
        )
    stores = [
        {
            "alive": node.alive,
            "debt": node.debt / cluster.soft,
            "stream_factor": node.stream_factor,
            "write_factor": node.write_factor,
            "read_rate": node.read_rate,
            "apply_lag": node.lag / cluster.scenario.storage.bandwidth_mb_per_s,
        }
        for node in cluster.storage
    ]
    cores_on = sum(node.cores for node in cluster.compute if node.accepts)
    summary = {
        "debt": mean([store["debt"] for store in stores]),
        "read_rate": mean([node.read_rate for node in cluster.storage]),
        "write_rate": mean([node.write_rate for node in cluster.storage]),
        "stream_factor": mean([node.stream_factor for node in cluster.storage]),
        "worst_lag": max(store["apply_lag"] for store in stores),
        "active_share": cluster.active_share,
        "load_of_on": ratio(sum(c["running_cores"] + c["queued_cores"] for c in computes if c["alive"]), cores_on),
        "waiting_of_on": ratio(sum(task.cores for s in cluster.schedulers for task in s.fifo), cores_on),
    }
    return {"compute": computes, "storage": stores, "summary": summary}


def age(cluster: OracleCluster, stamp: int) -> float:
    return (cluster.k - stamp) * cluster.dt / AGE_SCALE_S


def compute_row(cluster: OracleCluster, n: int) -> list[float]:
    node, tasks = cluster.compute[n], cluster.on_node(n)
    config, storage_config = cluster.scenario.compute, cluster.scenario.storage
    memory = sum(task.memory for task in tasks)
    stamp, summary = node.summary
    engine = {
        "working_set": working_set(cluster, node),
        "cache_churn": ratio(node.evicted_decayed, node.cache_mb * cluster.dt),
        "spill": node.spill / node.memory,
        "pending_reads": node.pending_read / storage_config.read_stream_mb_per_s / 10,
        "storage_worst_lag": summary["worst_lag"],
    }
    elastic = {
        "accepting": node.accepts,
        "power_level": node.power_level,
        "asleep": node.power == "asleep",
        "wake_left": (node.wake_step - cluster.k) * cluster.dt / 10 if node.power == "waking" else 0.0,
        "active_share": summary["active_share"],
        "load_of_on": summary["load_of_on"],
        "waiting_of_on": summary["waiting_of_on"],
    }
    return row(
        compute.fields(cluster.scenario),
        {
            **(engine if cluster.scenario.observation.engine_metrics else {}),
            **(elastic if cluster.scenario.elastic.enabled else {}),
            "alive": node.alive,
            "running_cores_load": sum(task.cores for task in tasks) / node.cores,
            "queued_cores_load": sum(task.cores for task in node.queue) / node.cores,
            "running_memory_load": memory / node.memory,
            "queued_memory_load": sum(task.memory for task in node.queue) / node.memory,
            "queue_length": len(node.queue) / 16,
            "execution_memory_pressure": memory / node.execution_memory,
            "cache_fraction": node.cache_fraction,
            "cache_target": config.cache_fractions[node.cache_level],
            "memory_overcommit": config.memory_overcommit[node.admission_level],
            "cache_fill": ratio(node.occupied, node.cache_mb),
            "hit_ratio": ratio(node.hit_decayed, node.cacheable_decayed),
            "read_rate": node.read_mb / cluster.dt / storage_config.read_stream_mb_per_s,
            "processor_share": node.processor_share,
            "efficiency": node.efficiency,
            "io_wait": node.io_wait,
            "available_cores": node.available_cores / node.cores,
            "garbage": node.garbage / cluster.garbage_limit(node),
            "purge_share": cluster.scenario.purge.shares[node.purge_level],
            "cores": node.cores / max(other.cores for other in cluster.compute),
            "memory": node.memory / max(other.memory for other in cluster.compute),
            "storage_stream_factor": summary["stream_factor"],
            "storage_debt": summary["debt"],
            "storage_read_rate": summary["read_rate"],
            "storage_write_rate": summary["write_rate"],
            "telemetry_age": age(cluster, stamp),
        },
    )


def storage_row(cluster: OracleCluster, r: int) -> list[float]:
    node, config = cluster.storage[r], cluster.scenario.storage
    stamp, summary = node.summary
    bandwidth, compaction = config.bandwidth_mb_per_s, cluster.scenario.compaction
    rate = config.background_shares[node.background_level] * node.available
    owed = node.debt + compaction.efficient_debt_s * bandwidth if node.debt > 0 else 0.0
    engine = {
        "compaction_time": owed / rate / 10 if rate > 0 else (8.0 if owed > 0 else 0.0),
        "write_stall": node.stall_decayed,
        "worst_lag": summary["worst_lag"],
    }
    return row(
        storage.fields(cluster.scenario),
        {
            **(engine if cluster.scenario.observation.engine_metrics else {}),
            "alive": node.alive,
            "debt": node.debt / cluster.soft,
            "read_rate": node.read_rate,
            "write_rate": node.write_rate,
            "stream_factor": node.stream_factor,
            "write_factor": node.write_factor,
            "served_share": node.served_share,
            "apply_lag": node.lag / config.bandwidth_mb_per_s,
            "background_share": config.background_shares[node.background_level],
            "serve_weight": config.serve_weights[node.serve_level],
            "mean_debt": summary["debt"],
            "mean_read_rate": summary["read_rate"],
            "mean_write_rate": summary["write_rate"],
            "mean_stream_factor": summary["stream_factor"],
            "telemetry_age": age(cluster, stamp),
        },
    )


def queue_row(cluster: OracleCluster, s: int) -> list[float]:
    agent, window = cluster.schedulers[s], cluster.scenario.scheduling.window_slots
    known = [agent.compute_view[n][1] for n in agent.candidates]
    cores = [cluster.compute[n].cores for n in agent.candidates]
    in_flight = [agent.in_flight(n)[0] for n in agent.candidates]
    return row(
        scheduler.QUEUE_FIELDS,
        {
            "queue_length": len(agent.fifo) / window,
            "oldest_age": (cluster.time - agent.fifo[0].arrival) / 10 if agent.fifo else 0.0,
            "queued_cores": sum(task.cores for task in agent.fifo) / cluster.cores,
            "backed_off": len(agent.backing_off) / window,
            "arrival_rate": agent.arrival_rate / window,
            "mean_running_load": mean([view["running_cores"] / c for view, c in zip(known, cores, strict=True)]),
            "mean_queued_load": mean([view["queued_cores"] / c for view, c in zip(known, cores, strict=True)]),
            "mean_in_flight_load": mean([sent / c for sent, c in zip(in_flight, cores, strict=True)]),
        },
    )


def slot_rows(cluster: OracleCluster, s: int) -> list[float]:
    agent, rows = cluster.schedulers[s], []
    fields = scheduler.slot_fields(cluster.scenario)
    entitled = entitlements(cluster)
    for j in range(cluster.scenario.scheduling.window_slots):
        if j >= len(agent.fifo):
            rows += [0.0] * len(fields)
            continue
        task = agent.fifo[j]
        waited = cluster.time - task.arrival
        factors = [agent.storage_view[r][1]["stream_factor"] for r in cluster.replicas[task.shard]]
        shown = cluster.scenario.shows_entitlement
        extra = {"entitled_share": entitled_share(cluster, task.tenant, entitled)} if shown else {}
        rows += row(
            fields,
            {
                **extra,
                "present": 1,
                "cores": task.cores / 4,
                "memory": task.memory / 8,
                "estimated_time": task.estimated_time / 10,
                "estimated_read": task.estimated_read / 4000,
                "scan_share": ratio(task.scan, task.cacheable + task.scan),
                "write": task.write / 1000,
                "age": waited / 10,
                "slack": (task.deadline - waited - task.estimated_time) / 10,
                "slo_class": task.slo_class / 2,
                "tenant_share": tenant_share(cluster, task.tenant),
                "same_job": j > 0 and agent.fifo[j - 1].job == task.job,
                "replica_congestion": 1 - mean(factors),
            },
        )
    return rows


def node_rows(cluster: OracleCluster, s: int) -> list[float]:
    agent, rows = cluster.schedulers[s], []
    largest_cores = max(node.cores for node in cluster.compute)
    largest_memory = max(node.memory for node in cluster.compute)
    for n in agent.candidates:
        node = cluster.compute[n]
        stamp, view = agent.compute_view[n]
        cores, memory = agent.in_flight(n)
        shown = scheduler.NODE_ENGINE_FIELDS if cluster.scenario.observation.engine_metrics else ()
        rows += row(
            scheduler.node_fields(cluster.scenario),
            {
                **{entry.name: view[entry.name] for entry in shown},
                "alive": view["alive"],
                "running_cores_load": view["running_cores"] / node.cores,
                "queued_cores_load": view["queued_cores"] / node.cores,
                "in_flight_cores_load": cores / node.cores,
                "running_memory_pressure": view["running_memory"] / view["execution_memory"],
                "queued_memory_pressure": view["queued_memory"] / view["execution_memory"],
                "in_flight_memory_pressure": memory / view["execution_memory"],
                "efficiency": view["efficiency"],
                "io_wait": view["io_wait"],
                "available_cores": view["available_cores"] / node.cores,
                "cores": node.cores / largest_cores,
                "memory": node.memory / largest_memory,
                "execution_memory": view["execution_memory"] / largest_memory,
                "telemetry_age": age(cluster, stamp),
            },
        )
    return rows


def scheduler_row(cluster: OracleCluster, s: int) -> list[float]:
    agent = cluster.schedulers[s]
    stores: list[float] = []
    for stamp, view in [agent.storage_view[r] for r in agent.observed_storage]:
        fields = scheduler.storage_fields(cluster.scenario)
        known = {entry.name: view[entry.name] for entry in fields if entry.name != "telemetry_age"}
        stores += row(fields, {**known, "telemetry_age": age(cluster, stamp)})
    pairs: list[float] = []
    for j in range(cluster.scenario.scheduling.window_slots):
        for n in agent.candidates:
            values = {"warmth": 0.0, "home": 0.0}
            if j < len(agent.fifo):
                shard = agent.fifo[j].shard
                values = {"warmth": agent.compute_view[n][1]["warmth"][shard], "home": n in cluster.homes[shard]}
            pairs += row(scheduler.PAIR_FIELDS, values)
    return queue_row(cluster, s) + slot_rows(cluster, s) + node_rows(cluster, s) + stores + pairs


def observations(cluster: OracleCluster) -> dict[str, list[list[float]]]:
    return {
        "compute": [compute_row(cluster, n) for n in range(len(cluster.compute))],
        "storage": [storage_row(cluster, r) for r in range(len(cluster.storage))],
        "scheduler": [scheduler_row(cluster, s) for s in range(len(cluster.schedulers))],
    }


def state(cluster: OracleCluster) -> list[float]:
    values: list[float] = []
    for n in range(len(cluster.compute)):
        values += compute_row(cluster, n) + node_work_row(cluster, n)
    for r in range(len(cluster.storage)):
        values += storage_row(cluster, r)
    for s in range(len(cluster.schedulers)):
        values += queue_row(cluster, s) + scheduler_work_row(cluster, s)
    values += row(
        global_state.CLUSTER_FIELDS,
        {
            "elapsed": cluster.k / cluster.scenario.time.horizon_steps,
            "useful_utilisation": cluster.terms["useful"],
            "goodput": cluster.terms["goodput"],
            "latency_term": cluster.terms["latency"],
            "fairness_term": cluster.terms["fairness"],
            "waiting_tasks": cluster.waiting / 100,
            "running_tasks": len(cluster.running) / 100,
        },
    )
    return values + (tenant_rows(cluster) if cluster.scenario.shows_entitlement else [])


def time_left(task: Task) -> float:
    """Seconds that the rest of a task takes at full speed."""
    return task.base_time * task.remaining


def spare(cluster: OracleCluster, task: Task) -> float:
    """Seconds to the deadline beyond the time left; negative if the task cannot be on time."""
    return task.deadline - (cluster.time - task.arrival) - time_left(task)


def node_work_row(cluster: OracleCluster, n: int) -> list[float]:
    node = cluster.compute[n]
    mine = [task for task in cluster.running if task.where == n]
    kept = [task for task in mine if spare(cluster, task) >= 0]

    def total(values: Iterable[float]) -> float:
        return sum(values) / (10 * node.cores)

    def due(within: float) -> float:
        return total(task.work for task in kept if time_left(task) < within)

    return row(
        work.NODE_FIELDS,
        {
            "kept_work": total(task.work * (1 - task.remaining) for task in kept),
            "work_left": total(task.work * task.remaining for task in kept),
            "lost_work_left": total(task.work * task.remaining for task in mine if spare(cluster, task) < 0),
            "spare_work": total(
                task.work * (min(1.0, spare(cluster, task) / time_left(task)) if time_left(task) else 1.0)
                for task in kept
            ),
            "due_in_250_ms": due(0.25),
            "due_in_750_ms": due(0.75),
            "due_in_1500_ms": due(1.5),
            "due_in_3000_ms": due(3.0),
            "queued_work": total(task.work for task in node.queue if spare(cluster, task) >= 0),
            "queued_lost_work": total(task.work for task in node.queue if spare(cluster, task) < 0),
        },
    )


def scheduler_work_row(cluster: OracleCluster, s: int) -> list[float]:
    agent = cluster.schedulers[s]
    waiting = [*agent.fifo, *(task for _, task in agent.backing_off)]
    return row(
        work.SCHEDULER_FIELDS,
        {
            "waiting_work": sum(t.work for t in waiting if spare(cluster, t) >= 0) / cluster.cores,
            "waiting_lost_work": sum(t.work for t in waiting if spare(cluster, t) < 0) / cluster.cores,
        },
    )


def tenant_rows(cluster: OracleCluster) -> list[float]:
    rows: list[float] = []
    entitled, wanted, capacity = entitlements(cluster), demands(cluster), capacity_decayed(cluster)
    for g, weight in enumerate(cluster.weights):
        rows += row(
            global_state.TENANT_FIELDS,
            {
                "entitled_share": entitled_share(cluster, g, entitled),
                "entitlement": ratio(entitled[g], capacity),
                "demand": ratio(wanted[g], capacity),
                "weight": weight / sum(cluster.weights),
            },
        )
    return rows


def masks(cluster: OracleCluster) -> dict[str, list[list[int]]]:
    """1 for each allowed level: the levels of the sub-actions of an agent follow one another."""
    levels: dict[str, list[list[int]]] = {"compute": [], "storage": [], "scheduler": []}
    intervals = {
        "compute": cluster.scenario.compute.decision_interval_steps,
        "storage": cluster.scenario.storage.decision_interval_steps,
    }
    for role, nodes, names, counts in (
        ("compute", cluster.compute, compute.ACTIONS, compute.action_levels(cluster.scenario)),
        ("storage", cluster.storage, storage.ACTIONS, storage.action_levels(cluster.scenario)),
    ):
        for index, node in enumerate(nodes):
            free = node.alive and cluster.k % intervals[role] == index % intervals[role]
            mask = []
            for name, count in zip(names, counts[: len(names)], strict=True):
                mask += [int(free or level == getattr(node, name)) for level in range(count)]
            if role == "compute" and cluster.scenario.elastic.enabled:
                settled = cluster.compute[index].power in ("on", "asleep")
                mask += [int((free and settled) or level == cluster.compute[index].power_level) for level in (0, 1)]
            levels[role].append(mask)
    for agent in cluster.schedulers:
        mask = []
        for j in range(cluster.scenario.scheduling.window_slots):
            mask += [int(j < len(agent.fifo) and agent.compute_view[n][1]["alive"]) for n in agent.candidates] + [1]
        levels["scheduler"].append(mask)
    return levels
