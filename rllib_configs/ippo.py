"""IPPO on paper-v1: `cloudsched train ippo` or `rllib train file rllib_configs/ippo.py`."""

from cloudsched_env.rllib import IPPOConfig

config = (
    IPPOConfig()
    .ippo({"scenario": "paper-v1"})
    .env_runners(num_env_runners=0)  # sample in the main process; 1 and more start remote runners
    .debugging(seed=0)
)

stop = {"training_iteration": 60}  # an iteration is an epoch: 10,000 env steps
