"""LGRS: identities between its modes, and what each does to the optimum of exactly solved problems."""

import pytest
import torch

from cloudsched_env.rllib.lgrs import LGRS, LGRSConfig, global_signal

GAMMA = 0.95
ROLES = ("compute", "storage")


def rollout(seed=0, steps=6, batch=3, agents=2):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    terminated = torch.zeros(steps, batch, dtype=torch.bool)
    return make(steps, batch, agents), make(steps, batch), make(steps, batch), make(steps, batch), terminated


def shaped(mode, weight, data, gamma=GAMMA, normalise=False):
    lgrs = LGRS(ROLES, LGRSConfig(mode=mode, weight=weight, gamma=gamma, normalise=normalise))
    return lgrs("compute", *data)[0]


# -- identities


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_td_is_mix_plus_potential_difference(weight):
    data = rollout()
    _, _, value, next_value, _ = data
    difference = shaped("td", weight, data) - shaped("mix", weight, data)
    expected = (1 - weight) * (GAMMA * next_value - value)
    torch.testing.assert_close(difference, expected.unsqueeze(-1).expand_as(difference))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_literal_is_pbrs_plus_a_residue_of_one_minus_gamma(weight):
    data = rollout()
    difference = shaped("literal", weight, data) - shaped("pbrs", weight, data)
    expected = (1 - weight) * (1 - GAMMA) * data[3]
    torch.testing.assert_close(difference, expected.unsqueeze(-1).expand_as(difference))


def test_mix_is_the_weighted_sum_of_local_and_team_reward():
    data = rollout()
    torch.testing.assert_close(shaped("mix", 0.25, data), 0.25 * data[0] + 0.75 * data[1].unsqueeze(-1))


def test_off_returns_local_rewards_whatever_the_weight():
    data = rollout()
    assert torch.equal(shaped("off", 0.1, data), data[0])
    assert torch.equal(shaped("off", 0.1, data, normalise=True), data[0])


@pytest.mark.parametrize("mode", ["literal", "pbrs", "td", "mix"])
def test_weight_one_is_the_local_reward(mode):
    data = rollout()
    torch.testing.assert_close(shaped(mode, 1.0, data), data[0])


@pytest.mark.parametrize("terminates", [True, False])
def test_discounted_potential_differences_telescope(terminates):
    steps = 20
    potential = torch.randn(steps + 1, 1)
    terminated = torch.zeros(steps, 1, dtype=torch.bool)
    terminated[-1] = terminates
    signal = global_signal("pbrs", torch.zeros(steps, 1), potential[:-1], potential[1:], terminated, GAMMA)
    total = (GAMMA ** torch.arange(steps) * signal[:, 0]).sum()
    last = 0.0 if terminates else GAMMA**steps * potential[-1, 0]
    torch.testing.assert_close(total, last - potential[0, 0])


@pytest.mark.parametrize(("mode", "expected"), [("literal", -2.0), ("pbrs", -2.0), ("td", 3.0), ("mix", 5.0)])
def test_the_value_after_a_true_termination_is_zero(mode, expected):
    one = torch.ones(1, 1)
    signal = global_signal(mode, 5 * one, 2 * one, 100 * one, one.bool(), GAMMA)
    assert float(signal) == pytest.approx(expected)


def test_no_gradient_reaches_the_potential():
    local, team, value, next_value, terminated = rollout()
    value.requires_grad_()
    next_value.requires_grad_()
    assert not shaped("td", 0.5, (local, team, value, next_value, terminated)).requires_grad
    assert not global_signal("td", team, value, next_value, terminated, GAMMA).requires_grad


# -- incentives


def solve(rewards, transitions):
    """Optimal action values by policy iteration; rewards and transitions are ``[states, actions, next states]``."""
    policy = None
    better = torch.zeros(len(rewards), dtype=torch.long)
    while policy is None or not torch.equal(policy, better):
        policy = better
        q = (transitions * (rewards + GAMMA * evaluate(policy, rewards, transitions))).sum(-1)
        better = q.argmax(-1)
    return q


def evaluate(policy, rewards, transitions):
    """Value of a deterministic policy in every state, by solving the linear equations."""
    states = torch.arange(len(policy))
    matrix = transitions[states, policy]
    reward = (matrix * rewards[states, policy]).sum(-1)
    return torch.linalg.solve(torch.eye(len(policy), dtype=torch.float64) - GAMMA * matrix, reward)


def shaped_rewards(mode, weight, local, team, potential):
    """r̂ of every (s, a, s'), computed by the module under test."""
    states, actions, _ = local.shape
    before = potential[:, None, None].expand_as(local).reshape(states, -1)
    after = potential.expand_as(local).reshape(states, -1)
    flat_local, flat_team = local.reshape(states, -1, 1), team.reshape(states, -1)
    alive = torch.zeros_like(flat_team, dtype=torch.bool)
    return shaped(mode, weight, (flat_local, flat_team, before, after, alive)).reshape(states, actions, states)


def random_problem(seed, states=8, actions=4):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    transitions = make(states, actions, states) ** 3
    transitions /= transitions.sum(-1, keepdim=True)
    local, team = (make(states, actions)[..., None].expand(-1, -1, states) for _ in range(2))
    return transitions, local.contiguous(), team.contiguous()


@pytest.mark.parametrize(
    ("mode", "cooperates"), [("off", False), ("literal", False), ("pbrs", False), ("mix", True), ("td", True)]
)
def test_only_modes_with_the_team_reward_make_a_selfish_agent_cooperate(mode, cooperates):
    """One state, two actions: the selfish one pays the agent 1, the other pays the team 3."""
    local = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
    team = torch.tensor([[[0.0], [3.0]]], dtype=torch.float64)
    transitions = torch.ones(1, 2, 1, dtype=torch.float64)
    potential = torch.tensor([3.0 / (1 - GAMMA)], dtype=torch.float64)  # the team's optimal value
    q = solve(shaped_rewards(mode, 0.5, local, team, potential), transitions)
    assert (int(q.argmax()) == 1) == cooperates


def greedy_policies(mode, weight):
    """Per random problem: the selfish policy, that of the mode, and the team value of both relative to the optimum."""
    for seed in range(20):
        transitions, local, team = random_problem(seed)
        best = solve(team, transitions)
        potential = best.amax(-1)
        selfish = solve(local, transitions).argmax(-1)
        policy = solve(shaped_rewards(mode, weight, local, team, potential), transitions).argmax(-1)
        optimum = potential.mean()
        gained = [float(evaluate(p, team, transitions).mean() / optimum) for p in (selfish, policy)]
        yield selfish, policy, *gained


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8])
def test_pbrs_leaves_the_selfish_policy_exactly_as_it_is(weight):
    for selfish, policy, _, _ in greedy_policies("pbrs", weight):
        assert torch.equal(selfish, policy)


def test_literal_changes_few_decisions_and_does_not_align_incentives():
    results = list(greedy_policies("literal", 0.5))
    changed = torch.stack([selfish != policy for selfish, policy, _, _ in results]).double().mean()
    gain = sum(after - before for _, _, before, after in results) / len(results)
    assert float(changed) < 0.05
    assert abs(gain) < 0.01


@pytest.mark.parametrize("mode", ["mix", "td"])
def test_mix_and_td_move_the_optimum_towards_the_team(mode):
    results = list(greedy_policies(mode, 0.2))
    gain = sum(after - before for _, _, before, after in results) / len(results)
    assert gain > 0.1
    assert all(after >= before for _, _, before, after in results)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8])
def test_td_and_mix_have_the_same_optimum(weight):
    for (_, td, _, _), (_, mix, _, _) in zip(
        greedy_policies("td", weight), greedy_policies("mix", weight), strict=True
    ):
        assert torch.equal(td, mix)


# -- scales


def test_normalisation_gives_both_terms_the_same_spread_per_role():
    lgrs = LGRS(ROLES, LGRSConfig(mode="td", weight=0.5, gamma=GAMMA))
    for role, spread in (("compute", 0.1), ("storage", 10.0)):
        for seed in range(50):
            local, team, value, next_value, terminated = rollout(seed, batch=32)
            data = (spread * local, team, 40 * value, 40 * next_value, terminated)
            _, statistics = lgrs(role, *data)
        assert statistics["local_term_std"] == pytest.approx(0.5 * spread, rel=0.15)
        assert statistics["global_term_std"] == pytest.approx(0.5 * spread, rel=0.15)
        assert statistics["global_signal_std"] > 30


def test_scaling_never_shifts_the_signal():
    """A shifted signal would pay for living; a scaled one keeps its sign and zeros."""
    lgrs = LGRS(ROLES, LGRSConfig(mode="mix", weight=0.0))
    local, team, value, next_value, terminated = rollout()
    team[0, 0] = 0.0
    out, statistics = lgrs("compute", local, team + 0.0, value, next_value, terminated)
    torch.testing.assert_close(out[..., 0], statistics["scale"] * team)
    assert statistics["scale"] != 1.0


def test_scales_move_only_when_asked_and_survive_a_checkpoint():
    lgrs = LGRS(ROLES, LGRSConfig(gamma=GAMMA))
    lgrs("compute", *rollout(1))
    scale = lgrs.scale("compute")
    lgrs("compute", *(10 * x if x.is_floating_point() else x for x in rollout(2)), update=False)
    assert lgrs.scale("compute") == scale
    assert lgrs.scale("storage") == 1.0
    other = LGRS(ROLES, LGRSConfig(gamma=GAMMA))
    other.load_state_dict(lgrs.state_dict())
    assert other.scale("compute") == scale
    assert torch.equal(lgrs("compute", *rollout(3))[0], other("compute", *rollout(3))[0])


@pytest.mark.parametrize(
    "wrong", [{"mode": "potential"}, {"weight": 1.5}, {"gamma": -0.1}, {"decay": 1.0}, {"weight": True}]
)
def test_bad_settings_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LGRSConfig(**wrong)


def test_config_survives_json_and_refuses_unknown_keys():
    config = LGRSConfig(mode="literal", weight=0.3)
    assert LGRSConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="'lambda'"):
        LGRSConfig.from_dict({"lambda": 0.3})


def test_a_role_may_have_a_weight_of_its_own():
    data = rollout()
    both = LGRS(ROLES, LGRSConfig(mode="mix", weight=0.0, weight_by_role={"storage": 0.75}, normalise=False))
    alone = LGRS(ROLES, LGRSConfig(mode="mix", weight=0.75, normalise=False))
    assert torch.equal(both("storage", *data)[0], alone("storage", *data)[0])
    team = data[1].unsqueeze(-1).expand_as(data[0])
    assert torch.equal(both("compute", *data)[0], team)


@pytest.mark.parametrize(("weights", "named"), [({"storage": 1.5}, "weight_by_role.storage"), ({"cook": 0.5}, "cook")])
def test_a_weight_of_a_role_that_does_not_exist_or_is_no_share_is_refused(weights, named):
    with pytest.raises(ValueError, match=named):
        LGRS(ROLES, LGRSConfig(weight_by_role=weights))
