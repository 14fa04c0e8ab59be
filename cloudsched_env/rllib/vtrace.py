"""V-trace: off-policy corrected value targets and advantages (Espeholt et al. 2018, arXiv 1802.01561).

For a trajectory of the behaviour policy μ and the current policy π, with rho_t = π(a_t|x_t) / μ(a_t|x_t):

    δ_t  = min(rho_bar, rho_t) (r_t + gamma V(x_{t+1}) - V(x_t))
    v_s  = V(x_s) + Σ_{t ≥ s} gamma^{t-s} (Π_{s ≤ i < t} c_i) δ_t ,     c_i = λ min(c_bar, rho_i)
    A_s  = min(rho_bar_pg, rho_s) (r_s + gamma [λ v_{s+1} + (1 - λ) V(x_{s+1})] - V(x_s))

The paper has λ = 1 in the advantage; the mixture for λ < 1 is that of DeepMind's rlax (`rlax/_src/vtrace.py`) and makes
both the target and the advantage those of GAE(λ) (Schulman et al. 2016, arXiv 1506.02438) when π = μ and the clips
are 1 or above.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RatioStatistics", "VTrace", "ratio_statistics", "vtrace"]

# exp(20) is beyond every clip in use and still finite in float32.
_LOG_RATIO_CAP = 20.0


@dataclass(frozen=True)
class RatioStatistics:
    """How far the behaviour policy is from the current one; scalars over the whole batch.

    Attributes:
        mean: of rho; 1 in expectation.
        variance: of rho.
        clipped_share: share of steps with rho above rho_bar.
    """

    mean: float
    variance: float
    clipped_share: float


@dataclass(frozen=True)
class VTrace:
    """Result of `vtrace`.

    Attributes:
        targets: v_s, what the value of each step is regressed on, ``[T, B, ...]``.
        advantages: A_s, for the policy gradient; they contain the clipped ratio unless `vtrace` was told otherwise.
        ratio: statistics of rho.
    """

    targets: Tensor
    advantages: Tensor
    ratio: RatioStatistics


@torch.no_grad()
def vtrace(
    log_ratio: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    lambda_: float = 1.0,
    rho_bar: float | None = 1.0,
    c_bar: float | None = 1.0,
    policy_rho_bar: float | None = 1.0,
    weigh_advantages: bool = True,
) -> VTrace:
    """Value targets and advantages of roll-outs, without gradient.

    Tensors are time-major ``[T, B, ...]`` and broadcast against one another, so the ratios of n agents ``[T, B, n]`` go
    with one value per cluster ``[T, B, 1]``.

    Args:
        log_ratio: log π - log μ of the taken actions.
        rewards: r_t.
        values: V(x_t), in the unit of the rewards (denormalised).
        next_values: V(x_{t+1}), the state after the step; where the step was truncated, the value of the final state
            and not of the next episode's first one. The last row is bootstrapped likewise.
        terminated: the step ended the episode for good: its next value counts as 0.
        truncated: the step ended the episode by time: its next value is bootstrapped, nothing flows across.
        gamma: discount in [0, 1].
        lambda_: λ in [0, 1].
        rho_bar: rho_bar, clip of the ratio in δ; None: no clip.
        c_bar: c_bar, clip of the trace coefficients; None: no clip.
        policy_rho_bar: clip of the ratio in the advantage; None: no clip.
        weigh_advantages: False leaves the ratio out of the advantages, for losses that have one themselves (the
            surrogates of PPO and APPO).

    Raises:
        ValueError: if shapes do not broadcast, or gamma or lambda is outside [0, 1].
    """
    for name, number in (("gamma", gamma), ("lambda_", lambda_)):
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} is {number}: expected 0 to 1")
    tensors = torch.broadcast_tensors(
        log_ratio, rewards, values, next_values, terminated.to(values.dtype), truncated.to(values.dtype)
    )
    log_ratio, rewards, values, next_values, ended, cut = tensors
    rho = log_ratio.clamp_max(_LOG_RATIO_CAP).exp()
    rho_clipped = rho if rho_bar is None else rho.clamp_max(rho_bar)
    c = lambda_ * (rho if c_bar is None else rho.clamp_max(c_bar))
    next_values = next_values * (1.0 - ended)
    deltas = rho_clipped * (rewards + gamma * next_values - values)
    carries = gamma * c * (1.0 - ended) * (1.0 - cut)
    # Backward recursion of the sum: v_t - V_t = δ_t + gamma c_t (v_{t+1} - V_{t+1}).
    corrections = torch.empty_like(deltas)
    correction = torch.zeros_like(deltas[0])
    for t in range(deltas.shape[0] - 1, -1, -1):
        correction = deltas[t] + carries[t] * correction
        corrections[t] = correction
    # v_{t+1} - V(x_{t+1}); 0 where the episode or the batch ends, where V(x_{t+1}) is all that is known.
    following = torch.zeros_like(corrections)
    following[:-1] = corrections[1:] * (1.0 - ended[:-1]) * (1.0 - cut[:-1])
    advantages = rewards + gamma * (next_values + lambda_ * following) - values
    if weigh_advantages:
        advantages = advantages * (rho if policy_rho_bar is None else rho.clamp_max(policy_rho_bar))
    return VTrace(values + corrections, advantages, ratio_statistics(log_ratio, rho_bar))


def ratio_statistics(log_ratio: Tensor, rho_bar: float | None = None) -> RatioStatistics:
    """How far the behaviour policy is from the current one.

    Args:
        log_ratio: log π - log μ of the taken actions, any shape.
        rho_bar: clip of the ratio; None: no clip.
    """
    rho = log_ratio.clamp_max(_LOG_RATIO_CAP).exp()
    return RatioStatistics(
        mean=float(rho.mean()),
        variance=float(rho.var(correction=0)),
        clipped_share=0.0 if rho_bar is None else float((rho > rho_bar).float().mean()),
    )
