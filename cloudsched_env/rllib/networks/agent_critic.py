"""Critics with a value for each agent: MAPPO's agent-specific global state, IPPO's local observation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import linear, mlp
from cloudsched_env.rllib.networks.observation_encoder import ObservationEncoder
from cloudsched_env.rllib.networks.state_encoder import StateEncoder
from cloudsched_env.roles.layout import Layout

__all__ = ["AgentCritic"]


class AgentCritic(nn.Module):
    """A value of each agent's normalised return, with one network for each role.

    - ``agent``: from the pooled global state and the agent's own observation. This is the agent-specific global state
      of MAPPO (Yu et al. 2022, arXiv 2103.01955, section 5.2) with pooling instead of concatenation, so that it is as
      wide for a thousand agents as for five.
    - ``local``: from the agent's own observation only, as in IPPO (de Witt et al. 2020, arXiv 2011.09533): nothing of
      any other agent can enter.

    A failed node's own observation is replaced by zeros (death masking, section 5.4 there). Its value is trained
    all the same, because here nodes come back, and values before and after a failure bootstrap from it.

    Args:
        state_layout: of the global state.
        layouts: of one agent's observation in each role.
        config: sizes and switches; ``critic`` says which of the two.
    """

    def __init__(self, state_layout: Layout, layouts: Mapping[str, Layout], config: NetworkConfig) -> None:
        super().__init__()
        if config.critic not in ("agent", "local"):
            raise ValueError(f"AgentCritic was asked for critic {config.critic!r}: expected 'agent' or 'local'")
        self.scope = config.critic
        self.layouts = dict(layouts)
        size = config.embedding_size
        self.state_encoder = StateEncoder(state_layout, config) if self.scope == "agent" else None
        summary = 0 if self.state_encoder is None else self.state_encoder.summary_size
        self.own = nn.ModuleDict({role: ObservationEncoder(layout, config) for role, layout in layouts.items()})
        self.heads = nn.ModuleDict(
            {
                role: nn.Sequential(
                    mlp(size + summary, config.hidden_sizes[-1:], layer_norm=config.layer_norm),
                    linear(config.hidden_sizes[-1], 1, gain=1.0),
                )
                for role in layouts
            }
        )

    def forward(self, state: Tensor, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values of normalised returns.

        Args:
            state: ``[*, state size]``; not looked at by a local critic.
            observations: ``{role: [*, n, d]}`` of the same env steps.

        Returns:
            ``{role: [*, n]}``.
        """
        summary = None if self.state_encoder is None else self.state_encoder(state).summary.unsqueeze(-2)
        values: dict[str, Tensor] = {}
        for role, seen in observations.items():
            own = self.own[role](seen * _alive(self.layouts[role], seen))
            if summary is not None:
                own = torch.cat((own, summary.expand(*own.shape[:-1], -1)), -1)
            values[role] = self.heads[role](own).squeeze(-1)
        return values


def _alive(layout: Layout, observations: Tensor) -> Tensor | float:
    """1 for agents that are up, [*, n, 1]; schedulers never fail, and padded vectors do not say."""
    first = layout.blocks[0]
    if first.axes or first.fields[0].name != "alive":
        return 1.0
    return observations[..., :1]
