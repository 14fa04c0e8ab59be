"""The global state for centralised training: what every node knows of itself, and the cluster's totals."""

from __future__ import annotations

from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.roles.layout import Block, Field, Layout
from cloudsched_env.scenario import Scenario

__all__ = ["CLUSTER_FIELDS", "layout"]

CLUSTER_FIELDS = (
    Field("elapsed", "1", 0, 1, "fresh: share of the episode that has passed"),
    Field("useful_utilisation", "1", 0, 1, "fresh: useful work of the last step / capacity"),
    Field("goodput", "1", 0, 2, "fresh: on-time work completed in the last step / capacity"),
    Field("latency_term", "1", 0, 1, "fresh: latency term of the team reward"),
    Field("fairness_term", "1", 0, 1, "fresh: fairness term of the team reward"),
    Field("waiting_tasks", "100 tasks", 0, 32, "fresh: tasks arrived, not running nor finished / 100"),
    Field("running_tasks", "100 tasks", 0, 32, "fresh: running tasks / 100"),
)


def layout(scenario: Scenario) -> Layout:
    """Blocks: each compute node, each storage node, each scheduler's queue, the cluster."""
    counts = scenario.role_counts
    return Layout(
        "state",
        (
            Block("compute", compute.FIELDS, (("compute", counts["compute"]),)),
            Block("storage", storage.FIELDS, (("storage", counts["storage"]),)),
            Block("scheduler", scheduler.QUEUE_FIELDS, (("scheduler", counts["scheduler"]),)),
            Block("cluster", CLUSTER_FIELDS),
        ),
    )
