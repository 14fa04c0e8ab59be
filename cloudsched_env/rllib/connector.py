"""The learner connector: from roll-outs to the batch of one update.

It relabels rewards with LGRS under the current lagged potential, computes V-trace targets and advantages for each
role, and keeps the circular buffer of recent roll-outs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from torch import Tensor

from cloudsched_env.rllib.common_luck import common_part, with_less_common_luck, without_common_luck
from cloudsched_env.rllib.modules import CRITIC, SEEN, TEAM, CriticModule, HRACMultiModule
from cloudsched_env.rllib.monitoring import attention_statistics
from cloudsched_env.rllib.rollout import RoleRollout
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.rllib.stored_rollouts import StoredRollouts
from cloudsched_env.rllib.vtrace import ratio_statistics, vtrace

__all__ = ["ConnectorFactory", "HRACBatchConnector", "decides"]

_EVALUATION_ROWS = 4096  # rows of one forward pass without gradients: bounds memory


def decides(masks: Tensor, sub_actions: int) -> Tensor:
    """Which agents have a choice at all, [*] bool.

    A failed node keeps its levels and a scheduler with an empty queue defers: their log-probability is 0 whatever the
    policy does, so they are left out of advantage statistics and losses.

    Args:
        masks: [*, levels].
        sub_actions: k; every sub-action has at least one allowed level.
    """
    return masks.sum(-1, dtype=torch.int64) > sub_actions


class HRACBatchConnector(ConnectorV2):
    """Roll-outs in, ``{module: {column: tensor [T*B, ...]}}`` out; row i of all modules is the same env step.

    Args:
        input_observation_space: as RLlib passes it; not used.
        input_action_space: as RLlib passes it; not used.
        settings: of the run.
        seed: of the draws from the buffer.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        settings: HRACSettings,
        seed: int = 0,
    ) -> None:
        super().__init__(input_observation_space, input_action_space)
        self.settings = settings
        self._buffer: deque[StoredRollouts] = deque(maxlen=settings.replay.rollouts)
        self._rng = np.random.default_rng(seed)

    @torch.no_grad()
    def __call__(
        self, *, rl_module: HRACMultiModule, batch: Any, episodes: list[RoleRollout], metrics: Any = None, **kwargs: Any
    ) -> Any:
        """Build the batch of one update.

        Args:
            rl_module: the learner's modules.
            batch: ignored; everything comes from the roll-outs.
            episodes: the newest roll-outs, one for each runner.
            metrics: where statistics are logged.
            kwargs: what else RLlib passes.
        """
        for rollout in episodes:
            rollout.check_finite()
        newest = StoredRollouts.of([rollout for rollout in episodes if len(rollout)])
        count = min(self.settings.replay.passes, len(self._buffer))
        older = self._rng.choice(max(1, len(self._buffer)), size=count, replace=False)
        used = [newest, *(self._buffer[int(i)] for i in older)]
        self._buffer.append(newest)

        critic: CriticModule = rl_module[CRITIC].unwrapped()
        statistics: dict[str, list[float]] = {}
        parts = [
            self._prepare(rl_module, critic, stored, fresh=i == 0, statistics=statistics)
            for i, stored in enumerate(used)
        ]
        joined = {
            module: {name: _rows([part[module][name] for part in parts]) for name in parts[0][module]}
            for module in parts[0]
        }
        for role in rl_module.roles():
            columns = joined[role]
            columns["advantages"] = _normalised(columns["advantages"], columns["active"])
        for name, value in attention_statistics(rl_module, CRITIC, newest.states).items():
            statistics[name] = [value]
        if metrics is not None:
            for name, values in statistics.items():
                module, _, key = name.partition("/")
                metrics.log_value((module, key), float(np.mean(values)), window=1)
        return joined

    def _prepare(
        self,
        rl_module: HRACMultiModule,
        critic: CriticModule,
        stored: StoredRollouts,
        *,
        fresh: bool,
        statistics: dict[str, list[float]],
    ) -> dict[str, dict[str, Tensor]]:
        settings = self.settings

        def log(name: str, value: Any) -> None:
            statistics.setdefault(name, []).append(float(value))

        normalised = _values(critic, stored)
        if settings.lgrs.mode in ("mix", "off"):
            potentials = next_potentials = torch.zeros_like(stored.team_rewards)
        else:
            potentials, next_potentials = stored.with_next(critic.potential)
        anchors = (
            {role: columns["log_probs"] for role, columns in stored.roles.items()}
            if fresh
            else _log_probs(rl_module, stored)
        )
        log_ratios = {role: anchors[role] - stored.roles[role]["log_probs"] for role in stored.roles}
        # What the team gets depends on what all agents did.
        joint = torch.stack([ratio.sum(-1) for ratio in log_ratios.values()]).sum(0)
        # Time runs out, but nothing ends for good: the horizon truncates.
        terminated = torch.zeros_like(stored.truncated)
        options: dict[str, Any] = {
            "gamma": settings.discount,
            "rho_bar": settings.vtrace.rho_bar,
            "c_bar": settings.vtrace.c_bar,
            "policy_rho_bar": settings.vtrace.rho_bar,
        }
        common_share = settings.vtrace.common_share
        result: dict[str, dict[str, Tensor]] = {}
        targets: dict[str, Tensor] = {}
        for role, columns in stored.roles.items():
            active = decides(columns["masks"], columns["actions"].shape[-1])
            rewards, shaping = critic.lgrs(
                role,
                columns["local_rewards"],
                stored.team_rewards,
                potentials,
                next_potentials,
                terminated,
                update=fresh,
            )
            if fresh:
                for name, value in shaping.items():
                    log(f"{role}/lgrs_{name}", value)
            rewards = critic.centred(role, rewards, update=fresh)
            head = TEAM if critic.scope == "team" else role
            normaliser = critic.normaliser(head)
            values, next_values = (normaliser.denormalise(v) for v in normalised[head])
            if not critic.sees_observations:  # one value for all agents of the role
                values, next_values = values.unsqueeze(-1), next_values.unsqueeze(-1)
            traced = vtrace(
                joint.unsqueeze(-1) if settings.vtrace.ratio == "joint" else log_ratios[role],
                rewards,
                values,
                next_values,
                terminated.unsqueeze(-1),
                stored.truncated.unsqueeze(-1),
                lambda_=settings.trace_decay_of(role),
                **options,
            )
            if not fresh:
                own = ratio_statistics(log_ratios[role])
                log(f"{role}/replay_rho_mean", own.mean)
                log(f"{role}/replay_rho_variance", own.variance)
            if head == role:
                # One value for the role: its target is the mean over the agents.
                targets[role] = traced.targets if critic.sees_observations else traced.targets.mean(-1)
                seen = values if critic.sees_observations else values.squeeze(-1)
                if fresh:
                    normaliser.update(targets[role])
                    for name, value in _explained(targets[role], seen, stored.inputs).items():
                        log(f"{CRITIC}/{name}_{role}", value)
                targets[role] = with_less_common_luck(targets[role], seen, stored.inputs, common_share)
            advantages, common = without_common_luck(traced.advantages, stored.inputs)
            if fresh:
                log(f"{role}/return_mean", traced.targets.mean())
                log(f"{role}/common_luck", common)
            result[role] = {
                "observations": columns["observations"],
                "masks": columns["masks"],
                "actions": columns["actions"],
                "anchor_log_probs": anchors[role],
                "advantages": advantages,
                "active": active,
            }
            result[role] |= {name: columns[name] for name in ("summaries", "memories", "begins") if name in columns}

        if TEAM in normalised:
            normaliser = critic.normaliser(TEAM)
            values, next_values = (normaliser.denormalise(v) for v in normalised[TEAM])
            traced = vtrace(
                joint,
                critic.centred(TEAM, stored.team_rewards, update=fresh),
                values,
                next_values,
                terminated,
                stored.truncated,
                lambda_=settings.vtrace.lambda_,
                **options,
            )
            if fresh:
                normaliser.update(traced.targets)
                for name, value in _explained(traced.targets, values, stored.inputs).items():
                    log(f"{CRITIC}/{name}_{TEAM}", value)
            targets[TEAM] = with_less_common_luck(traced.targets, values, stored.inputs, common_share)
        if not fresh:
            together = ratio_statistics(joint, settings.vtrace.rho_bar)
            log(f"{CRITIC}/replay_rho_mean", together.mean)
            log(f"{CRITIC}/replay_rho_variance", together.variance)
            log(f"{CRITIC}/replay_rho_clipped_share", together.clipped_share)
        result[CRITIC] = {"states": stored.states}
        if critic.sees_observations:
            result[CRITIC] |= {SEEN + role: columns["observations"] for role, columns in stored.roles.items()}
        for name, target in targets.items():
            result[CRITIC][f"target_{name}"] = critic.normaliser(name).normalise(target)
            result[CRITIC][f"old_{name}"] = normalised[name][0]
        return result


@dataclass(frozen=True)
class ConnectorFactory:
    """What ``config.learners(learner_connector=...)`` takes: makes the connector on each learner.

    Attributes:
        settings: of the run.
        seed: of the draws from the buffer.
    """

    settings: HRACSettings
    seed: int

    def __call__(self, observation_space: Any = None, action_space: Any = None) -> HRACBatchConnector:
        """Make a connector with an empty buffer."""
        return HRACBatchConnector(observation_space, action_space, settings=self.settings, seed=self.seed)


def _values(critic: CriticModule, stored: StoredRollouts) -> dict[str, tuple[Tensor, Tensor]]:
    """Normalised values of all heads at each step and after it, [T, B] or, for single agents, [T, B, n]."""
    seen = {role: columns["observations"] for role, columns in stored.roles.items()}
    current = critic.values(stored.states, seen)
    last = critic.values(stored.last_states, stored.last_observations)
    cut = critic.values(stored.cut_states, stored.cut_observations) if len(stored.cut_states) else {}
    return {name: (value, stored.following(value, last[name], cut.get(name))) for name, value in current.items()}


def _log_probs(rl_module: HRACMultiModule, stored: StoredRollouts) -> dict[str, Tensor]:
    """Log-probabilities of the stored actions under the current policies, ``{role: [T, B, n]}``."""
    steps, clusters = stored.team_rewards.shape
    chunk = max(1, _EVALUATION_ROWS // clusters)
    names = ("observations", "masks", "actions", "summaries", "memories", "begins")
    parts: dict[str, list[Tensor]] = {role: [] for role in stored.roles}
    for start in range(0, steps, chunk):
        part = {
            role: {name: columns[name][start : start + chunk] for name in names if name in columns}
            for role, columns in stored.roles.items()
        }
        for role, output in rl_module.forward_train(part).items():
            parts[role].append(output["log_probs"])
    return {role: torch.cat(pieces) for role, pieces in parts.items()}


def _rows(parts: list[Tensor]) -> Tensor:
    """[T, B, ...] of several roll-outs to [rows, ...]."""
    flat = [part.reshape(-1, *part.shape[2:]) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def _normalised(advantages: Tensor, active: Tensor) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over agents that had a choice; 0 for the others."""
    if not active.any():
        return torch.zeros_like(advantages)
    chosen = advantages[active]
    scale = chosen.std(correction=0).clamp_min(1e-6)
    return torch.where(active, (advantages - chosen.mean()) / scale, torch.zeros_like(advantages))


def _explained_variance(targets: Tensor, values: Tensor) -> float:
    variance = targets.var(correction=0)
    return float(1 - (targets - values).var(correction=0) / variance.clamp_min(1e-12))


def _explained(targets: Tensor, values: Tensor, inputs: Tensor) -> dict[str, float]:
    """How much of the variance of value targets the critic explains: of all, and of the differences between copies.

    A critic that knows the time and the load explains nearly all, and may still have no idea of what an action did.
    That is in how clusters differ that met the same arrivals.
    """
    explained = {"explained_variance": _explained_variance(targets, values)}
    if len(inputs.unique()) < len(inputs):
        own = (targets - common_part(targets, inputs), values - common_part(values, inputs))
        explained["explained_difference"] = _explained_variance(*own)
    return explained
