import numpy as np
import pytest

pytest.importorskip("ray")

from cloudsched_env.rllib.runner import RoleBatchedEnvRunner
from tests.rllib.toy_env import HORIZON, WARMUP, toy_config

pytestmark = pytest.mark.ray
COUNTS = {"compute": 2, "storage": 2, "scheduler": 1}


def make_runner(changes=None, *, validating=False, **env_config):
    config = toy_config(changes, **env_config)
    config.in_evaluation = validating
    return RoleBatchedEnvRunner(config=config, worker_index=0)


def test_a_roll_out_has_one_row_for_each_env_step_in_every_array(ray_local):
    (rollout,) = make_runner({"sampling.rollout_steps": 13}).sample()
    assert rollout.shape == (13, 40)
    for role, count in COUNTS.items():
        columns = rollout.roles[role]
        assert all(values.shape[:3] == (13, 40, count) for values in columns.values())
        assert np.isfinite(columns["log_probs"]).all()
        assert (columns["log_probs"] <= 0).all()
    assert rollout.agent_steps() == 13 * 40 * 5


def test_groups_of_clusters_stand_at_different_times(ray_local):
    runner = make_runner({"sampling.rollout_steps": 2 * HORIZON})
    (rollout,) = runner.sample()
    cuts = [np.flatnonzero(rollout.truncated[:, b]).tolist() for b in (0, 10, 20, 30)]
    assert cuts == [[4, 24], [9, 29], [14, 34], [19, 39]]
    assert (rollout.truncated[:, :10] == rollout.truncated[:, :1]).all()
    assert len(rollout.cut_states) == rollout.truncated[:-1].sum()  # the last row's state is in last_states
    elapsed = rollout.states[..., -7]  # first field of the cluster block: share of the horizon
    assert elapsed[5, 0] == 0
    assert elapsed[4, 0] == pytest.approx(4 / HORIZON)
    first_cut = rollout.cut_states[(rollout.cut_index == [4, 0]).all(1)]
    assert first_cut[0, -7] == pytest.approx(5 / HORIZON)  # the state after the cut step, before the reset


def test_the_next_roll_out_goes_on_where_the_last_one_ended(ray_local):
    runner = make_runner({"sampling.rollout_steps": 7})
    (first,), (second,) = runner.sample(), runner.sample()
    for b in (10, 30):  # groups that were not cut at the seam
        np.testing.assert_array_equal(first.last_states[b], second.states[0, b])


def test_the_same_seed_gives_the_same_roll_out_and_another_seed_does_not(ray_local):
    one, two = (make_runner().sample()[0] for _ in range(2))
    assert one.team_rewards.tobytes() == two.team_rewards.tobytes()
    assert one.roles["scheduler"]["actions"].tobytes() == two.roles["scheduler"]["actions"].tobytes()
    config = toy_config().debugging(seed=1)
    other = RoleBatchedEnvRunner(config=config, worker_index=0).sample()[0]
    assert one.roles["compute"]["observations"].tobytes() != other.roles["compute"]["observations"].tobytes()
    worker = RoleBatchedEnvRunner(config=toy_config(), worker_index=1).sample()[0]
    assert one.roles["compute"]["observations"].tobytes() != worker.roles["compute"]["observations"].tobytes()


def test_stored_log_probabilities_are_those_of_the_stored_actions(ray_local):
    import torch

    runner = make_runner()
    (rollout,) = runner.sample()
    batch = {role: {k: torch.from_numpy(v) for k, v in columns.items()} for role, columns in rollout.roles.items()}
    with torch.no_grad():
        output = runner.module.forward_train(batch)
    for role in COUNTS:
        np.testing.assert_allclose(output[role]["log_probs"], rollout.roles[role]["log_probs"], atol=1e-4)


def test_validation_runs_the_same_whole_episodes_every_time_and_counts_no_warm_up(ray_local):
    runner = make_runner(validating=True)
    scores = []
    for _ in range(2):
        (counts,) = runner.sample(num_episodes=8, explore=False)
        assert counts.env_steps() == 8 * HORIZON
        assert counts.agent_steps() == 8 * HORIZON * 5
        metrics = runner.get_metrics()
        scores.append(float(metrics["episode"]["team_reward"].peek()))
        episode_return = float(metrics["episode_return_mean"].peek())
        assert episode_return == pytest.approx(scores[-1] * (HORIZON - WARMUP), rel=1e-5)
    assert scores[0] == scores[1]


@pytest.mark.parametrize("execution", ["role_summary", "full"])
def test_policies_that_read_summaries_evaluate_what_they_acted_on(ray_local, execution):
    import torch

    runner = make_runner({"networks.execution": execution, "sampling.rollout_steps": 12})
    with torch.no_grad():  # make the context matter
        for parameter in (p for module in runner.module.values() for p in module.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    (rollout,) = runner.sample()
    batch = {role: {k: torch.from_numpy(v) for k, v in columns.items()} for role, columns in rollout.roles.items()}
    assert ("summaries" in batch["compute"]) == (execution == "role_summary")
    with torch.no_grad():
        output = runner.module.forward_train(batch)
    for role in COUNTS:
        np.testing.assert_allclose(output[role]["log_probs"], rollout.roles[role]["log_probs"], atol=1e-3)
    if execution == "role_summary":
        stale = {role: dict(columns) for role, columns in batch.items()}
        for columns in stale.values():
            columns["summaries"] = columns["summaries"] + 1.0
        with torch.no_grad():
            changed = runner.module.forward_train(stale)
        assert not np.allclose(changed["compute"]["log_probs"], output["compute"]["log_probs"], atol=1e-3)
