"""Agents with a recurrent state: what is recorded is what is trained on, and it helps where telemetry has gone."""

import dataclasses

import numpy as np
import pytest
import torch

from cloudsched_env.rllib.networks import NetworkConfig, TrainedAgent, build_networks, build_policy, save_policy
from tests.rllib.random_observations import cluster, random_observations

CONFIG = NetworkConfig(
    hidden_sizes=(16,),
    embedding_size=8,
    pointer_size=8,
    context_size=8,
    last_layer_gain=1.0,
    level_preference=0.0,
    memory="gru",
)


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def test_recalling_a_sequence_is_remembering_step_by_step_and_forgets_with_the_episode():
    policy = build_policy("compute", cluster(), CONFIG)
    embeddings, memories = torch.randn(5, 3, 4, 8), torch.randn(3, 4, 8)
    begins = torch.zeros(5, 3, dtype=torch.bool)
    begins[2, 1] = True
    states = policy.recall(embeddings, memories, begins)
    held = memories
    for t in range(5):
        held = held.clone()
        held[begins[t]] = 0
        held = policy.remember(embeddings[t], held)
        torch.testing.assert_close(states[t], held)
    fresh = policy.recall(embeddings[2:], torch.zeros(3, 4, 8), torch.zeros(3, 3, dtype=torch.bool))
    torch.testing.assert_close(states[2:, 1], fresh[:, 1])
    assert (states[2:, 0] - fresh[:, 0]).abs().max() > 1e-4
    with pytest.raises(AssertionError):
        torch.testing.assert_close(states[2:, 0], fresh[:, 0])


def test_without_memory_nothing_is_remembered():
    policy = build_policy("compute", cluster(), dataclasses.replace(CONFIG, memory="none"))
    embeddings = torch.randn(2, 3, 8)
    assert policy.remember(embeddings, torch.randn(2, 3, 8)) is embeddings
    assert not [name for name in policy.state_dict() if "memory" in name]


def test_an_agent_with_memory_holds_on_to_what_it_saw_and_forgets_at_reset(tmp_path):
    from tests.rllib.test_trained_agent import info_of

    scenario = cluster()
    save_policy(tmp_path, build_networks(scenario, CONFIG), scenario, CONFIG, {})
    agent = TrainedAgent(tmp_path, deterministic=True)
    now, masks = ({k: v.numpy() for k, v in part.items()} for part in random_observations(scenario, 100, 0))
    before = [{k: v.numpy() for k, v in random_observations(scenario, 100, seed)[0].items()} for seed in (1, 2)]
    chosen = []
    for past in (*before, before[0], None):
        agent.reset(info_of(scenario), 100, 0)
        if past is not None:
            agent.act(past, masks)
        chosen.append(agent.act(now, masks)["compute"])
    assert (chosen[0] != chosen[1]).any()
    assert (chosen[0] == chosen[2]).all()
    assert (chosen[0] != chosen[3]).any()


def test_a_node_learns_to_act_on_what_it_saw_a_step_ago():
    """The right level is shown for one step and asked for in the next: without memory chance is the best."""

    def accuracy(memory):
        torch.manual_seed(0)
        policy = build_policy("storage", cluster(), dataclasses.replace(CONFIG, memory=memory))
        optimiser = torch.optim.Adam(policy.parameters(), lr=1e-2)
        masks = torch.ones(256, 1, sum(policy.action_levels), dtype=torch.int8)
        kept = 0.0
        for update in range(150):
            right = torch.randint(0, policy.action_levels[0], (256,))
            shown, asked = torch.zeros(2, 256, 1, policy.layout.size).unbind(0)
            shown[:, 0, 1] = right.float()
            embedded = policy.encode(torch.stack((shown, asked)))
            states = (
                policy.recall(embedded, torch.zeros(256, 1, 8), torch.zeros(2, 256, dtype=torch.bool))
                if memory == "gru"
                else embedded
            )
            actions, _ = policy.act(asked, masks, embeddings=states[1])
            reward = (actions[:, 0, 0] == right).float()
            log_prob, _ = policy.evaluate(asked, masks, actions, embeddings=states[1])
            optimiser.zero_grad()
            (-(log_prob[:, 0] * (reward - reward.mean()))).mean().backward()
            optimiser.step()
            if update >= 140:
                kept += float(reward.mean()) / 10
        return kept, policy.action_levels[0]

    with_memory, levels = accuracy("gru")
    without, _ = accuracy("none")
    assert without < 1.3 / levels
    assert with_memory > 0.6


@pytest.fixture
def runner(ray_local):
    from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
    from tests.rllib.toy_env import toy_config

    def make(changes=None):
        config = toy_config({"networks.memory": "gru", "sampling.rollout_steps": 30, **(changes or {})})
        return config, RoleBatchedEnvRunner(config=config, worker_index=0)

    return make


@pytest.mark.ray
@pytest.mark.parametrize("execution", ["none", "role_summary"])
def test_stored_sequences_give_back_the_probabilities_of_acting(runner, execution):
    from cloudsched_env.rllib.stored_rollouts import StoredRollouts

    _, made = runner({"networks.execution": execution})
    (rollout,) = made.sample()
    stored = StoredRollouts.of([rollout])
    assert rollout.truncated[:-1].any()
    with torch.no_grad():
        output = made.module.forward_train(stored.roles)
        rows = {
            role: {name: values.flatten(0, 1) for name, values in columns.items()}
            for role, columns in stored.roles.items()
        }
        alone = made.module.forward_train(rows)
    for role, columns in rollout.roles.items():
        np.testing.assert_allclose(output[role]["log_probs"], columns["log_probs"], atol=1e-4)
        np.testing.assert_allclose(alone[role]["log_probs"], columns["log_probs"].reshape(30 * 40, -1), atol=1e-4)
    memories = rollout.roles["compute"]["memories"]
    t, b = rollout.cut_index[0]
    assert (memories[t + 1, b] == 0).all()
    assert (memories[t, b] != 0).any()


@pytest.mark.ray
def test_minibatches_of_sequences_cover_every_step_once_in_order(runner):
    from cloudsched_env.rllib.learner import HRACLearner
    from cloudsched_env.rllib.modules import spaces
    from cloudsched_env.scenario import load_scenario

    config, made = runner()
    learner = HRACLearner(
        config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces(load_scenario("tiny-v1")))
    )
    learner.build()
    (rollout,) = made.sample()
    sequences = learner._sequences(2 * len(rollout), [rollout])
    assert sequences.shape == (10, 2 * len(rollout) // 10)
    assert sorted(sequences.flatten().tolist()) == list(range(2 * len(rollout)))
    assert (sequences[1:] - sequences[:-1] == 40).all()  # 40 clusters: the next step of the same cluster
    before = {name: value.clone() for name, value in learner.module["compute"].state_dict().items()}
    learner.update(episodes=[rollout], num_epochs=1, minibatch_size=400)
    after = learner.module["compute"].state_dict()
    assert (after["network.memory.weight_hh"] != before["network.memory.weight_hh"]).any()


@pytest.mark.ray
def test_chunks_must_divide_roll_outs(runner):
    from cloudsched_env.rllib.learner import HRACLearner
    from cloudsched_env.rllib.modules import spaces
    from cloudsched_env.scenario import load_scenario

    config, _ = runner({"networks.memory_chunk": 7})
    learner = HRACLearner(
        config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces(load_scenario("tiny-v1")))
    )
    with pytest.raises(ValueError, match=r"divisor of sampling.rollout_steps \(30\)"):
        learner.build()
