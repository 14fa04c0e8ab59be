"""Random but consistent observations and masks of all roles: empty slots are zero and can only be deferred."""

import numpy as np
import torch

from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.scenario import NodeType, Scenario, load_scenario


def cluster(*, compute_nodes=4, storage_nodes=3, schedulers=2, window_slots=3) -> Scenario:
    return load_scenario(
        "paper-v1",
        {
            "cluster.compute_nodes": (NodeType(compute_nodes, 8.0, 16.0),),
            "cluster.storage_nodes": storage_nodes,
            "cluster.schedulers": schedulers,
            "scheduling.window_slots": window_slots,
        },
    )


def random_observations(scenario: Scenario, batch: int, seed: int, presence: float = 0.7):
    """``{role: [batch, n, d]}``, ``{role: int8 [batch, n, L]}`` as tensors."""
    rng = np.random.default_rng(seed)
    observations, masks = {}, {}
    for role, module in (("compute", compute), ("storage", storage)):
        layout, count = module.layout(scenario), scenario.role_counts[role]
        observations[role] = uniform(rng, layout, (batch, count))
        masks[role] = np.ones((batch, count, module.action_levels(scenario).sum()), np.int8)
    layout, count = scheduler.layout(scenario), scenario.role_counts["scheduler"]
    values = uniform(rng, layout, (batch, count))
    slots = layout.view(values, "slots")
    present = np.sort(rng.random(slots.shape[:-1]) < presence, axis=-1)[..., ::-1]
    slots[..., 0] = 1
    slots *= present[..., None]
    layout.view(values, "pairs")[...] *= present[..., None, None]
    allowed = np.ones((*present.shape, scenario.candidate_count + 1), np.int8)
    allowed[..., :-1] = present[..., None] & (rng.random(allowed[..., :-1].shape) < 0.8)
    observations["scheduler"], masks["scheduler"] = values, allowed.reshape(batch, count, -1)
    return (
        {role: torch.from_numpy(value) for role, value in observations.items()},
        {role: torch.from_numpy(value) for role, value in masks.items()},
    )


def uniform(rng, layout, lead):
    low, high = layout.low(), np.minimum(layout.high(), 2)
    return (low.clip(-2) + rng.random((*lead, layout.size)) * (high - low.clip(-2))).astype(np.float32)
