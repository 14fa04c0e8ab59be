"""Branches: the utility of an agent's action, greedy and exploring choices."""

import math

import pytest

pytest.importorskip("torch")

import torch

from cloudsched_env.rllib.networks import ROLES, NetworkConfig, build_policy
from cloudsched_env.rllib.value_based.utilities import agent_utilities, epsilon_greedy, greedy_actions, open_branches
from tests.rllib.random_observations import cluster, random_observations

LEVELS = [2, 3]
SCORES = torch.tensor([[1.0, 2.0, 10.0, 30.0, 20.0]])


def masks(*allowed):
    return torch.tensor([allowed], dtype=torch.int8)


def test_an_agents_utility_is_the_mean_over_the_branches_that_leave_a_choice():
    actions = torch.tensor([[1, 2]])
    assert agent_utilities(SCORES, masks(1, 1, 1, 1, 1), actions, LEVELS).tolist() == [(2 + 20) / 2]
    # The first sub-action is held: what it is worth does not dilute what the second one is.
    assert agent_utilities(SCORES, masks(0, 1, 1, 0, 1), actions, LEVELS).tolist() == [20]
    # Nothing can be chosen: what the held levels are worth.
    assert agent_utilities(SCORES, masks(0, 1, 0, 0, 1), actions, LEVELS).tolist() == [(2 + 20) / 2]


def test_only_the_taken_choices_get_a_gradient():
    scores = SCORES.clone().requires_grad_()
    agent_utilities(scores, masks(1, 1, 1, 1, 1), torch.tensor([[0, 1]]), LEVELS).sum().backward()
    assert scores.grad.tolist() == [[0.5, 0.0, 0.0, 0.5, 0.0]]


def test_greedy_actions_are_the_best_allowed_ones():
    assert greedy_actions(SCORES, masks(1, 1, 1, 1, 1), LEVELS).tolist() == [[1, 1]]
    assert greedy_actions(SCORES - 100, masks(1, 0, 1, 0, 1), LEVELS).tolist() == [[0, 2]]


def test_open_branches_leave_more_than_one_choice():
    assert open_branches(masks(1, 0, 1, 0, 1), LEVELS).tolist() == [[False, True]]


def test_exploration_takes_the_stated_share_of_random_allowed_choices_and_says_how_likely_they_were():
    rows, epsilon = 60_000, 0.3
    scores, allowed = SCORES.expand(rows, -1), masks(1, 1, 1, 0, 1).expand(rows, -1)
    actions, log_probs = epsilon_greedy(scores, allowed, LEVELS, epsilon, torch.Generator().manual_seed(0))
    assert set(actions[:, 1].tolist()) == {0, 2}
    both = actions[:, 0] * 3 + actions[:, 1]
    for first, second in ((0, 0), (0, 2), (1, 0), (1, 2)):
        share = (both == first * 3 + second).float().mean().item()
        # 1 and 2 are the best; branches explore on their own.
        expected = math.prod(0.15 + 0.7 * best for best in (first == 1, second == 2))
        assert share == pytest.approx(expected, abs=0.01)
        told = log_probs[both == first * 3 + second].exp()
        torch.testing.assert_close(told, torch.full_like(told, expected))


def test_without_exploration_choices_are_greedy_and_certain():
    actions, log_probs = epsilon_greedy(SCORES, masks(1, 1, 1, 1, 1), LEVELS, 0.0, None)
    assert actions.tolist() == [[1, 1]]
    assert log_probs.tolist() == [0.0]


# -- the policies as utility networks

CONFIG = NetworkConfig(hidden_sizes=(16,), embedding_size=8, last_layer_gain=1.0, sequential_slots=False)


@pytest.mark.parametrize("role", ROLES)
def test_the_policy_takes_greedily_what_scores_best(role):
    torch.manual_seed(0)
    scenario = cluster()
    observations, masks = (values[role] for values in random_observations(scenario, 40, 1))
    policy = build_policy(role, scenario, CONFIG)
    scores = policy.scores(observations, masks)
    assert scores.shape == masks.shape
    chosen, _ = policy.act(observations, masks, deterministic=True)
    assert torch.equal(greedy_actions(scores, masks, policy.action_levels), chosen)


@pytest.mark.parametrize("role", ROLES)
def test_scores_are_the_logits_of_the_policy(role):
    torch.manual_seed(0)
    scenario = cluster()
    observations, masks = (values[role] for values in random_observations(scenario, 40, 1))
    policy = build_policy(role, scenario, CONFIG)
    actions, log_prob = policy.act(observations, masks, generator=torch.Generator().manual_seed(2))
    scores = policy.scores(observations, masks).masked_fill(masks == 0, -1e9)
    parts = scores.split(policy.action_levels, -1)
    expected = sum(part.log_softmax(-1).gather(-1, actions[..., k : k + 1]).squeeze(-1) for k, part in enumerate(parts))
    torch.testing.assert_close(expected, log_prob)
    torch.testing.assert_close(policy.evaluate(observations, masks, actions)[0], log_prob)


def test_a_scheduler_that_scores_tasks_in_sequence_has_no_score_of_a_single_choice():
    scenario = cluster()
    observations, masks = (values["scheduler"] for values in random_observations(scenario, 2, 1))
    policy = build_policy("scheduler", scenario, NetworkConfig())
    with pytest.raises(ValueError, match="sequential_slots=false"):
        policy.scores(observations, masks)


def test_an_empty_queue_can_be_scored():
    scenario = cluster()
    observations, masks = (values["scheduler"] for values in random_observations(scenario, 3, 1, presence=0.0))
    policy = build_policy("scheduler", scenario, CONFIG)
    scores = policy.scores(observations, masks)
    scores.sum().backward()
    actions, log_prob = policy.act(observations, masks)
    assert (actions == scenario.candidate_count).all()
    assert (log_prob == 0).all()
