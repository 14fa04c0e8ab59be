"""Building blocks that all networks share: initialised layers, masked categorical choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cloudsched_env.roles.layout import Layout

__all__ = ["INVALID_LOGIT", "block", "entropy", "linear", "masked_log_softmax", "mlp", "sample"]

# Large enough to make the probability exactly 0 in float32, small enough that 0 * log p stays finite in the entropy.
INVALID_LOGIT = -1e9


def block(layout: Layout, observations: Tensor, name: str) -> Tensor:
    """A block of flat observations ``[..., size]`` as ``[..., *block shape]``, without copying."""
    return cast(Tensor, layout.view(observations, name))  # type: ignore[arg-type]  # annotated for arrays only


def linear(inputs: int, outputs: int, gain: float = math.sqrt(2.0), bias: bool = True) -> nn.Linear:
    """A linear layer with orthogonal weights and zero bias (Andrychowicz et al. 2021, arXiv 2006.05990)."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.orthogonal_(layer.weight, gain)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, hidden: Sequence[int], *, layer_norm: bool) -> nn.Sequential:
    """Hidden layers of ReLU, each followed by layer normalisation if asked for; the output has ``hidden[-1]`` units."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [linear(inputs, size), nn.ReLU()]
        if layer_norm:
            layers.append(nn.LayerNorm(size))
        inputs = size
    return nn.Sequential(*layers)


def masked_log_softmax(logits: Tensor, mask: Tensor, role: str) -> Tensor:
    """Log-probabilities over the last axis with forbidden choices at probability 0.

    Args:
        logits: ``[..., choices]``.
        mask: same shape, non-zero = allowed.
        role: who chooses, for the error.

    Raises:
        ValueError: if some row allows nothing.
    """
    allowed = mask != 0
    if not bool(allowed.any(-1).all()):
        row = int((~allowed.any(-1)).reshape(-1).nonzero()[0])
        raise ValueError(
            f"role {role!r}: row {row} of the action mask allows no action; expected at least one 1 per row"
        )
    return logits.masked_fill(~allowed, INVALID_LOGIT).log_softmax(-1)


def sample(
    log_probabilities: Tensor,
    deterministic: bool,
    generator: torch.Generator | None,
    noise: Tensor | None = None,
) -> Tensor:
    """Draw from a categorical distribution, or take its mode; int64 of the leading shape.

    The Gumbel-max trick in its exponential form: argmax p / E with E ~ Exp(1). Forbidden choices stay far below any
    allowed one, whose perturbation is at most about 1e2.

    Args:
        log_probabilities: ``[..., choices]``.
        deterministic: take the mode.
        generator: where E comes from; torch's global one if None.
        noise: E itself, of a shape that broadcasts: rows with the same E and the same distribution choose the same.
    """
    if deterministic:
        return log_probabilities.argmax(-1)
    if noise is None:
        noise = torch.empty_like(log_probabilities).exponential_(generator=generator)
    return (log_probabilities - noise.log()).argmax(-1)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Entropy in nats over the last axis."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)
