"""Behaviour cloning of all roles, and a critic fitted on the same trajectories.

For each role, over agents i that had a choice and their sub-actions k with more than one allowed level:

    L_role = - Σ_i [ Σ_k log π(a_ik | o_i) + beta H(π(· | o_i)) ] / Σ_i (number of such k)

that is the cross-entropy of a sub-action (Pomerleau 1991), and the mean over roles. beta keeps some probability on the
other choices: a perfect clone of a deterministic agent explores nothing, and PPO then never learns what it did not
try. With K allowed choices and an agent that always takes one, the minimum leaves the others delta with
1 / (1 - delta) = beta log((1 - delta)(K - 1) / delta).

The critic regresses on the discounted returns of the recorded rewards, shaped by LGRS with its own value as potential
and bootstrapped at the horizon, which truncates. Targets are computed anew in each pass. A critic of single agents
learns the return of each agent, one for the whole team that of the team.

Returns over a long horizon hold few independent samples, so the critic overfits within a few passes while the policies
still learn: it is kept as it was after the pass that explained most of the held-out returns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cloudsched_env.rllib.demonstrations import Demonstrations
from cloudsched_env.rllib.modules import CRITIC, SEEN, TEAM, CriticModule, HRACMultiModule, execution_mode
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.rllib.vtrace import vtrace

__all__ = ["BehaviourCloning", "CloningProgress"]

_EVALUATION_STEPS = 2048  # env steps of held-out episodes that agreement is measured on
_CRITIC_ROWS = 4096  # states of one forward pass without gradients: bounds memory


@dataclass(frozen=True)
class CloningProgress:
    """Where cloning stands after a pass.

    Attributes:
        epoch: passes done.
        epochs: passes in all.
        agreement: for each role, share of held-out sub-actions with a choice in which the greedy policy does what was
            recorded.
        cross_entropy: for each role, of a held-out sub-action, in nats.
        explained_variance: of held-out returns by the critic, for each of its values; empty without a critic.
        elapsed_s: wall time so far.
    """

    epoch: int
    epochs: int
    agreement: Mapping[str, float]
    cross_entropy: Mapping[str, float]
    explained_variance: Mapping[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0

    def describe(self) -> str:
        """One line for people."""
        roles = ", ".join(f"{role} {100 * share:.0f} %" for role, share in self.agreement.items()) or "of no role"
        left = self.elapsed_s / self.epoch * (self.epochs - self.epoch)
        # Shaped returns of roles are near noise where a potential is taken off: the team's says how good the critic is.
        explained = [self.explained_variance[TEAM]] if TEAM in self.explained_variance else []
        explained = explained or list(self.explained_variance.values())
        value = f" · explained variance {sum(explained) / len(explained):.2f}" if explained else ""
        return f"warm start {self.epoch}/{self.epochs} · agreement {roles}{value} · {left:.0f} s left"

    def row(self) -> dict[str, float]:
        """Flat numbers for the logs."""
        row = {f"warm_start/agreement_{role}": value for role, value in self.agreement.items()}
        row |= {f"warm_start/cross_entropy_{role}": value for role, value in self.cross_entropy.items()}
        row |= {f"warm_start/explained_variance_{name}": value for name, value in self.explained_variance.items()}
        return {**row, "warm_start/seconds": self.elapsed_s}


class _BestCritic:
    """Remembers the critic that explained most of the held-out returns.

    Args:
        critic: that learns; None if there is none.
    """

    def __init__(self, critic: CriticModule | None) -> None:
        self._critic = critic
        self._score = -math.inf
        self._state: dict[str, Tensor] = {}

    def judge(self, explained_variance: Mapping[str, float]) -> None:
        """Compare the critic after a pass with the best one."""
        if self._critic is None or not explained_variance:
            return
        score = float(np.mean(list(explained_variance.values())))
        if score > self._score:
            self._score = score
            self._state = {name: value.detach().clone() for name, value in self._critic.state_dict().items()}

    def restore(self) -> bool:
        """Put the best one back; False if none was judged."""
        if self._critic is None or not self._state:
            return False
        self._critic.load_state_dict(self._state)
        return True


class BehaviourCloning:
    """Fits the modules of a run to demonstrations.

    Args:
        module: policies, attention and critic; changed in place.
        data: recorded episodes.
        settings: of the run; ``warm_start`` says how long and how strongly.
        seed: of the split and the order of minibatches.
    """

    def __init__(self, module: HRACMultiModule, data: Demonstrations, settings: HRACSettings, seed: int = 0) -> None:
        self.module, self.settings = module, settings
        self._rng = np.random.default_rng(seed)
        self._shuffle = torch.Generator().manual_seed(int(self._rng.integers(2**62)))
        self._critic: CriticModule | None = module[CRITIC].unwrapped() if CRITIC in module else None
        if self._critic is not None and self._critic.sees_observations:
            data = data.with_last_observations()
        self.train, self.held_out = data.split(settings.warm_start.held_out, self._rng)
        self._roles = [role for role in module.roles() if role in data.roles]
        self._cloned = [role for role in self._roles if settings.warm_start.clones(role)]
        self._whole_steps = execution_mode(settings) != "none"  # attention needs all agents of a step
        self._parameters = {
            name: [p for p in module[name].parameters() if p.requires_grad]
            for name in (*self._roles, *(n for n in module.keys() if n not in self._roles))  # noqa: SIM118 - no dict
        }
        self._optimizer = torch.optim.Adam(
            [p for parameters in self._parameters.values() for p in parameters],
            lr=settings.warm_start.learning_rate,
            eps=settings.update.adam_epsilon,
        )

    def run(self, report: Callable[[CloningProgress], None] = lambda progress: None) -> CloningProgress:
        """Clone for ``warm_start.epochs`` passes.

        Args:
            report: called after every pass.

        Raises:
            ValueError: if a loss is not finite, naming the pass.
        """
        begun, epochs = time.monotonic(), self.settings.warm_start.epochs
        progress = CloningProgress(0, epochs, {}, {})
        best = _BestCritic(self._critic)
        for epoch in range(1, epochs + 1):
            targets = self._value_targets(self.train, first=epoch == 1, learn=True)
            for index in self._minibatches():
                self._step(self._batch(self.train, index, targets), epoch)
            if self._critic is not None:
                self._critic.advance_potential(1.0)  # the potential of the next pass is this pass's value
            progress = self._evaluate(epoch, epochs, time.monotonic() - begun)
            best.judge(progress.explained_variance)
            if epoch == epochs and best.restore():
                progress = self._evaluate(epoch, epochs, time.monotonic() - begun)
            report(progress)
        return progress

    # ---- data

    def _minibatches(self) -> Iterator[Tensor]:
        steps, episodes = self.train.team_rewards.shape
        order = torch.randperm(steps * episodes, generator=self._shuffle)
        yield from order.split(self.settings.warm_start.minibatch_steps)

    def _batch(
        self, data: Demonstrations, index: Tensor, targets: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        """Env steps of a minibatch; of each role only agents with a choice, where roles do not attend to each other."""
        episodes = data.team_rewards.shape[1]
        t, b = index // episodes, index % episodes
        batch: dict[str, dict[str, Tensor]] = {}
        for role in self._roles:
            columns = {name: v for name, v in data.roles[role].items() if name != "local_rewards"}
            if self._whole_steps:
                batch[role] = {name: values[t, b] for name, values in columns.items()}
                continue
            row, agent = columns["active"][t, b].nonzero(as_tuple=True)
            limit = self.settings.update.agents_per_role * len(index)
            if 0 < limit < len(row):
                chosen = torch.randperm(len(row), generator=self._shuffle)[:limit]
                row, agent = row[chosen], agent[chosen]
            if not len(row):  # nobody had a choice: one agent of weight 0 keeps the shapes
                row, agent = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
            batch[role] = {name: values[t[row], b[row], agent].unsqueeze(1) for name, values in columns.items()}
        if targets:
            batch[CRITIC] = {"states": data.states[t, b]}
            if self._critic is not None and self._critic.sees_observations:
                batch[CRITIC] |= {SEEN + role: data.roles[role]["observations"][t, b] for role in self._roles}
            batch[CRITIC] |= {f"target_{name}": values[t, b] for name, values in targets.items()}
        return batch

    @torch.no_grad()
    def _value_targets(self, data: Demonstrations, *, first: bool, learn: bool) -> dict[str, Tensor]:
        """Normalised returns of each head, [T, B] ([T, B, n] of single agents), under current values and potential.

        Args:
            data: episodes.
            first: the first pass: it also starts the reward scales of LGRS.
            learn: move scales and normalisers.
        """
        critic = self._critic
        if critic is None or not self.settings.warm_start.critic:
            return {}
        values = self._values(critic, data)
        if critic.lgrs.config.mode in ("mix", "off"):
            potential = torch.zeros(data.states.shape[:-1])
        else:
            potential = torch.stack([critic.potential(part) for part in data.states])
        terminated = torch.zeros_like(data.team_rewards, dtype=torch.bool)
        truncated = terminated.clone()
        truncated[-1] = True

        def returns(name: str, rewards: Tensor) -> Tensor:
            rewards = critic.centred(name, rewards, update=learn)
            value = critic.normaliser(name).denormalise(values[name])
            agents = rewards.dim() > data.team_rewards.dim()
            own = value.dim() > data.team_rewards.dim()  # a value of each agent
            ends = (terminated.unsqueeze(-1), truncated.unsqueeze(-1)) if agents else (terminated, truncated)
            current, following = (v.unsqueeze(-1) if agents and not own else v for v in (value[:-1], value[1:]))
            traced = vtrace(
                torch.zeros(()), rewards, current, following, *ends, gamma=self.settings.discount, lambda_=1.0
            )
            target = traced.targets.mean(-1) if agents and not own else traced.targets
            if learn:
                critic.normaliser(name).update(target)
            return critic.normaliser(name).normalise(target)

        targets: dict[str, Tensor] = {}
        for role in self._roles if critic.scope != "team" else ():
            shaped, _ = critic.lgrs(
                role,
                data.roles[role]["local_rewards"],
                data.team_rewards,
                potential[:-1],
                potential[1:],
                terminated,
                update=first and learn,
            )
            targets[role] = returns(role, shaped)
        if TEAM in values:
            targets[TEAM] = returns(TEAM, data.team_rewards)
        return targets

    def _values(self, critic: CriticModule, data: Demonstrations) -> dict[str, Tensor]:
        """Normalised values before each step and after the last one, [T + 1, B], of single agents [T + 1, B, n]."""
        times, episodes = data.states.shape[:2]
        seen = {
            role: torch.cat((data.roles[role]["observations"], last.unsqueeze(0)))
            for role, last in data.last_observations.items()
        }
        chunk = max(1, _CRITIC_ROWS // episodes)
        parts = [
            critic.values(data.states[t : t + chunk], {role: o[t : t + chunk] for role, o in seen.items()})
            for t in range(0, times, chunk)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    # ---- one gradient step

    def _step(self, batch: dict[str, dict[str, Tensor]], epoch: int) -> None:
        output = self.module.forward_train(batch)
        losses = [self._policy_loss(output[role], batch[role])[0] for role in self._cloned]
        loss = torch.stack(losses).mean() if losses else torch.zeros(())
        if CRITIC in batch:
            loss = loss + self.settings.update.value_weight * self._value_loss(output[CRITIC], batch[CRITIC])
        if not torch.isfinite(loss):
            raise ValueError(
                f"cloning diverged in pass {epoch}: the loss is {float(loss.detach()):g}; "
                "lower warm_start.learning_rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameters in self._parameters.values():
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.update.max_gradient_norm)
        self._optimizer.step()

    def _policy_loss(self, output: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Loss and cross-entropy of a sub-action; scalars."""
        active = columns["active"].to(torch.float32)
        sub_actions = (columns["choices"].sum(-1) * active).sum().clamp_min(1.0)
        cross_entropy = -(output["log_probs"] * active).sum() / sub_actions
        entropy = (output["entropies"] * active).sum() / sub_actions
        return cross_entropy - self.settings.warm_start.entropy * entropy, cross_entropy.detach()

    def _value_loss(self, values: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        delta = self.settings.update.huber_delta
        return torch.stack(
            [functional.huber_loss(value, columns[f"target_{name}"], delta=delta) for name, value in values.items()]
        ).mean()

    # ---- judging

    @torch.no_grad()
    def _evaluate(self, epoch: int, epochs: int, elapsed_s: float) -> CloningProgress:
        data = self.held_out
        total = data.team_rewards.numel()
        # Evenly spread over time and episodes, the same rows after every pass.
        index = torch.linspace(0, total - 1, min(total, _EVALUATION_STEPS)).long()
        targets = self._value_targets(data, first=False, learn=False)
        batch = self._batch(data, index, targets)
        output = self.module.forward_train(batch)
        seen: dict[str, Any] = {role: batch[role]["observations"] for role in self._roles}
        chosen = self.module.act(seen, {role: batch[role]["masks"] for role in self._roles}, deterministic=True)
        agreement, cross_entropy = {}, {}
        for role in self._cloned:
            columns = batch[role]
            counted = columns["choices"] & columns["active"].unsqueeze(-1)
            same = (chosen[role][0] == columns["actions"]) & counted
            agreement[role] = float(same.sum() / counted.sum().clamp_min(1))
            cross_entropy[role] = float(self._policy_loss(output[role], columns)[1])
        explained = {}
        for name in targets:
            target, value = batch[CRITIC][f"target_{name}"], output[CRITIC][name]
            spread = target.var(correction=0).clamp_min(1e-12)
            explained[name] = float(1 - (target - value).var(correction=0) / spread)
        return CloningProgress(epoch, epochs, agreement, cross_entropy, explained, elapsed_s)
