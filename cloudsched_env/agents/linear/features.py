"""What linear agents look at: named features of (task, node) pairs, of tasks, and of compute and storage nodes.

The names are the vocabulary of parameter files; the compiled functions compute the numbers. Features of a pair come
in two groups. `PAIR_FEATURES` describe the node for this task: a fixed weighting of them is a *static* score, as in
kube-scheduler, whose plugins have fixed weights. `CONTEXT_FEATURES` are products of such a feature with the situation
(urgency of the task, congestion of storage, load of the cluster, age of what is known of the node): with them the
weights depend on what the scheduler observes, which is what makes a *state-feedback* score.
"""

from __future__ import annotations

from cloudsched_env.roles import scheduler
from cloudsched_env.sim.compiled import compiled

__all__ = [
    "COMPUTE_FEATURES",
    "CONTEXT_FEATURES",
    "DEFER_CONTEXT_FEATURES",
    "DEFER_FEATURES",
    "PAIR_FEATURES",
    "POWER_FEATURES",
    "STORAGE_FEATURES",
    "fill_defer_features",
    "fill_pair_features",
    "task_situation",
]

PAIR_FEATURES = (
    "running_load",
    "queued_load",
    "own_unseen_load",
    "memory_pressure",
    "expected_miss",
    "warmth",
    "node_cores",
    "home",
    "same_node_as_job",
    "load_above_1",
    "load_above_1.5",
    "memory_above_1",
    "io_wait",
    "efficiency",
    "memory_share",
    "throttled",
    "throttled x load",
)
CONTEXT_FEATURES = (
    "urgency x load",
    "urgency x efficiency",
    "urgency x node_cores",
    "late x load",
    "congestion x load",
    "congestion x warmth",
    "congestion x io_wait",
    "writes x load",
    "writes x efficiency",
    "writes x io_wait",
    "cluster_load x warmth",
    "cluster_load x queued_load",
    "length x load",
    "length x efficiency",
    "urgency x throttled",
    "congestion x miss",
    "staleness x running_load",
    "staleness x queued_load",
    "staleness x own_unseen_load",
    "staleness x home",
)
# A task is deferred if this weighted sum exceeds the best node's score.
DEFER_FEATURES = ("bias", "age")
DEFER_CONTEXT_FEATURES = (
    "urgency",
    "late",
    "tenant_share",
    "cluster_load",
    "queue_length",
    "congestion",
    "writes",
    "length",
)
COMPUTE_FEATURES = (
    "running_memory_load",
    "queued_memory_load",
    "running_cores_load",
    "queued_cores_load",
    "hit_ratio",
    "read_rate",
    "io_wait",
    "efficiency",
    "cores",
    "storage_stream_factor",
    "storage_write_rate",
    "processor_share",
    "available_cores",
    "garbage",
)
# Of compute nodes that can sleep, beside their rank among the nodes.
POWER_FEATURES = (
    "power_level",
    "running_cores_load",
    "queued_cores_load",
    "active_share",
    "load_of_on",
    "waiting_of_on",
)
STORAGE_FEATURES = (
    "debt",
    "debt_above_0.8",
    "read_rate",
    "write_rate",
    "stream_factor",
    "write_factor",
    "served_share",
    "mean_debt",
    "mean_read_rate",
    "mean_write_rate",
)


def _columns(fields):  # noqa: ANN001, ANN202
    return {entry.name: position for position, entry in enumerate(fields)}


_NODE, _SLOT, _QUEUE = (_columns(f) for f in (scheduler.NODE_FIELDS, scheduler.SLOT_FIELDS, scheduler.QUEUE_FIELDS))
_RUNNING, _QUEUED, _IN_FLIGHT = (_NODE[f"{name}_cores_load"] for name in ("running", "queued", "in_flight"))
_RUNNING_MEMORY, _QUEUED_MEMORY, _IN_FLIGHT_MEMORY = (
    _NODE[f"{name}_memory_pressure"] for name in ("running", "queued", "in_flight")
)
_EFFICIENCY, _IO_WAIT, _CORES, _AVAILABLE, _TELEMETRY_AGE = (
    _NODE[name] for name in ("efficiency", "io_wait", "cores", "available_cores", "telemetry_age")
)
_TASK_TIME, _TASK_READ, _SCAN_SHARE, _WRITE = (
    _SLOT[name] for name in ("estimated_time", "estimated_read", "scan_share", "write")
)
_AGE, _SLACK, _TENANT_SHARE, _REPLICA_CONGESTION = (
    _SLOT[name] for name in ("age", "slack", "tenant_share", "replica_congestion")
)
_MEAN_RUNNING, _MEAN_QUEUED, _MEAN_IN_FLIGHT, _QUEUE_LENGTH = (
    _QUEUE[name] for name in ("mean_running_load", "mean_queued_load", "mean_in_flight_load", "queue_length")
)
# Slack, s, below which a task counts as fully urgent / beyond which it does not at all.
_RELAXED_S = 4.0
_LONG_S = 4.0
# Age of what is known of a node, s, at which it counts as stale once.
_STALE_S = 2.0
_WRITES_HALF_MB = 100.0


@compiled
def task_situation(queue, slot, situation):  # noqa: ANN001, ANN201
    """Fill urgency, late, congestion, writes, cluster_load, length of one visible task into ``situation`` [6]."""
    slack_s = 10.0 * slot[_SLACK]
    situation[0] = min(1.0, max(0.0, 1.0 - slack_s / _RELAXED_S))
    situation[1] = 1.0 if slack_s < 0.0 else 0.0
    situation[2] = slot[_REPLICA_CONGESTION]
    write_mb = 1000.0 * slot[_WRITE]
    situation[3] = write_mb / (write_mb + _WRITES_HALF_MB)
    situation[4] = queue[_MEAN_RUNNING] + queue[_MEAN_QUEUED] + queue[_MEAN_IN_FLIGHT] - 1.0
    situation[5] = min(2.0, 10.0 * slot[_TASK_TIME] / _LONG_S)


@compiled
def fill_pair_features(slot, node, warmth, home, same_node, load, own, pressure, memory_share, situation, out):  # noqa: ANN001, ANN201
    """Fill `PAIR_FEATURES`, then `CONTEXT_FEATURES`.

    Args:
        slot: the task's entry of the observation.
        node: the node's entry of the observation.
        warmth: cached part of the task's hot set on the node.
        home: 1 on a home of the task's shard.
        same_node: 1 where the job's last task went.
        load: requested cores with this task / cores.
        own: cores sent by this scheduler and not shown by telemetry / cores.
        pressure: requested memory with this task / execution memory.
        memory_share: the task's memory / the node's.
        situation: of `task_situation`.
        out: float64, as long as both tuples together.
    """
    miss = slot[_TASK_READ] * (1.0 - (1.0 - slot[_SCAN_SHARE]) * warmth)
    efficiency, io_wait = node[_EFFICIENCY], node[_IO_WAIT]
    out[0] = node[_RUNNING]
    out[1] = node[_QUEUED]
    out[2] = own
    out[3] = pressure
    out[4] = miss
    out[5] = warmth
    out[6] = node[_CORES]
    out[7] = home
    out[8] = same_node
    out[9] = max(0.0, load - 1.0)
    out[10] = max(0.0, load - 1.5)
    out[11] = max(0.0, pressure - 1.0)
    out[12] = io_wait
    out[13] = efficiency
    out[14] = memory_share
    throttled = 1.0 - node[_AVAILABLE]
    out[15] = throttled
    out[16] = throttled * load
    urgency, late, congestion, writes, cluster_load, length = situation
    out[17] = urgency * load
    out[18] = urgency * efficiency
    out[19] = urgency * node[_CORES]
    out[20] = late * load
    out[21] = congestion * load
    out[22] = congestion * warmth
    out[23] = congestion * io_wait
    out[24] = writes * load
    out[25] = writes * efficiency
    out[26] = writes * io_wait
    out[27] = cluster_load * warmth
    out[28] = cluster_load * node[_QUEUED]
    out[29] = length * load
    out[30] = length * efficiency
    out[31] = urgency * throttled
    out[32] = congestion * miss
    staleness = min(2.0, 10.0 * node[_TELEMETRY_AGE] / _STALE_S)
    out[33] = staleness * node[_RUNNING]
    out[34] = staleness * node[_QUEUED]
    out[35] = staleness * own
    out[36] = staleness * home


@compiled
def fill_defer_features(queue, slot, situation, out):  # noqa: ANN001, ANN201
    """Fill `DEFER_FEATURES`, then `DEFER_CONTEXT_FEATURES`."""
    out[0] = 1.0
    out[1] = slot[_AGE]
    out[2] = situation[0]
    out[3] = situation[1]
    out[4] = slot[_TENANT_SHARE]
    out[5] = situation[4]
    out[6] = min(4.0, queue[_QUEUE_LENGTH])
    out[7] = situation[2]
    out[8] = situation[3]
    out[9] = situation[5]
