"""A small suite, some agents and their results, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudsched_env.leaderboard.anchors import compute_anchors
from cloudsched_env.leaderboard.declaration import Declaration, load_declarations
from cloudsched_env.leaderboard.run import run_suite

AGENTS = """
import os
import time

import numpy as np

from cloudsched_env.agents import load_agent


class Good:
    name = "good"
    execution = "none"

    def __init__(self, seed=0):
        self.rule = load_agent("balanced")

    def reset(self, info, batch_size, seed):
        self.info, self.steps = info, 0
        self.rule.reset(info, batch_size, seed)

    def act(self, observations, masks):
        self.steps += 1
        return self.rule.act(observations, masks)


class Aborts(Good):
    name = "aborts"

    def act(self, observations, masks):
        if self.steps == 5:
            os.abort()
        return super().act(observations, masks)


class Hangs(Good):
    name = "hangs"

    def act(self, observations, masks):
        time.sleep(1000)


class Hoards(Good):
    name = "hoards"

    def act(self, observations, masks):
        self.memory = np.ones(10**10)


class Talks(Good):
    name = "talks"

    def act(self, observations, masks):
        print("hello from the agent", flush=True)
        raise KeyError("no such thing")


class WrongShape(Good):
    name = "wrong_shape"

    def act(self, observations, masks):
        return {role: array[:, :1] for role, array in super().act(observations, masks).items()}


class Exits(Good):
    name = "exits"

    def act(self, observations, masks):
        os._exit(7)


class Dice(Good):
    name = "dice"

    def act(self, observations, masks):
        actions = super().act(observations, masks)
        nodes = self.info.action_levels["scheduler"][0] - 1
        actions["scheduler"] = np.random.default_rng().integers(0, nodes, actions["scheduler"].shape)
        return actions


class Remembers(Good):
    name = "remembers"
    episodes = 0

    def reset(self, info, batch_size, seed):
        self.episodes += 1
        super().reset(info, batch_size, seed)

    def act(self, observations, masks):
        actions = super().act(observations, masks)
        if self.episodes > 1:
            actions["storage"] = np.zeros_like(actions["storage"])
        return actions


class Peeks(Good):
    name = "peeks"

    def __init__(self):
        self.rule = load_agent("linear_static")  # draws nothing

    def act(self, observations, masks):
        actions = super().act(observations, masks)
        seen = observations["compute"].sum(axis=(1, 2))
        actions["storage"][:, :, 1] = (seen * 1000).astype(np.int64)[:, None] % 3
        return actions


class Scribbles(Good):
    name = "scribbles"

    def act(self, observations, masks):
        actions = super().act(observations, masks)
        observations["compute"][:] = 0
        return actions


class OutOfRange(Good):
    name = "out_of_range"

    def act(self, observations, masks):
        actions = super().act(observations, masks)
        actions["compute"][0, 1, 2] = 9
        return actions


class Explodes(Good):
    name = "explodes"

    def __init__(self):
        raise RuntimeError("weights.bin is missing")


class NoReset:
    name = "no_reset"

    def act(self, observations, masks):
        return {}


class Searches(Good):
    name = "searches"

    def act(self, observations, masks):
        import gc

        kinds = {type(thing).__name__ for thing in gc.get_objects()}
        if kinds & {"CloudSchedVectorEnv", "Episode", "ParallelEnv"}:
            raise RuntimeError("found the cluster's state")
        return super().act(observations, masks)


class Stubborn(Good):
    name = "stubborn"

    def act(self, observations, masks):
        actions = super().act(observations, masks)
        actions["storage"][:] = 0
        return actions
"""


@pytest.fixture(scope="session")
def agents_file(tmp_path_factory) -> Path:
    """Agents that do what contributed agents should not."""
    file = tmp_path_factory.mktemp("agents") / "agents.py"
    file.write_text(AGENTS)
    return file


@pytest.fixture(scope="session")
def small_suite(tmp_path_factory) -> str:
    """Two scenarios, a few windows in batches of two, two runs; the path of its file."""
    windows = [{"seed": 11 + i} for i in range(3)]
    content = {
        "name": "small",
        "version": 1,
        "description": "For tests",
        "runs": 2,
        "workload": {"kind": "generated", "operator": "google2011"},
        "scenarios": [
            {"scenario": "tiny-v1", "batch": 2, "windows": windows},
            {"scenario": "tenants-4-per-tenant-v1", "batch": 2, "windows": windows[:2]},
        ],
    }
    file = tmp_path_factory.mktemp("suites") / "small-v1.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.fixture(scope="session")
def declarations(agents_file) -> list[Declaration]:
    """Two rules, one contributed agent with two trainings, one that crashes."""
    here = str(agents_file.parent)
    trained = Declaration(
        "trained", "{here}/agents.py:Good(seed={seed})", trainings=2, curves="curves/*.csv", folder=here,
        description="A rule in disguise", convergence_threshold=0.5,
    )  # fmt: skip
    curves = agents_file.parent / "curves"
    curves.mkdir(exist_ok=True)
    for seed in range(2):
        rows = [f"{1000 * k},{'' if k % 2 else 0.3 + 0.04 * k + 0.01 * seed}" for k in range(1, 25)]
        (curves / f"s{seed}.csv").write_text("env_steps,validation/team_reward\n" + "\n".join(rows) + "\n")
    crash = Declaration("aborts", "{here}/agents.py:Aborts", folder=here)
    return [*load_declarations(["balanced", "random", "linear_static"]), trained, crash]


@pytest.fixture(scope="session")
def played(small_suite, declarations, tmp_path_factory) -> Path:
    """Results of all of them with anchors; tests only read it."""
    out = tmp_path_factory.mktemp("results")
    run_suite(small_suite, declarations, out, command="cloudsched leaderboard run")
    compute_anchors(small_suite).write(out / "small-v1" / "anchors.json")
    return out
