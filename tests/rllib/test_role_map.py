"""The role map: who shares a policy, and that nothing is lost between the environment's arrays and the roles'."""

import dataclasses

import numpy as np
import pytest
import torch

from cloudsched_env.agents.protocol import ClusterInfo
from cloudsched_env.rllib.networks import CRITIC, TEAM, NetworkConfig, TrainedAgent, build_networks, save_policy
from cloudsched_env.rllib.role_map import AGENT_TYPES, RoleMap
from cloudsched_env.roles import compute, scheduler, state, storage
from cloudsched_env.scenario import load_scenario
from tests.rllib.random_observations import cluster, random_observations

CONFIG = NetworkConfig(hidden_sizes=(16,), embedding_size=8, pointer_size=8, context_size=8, last_layer_gain=1.0)
MAPS = ("agent_type", "node_size", "shared", "random:3")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scenario():
    return load_scenario("paper-v1", {"scheduling.window_slots": 3})


def batch_of(scenario, batch=3, seed=0):
    return tuple({k: v.numpy() for k, v in part.items()} for part in random_observations(scenario, batch, seed))


@pytest.mark.parametrize("name", MAPS)
def test_every_agent_has_exactly_one_role(scenario, name):
    role_map = RoleMap(scenario, name)
    held = [(t, i) for role in role_map.roles.values() for t, members in role.members.items() for i in members]
    assert sorted(held) == sorted((t, i) for t in AGENT_TYPES for i in range(scenario.role_counts[t]))
    assert sum(role_map.counts.values()) == len(held)
    for role, described in role_map.roles.items():
        for kind, members in described.members.items():
            assert {role_map.role_of(f"{kind}_{i}") for i in members} == {role}


def test_small_and_large_compute_nodes_are_told_apart_by_cores(scenario):
    roles = RoleMap(scenario, "node_size").roles
    cores = np.repeat(
        [t.cores for t in scenario.cluster.compute_nodes], [t.count for t in scenario.cluster.compute_nodes]
    )
    small, large = (cores[list(roles[f"compute_{size}"].members["compute"])] for size in ("small", "large"))
    assert small.max() < large.min()
    with pytest.raises(ValueError, match="at least two sizes"):
        RoleMap(cluster(), "node_size")


def test_a_random_map_keeps_the_sizes_of_roles_and_mixes_types(scenario):
    first, again, other = (RoleMap(scenario, f"random:{seed}") for seed in (3, 3, 4))
    assert list(first.counts.values()) == list(scenario.role_counts.values())
    assert first.roles == again.roles
    assert first.roles != other.roles
    assert any(len(role.members) > 1 for role in first.roles.values())


@pytest.mark.parametrize("name", ["random", "random:-1", "random:x", "agents"])
def test_what_is_no_map_is_refused(name):
    with pytest.raises(ValueError, match="random:<seed>"):
        RoleMap(cluster(), name)


@pytest.mark.parametrize("name", MAPS)
def test_what_agents_see_and_choose_survives_the_way_to_roles_and_back(scenario, name):
    """Every agent keeps its observation and reward, and its action and mask lie at the same choices."""
    role_map = RoleMap(scenario, name)
    observations, masks = batch_of(scenario)
    rewards = {t: np.random.default_rng(1).random(observations[t].shape[:-1]).astype(np.float32) for t in AGENT_TYPES}
    seen, allowed, earned = role_map.observations(observations), role_map.masks(masks), role_map.values(rewards)
    rng = np.random.default_rng(0)
    actions = {}
    for role, described in role_map.roles.items():
        start = 0
        assert seen[role].shape == (3, described.count, described.layout.size)
        assert allowed[role].shape == (3, described.count, sum(described.action_levels))
        for kind, members in described.members.items():
            place = slice(start, start + len(members))
            start += len(members)
            here = observations[kind][:, list(members)]
            np.testing.assert_array_equal(seen[role][:, place, : here.shape[-1]], here)
            np.testing.assert_array_equal(earned[role][:, place], rewards[kind][:, list(members)])
            if described.padded:
                assert (seen[role][:, place, here.shape[-1] : -3] == 0).all()
                expected = np.eye(3)[AGENT_TYPES.index(kind)]
                assert (seen[role][:, place, -3:] == expected).all()
        # Some allowed choice of each sub-action.
        parts = np.split(allowed[role], np.cumsum(described.action_levels)[:-1], axis=-1)
        noise = [np.where(part > 0, rng.random(part.shape), -1.0) for part in parts]
        actions[role] = np.stack([n.argmax(-1) for n in noise], -1)
        assert all((part.sum(-1) >= 1).all() for part in parts)
    joined = role_map.join(actions)
    modules = {"compute": compute, "storage": storage, "scheduler": scheduler}
    for kind in AGENT_TYPES:
        levels = modules[kind].action_levels(scenario)
        assert joined[kind].shape == (*masks[kind].shape[:2], len(levels))
        parts = np.split(masks[kind], np.cumsum(levels)[:-1], axis=-1)
        for k, part in enumerate(parts):  # an allowed choice of the role is an allowed one of the agent
            assert (np.take_along_axis(part, joined[kind][..., k : k + 1], -1) == 1).all()
    # Free choices are as many as before: padding allows one level of what an agent does not have.
    free = {t: (masks[t] > 0).sum(-1) - len(modules[t].action_levels(scenario)) for t in AGENT_TYPES}
    padded = {role: (allowed[role] > 0).sum(-1) - len(role_map.roles[role].action_levels) for role in role_map.roles}
    for role, values in role_map.values(free).items():
        np.testing.assert_array_equal(padded[role], values)


@pytest.mark.parametrize("name", MAPS)
def test_networks_follow_the_map_and_every_parameter_learns(scenario, name):
    role_map = RoleMap(scenario, name)
    networks = build_networks(scenario, dataclasses.replace(CONFIG, role_map=name, execution="full"))
    assert set(networks) == {*role_map.names, "attention", CRITIC}
    observations, masks = batch_of(scenario, batch=40)
    seen = {r: torch.from_numpy(v) for r, v in role_map.observations(observations).items()}
    allowed = {r: torch.from_numpy(v) for r, v in role_map.masks(masks).items()}
    embeddings = {role: networks[role].encode(seen[role]) for role in role_map.names}
    contexts = networks["attention"](embeddings).contexts
    total = 0.0
    for role in role_map.names:
        actions, chosen = networks[role].act(seen[role], allowed[role], contexts[role].detach())
        log_probs, entropies = networks[role].evaluate(seen[role], allowed[role], actions, contexts[role])
        torch.testing.assert_close(log_probs, chosen)
        total = total + log_probs.sum() + entropies.sum()
    values = networks[CRITIC](torch.rand(40, state.layout(scenario).size))
    assert set(values) == {*role_map.names, TEAM}
    (total + sum(value.sum() for value in values.values())).backward()
    for network in networks.values():
        for parameter_name, parameter in network.named_parameters():
            assert parameter.grad is not None, parameter_name


def test_random_groups_have_as_many_parameters_as_roles_and_one_shared_network_has_its_own_width():
    scenario = load_scenario("paper-v1")

    def parameters(name):
        networks = build_networks(scenario, NetworkConfig(role_map=name))
        return [sum(p.numel() for p in networks[r].parameters()) for r in RoleMap(scenario, name).names]

    roles, control = parameters("agent_type"), parameters("random:0")
    assert len(control) == 3
    assert sum(control) == pytest.approx(sum(roles), rel=0.05)
    assert len(parameters("shared")) == 1


def test_the_critic_pools_the_members_of_each_role(scenario):
    layout = state.layout(scenario)
    critic = build_networks(scenario, dataclasses.replace(CONFIG, role_map="node_size", similarity="off"))[CRITIC]
    roles = RoleMap(scenario, "node_size").roles
    states = torch.rand(2, layout.size)
    changed = states.clone()
    layout.view(changed, "compute")[:, roles["compute_large"].members["compute"][0]] += 1
    before, after = critic(states), critic(changed)
    moved = {role for role in before if not torch.allclose(before[role], after[role])}
    assert moved == {"compute_large", TEAM}


def test_a_new_padded_policy_prefers_the_initial_levels_of_each_type(scenario):
    network = build_networks(scenario, NetworkConfig(role_map="shared", last_layer_gain=0.01, level_preference=3.0))[
        "shared"
    ]
    role_map = RoleMap(scenario, "shared")
    observations, masks = batch_of(scenario, batch=100)
    masks["compute"][:], masks["storage"][:] = 1, 1
    seen, allowed = role_map.observations(observations)["shared"], role_map.masks(masks)["shared"]
    actions, _ = network.act(torch.from_numpy(seen), torch.from_numpy(allowed))
    joined = role_map.join({"shared": actions.numpy()})
    for kind, module in (("compute", compute), ("storage", storage)):
        for k, level in enumerate(module.initial_levels(scenario)):
            assert (joined[kind][..., k] == level).mean() > 0.75


def test_a_shared_policy_tells_types_apart_by_the_one_hot_alone(scenario):
    network = build_networks(scenario, dataclasses.replace(CONFIG, role_map="shared"))["shared"]
    role = RoleMap(scenario, "shared").roles["shared"]
    same = torch.zeros(1, 3, role.layout.size)
    same[0, :, -3:] = torch.eye(3)
    logits = network.logits(same)[0]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", MAPS)
def test_exported_policies_act_by_their_map(tmp_path, scenario, name):
    config = dataclasses.replace(CONFIG, role_map=name, execution="role_summary")
    networks = build_networks(scenario, config)
    save_policy(tmp_path, networks, scenario, config, {"algorithm": name})
    agent = TrainedAgent(tmp_path)
    assert agent.config.role_map == name
    modules = {"compute": compute, "storage": storage, "scheduler": scheduler}
    info = ClusterInfo(
        scenario,
        {t: m.layout(scenario) for t, m in modules.items()},
        {t: m.action_levels(scenario) for t, m in modules.items()},
        scenario.role_counts,
    )
    agent.reset(info, 3, 0)
    observations, masks = batch_of(scenario)
    for _ in range(2):
        actions = agent.act(observations, masks)
        for kind in AGENT_TYPES:
            assert actions[kind].shape == (3, scenario.role_counts[kind], len(info.action_levels[kind]))
            assert (actions[kind] < info.action_levels[kind]).all()


@pytest.mark.ray
@pytest.mark.parametrize("name", ["node_size", "shared", "random:1"])
def test_training_follows_the_map_from_the_runner_to_the_normalisers(ray_local, name):
    from cloudsched_env.rllib.results import epoch_row
    from tests.rllib.toy_env import toy_config

    algorithm = toy_config({"roles.map": name, "epoch_env_steps": 800}).build_algo()
    try:
        row = epoch_row(algorithm.train(), 1, 0.0)
        roles = RoleMap(load_scenario("tiny-v1"), name).names
        state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
        assert set(state) == {*roles, "central_critic"}
        for role in roles:
            assert 0 <= row[f"{role}/clipped_share"] <= 1
            assert row[f"{role}/gradient_norm"] > 0
            assert state["central_critic"][f"normalisers.{role}.weight"] > 0
            assert np.isfinite(row[f"central_critic/explained_variance_{role}"])
    finally:
        algorithm.stop()
