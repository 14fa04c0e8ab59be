"""The scheduler's linear path over the features of linear rules: the same numbers, and with them the same choices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cloudsched_env.agents import ClusterInfo
from cloudsched_env.agents.linear import LinearParameters, features, linear_agent
from cloudsched_env.roles import compute, scheduler, storage

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

from cloudsched_env.rllib.networks import (  # noqa: E402
    NetworkConfig,
    TrainedAgent,
    build_networks,
    load_policy,
    save_policy,
)
from cloudsched_env.rllib.networks.residual import set_rule, with_rule  # noqa: E402
from tests.rllib.random_observations import cluster, random_observations  # noqa: E402

SCENARIO = cluster()
CONFIG = NetworkConfig(rule_features=True)


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def policy_of(config: NetworkConfig = CONFIG):
    return build_networks(SCENARIO, config)["scheduler"]


def silenced(policy):
    """The same policy with nothing but the linear path of the rule."""
    with torch.no_grad():
        for layer in (policy.score, policy.direct, policy.defer):
            for parameter in layer.parameters():
                parameter.zero_()
    return policy


def playable(parameters: LinearParameters) -> LinearParameters:
    """The rule without the one feature that looks at the decision before, and less inclined to defer.

    Random clusters are so crowded that rules for real ones would send nothing anywhere.
    """
    weights = {group: dict(values) for group, values in parameters.weights.items()}
    weights["placement"]["same_node_as_job"] = 0.0
    weights["defer"]["bias"] -= 20.0
    return replace(parameters, weights=weights)


def test_the_features_are_those_of_the_compiled_rules():
    """`features.fill_pair_features` in plain Python, task by task and node by node, is the oracle."""
    policy = policy_of()
    observations, masks = random_observations(SCENARIO, batch=3, seed=4)
    seen = observations["scheduler"].reshape(-1, policy.layout.size)
    decision, allowed = policy._prepare(seen, masks["scheduler"], None, None)
    generator = torch.Generator().manual_seed(0)
    taken = torch.randint(0, policy.node_count + 1, (len(seen), policy.slot_count), generator=generator)
    rows, slots = policy._open(allowed).nonzero(as_tuple=True)
    assigned, previous = policy._history(decision, taken, rows, slots)
    found = policy._rule_features(decision, decision.rule, rows, slots, assigned, previous)

    layout, values = policy.layout, seen.numpy().astype(np.float64)
    queue, slot_block, node_block, pair_block = (
        layout.view(values, name) for name in ("queue", "slots", "nodes", "pairs")
    )
    slot_at = {entry.name: i for i, entry in enumerate(scheduler.SLOT_FIELDS)}
    node_at = {entry.name: i for i, entry in enumerate(scheduler.NODE_FIELDS)}
    largest = SCENARIO.cluster.compute_nodes[0]
    expected = np.empty(found.shape)
    situation = np.empty(6)
    for p, (row, slot) in enumerate(zip(rows.tolist(), slots.tolist(), strict=True)):
        task = slot_block[row, slot]
        task_cores, task_gb = 4.0 * task[slot_at["cores"]], 8.0 * task[slot_at["memory"]]
        features.task_situation.py_func(queue[row], task, situation)
        for n in range(policy.node_count):
            node = node_block[row, n]
            earlier = [j for j in range(slot) if taken[row, j] == n]
            added_cores = sum(4.0 * slot_block[row, j, slot_at["cores"]] for j in earlier)
            added_gb = sum(8.0 * slot_block[row, j, slot_at["memory"]] for j in earlier)
            cores = node[node_at["cores"]] * largest.cores
            execution_gb = node[node_at["execution_memory"]] * largest.memory_gb
            own = node[node_at["in_flight_cores_load"]] + added_cores / cores
            parts = ("running", "queued")
            load = sum(node[node_at[f"{part}_cores_load"]] for part in parts) + own + task_cores / cores
            pressure = sum(node[node_at[f"{part}_memory_pressure"]] for part in (*parts, "in_flight"))
            pressure += (added_gb + task_gb) / execution_gb
            same = task[slot_at["same_job"]] if slot and taken[row, slot - 1] == n else 0.0
            share = task_gb / (node[node_at["memory"]] * largest.memory_gb)
            warmth, home = pair_block[row, slot, n]
            features.fill_pair_features.py_func(
                task, node, warmth, home, same, load, own, pressure, share, situation, expected[p, n]
            )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert len(rows) > 5
    assert np.abs(expected).max(axis=(0, 1)).min() > 0.0, "a feature is zero everywhere: it was not compared"


@pytest.mark.parametrize("kind", ["static", "feedback"])
def test_a_network_that_says_nothing_plays_the_rule(kind):
    rule = playable(LinearParameters.packaged(kind))
    policy = silenced(policy_of())
    set_rule(policy, rule, 2.0)
    agent = linear_agent("rule", rule)
    modules = {"compute": compute, "storage": storage, "scheduler": scheduler}
    agent.reset(
        ClusterInfo(
            SCENARIO,
            {role: module.layout(SCENARIO) for role, module in modules.items()},
            {role: module.action_levels(SCENARIO) for role, module in modules.items()},
            SCENARIO.role_counts,
        ),
        64,
        0,
    )
    observations, masks = random_observations(SCENARIO, batch=64, seed=1, presence=0.9)
    chosen, _ = policy.act(observations["scheduler"], masks["scheduler"], deterministic=True)
    wanted = agent.act(
        {role: values.numpy() for role, values in observations.items()},
        {role: values.numpy() for role, values in masks.items()},
    )["scheduler"]
    np.testing.assert_array_equal(chosen.numpy(), wanted)
    deferred = (wanted == policy.node_count).mean()
    assert 0.2 < deferred < 0.8


def test_weights_of_the_path_begin_at_zero_and_change_nothing():
    torch.manual_seed(3)
    plain = policy_of(NetworkConfig())
    torch.manual_seed(3)
    policy = policy_of()
    observations, masks = random_observations(SCENARIO, batch=8, seed=2)
    inputs = (observations["scheduler"], masks["scheduler"])
    taken, log_prob = plain.act(*inputs, deterministic=True)
    again, same = policy.act(*inputs, deterministic=True)
    assert torch.equal(taken, again)
    assert torch.equal(log_prob, same)


def test_the_path_is_trained_with_the_rest():
    policy = policy_of()
    observations, masks = random_observations(SCENARIO, batch=8, seed=2)
    actions, _ = policy.act(observations["scheduler"], masks["scheduler"])
    log_prob, _ = policy.evaluate(observations["scheduler"], masks["scheduler"], actions)
    log_prob.square().sum().backward()
    assert policy.rule.weight.grad.abs().min() > 0.0
    assert policy.rule_defer.weight.grad.abs().max() > 0.0


def test_a_policy_with_a_rule_keeps_its_own_weights_and_survives_the_disk(tmp_path):
    config = NetworkConfig()
    save_policy(tmp_path / "own", build_networks(SCENARIO, config), SCENARIO, config, {"deterministic": True})
    own = load_policy(tmp_path / "own")
    joined = with_rule(own, LinearParameters.packaged("feedback"), 1.5)
    save_policy(tmp_path / "joined", joined.networks, joined.scenario, joined.config, joined.metadata)
    again = load_policy(tmp_path / "joined")
    assert again.config.rule_features
    for role, network in own.networks.items():
        stored = again.networks[role].state_dict()
        for name, value in network.state_dict().items():
            assert torch.equal(stored[name], value)
    weights = again.networks["scheduler"].rule.weight[0].tolist()
    expected = 1.5 * LinearParameters.packaged("feedback").group("placement")
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert TrainedAgent(tmp_path / "joined").deterministic


def test_only_a_scheduler_with_the_path_can_be_given_a_rule():
    with pytest.raises(ValueError, match="rule_features=true"):
        set_rule(policy_of(NetworkConfig()), LinearParameters.packaged("static"), 1.0)
    with pytest.raises(ValueError, match="rule_features=true"):
        set_rule(build_networks(SCENARIO, CONFIG)["compute"], LinearParameters.packaged("static"), 1.0)
