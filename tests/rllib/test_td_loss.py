"""The loss of QMIX and VDN, by hand on tables."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from cloudsched_env.rllib.networks.mixer import SumMixer
from cloudsched_env.rllib.value_based.loss import td_loss
from cloudsched_env.rllib.value_based.replay import FragmentBatch


class Table(nn.Module):
    """One utility for each choice, whatever is observed."""

    def __init__(self, *utilities):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(utilities))
        self.action_levels = [len(utilities)]

    def scores(self, observations, masks):
        return self.values.expand(masks.shape)


def batch(rewards, actions, masks=(1, 1), cut=(False, False)):
    """One fragment of two steps; two roles of one agent do the same."""
    shape = (len(rewards), 1)
    columns = {
        "observations": torch.zeros(*shape, 1, 1),
        "masks": torch.tensor(masks, dtype=torch.int8).expand(*shape, 1, 2),
        "actions": torch.tensor(actions).reshape(*shape, 1, 1),
    }
    return FragmentBatch(
        roles={"compute": columns, "storage": columns},
        states=torch.zeros(*shape, 1),
        team_rewards=torch.tensor(rewards).reshape(shape),
        terminated=torch.zeros(shape, dtype=torch.bool),
        cut=torch.tensor(cut).reshape(shape),
    )


def policies(*utilities):
    return {"compute": Table(*utilities), "storage": Table(*utilities)}


def loss_of(data, online, target, **options):
    options = {"gamma": 0.5, "lambda_": 0.0, **options}
    return td_loss(online, SumMixer(), target, SumMixer(), data, **options)


def test_current_networks_choose_and_targets_value():
    data = batch([1.0, 0.0], [1, 1])
    online, target = policies(3.0, 2.0), policies(10.0, 40.0)
    # Both agents took the second choice, worth 2 each; next both prefer the first, worth 10 each to the targets.
    double, _ = loss_of(data, online, target)
    assert double.item() == pytest.approx((1 + 0.5 * 20 - 4) ** 2)
    # The targets alone would choose the second, worth 40 each.
    single, _ = loss_of(data, online, target, double=False)
    assert single.item() == pytest.approx((1 + 0.5 * 80 - 4) ** 2)


def test_next_choices_are_allowed_ones():
    data = batch([1.0, 0.0], [1, 1], masks=(0, 1))
    loss, _ = loss_of(data, policies(3.0, 2.0), policies(10.0, 40.0))
    assert loss.item() == pytest.approx((1 + 0.5 * 80 - 4) ** 2)


def test_steps_without_a_target_do_not_count():
    online, target = policies(3.0, 2.0), policies(10.0, 40.0)
    loss, statistics = loss_of(batch([1.0, 0.0], [1, 1], cut=(True, False)), online, target)
    assert loss.item() == 0.0 == float(statistics["mixer", "td_error_abs"])
    loss, _ = loss_of(batch([1.0, 0.0, 5.0], [1, 1, 0], cut=(True, False, False)), online, target)
    assert loss.item() == pytest.approx((0 + 0.5 * 20 - 4) ** 2)


def test_gradients_reach_taken_choices_of_the_current_networks_only():
    online, target = policies(3.0, 2.0), policies(10.0, 40.0)
    loss, _ = loss_of(batch([1.0, 0.0], [1, 1]), online, target)
    loss.backward()
    error = 1 + 0.5 * 20 - 4
    for role in online:
        assert online[role].values.grad.tolist() == pytest.approx([0.0, -2 * error])
        assert target[role].values.grad is None


def test_statistics_are_of_agents_that_had_a_choice():
    _, free = loss_of(batch([1.0, 0.0], [1, 0]), policies(3.0, 2.0), policies(0.0, 0.0))
    assert float(free["compute", "q_mean"]) == pytest.approx(2.5)
    assert float(free["compute", "q_spread"]) == pytest.approx(1.0)
    assert float(free["compute", "deciding_share"]) == 1.0
    _, held = loss_of(batch([1.0, 0.0], [1, 1], masks=(0, 1)), policies(3.0, 2.0), policies(0.0, 0.0))
    assert [float(held["compute", name]) for name in ("q_mean", "q_spread", "deciding_share")] == [0.0, 0.0, 0.0]


def test_statistics_say_how_large_values_can_be_and_how_well_targets_are_met():
    data = batch([1.0, -3.0, 0.0], [1, 0, 0], cut=(False, False, False))
    _, statistics = loss_of(data, policies(3.0, 2.0), policies(10.0, 40.0))
    shown = {name: float(value) for (module, name), value in statistics.items() if module == "mixer"}
    assert shown["return_bound"] == pytest.approx(3.0 / (1 - 0.5))
    targets, values = torch.tensor([1.0 + 10.0, -3.0 + 10.0]), torch.tensor([4.0, 6.0])
    assert shown["target_std"] == pytest.approx(float(targets.std(correction=0)))
    unexplained = (targets - values).var(correction=0) / targets.var(correction=0)
    assert shown["explained_variance_q_tot"] == pytest.approx(1 - float(unexplained))


def test_without_two_targets_nothing_is_said_of_their_variance():
    _, statistics = loss_of(batch([1.0, 0.0], [1, 1]), policies(3.0, 2.0), policies(10.0, 40.0))
    assert ("mixer", "td_loss") in statistics
    assert not {name for _, name in statistics} & {"target_std", "explained_variance_q_tot"}
