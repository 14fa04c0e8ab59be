"""Roll-outs of each scenario version, rounded and hashed: a change of behaviour needs a new version.

Regenerate with ``python -m tests.simulator.test_golden_rollouts`` after a deliberate change, together with a new
version of the scenario (or, before the first release, a line in CHANGELOG.md).
"""

import hashlib
import json
import pathlib

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario, scenario_ids
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv

GOLDEN = pathlib.Path(__file__).with_name("golden_rollouts.json")
STEPS = {30: 200, 60: 60, 300: 10, 2000: 3}  # by agents at most: large clusters are the same code on more nodes


def steps_of(scenario: str) -> int:
    """How many steps of a scenario are hashed."""
    agents = sum(load_scenario(scenario).role_counts.values())
    return next(steps for most, steps in STEPS.items() if agents <= most)


def rollout_hash(scenario: str) -> str:
    """Hash of what agents see and earn, to four digits: last bits may differ between processors."""
    env = CloudSchedVectorEnv(scenario, 1)
    env.reset([0])
    rng = np.random.default_rng(1)
    digest = hashlib.sha256()
    for _ in range(steps_of(scenario)):
        env.step(
            {
                role: rng.integers(0, env.action_levels[role], (1, env.role_counts[role], len(env.action_levels[role])))
                for role in ROLES
            }
        )
        means = [float(env.observations[role].mean(dtype=np.float64)) for role in ROLES]
        means += [float(env.local_rewards[role].mean(dtype=np.float64)) for role in ROLES]
        digest.update(json.dumps([f"{value:.4f}" for value in (*means, float(env.team_reward[0]))]).encode())
    return digest.hexdigest()


def test_every_shipped_scenario_is_guarded():
    assert sorted(json.loads(GOLDEN.read_text())) == sorted(scenario_ids())


@pytest.mark.parametrize("scenario", scenario_ids())
def test_behaviour_of_a_scenario_version_does_not_change(scenario):
    assert rollout_hash(scenario) == json.loads(GOLDEN.read_text())[scenario]


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({scenario: rollout_hash(scenario) for scenario in sorted(scenario_ids())}, indent=2) + "\n"
    )
