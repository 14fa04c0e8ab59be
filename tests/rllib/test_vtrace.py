"""V-trace against the paper's sum, GAE and n-step returns."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from cloudsched_env.rllib.vtrace import vtrace

GAMMA = 0.9


def rollout(seed, steps=12, batch=3, off_policy=True, ends=True):
    generator = torch.Generator().manual_seed(seed)
    make = lambda: torch.randn(steps, batch, generator=generator, dtype=torch.float64)  # noqa: E731
    log_ratio = make() * (0.8 if off_policy else 0.0)
    event = torch.rand(steps, batch, generator=generator)
    terminated, truncated = event < 0.15 * ends, event > 1 - 0.15 * ends
    values, rewards = make(), make()
    # After a step that ends nothing the next value is that of the next row; elsewhere anything may stand.
    next_values = make()
    goes_on = ~(terminated | truncated)[:-1]
    next_values[:-1] = torch.where(goes_on, values[1:], next_values[:-1])
    return log_ratio, rewards, values, next_values, terminated, truncated


def literal(log_ratio, rewards, values, next_values, terminated, truncated, lambda_, rho_bar, c_bar):
    """v_s = V(x_s) + sum over t of gamma^(t-s) (c_s ... c_(t-1)) rho_t (r_t + gamma V(x_(t+1)) - V(x_t)), in full."""
    steps, batch = rewards.shape
    out = values.clone()
    for b in range(batch):
        for s in range(steps):
            for t in range(s, steps):
                product = 1.0
                for i in range(s, t):
                    product *= lambda_ * min(c_bar, math.exp(log_ratio[i, b]))
                rho = min(rho_bar, math.exp(log_ratio[t, b]))
                following = 0.0 if terminated[t, b] else next_values[t, b]
                delta = rho * (rewards[t, b] + GAMMA * following - values[t, b])
                out[s, b] += GAMMA ** (t - s) * product * delta
                if terminated[t, b] or truncated[t, b]:
                    break
    return out


def gae(rewards, values, next_values, terminated, truncated, lambda_):
    advantages, carried = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + GAMMA * next_values[t] * ~terminated[t] - values[t]
        carried = delta + GAMMA * lambda_ * carried * ~(terminated[t] | truncated[t])
        advantages[t] = carried
    return advantages


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    lambda_=st.sampled_from([0.0, 0.7, 1.0]),
    rho_bar=st.sampled_from([0.8, 1.0, 3.0]),
    c_bar=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_targets_are_the_papers_sum(seed, lambda_, rho_bar, c_bar):
    data = rollout(seed, steps=8, batch=2)
    got = vtrace(*data, gamma=GAMMA, lambda_=lambda_, rho_bar=rho_bar, c_bar=c_bar)
    torch.testing.assert_close(got.targets, literal(*data, lambda_, rho_bar, c_bar))


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_on_policy_targets_and_advantages_are_those_of_gae(lambda_):
    data = rollout(1, off_policy=False)
    got = vtrace(*data, gamma=GAMMA, lambda_=lambda_)
    expected = gae(*data[1:], lambda_)
    torch.testing.assert_close(got.targets, data[2] + expected)
    torch.testing.assert_close(got.advantages, expected)


def test_on_policy_target_is_the_n_step_return_of_the_bellman_equation():
    data = rollout(2, off_policy=False, ends=False)
    _, rewards, _, next_values, _, _ = data
    got = vtrace(*data, gamma=GAMMA).targets
    steps = len(rewards)
    for s in range(steps):
        returns = sum(GAMMA ** (t - s) * rewards[t] for t in range(s, steps))
        torch.testing.assert_close(got[s], returns + GAMMA ** (steps - s) * next_values[-1])


def test_advantages_are_the_papers_q_estimate_weighted_by_the_clipped_ratio():
    data = rollout(3)
    log_ratio, rewards, values, next_values, terminated, truncated = data
    for clip in (0.7, 1.0, None):
        got = vtrace(*data, gamma=GAMMA, policy_rho_bar=clip)
        following = next_values.clone()
        goes_on = ~(terminated | truncated)[:-1]
        following[:-1] = torch.where(goes_on, got.targets[1:], following[:-1])
        following = torch.where(terminated, 0.0, following)
        weight = log_ratio.exp() if clip is None else log_ratio.exp().clamp_max(clip)
        torch.testing.assert_close(got.advantages, weight * (rewards + GAMMA * following - values))
    bare = vtrace(*data, gamma=GAMMA, weigh_advantages=False)
    torch.testing.assert_close(bare.advantages, rewards + GAMMA * following - values)


def test_termination_ignores_the_next_value_and_truncation_bootstraps_from_it():
    zeros = torch.zeros(2, 1)
    yes, no = torch.tensor([[True], [False]]), torch.tensor([[False], [False]])
    rewards, next_values = torch.tensor([[1.0], [5.0]]), torch.tensor([[10.0], [0.0]])
    ended = vtrace(zeros, rewards, zeros, next_values, yes, no, gamma=0.5).targets
    cut = vtrace(zeros, rewards, zeros, next_values, no, yes, gamma=0.5).targets
    assert ended[:, 0].tolist() == [1.0, 5.0]
    assert cut[:, 0].tolist() == [6.0, 5.0]


def test_nothing_flows_back_across_the_end_of_an_episode():
    data = list(rollout(4))
    data[4] = data[4].clone()
    data[4][5] = True
    before = vtrace(*data, gamma=GAMMA)
    data[1] = data[1].clone()
    data[1][6:] += 100
    after = vtrace(*data, gamma=GAMMA)
    torch.testing.assert_close(before.targets[:6], after.targets[:6])
    torch.testing.assert_close(before.advantages[:6], after.advantages[:6])
    assert (before.targets[6:] != after.targets[6:]).any()


def test_ratios_of_many_agents_go_with_one_value_per_cluster():
    log_ratio, *rest = rollout(5)
    agents = torch.stack([log_ratio, log_ratio * 0.5], -1)
    together = vtrace(agents, *(x.unsqueeze(-1) for x in rest), gamma=GAMMA, lambda_=0.9)
    for index, one in enumerate((log_ratio, log_ratio * 0.5)):
        alone = vtrace(one, *rest, gamma=GAMMA, lambda_=0.9)
        torch.testing.assert_close(together.targets[..., index], alone.targets)
        torch.testing.assert_close(together.advantages[..., index], alone.advantages)


def test_statistics_of_the_ratio():
    log_ratio = torch.tensor([[0.5], [1.0], [1.5], [3.0]]).log()
    zeros, no = torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.bool)
    ratio = vtrace(log_ratio, zeros, zeros, zeros, no, no, gamma=GAMMA, rho_bar=1.0 + 1e-6).ratio
    assert ratio.mean == pytest.approx(1.5)
    assert ratio.variance == pytest.approx(0.875)
    assert ratio.clipped_share == pytest.approx(0.5)


def test_an_absurd_ratio_stays_finite_without_clips():
    data = list(rollout(6))
    data[0] = torch.full_like(data[0], 1e4)
    got = vtrace(*data, gamma=GAMMA, lambda_=0.0, rho_bar=None, c_bar=None, policy_rho_bar=None)
    assert got.targets.isfinite().all()
    assert got.advantages.isfinite().all()


def test_no_gradient_flows_through_targets():
    data = list(rollout(7))
    data[2] = data[2].requires_grad_()
    assert not vtrace(*data, gamma=GAMMA).targets.requires_grad


@pytest.mark.parametrize("wrong", [{"gamma": 1.1}, {"gamma": 0.9, "lambda_": -0.1}])
def test_discounts_outside_the_unit_interval_are_refused(wrong):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        vtrace(*rollout(8), **wrong)
