"""What `rllib train file` takes: HRAC on the toy environment. The folder of the checkout must be importable."""

from tests.rllib.toy_env import toy_config

config = toy_config({"validation.every_epochs": 2, "epoch_env_steps": 800})
stop = {"training_iteration": 3}
