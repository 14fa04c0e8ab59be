"""The mixers: monotonic in every utility, indifferent to the order and the number of agents."""

import itertools

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.rllib.networks import NetworkConfig
from cloudsched_env.rllib.networks.mixer import MonotonicMixer, SumMixer
from cloudsched_env.rllib.value_based.utilities import agent_utilities, greedy_actions
from cloudsched_env.roles import state as state_roles
from cloudsched_env.roles.layout import Block, Field, Layout
from cloudsched_env.scenario import Scenario
from tests.rllib.random_observations import cluster

CONFIG = NetworkConfig(hidden_sizes=(16,), embedding_size=8)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def mixer_and_batch(scenario: Scenario, seed=0, batch=50, spread=5.0):
    torch.manual_seed(seed)
    layout = state_roles.layout(scenario)
    mixer = MonotonicMixer(layout, CONFIG)
    states = torch.rand(batch, layout.size)
    utilities = {role: spread * torch.randn(batch, count) for role, count in scenario.role_counts.items()}
    return mixer, utilities, states


@pytest.mark.parametrize("seed", range(3))
def test_no_utility_ever_counts_negatively(seed):
    mixer, utilities, states = mixer_and_batch(cluster(), seed)
    with torch.no_grad():
        for parameter in mixer.parameters():  # weights as training may leave them
            parameter.add_(0.1 * torch.randn_like(parameter))
    for values in utilities.values():
        values.requires_grad_()
    mixer(utilities, states).sum().backward()
    for values in utilities.values():
        assert (values.grad >= 0).all()
        assert (values.grad > 0).float().mean() > 0.9
    # It is the absolute value that does it: hypernetworks make weights of both signs.
    encoded = mixer.encoder(states)
    raw = mixer.first_weights["compute"](encoded.members["compute"], encoded.summary)
    assert 0.1 < (raw < 0).float().mean() < 0.9


def test_raising_any_utility_never_lowers_the_value():
    mixer, utilities, states = mixer_and_batch(cluster(), spread=20.0)
    before = mixer(utilities, states)
    for role, values in utilities.items():
        for agent in range(values.shape[-1]):
            raised = values.clone()
            raised[:, agent] += 3.0
            assert (mixer({**utilities, role: raised}, states) >= before - 1e-4).all()


def test_the_state_decides_how_much_a_utility_counts():
    mixer, utilities, states = mixer_and_batch(cluster())
    for values in utilities.values():
        values.requires_grad_()
    same = {role: torch.zeros_like(values).requires_grad_() for role, values in utilities.items()}
    mixer(same, states).sum().backward()
    gradient = same["compute"].grad
    assert gradient.std(0).min() > 1e-3  # over states
    assert gradient.std(1).max() > 1e-3  # over the agents of a role in one state


def test_order_of_agents_does_not_matter():
    scenario = cluster()
    mixer, utilities, states = mixer_and_batch(scenario)
    layout = state_roles.layout(scenario)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = states.clone()
    layout.view(shuffled, "compute")[:] = layout.view(states, "compute")[:, order]
    moved = {**utilities, "compute": utilities["compute"][:, order]}
    torch.testing.assert_close(mixer(moved, shuffled), mixer(utilities, states))
    only_utilities = mixer(moved, states)
    assert not torch.allclose(only_utilities, mixer(utilities, states), atol=1e-3)


def test_one_set_of_weights_mixes_clusters_of_any_size():
    small, _, _ = mixer_and_batch(cluster())
    large, utilities, states = mixer_and_batch(cluster(compute_nodes=9, storage_nodes=5, schedulers=4), seed=1)
    large.load_state_dict(small.state_dict())
    assert large(utilities, states).shape == (50,)


def test_leading_batch_axes_are_arbitrary():
    mixer, utilities, states = mixer_and_batch(cluster(), batch=6)
    folded = mixer({role: v.unflatten(0, (2, 3)) for role, v in utilities.items()}, states.unflatten(0, (2, 3)))
    torch.testing.assert_close(folded.flatten(), mixer(utilities, states))


def test_utilities_of_another_number_of_agents_are_refused():
    mixer, utilities, states = mixer_and_batch(cluster())
    with pytest.raises(ValueError, match=r"'storage': 2.*'storage': 3"):
        mixer({**utilities, "storage": utilities["storage"][:, :2]}, states)


def test_vdn_adds_utilities():
    utilities = {"compute": torch.tensor([[1.0, 2.0]]), "storage": torch.tensor([[-4.0]])}
    assert SumMixer()(utilities, torch.zeros(1, 3)).item() == -1.0


LEVELS = {"compute": [2, 3], "storage": [3]}
COUNTS = {"compute": 2, "storage": 1}


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["sum", "monotonic"]), st.floats(0.2, 0.9))
def test_the_best_joint_action_is_everybodys_best_action(seed, mixing, allowed_share):
    """Individual-global-max, by trying every joint action, with sub-actions and masks."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    field = (Field("load", "1", 0, 1, ""),)
    layout = Layout("state", (*(Block(r, field, ((r, n),)) for r, n in COUNTS.items()), Block("cluster", field)))
    config = NetworkConfig(hidden_sizes=(8,), embedding_size=4, standardise_inputs=False)
    mixer = SumMixer() if mixing == "sum" else MonotonicMixer(layout, config, 4, 8)
    state = torch.rand(1, layout.size, generator=generator)
    scores, masks, options = {}, {}, {}
    for role, levels in LEVELS.items():
        shape = (1, COUNTS[role], sum(levels))
        scores[role] = torch.randn(shape, generator=generator)
        masks[role] = (torch.rand(shape, generator=generator) < allowed_share).to(torch.int8)
        starts = torch.tensor([0, *levels]).cumsum(0)[:-1]
        for start, level in zip(starts, levels, strict=True):  # something must be allowed
            fallback = torch.randint(level, (COUNTS[role],), generator=generator)
            masks[role][0, torch.arange(COUNTS[role]), start + fallback] = 1
        for agent in range(COUNTS[role]):
            parts = masks[role][0, agent].split(levels)
            options[role, agent] = list(itertools.product(*(part.nonzero().flatten().tolist() for part in parts)))
    with torch.no_grad():
        greedy = {role: greedy_actions(scores[role], masks[role], LEVELS[role]) for role in LEVELS}
        best = float(value(mixer, scores, masks, greedy, state))
        for combination in itertools.product(*options.values()):
            actions = {role: torch.zeros(1, COUNTS[role], len(LEVELS[role]), dtype=torch.int64) for role in LEVELS}
            for (role, agent), action in zip(options, combination, strict=True):
                actions[role][0, agent] = torch.tensor(action)
            assert float(value(mixer, scores, masks, actions, state)) <= best + 1e-5


def value(mixer, scores, masks, actions, state):
    utilities = {r: agent_utilities(scores[r], masks[r], actions[r], LEVELS[r]) for r in LEVELS}
    return mixer(utilities, state)
