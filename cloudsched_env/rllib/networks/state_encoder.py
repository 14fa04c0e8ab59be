"""From the global state to embeddings of the members of each role and one summary of fixed length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import block, linear, mlp
from cloudsched_env.rllib.networks.scales import standardise_block
from cloudsched_env.roles.layout import Layout

__all__ = ["EncodedState", "StateEncoder", "pool"]


def pool(members: Tensor) -> Tensor:
    """Mean and maximum of embeddings ``[*, n, e]``, ``[*, 2 e]``.

    The maximum shows the hot spot that a mean over many nodes hides.
    """
    return torch.cat((members.mean(-2), members.amax(-2)), -1)


@dataclass(frozen=True)
class EncodedState:
    """What `StateEncoder` makes of a state.

    Attributes:
        members: embedding of each member, ``{role: [*, n, e]}``.
        cluster: embedding of what belongs to no role, ``[*, e]``.
    """

    members: dict[str, Tensor]
    cluster: Tensor

    @property
    def summary(self) -> Tensor:
        """Of the whole cluster, ``[*, summary size]``, whatever the number and the order of members."""
        return torch.cat([self.cluster, *map(pool, self.members.values())], -1)


class StateEncoder(nn.Module):
    """Embeds the members of each role with one encoder for the role, and pools them by mean and maximum.

    Pooling makes the summary independent of the order and the number of members.

    Args:
        state_layout: of the global state: one block per role, whose axis bears its name, and blocks for the cluster;
            of those with an axis of their own (tenants) the mean, the smallest and the largest entry are seen.
        config: sizes and switches.
    """

    def __init__(self, state_layout: Layout, config: NetworkConfig) -> None:
        super().__init__()
        self.layout = state_layout
        self.roles = tuple(
            block.name for block in state_layout.blocks if [name for name, _ in block.axes] == [block.name]
        )
        self.cluster_blocks = tuple(block.name for block in state_layout.blocks if block.name not in self.roles)
        hidden, size = config.hidden_sizes, config.embedding_size
        self.encoders = nn.ModuleDict(
            {
                role: nn.Sequential(
                    standardise_block(state_layout.role, state_layout.block(role), config.standardise_inputs),
                    mlp(len(state_layout.block(role).fields), hidden, layer_norm=config.layer_norm),
                    linear(hidden[-1], size),
                    nn.ReLU(),
                )
                for role in self.roles
            }
        )
        self.cluster_scales = nn.ModuleDict(
            {
                name: standardise_block(state_layout.role, state_layout.block(name), config.standardise_inputs)
                for name in self.cluster_blocks
            }
        )
        cluster = sum(
            len(state_layout.block(name).fields) * (3 if state_layout.block(name).axes else 1)
            for name in self.cluster_blocks
        )
        self.cluster_encoder = nn.Sequential(linear(cluster, size), nn.ReLU())
        self.member_size = size
        self.summary_size = size + 2 * size * len(self.roles)

    def forward(self, state: Tensor) -> EncodedState:
        """Encode states ``[*, state size]``."""
        seen: list[Tensor] = []
        for name in self.cluster_blocks:
            values = self.cluster_scales[name](block(self.layout, state, name))
            repeated = bool(self.layout.block(name).axes)
            seen += [values.mean(-2), values.amin(-2), values.amax(-2)] if repeated else [values]
        members = {role: self.encoders[role](block(self.layout, state, role)) for role in self.roles}
        return EncodedState(members, self.cluster_encoder(torch.cat(seen, -1)))
