"""RLlib's own PPO on the PettingZoo face of tiny-v1: `rllib train file rllib_configs/ppo_pettingzoo.py`.

One policy for each role, shared by its agents; no centralised critic. It shows how any algorithm of RLlib is put on
these environments; it samples one cluster at a time and is far slower than the array face (docs/rllib.md).
"""

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from cloudsched_env.rllib.environments import register_environments
from cloudsched_env.rllib.masked_module import MaskedPPOModule

register_environments()

config = (
    PPOConfig()
    .environment("cloudsched/tiny-v1", env_config={"reward": "team"})
    .env_runners(num_env_runners=0, rollout_fragment_length=105)
    .multi_agent(
        policies={"compute", "storage", "scheduler"},
        policy_mapping_fn=lambda agent, *args, **kwargs: agent.rsplit("_", 1)[0],
    )
    .rl_module(
        rl_module_spec=MultiRLModuleSpec(
            rl_module_specs={
                role: RLModuleSpec(module_class=MaskedPPOModule) for role in ("compute", "storage", "scheduler")
            }
        )
    )
    .training(train_batch_size_per_learner=420, minibatch_size=210, num_epochs=2, lr=3e-4, gamma=0.98)
    .debugging(seed=0)
)

stop = {"training_iteration": 50}
