"""The algorithm as a whole, on the toy environment with its known optimum."""

import os

import numpy as np
import pytest

pytest.importorskip("ray")

import torch

from cloudsched_env.rllib.connector import HRACBatchConnector
from cloudsched_env.rllib.hrac import HRACConfig
from cloudsched_env.rllib.learner import HRACLearner
from cloudsched_env.rllib.modules import CRITIC, spaces
from cloudsched_env.rllib.results import epoch_row
from cloudsched_env.rllib.role_learner import TrainingDivergedError
from cloudsched_env.scenario import load_scenario
from tests.rllib.toy_env import OPTIMUM, toy_config

pytestmark = pytest.mark.ray


@pytest.fixture
def build(ray_local):
    built = []

    def make(changes=None, **env_config):
        config = changes if isinstance(changes, HRACConfig) else toy_config(changes, **env_config)
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def weights(algorithm):
    state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
    return {f"{m}.{name}": np.asarray(v) for m, values in state.items() for name, v in values.items()}


def test_policies_come_near_the_known_optimum_in_seconds(build):
    algorithm = build()
    random_score = None
    for _ in range(35):
        result = algorithm.train()
        score = result["env_runners"]["episode"]["team_reward"]
        random_score = score if random_score is None else random_score
        if score > 0.9 * OPTIMUM:
            break
    assert random_score < 0.45
    assert score > 0.9 * OPTIMUM


@pytest.mark.parametrize("execution", ["role_summary", "full"])
def test_attention_of_the_policies_is_trained_and_reaches_the_runner(build, execution):
    algorithm = build({"networks.execution": execution, "epoch_env_steps": 800})
    before = weights(algorithm)
    algorithm.train()
    after = weights(algorithm)
    name = "attention.network.value.storage.weight"
    assert np.abs(after[name] - before[name]).max() > 1e-4
    runner_weights = algorithm.env_runner.module["attention"].state_dict()
    np.testing.assert_allclose(runner_weights["network.value.storage.weight"], after[name], rtol=1e-6)


def test_an_iteration_is_an_epoch_of_the_configured_env_steps(build):
    row = epoch_row(build({"lgrs.lambda": 0.1}).train(), 1, 0.0)
    assert row["env_steps"] == 1600
    for role in ("compute", "storage", "scheduler"):
        assert 0 <= row[f"{role}/clipped_share"] <= 1
        assert row[f"{role}/entropy"] > 0
        assert row[f"{role}/lgrs_local_term_std"] > 0


def test_off_policyness_is_logged_once_roll_outs_are_replayed(build):
    algorithm = build({"replay.rollouts": 2, "replay.passes": 1})
    row = epoch_row(algorithm.train(), 1, 0.0)
    assert row["compute/replay_rho_mean"] == pytest.approx(1.0, abs=0.2)
    assert row["compute/replay_rho_variance"] > 0
    assert row["central_critic/replay_rho_variance"] > row["compute/replay_rho_variance"]  # the joint ratio
    assert 0 < row["central_critic/replay_rho_clipped_share"] < 1


def test_a_checkpoint_restores_every_weight_the_potential_the_normalisers_and_the_counters(build, tmp_path):
    from ray.rllib.algorithms.algorithm import Algorithm

    algorithm = build()
    algorithm.train()
    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    restored = Algorithm.from_checkpoint(str(tmp_path / "checkpoint"))
    try:
        before, after = weights(algorithm), weights(restored)
        assert before.keys() == after.keys()
        kinds = ("lagged_network", "normalisers.team.first_moment", "lgrs.variances", "heads.scheduler")
        assert all(any(kind in name for name in before) for kind in kinds)
        for name, value in before.items():
            np.testing.assert_array_equal(value, after[name], err_msg=name)
        assert before["central_critic.normalisers.team.weight"] > 0
        assert restored.iteration == 1
        assert epoch_row(restored.train(), 2, 0.0)["env_steps"] == 2 * 1600
        optimizer = restored.learner_group.get_state()["learner"]["optimizer"]
        assert any(state["state"]["state"] for state in optimizer.values())
    finally:
        restored.stop()


def test_the_same_seed_trains_the_same_policy(build):
    one, two = build(), build()
    one.train(), two.train()
    first, second = weights(one), weights(two)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def scaled_out(ray_local):
    """One remote runner and two remote learners, after two epochs."""
    algorithm = toy_config().env_runners(num_env_runners=1).learners(num_learners=2).build_algo()
    rows = [epoch_row(algorithm.train(), epoch, 0.0) for epoch in (1, 2)]
    yield algorithm, rows
    algorithm.stop()


@pytest.mark.slow
def test_a_remote_runner_samples_with_the_learners_weights(scaled_out):
    algorithm, rows = scaled_out
    assert [row["env_steps"] for row in rows] == [1600, 3200]
    learned = weights(algorithm)
    (remote,) = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module["compute"].network.head.weight.detach().numpy(), local_env_runner=False
    )
    np.testing.assert_allclose(remote, learned["compute.network.head.weight"], rtol=1e-6)
    names = algorithm.env_runner_group.foreach_env_runner(lambda r: sorted(r.module.keys()), local_env_runner=False)
    assert names == [["compute", "scheduler", "storage"]]  # the critic never leaves the learners


@pytest.mark.slow
def test_two_learners_stay_in_step(scaled_out):
    algorithm, _ = scaled_out
    results = algorithm.learner_group.foreach_learner(
        lambda learner: {
            f"{m}.{k}": v.numpy() for m, module in learner.module.items() for k, v in module.state_dict().items()
        }
    )
    one, two = (result.get() for result in results)
    assert len(one) > 50
    assert one["central_critic.lgrs.variances"].min() > 0
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_learners_whose_roll_outs_are_finite_do_not_wait_for_one_whose_are_not(ray_local, tmp_path, monkeypatch):
    algorithm = toy_config().learners(num_learners=2).build_algo()
    where = {"CLOUDSCHED_RUN_DIR": str(tmp_path)}
    algorithm.learner_group.foreach_learner(lambda learner: os.environ.update(where))
    sample = algorithm.env_runner.sample

    def spoiled(**options):
        (rollout,) = sample(**options)
        rollout.roles["storage"]["observations"][3, 5] = np.nan  # of the first learner's clusters
        return [rollout]

    monkeypatch.setattr(algorithm.env_runner, "sample", spoiled)
    try:
        with pytest.raises(TrainingDivergedError) as caught:
            algorithm.train()
    finally:
        algorithm.stop()
    assert "storage.observations is not finite at step 3 of cluster 5" in str(caught.value.cause)
    (saved,) = tmp_path.glob("diverged_batch_*_learner0.pt")
    assert saved.name in str(caught.value.cause)


def test_step_sizes_are_annealed_over_the_given_epochs(build):
    algorithm = build({"update.anneal_epochs": 2, "update.learning_rate": 1e-3})
    # An epoch has two updates, at 0.5, 1, 1.5 and 2 epochs; what is logged is their mean.
    rates = [epoch_row(algorithm.train(), e, 0.0)["compute/default_optimizer_learning_rate"] for e in (1, 2, 3)]
    assert rates == pytest.approx([(7.75e-4 + 5.5e-4) / 2, (3.25e-4 + 1e-4) / 2, 1e-4])


def test_the_potential_lags_behind_the_critic(build):
    algorithm = build({"lgrs.potential_rate": 0.25, "epoch_env_steps": 800})
    before = weights(algorithm)
    algorithm.train()
    after = weights(algorithm)
    name = "team_head.1.weight"
    start, live = before[f"{CRITIC}.lagged_network.{name}"], after[f"{CRITIC}.network.{name}"]
    np.testing.assert_allclose(after[f"{CRITIC}.lagged_network.{name}"], start + 0.25 * (live - start), atol=1e-6)
    assert np.abs(live - start).max() > 1e-3


@pytest.fixture
def learner(ray_local):
    config = toy_config()
    spec = config.get_multi_rl_module_spec(spaces=spaces(load_scenario("tiny-v1")))
    built = HRACLearner(config=config, module_spec=spec)
    built.build()
    return built


def test_a_loss_that_is_not_finite_stops_training_and_saves_the_batch(learner, tmp_path, monkeypatch):
    from cloudsched_env.rllib.runner import RoleBatchedEnvRunner

    monkeypatch.setenv("CLOUDSCHED_RUN_DIR", str(tmp_path))
    runner = RoleBatchedEnvRunner(config=toy_config(), worker_index=0)
    (rollout,) = runner.sample()
    learner.update(episodes=[rollout], num_epochs=1, minibatch_size=400)
    rollout.states[3, 5] = np.nan
    with pytest.raises(TrainingDivergedError, match="states is not finite at step 3 of cluster 5") as caught:
        learner.update(episodes=[rollout], num_epochs=1, minibatch_size=400)
    (saved,) = tmp_path.glob("diverged_batch_*.pt")
    assert saved.name in str(caught.value)
    assert torch.load(saved)["cluster"]["states"][3, 5].isnan().all()
    saved.unlink()
    batch = HRACBatchConnector(settings=learner.settings)(rl_module=learner.module, batch={}, episodes=runner.sample())
    batch["compute"]["advantages"][7] = float("nan")
    with pytest.raises(TrainingDivergedError, match=r"compute\.advantages") as caught:
        learner._update(batch)
    (saved,) = tmp_path.glob("diverged_batch_*.pt")
    assert saved.name in str(caught.value)
    assert torch.load(saved)["compute"]["advantages"][7].isnan().all()
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    monkeypatch.setenv("CLOUDSCHED_RUN_DIR", str(nowhere))
    with pytest.raises(TrainingDivergedError, match=r"advantages.*could not be saved to .*File exists"):
        learner._update(batch)


def test_roles_weigh_the_same_whatever_their_size_and_idle_agents_not_at_all(learner):
    columns = {
        "advantages": torch.tensor([[1.0, 5.0], [3.0, 5.0]]),
        "active": torch.tensor([[True, False], [True, False]]),
        "anchor_log_probs": torch.zeros(2, 2),
    }
    output = {"log_probs": torch.log(torch.tensor([[1.1, 9.0], [1.5, 9.0]])), "entropies": torch.ones(2, 2)}
    loss, statistics = learner._policy_loss("storage", output, columns)
    # The second ratio is clipped at 1 + 0.2; idle agents (5.0, ratio 9) do not count.
    expected = -(1.1 * 1 + 1.2 * 3) / 2
    assert float(statistics["policy_loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(loss) == pytest.approx(expected - learner.settings.entropy_of("storage"), rel=1e-5)
    assert float(statistics["clipped_share"]) == pytest.approx(0.5)


def test_minibatches_cover_every_row_once_in_each_pass(learner):
    rows = [index.tolist() for index in learner._minibatch_rows(1000, 300, 2, 0)]
    assert [len(r) for r in rows] == [334, 334, 332] * 2
    for third in (rows[:3], rows[3:]):
        assert sorted(row for part in third for row in part) == list(range(1000))
    assert rows[0] != rows[3]


def test_a_minibatch_holds_the_agents_that_had_a_choice_in_its_env_steps(learner):
    identity = torch.arange(10)[:, None] * 100 + torch.arange(6)
    has_choice = torch.zeros(10, 6, dtype=torch.bool)
    has_choice[7, [1, 4]] = has_choice[2, 3] = has_choice[5, 0] = True
    rows = {
        "compute": {"active": torch.ones(10, 6, dtype=torch.bool), "advantages": identity},
        "storage": {"active": has_choice, "advantages": identity},
        "scheduler": {"active": torch.zeros(10, 6, dtype=torch.bool), "advantages": identity},
        CRITIC: {"states": torch.arange(10)},
    }
    part = learner._minibatch(rows, torch.tensor([7, 2]))
    assert part[CRITIC]["states"].tolist() == [7, 2]
    assert sorted(part["storage"]["advantages"].flatten().tolist()) == [203, 701, 704]
    assert part["storage"]["active"].all()
    limit = 2 * learner.settings.update.agents_per_role
    chosen = part["compute"]["advantages"].flatten().tolist()
    assert len(chosen) == len(set(chosen)) == min(limit, 12)
    assert {value // 100 for value in chosen} <= {7, 2}
    assert not part["scheduler"]["active"].any()  # nobody: one agent of weight 0
    assert part["scheduler"]["advantages"].shape == (1, 1)


def test_agents_left_out_of_a_minibatch_change_nothing_where_summaries_were_delivered(ray_local):
    from cloudsched_env.rllib.runner import RoleBatchedEnvRunner

    changes = {"networks.execution": "role_summary", "update.agents_per_role": 0}
    config = toy_config(changes)
    learner = HRACLearner(
        config=config, module_spec=config.get_multi_rl_module_spec(spaces=spaces(load_scenario("tiny-v1")))
    )
    learner.build()
    rollouts = RoleBatchedEnvRunner(config=config, worker_index=0).sample()
    rows = HRACBatchConnector(settings=learner.settings)(rl_module=learner.module, batch={}, episodes=rollouts)
    index = torch.arange(0, len(rows[CRITIC]["states"]), 3)
    rows["storage"]["active"][:, 0] = False  # somebody to leave out
    found = []
    for everybody in (True, False):
        learner._needs_all_agents = everybody
        batch = learner._minibatch(rows, index)
        losses, _ = learner._losses(learner.module.forward_train(batch), batch)
        sum(losses.values()).backward()
        attention = learner.module["attention"].unwrapped().network
        gradient = attention.value["compute"].weight.grad.clone()
        attention.zero_grad()
        found.append(
            (
                batch["storage"]["active"].numel(),
                {role: float(loss.detach()) for role, loss in losses.items()},
                gradient,
            )
        )
    assert found[1][0] < found[0][0]
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-4)
    np.testing.assert_allclose(found[1][2], found[0][2], rtol=1e-3, atol=1e-7)
    assert found[0][2].abs().max() > 1e-6


def test_unequal_shares_among_learners_are_refused():
    config = toy_config().learners(num_learners=3)
    with pytest.raises(ValueError, match="multiple of num_learners"):
        config.validate()


def test_unknown_config_keys_are_refused_by_name():
    with pytest.raises(ValueError, match=r"num_env_runers.*num_env_runners"):
        HRACConfig().update_from_dict({"num_env_runers": 2})
    settings = {
        "hrac": {"lgrs.mode": "mix"},
        "num_env_runners": 2,
        "__trial_info__": object(),
    }  # Tune adds the last one
    config = HRACConfig().update_from_dict(settings)
    assert config.settings.lgrs.mode == "mix"
    assert config.num_env_runners == 2
