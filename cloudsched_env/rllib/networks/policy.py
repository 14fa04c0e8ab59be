"""The roles' policies: `NodePolicy` of compute and storage nodes, and `SchedulerPolicy` from its own module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.base import RolePolicy
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import entropy, linear, masked_log_softmax, mlp, sample
from cloudsched_env.rllib.networks.scales import standardise_block
from cloudsched_env.rllib.networks.scheduler import SchedulerPolicy
from cloudsched_env.roles.layout import Layout

__all__ = ["NodePolicy", "RolePolicy", "SchedulerPolicy"]


class NodePolicy(RolePolicy):
    """Policy of compute and storage nodes: independent categorical sub-actions given the node's observation.

    The log-probability of an agent is the sum over its sub-actions, so that a ratio of two policies is the true joint
    ratio and not one ratio per sub-action.

    Args:
        layout: the node's observation.
        action_levels: choices of each sub-action.
        config: sizes and switches.
        preferred_levels: the level of each sub-action that a new policy prefers (`NetworkConfig.level_preference`).
    """

    def __init__(
        self,
        layout: Layout,
        action_levels: Sequence[int],
        config: NetworkConfig,
        preferred_levels: Sequence[int] | None = None,
    ) -> None:
        super().__init__(layout, action_levels, config)
        (block,) = layout.blocks
        self.encoder = nn.Sequential(
            standardise_block(layout.role, block, config.standardise_inputs),
            mlp(layout.size, config.hidden_sizes, layer_norm=config.layer_norm),
            linear(config.hidden_sizes[-1], config.embedding_size),
            nn.ReLU(),
        )
        width = config.hidden_sizes[-1]
        self.trunk = nn.Sequential(linear(self.read_size, width), nn.ReLU())
        self.head = linear(width, sum(self.action_levels), gain=config.last_layer_gain)
        if self.proposals:
            self.propose = linear(self.context_size, sum(self.action_levels), config.last_layer_gain, bias=False)
        first = 0
        for choices, level in zip(self.action_levels, preferred_levels or (), strict=False):
            with torch.no_grad():
                self.head.bias[first + level] += config.level_preference
            first += choices

    def encode(self, observations: Tensor) -> Tensor:
        """See `RolePolicy.encode`."""
        return self.encoder(observations)

    @torch.no_grad()
    def act(
        self,
        observations: Tensor,
        masks: Tensor,
        context: Tensor | None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
        embeddings: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `RolePolicy.act`."""
        actions, log_prob = [], torch.zeros(observations.shape[:-1], device=observations.device)
        draws = [None] * len(self.action_levels) if noise is None else noise.split(self.action_levels, -1)
        distributions = self._distributions(observations, masks, context, embeddings)
        for part, draw in zip(distributions, draws, strict=True):
            choice = sample(part, deterministic, generator, draw)
            actions.append(choice)
            log_prob = log_prob + part.gather(-1, choice.unsqueeze(-1)).squeeze(-1)
        return torch.stack(actions, -1), log_prob

    def evaluate(
        self,
        observations: Tensor,
        masks: Tensor,
        actions: Tensor,
        context: Tensor | None = None,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `RolePolicy.evaluate`."""
        log_prob = total_entropy = torch.zeros(observations.shape[:-1], device=observations.device)
        for index, part in enumerate(self._distributions(observations, masks, context, embeddings)):
            log_prob = log_prob + part.gather(-1, actions[..., index : index + 1].long()).squeeze(-1)
            total_entropy = total_entropy + entropy(part)
        return log_prob, total_entropy

    def logits(self, observations: Tensor, context: Tensor | None = None, embeddings: Tensor | None = None) -> Tensor:
        """Scores of all choices before masking, ``[*, n, L]``; the levels of the sub-actions follow one another."""
        embeddings = self.encode(observations) if embeddings is None else embeddings
        features = self._features(embeddings, context)
        scores = self.head(self.trunk(features[..., : self.read_size]))
        return scores + self.propose(features[..., self.read_size :]) if self.proposals else scores

    def scores(
        self,
        observations: Tensor,
        masks: Tensor,
        context: Tensor | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """See `RolePolicy.scores`; masks play no part."""
        return self.logits(observations, context, embeddings)

    def _distributions(
        self, observations: Tensor, masks: Tensor, context: Tensor | None, embeddings: Tensor | None
    ) -> list[Tensor]:
        """Masked log-probabilities of each sub-action, ``[*, n, levels]``."""
        scores = self.logits(observations, context, embeddings).split(self.action_levels, -1)
        allowed = masks.split(self.action_levels, -1)
        return [masked_log_softmax(part, mask, self.role) for part, mask in zip(scores, allowed, strict=True)]
