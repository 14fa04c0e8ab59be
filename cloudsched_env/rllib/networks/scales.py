"""Typical sizes of what networks see, by which they bring their inputs to a common scale.

Observed fields are ratios in units chosen for people: a task asks for 0.1 "4 cores" on average and its memory moves the
pressure of a node by 0.03, while queues reach 8. Gradient steps of one size suit no two of these. The networks
therefore subtract a typical mean and divide by a typical standard deviation of each field.

The numbers are constants, not running statistics: probabilities recorded by a sampler stay comparable with those that a
learner computes later, nothing has to be synchronised, and a stored policy means the same everywhere. They come from
`benchmarks/input_scales.py` (the record is `input_scales.json`); only their magnitude matters, so one table serves all
scenarios.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib import resources

import torch
from torch import Tensor, nn

from cloudsched_env.roles.layout import Block

__all__ = ["LIMIT", "Standardise", "standardise_block"]

# Rare extremes (a node that has been silent for a minute) must not dominate a batch.
LIMIT = 20.0
# A field that hardly moved while it was measured (all nodes up, no telemetry lost) says nothing of its scale.
_SMALLEST_STD = 0.02


class Standardise(nn.Module):
    """``(x - mean) / std`` on the last axis, clipped to +-`LIMIT`; constants that are not part of checkpoints.

    Args:
        group: name of the group in the table: ``role.block`` or ``scheduler.pair_features``.
        names: fields in the order of the last axis; those that the table lacks (optional ones) pass unchanged.
        enabled: False makes this the identity.
    """

    def __init__(self, group: str, names: Sequence[str], enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled
        known = _table().get(group, {}) if enabled else {}
        pairs = [known.get(name, (0.0, 1.0)) for name in names]
        mean = torch.tensor([mean for mean, _ in pairs], dtype=torch.float32)
        std = torch.tensor([std if std >= _SMALLEST_STD else 1.0 for _, std in pairs], dtype=torch.float32)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("inverse_std", 1.0 / std, persistent=False)
        self.mean: Tensor
        self.inverse_std: Tensor

    def forward(self, values: Tensor) -> Tensor:
        """Standardised values of the same shape."""
        if not self.enabled:
            return values
        return ((values - self.mean) * self.inverse_std).clamp(-LIMIT, LIMIT)


def standardise_block(role: str, block: Block, enabled: bool) -> Standardise:
    """For the entries of an observed block."""
    return Standardise(f"{role}.{block.name}", [entry.name for entry in block.fields], enabled)


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, tuple[float, float]]]:
    text = (resources.files("cloudsched_env.rllib.networks") / "input_scales.json").read_text(encoding="utf-8")
    return json.loads(text)["groups"]
