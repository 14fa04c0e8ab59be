"""RLlib's own PPO on the PettingZoo face, through its own runner, connectors and learner."""

import numpy as np
import pytest

pytest.importorskip("ray")

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns

from cloudsched_env.rllib.config_files import load_experiment
from cloudsched_env.rllib.masked_module import MaskedPPOModule
from cloudsched_env.rllib.training import TrainingOptions, train


@pytest.mark.ray
def test_an_iteration_runs_and_respects_masks(ray_local, tmp_path):
    experiment = load_experiment("ppo_pettingzoo")
    experiment.config.training(train_batch_size_per_learner=210, minibatch_size=105, num_epochs=1)
    report = train(experiment.config, TrainingOptions(tmp_path, stop={"training_iteration": 1}, progress=False))
    assert report.last["env_steps"] == 210  # one episode
    assert 0 < report.last["env_runners/episode_return_mean"] < 5 * 210  # five agents, at most about 1 a step
    for role in ("compute", "storage", "scheduler"):
        assert np.isfinite(report.last[f"{role}/policy_loss"])
    assert (tmp_path / "checkpoints" / "epoch_000001" / "algorithm").is_dir()


def masked_module():
    space = gym.spaces.Dict(
        observation=gym.spaces.Box(-1, 1, (3,), np.float32), action_mask=gym.spaces.Box(0, 1, (5,), np.int8)
    )
    return MaskedPPOModule(
        observation_space=space,
        action_space=gym.spaces.MultiDiscrete([2, 3]),
        model_config={"fcnet_hiddens": [8]},
        inference_only=False,
    )


def test_masked_choices_are_never_drawn_and_the_batch_is_left_as_it_was():
    module = masked_module()
    mask = torch.tensor([[1, 0, 0, 1, 1]] * 64, dtype=torch.int8)
    batch = {Columns.OBS: {"observation": torch.rand(64, 3), "action_mask": mask}}
    for forward in (module.forward_exploration, module.forward_inference, module.forward_train):
        logits = forward(batch)[Columns.ACTION_DIST_INPUTS]
        actions = module.get_exploration_action_dist_cls().from_logits(logits).sample()
        assert (actions[:, 0] == 0).all()
        assert (actions[:, 1] > 0).all()
    assert set(batch[Columns.OBS]) == {"observation", "action_mask"}
    assert module.compute_values(batch).shape == (64,)


def test_an_observation_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="action_mask"):
        MaskedPPOModule(
            observation_space=gym.spaces.Box(-1, 1, (3,), np.float32),
            action_space=gym.spaces.Discrete(2),
            model_config={},
            inference_only=False,
        )
