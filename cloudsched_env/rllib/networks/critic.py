"""The central critic: one value per role and one of the team, from the global state, whatever the cluster's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.attention import AttentionOutput, RoleAttention
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import linear, mlp
from cloudsched_env.rllib.networks.state_encoder import EncodedState, StateEncoder, pool
from cloudsched_env.roles.layout import Layout

__all__ = ["TEAM", "CentralCritic"]

TEAM = "team"


class CentralCritic(nn.Module):
    """Values of the global state, for training only.

    Members of a role share an encoder; a role is described by the mean and the maximum of its members' embeddings and
    by what it attends to of the other roles.
    Pooling makes the values independent of the order and the number of members.

    Args:
        state_layout: of the global state: one block per role, whose axis bears its name, and blocks for the cluster;
            of those with an axis of their own (tenants) it sees the mean, the smallest and the largest entry.
        config: sizes and switches; with similarity ``off`` value heads see their own role and the cluster only, the
            team head all roles. With critic ``team`` there is the team head alone.
        members: of each role, by the blocks' names; by default the blocks are the roles. Encoders are those of the
            blocks whatever the roles: what describes a storage node is the same in any role.
    """

    def __init__(
        self,
        state_layout: Layout,
        config: NetworkConfig,
        members: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = StateEncoder(state_layout, config)
        self.members = members
        self.roles = tuple(members) if members is not None else self.encoder.roles
        self.value_roles = () if config.critic == "team" else self.roles
        hidden, size = config.hidden_sizes, config.embedding_size
        attends = config.similarity != "off" and config.critic != "team"
        self.attention = RoleAttention(self.roles, size, config) if attends else None
        self.mixes_values = config.aggregate == "value"
        context = 0 if self.attention is None or self.mixes_values else config.context_size

        def head(inputs: int) -> nn.Sequential:
            # A gain of 1 is right here: values are normalised to mean 0 and standard deviation 1.
            return nn.Sequential(
                mlp(inputs, hidden[-1:], layer_norm=config.layer_norm), linear(hidden[-1], 1, gain=1.0)
            )

        self.heads = nn.ModuleDict({role: head(3 * size + context) for role in self.value_roles})
        self.team_head = head(size + len(self.roles) * 2 * size)

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        """Values of *normalised* returns.

        Args:
            state: ``[*, state size]``.

        Returns:
            ``{role: [*]}`` and, under `TEAM`, the value of the team return (V_φ of LGRS) ``[*]``.
        """
        return self.with_attention(state)[0]

    def with_attention(self, state: Tensor) -> tuple[dict[str, Tensor], AttentionOutput | None]:
        """Values as `forward` returns them, and what the roles attended to (one query per role, so n = 1)."""
        encoded = self.encoder(state)
        cluster = encoded.cluster
        pooled: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for role in self.roles:
            members = encoded.members[role] if self.members is None else self._of_role(encoded, self.members[role])
            pooled[role] = pool(members)
            counts[role] = members.shape[-2]
        attended: AttentionOutput | None = None
        if self.attention is not None:
            # The mean over members of W h_j is W applied to the mean, so the pooled embedding serves as the one member.
            size = self.encoder.member_size
            embeddings = {role: pooled[role][..., :size].unsqueeze(-2) for role in self.roles}
            attended = self.attention.contexts(embeddings, self.attention.summaries(embeddings), counts)
        values: dict[str, Tensor] = {}
        for role in self.value_roles:
            parts = [pooled[role], cluster]
            if attended is not None and not self.mixes_values:
                parts.append(attended.contexts[role].squeeze(-2))
            values[role] = self.heads[role](torch.cat(parts, -1)).squeeze(-1)
        if self.mixes_values and attended is not None:
            said = torch.stack([values[role] for role in self.roles], -1)
            values = {role: (attended.weights[role].squeeze(-2) * said).sum(-1) for role in self.roles}
        everything = torch.cat([cluster, *(pooled[role] for role in self.roles)], -1)
        values[TEAM] = self.team_head(everything).squeeze(-1)
        return values, attended

    @staticmethod
    def _of_role(encoded: EncodedState, members: Mapping[str, Sequence[int]]) -> Tensor:
        """Embeddings of a role's members, ``[*, members, e]``."""
        return torch.cat([encoded.members[name][..., list(positions), :] for name, positions in members.items()], -2)
