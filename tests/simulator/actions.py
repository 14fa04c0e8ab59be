"""Random actions for one cluster: within the masks, or anything."""

from __future__ import annotations

import numpy as np

from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.scenario import Scenario

Actions = dict[str, list[list[int]]]

LEVELS = {"compute": compute.action_levels, "storage": storage.action_levels, "scheduler": scheduler.action_levels}


def random_actions(scenario: Scenario, rng: np.random.Generator) -> Actions:
    """Any level of any sub-action, masked or not."""
    return {
        role: [[int(rng.integers(level)) for level in LEVELS[role](scenario)] for _ in range(count)]
        for role, count in scenario.role_counts.items()
    }


def random_masked_actions(scenario: Scenario, masks: dict[str, list[list[int]]], rng: np.random.Generator) -> Actions:
    """One of the allowed levels of each sub-action."""
    actions: Actions = {}
    for role, rows in masks.items():
        levels = LEVELS[role](scenario)
        ends = np.cumsum(levels)
        actions[role] = [
            [int(rng.choice(np.flatnonzero(mask[end - level : end]))) for level, end in zip(levels, ends, strict=True)]
            for mask in rows
        ]
    return actions


def default_actions(scenario: Scenario) -> Actions:
    """Initial levels and every task deferred."""
    counts = scenario.role_counts
    return {
        "compute": [list(compute.initial_levels(scenario))] * counts["compute"],
        "storage": [list(storage.initial_levels(scenario))] * counts["storage"],
        "scheduler": [
            [scenario.candidate_count] * scenario.scheduling.window_slots for _ in range(counts["scheduler"])
        ],
    }
