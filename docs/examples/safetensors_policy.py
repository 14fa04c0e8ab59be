"""A policy of this package's networks, trained by a loop of one's own: weights in safetensors, the rest in JSON.

    python docs/examples/safetensors_policy.py runs/cloned
    cloudsched check runs/cloned
    cloudsched leaderboard run --suite quick --agents runs/cloned --out results

``cloudsched train`` writes such a folder (``RUN/policy``). Here plain PyTorch does, without Ray: the networks of all
three roles learn by maximum likelihood what a rule does (behaviour cloning, Pomerleau 1991). Any other loss works the
same way, and `save_policy` stores the result. The folder loads into clusters of any size. Needs the extra ``rllib``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from cloudsched_env import CloudSchedVectorEnv
from cloudsched_env.agents import ClusterInfo, load_agent
from cloudsched_env.rllib.networks import NetworkConfig, build_networks, save_policy
from cloudsched_env.workload.source import make_source

RULE, SCENARIO, CLUSTERS, STEPS, PASSES, SEED = "linear_feedback", "tiny-v1", 8, 60, 15, 0
CONFIG = NetworkConfig(hidden_sizes=(32,), embedding_size=16, pointer_size=16, similarity="off")


def record(env):
    """What the rule saw, was allowed to do and did: for each role three arrays ``[steps, clusters, agents, ...]``."""
    rule = load_agent(RULE)
    source, generator = make_source(env.scenario, "train"), np.random.default_rng(SEED)
    env.reset(SEED, episodes=[source.episode(generator) for _ in range(CLUSTERS)])
    rule.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), CLUSTERS, SEED)
    seen = {role: ([], [], []) for role in env.role_counts}
    for _ in range(STEPS):
        actions = rule.act(env.observations, env.masks)
        for role, lists in seen.items():
            arrays = (env.observations[role], env.masks[role], actions[role])
            for kept, array in zip(lists, arrays, strict=True):
                kept.append(torch.from_numpy(array.copy()))
        env.step(actions)
    return {role: [torch.stack(kept) for kept in lists] for role, lists in seen.items()}


def main(folder: Path) -> None:
    """Record, clone, save."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    env = CloudSchedVectorEnv(SCENARIO, CLUSTERS)
    networks = build_networks(env.scenario, CONFIG)
    for role, arrays in record(env).items():
        optimiser = torch.optim.Adam(networks[role].parameters(), lr=5e-3)
        losses = []
        for _ in range(PASSES):
            for part in torch.randperm(STEPS).split(10):
                log_probability, _ = networks[role].evaluate(*(array[part] for array in arrays))
                loss = -log_probability.mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        print(f"{role}: cross-entropy of a decision {losses[0]:.2f} at first, {losses[-1]:.2f} at last")
    about = {"algorithm": "cloned_example", "rule": RULE, "deterministic": True}
    save_policy(folder, networks, env.scenario, CONFIG, about)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
