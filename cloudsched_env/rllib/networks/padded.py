"""The policy of a role whose members differ in type: padded vectors, a one-hot of the type, padded choices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.policy import NodePolicy
from cloudsched_env.rllib.networks.scales import LIMIT, standardise_block
from cloudsched_env.rllib.role_map import AGENT_TYPES, Role, RoleMap
from cloudsched_env.roles import compute, storage
from cloudsched_env.roles.layout import Layout
from cloudsched_env.scenario import Scenario

__all__ = ["PaddedPolicy", "matched_config"]


class PaddedPolicy(NodePolicy):
    """One perceptron for agents of all types; see `cloudsched_env.rllib.role_map`.

    Each entry of a padded vector means something else for each type, so inputs are standardised by type, and each
    type has its own bias on the choices, which is where a new policy's preference for the initial levels stands
    (`NetworkConfig.level_preference`). It has no pointer: sizes, and so weights, hang on the scenario.

    Args:
        role: whose policy.
        scenario: the cluster.
        config: sizes and switches; ``load_aversion`` has no meaning here.
    """

    def __init__(self, role: Role, scenario: Scenario, config: NetworkConfig) -> None:
        super().__init__(role.layout, role.action_levels, config)
        self.type_bias = nn.Linear(len(AGENT_TYPES), sum(role.action_levels), bias=False)
        nn.init.zeros_(self.type_bias.weight)
        preferred = {"compute": compute.initial_levels(scenario), "storage": storage.initial_levels(scenario)}
        with torch.no_grad():
            for kind, levels in preferred.items():
                for position, level in enumerate(levels):
                    column = position * role.action_levels[0] + level
                    self.type_bias.weight[column, AGENT_TYPES.index(kind)] += config.level_preference
        mean, inverse_std = _scales_by_type(scenario, role.layout.size, config.standardise_inputs)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("inverse_std", inverse_std, persistent=False)
        self.mean: Tensor
        self.inverse_std: Tensor

    def encode(self, observations: Tensor) -> Tensor:
        """See `RolePolicy.encode`."""
        kinds = observations[..., -len(AGENT_TYPES) :]
        scaled = (observations - kinds @ self.mean) * (kinds @ self.inverse_std)
        return self.encoder(scaled.clamp(-LIMIT, LIMIT))

    def logits(self, observations: Tensor, context: Tensor | None = None, embeddings: Tensor | None = None) -> Tensor:
        """See `NodePolicy.logits`."""
        return super().logits(observations, context, embeddings) + self.type_bias(
            observations[..., -len(AGENT_TYPES) :]
        )


def matched_config(roles: Mapping[str, Role], budget: int, config: NetworkConfig) -> NetworkConfig:
    """The configuration whose padded policies come nearest to a number of parameters: hidden layers made as wide.

    Args:
        roles: padded ones, all of the same sizes.
        budget: parameters of all their policies together.
        config: of which all but ``hidden_sizes`` is kept.
    """
    role = next(iter(roles.values()))
    inputs, choices = role.layout.size, sum(role.action_levels)
    embedding, layers = config.embedding_size, len(config.hidden_sizes)

    def parameters(width: int) -> int:
        norm = 2 * width if config.layer_norm else 0
        encoder = inputs * width + width + norm + (layers - 1) * (width * width + width + norm)
        encoder += width * embedding + embedding
        trunk = (embedding + config.policy_context_size) * width + width
        return len(roles) * (encoder + trunk + width * choices + choices + len(AGENT_TYPES) * choices)

    width = min(range(1, 4097), key=lambda w: abs(parameters(w) - budget))
    return dataclasses.replace(config, hidden_sizes=(width,) * layers)


def _scales_by_type(scenario: Scenario, size: int, enabled: bool) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of each padded entry, ``[types, size]``."""
    mean, inverse_std = torch.zeros(len(AGENT_TYPES), size), torch.ones(len(AGENT_TYPES), size)
    for index, role in enumerate(RoleMap(scenario).roles.values()):
        layout: Layout = role.layout
        for block in layout.blocks:
            scale = standardise_block(layout.role, block, enabled)
            entries = block.size // len(block.fields)
            mean[index, layout.slice(block.name)] = scale.mean.repeat(entries)
            inverse_std[index, layout.slice(block.name)] = scale.inverse_std.repeat(entries)
    return mean, inverse_std
