"""HRAC with LGRS on paper-v1: `cloudsched train hrac_lgrs` or `rllib train file rllib_configs/hrac_lgrs.py`."""

from cloudsched_env.rllib import HRACConfig

config = (
    HRACConfig()
    .hrac({"scenario": "paper-v1", "lgrs.mode": "td"})
    .env_runners(num_env_runners=0)  # sample in the main process; 1 and more start remote runners
    .debugging(seed=0)
)

stop = {"training_iteration": 60}  # an iteration is an epoch: 10,000 env steps
