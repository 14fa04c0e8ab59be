"""HAPPO on paper-v1: `cloudsched train happo` or `rllib train file rllib_configs/happo.py`."""

from cloudsched_env.rllib import HAPPOConfig

config = (
    HAPPOConfig()
    .happo({"scenario": "paper-v1"})
    .env_runners(num_env_runners=0)  # sample in the main process; 1 and more start remote runners
    .debugging(seed=0)
)

stop = {"training_iteration": 60}  # an iteration is an epoch: 10,000 env steps
