"""What arrivals do to all clusters that meet them, taken out of advantages and, in part, of value targets."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["common_part", "with_less_common_luck", "without_common_luck"]


def without_common_luck(advantages: Tensor, inputs: Tensor) -> tuple[Tensor, float]:
    """Take out of advantages what the arrivals did to all clusters that met them.

    The return of a step depends on what arrives after it, which no baseline of the state knows. Clusters that meet the
    same arrivals at the same time share that part. The mean over the *other* clusters of an agent's input group is a
    baseline that does not depend on the agent's own action, so the policy gradient stays unbiased (input-dependent
    baselines: Mao et al. 2019, arXiv 1807.02264; leave-one-out: Kool, van Hoof & Welling 2019).

    Args:
        advantages: [T, B, n].
        inputs: clusters with the same number met the same arrivals, [B].

    Returns:
        Advantages, and the share of their variance that was common to the clusters of a group (intraclass correlation;
        0 where every cluster is alone).
    """
    _, group, sizes = inputs.unique(return_inverse=True, return_counts=True)
    shared = sizes[group] > 1
    if not shared.any():
        return advantages, 0.0
    sums = torch.zeros(advantages.shape[0], len(sizes), *advantages.shape[2:]).index_add_(1, group, advantages)
    others = (sums[:, group] - advantages) / (sizes[group] - 1).clamp_min(1).view(1, -1, *[1] * (advantages.dim() - 2))
    others[:, ~shared] = 0.0
    seen = advantages[:, shared]
    centred, partner = seen - seen.mean(), others[:, shared] - seen.mean()
    common = float((centred * partner).mean() / centred.square().mean().clamp_min(1e-12))
    return advantages - others, common


def with_less_common_luck(targets: Tensor, values: Tensor, inputs: Tensor, share: float) -> Tensor:
    """Value targets that keep only a share of what arrivals did to all clusters that met them.

    A batch meets few different arrivals, each in many clusters. What they did beyond the critic's expectation is the
    mean error over those clusters: mostly noise that the state cannot predict, and the same noise in all of them, so
    that it does not average out within a batch. How clusters with the same arrivals differ is what an action did, and
    what a critic that judges actions has to learn. Keeping a share of the mean error slows down learning of what is
    common, without moving its fixed point: there the mean error is zero in expectation.

    Args:
        targets: [T, B], or of single agents [T, B, n].
        values: of the critic before the update, same shape.
        inputs: clusters with the same number met the same arrivals, [B].
        share: of the mean error that stays; 1 leaves the targets as they are.
    """
    return targets - (1.0 - share) * (common_part(targets, inputs) - common_part(values, inputs))


def common_part(values: Tensor, inputs: Tensor) -> Tensor:
    """The mean over the clusters that met the same arrivals, 0 for a cluster that is alone; [T, B, ...] both."""
    _, group, sizes = inputs.unique(return_inverse=True, return_counts=True)
    lead = (1, -1, *[1] * (values.dim() - 2))
    sums = torch.zeros(len(values), len(sizes), *values.shape[2:], dtype=values.dtype).index_add_(1, group, values)
    shared = (sizes[group] > 1).view(lead)
    return torch.where(shared, (sums / sizes.view(lead))[:, group], 0.0)
