"""What physics says matters about sending a task to a node: the features that a scheduler's pointer weighs.

They describe the node as it would be *after* the placement, and count what the same decision has already sent there in
earlier slots. Nothing in them depends on weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloudsched_env.roles import scheduler

__all__ = [
    "PAIR_FEATURES",
    "SLOT_MEMORY_GB",
    "PairInputs",
    "earlier_slots",
    "follows_job",
    "nothing_sent",
    "pair_features",
    "pair_inputs",
]

# Units of the slots' fields, from `cloudsched_env.roles.scheduler`.
SLOT_CORES = 4.0
SLOT_MEMORY_GB = 8.0
# Loads beyond this are all equally hopeless; the same bound as the observed load fields have.
LOAD_CAP = 8.0

PAIR_FEATURES = (
    "warmth",
    "home",
    "predicted_miss",  # 4 GB: scans, and cacheable reads that are cold on this node
    "miss_at_congested_replicas",
    "task_load",  # cores of the task / cores of the node
    "task_memory",  # memory of the task / execution memory of the node
    "assigned_load",  # earlier slots of this decision
    "assigned_memory",
    "load_after",  # running + queued + in flight + assigned + this task
    "overload",  # max(0, load_after - 1)
    "contention",  # max(0, load_after - 1.5): where too many tasks begin to cost efficiency
    "memory_after",
    "spill",  # max(0, memory_after - 1)
    "follows_job",  # the slot before is of the same job and went to this node
)

_SLOT, _NODE, _PAIR = (
    {entry.name: i for i, entry in enumerate(fields)}
    for fields in (scheduler.SLOT_FIELDS, scheduler.NODE_FIELDS, scheduler.PAIR_FIELDS)
)


@dataclass(frozen=True)
class PairInputs:
    """What does not change from slot to slot; R rows (agents x batch), S slots, M nodes."""

    slots: Tensor  # [R, S, slot fields]
    pairs: Tensor  # [R, S, M, pair fields]
    demand: Tensor  # [R, S, 2] cores and GB of each slot's task
    load: Tensor  # [R, M] running + queued + in flight
    memory: Tensor  # [R, M]
    cores: Tensor  # [R, M]
    execution_memory_gb: Tensor  # [R, M]

    @property
    def node_count(self) -> int:
        """M; as a choice this number is to defer."""
        return self.load.shape[1]


def pair_inputs(
    slots: Tensor, nodes: Tensor, pairs: Tensor, *, largest_node_cores: float, largest_node_memory_gb: float
) -> PairInputs:
    """Prepare decisions from the observed blocks.

    Args:
        slots: ``[R, S, slot fields]``.
        nodes: ``[R, M, node fields]``.
        pairs: ``[R, S, M, pair fields]``.
        largest_node_cores: unit in which nodes' cores are observed.
        largest_node_memory_gb: unit of the nodes' memory.
    """

    def of_node(name: str) -> Tensor:
        return nodes[..., _NODE[name]]

    columns = [_SLOT["cores"], _SLOT["memory"]]
    return PairInputs(
        slots=slots,
        pairs=pairs,
        demand=slots[..., columns] * slots.new_tensor([SLOT_CORES, SLOT_MEMORY_GB]),
        load=of_node("running_cores_load") + of_node("queued_cores_load") + of_node("in_flight_cores_load"),
        memory=of_node("running_memory_pressure")
        + of_node("queued_memory_pressure")
        + of_node("in_flight_memory_pressure"),
        # Floors keep a node of which nothing is known from dividing by zero; the caps on loads do the rest.
        cores=(of_node("cores") * largest_node_cores).clamp_min(1e-3),
        execution_memory_gb=(of_node("execution_memory") * largest_node_memory_gb).clamp_min(1e-3),
    )


@torch.no_grad()
def earlier_slots(inputs: PairInputs, taken: Tensor, rows: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """What tasks find: cores and GB that earlier slots sent to each node, and the choice just before.

    Args:
        inputs: of all rows.
        taken: choices of all slots, ``[R, S]``.
        rows: row of each task, ``[P]``.
        slots: slot of each task, ``[P]``.

    Returns:
        ``[P, M, 2]`` and ``[P]``; a first slot follows upon "deferred".
    """
    sent = inputs.demand.new_zeros(*taken.shape, inputs.node_count + 1, 2)
    sent.scatter_(2, taken[..., None, None].expand(-1, -1, 1, 2), inputs.demand.unsqueeze(2))
    assigned = (sent.cumsum(1) - sent)[rows, slots, :-1]
    before = torch.cat((torch.full_like(taken[:, :1], inputs.node_count), taken[:, :-1]), 1)
    return assigned, before[rows, slots]


def nothing_sent(inputs: PairInputs, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What `earlier_slots` returns where they do not count: nothing was sent, nothing came before."""
    return inputs.demand.new_zeros(len(rows), inputs.node_count, 2), torch.full_like(rows, inputs.node_count)


def follows_job(inputs: PairInputs, rows: Tensor, slots: Tensor, previous: Tensor) -> Tensor:
    """1 where the slot before is of the same job and went to this node, ``[P, M]``.

    Args:
        inputs: of all rows.
        rows: row of each task, ``[P]``.
        slots: slot of each task, ``[P]``.
        previous: the choice in the slot before, ``[P]``.
    """
    there = previous.unsqueeze(-1) == torch.arange(inputs.node_count, device=previous.device)
    return there * inputs.slots[rows, slots, _SLOT["same_job"]].unsqueeze(-1)


@torch.no_grad()
def pair_features(inputs: PairInputs, rows: Tensor, slots: Tensor, assigned: Tensor, previous: Tensor) -> Tensor:
    """`PAIR_FEATURES` of P tasks and all nodes, ``[P, M, features]``.

    Args:
        inputs: of all rows.
        rows: row of each task, ``[P]``.
        slots: slot of each task, ``[P]``.
        assigned: cores and GB that earlier slots sent to each node, ``[P, M, 2]``.
        previous: the choice in the slot before, ``[P]``.
    """
    task = inputs.slots[rows, slots]
    pair = inputs.pairs[rows, slots]

    def of_task(name: str) -> Tensor:
        return task[:, _SLOT[name]].unsqueeze(-1)

    demand = inputs.demand[rows, slots]
    cores, memory = inputs.cores[rows], inputs.execution_memory_gb[rows]
    warmth, home = pair[..., _PAIR["warmth"]], pair[..., _PAIR["home"]]
    scan_share = of_task("scan_share")
    miss = of_task("estimated_read") * (scan_share + (1.0 - scan_share) * (1.0 - warmth))
    task_load = (demand[:, :1] / cores).clamp_max(LOAD_CAP)
    task_memory = (demand[:, 1:] / memory).clamp_max(LOAD_CAP)
    assigned_load = (assigned[..., 0] / cores).clamp_max(LOAD_CAP)
    assigned_memory = (assigned[..., 1] / memory).clamp_max(LOAD_CAP)
    load_after = (inputs.load[rows] + assigned_load + task_load).clamp_max(LOAD_CAP)
    memory_after = (inputs.memory[rows] + assigned_memory + task_memory).clamp_max(LOAD_CAP)
    columns = (
        warmth,
        home,
        miss,
        miss * of_task("replica_congestion"),
        task_load,
        task_memory,
        assigned_load,
        assigned_memory,
        load_after,
        (load_after - 1.0).clamp_min(0.0),
        (load_after - 1.5).clamp_min(0.0),
        memory_after,
        (memory_after - 1.0).clamp_min(0.0),
        follows_job(inputs, rows, slots, previous),
    )
    return torch.stack(columns, -1)
