"""Mixers: from one utility for each agent to the value of the joint action.

VDN (Sunehag et al. 2018, arXiv 1706.05296) adds:

    Q_tot = Σ_i q_i .

QMIX (Rashid et al. 2018, arXiv 1803.11485) lets the global state decide how utilities count, as long as none counts
negatively:

    Q_tot = |w(s)| · elu( Σ_i |W_i(s)| q_i + b(s) ) + v(s) ,     so that  dQ_tot / dq_i >= 0 .

The joint action that maximises Q_tot is then each agent's own best action, which agents find without the state.

QMIX's hypernetwork maps the state to one W row for each agent by position, so it is tied to one cluster size. Here the
row of agent i comes from a hypernetwork that its role's agents share, of what the state says of this agent and of the
summary of the whole cluster, and rows are averaged within a role:

    Q_tot = |w(z)| · elu( Σ_r 1/n_r Σ_{i in r} |H_r(x_i, z)| q_i + b(z) ) + v(z)

with x_i the embedding of agent i in the state and z the pooled summary (`StateEncoder`). Agents keep weights of their
own, the mixer fits any cluster, does not depend on the order of agents, and 16 compute nodes have no more say at the
start than 3 schedulers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.state_encoder import StateEncoder
from cloudsched_env.roles.layout import Layout

__all__ = ["MonotonicMixer", "SumMixer"]


class SumMixer(nn.Module):
    """VDN: the joint value is the sum of the utilities; the state plays no part."""

    def forward(self, utilities: Mapping[str, Tensor], state: Tensor) -> Tensor:
        """Q_tot ``[*]`` of utilities ``{role: [*, n]}``."""
        return torch.cat(list(utilities.values()), -1).sum(-1)


class _RoleHypernetwork(nn.Module):
    """H_r: a row of mixing weights for each agent of a role; two layers, as pymarl2's ``hypernet_layers: 2``."""

    def __init__(self, member_size: int, summary_size: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.member = nn.Linear(member_size, hidden)
        self.summary = nn.Linear(summary_size, hidden, bias=False)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, members: Tensor, summary: Tensor) -> Tensor:
        return self.out((self.member(members) + self.summary(summary).unsqueeze(-2)).relu())


class MonotonicMixer(nn.Module):
    """QMIX's mixer for any number of agents of each role; see the module's docstring.

    Args:
        state_layout: of the global state (`StateEncoder` says what it must have).
        config: sizes of the state's encoders.
        embedding_size: hidden units of the mixing network; 32 in QMIX.
        hypernet_size: hidden units of the hypernetworks; 64 in QMIX's published code.
    """

    def __init__(
        self, state_layout: Layout, config: NetworkConfig, embedding_size: int = 32, hypernet_size: int = 64
    ) -> None:
        super().__init__()
        self.encoder = StateEncoder(state_layout, config)
        summary = self.encoder.summary_size
        self.first_weights = nn.ModuleDict(
            {
                role: _RoleHypernetwork(self.encoder.member_size, summary, hypernet_size, embedding_size)
                for role in self.encoder.roles
            }
        )
        self.first_bias = nn.Linear(summary, embedding_size)
        self.second_weights = nn.Sequential(
            nn.Linear(summary, hypernet_size), nn.ReLU(), nn.Linear(hypernet_size, embedding_size)
        )
        self.offset = nn.Sequential(nn.Linear(summary, embedding_size), nn.ReLU(), nn.Linear(embedding_size, 1))

    def forward(self, utilities: Mapping[str, Tensor], state: Tensor) -> Tensor:
        """Mix.

        Args:
            utilities: ``{role: [*, n]}`` for every role of the state, n as the state says.
            state: ``[*, state size]``.

        Returns:
            Q_tot, ``[*]``.

        Raises:
            ValueError: if roles or numbers of agents are not those of the state.
        """
        encoded = self.encoder(state)
        found = {role: values.shape[-1] for role, values in utilities.items()}
        expected = {role: members.shape[-2] for role, members in encoded.members.items()}
        if found != expected:
            raise ValueError(f"the mixer was given utilities of {found} agents: the state is of {expected}")
        hidden = self.first_bias(encoded.summary)
        for role, values in utilities.items():
            weights = self.first_weights[role](encoded.members[role], encoded.summary).abs()
            hidden = hidden + (weights * values.unsqueeze(-1)).mean(-2)
        weights = self.second_weights(encoded.summary).abs()
        return (functional.elu(hidden) * weights).sum(-1) + self.offset(encoded.summary).squeeze(-1)
