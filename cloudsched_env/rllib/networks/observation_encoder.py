"""An embedding of whatever one agent observes, from the layout alone: for critics that see what agents see."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import block, linear, mlp
from cloudsched_env.rllib.networks.scales import standardise_block
from cloudsched_env.roles.layout import Layout

__all__ = ["ObservationEncoder"]


class ObservationEncoder(nn.Module):
    """Embeds observations of any role, whatever the size of the cluster.

    Entries of repeated blocks (tasks, nodes) are embedded by one layer for the block and pooled by mean and maximum, so
    that weights depend on neither their number nor their order (Zaheer et al. 2017, deep sets). Blocks of pairs are
    described for each task first, by the mean and the maximum over nodes: embedding every pair would cost more than all
    the rest of a critic.

    Args:
        layout: of the observation.
        config: sizes and switches.
    """

    def __init__(self, layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        self.layout = layout
        size = config.embedding_size
        self.scales = nn.ModuleDict(
            {b.name: standardise_block(layout.role, b, config.standardise_inputs) for b in layout.blocks}
        )
        self.pools = nn.ModuleDict(
            {b.name: linear(len(b.fields) * 2 ** (len(b.axes) - 1), size) for b in layout.blocks if b.axes}
        )
        width = sum(2 * size if b.axes else len(b.fields) for b in layout.blocks)
        self.body = nn.Sequential(
            mlp(width, config.hidden_sizes, layer_norm=config.layer_norm),
            linear(config.hidden_sizes[-1], size),
            nn.ReLU(),
        )

    def forward(self, observations: Tensor) -> Tensor:
        """Embeddings ``[*, e]`` of observations ``[*, d]``."""
        parts: list[Tensor] = []
        for entry in self.layout.blocks:
            values = self.scales[entry.name](block(self.layout, observations, entry.name))
            if entry.axes:
                for _ in entry.axes[1:]:
                    values = torch.cat((values.mean(-2), values.amax(-2)), -1)
                embedded = self.pools[entry.name](values).relu()
                parts += [embedded.mean(-2), embedded.amax(-2)]
            else:
                parts.append(values)
        return self.body(torch.cat(parts, -1))
