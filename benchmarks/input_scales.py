"""Measure mean and standard deviation of every observed field, for the networks' input scales.

    python benchmarks/input_scales.py

Plays one batch of training episodes of paper-v1 with each of three unlike policies (random placement and knobs,
locality, the linear policy) and writes `cloudsched_env/rllib/networks/input_scales.json`. Takes about a minute on one
core, once the simulator is compiled.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

import cloudsched_env
from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.rllib.networks import NetworkConfig, SchedulerPolicy
from cloudsched_env.rllib.networks.pair_features import PAIR_FEATURES
from cloudsched_env.vector import CloudSchedVectorEnv

SCENARIO, CLUSTERS, SEED = "paper-v1", 8, 1000
AGENTS = ("random+random", "locality", "linear_feedback")
TARGET = Path("cloudsched_env/rllib/networks/input_scales.json")


def main() -> None:
    """Play, measure, write the table."""
    torch.set_num_threads(1)
    env = CloudSchedVectorEnv(SCENARIO, CLUSTERS, split="train")
    info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
    policy = SchedulerPolicy.for_scenario(env.scenario, NetworkConfig())
    moments: dict[str, dict[str, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(3)))
    pair_moments: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))

    def add(group: str, names: list[str], values: np.ndarray) -> None:
        rows = values.reshape(-1, len(names)).astype(np.float64)
        for name, column in zip(names, rows.T, strict=True):
            moments[group][name] += (len(column), column.sum(), np.square(column).sum())

    def add_layout(layout, values: np.ndarray) -> None:
        for block in layout.blocks:
            part = layout.view(values, block.name)
            if block.name == "slots":
                part = part[part[..., block.index("present")] > 0]
            add(f"{layout.role}.{block.name}", [field.name for field in block.fields], part)

    def add_pairs(features: np.ndarray) -> None:
        """A choice between nodes depends on how much they differ: the spread is that between nodes of a decision."""
        deviations = features - features.mean(axis=1, keepdims=True)
        for position, field in enumerate(PAIR_FEATURES):
            values, spread = features[..., position], np.square(deviations[..., position])
            pair_moments[field] += (values.size, values.sum(), spread.sum())

    for number, name in enumerate(AGENTS):
        agent = load_agent(name)
        env.reset(SEED + CLUSTERS * number)
        agent.reset(info, CLUSTERS, SEED)
        done = False
        while not done:
            actions = agent.act(env.observations, env.masks)
            for role in env.roles:
                add_layout(env.layouts[role], env.observations[role])
            add_layout(env.state_layout, env.state)
            seen, masks = (torch.from_numpy(x["scheduler"]) for x in (env.observations, env.masks))
            features = policy.pair_features(seen, masks, torch.from_numpy(actions["scheduler"])).numpy()
            add_pairs(features.astype(np.float64))
            done = env.step(actions)
    groups = {
        group: {name: [round(float(x), 4) for x in mean_and_std(*values)] for name, values in fields.items()}
        for group, fields in moments.items()
    }
    groups["scheduler.pair_features"] = {
        name: [round(float(total / count), 4), round(float((spread / count) ** 0.5), 4)]
        for name, (count, total, spread) in pair_moments.items()
    }
    record = {
        "measured_by": "benchmarks/input_scales.py",
        "version": cloudsched_env.__version__,
        "scenario": SCENARIO,
        "agents": AGENTS,
        "episodes": CLUSTERS * len(AGENTS),
        "meaning": "group -> field -> [mean, standard deviation], in the field's unit; of pair_features, the deviation "
        "is that between the nodes of one decision",
        "groups": groups,
    }
    # One line per field, so that differences between versions can be read.
    text = re.sub(r"\[\s+([-\d.e]+),\s+([-\d.e]+)\s+\]", r"[\1, \2]", json.dumps(record, indent=1))
    TARGET.write_text(text + "\n", encoding="utf-8")


def mean_and_std(count: float, total: float, squares: float) -> tuple[float, float]:
    """From the sums of values and of their squares."""
    mean = total / count
    return mean, max(0.0, squares / count - mean * mean) ** 0.5


if __name__ == "__main__":
    main()
