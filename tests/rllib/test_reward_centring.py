"""A constant in the rewards changes no advantage and no value that is centred."""

import pytest
import torch

from cloudsched_env.rllib.reward_centring import RewardCentre
from cloudsched_env.rllib.vtrace import vtrace


def test_the_first_batch_is_centred_by_its_own_mean_and_later_ones_by_the_running_mean():
    centre = RewardCentre(decay=0.9)
    first = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    torch.testing.assert_close(centre(first, update=True), first - 3.0)
    second = torch.full((2, 2), 5.0)
    mean = (0.9 * 0.1 * 3.0 + 0.1 * 5.0) / (1 - 0.9**2)  # debiased exponential average
    torch.testing.assert_close(centre(second, update=True), second - mean)


def test_rewards_that_were_seen_before_do_not_move_the_mean():
    centre = RewardCentre()
    centre(torch.tensor([1.0]), update=True)
    assert centre(torch.tensor([9.0]), update=False).item() == pytest.approx(8.0)
    assert float(centre.mean) == pytest.approx(1.0)


def test_rewards_pass_unchanged_before_the_first_update():
    rewards = torch.randn(4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RewardCentre()(rewards, update=False), rewards)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_never_learns_or_diverges_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        RewardCentre(decay)


def test_values_of_centred_rewards_are_lower_by_the_mean_over_one_minus_gamma_and_advantages_the_same():
    generator = torch.Generator().manual_seed(3)
    gamma, steps = 0.9, 40
    rewards = 2.0 + torch.randn(steps, 3, generator=generator)
    values = torch.randn(steps, 3, generator=generator)
    following = torch.cat((values[1:], torch.randn(1, 3, generator=generator)))
    ends = torch.zeros(steps, 3, dtype=torch.bool)
    centre = RewardCentre()
    centred = centre(rewards, update=True)
    shift = float(centre.mean) / (1 - gamma)

    def run(rewards, shift):
        options = {"gamma": gamma, "lambda_": 0.95}
        return vtrace(torch.zeros(()), rewards, values + shift, following + shift, ends, ends, **options)

    plain, less = run(rewards, shift), run(centred, 0.0)
    torch.testing.assert_close(less.targets, plain.targets - shift, atol=1e-4, rtol=0)
    torch.testing.assert_close(less.advantages, plain.advantages, atol=1e-4, rtol=0)
