"""Behaviour cloning, and training that begins with it, on the toy environment with its known right actions."""

import math

import numpy as np
import pytest

pytest.importorskip("ray")

import torch

from cloudsched_env.evaluation.recording import record
from cloudsched_env.evaluation.trajectories import TrajectoryError, load_trajectories
from cloudsched_env.rllib.cloning import BehaviourCloning
from cloudsched_env.rllib.demonstrations import demonstrations, effective_actions
from cloudsched_env.rllib.modules import CRITIC
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.scenario import load_scenario
from tests.rllib.toy_demonstrations import expert_trajectories, write_expert
from tests.rllib.toy_env import ToyVectorEnv, toy_config

ROLES = ("compute", "storage", "scheduler")
FAST = {"warm_start.learning_rate": 1e-2, "warm_start.minibatch_steps": 100, "warm_start.epochs": 8}


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def toy_levels():
    return {role: levels.tolist() for role, levels in ToyVectorEnv(1).action_levels.items()}


def cloning(changes=None, trajectories=None, episodes=40):
    settings = toy_config({**FAST, **(changes or {})}).settings
    config = toy_config({**FAST, **(changes or {})})
    module = config.rl_module_spec.build()
    data = demonstrations([trajectories or expert_trajectories(episodes)], toy_levels())
    return BehaviourCloning(module, data, settings, seed=1)


# -- actions as they took effect


def test_a_masked_action_of_a_node_keeps_the_only_allowed_level():
    masks = torch.tensor([[0, 1, 0, 1, 1], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.int8)
    actions = torch.tensor([[2, 0], [2, 1], [2, 1]])
    effective, choices, clear = effective_actions("compute", actions, masks, [3, 2])
    assert effective[0].tolist() == [1, 0]
    assert choices.tolist() == [[False, True], [True, True], [True, True]]
    # Row 1 asked for a masked level while two were allowed: which one it kept is not known.
    assert clear.tolist() == [True, False, True]
    assert effective[2].tolist() == [2, 1]


def test_a_masked_placement_is_a_deferral():
    masks = torch.tensor([[1, 0, 1, 0, 0, 1]], dtype=torch.int8)
    effective, choices, clear = effective_actions("scheduler", torch.tensor([[1, 0]]), masks, [3, 3])
    assert effective.tolist() == [[2, 2]]
    assert choices.tolist() == [[True, False]]
    assert clear.all()


def test_recorded_heuristics_can_be_cloned_although_they_ask_for_masked_levels(tmp_path):
    record(["least_allocated"], tmp_path, "tiny-v1", episodes=2, overrides={"time.horizon_steps": 60})
    scenario = load_scenario("tiny-v1", {"time.horizon_steps": 60})
    data = demonstrations(load_trajectories(tmp_path, scenario), toy_levels())
    assert data.unclear == 0
    # Nodes decide once a second: in one step of ten.
    for role in ("compute", "storage"):
        assert float(data.roles[role]["active"].float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(data.roles["scheduler"]["active"].float().mean()) > 0.5
    module = toy_config().rl_module_spec.build()
    with torch.no_grad():
        output = module.forward_train({role: dict(data.roles[role]) for role in ROLES})
    for role in ROLES:
        assert (output[role]["log_probs"] > -200).all()  # nothing impossible is left


# -- cloning


def test_a_clone_agrees_with_its_expert_on_episodes_that_it_has_not_seen():
    seen = []
    last = cloning().run(seen.append)
    assert [progress.epoch for progress in seen] == list(range(1, 9))
    for role in ROLES:
        assert last.agreement[role] > 0.9
        assert last.cross_entropy[role] < seen[0].cross_entropy[role]
    assert "agreement compute" in last.describe()
    assert last.row()["warm_start/agreement_storage"] == last.agreement["storage"]


@pytest.mark.parametrize("execution", ["role_summary", "full"])
def test_policies_that_attend_to_each_other_are_cloned_whole(execution):
    problem = cloning({"networks.execution": execution, "warm_start.epochs": 5})
    attention = problem.module["attention"].network.value["storage"].weight
    before = attention.detach().clone()
    last = problem.run()
    assert min(last.agreement.values()) > 0.7
    assert (attention - before).abs().max() > 1e-4


def test_what_the_clone_keeps_of_other_choices_follows_from_the_entropy_bonus():
    """An expert that always takes level 0: the loss has a minimum that a root finder gives."""
    beta = 0.5
    trajectories = expert_trajectories(40)
    for columns in trajectories.roles.values():
        columns["actions"][:] = 0
    problem = cloning({"warm_start.entropy": beta, "warm_start.epochs": 12}, trajectories)
    problem.run()
    data = problem.held_out
    for role in ("compute", "storage"):
        policy, columns = problem.module.policy(role), data.roles[role]
        logits = policy.logits(columns["observations"]).detach()
        for k, part in enumerate(logits.split(policy.action_levels, -1)):
            kept = float(1 - part.softmax(-1)[..., 0].mean())
            assert kept == pytest.approx(optimal_remainder(beta, policy.action_levels[k]), rel=0.15)


def optimal_remainder(beta, choices):
    """Root of 1 / (1 - d) = beta log((1 - d)(K - 1) / d) by bisection."""
    low, high = 1e-9, 1 - 1 / choices - 1e-9
    for _ in range(200):
        d = (low + high) / 2
        gain = beta * math.log((1 - d) * (choices - 1) / d) - 1 / (1 - d)
        low, high = (d, high) if gain > 0 else (low, d)
    return (low + high) / 2


def test_agents_without_a_choice_and_unclear_actions_do_not_count():
    problem = cloning()
    columns = {
        "active": torch.tensor([[True, False], [True, False]]),
        "choices": torch.tensor([[[True, True], [True, True]], [[True, False], [True, True]]]),
    }
    output = {
        "log_probs": torch.tensor([[-1.0, -50.0], [-2.0, -50.0]]),
        "entropies": torch.tensor([[0.5, 9.0], [0.4, 9.0]]),
    }
    loss, cross_entropy = problem._policy_loss(output, columns)
    assert float(cross_entropy) == pytest.approx(3.0 / 3)  # three sub-actions with a choice
    assert float(loss) == pytest.approx(1.0 - problem.settings.warm_start.entropy * 0.9 / 3)


def test_the_critic_learns_the_discounted_returns_of_the_recording():
    """The reward is a wave in time, so the return is known; discounting makes the unknown end small."""
    gamma = 0.6

    def wave(step):
        return 2.0 + math.sin(step / 2)

    trajectories = expert_trajectories(40, team_reward=wave)
    changes = {"discount": gamma, "warm_start.epochs": 25, "lgrs.mode": "mix", "lgrs.lambda": 0.0}
    problem = cloning(changes, trajectories)
    last = problem.run()
    assert last.explained_variance["team"] > 0.9
    critic = problem.module[CRITIC]
    with torch.no_grad():
        values = critic.normaliser("team").denormalise(critic.values(problem.held_out.states)["team"])[:10, 0]
    mean = np.mean([wave(t) for t in range(20)])  # rewards are centred
    expected = [sum(gamma**k * (wave(t + k) - mean) for k in range(20 - t)) for t in range(10)]
    # A return that begins one step late would be 0.6 off.
    assert float(np.sqrt(np.mean((values.numpy() - expected) ** 2))) < 0.35
    # Without local rewards and shaping, the roles' return is the team's.
    for role in ROLES:
        assert last.explained_variance[role] > 0.9
    # The potential that PPO begins with is this value, not the initial network's.
    with torch.no_grad():
        state = problem.held_out.states[3]
        live = critic.normaliser("team").denormalise(critic.values(state)["team"])
        np.testing.assert_allclose(critic.potential(state), live, atol=1e-5)


@pytest.mark.parametrize("critic", ["agent", "team"])
def test_critics_of_mappo_and_happo_learn_the_returns_too(critic):
    gamma = 0.6

    def wave(step):
        return 2.0 + math.sin(step / 2)

    changes = {"discount": gamma, "lgrs.mode": "mix", "lgrs.lambda": 0.0}
    changes |= {
        "warm_start.epochs": 40,
        "warm_start.learning_rate": 3e-3,
        "networks.critic": critic,
        "networks.similarity": "off",
    }
    problem = cloning(changes, expert_trajectories(40, team_reward=wave))
    last = problem.run()
    heads = ["team"] if critic == "team" else list(ROLES)
    assert sorted(last.explained_variance) == sorted(heads)
    data, module = problem.held_out, problem.module[CRITIC]
    seen = {role: columns["observations"][:10] for role, columns in data.roles.items()}
    with torch.no_grad():
        values = module.values(data.states[:10], seen)
    mean = np.mean([wave(t) for t in range(20)])  # rewards are centred
    expected = np.array([sum(gamma**k * (wave(t + k) - mean) for k in range(20 - t)) for t in range(10)])
    for head in heads:
        assert last.explained_variance[head] > 0.9
        found = module.normaliser(head).denormalise(values[head]).numpy().reshape(10, data.states.shape[1], -1)
        assert found.shape[-1] == (1 if critic == "team" else data.roles[head]["actions"].shape[2])
        assert float(np.sqrt(np.mean((found - expected[:, None, None]) ** 2))) < 0.35


def test_what_cloning_cannot_do_is_refused_by_name():
    start = {"warm_start.trajectories": "somewhere"}
    with pytest.raises(ValueError, match=r"roles\.map.*agent_type"):
        HRACSettings().override({**start, "roles.map": "shared"})
    with pytest.raises(ValueError, match=r"networks\.memory"):
        HRACSettings().override({**start, "networks.memory": "gru"})
    with pytest.raises(ValueError, match=r"roles\[0\]' is 'node': expected one of compute, storage, scheduler"):
        HRACSettings().override({"warm_start.roles": ["node"]})


def test_roles_that_are_not_named_keep_their_first_policies():
    problem = cloning({"warm_start.roles": ["compute", "storage"], "warm_start.epochs": 2})
    before = {role: [p.detach().clone() for p in problem.module.policy(role).parameters()] for role in ROLES}
    last = problem.run()
    assert set(last.agreement) == set(last.cross_entropy) == {"compute", "storage"}
    for role in ROLES:
        pairs = zip(before[role], problem.module.policy(role).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == (role == "scheduler")
    assert "scheduler" in last.explained_variance  # the critic judges all roles


def test_the_critic_is_left_alone_if_so_wished():
    problem = cloning({"warm_start.critic": False, "warm_start.epochs": 1})
    before = [p.detach().clone() for p in problem.module[CRITIC].network.parameters()]
    last = problem.run()
    assert last.explained_variance == {}
    assert all(torch.equal(a, b) for a, b in zip(before, problem.module[CRITIC].network.parameters(), strict=True))


def test_the_critic_is_kept_as_it_was_before_it_overfitted():
    """Held-out rewards that are the opposite of those learned from: the more the critic learns, the worse it is."""
    trajectories = expert_trajectories(40, team_reward=lambda step: 2.0 + math.sin(step / 2))
    changes = {"warm_start.epochs": 12, "discount": 0.6, "lgrs.mode": "mix", "lgrs.lambda": 0.0}
    problem = cloning(changes, trajectories)
    problem.held_out.team_rewards.mul_(-1).add_(4.0)
    seen = []
    last = problem.run(seen.append)
    means = [np.mean(list(progress.explained_variance.values())) for progress in seen]
    best = int(np.argmax(means[:-1]))
    assert means[-2] < means[best] - 0.1  # it did get worse
    assert means[-1] == pytest.approx(means[best])  # the last report is of what is kept
    assert last == seen[-1]
    assert last.cross_entropy["compute"] < seen[best].cross_entropy["compute"]  # policies went on to learn


def test_the_same_seed_clones_the_same_policy():
    one, two = (cloning({"warm_start.epochs": 2}) for _ in range(2))
    assert one.run().cross_entropy == two.run().cross_entropy


def test_one_episode_cannot_be_split():
    with pytest.raises(ValueError, match="at least 2 recorded episodes"):
        cloning(episodes=1)


# -- training


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    return write_expert(tmp_path_factory.mktemp("expert"))


@pytest.mark.ray
def test_training_begins_where_the_expert_is_and_a_restored_run_does_not_clone_again(ray_local, expert, tmp_path):
    from ray.rllib.algorithms.algorithm import Algorithm

    changes = {**FAST, "warm_start.trajectories": str(expert), "epoch_env_steps": 800}
    algorithm = toy_config(changes).build_algo()
    lines = []
    algorithm.on_warm_start = lines.append
    try:
        first = algorithm.train()["env_runners"]["episode"]["team_reward"]
        assert first > 0.75  # drawn actions; 0.4 and less without the warm start
        assert algorithm.warm_start_result == lines[-1]
        assert len(lines) == 8
        algorithm.save_to_path(str(tmp_path / "checkpoint"))
        restored = Algorithm.from_checkpoint(str(tmp_path / "checkpoint"))
        try:
            restored.train()
            assert restored.warm_start_result is None
        finally:
            restored.stop()
    finally:
        algorithm.stop()


@pytest.mark.ray
def test_the_first_row_of_the_log_tells_how_cloning_ended(ray_local, expert, tmp_path):
    import csv

    from cloudsched_env.rllib.networks import load_policy
    from cloudsched_env.rllib.training import TrainingOptions, train

    config = toy_config({**FAST, "warm_start.trajectories": str(expert), "epoch_env_steps": 800})
    train(config, TrainingOptions(tmp_path / "run", stop={"training_iteration": 2}, progress=False))
    with (tmp_path / "run" / "progress.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["warm_start/agreement_compute"]) > 0.75
    assert second["warm_start/agreement_compute"] == ""
    metadata = load_policy(tmp_path / "run" / "policy").metadata
    assert metadata["settings"]["warm_start"]["trajectories"] == expert.name  # no path of this machine


@pytest.mark.ray
def test_trajectories_that_are_not_there_are_named_before_training(ray_local, tmp_path):
    config = toy_config({"warm_start.trajectories": str(tmp_path / "none")})
    algorithm = config.build_algo()
    try:
        with pytest.raises(TrajectoryError, match="cloudsched record"):
            algorithm.train()
    finally:
        algorithm.stop()


def test_a_loss_that_is_not_finite_is_told_with_its_pass():
    problem = cloning(episodes=10)
    with torch.no_grad():
        problem.module.policy("compute").head.bias[0] = math.nan
    with pytest.raises(ValueError, match="pass 1"):
        problem.run()


# -- roles that begin as an earlier run's, and roles that do not learn


@pytest.fixture(scope="module")
def policy_folder(tmp_path_factory):
    """An untrained policy of tiny-v1 with weights of its own."""
    from cloudsched_env.rllib.networks import NetworkConfig, build_networks, save_policy

    torch.manual_seed(7)
    scenario, config = load_scenario("tiny-v1"), NetworkConfig()
    folder = tmp_path_factory.mktemp("policy")
    networks = {name: net for name, net in build_networks(scenario, config).items() if name != CRITIC}
    save_policy(folder, networks, scenario, config)
    return folder


def parameters_of(module, role):
    return [p.detach().clone() for p in module.policy(role).parameters()]


def test_roles_begin_with_the_weights_of_a_policy_and_the_others_do_not(policy_folder):
    from cloudsched_env.rllib.networks import load_policy
    from cloudsched_env.rllib.warm_start import load_roles

    config = toy_config({"warm_start.policies": {"storage": str(policy_folder)}})
    module = config.rl_module_spec.build()
    before = {role: parameters_of(module, role) for role in ROLES}
    load_roles(module, config.settings)
    stored = load_policy(policy_folder).networks["storage"]
    assert all(torch.equal(a, b) for a, b in zip(parameters_of(module, "storage"), stored.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(parameters_of(module, "storage"), before["storage"], strict=True))
    for role in ("compute", "scheduler"):
        assert all(torch.equal(a, b) for a, b in zip(parameters_of(module, role), before[role], strict=True))


def test_roles_that_begin_with_a_policy_are_not_cloned(policy_folder):
    start = {"warm_start.policies": {"compute": str(policy_folder)}, "warm_start.epochs": 1}
    problem = cloning({**start, "warm_start.roles": ["storage"]})
    before = {role: parameters_of(problem.module, role) for role in ROLES}
    last = problem.run()
    assert set(last.agreement) == {"storage"}
    for role in ROLES:
        pairs = zip(parameters_of(problem.module, role), before[role], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == (role != "storage")
    assert cloning(start).run().agreement == {}  # with policies only what is named is cloned


def test_with_a_policy_for_every_role_the_critic_alone_is_fitted(policy_folder):
    problem = cloning({"warm_start.policies": dict.fromkeys(ROLES, str(policy_folder)), "warm_start.epochs": 2})
    before = {role: parameters_of(problem.module, role) for role in ROLES}
    last = problem.run()
    assert last.agreement == {}
    assert set(last.explained_variance) >= set(ROLES)
    assert "of no role" in last.describe()
    for role in ROLES:
        assert all(torch.equal(a, b) for a, b in zip(parameters_of(problem.module, role), before[role], strict=True))


def test_a_policy_that_does_not_fit_is_refused_by_role_and_folder(policy_folder, tmp_path):
    from cloudsched_env.rllib.warm_start import load_roles

    given = {"warm_start.policies": {"compute": str(policy_folder)}}
    smaller = toy_config({**given, "networks.embedding_size": 8})
    with pytest.raises(ValueError, match=r"role 'compute' of .* does not fit .*networks\.\*"):
        load_roles(smaller.rl_module_spec.build(), smaller.settings)
    nowhere = toy_config({"warm_start.policies": {"compute": str(tmp_path)}})
    with pytest.raises(FileNotFoundError, match="holds no trained policy"):
        load_roles(nowhere.rl_module_spec.build(), nowhere.settings)
    with pytest.raises(ValueError, match=r"networks\.execution.*'none'"):
        HRACSettings().override({**given, "networks.execution": "full"})
    with pytest.raises(ValueError, match=r"warm_start\.roles' names compute"):
        HRACSettings().override({**given, "warm_start.roles": ["compute"]})
    with pytest.raises(ValueError, match=r"compute, storage, scheduler"):
        HRACSettings().override({"warm_start.policies": {"node": "x"}})


def test_a_scheduler_can_begin_as_the_correction_of_a_rule_beside_a_policy_that_knows_of_none(policy_folder):
    from cloudsched_env.agents.linear import LinearParameters
    from cloudsched_env.rllib.networks import load_policy
    from cloudsched_env.rllib.warm_start import load_roles

    config = toy_config(
        {
            "networks.rule_features": True,
            "warm_start.rule": "linear_static",
            "warm_start.rule_scale": 3.0,
            "warm_start.policies": {"scheduler": str(policy_folder)},
        }
    )
    module = config.rl_module_spec.build()
    assert config.settings.warm_start.wanted
    load_roles(module, config.settings)
    found = module.policy("scheduler").state_dict()
    rule = LinearParameters.packaged("static").as_feedback()
    np.testing.assert_allclose(found["rule.weight"][0], 3.0 * rule.group("placement"), rtol=1e-6)
    np.testing.assert_allclose(found["rule_defer.weight"][0], 3.0 * rule.group("defer"), rtol=1e-6)
    for name, value in load_policy(policy_folder).networks["scheduler"].state_dict().items():
        assert torch.equal(found[name], value)
    with pytest.raises(ValueError, match=r"warm_start\.rule.*networks\.rule_features=true"):
        HRACSettings().override({"warm_start.rule": "linear_feedback"})


@pytest.mark.ray
@pytest.mark.parametrize("algorithm_name", ["hrac_lgrs", "happo"])
def test_only_the_roles_that_are_named_learn(ray_local, policy_folder, algorithm_name):
    from cloudsched_env.rllib.config_files import load_experiment

    changes = {
        "warm_start.policies": dict.fromkeys(ROLES, str(policy_folder)),
        "update.roles": ["storage"],
        "epoch_env_steps": 200,
        "sampling.clusters": 10,
        "sampling.phases": 1,
        "sampling.rollout_steps": 20,
        "update.minibatch_steps": 100,
        "update.warmup_epochs": 0,
        "scenario": "tiny-v1",
        "validation.every_epochs": 0,
    }
    algorithm = load_experiment(algorithm_name).config.change_settings(changes).build_algo()
    try:
        algorithm.train()
        module = algorithm.learner_group._learner.module
        moved = {role: parameters_of(module, role) for role in ROLES}
    finally:
        algorithm.stop()
    from cloudsched_env.rllib.networks import load_policy

    begun = load_policy(policy_folder).networks
    same = {
        role: all(torch.equal(a, b) for a, b in zip(moved[role], begun[role].parameters(), strict=True))
        for role in ROLES
    }
    assert same == {"compute": True, "storage": False, "scheduler": True}


def test_a_role_that_is_to_learn_alone_is_one_that_there_is():
    settings = HRACSettings().override({"update.roles": ["disks"]})
    with pytest.raises(ValueError, match=r"update\.roles' is given for 'disks': expected roles among compute"):
        settings.check_roles(ROLES)
