import numpy as np
import pytest

pytest.importorskip("ray")

import torch

from cloudsched_env.rllib.common_luck import with_less_common_luck, without_common_luck
from cloudsched_env.rllib.connector import HRACBatchConnector, _explained, decides
from cloudsched_env.rllib.modules import CRITIC
from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from cloudsched_env.rllib.stored_rollouts import StoredRollouts
from tests.rllib.toy_env import toy_config

pytestmark = pytest.mark.ray


@pytest.fixture
def parts(ray_local):
    def make(changes=None, **env_config):
        config = toy_config(changes, **env_config)
        runner = RoleBatchedEnvRunner(config=config, worker_index=0)
        modules = config.get_multi_rl_module_spec(spaces=runner.get_spaces()).build()
        for role in ("compute", "storage", "scheduler"):
            modules[role].load_state_dict(runner.module[role].state_dict())
        return runner, modules, HRACBatchConnector(settings=config.settings)

    return make


def test_the_state_after_a_cut_is_the_final_one_and_not_the_next_episodes_first(parts):
    runner, _, _ = parts({"sampling.rollout_steps": 12})
    (rollout,) = runner.sample()
    stored = StoredRollouts.of([rollout])
    current, following = stored.with_next(lambda states: states[..., -7])  # share of the horizon that has passed
    np.testing.assert_allclose(following, current + 1 / 20, atol=1e-6)  # even where an episode was cut
    assert rollout.truncated[:-1].any()


def test_roll_outs_of_several_runners_are_joined_by_cluster(parts):
    runner, _, _ = parts({"sampling.rollout_steps": 12})
    one, two = runner.sample()[0], runner.sample()[0]
    stored = StoredRollouts.of([one, two])
    assert stored.team_rewards.shape == (12, 80)
    for (t, b), state in zip(two.cut_index, two.cut_states, strict=True):
        match = (stored.cut_index == torch.tensor([t, b + 40])).all(1)
        np.testing.assert_array_equal(stored.cut_states[match][0], state)


def test_agents_without_a_choice_have_no_advantage(parts):
    runner, modules, connector = parts(dead_storage=True)
    batch = connector(rl_module=modules, batch={}, episodes=runner.sample())
    active = batch["storage"]["active"]
    assert not active[:, 0].any()
    assert active[:, 1].all()
    assert (batch["storage"]["advantages"][:, 0] == 0).all()
    chosen = batch["storage"]["advantages"][active]
    assert float(chosen.mean()) == pytest.approx(0, abs=1e-4)
    assert float(chosen.std()) == pytest.approx(1, abs=1e-3)


def test_a_mask_with_one_level_for_each_sub_action_is_no_choice():
    masks = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 1], [0, 1, 1, 1]], dtype=torch.int8)
    assert decides(masks, 2).tolist() == [False, True, True]


def test_without_replay_and_shaping_targets_are_those_of_gae(parts):
    runner, modules, connector = parts(
        {"replay.rollouts": 0, "replay.passes": 0, "lgrs.mode": "off", "sampling.rollout_steps": 12}
    )
    settings = connector.settings
    (rollout,) = runner.sample()
    critic = modules[CRITIC]
    batch = connector(rl_module=modules, batch={}, episodes=[rollout])
    stored = StoredRollouts.of([rollout])
    with torch.no_grad():
        value, following = stored.with_next(lambda s: critic.values(s)["team"])
    g, lam = settings.discount, settings.vtrace.lambda_
    advantage = np.zeros((12, 40))
    later = np.zeros(40)
    rewards = rollout.team_rewards - rollout.team_rewards.mean()
    for t in range(11, -1, -1):
        delta = rewards[t] + g * following[t].numpy() - value[t].numpy()
        later = delta + g * lam * later * ~rollout.truncated[t]
        advantage[t] = later
    expected = torch.from_numpy(advantage) + value
    normaliser = critic.normaliser("team")
    assert float(normaliser.mean) == pytest.approx(float(expected.mean()), rel=1e-4)
    got = normaliser.denormalise(batch[CRITIC]["target_team"]).reshape(12, 40)
    np.testing.assert_allclose(got, expected, atol=1e-3)
    # Without shaping every agent's target comes from its own reward: nothing of the others in it.
    assert batch["compute"]["anchor_log_probs"].equal(
        torch.from_numpy(rollout.roles["compute"]["log_probs"]).reshape(-1, 2)
    )


def test_replayed_rows_are_anchored_at_the_current_policy(parts):
    runner, modules, connector = parts({"replay.rollouts": 3, "replay.passes": 2})
    first = connector(rl_module=modules, batch={}, episodes=runner.sample())
    rows = len(first[CRITIC]["states"])
    second = connector(rl_module=modules, batch={}, episodes=runner.sample())
    third = connector(rl_module=modules, batch={}, episodes=runner.sample())
    fourth = connector(rl_module=modules, batch={}, episodes=runner.sample())
    assert [len(b[CRITIC]["states"]) // rows for b in (first, second, third, fourth)] == [1, 2, 3, 3]
    with torch.no_grad():
        bias = modules["compute"].network.head.bias
        bias.add_(torch.arange(float(len(bias))) / 3)
    fifth = connector(rl_module=modules, batch={}, episodes=runner.sample())
    with torch.no_grad():
        output = modules.forward_train({r: fifth[r] for r in ("compute", "storage", "scheduler")})
    anchored = fifth["compute"]["anchor_log_probs"][rows:]
    np.testing.assert_allclose(output["compute"]["log_probs"][rows:], anchored, atol=1e-4)


def replayed_targets(parts, ratio, role):
    """Value targets of a role in a replayed roll-out, [T, B], after compute nodes alone have changed."""
    runner, modules, connector = parts(
        {
            "replay.rollouts": 1, "replay.passes": 1, "lgrs.mode": "mix", "lgrs.lambda": 0.0, "centre_rewards": False,
            "vtrace.common_share": 1.0, "vtrace.ratio": ratio, "sampling.rollout_steps": 12,
        }
    )  # fmt: skip
    old = runner.sample()
    connector(rl_module=modules, batch={}, episodes=old)
    with torch.no_grad():
        bias = modules["compute"].network.head.bias
        bias.add_(torch.arange(float(len(bias))) / 2)
    stored, critic = StoredRollouts.of(old), modules[CRITIC]
    normaliser = critic.normaliser(role)
    batch = connector(rl_module=modules, batch={}, episodes=runner.sample())
    # Fresh roll-outs come first: they have moved the normaliser before the replayed one is prepared.
    with torch.no_grad():
        values = [normaliser.denormalise(v) for v in stored.with_next(lambda s: critic.values(s)[role])]
    rows = 12 * 40
    targets = normaliser.denormalise(batch[CRITIC][f"target_{role}"][rows:]).reshape(12, 40)
    log_ratio = torch.zeros(12, 40)
    for name in ("compute", "storage", "scheduler"):
        was = stored.roles[name]["log_probs"].sum(-1)
        log_ratio += batch[name]["anchor_log_probs"][rows:].reshape(12, 40, -1).sum(-1) - was
    return targets, log_ratio, values, stored, connector.settings


def test_replayed_returns_of_the_team_are_weighed_by_what_all_agents_did(parts):
    targets, log_ratio, (values, following), stored, settings = replayed_targets(parts, "joint", "storage")
    assert log_ratio.abs().max() > 1
    gamma, decay = settings.discount, settings.vtrace.lambda_
    rho = log_ratio.exp().clamp_max(1.0)
    expected, later = torch.empty_like(values), torch.zeros(40)
    for t in range(11, -1, -1):
        delta = rho[t] * (stored.team_rewards[t] + gamma * following[t] - values[t])
        later = delta + gamma * decay * rho[t] * later * ~stored.truncated[t].bool()
        expected[t] = values[t] + later
    np.testing.assert_allclose(targets, expected, atol=1e-3)
    # Storage nodes have not changed: their own ratios are 1, and say nothing of what compute nodes would do now.
    by_agent = replayed_targets(parts, "agent", "storage")[0]
    assert (by_agent - expected).abs().max() > 0.05


def test_rewards_are_relabelled_with_the_potential_of_now(parts):
    runner, modules, connector = parts({"replay.rollouts": 0, "replay.passes": 0, "lgrs.normalise": False})
    episodes = runner.sample()
    before = connector(rl_module=modules, batch={}, episodes=episodes)["compute"]["advantages"].clone()
    critic = modules[CRITIC]
    with torch.no_grad():
        for parameter in critic.lagged_network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    after = connector(rl_module=modules, batch={}, episodes=episodes)["compute"]["advantages"]
    assert not torch.allclose(before, after, atol=1e-2)


def test_runners_must_agree_on_the_length_of_roll_outs(parts):
    runner, _, _ = parts()
    one, two = runner.sample(num_timesteps=400)[0], runner.sample(num_timesteps=800)[0]
    with pytest.raises(ValueError, match=r"rollout_steps"):
        StoredRollouts.of([one, two])


def test_what_arrivals_did_to_all_copies_is_no_advantage_of_any():
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(200, 12, 3, generator=generator)
    luck = 3.0 * torch.randn(200, 3, 1, generator=generator).repeat_interleave(4, 1)
    inputs = torch.arange(12) // 4
    advantages, common = without_common_luck(own + luck, inputs)
    others = (own.unflatten(1, (3, 4)).sum(2, keepdim=True) - own.unflatten(1, (3, 4))) / 3
    torch.testing.assert_close(advantages, own - others.flatten(1, 2), atol=1e-5, rtol=0)
    assert common == pytest.approx(9 / 10, abs=0.02)


def test_a_cluster_with_arrivals_of_its_own_keeps_its_advantages():
    advantages = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(1))
    kept, common = without_common_luck(advantages, torch.arange(4))
    assert kept is advantages
    assert common == 0.0
    mixed, _ = without_common_luck(advantages, torch.tensor([0, 0, 1, 2]))
    torch.testing.assert_close(mixed[:, 2:], advantages[:, 2:])
    torch.testing.assert_close(mixed[:, 0], advantages[:, 0] - advantages[:, 1])


def test_copies_of_different_runners_are_not_taken_for_one_another(parts):
    runner, _, _ = parts({"sampling.copies": 5, "sampling.rollout_steps": 6})
    one, two = runner.sample()[0], runner.sample()[0]
    stored = StoredRollouts.of([one, two])
    assert stored.inputs.tolist() == (np.arange(80) // 5).tolist()
    assert one.clusters(10, 20).inputs.tolist() == [2] * 5 + [3] * 5


def test_copies_share_what_they_meet_and_not_what_they_do(parts):
    runner, modules, connector = parts({"sampling.copies": 5, "sampling.rollout_steps": 20})
    (rollout,) = runner.sample()
    seeds = np.array([env.resets[-1] for env in runner.envs]).reshape(8, 5)  # the same seed, the same arrivals
    assert (seeds == seeds[:, :1]).all()
    assert len(set(seeds[:, 0])) == 8
    actions = rollout.roles["scheduler"]["actions"].reshape(20, 8, 5, -1)
    assert (actions != actions[:, :, :1]).any()
    batch = connector(rl_module=modules, batch={}, episodes=[rollout])
    assert float(batch["compute"]["advantages"].mean()) == pytest.approx(0, abs=1e-4)


def test_value_targets_keep_a_share_of_the_mean_error_of_copies_and_all_of_their_differences():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(6, 5, generator=generator)
    targets = torch.randn(6, 5, generator=generator)
    inputs = torch.tensor([0, 0, 0, 1, 2])
    for share in (0.0, 0.25, 1.0):
        kept = with_less_common_luck(targets, values, inputs, share)
        torch.testing.assert_close(kept[:, :3].diff(dim=1), targets[:, :3].diff(dim=1))
        mean_error = (targets - values)[:, :3].mean(1)
        torch.testing.assert_close((kept - values)[:, :3].mean(1), share * mean_error)
        assert torch.equal(kept[:, 3:], targets[:, 3:])  # nothing to compare with


def test_a_critic_that_only_knows_the_traffic_explains_nothing_of_what_sets_copies_apart():
    generator = torch.Generator().manual_seed(2)
    inputs = torch.arange(12) // 4
    traffic = 5.0 * torch.randn(30, 3, generator=generator).repeat_interleave(4, 1)
    own = torch.randn(30, 12, generator=generator)
    knows_traffic = _explained(traffic + own, traffic, inputs)
    assert knows_traffic["explained_variance"] > 0.9
    assert knows_traffic["explained_difference"] == pytest.approx(0.0, abs=1e-6)
    assert _explained(traffic + own, traffic + own, inputs)["explained_difference"] == pytest.approx(1.0)
    assert "explained_difference" not in _explained(traffic + own, traffic, torch.arange(12))
    agents = (traffic + own).unsqueeze(-1).expand(30, 12, 2)
    alike = _explained(agents, agents - own.unsqueeze(-1), inputs)
    assert alike["explained_difference"] == pytest.approx(0.0, abs=1e-6)


def test_a_critic_finds_what_sets_copies_apart_sooner_without_common_luck():
    # One arrival path a batch, with luck ten times as large as what the state explains; 30 steps of regression.
    def slope(share):
        generator = torch.Generator().manual_seed(1)
        weight = torch.zeros((), requires_grad=True)
        bias = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.SGD([weight, bias], lr=0.1)
        for _ in range(30):
            path = 0.5 * torch.randn((), generator=generator)  # what the path does to the state of all copies
            states = path + torch.randn(1, 20, generator=generator)
            targets = states + 10 * torch.randn((), generator=generator)
            with torch.no_grad():
                values = weight * states + bias
                aimed = with_less_common_luck(targets, values, torch.zeros(20, dtype=torch.long), share)
            optimizer.zero_grad()
            (weight * states + bias - aimed).square().mean().backward()
            optimizer.step()
        return float(weight.detach())

    assert abs(slope(0.1) - 1) < 0.2
    assert abs(slope(1.0) - 1) > 0.4
