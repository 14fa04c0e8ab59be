"""Peng's Q(lambda) against its definition as a weighted mean of n-step returns."""

import pytest

pytest.importorskip("torch")

import torch

from cloudsched_env.rllib.value_based.targets import peng_q_lambda

GAMMA = 0.9


def by_definition(rewards, values, terminated, cut, gamma, lambda_):
    """Target of step t as (1 - λ) Σ λ^{n-1} G^(n) over the n-step returns that the recording allows."""
    steps = len(rewards)
    targets = [None] * steps
    for t in range(steps):
        returns, total = [], 0.0
        for n in range(1, steps - t + 1):
            k = t + n - 1
            total += gamma ** (n - 1) * rewards[k]
            if terminated[k]:
                returns.append(total)
                break
            if cut[k] or k + 1 == steps:
                # Nothing was recorded after step k: the return that ends there does not exist.
                break
            returns.append(total + gamma**n * values[k + 1])
        if not returns:
            continue
        weights = [(1 - lambda_) * lambda_**i for i in range(len(returns))]
        weights[-1] = lambda_ ** (len(returns) - 1)
        targets[t] = sum(w * g for w, g in zip(weights, returns, strict=True))
    return targets


def random_fragments(seed, steps=9, fragments=40, p_end=0.15):
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(steps, fragments, generator=generator, dtype=torch.float64) for _ in range(2))
    terminated = torch.rand(steps, fragments, generator=generator) < p_end
    cut = (torch.rand(steps, fragments, generator=generator) < p_end) & ~terminated
    return rewards, values, terminated, cut


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_targets_are_the_weighted_mean_of_n_step_returns(seed, lambda_):
    rewards, values, terminated, cut = random_fragments(seed)
    targets, valid = peng_q_lambda(rewards, values, terminated, cut, gamma=GAMMA, lambda_=lambda_)
    seen = {True: 0, False: 0}
    for f in range(rewards.shape[1]):
        columns = [x[:, f].tolist() for x in (rewards, values, terminated, cut)]
        for t, expected in enumerate(by_definition(*columns, GAMMA, lambda_)):
            assert bool(valid[t, f]) == (expected is not None)
            seen[expected is not None] += 1
            if expected is not None:
                assert float(targets[t, f]) == pytest.approx(expected, abs=1e-9)
    assert min(seen.values()) > 20


def test_one_step_targets_are_those_of_q_learning():
    rewards, values = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])
    none = torch.zeros(3, dtype=torch.bool)
    targets, valid = peng_q_lambda(rewards, values, none, none, gamma=0.5, lambda_=0.0)
    assert targets[:2].tolist() == [1 + 0.5 * 20, 2 + 0.5 * 30]
    assert valid.tolist() == [True, True, False]


def test_nothing_flows_across_the_end_of_an_episode():
    rewards, values, terminated, cut = random_fragments(0, p_end=0.0)
    for ends in (terminated, cut):
        ends[4] = True
        before, valid = peng_q_lambda(rewards, values, terminated, cut, gamma=GAMMA, lambda_=0.6)
        after, _ = peng_q_lambda(
            torch.cat([rewards[:5], rewards[5:] + 100]),
            torch.cat([values[:5], values[5:] + 100]),
            terminated,
            cut,
            gamma=GAMMA,
            lambda_=0.6,
        )
        torch.testing.assert_close(before[:5], after[:5])
        assert valid[4].all() == (ends is terminated)
        ends[4] = False


@pytest.mark.parametrize(("gamma", "lambda_", "name"), [(1.1, 0.5, "gamma"), (0.9, -0.1, "lambda_")])
def test_rates_out_of_range_are_refused(gamma, lambda_, name):
    with pytest.raises(ValueError, match=name):
        peng_q_lambda(*random_fragments(0), gamma=gamma, lambda_=lambda_)


def test_shapes_that_do_not_match_are_refused():
    rewards, values, terminated, cut = random_fragments(0)
    with pytest.raises(ValueError, match="one shape"):
        peng_q_lambda(rewards, values[:-1], terminated, cut, gamma=0.9, lambda_=0.5)
