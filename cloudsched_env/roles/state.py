"""The global state for centralised training: what every node knows of itself, its work, and the cluster's totals."""

from __future__ import annotations

from cloudsched_env.roles import compute, scheduler, storage, work
from cloudsched_env.roles.layout import Block, Field, Layout, clip
from cloudsched_env.roles.work import observe_node_work, observe_scheduler_work
from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.compiled import compiled
from cloudsched_env.sim.entitlement import entitled_share
from cloudsched_env.sim.scheduling import waiting_tasks

__all__ = ["CLUSTER_FIELDS", "TENANT_FIELDS", "layout", "observe_cluster"]

CLUSTER_FIELDS = (
    Field("elapsed", "1", 0, 1, "fresh: share of the episode that has passed"),
    Field("useful_utilisation", "1", 0, 1, "fresh: useful work of the last step / capacity"),
    Field("goodput", "1", 0, 2, "fresh: on-time work completed in the last step / capacity"),
    Field("latency_term", "1", 0, 1, "fresh: latency term of the team reward"),
    Field("fairness_term", "1", 0, 1, "fresh: fairness term of the team reward"),
    Field("waiting_tasks", "100 tasks", 0, 32, "fresh: tasks arrived, not running nor finished / 100"),
    Field("running_tasks", "100 tasks", 0, 32, "fresh: running tasks / 100"),
)


TENANT_FIELDS = (
    Field("entitled_share", "1", 0, 1, "fresh: served work / entitlement, decayed"),
    Field("entitlement", "1", 0, 1, "fresh: entitlement / what the whole cluster could do, decayed"),
    Field("demand", "1", 0, 8, "fresh: demanded work / what the whole cluster could do, decayed"),
    Field("weight", "1", 0, 1, "static: weight / sum of weights"),
)
"""Observed of each tenant where ``observation.entitlement`` or the team reward asks for it."""


def layout(scenario: Scenario) -> Layout:
    """Blocks: each compute node, each storage node, each scheduler's queue, the cluster; tenants where they show."""
    counts = scenario.role_counts
    tenants = (Block("tenants", TENANT_FIELDS, (("tenant", scenario.workload.tenants),)),)
    return Layout(
        "state",
        (
            Block("compute", compute.fields(scenario) + work.NODE_FIELDS, (("compute", counts["compute"]),)),
            Block("storage", storage.fields(scenario), (("storage", counts["storage"]),)),
            Block("scheduler", scheduler.QUEUE_FIELDS + work.SCHEDULER_FIELDS, (("scheduler", counts["scheduler"]),)),
            Block("cluster", CLUSTER_FIELDS),
            *(tenants if scenario.shows_entitlement else ()),
        ),
    )


_CLUSTER, _TENANT = len(CLUSTER_FIELDS), len(TENANT_FIELDS)
_QUEUE, _QUEUED_WORK = len(scheduler.QUEUE_FIELDS), len(work.SCHEDULER_FIELDS)
_NODE_WORK = len(work.NODE_FIELDS)


@compiled
def _observe_tenants(data, ledger, b, out):
    """Write `TENANT_FIELDS` of every tenant."""
    tenants = ledger.entitled_decayed.shape[1]
    capacity = ledger.capacity_decayed[b]
    weights = 0.0
    for g in range(tenants):
        weights += data.tenant_weight[b, g]
    for g in range(tenants):
        o = g * _TENANT
        demand = max(ledger.arrived_decayed[b, g], ledger.served_decayed[b, g])
        out[o] = entitled_share(ledger, b, g)
        out[o + 1] = clip(ledger.entitled_decayed[b, g] / capacity, 0.0, 1.0) if capacity > 0.0 else 0.0
        out[o + 2] = clip(demand / capacity, 0.0, 8.0) if capacity > 0.0 else 0.0
        out[o + 3] = data.tenant_weight[b, g] / weights


@compiled
def observe_cluster(
    parameters,
    clock,
    tasks,
    data,
    running,
    compute,
    schedulers,
    ledger,
    b,
    compute_rows,
    storage_rows,
    scheduler_rows,
    out,
):
    """Write the global state from the observations of this step, the work in progress and the cluster's totals."""
    now_s = clock.step[b] * parameters.step_s
    nodes, width = compute_rows.shape
    observe_node_work(parameters, tasks, running, compute, b, now_s, out, width, width + _NODE_WORK)
    o = 0
    for n in range(nodes):
        for j in range(width):
            out[o + j] = compute_rows[n, j]
        o += width + _NODE_WORK
    for r in range(storage_rows.shape[0]):
        for j in range(storage_rows.shape[1]):
            out[o + j] = storage_rows[r, j]
        o += storage_rows.shape[1]
    for s in range(scheduler_rows.shape[0]):
        for j in range(_QUEUE):
            out[o + j] = scheduler_rows[s, j]
        o += _QUEUE
        observe_scheduler_work(parameters, tasks, schedulers, b, s, now_s, out[o : o + _QUEUED_WORK])
        o += _QUEUED_WORK
    out[o] = clock.step[b] / parameters.horizon_steps
    out[o + 1] = clip(ledger.terms[b, 0], 0.0, 1.0)
    out[o + 2] = clip(ledger.terms[b, 1], 0.0, 2.0)
    out[o + 3] = ledger.terms[b, 2]
    out[o + 4] = ledger.terms[b, 3]
    out[o + 5] = clip(waiting_tasks(compute, schedulers, b) / 100.0, 0.0, 32.0)
    out[o + 6] = clip(running.slots_used[b] / 100.0, 0.0, 32.0)
    if parameters.entitlement_enabled:
        _observe_tenants(data, ledger, b, out[o + _CLUSTER :])
