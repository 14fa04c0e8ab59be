"""`RoleBatchedEnvRunner`: samples many clusters at once with one forward pass for each role and step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)
from ray.tune.registry import ENV_CREATOR, _global_registry

from cloudsched_env.rllib.common_noise import CommonNoise
from cloudsched_env.rllib.modules import HRACMultiModule, execution_mode, spaces
from cloudsched_env.rllib.monitoring import PlacementConflicts
from cloudsched_env.rllib.networks import NetworkConfig, SummaryChannel
from cloudsched_env.rllib.role_map import RoleMap
from cloudsched_env.rllib.rollout import RoleRollout, SampledSteps
from cloudsched_env.rllib.rollout_recorder import RolloutRecorder
from cloudsched_env.rllib.settings import HRACSettings

__all__ = ["EPISODE", "RoleBatchedEnvRunner"]

EPISODE = "episode"  # metrics of finished episodes stand under this key
_VALIDATION_SEED = 0  # validation episodes are the same in every run: learning curves are comparable


class RoleBatchedEnvRunner(EnvRunner, Checkpointable):
    """Steps groups of clusters in lockstep and hands out `RoleRollout`s.

    The clusters of one vector environment reach the horizon together. So that a roll-out does not show one time of
    the episode only, clusters form groups that stand at different times: the first episode of each group is cut short.

    Each step writes observations once, into the roll-out's own arrays, and policies read them from there.

    Args:
        config: an `HRACConfig`; ``config.env`` names a creator that returns a `CloudSchedVectorEnv` (or anything with
            its attributes) for ``{"num_envs": ..., "split": ..., "settings": ...}``.
        kwargs: what RLlib passes to runners (``worker_index``, ``spaces``...).
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        torch.set_num_threads(1)  # more threads only fight with other runners and the learner
        self.settings: HRACSettings = config.settings
        self.spaces = kwargs.get("spaces") or {}
        self.validating = bool(self.config.in_evaluation)
        self.execution = execution_mode(self.settings)
        self.envs: list[Any] = []
        self.module: Any = None
        self._weights_seq_no = 0
        self._started = False
        self._fixed: list[Any] = []  # validation episodes, drawn once
        if (
            not self.worker_index
            and self.config.num_env_runners > 0
            and not self.config.create_env_on_local_worker
            and not self.validating
        ):
            self.env = None  # the local runner of a set of remote ones only holds weights
        else:
            self.make_env()
        self.make_module()

    # ---- construction

    def make_env(self) -> None:
        """Create the groups of clusters."""
        creator = _global_registry.get(ENV_CREATOR, self.config.env)
        groups = 1 if self.validating else self.settings.sampling.phases
        self.num_envs = self.settings.validation.episodes if self.validating else self.settings.sampling.clusters
        clusters = self.num_envs
        env_config = {
            **self.config.env_config,
            "settings": self.settings,
            "num_envs": clusters // groups,
            "split": "validation" if self.validating else "train",
        }
        self.envs = [creator(dict(env_config)) for _ in range(groups)]
        self.role_map = RoleMap(self.envs[0].scenario, self.settings.role_map)
        self.settings.check_roles(self.role_map.names)
        kept_steps = self.settings.by_role.get("exploration.common_noise_steps", {})
        self._noise = CommonNoise(self.role_map, kept_steps, self.num_envs)
        self.env = self.envs[0]
        self.envs[0].reset(0)  # compiles the simulator if need be, so that it does not count as sampling time
        self._clusters = [slice(i * (clusters // groups), (i + 1) * (clusters // groups)) for i in range(groups)]
        self._started = False

    def make_module(self) -> None:
        """Build the policies (without the critic)."""
        self.module = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True).build()
        if not isinstance(self.module, HRACMultiModule):
            raise TypeError(f"expected an HRACMultiModule, got {type(self.module).__name__}: use HRACConfig")

    def get_spaces(self) -> dict[str, Any]:
        """Spaces of one agent of each role, in the form that RLlib expects."""
        if not self.envs:
            return self.spaces
        by_role = spaces(self.envs[0].scenario, self.settings.role_map)
        both = (
            gym.spaces.Dict({role: pair[0] for role, pair in by_role.items()}),
            gym.spaces.Dict({role: pair[1] for role, pair in by_role.items()}),
        )
        return {INPUT_ENV_SPACES: both, INPUT_ENV_SINGLE_SPACES: both, **by_role}

    def assert_healthy(self) -> None:
        """Check that environments and policies exist."""
        assert self.envs, "the runner has no environment"
        assert self.module is not None, "the runner has no policies"

    def stop(self) -> None:
        """Drop the environments."""
        self.envs, self.env = [], None

    # ---- sampling

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[RoleRollout] | list[SampledSteps]:
        """Run the clusters on.

        Args:
            num_timesteps: env steps in all; by default ``rollout_steps`` of every cluster.
            num_episodes: instead, run this many whole episodes from the start and keep only their metrics.
            explore: sample actions (True) or take the most probable ones (False).
            random_actions: not offered: the agents for that are in `cloudsched_env.agents`.
            force_reset: begin new episodes first.
            kwargs: options of later RLlib versions.

        Returns:
            One `RoleRollout`, or counts of steps if episodes were asked for.
        """
        if random_actions:
            raise ValueError(
                "random_actions is not supported: evaluate a random agent with `cloudsched evaluate` instead"
            )
        self.assert_healthy()
        explore = self.config.explore if explore is None else explore
        with self.metrics.log_time(SAMPLE_TIMER):
            if num_episodes is not None:
                return [self._run_episodes(num_episodes, explore)]
            if force_reset or not self._started:
                self._start()
            steps = self.settings.sampling.rollout_steps
            if num_timesteps:
                steps = -(-num_timesteps // self.num_envs)
            rollout = self._roll_out(steps, explore)
            self._log_steps(rollout.env_steps(), {r: c["log_probs"].size for r, c in rollout.roles.items()})
            return [rollout]

    def _start(self) -> None:
        """Begin new episodes; seeds follow from the run's seed, the runner's index and the steps sampled so far."""
        entropy = [self.config.seed or 0, self.worker_index or 0, self.num_env_steps_sampled_lifetime]
        if self.validating:
            entropy = [_VALIDATION_SEED, self.worker_index or 0]
        self._rng = np.random.default_rng(entropy)
        self._generator = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        horizon = self.envs[0].scenario.time.horizon_steps
        self._elapsed = [0] * len(self.envs)
        # Group g's first episode ends after (g + 1)/G of the horizon: from then on groups are horizon/G apart.
        self._cut = [-(-horizon * (g + 1) // len(self.envs)) for g in range(len(self.envs))]
        self._counted_return = [np.zeros(env.num_envs) for env in self.envs]
        self._channels = [SummaryChannel(env.scenario, self.role_map.counts) for env in self.envs]
        self._noise.reset()
        size = self._network_config().embedding_size if self.module.remembers else 0
        self._memories = {
            role: torch.zeros(self.num_envs, count, size)
            for role, count in self.role_map.counts.items()
            if self.module.remembers
        }
        for group in range(len(self.envs)):
            self._reset(group)
        self._started = True

    def _reset(self, group: int, episodes: list[Any] | None = None) -> None:
        env = self.envs[group]
        # The same seed gives the same arrivals, disturbances and failures; actions are drawn for each cluster.
        inputs = np.arange(env.num_envs) if self.validating else self.settings.sampling.inputs[: env.num_envs]
        seeds = self._rng.integers(0, 2**31 - 1, size=inputs[-1] + 1)[inputs].tolist()
        if episodes is None:
            env.reset(seeds)
        else:
            env.reset(seeds, episodes=episodes)
        self._elapsed[group] = 0
        self._counted_return[group][:] = 0
        losses = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        self._channels[group].reset(env.num_envs, losses)
        for memories in self._memories.values():
            memories[self._clusters[group]] = 0.0

    def _roll_out(self, steps: int, explore: bool) -> RoleRollout:
        """T steps of all groups, recorded."""
        sees = self.settings.networks.get("critic", "role") in ("agent", "local")
        arrays = RolloutRecorder(self.envs, steps, self.role_map, keeps_observations=sees)
        if self.module.remembers:
            arrays.add_memories(self._network_config().embedding_size)
        if self.execution == "role_summary":
            arrays.add_summaries(self.module.roles(), self._network_config().summary_size)
        conflicts = PlacementConflicts()
        for t in range(steps):
            for group, env in enumerate(self.envs):
                arrays.record_before(t, self._clusters[group], env)
            actions = self._act(arrays.observations(t), arrays.masks(t), explore, arrays, t)
            for group, env in enumerate(self.envs):
                part = self._clusters[group]
                if hasattr(env, "candidates"):
                    placed, masks = actions["scheduler"][part], env.masks["scheduler"]
                    conflicts.observe(placed, masks, env.candidates, env.role_counts["compute"])
                done = env.step({role: chosen[part] for role, chosen in actions.items()})
                arrays.record_after(t, part, env)
                ended = self._advance(group, done)
                arrays.record_end(t, part, env, ended)
                if ended:
                    self._reset(group)
        for name, value in conflicts.take().items():
            self.metrics.log_value((EPISODE, name), value, window=len(self.envs))
        return arrays.finish(self._weights_seq_no, self.settings.sampling.inputs)

    def _act(
        self,
        observations: Mapping[str, torch.Tensor],
        masks: Mapping[str, torch.Tensor],
        explore: bool,
        arrays: RolloutRecorder | None = None,
        t: int = 0,
    ) -> dict[str, NDArray[np.int64]]:
        summaries = states = None
        if self.module.remembers:
            if arrays is not None:
                for role, columns in arrays.roles.items():
                    columns["memories"][t] = self._memories[role].numpy()
            with torch.no_grad():
                states = self.module.embeddings(observations, self._memories)
        if self.execution == "role_summary":
            published = self.module.summaries(observations, self._memories)
            held = [
                channel.exchange({role: values[part] for role, values in published.items()})
                for channel, part in zip(self._channels, self._clusters, strict=True)
            ]
            roles = self.module.roles()
            summaries = {
                role: torch.cat([torch.stack([view[role][sender] for sender in roles], dim=-2) for view in held])
                for role in roles
            }
        chosen = self.module.act(
            observations,
            masks,
            deterministic=not explore,
            generator=self._generator,
            summaries=summaries,
            states=states,
            noise=self._noise.draw(self._generator) if explore else None,
        )
        if states is not None:
            self._memories = states
        if arrays is not None:
            for role, (actions, log_probs) in chosen.items():
                columns = arrays.roles[role]
                columns["actions"][t] = actions.numpy()
                columns["log_probs"][t] = log_probs.numpy()
                if summaries is not None:
                    columns["summaries"][t] = summaries[role].numpy()
        return self.role_map.join({role: actions.numpy() for role, (actions, _) in chosen.items()})

    def _advance(self, group: int, done: bool) -> bool:
        """Count a step; at the end of an episode log it. Returns whether the group must be reset."""
        env = self.envs[group]
        counted = self._elapsed[group] >= env.scenario.time.warmup_steps
        self._elapsed[group] += 1
        if counted:
            self._counted_return[group] += env.team_reward
        if done:
            self._finish_episodes(group)
            self._cut[group] = env.scenario.time.horizon_steps
            return True
        if self._elapsed[group] >= self._cut[group]:
            self._cut[group] = env.scenario.time.horizon_steps  # only the first episode is cut, and it is not logged
            return True
        return False

    def _run_episodes(self, episodes: int, explore: bool) -> SampledSteps:
        """Whole episodes from the start, without a record; a validation runs the same ones every time.

        If the clusters' source has a fixed list of episodes (as the generator and traces do), these are run.
        """
        self._start()
        self._cut = [env.scenario.time.horizon_steps for env in self.envs]
        self._validated: list[tuple[float, dict[str, float]]] = []
        rounds = -(-episodes // self.num_envs)
        fixed = self._fixed_episodes(rounds * self.num_envs) if self.validating else None
        steps = 0
        for k in range(rounds):
            for group, part in enumerate(self._clusters):
                first = k * self.num_envs
                self._reset(group, fixed[first + part.start : first + part.stop] if fixed else None)
            running = True
            while running:
                actions = self._act(self._current("observations"), self._current("masks"), explore)
                for group, env in enumerate(self.envs):
                    done = env.step({role: chosen[self._clusters[group]] for role, chosen in actions.items()})
                    running &= not self._advance(group, done)
                steps += self.num_envs
        self._started = False
        if self._validated:
            returns, means = zip(*self._validated, strict=True)
            merged = {name: float(np.mean([m[name] for m in means if name in m])) for name in means[0]}
            self._log_episode_means(float(np.mean(returns)), merged, window=1)
        counts = self.role_map.counts
        self._log_steps(steps, {role: steps * count for role, count in counts.items()})
        return SampledSteps(steps, steps * sum(counts.values()))

    def _fixed_episodes(self, count: int) -> list[Any] | None:
        source: Any = getattr(self.envs[0], "source", None)
        if not hasattr(source, "evaluation_episodes"):
            return None
        if len(self._fixed) < count:
            self._fixed = list(source.evaluation_episodes(count))
        return self._fixed

    def _current(self, name: str) -> dict[str, torch.Tensor]:
        """What the clusters show now, joined over groups."""
        split = getattr(self.role_map, name)
        parts = [split(getattr(env, name)) for env in self.envs]
        return {role: torch.from_numpy(np.concatenate([part[role] for part in parts])) for role in parts[0]}

    def _network_config(self) -> NetworkConfig:
        return NetworkConfig.from_dict(self.settings.network_settings())

    # ---- metrics

    def _finish_episodes(self, group: int) -> None:
        """Metrics of the episodes that a group has just finished: means over its clusters."""
        env = self.envs[group]
        horizon, warmup = env.scenario.time.horizon_steps, env.scenario.time.warmup_steps
        returns = self._counted_return[group]
        values: dict[str, list[float]] = {"team_reward": (returns / (horizon - warmup)).tolist()}
        results = env.results()
        if results:
            from cloudsched_env.evaluation.metrics import summarise

            for summary in map(summarise, results):
                for name, value in summary.items():
                    if name != "team_reward" and np.isfinite(value):
                        values.setdefault(name, []).append(float(value))
        means = {name: float(np.mean(v)) for name, v in values.items()}
        self.metrics.log_value(NUM_EPISODES, env.num_envs, reduce="sum")
        self.metrics.log_value(NUM_EPISODES_LIFETIME, env.num_envs, reduce="lifetime_sum")
        self.metrics.log_value(EPISODE_LEN_MEAN, float(horizon), window=1)
        if self.validating:
            self._validated.append((float(returns.mean()), means))
        else:
            # The window holds one episode of each group.
            self._log_episode_means(float(returns.mean()), means, window=len(self.envs))

    def _log_episode_means(self, episode_return: float, means: Mapping[str, float], window: int) -> None:
        self.metrics.log_value(EPISODE_RETURN_MEAN, episode_return, window=window)
        for name, value in means.items():
            self.metrics.log_value((EPISODE, name), value, window=window)

    def _log_steps(self, env_steps: int, agent_steps: Mapping[str, int]) -> None:
        self.num_env_steps_sampled_lifetime += env_steps
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, env_steps, reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, env_steps, reduce="lifetime_sum", with_throughput=True)
        for role, count in agent_steps.items():
            for key in (NUM_MODULE_STEPS_SAMPLED, NUM_AGENT_STEPS_SAMPLED):
                self.metrics.log_value((key, role), count, reduce="sum")
            for key in (NUM_MODULE_STEPS_SAMPLED_LIFETIME, NUM_AGENT_STEPS_SAMPLED_LIFETIME):
                self.metrics.log_value((key, role), count, reduce="lifetime_sum")

    def get_metrics(self) -> Any:
        """Metrics since the last call."""
        return self.metrics.reduce()

    # ---- checkpoints

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Weights of the policies and the steps sampled so far; running episodes are not kept."""
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over weights that are newer than one's own, and counters."""
        if COMPONENT_RL_MODULE in state:
            seq_no = state.get(WEIGHTS_SEQ_NO, 0)
            if seq_no == 0 or self._weights_seq_no < seq_no:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            if seq_no > 0:
                self._weights_seq_no = seq_no
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How to construct this runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The policies."""
        return [(COMPONENT_RL_MODULE, self.module)]
