"""Attention between roles: an agent weighs one summary per role, not every other agent.

With h_i the embedding of agent i of role r_i and n_r the members of role r:

    s_r    = mean over members j of r of  W_r h_j                       (role summary)
    alpha_ir   = softmax over r of  sim(Q_{r_i} h_i, K_r s_r) + b log n_r   (role attention)
    context_i = Σ_r alpha_ir V_r s_r

The cost grows with agents x roles, not with agents squared, and what has to travel at execution is one short vector
per role. Similarities: scaled dot product (Vaswani et al. 2017), additive (Bahdanau et al. 2015), bilinear (Luong et
al. 2015), or equal weights as the control that shows what attending is worth. With ``attention_top_k`` each head keeps
the k most similar roles and gives the others exactly 0, as the sparse attention of Zhao et al. 2019 (arXiv 1912.11637).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import linear

__all__ = ["AttentionOutput", "RoleAttention"]


@dataclass(frozen=True)
class AttentionOutput:
    """What attention gives each agent, by the agent's role.

    Attributes:
        contexts: ``{role: [*, n, c]}``.
        weights: alpha, averaged over heads, ``{role: [*, n, roles]}`` with roles in the order of `RoleAttention.roles`.
        entropy: of alpha in nats, averaged over heads, ``{role: [*, n]}``.
        squared_logits: mean square of the similarities, ``{role: scalar}``; a penalty on it keeps the softmax from
            saturating (Iqbal & Sha 2019, arXiv 1810.02912, use 1e-3).
    """

    contexts: dict[str, Tensor]
    weights: dict[str, Tensor]
    entropy: dict[str, Tensor]
    squared_logits: dict[str, Tensor]


class RoleAttention(nn.Module):
    """Attention of agents over role summaries; see the module's docstring.

    Args:
        roles: names of the roles, in the order of the weights' last axis.
        embedding_size: e, length of an agent's embedding.
        config: similarity, heads and sizes; ``similarity`` must not be ``off``.

    Raises:
        ValueError: if similarity is ``off`` (then there is nothing to build).
    """

    def __init__(self, roles: Sequence[str], embedding_size: int, config: NetworkConfig) -> None:
        super().__init__()
        if config.similarity == "off":
            raise ValueError("similarity is 'off': expected no RoleAttention to be built (contexts are None)")
        self.roles = tuple(roles)
        self.config = config
        self.heads = config.attention_heads
        self.head_size = config.context_size // config.attention_heads
        self.summarise = nn.ModuleDict({r: linear(embedding_size, config.summary_size, 1.0) for r in self.roles})
        self.value = nn.ModuleDict(
            {r: linear(config.summary_size, config.context_size, 1.0, bias=False) for r in self.roles}
        )
        if config.similarity != "mean":
            self.query = nn.ModuleDict({r: linear(embedding_size, config.context_size, 1.0) for r in self.roles})
            self.key = nn.ModuleDict(
                {r: linear(config.summary_size, config.context_size, 1.0, bias=False) for r in self.roles}
            )
            if config.count_bias:
                self.count_weight = nn.Parameter(torch.zeros(self.heads))
        if config.similarity == "additive":
            self.additive = nn.Parameter(torch.randn(self.heads, self.head_size) / math.sqrt(self.head_size))
        if config.similarity == "bilinear":
            self.bilinear = nn.Parameter(torch.eye(self.head_size).repeat(self.heads, 1, 1) / math.sqrt(self.head_size))

    def summaries(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Role summaries s_r, ``{role: [*, summary size]}``, from ``{role: [*, n, e]}``."""
        return {role: self.summarise[role](embeddings[role]).mean(-2) for role in self.roles if role in embeddings}

    def forward(self, embeddings: Mapping[str, Tensor]) -> AttentionOutput:
        """Attend to fresh summaries of all roles (execution ``full``, or the critic)."""
        return self.contexts(embeddings, self.summaries(embeddings))

    def contexts(
        self,
        embeddings: Mapping[str, Tensor],
        summaries: Mapping[str, Tensor] | Mapping[str, Mapping[str, Tensor]],
        counts: Mapping[str, int] | None = None,
    ) -> AttentionOutput:
        """Attend to given summaries, which may be old.

        Args:
            embeddings: ``{role: [*, n, e]}`` of the agents that attend; roles may be left out.
            summaries: ``{role: [*, summary size]}`` if all agents hold the same ones, or
                ``{receiver's role: {role: [*, n, summary size]}}`` if telemetry reached them unequally.
            counts: members of each role; taken from ``embeddings`` by default.
        """
        counts = counts or {role: embeddings[role].shape[-2] for role in self.roles}
        out = AttentionOutput({}, {}, {}, {})
        for role, embedding in embeddings.items():
            held = summaries.get(role)
            received: Mapping[str, Tensor]
            if isinstance(held, Mapping):
                received = held
            else:
                received = {sender: summaries[sender].unsqueeze(-2) for sender in self.roles}  # type: ignore[union-attr]
            context, weights, logits = self._attend(role, embedding, received, counts)
            out.contexts[role] = context
            out.weights[role] = weights.mean(-2)
            out.entropy[role] = -(weights * weights.clamp_min(1e-12).log()).sum(-1).mean(-1)
            out.squared_logits[role] = logits.square().mean()
        return out

    def _attend(
        self, role: str, embedding: Tensor, received: Mapping[str, Tensor], counts: Mapping[str, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Context ``[*, n, c]``, weights and similarities ``[*, n, heads, roles]`` of one role's agents."""
        split = (self.heads, self.head_size)
        # Each summary is [*, n, s], or [*, 1, s] when all agents hold the same one: projected once, then broadcast.
        held = [
            received[sender].detach() if self.config.detach_summaries else received[sender] for sender in self.roles
        ]
        values = torch.stack(
            [self.value[r](s).unflatten(-1, split) for r, s in zip(self.roles, held, strict=True)], -2
        )  # [*, n or 1, heads, roles, head size]
        lead = embedding.shape[:-1]
        if self.config.similarity == "mean":
            logits = embedding.new_zeros(*lead, self.heads, len(self.roles))
        else:
            query = self.query[role](embedding).unflatten(-1, split).unsqueeze(-2)  # [*, n, heads, 1, head size]
            keys = torch.stack([self.key[r](s).unflatten(-1, split) for r, s in zip(self.roles, held, strict=True)], -2)
            logits = self._similarity(query, keys)
        biased = logits
        if self.config.similarity != "mean" and self.config.count_bias:
            sizes = logits.new_tensor([math.log(counts[sender]) for sender in self.roles])
            biased = logits + self.count_weight.unsqueeze(-1) * sizes
        weights = _keep_largest(biased, self.config.attention_top_k).softmax(-1)
        context = (weights.unsqueeze(-1) * values).sum(-2).flatten(-2)
        return context.expand(*lead, -1), weights, logits

    def _similarity(self, query: Tensor, keys: Tensor) -> Tensor:
        """Similarity of queries and keys, ``[*, n, heads, roles]``."""
        if self.config.similarity == "additive":
            return ((query + keys).tanh() * self.additive.unsqueeze(-2)).sum(-1)
        if self.config.similarity == "bilinear":
            query = (query.squeeze(-2).unsqueeze(-2) @ self.bilinear).squeeze(-2).unsqueeze(-2)
            return (query * keys).sum(-1)
        return (query * keys).sum(-1) / math.sqrt(self.head_size)


def _keep_largest(logits: Tensor, count: int) -> Tensor:
    """All but the largest logits of the last axis pushed to minus infinity; 0 keeps all."""
    if count <= 0 or count >= logits.shape[-1]:
        return logits
    chosen = logits.topk(count, dim=-1).indices
    return torch.full_like(logits, -math.inf).scatter(-1, chosen, logits.gather(-1, chosen))
