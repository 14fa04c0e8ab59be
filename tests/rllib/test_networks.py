"""Policies: shapes, masks, probabilities, and independence of the size of the cluster."""

import dataclasses
import importlib
import itertools
import math

import numpy as np
import pytest
import torch

from cloudsched_env.rllib.networks import (
    ATTENTION,
    CRITIC,
    ROLES,
    TEAM,
    CentralCritic,
    NetworkConfig,
    RoleAttention,
    build_networks,
    build_policy,
    scales,
)
from cloudsched_env.rllib.networks.pair_features import PAIR_FEATURES, pair_features
from cloudsched_env.rllib.networks.pointer_score import pointer_score
from cloudsched_env.roles import compute, scheduler, state, storage
from cloudsched_env.scenario import NodeType
from tests.rllib.random_observations import cluster, random_observations, uniform

# A gain of 1 on the last layer: differences between choices are large enough to be seen.
CONFIG = NetworkConfig(hidden_sizes=(16,), embedding_size=8, pointer_size=8, context_size=8, last_layer_gain=1.0)
CONTEXT = dataclasses.replace(CONFIG, execution="full")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def policy_and_batch(role, batch=5, config=CONFIG, seed=1, **sizes):
    scenario = cluster(**sizes)
    observations, masks = random_observations(scenario, batch, seed)
    return build_policy(role, scenario, config), observations[role], masks[role]


# -- configuration


def test_config_survives_json_and_refuses_unknown_keys_by_name():
    config = NetworkConfig(hidden_sizes=(8, 4), similarity="bilinear", execution="role_summary")
    assert NetworkConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match=r"'hidden_size'.*hidden_sizes"):
        NetworkConfig.from_dict({"hidden_size": [8]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"similarity": "cosine"}, r"'similarity' is 'cosine': expected one of scaled_dot, additive"),
        ({"attention_heads": 5}, "divisor of context_size"),
        ({"execution": "full", "similarity": "off"}, "similarity is 'off'"),
        ({"hidden_sizes": ()}, r"'hidden_sizes' is \[\]"),
        ({"hidden_sizes": [8, 0]}, r"'hidden_sizes\[1\]' is 0"),
        ({"embedding_size": 0}, r"'embedding_size' is 0: expected 1 to"),
        ({"layer_norm": 1}, r"'layer_norm' is 1: expected bool"),
        ({"last_layer_gain": 0.0}, r"'last_layer_gain' is 0.0: expected 1e-09 to"),
    ],
)
def test_config_refuses_values_that_cannot_work(changes, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig.from_dict(changes)


# -- all policies


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("config", [CONFIG, CONTEXT], ids=["no context", "context"])
def test_evaluate_gives_the_log_probability_with_which_act_chose(role, config):
    policy, observations, masks = policy_and_batch(role, batch=6, config=config)
    lead = observations.shape[:2]
    context = torch.randn(*lead, config.context_size) if config.policy_context_size else None
    actions, log_prob = policy.act(observations, masks, context, False, torch.Generator().manual_seed(3))
    assert actions.dtype == torch.int64
    assert actions.shape == (*lead, len(policy.action_levels))
    again, entropy = policy.evaluate(observations, masks, actions, context)
    torch.testing.assert_close(again, log_prob)
    assert again.shape == entropy.shape == lead
    assert (log_prob < 0).any()


@pytest.mark.parametrize("role", ROLES)
def test_leading_batch_axes_are_arbitrary(role):
    policy, observations, masks = policy_and_batch(role, batch=6)
    actions, _ = policy.act(observations, masks)
    flat = policy.evaluate(observations, masks, actions)
    folded = policy.evaluate(*(x.unflatten(0, (2, 3)) for x in (observations, masks, actions)))
    for one, other in zip(flat, folded, strict=True):
        torch.testing.assert_close(one.unflatten(0, (2, 3)), other)


@pytest.mark.parametrize("role", ROLES)
def test_forbidden_choices_are_never_taken(role):
    policy, observations, masks = policy_and_batch(role, batch=200)
    masks = masks * (torch.rand(masks.shape) < 0.4)
    start = 0
    for levels in policy.action_levels:  # leave at least the last choice of each sub-action
        start += levels
        masks[..., start - 1] = 1
    for deterministic in (False, True):
        actions, log_prob = policy.act(observations, masks, deterministic=deterministic)
        parts = masks.split(policy.action_levels, -1)
        for index, part in enumerate(parts):
            assert (part.gather(-1, actions[..., index : index + 1]) == 1).all()
        assert log_prob.isfinite().all()


@pytest.mark.parametrize("role", ROLES)
def test_a_mask_that_allows_nothing_is_an_error_that_names_the_role(role):
    policy, observations, masks = policy_and_batch(role)
    masks[1, 1, : policy.action_levels[0]] = 0
    with pytest.raises(ValueError, match=f"'{role}'.*allows no action"):
        policy.act(observations, masks)


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_or_unexpected_context_is_an_error(role):
    policy, observations, masks = policy_and_batch(role)
    with pytest.raises(ValueError, match="expected no context"):
        policy.act(observations, masks, torch.zeros(5, observations.shape[1], 8))
    policy, observations, masks = policy_and_batch(role, config=CONTEXT)
    with pytest.raises(ValueError, match="expected a context of 8 numbers, got none"):
        policy.act(observations, masks)
    with pytest.raises(ValueError, match="8 numbers, got 3"):
        policy.act(observations, masks, torch.zeros(5, observations.shape[1], 3))


@pytest.mark.parametrize("role", ROLES)
def test_context_changes_what_a_policy_does(role):
    policy, observations, masks = policy_and_batch(role, config=CONTEXT)
    contexts = torch.randn(2, *observations.shape[:2], 8)
    actions, _ = policy.act(observations, masks, contexts[0])
    values = [policy.evaluate(observations, masks, actions, context)[0] for context in contexts]
    assert (values[0] - values[1]).abs().max() > 1e-4


@pytest.mark.parametrize("role", ROLES)
def test_sampling_is_reproducible_and_has_the_stated_frequencies(role):
    policy, observations, masks = policy_and_batch(role, batch=1, window_slots=2, compute_nodes=3)
    many = 20_000
    observations = observations[:1, :1].expand(many, 1, -1)
    masks = torch.ones_like(masks[:1, :1]).expand(many, 1, -1)
    draws = [policy.act(observations, masks, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(draws[0][0], draws[1][0])
    actions, log_prob = draws[0]
    choices, counts = actions.flatten(0, 1).unique(dim=0, return_counts=True)
    for choice, count in zip(choices, counts.tolist(), strict=True):
        index = (actions[:, 0] == choice).all(-1).nonzero()[0, 0]
        probability = math.exp(log_prob[index, 0])
        assert count / many == pytest.approx(probability, abs=4.5 * math.sqrt(probability / many) + 1e-4)


@pytest.mark.parametrize("role", ROLES)
def test_probabilities_of_all_joint_actions_sum_to_one_and_give_the_entropy(role):
    policy, observations, masks = policy_and_batch(role, batch=1, window_slots=3, compute_nodes=3)
    every = torch.tensor(list(itertools.product(*(range(levels) for levels in policy.action_levels))))
    rows = len(every)
    observations, masks = observations[:1, :1].expand(rows, 1, -1), torch.ones(rows, 1, masks.shape[-1])
    with torch.no_grad():
        log_prob, entropy = policy.evaluate(observations, masks, every[:, None])
    probability = log_prob.exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    # For the scheduler the entropy along one's own actions is an unbiased estimate of the joint entropy.
    assert float((probability * entropy).sum()) == pytest.approx(float(-(probability * log_prob).sum()), abs=1e-4)


@pytest.mark.parametrize("role", ROLES)
def test_every_parameter_gets_a_gradient(role):
    policy, observations, masks = policy_and_batch(role, batch=20, config=CONTEXT)
    context = torch.randn(*observations.shape[:2], 8)
    actions, _ = policy.act(observations, masks, context)
    log_prob, entropy = policy.evaluate(observations, masks, actions, context)
    (log_prob.sum() + entropy.sum()).backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("role", ROLES)
def test_a_new_policy_without_preferences_is_nearly_uniform(role):
    scenario = cluster()
    observations, masks = random_observations(scenario, 10, 1)
    policy = build_policy(role, scenario, NetworkConfig(level_preference=0.0, load_aversion=0.0))
    actions, _ = policy.act(observations[role], masks[role])
    _, entropy = policy.evaluate(observations[role], masks[role], actions)
    uniform_entropy = sum(part.sum(-1).float().log() for part in masks[role].split(policy.action_levels, -1))
    torch.testing.assert_close(entropy, uniform_entropy, atol=0.03, rtol=0.01)


@pytest.mark.parametrize("role", ["compute", "storage"])
def test_a_new_node_prefers_the_initial_levels(role):
    scenario = cluster()
    observations, _ = random_observations(scenario, 200, 1)
    policy = build_policy(role, scenario, NetworkConfig())
    masks = torch.ones(*observations[role].shape[:-1], sum(policy.action_levels), dtype=torch.int8)
    actions, _ = policy.act(observations[role], masks)
    levels = {"compute": compute, "storage": storage}[role].initial_levels(scenario)
    for position, level in enumerate(levels):
        preferred = math.exp(NetworkConfig().level_preference)
        expected = preferred / (preferred + policy.action_levels[position] - 1)
        assert float((actions[..., position] == level).float().mean()) == pytest.approx(expected, abs=0.08)
        assert set(actions[..., position].unique().tolist()) == set(range(policy.action_levels[position]))


# -- scheduler


def test_empty_slots_are_deferred_and_contribute_nothing():
    policy, observations, masks = policy_and_batch("scheduler", batch=1)
    slots, nodes = policy.slot_count, policy.node_count
    policy.layout.view(observations, "slots")[...] = 0
    masks = masks.reshape(1, 2, slots, nodes + 1)
    masks[..., :-1] = 0
    actions, log_prob = policy.act(observations, masks.flatten(-2))
    assert (actions == nodes).all()
    _, entropy = policy.evaluate(observations, masks.flatten(-2), actions)
    assert (log_prob == 0).all()
    assert (entropy == 0).all()


def test_scheduler_does_not_care_how_nodes_are_numbered():
    policy, observations, masks = policy_and_batch("scheduler", batch=4, window_slots=3, compute_nodes=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    renumbered = observations.clone()
    for name, axis in (("nodes", -2), ("pairs", -2)):
        block = policy.layout.view(observations, name)
        policy.layout.view(renumbered, name)[...] = block.index_select(axis % block.dim(), order)
    allowed = masks.unflatten(-1, (3, 6))
    moved = torch.cat((allowed[..., :-1][..., order], allowed[..., -1:]), -1).flatten(-2)
    actions, _ = policy.act(observations, masks)
    place = torch.cat((order.argsort(), torch.tensor([5])))  # old number -> new number; deferring stays
    for one, other in zip(
        policy.evaluate(observations, masks, actions), policy.evaluate(renumbered, moved, place[actions]), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_later_slots_see_what_earlier_ones_did_and_not_the_reverse():
    policy, observations, masks = policy_and_batch("scheduler", batch=2, window_slots=2, compute_nodes=3)
    with torch.no_grad():
        policy.layout.view(observations, "slots")[..., 0] = 1
    masks = torch.ones_like(masks)

    def conditional(first, second):
        both = torch.tensor([first, second]).expand(2, 2, 2)
        return policy.evaluate(observations, masks, both)[0]

    # log p(a0, a1) - log p(a0, a1') depends on a0 only through the second slot's distribution.
    ratios = [conditional(first, 0) - conditional(first, 1) for first in range(4)]
    assert (ratios[0] - ratios[1]).abs().max() > 1e-4
    # Summed over the second choice, the first slot's probability is that of the slot alone.
    alone = masks.clone().unflatten(-1, (2, 4))
    alone[..., 1, :-1] = 0
    for first in range(4):
        total = torch.stack([conditional(first, second) for second in range(4)]).logsumexp(0)
        actions = torch.tensor([first, 3]).expand(2, 2, 2)
        torch.testing.assert_close(total, policy.evaluate(observations, alone.flatten(-2), actions)[0])


def test_pair_features_follow_physics():
    scenario = cluster(schedulers=1, window_slots=2, compute_nodes=2).override(
        {"cluster.compute_nodes": (NodeType(1, 16.0, 32.0), NodeType(1, 8.0, 16.0))}
    )
    policy = build_policy("scheduler", scenario, CONFIG)
    layout = policy.layout
    observation = torch.zeros(1, layout.size)
    slots, nodes, pairs = (layout.view(observation, name) for name in ("slots", "nodes", "pairs"))

    def put(block, name, values):
        block[..., layout.block(names[id(block)]).index(name)] = torch.tensor(values)

    names = {id(slots): "slots", id(nodes): "nodes", id(pairs): "pairs"}
    put(slots, "present", [[1.0, 1.0]])
    put(slots, "cores", [[1.0, 0.5]])  # 4 and 2 cores
    put(slots, "memory", [[0.5, 0.25]])  # 4 and 2 GB
    put(slots, "estimated_read", [[2.0, 1.0]])
    put(slots, "scan_share", [[0.25, 0.0]])
    put(slots, "replica_congestion", [[0.5, 1.0]])
    put(slots, "same_job", [[0.0, 1.0]])
    put(nodes, "cores", [[1.0, 0.5]])  # 16 and 8 cores
    put(nodes, "execution_memory", [[0.5, 0.25]])  # 16 and 8 GB
    put(nodes, "running_cores_load", [[0.5, 1.0]])
    put(nodes, "queued_cores_load", [[0.1, 0.2]])
    put(nodes, "in_flight_cores_load", [[0.1, 0.3]])
    put(nodes, "running_memory_pressure", [[0.25, 0.75]])
    put(pairs, "warmth", [[[0.5, 0.0], [1.0, 0.25]]])
    put(pairs, "home", [[[1.0, 0.0], [0.0, 1.0]]])
    decision, _ = policy._prepare(observation, torch.ones(1, 6), None, None)
    rows, which = torch.zeros(2, dtype=torch.long), torch.arange(2)
    # The first task went to node 1 (8 cores): the second one finds 4 cores and 4 GB more there.
    assigned = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [4.0, 4.0]]])
    features = pair_features(decision.inputs, rows, which, assigned, torch.tensor([2, 1]))
    got = {name: features[..., i].tolist() for i, name in enumerate(PAIR_FEATURES)}
    expected = {
        "warmth": [[0.5, 0.0], [1.0, 0.25]],
        "home": [[1.0, 0.0], [0.0, 1.0]],
        "predicted_miss": [[2 * (0.25 + 0.75 * 0.5), 2.0], [0.0, 0.75]],
        "miss_at_congested_replicas": [[0.625, 1.0], [0.0, 0.75]],
        "task_load": [[0.25, 0.5], [0.125, 0.25]],
        "task_memory": [[0.25, 0.5], [0.125, 0.25]],
        "assigned_load": [[0.0, 0.0], [0.0, 0.5]],
        "assigned_memory": [[0.0, 0.0], [0.0, 0.5]],
        "load_after": [[0.95, 2.0], [0.825, 2.25]],
        "overload": [[0.0, 1.0], [0.0, 1.25]],
        "contention": [[0.0, 0.5], [0.0, 0.75]],
        "memory_after": [[0.5, 1.25], [0.375, 1.5]],
        "spill": [[0.0, 0.25], [0.0, 0.5]],
        "follows_job": [[0.0, 0.0], [0.0, 1.0]],
    }
    assert set(got) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, atol=1e-5, err_msg=name)


def test_blocked_score_equals_ordinary_layers_in_value_and_gradient(monkeypatch):
    # Two tasks a block, the last one partial.
    monkeypatch.setattr(importlib.import_module("cloudsched_env.rllib.networks.pointer_score"), "_BLOCK", 40)
    generator = torch.Generator().manual_seed(0)
    R, P, M, H, F = 3, 7, 5, 4, 6
    rows = torch.tensor([0, 0, 1, 2, 2, 2, 0])
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    inputs = [make(R, M, H), make(P, H), make(H, F), make(H)]
    features, upstream = make(P, M, F), make(P, M)

    def ordinary(nodes, tasks, weight, score):
        return (nodes[rows] + tasks[:, None] + features @ weight.T).relu() @ score

    def blocked(nodes, tasks, weight, score):
        return pointer_score(nodes, rows, tasks, features, weight, score)

    results = []
    for function in (ordinary, blocked):
        leaves = [value.clone().requires_grad_() for value in inputs]
        value = function(*leaves)
        value.backward(upstream)
        results.append([value.detach(), *(leaf.grad for leaf in leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


# -- size of the cluster


@pytest.mark.parametrize(("compute_nodes", "storage_nodes"), [(11, 7), (40, 30)], ids=["all seen", "candidates"])
def test_weights_transfer_to_any_cluster_size(compute_nodes, storage_nodes):
    config = dataclasses.replace(CONFIG, execution="role_summary")
    small = cluster()
    large = cluster(compute_nodes=compute_nodes, storage_nodes=storage_nodes, schedulers=5, window_slots=6)
    assert large.candidate_count == min(compute_nodes, large.scheduling.candidate_nodes)
    trained, other = build_networks(small, config), build_networks(large, config)
    observations, masks = random_observations(large, 3, 1)
    for name, network in other.items():
        network.load_state_dict(trained[name].state_dict())  # strict: same names, same shapes
    embeddings = {role: other[role].encode(observations[role]) for role in ROLES}
    contexts = other[ATTENTION](embeddings).contexts
    for role in ROLES:
        actions, log_prob = other[role].act(observations[role], masks[role], contexts[role])
        assert actions.shape[1] == large.role_counts[role]
        assert log_prob.isfinite().all()
    values = other[CRITIC](torch.rand(3, state.layout(large).size))
    assert {name: value.shape for name, value in values.items()} == dict.fromkeys((*ROLES, TEAM), (3,))


def test_duplicating_members_leaves_embeddings_and_values_unchanged():
    """Twice the same nodes are the same situation: pooling is by mean and maximum, never by sum."""
    config = dataclasses.replace(CONFIG, count_bias=False)
    small = cluster(compute_nodes=3, storage_nodes=3, window_slots=2)
    large = cluster(compute_nodes=6, storage_nodes=6, window_slots=2, schedulers=2)
    here, there = scheduler.layout(small), scheduler.layout(large)
    values = torch.from_numpy(uniform(np.random.default_rng(0), here, (1, 1)))
    doubled = torch.zeros(1, 1, there.size)
    for name in ("queue", "slots", "nodes", "storage", "pairs"):
        block = here.view(values, name)
        axis = {"nodes": 2, "storage": 2, "pairs": 3}.get(name)
        there.view(doubled, name)[...] = block if axis is None else torch.cat((block, block), axis)
    policy, other = (build_policy("scheduler", scenario, config) for scenario in (small, large))
    other.load_state_dict(policy.state_dict())
    torch.testing.assert_close(policy.encode(values), other.encode(doubled))

    critics = [CentralCritic(state.layout(scenario), config) for scenario in (small, large)]
    critics[1].load_state_dict(critics[0].state_dict())
    small_state, large_state = (torch.zeros(1, state.layout(scenario).size) for scenario in (small, large))
    small_state.copy_(torch.rand(small_state.shape))
    for block in state.layout(small).blocks:
        part = state.layout(small).view(small_state, block.name)
        grow = block.axes and block.name != "scheduler"
        state.layout(large).view(large_state, block.name)[...] = torch.cat((part, part), 1) if grow else part
    for name, value in critics[0](small_state).items():
        torch.testing.assert_close(value, critics[1](large_state)[name])


# -- attention


def embeddings_of(counts, size=8, batch=4):
    return {role: torch.randn(batch, count, size) for role, count in counts.items()}


COUNTS = {"compute": 4, "storage": 3, "scheduler": 2}


@pytest.mark.parametrize("similarity", ["scaled_dot", "additive", "bilinear", "mean"])
def test_attention_weights_are_a_distribution_over_roles(similarity):
    attention = RoleAttention(ROLES, 8, dataclasses.replace(CONFIG, similarity=similarity))
    embeddings = embeddings_of(COUNTS)
    out = attention(embeddings)
    for role, count in COUNTS.items():
        assert out.contexts[role].shape == (4, count, 8)
        assert out.weights[role].shape == (4, count, 3)
        torch.testing.assert_close(out.weights[role].sum(-1), torch.ones(4, count))
        assert (out.entropy[role] >= 0).all()
        assert (out.entropy[role] <= math.log(3) + 1e-5).all()
        spread = out.weights[role].std(-1).max()
        assert (spread < 1e-6) if similarity == "mean" else (spread > 1e-3)
    sum(context.sum() for context in out.contexts.values()).backward()
    used = {name for name, p in attention.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert used == {name for name, _ in attention.named_parameters()}


def test_scaled_dot_attention_is_the_textbook_formula():
    config = dataclasses.replace(CONFIG, attention_heads=2)
    attention = RoleAttention(ROLES, 8, config)
    with torch.no_grad():
        attention.count_weight.copy_(torch.tensor([0.5, -1.0]))
    embeddings = embeddings_of(COUNTS, batch=1)
    out = attention(embeddings)
    agent = embeddings["storage"][0, 1]
    summary = {role: attention.summarise[role](embeddings[role][0]).mean(0) for role in ROLES}
    query = attention.query["storage"](agent).view(2, 4)
    expected, weights = [], []
    for head in range(2):
        logits = torch.stack(
            [
                query[head] @ attention.key[r](summary[r]).view(2, 4)[head] / 2
                + attention.count_weight[head] * math.log(COUNTS[r])
                for r in ROLES
            ]
        )
        alpha = logits.softmax(0)
        weights.append(alpha)
        expected.append(sum(alpha[i] * attention.value[r](summary[r]).view(2, 4)[head] for i, r in enumerate(ROLES)))
    torch.testing.assert_close(out.contexts["storage"][0, 1], torch.cat(expected))
    torch.testing.assert_close(out.weights["storage"][0, 1], torch.stack(weights).mean(0))


def test_stale_summaries_can_be_passed_in_and_may_differ_between_receivers():
    attention = RoleAttention(ROLES, 8, CONFIG)
    old, new = embeddings_of(COUNTS), embeddings_of(COUNTS)
    stale = attention.summaries(old)
    shared = attention.contexts(new, stale).contexts
    fresh = attention(new).contexts
    assert (shared["compute"] - fresh["compute"]).abs().max() > 1e-3
    unequal = {
        receiver: {sender: stale[sender].unsqueeze(1).repeat(1, count, 1) for sender in ROLES}
        for receiver, count in COUNTS.items()
    }
    torch.testing.assert_close(attention.contexts(new, unequal).contexts, shared)
    # Compute node 2 of cluster 0 got the fresh summary of storage; nobody else is affected.
    unequal["compute"]["storage"][0, 2] = attention.summaries(new)["storage"][0]
    changed = (attention.contexts(new, unequal).contexts["compute"] - shared["compute"]).abs().amax(-1) > 1e-6
    assert changed.nonzero().tolist() == [[0, 2]]


def test_detached_summaries_stop_the_gradient_to_senders():
    for detach in (False, True):
        attention = RoleAttention(ROLES, 8, dataclasses.replace(CONFIG, detach_summaries=detach))
        embeddings = {role: value.requires_grad_() for role, value in embeddings_of(COUNTS).items()}
        attention(embeddings).contexts["compute"].sum().backward()
        assert (embeddings["storage"].grad is None) == detach
        assert embeddings["compute"].grad is not None


def test_attention_off_builds_none_and_the_critic_works_without_it():
    config = dataclasses.replace(CONFIG, similarity="off")
    scenario = cluster()
    networks = build_networks(scenario, config)
    assert ATTENTION not in networks
    values, attended = networks[CRITIC].with_attention(torch.rand(2, 3, state.layout(scenario).size))
    assert attended is None
    assert values["compute"].shape == (2, 3)
    with pytest.raises(ValueError, match="'off'"):
        RoleAttention(ROLES, 8, config)


@pytest.mark.parametrize("similarity", ["scaled_dot", "additive", "bilinear"])
def test_sparse_attention_keeps_the_k_most_similar_roles_of_each_head(similarity):
    config = dataclasses.replace(CONFIG, similarity=similarity, attention_heads=1, count_bias=False)
    attention = RoleAttention(ROLES, 8, config)
    embeddings = embeddings_of(COUNTS)
    full = attention(embeddings).weights["compute"]
    for count in (1, 2):
        attention.config = dataclasses.replace(config, attention_top_k=count)
        sparse = attention(embeddings).weights["compute"]
        assert ((sparse > 0).sum(-1) == count).all()
        kept = full * (sparse > 0)
        assert (kept.sum(-1) >= full.topk(count).values.sum(-1) - 1e-6).all()
        torch.testing.assert_close(sparse, kept / kept.sum(-1, keepdim=True))
    attention.config = dataclasses.replace(config, attention_top_k=3)
    torch.testing.assert_close(attention(embeddings).weights["compute"], full)


def test_heads_attend_to_roles_of_their_own():
    attention = RoleAttention(ROLES, 8, dataclasses.replace(CONFIG, attention_heads=4, attention_top_k=1))
    embeddings = embeddings_of(COUNTS, batch=50)
    out = attention(embeddings)
    # Averaged over four heads that pick one role each, weights are quarters, and heads do not always agree.
    assert torch.equal(out.weights["compute"] * 4, (out.weights["compute"] * 4).round())
    assert (out.weights["compute"].amax(-1) < 1).any()
    torch.testing.assert_close(out.entropy["compute"], torch.zeros(50, 4))


@pytest.mark.parametrize("role", ROLES)
def test_proposed_logits_are_added_and_linear_in_the_context(role):
    config = dataclasses.replace(CONTEXT, aggregate="logits")
    policy, observations, masks = policy_and_batch(role, config=config, window_slots=1, compute_nodes=3)
    masks = torch.ones_like(masks)
    context = torch.randn(*observations.shape[:2], 8)
    levels = policy.action_levels[0]

    def log_odds(scale):
        """Of all choices of the first sub-action against its first one; differences of logits."""
        values = []
        for choice in range(levels):
            actions = torch.zeros(*observations.shape[:2], len(policy.action_levels), dtype=torch.int64)
            actions[..., 0] = choice
            values.append(policy.evaluate(observations, masks, actions, scale * context)[0])
        return torch.stack(values[1:], -1) - values[0].unsqueeze(-1)

    one, two, three = (log_odds(scale) for scale in (0.0, 1.0, 2.0))
    torch.testing.assert_close(three - two, two - one, atol=1e-4, rtol=1e-4)
    assert (two - one).abs().max() > 1e-3
    actions, _ = policy.act(observations, masks, context)
    log_prob, entropy = policy.evaluate(observations, masks, actions, context)
    (log_prob.sum() + entropy.sum()).backward()
    assert policy.propose.weight.grad.abs().sum() > 0


def test_aggregated_values_are_the_attention_weighted_mean_of_what_roles_say():
    scenario = cluster()
    config = dataclasses.replace(CONFIG, aggregate="value")
    critic = build_networks(scenario, config)[CRITIC]
    states = torch.rand(6, state.layout(scenario).size)
    values, attended = critic.with_attention(states)
    plain = dataclasses.replace(config, similarity="off", aggregate="features")
    alone = CentralCritic(state.layout(scenario), plain)
    alone.load_state_dict(critic.state_dict(), strict=False)
    said = torch.stack([alone(states)[role] for role in ROLES], -1)
    for role in ROLES:
        expected = (attended.weights[role].squeeze(-2) * said).sum(-1)
        torch.testing.assert_close(values[role], expected)
    assert (values["compute"] - said[..., 0]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregate": "logits"}, "execution is 'none'"),
        ({"aggregate": "value", "similarity": "off"}, "other than 'off'"),
        ({"attention_top_k": -1}, "attention_top_k"),
        ({"role_map": "random"}, "random:<seed>"),
        ({"memory": "lstm"}, "gru"),
        ({"critic": "agents"}, "local"),
    ],
)
def test_config_refuses_what_has_nothing_to_work_on(changes, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**changes)


# -- critic


def test_critic_values_ignore_the_order_of_members_but_not_their_content():
    scenario = cluster()
    layout = state.layout(scenario)
    critic = CentralCritic(layout, CONFIG)
    states = torch.rand(5, layout.size)
    values = critic(states)
    shuffled, changed = states.clone(), states.clone()
    nodes = layout.view(states, "compute")
    layout.view(shuffled, "compute")[...] = nodes[:, torch.tensor([2, 0, 3, 1])]
    layout.view(changed, "compute")[:, 0] += 1
    for name, value in values.items():
        torch.testing.assert_close(critic(shuffled)[name], value)
        assert (critic(changed)[name] - value).abs().max() > 1e-4, name  # storage sees it by attention only


def test_every_parameter_of_the_critic_gets_a_gradient():
    scenario = cluster()
    critic = CentralCritic(state.layout(scenario), CONFIG)
    sum(value.sum() for value in critic(torch.rand(20, state.layout(scenario).size)).values()).backward()
    for name, parameter in critic.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# -- input scales


def test_every_observed_field_has_a_measured_scale():
    """A new field needs a new run of benchmarks/input_scales.py."""
    scenario = cluster()
    layouts = [build_policy(role, scenario, CONFIG).layout for role in ROLES] + [state.layout(scenario)]
    groups = {f"{x.role}.{b.name}": {field.name for field in b.fields} for x in layouts for b in x.blocks}
    groups["scheduler.pair_features"] = set(PAIR_FEATURES)
    assert {group: set(fields) for group, fields in scales._table().items()} == groups


def test_standardised_inputs_have_unit_spread_and_bounded_extremes():
    mean, std = scales._table()["scheduler.slots"]["cores"]
    layer = scales.Standardise("scheduler.slots", ["cores", "no_such_field"])
    out = layer(torch.tensor([[mean, 0.5], [mean + 2 * std, 0.5], [1e6, -1e6]]))
    torch.testing.assert_close(out, torch.tensor([[0.0, 0.5], [2.0, 0.5], [scales.LIMIT, -scales.LIMIT]]))
    assert not layer.state_dict()


def test_inputs_can_be_left_as_observed():
    values = torch.randn(4, 1) * 100
    assert torch.equal(scales.Standardise("scheduler.slots", ["cores"], enabled=False)(values), values)
    observed = build_policy("compute", cluster(), dataclasses.replace(CONFIG, standardise_inputs=False))
    standardised = build_policy("compute", cluster(), CONFIG)
    standardised.load_state_dict(observed.state_dict())
    inputs = torch.rand(2, 3, observed.layout.size)
    assert (observed.encode(inputs) - standardised.encode(inputs)).abs().max() > 1e-3
