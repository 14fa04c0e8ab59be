"""MAPPO, IPPO and HAPPO: the details that their papers name; `test_cooperative_game` shows that they learn."""

import copy

import numpy as np
import pytest

pytest.importorskip("ray")

import torch

from cloudsched_env.rllib.algorithms.happo import HAPPOConfig, HAPPOLearner
from cloudsched_env.rllib.algorithms.ippo import IPPOConfig
from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig
from cloudsched_env.rllib.config_files import algorithm_config, load_experiment, shipped_configs
from cloudsched_env.rllib.connector import HRACBatchConnector
from cloudsched_env.rllib.learner import HRACLearner
from cloudsched_env.rllib.modules import CRITIC, SEEN
from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from cloudsched_env.rllib.settings import HRACSettings
from tests.rllib.toy_env import toy_config

pytestmark = pytest.mark.ray
ROLES = ("compute", "storage", "scheduler")
CONFIGS = {"mappo": MAPPOConfig, "ippo": IPPOConfig, "happo": HAPPOConfig}


@pytest.fixture
def parts(ray_local):
    """A runner, a learner and its connector that share weights."""

    def make(name, changes=None, **env_config):
        config = toy_config({"sampling.rollout_steps": 12, **(changes or {})}, CONFIGS[name](), **env_config)
        runner = RoleBatchedEnvRunner(config=config, worker_index=0)
        learner = config.learner_type(
            config=config, module_spec=config.get_multi_rl_module_spec(spaces=runner.get_spaces())
        )
        learner.build()
        for role in ROLES:
            learner.module[role].load_state_dict(runner.module[role].state_dict())
        return runner, learner, HRACBatchConnector(settings=config.settings)

    return make


def batch_of(parts):
    runner, learner, connector = parts
    return connector(rl_module=learner.module, batch={}, episodes=runner.sample())


# -- critics


def perturbed(batch, role, agent):
    """Values before and after another agent's observation, and the global state, change."""
    columns = batch[CRITIC]
    changed = {name: value.clone() for name, value in columns.items()}
    changed[SEEN + role][:, agent] += 0.5
    return columns, changed


def values(learner, columns):
    seen = {role: columns[SEEN + role] for role in ROLES}
    with torch.no_grad():
        return learner.module[CRITIC].values(columns["states"], seen)


def test_ippo_values_see_nothing_of_other_agents(parts):
    made = parts("ippo")
    columns, changed = perturbed(batch_of(made), "compute", 1)
    changed["states"] = changed["states"] + 1.0
    before, after = (values(made[1], c) for c in (columns, changed))
    for role in ROLES:
        same = (before[role] == after[role]).all(0)
        assert same.tolist() == ([True, False] if role == "compute" else [True] * before[role].shape[1]), role


def test_mappo_values_see_the_global_state_and_the_own_observation(parts):
    made = parts("mappo")
    columns, changed = perturbed(batch_of(made), "compute", 1)
    before, after = (values(made[1], c) for c in (columns, changed))
    assert not (before["compute"][:, 1] == after["compute"][:, 1]).any()
    torch.testing.assert_close(before["compute"][:, 0], after["compute"][:, 0])
    changed = {**columns, "states": columns["states"] + 1.0}
    after = values(made[1], changed)
    for role in ROLES:
        assert ((before[role] - after[role]).abs() > 1e-6).all(), role


def test_a_failed_nodes_value_does_not_hang_on_what_it_last_saw(parts):
    made = parts("ippo")
    columns = dict(batch_of(made)[CRITIC])
    layout = made[0].role_map.roles["compute"].layout
    dead = columns[SEEN + "compute"].clone()
    dead[..., layout.block("node").index("alive")] = 0
    other = dead.clone()
    other[..., layout.block("node").index("queue_length")] = 5
    one, two = (values(made[1], {**columns, SEEN + "compute": seen})["compute"] for seen in (dead, other))
    torch.testing.assert_close(one, two)
    alive = values(made[1], columns)["compute"]
    assert ((alive - one).abs() > 1e-6).all()


@pytest.mark.parametrize("name", ["mappo", "ippo"])
def test_targets_of_each_agent_are_those_of_gae_on_the_team_reward(parts, name):
    runner, learner, connector = parts(name)
    (rollout,) = runner.sample()
    assert rollout.truncated[:-1].any(), "the seam of episodes must be part of the test"
    critic = learner.module[CRITIC]
    seen = {role: torch.from_numpy(columns["observations"]) for role, columns in rollout.roles.items()}
    with torch.no_grad():
        value = {r: v.numpy() for r, v in critic.values(torch.from_numpy(rollout.states), seen).items()}
        last = {role: torch.from_numpy(v) for role, v in rollout.last_observations.items()}
        cut = {role: torch.from_numpy(v) for role, v in rollout.cut_observations.items()}
        last = critic.values(torch.from_numpy(rollout.last_states), last)
        cut = critic.values(torch.from_numpy(rollout.cut_states), cut)
    batch = connector(rl_module=learner.module, batch={}, episodes=[rollout])
    gamma, decay = connector.settings.discount, connector.settings.vtrace.lambda_
    rewards = rollout.team_rewards - rollout.team_rewards.mean()
    for role in ROLES:
        following = np.concatenate([value[role][1:], last[role].numpy()[None]])
        for row, (t, b) in enumerate(rollout.cut_index):
            following[t, b] = cut[role][row].numpy()
        advantage, later = np.zeros_like(following), 0.0
        for t in range(11, -1, -1):
            delta = rewards[t][:, None] + gamma * following[t] - value[role][t]
            later = delta + gamma * decay * later * ~rollout.truncated[t][:, None]
            advantage[t] = later
        expected = advantage + value[role]
        normaliser = critic.normaliser(role)
        got = normaliser.denormalise(batch[CRITIC][f"target_{role}"]).reshape(expected.shape)
        np.testing.assert_allclose(got, expected, atol=1e-3)
        assert float(normaliser.mean) == pytest.approx(float(expected.mean()), rel=1e-3, abs=1e-4)


def test_the_state_after_a_cut_is_recorded_as_agents_saw_it(parts):
    runner, _, _ = parts("ippo")
    (rollout,) = runner.sample()
    assert len(rollout.cut_index) == len(rollout.cut_observations["compute"]) > 0
    # In the toy, what a step shows is drawn anew: after a cut it is neither the row before nor the next episode's.
    for row, (t, b) in enumerate(rollout.cut_index):
        shown = rollout.cut_observations["compute"][row]
        assert (shown != rollout.roles["compute"]["observations"][t, b]).any()
        assert (shown != rollout.roles["compute"]["observations"][t + 1, b]).any()
    part = rollout.clusters(10, 20)
    assert len(part.cut_observations["storage"]) == len(part.cut_states)
    np.testing.assert_array_equal(part.last_observations["storage"], rollout.last_observations["storage"][10:20])


def test_value_loss_clips_and_is_linear_for_large_errors(parts):
    _, learner, _ = parts("mappo")
    columns = {"target_compute": torch.tensor([[0.0, 30.0]]), "old_compute": torch.tensor([[0.0, 0.0]])}
    loss, _ = learner._value_loss({"compute": torch.tensor([[1.0, 5.0]])}, columns)
    # 1: the unclipped error is larger, 0.5. 30: clipped at 0.2, Huber with delta 10: 10 (29.8 - 5), not 10 (25 - 5).
    assert float(loss) == pytest.approx((0.5 + 10 * (29.8 - 5)) / 2)


def test_all_agents_are_trained_on_the_team_reward(parts):
    runner, learner, connector = parts("happo")
    (rollout,) = runner.sample()
    critic = copy.deepcopy(learner.module[CRITIC].state_dict())
    first = connector(rl_module=learner.module, batch={}, episodes=[rollout])
    learner.module[CRITIC].load_state_dict(critic)  # the normalisers have moved
    for columns in rollout.roles.values():
        columns["local_rewards"] = columns["local_rewards"] + 3.0
    second = connector(rl_module=learner.module, batch={}, episodes=[rollout])
    for role in ROLES:
        assert torch.equal(first[role]["advantages"], second[role]["advantages"])


# -- HAPPO


def test_happo_gives_all_agents_the_one_advantage_of_the_joint_action(parts):
    batch = batch_of(parts("happo"))
    assert "target_compute" not in batch[CRITIC]
    flat = [batch[role]["advantages"] for role in ROLES]
    for advantages in flat:
        torch.testing.assert_close(advantages, advantages[:, :1].expand_as(advantages))
    torch.testing.assert_close(flat[0][:, 0], flat[2][:, 0])


def test_the_order_of_roles_is_random_and_seeded(parts):
    orders = [[made.draw_order() for _ in range(40)] for made in (parts("happo")[1], parts("happo")[1])]
    assert orders[0] == orders[1]
    assert all(sorted(order) == sorted(ROLES) for order in orders[0])
    assert {order[0] for order in orders[0]} == set(ROLES)
    assert len({tuple(order) for order in orders[0]}) == 6


def test_the_factor_is_the_product_of_ratios_over_the_agents_of_earlier_roles(parts, monkeypatch):
    made = parts("happo", {"update.factor_clip": 1e6})
    _, learner, _ = made
    order = ["storage", "scheduler", "compute"]
    monkeypatch.setattr(learner, "draw_order", lambda: order)
    batch = batch_of(made)
    rows = len(batch[CRITIC]["states"])
    for _ in learner._train(batch, lambda: iter([torch.arange(rows)])):
        pass
    with torch.no_grad():  # each role has moved in its own turn only
        output = learner.module.forward_train({role: batch[role] for role in ROLES})
    expected = np.ones(rows)
    for role in order:
        np.testing.assert_allclose(batch[role]["factor"][:, 0], expected, rtol=1e-2)
        new, old = output[role]["log_probs"].numpy(), batch[role]["anchor_log_probs"].numpy()
        for agent in range(new.shape[1]):
            expected = expected * np.exp(new[:, agent] - old[:, agent])
    assert np.abs(batch["compute"]["factor"][:, 0].numpy() - 1).max() > 1e-2


def test_the_factor_is_kept_within_its_clip(parts):
    made = parts("happo", {"update.factor_clip": 1.05})
    learner, batch = made[1], batch_of(made)
    columns = {**batch["compute"], "anchor_log_probs": batch["compute"]["anchor_log_probs"] - 1.0}
    rows = len(columns["advantages"])
    assert (learner.next_factor(torch.ones(rows), "compute", columns) == 1.05).all()
    columns["anchor_log_probs"] = batch["compute"]["anchor_log_probs"] + 1.0
    torch.testing.assert_close(learner.next_factor(torch.ones(rows), "compute", columns), torch.full((rows,), 1 / 1.05))


def test_the_factor_multiplies_the_surrogate(parts):
    _, learner, _ = parts("happo")
    columns = {
        "advantages": torch.tensor([[1.0], [-2.0]]),
        "active": torch.ones(2, 1, dtype=torch.bool),
        "anchor_log_probs": torch.zeros(2, 1),
        "factor": torch.tensor([[2.0], [0.5]]),
    }
    output = {"log_probs": torch.log(torch.tensor([[1.5], [1.1]])), "entropies": torch.zeros(2, 1)}
    loss, _ = learner._policy_loss("compute", output, columns)
    assert float(loss) == pytest.approx(-(2.0 * 1.2 * 1.0 + 0.5 * 1.1 * -2.0) / 2, rel=1e-5)


def test_a_roles_turn_moves_no_other_role(parts):
    made = parts("happo")
    learner, batch = made[1], batch_of(made)
    rows = len(batch[CRITIC]["states"])
    copies = {m: [p.detach().clone() for p in module.parameters()] for m, module in learner.module.items()}

    def moved():
        return {
            m
            for m, module in learner.module.items()
            if any(not torch.equal(a, b) for a, b in zip(copies[m], module.parameters(), strict=True))
        }

    grown = [moved() for _ in learner._train(batch, lambda: iter([torch.arange(rows)]))]
    # Two records a role, its factor and its step; at last the critic.
    assert [len(names) for names in grown] == [0, 1, 1, 2, 2, 3, 4]
    assert CRITIC not in grown[-2]
    assert CRITIC in grown[-1]


# -- configuration


def test_happo_refuses_policies_that_read_each_other():
    config = HAPPOConfig().happo({"networks.similarity": "scaled_dot", "networks.execution": "full"})
    with pytest.raises(ValueError, match="one role at a time"):
        config.validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks.critic": "agent"}, "expected 'mix' or 'off'"),
        ({"networks.critic": "team", "lgrs.mode": "mix", "lgrs.lambda": 0.5}, "one reward for all"),
        ({"networks.role_map": "shared"}, "roles.map"),
        ({"roles.map": "random"}, "random:<seed>"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        HRACSettings().override(changes)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_each_method_is_shipped_as_python_and_yaml_with_the_same_meaning(name):
    path = shipped_configs()[name]
    python, yaml = load_experiment(name), load_experiment(path.with_suffix(".yaml"))
    assert type(python.config) is type(yaml.config) is type(algorithm_config(name)) is CONFIGS[name]
    assert python.config.settings == yaml.config.settings
    assert python.stop == yaml.stop
    assert python.config.policy_name == name


@pytest.mark.parametrize("name", list(CONFIGS))
def test_methods_share_the_tuning_of_hrac(name):
    ours, theirs = CONFIGS[name]().settings, HRACSettings()
    for group in ("update", "vtrace", "sampling", "replay", "discount", "epoch_env_steps"):
        assert getattr(ours, group) == getattr(theirs, group)


def test_happo_is_learned_by_its_own_learner():
    assert HAPPOConfig().learner_class is HAPPOLearner
    assert MAPPOConfig().learner_class is HRACLearner
