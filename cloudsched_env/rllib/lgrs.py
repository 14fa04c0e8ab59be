"""LGRS: rewards that mix an agent's local signal with a global one (arXiv 2508.10253).

Agent i is trained on

    r̂_i = λ r_i + (1 - λ) k R_g ,

with k a running scale (below) and the global signal R_g, for a potential V_φ that estimates the *team* return:

- ``off``: nothing; λ is taken as 1, r̂_i = r_i. The selfish game.
- ``literal``: V_φ(s') - V_φ(s), the paper's formula. It equals ``pbrs`` + (1 - gamma) V_φ(s'), so at gamma = 0.99
  all but a residue of one per cent of V_φ is potential-based.
- ``pbrs``: gamma V_φ(s') - V_φ(s). Potential-based: the optimal policies and Nash equilibria of r̂_i are exactly
  those of the game with rewards λ r_i, that is of the selfish game.
- ``mix``: r_team. Changes the game to λ r_i + (1 - λ) r_team.
- ``td``: r_team + gamma V_φ(s') - V_φ(s). It is ``mix`` + ``pbrs``: the equilibria of ``mix``, with credit that
  arrives at once.

So ``pbrs`` cannot make selfish agents cooperate, and ``literal`` can only by its small residue: both can change how
fast and what a finite, approximate learner learns, not what is optimal. Sources: Ng, Harada & Russell 1999 (invariance
for one agent); Lu, Schwartz & Givigi 2011 and Devlin & Kudenko 2011 (Nash equilibria); Devlin & Kudenko 2012
(potentials that change while learning, if one and the same potential is used for both terms); Grześ 2017 (the potential
of a terminal state must be 0); Adamczyk et al. 2025, arXiv 2501.00989 (a learned value as potential).

Three rules follow. V_φ is trained on the team return and never on r̂: the self-referential iteration need not converge
(for ``literal`` its Bellman operator is known to contract only if 1 - λ < (1 - gamma) / 2). Values passed in come from
a lagged copy, without gradient, the same copy for s and s'. And V_φ(s') counts as 0 after a true termination, but is
the value of the final state when time ran out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

__all__ = ["LGRS", "LGRSConfig", "Mode", "global_signal"]

Mode = Literal["literal", "pbrs", "td", "mix", "off"]


@dataclass(frozen=True)
class LGRSConfig:
    """How local and global signals are mixed.

    Attributes:
        mode: what R_g is.
        weight: λ in [0, 1], the share of the local reward.
        weight_by_role: λ of single roles, where it differs: local rewards of some roles lead where the team's does, and
            with far less noise; those of others do not.
        gamma: discount; the same as the learner's, or ``pbrs`` is no longer policy-invariant.
        normalise: scale R_g to the running standard deviation of the role's local rewards, so that λ means the
            same for all roles and values of 1/(1 - gamma) times a reward do not swamp it.
            Only scaled, never centred: subtracting a mean would pay for living longer or shorter.
        decay: of the running standard deviations, per update.
    """

    mode: Mode = "td"
    weight: float = 0.5
    weight_by_role: Mapping[str, float] = field(default_factory=dict)
    gamma: float = 0.99
    normalise: bool = True
    decay: float = 0.99

    def __post_init__(self) -> None:
        """Check values.

        Raises:
            ValueError: naming the field, its value and what was expected.
        """
        if self.mode not in get_args(Mode):
            raise ValueError(f"lgrs field 'mode' is {self.mode!r}: expected one of {', '.join(get_args(Mode))}")
        shares = {name: getattr(self, name) for name in ("weight", "gamma", "decay")}
        shares |= {f"weight_by_role.{role}": value for role, value in self.weight_by_role.items()}
        for name, value in shares.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
                raise ValueError(f"lgrs field {name!r} is {value!r}: expected a number from 0 to 1")
        if self.decay == 1.0:
            raise ValueError("lgrs field 'decay' is 1.0: expected less than 1, otherwise the scale never learns")

    def weight_of(self, role: str) -> float:
        """λ of a role."""
        return float(self.weight_by_role.get(role, self.weight))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LGRSConfig:
        """Build from what `to_dict` returned; absent keys take their defaults.

        Raises:
            ValueError: for a key that does not exist or a value that is not allowed.
        """
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"unknown lgrs field {name!r}: expected one of {', '.join(known)}")
        return cls(**values)


def global_signal(
    mode: Mode, team_reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, gamma: float
) -> Tensor:
    """R_g of the table above, without gradient.

    Args:
        mode: which one; ``off`` gives zeros.
        team_reward: r_team, any shape.
        value: V_φ(s) in the unit of returns, same shape.
        next_value: V_φ(s'); where the episode was truncated, of its final state.
        terminated: the step ended the episode for good.
        gamma: discount of V_φ.
    """
    value, team_reward = value.detach(), team_reward.detach()
    next_value = next_value.detach() * (1.0 - terminated.to(next_value.dtype))
    if mode == "literal":
        return next_value - value
    if mode == "pbrs":
        return gamma * next_value - value
    if mode == "td":
        return team_reward + gamma * next_value - value
    if mode == "mix":
        return team_reward
    if mode == "off":
        return torch.zeros_like(team_reward)
    raise ValueError(f"unknown mode {mode!r}: expected one of {', '.join(get_args(Mode))}")


class LGRS(nn.Module):
    """Mixes rewards and keeps the running scales, which belong into checkpoints (they are buffers).

    Args:
        roles: names of the roles.
        config: mode, λ, gamma and normalisation.
    """

    def __init__(self, roles: Sequence[str], config: LGRSConfig) -> None:
        super().__init__()
        self.roles = tuple(roles)
        self.config = config
        unknown = sorted(set(config.weight_by_role) - set(roles))
        if unknown:
            raise ValueError(f"lgrs weight_by_role names {', '.join(unknown)}: expected some of {', '.join(roles)}")
        # Rows: roles; columns: second central moments of the local reward and of R_g; debiased by the weight seen.
        self.register_buffer("variances", torch.zeros(len(self.roles), 2, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(len(self.roles), dtype=torch.float64))
        self.variances: Tensor
        self.seen: Tensor

    @torch.no_grad()
    def forward(
        self,
        role: str,
        local_rewards: Tensor,
        team_reward: Tensor,
        value: Tensor,
        next_value: Tensor,
        terminated: Tensor,
        *,
        update: bool = True,
    ) -> tuple[Tensor, dict[str, float]]:
        """Rewards that agents of a role are trained on.

        Args:
            role: whose.
            local_rewards: r_i, ``[T, B, n]``.
            team_reward: r_team, ``[T, B]``.
            value: V_φ(s), ``[T, B]``.
            next_value: V_φ(s'), ``[T, B]``.
            terminated: ``[T, B]``.
            update: move the running scales (leave it off when the same steps are seen again).

        Returns:
            r̂, ``[T, B, n]``, and statistics to log: standard deviations of both terms of r̂ as they enter the sum, of
            the raw R_g, the scale k, and both terms' standard deviations by the running moments.
        """
        index = self.roles.index(role)
        config = self.config
        signal = global_signal(config.mode, team_reward, value, next_value, terminated, config.gamma)
        if update:
            self._update(index, local_rewards, signal)
        weight = 1.0 if config.mode == "off" else config.weight_of(role)
        scale = self.scale(role)
        local_term = weight * local_rewards
        global_term = (1.0 - weight) * scale * signal
        shaped = local_term + global_term.unsqueeze(-1)
        statistics = {
            "local_term_std": float(local_term.std(correction=0)),
            "global_term_std": float(global_term.std(correction=0)),
            "global_signal_std": float(signal.std(correction=0)),
            "scale": scale,
            # The same two terms by the running moments: one batch says little of a lumpy signal.
            "running_local_std": weight * float(self.variances[index, 0]) ** 0.5,
            "running_global_std": (1.0 - weight) * scale * float(self.variances[index, 1]) ** 0.5,
        }
        return shaped, statistics

    def scale(self, role: str) -> float:
        """k, what R_g is multiplied by for a role; 1 without normalisation, before any data, or if one is constant."""
        index = self.roles.index(role)
        local, signal = self.variances[index].tolist()
        if not self.config.normalise or local <= 1e-12 or signal <= 1e-12:
            return 1.0
        return (local / signal) ** 0.5

    def _update(self, index: int, local_rewards: Tensor, signal: Tensor) -> None:
        batch = torch.stack((local_rewards.double().var(correction=0), signal.double().var(correction=0)))
        seen = self.seen[index] * self.config.decay + (1.0 - self.config.decay)
        # Debiased running mean: the first update is taken whole.
        self.variances[index] += (1.0 - self.config.decay) / seen * (batch.to(self.variances) - self.variances[index])
        self.seen[index] = seen
