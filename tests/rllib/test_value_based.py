"""QMIX and VDN as algorithms of RLlib, on the toy environment with its known optimum."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("ray")

import torch
from typer.testing import CliRunner

from cloudsched_env.cli.train import app
from cloudsched_env.rllib import HRACSettings, QMIXConfig
from cloudsched_env.rllib.config_files import load_experiment, shipped_configs
from cloudsched_env.rllib.networks import TrainedAgent
from cloudsched_env.rllib.results import epoch_row
from cloudsched_env.rllib.role_learner import TrainingDivergedError
from cloudsched_env.rllib.training import TrainingOptions, train
from cloudsched_env.rllib.value_based.loss import td_loss
from cloudsched_env.rllib.value_based.settings import ExplorationSettings, ValueSettings
from tests.rllib.test_hrac import weights
from tests.rllib.test_train_command import ENVIRONMENT, rows
from tests.rllib.toy_env import OPTIMUM, ToyVectorEnv, toy_value_config

pytestmark = pytest.mark.ray


@pytest.fixture
def build(ray_local):
    built = []

    def make(algorithm="qmix", changes=None, **env_config):
        built.append(toy_value_config(algorithm, changes, **env_config).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def greedy_score(algorithm):
    algorithm.env_runner.sample(num_episodes=40, explore=False)
    return float(algorithm.env_runner.get_metrics()["episode"]["team_reward"].peek())


@pytest.mark.parametrize("name", ["qmix", "vdn"])
def test_greedy_actions_come_near_the_known_optimum(build, name):
    algorithm = build(name)
    before = greedy_score(algorithm)
    for _ in range(30):
        if epoch_row(algorithm.train(), 1, 0.0)["team_reward"] > 0.8 * OPTIMUM:
            break  # while it still explores
    assert before < 0.5
    assert greedy_score(algorithm) > 0.82 * OPTIMUM


def test_an_agent_without_a_choice_does_not_keep_the_others_from_learning(build):
    algorithm = build("qmix", {"exploration.anneal_env_steps": 4000}, dead_storage=True)
    for _ in range(8):
        row = epoch_row(algorithm.train(), 1, 0.0)
    assert row["storage/deciding_share"] == pytest.approx(0.5)
    assert row["compute/deciding_share"] == 1.0
    assert row["team_reward"] > 0.55


def test_exploration_falls_with_the_env_steps_and_reaches_the_runner(build):
    algorithm = build("qmix", {"exploration.anneal_env_steps": 3200, "epoch_env_steps": 800})
    shares = [epoch_row(algorithm.train(), e, 0.0)["compute/epsilon"] for e in range(1, 6)]
    assert shares == pytest.approx([1 - 0.95 * e / 4 for e in (1, 2, 3, 4)] + [0.05])
    assert float(algorithm.env_runner.module["scheduler"].epsilon) == pytest.approx(0.05)


def test_a_new_runner_explores_all_the_time(build):
    algorithm = build()
    (rollout,) = algorithm.env_runner.sample()
    levels = torch.tensor(ToyVectorEnv(1).action_levels["compute"])
    expected = -float(levels.double().log().sum())
    np.testing.assert_allclose(rollout.roles["compute"]["log_probs"], expected, rtol=1e-5)


def test_what_is_logged_says_how_learning_goes(build):
    row = epoch_row(build("qmix", {"epoch_env_steps": 1600}).train(), 1, 0.0)
    assert row["env_steps"] == 1600
    for role in ("compute", "storage", "scheduler"):
        assert row[f"{role}/q_spread"] > 0
        assert np.isfinite(row[f"{role}/q_mean"])
    for name in ("td_loss", "td_error_abs", "gradient_norm", "replay_claimed_mb", "reward_std"):
        assert row[f"mixer/{name}"] > 0
    assert row["mixer/replay_env_steps"] == (800 + 1600) / 2  # an epoch of two updates logs their mean


@pytest.mark.parametrize("standardise", [True, False])
def test_rewards_are_standardised_unless_told_otherwise(build, standardise):
    algorithm = build("vdn", {"standardise_rewards": standardise, "update.steps": 1, "epoch_env_steps": 800})
    row = epoch_row(algorithm.train(), 1, 0.0)
    assert row["mixer/reward_mean"] > 0.2
    # Without a discount a target is a reward.
    expected = 0.0 if standardise else row["mixer/reward_mean"]
    assert row["mixer/target_mean"] == pytest.approx(
        expected, abs=0.05 / (row["mixer/reward_std"] if standardise else 1)
    )


def test_the_mean_of_rewards_follows_recent_ones(build):
    def means(decay: float) -> tuple[float, float]:
        algorithm = build("vdn", {"reward_decay": decay, "update.steps": 1, "epoch_env_steps": 800})
        first, second = (epoch_row(algorithm.train(), epoch, 0.0)["mixer/reward_mean"] for epoch in (1, 2))
        return first, second

    first, newest = means(0.0)
    assert newest != first
    assert means(0.9) == pytest.approx((first, (0.9 * first + newest) / 1.9))


def test_there_are_no_gradient_steps_before_the_buffer_has_its_minimum(build):
    algorithm = build("qmix", {"replay.minimum_env_steps": 1600, "epoch_env_steps": 800})
    before = weights(algorithm)
    assert "mixer/td_loss" not in epoch_row(algorithm.train(), 1, 0.0)
    idle = weights(algorithm)
    assert all(np.array_equal(before[k], idle[k]) for k in before if ".network." in k)
    assert "mixer/td_loss" in epoch_row(algorithm.train(), 2, 0.0)


def test_data_that_is_not_a_number_ends_training_with_its_batch_and_is_not_remembered(build, tmp_path, monkeypatch):
    monkeypatch.setenv("CLOUDSCHED_RUN_DIR", str(tmp_path))
    algorithm = build("qmix", {"epoch_env_steps": 800})
    sample = algorithm.env_runner.sample

    def spoiled(**options):
        (rollout,) = sample(**options)
        rollout.team_rewards[2, 7] = np.inf
        return [rollout]

    monkeypatch.setattr(algorithm.env_runner, "sample", spoiled)
    with pytest.raises(TrainingDivergedError, match="team_rewards is not finite at step 2 of cluster 7") as caught:
        algorithm.train()
    (saved,) = tmp_path.glob("diverged_batch_*.pt")
    assert saved.name in str(caught.value)
    assert torch.load(saved)["cluster"]["team_rewards"][2, 7] == np.inf
    assert len(algorithm.learner_group._learner.replay) == 0


def test_targets_stand_still_between_copies(build):
    algorithm = build("qmix", {"update.target_every": 12, "epoch_env_steps": 800, "update.steps": 8})
    name = "network.head.weight"
    start = weights(algorithm)
    np.testing.assert_array_equal(start[f"compute.{name}"], start["mixer.targets.compute.head.weight"])
    algorithm.train()  # 8 gradient steps
    first = weights(algorithm)
    np.testing.assert_array_equal(first["mixer.targets.compute.head.weight"], start[f"compute.{name}"])
    assert np.abs(first[f"compute.{name}"] - start[f"compute.{name}"]).max() > 1e-4
    algorithm.train()  # 16: copied after 12
    second = weights(algorithm)
    copied = second["mixer.targets.compute.head.weight"]
    assert np.abs(copied - first[f"compute.{name}"]).max() > 1e-5
    assert np.abs(copied - second[f"compute.{name}"]).max() > 1e-5
    moved = second["mixer.targets.mixer.first_bias.weight"] - start["mixer.targets.mixer.first_bias.weight"]
    assert np.abs(moved).max() > 1e-5
    assert second["mixer.gradient_steps"] == 16


@pytest.mark.parametrize("double", [True, False])
def test_gradient_steps_follow_the_settings_of_targets(build, monkeypatch, double):
    given = []

    def spy(*arguments, **options):
        given.append(options)
        return td_loss(*arguments, **options)

    monkeypatch.setattr("cloudsched_env.rllib.value_based.learner.td_loss", spy)
    settings = {"update.double": double, "update.trace": 0.3, "discount": 0.7, "update.steps": 1}
    build("vdn", {**settings, "epoch_env_steps": 800}).train()
    assert given == [{"double": double, "lambda_": 0.3, "gamma": 0.7}]


def test_the_same_seed_trains_the_same_networks(build):
    one, two = build("vdn"), build("vdn")
    one.train(), two.train()
    first, second = weights(one), weights(two)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_mixer_and_the_targets_never_leave_the_learner(build):
    assert sorted(build().env_runner.module.keys()) == ["compute", "scheduler", "storage"]


@pytest.fixture(scope="module")
def trained(ray_local, tmp_path_factory):
    """A short run with validation, resumed once."""
    folder = tmp_path_factory.mktemp("runs") / "qmix"
    config = toy_value_config("qmix", {"validation.every_epochs": 2})
    train(config, TrainingOptions(folder, stop={"training_iteration": 3}, checkpoint_every=1, progress=False))
    resumed = train(None, TrainingOptions(folder, resume=True, stop={"training_iteration": 4}, progress=False))
    return folder, resumed


def test_a_run_is_logged_resumed_and_goes_on_exploring_where_it_was(trained):
    folder, resumed = trained
    logged = rows(folder)
    assert [row["epoch"] for row in logged] == ["1.0", "2.0", "3.0", "4.0"]
    assert [float(row["env_steps"]) for row in logged] == [1600.0, 3200.0, 4800.0, 6400.0]
    shares = [float(row["compute/epsilon"]) for row in logged]
    # An epoch of two updates logs their mean.
    assert shares == pytest.approx([1 - 0.95 * s / 8000 for s in (1200, 2800, 4400, 6000)])
    assert [bool(row["validation/team_reward"]) for row in logged] == [False, True, False, True]
    assert resumed.state.best_score == max(float(row["validation/team_reward"] or 0) for row in logged)


def test_a_checkpoint_restores_every_weight(trained):
    from ray.rllib.algorithms.algorithm import Algorithm

    folder, _ = trained
    path = str(next((folder / "checkpoints").glob("epoch_000004")) / "algorithm")
    one, two = Algorithm.from_checkpoint(path), Algorithm.from_checkpoint(path)
    try:
        first, second = weights(one), weights(two)
        kinds = ("mixer.targets.mixer.first_bias", "mixer.rewards.first_moment", "mixer.gradient_steps", ".epsilon")
        assert all(any(kind in name for name in first) for kind in kinds)
        assert first["mixer.gradient_steps"] > 0
        assert first["mixer.rewards.weight"] > 0
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], err_msg=name)
        # Targets lag: had they been rebuilt from the networks, they would be equal.
        head = "network.head.weight"
        assert not np.array_equal(first[f"compute.{head}"], first["mixer.targets.compute.head.weight"])
        exported = TrainedAgent(path.replace("algorithm", "policy"))
        np.testing.assert_array_equal(
            exported._policies["compute"].head.weight.detach().numpy(), first[f"compute.{head}"]
        )
        optimizer = one.learner_group.get_state()["learner"]["optimizer"]
        assert any(state["state"]["state"] for state in optimizer.values())
    finally:
        one.stop()
        two.stop()


def test_the_exported_policy_takes_the_greedy_actions_without_ray(trained):
    folder, resumed = trained
    script = f"""
import sys
from cloudsched_env.agents.protocol import ClusterInfo
from cloudsched_env.agents.registry import load_agent
from cloudsched_env.rllib.networks import load_policy
from cloudsched_env.rllib.value_based.utilities import greedy_actions
import torch
from tests.rllib.toy_env import ToyVectorEnv
env = ToyVectorEnv(3)
env.reset(0)
agent = load_agent({str(folder / "policy")!r})
agent.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), 3, 0)
networks = load_policy({str(folder / "policy")!r}).networks
done = False
while not done:
    actions = agent.act(env.observations, env.masks)
    for role in env.roles:
        seen, masks = torch.from_numpy(env.observations[role]), torch.from_numpy(env.masks[role])
        best = greedy_actions(networks[role].scores(seen, masks), masks, networks[role].action_levels)
        assert (actions[role] == best.numpy()).all(), role
    done = env.step(actions)
assert "ray" not in sys.modules, "ray was imported"
print(agent.name, agent.metadata["epoch"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["qmix", str(resumed.state.best_epoch)]


@pytest.mark.slow
def test_a_remote_runner_and_two_learners_stay_in_step(ray_local):
    config = toy_value_config("qmix", {"epoch_env_steps": 800}).env_runners(num_env_runners=1)
    algorithm = config.learners(num_learners=2).build_algo()
    try:
        sampled = [epoch_row(algorithm.train(), epoch, 0.0)["env_steps"] for epoch in (1, 2)]
        assert sampled == [800, 1600]
        results = algorithm.learner_group.foreach_learner(
            lambda learner: {
                f"{m}.{k}": v.numpy() for m, module in learner.module.items() for k, v in module.state_dict().items()
            }
        )
        one, two = (result.get() for result in results)
        assert one["mixer.gradient_steps"] == 16
        for name, value in one.items():
            np.testing.assert_allclose(value, two[name], rtol=1e-4, atol=1e-6, err_msg=name)
        (remote,) = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner.module["compute"].network.head.weight.detach().numpy(), local_env_runner=False
        )
        np.testing.assert_allclose(remote, one["compute.network.head.weight"], rtol=1e-6)
    finally:
        algorithm.stop()


# -- settings and commands


@pytest.mark.parametrize("name", ["qmix", "vdn"])
def test_shipped_files_say_the_same_in_python_and_yaml(name):
    by_python, by_yaml = load_experiment(name), load_experiment(shipped_configs()[name].with_suffix(".yaml"))
    assert type(by_python.config) is type(by_yaml.config)
    assert by_python.config.settings == by_yaml.config.settings
    assert by_python.config.settings.mixing.kind == {"qmix": "monotonic", "vdn": "sum"}[name]
    assert by_python.stop == by_yaml.stop
    assert by_python.name == by_yaml.name == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["qmix", "--set", "lgrs.mode=td", "--stop-epochs", "1"], "unknown setting 'lgrs.mode'"),
        (["qmix", "--set", "mixing.kind=sum", "--stop-epochs", "1"], "another algorithm"),
        (["vdn", "--set", "exploration.strat=0.5", "--stop-epochs", "1"], "did you mean 'exploration.start'"),
    ],
)
def test_mistakes_on_the_command_line_end_with_one_clear_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {run: QMIX, config: {hrac: {lgrs.mode: td}}}", "unknown config key 'hrac'"),
        ("a: {run: VDN, config: {vdn: {update.tarce: 0}}}", r"update\.trace"),
        ("a: {run: QMX}", "did you mean 'QMIX'"),
    ],
)
def test_a_faulty_yaml_file_is_refused_by_what_is_wrong(text, message, tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_experiment(path)


def test_one_algorithm_does_not_take_the_settings_of_another():
    with pytest.raises(ValueError, match=r"QMIXConfig.*ValueSettings"):
        QMIXConfig().qmix(HRACSettings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing.kind": "sum"}, "another algorithm"),
        ({"networks.sequential_slots": True}, "sequential_slots.*best joint action"),
        ({"networks.execution": "full"}, "execution.*'none'"),
        ({"validation.deterministic": False}, "greedy"),
        ({"sampling.rollout_steps": 1}, "rollout_steps.*at least 2"),
        ({"update.tarce": 0.5}, "did you mean 'update.trace'"),
        ({"exploration.end": 1.5}, r"exploration\.end.*0 to 1"),
        ({"sampling.clusters": 7, "sampling.phases": 2}, "multiple"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        toy_value_config("qmix", changes)


def test_settings_survive_json():
    settings = ValueSettings().override({"mixing.kind": "sum", "update.trace": 0.3, "networks.pointer_size": 8})
    assert ValueSettings.from_dict(settings.to_dict()) == settings


def test_epsilon_is_linear_and_then_constant():
    exploration = ExplorationSettings(start=0.9, end=0.1, anneal_env_steps=100)
    assert [exploration.epsilon(n) for n in (0, 50, 100, 1000)] == pytest.approx([0.9, 0.5, 0.1, 0.1])
    assert ExplorationSettings(anneal_env_steps=0).epsilon(0) == 0.05
