"""The features of linear rules for a network: what tuned schedulers look at, as a linear path of the pointer's score.

A rule that was tuned for hours knows which products of features matter (`cloudsched_env.agents.linear.features`, the
vocabulary of `linear_feedback`). With `NetworkConfig.rule_features` the scheduler's score has a linear path over the
same features. Its weights begin at zero, or at a multiple of a rule's: then the network adds a correction to what the
rule prefers (residual policy learning: Silver et al. 2018, arXiv 1812.06298; Johannink et al. 2019, arXiv 1812.03201).

One feature differs from the rule's: `same_node_as_job` sees the earlier slots of the same decision only, since a policy
keeps no memory of the decision before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloudsched_env.agents.linear import features
from cloudsched_env.roles import scheduler

__all__ = ["DEFER_SIZE", "PAIR_SIZE", "RuleInputs", "rule_inputs", "rule_pair_features"]

PAIR_SIZE = len(features.PAIR_FEATURES) + len(features.CONTEXT_FEATURES)
DEFER_SIZE = len(features.DEFER_FEATURES) + len(features.DEFER_CONTEXT_FEATURES)

_SLOT, _NODE, _QUEUE, _PAIR = (
    {entry.name: i for i, entry in enumerate(fields)}
    for fields in (scheduler.SLOT_FIELDS, scheduler.NODE_FIELDS, scheduler.QUEUE_FIELDS, scheduler.PAIR_FIELDS)
)
# The situation of a task, in the order of `features.task_situation`, and of a node.
_TASK_SITUATIONS = ("urgency", "late", "congestion", "writes", "cluster_load", "length")
_SITUATIONS = (*_TASK_SITUATIONS, "staleness")
# What is multiplied with it: pair features, and one that is none by itself.
_FACTORS = (*features.PAIR_FEATURES, "load")
_PRODUCTS = [tuple(name.split(" x ")) for name in features.CONTEXT_FEATURES]
_SITUATION_OF = [_SITUATIONS.index(situation) for situation, _ in _PRODUCTS]
_FACTOR_OF = [_FACTORS.index("expected_miss" if factor == "miss" else factor) for _, factor in _PRODUCTS]


@dataclass(frozen=True)
class RuleInputs:
    """What does not change from slot to slot; R rows (agents x batch), S slots, M nodes."""

    situations: Tensor  # [R, S, task situations]
    waiting: Tensor  # [R, S, DEFER_SIZE]: features of deferring
    nodes: Tensor  # [R, M, 9]: see `rule_inputs`
    pairs: Tensor  # [R, S, M, 4]: warmth, home, bytes that the cache lacks, share of the node's memory


@torch.no_grad()
def rule_inputs(
    queue: Tensor, slots: Tensor, nodes: Tensor, pairs: Tensor, *, slot_memory_gb: float, node_memory_gb: float
) -> RuleInputs:
    """Prepare decisions from the observed blocks.

    Args:
        queue: ``[R, queue fields]``.
        slots: ``[R, S, slot fields]``.
        nodes: ``[R, M, node fields]``.
        pairs: ``[R, S, M, pair fields]``.
        slot_memory_gb: unit of the tasks' memory.
        node_memory_gb: unit of the nodes' memory.
    """

    def of_task(name: str) -> Tensor:
        return slots[..., _SLOT[name]]

    def of_node(name: str) -> Tensor:
        return nodes[..., _NODE[name]]

    ones = torch.ones_like(slots[..., 0])
    cluster_load = sum(
        (queue[:, _QUEUE[f"mean_{part}_load"]] for part in ("running", "queued", "in_flight")), -ones[:, 0]
    )
    slack_s, write_mb = 10.0 * of_task("slack"), 1000.0 * of_task("write")
    task = {
        "bias": ones,
        "age": of_task("age"),
        "urgency": (1.0 - slack_s / features._RELAXED_S).clamp(0.0, 1.0),
        "late": (slack_s < 0.0).to(ones.dtype),
        "tenant_share": of_task("tenant_share"),
        "cluster_load": ones * cluster_load.unsqueeze(-1),
        "queue_length": ones * queue[:, _QUEUE["queue_length"]].clamp_max(4.0).unsqueeze(-1),
        "congestion": of_task("replica_congestion"),
        "writes": write_mb / (write_mb + features._WRITES_HALF_MB),
        "length": (10.0 * of_task("estimated_time") / features._LONG_S).clamp_max(2.0),
    }
    # A node of which nothing is known has no memory: the floor keeps the share finite.
    share = (
        slot_memory_gb
        * of_task("memory").unsqueeze(-1)
        / (node_memory_gb * of_node("memory")).clamp_min(1e-3).unsqueeze(1)
    )
    warmth = pairs[..., _PAIR["warmth"]]
    cold = 1.0 - (1.0 - of_task("scan_share")).unsqueeze(-1) * warmth
    return RuleInputs(
        situations=torch.stack([task[name] for name in _TASK_SITUATIONS], -1),
        waiting=torch.stack([task[name] for name in features.DEFER_FEATURES + features.DEFER_CONTEXT_FEATURES], -1),
        nodes=torch.stack(
            (
                of_node("running_cores_load"),
                of_node("queued_cores_load"),
                of_node("in_flight_cores_load"),
                of_node("running_memory_pressure")
                + of_node("queued_memory_pressure")
                + of_node("in_flight_memory_pressure"),
                of_node("cores"),
                of_node("io_wait"),
                of_node("efficiency"),
                1.0 - of_node("available_cores"),
                (10.0 * of_node("telemetry_age") / features._STALE_S).clamp_max(2.0),
            ),
            -1,
        ),
        pairs=torch.stack(
            (warmth, pairs[..., _PAIR["home"]], of_task("estimated_read").unsqueeze(-1) * cold, share), -1
        ),
    )


@torch.no_grad()
def rule_pair_features(
    inputs: RuleInputs,
    rows: Tensor,
    slots: Tensor,
    assigned_load: Tensor,
    assigned_pressure: Tensor,
    task_load: Tensor,
    task_pressure: Tensor,
    same_node: Tensor,
) -> Tensor:
    """`features.PAIR_FEATURES`, then `features.CONTEXT_FEATURES`, of P tasks and all nodes, ``[P, M, PAIR_SIZE]``.

    Args:
        inputs: of the decisions.
        rows: row of each task, int64 ``[P]``.
        slots: slot of each task, int64 ``[P]``.
        assigned_load: cores that earlier slots sent to the node / its cores, ``[P, M]``.
        assigned_pressure: their memory / its execution memory, ``[P, M]``.
        task_load: the same of the task itself, ``[P, M]``.
        task_pressure: likewise.
        same_node: 1 where the job's last task went, ``[P, M]``.
    """
    running, queued, in_flight, held_pressure, cores, io_wait, efficiency, throttled, staleness = inputs.nodes[
        rows
    ].unbind(-1)
    warmth, home, miss, share = inputs.pairs[rows, slots].unbind(-1)
    own = in_flight + assigned_load
    load = running + queued + own + task_load
    pressure = held_pressure + assigned_pressure + task_pressure
    factors = torch.stack(
        (
            running,
            queued,
            own,
            pressure,
            miss,
            warmth,
            cores,
            home,
            same_node,
            (load - 1.0).clamp_min(0.0),
            (load - 1.5).clamp_min(0.0),
            (pressure - 1.0).clamp_min(0.0),
            io_wait,
            efficiency,
            share,
            throttled,
            throttled * load,
            load,
        ),
        -1,
    )
    task = inputs.situations[rows, slots].unsqueeze(1).expand(-1, load.shape[1], -1)
    situation = torch.cat((task, staleness.unsqueeze(-1)), -1)
    products = situation[..., _SITUATION_OF] * factors[..., _FACTOR_OF]
    return torch.cat((factors[..., :-1], products), -1)
