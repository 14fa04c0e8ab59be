"""What every role's policy can do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.roles.layout import Layout

__all__ = ["RolePolicy"]


class RolePolicy(nn.Module):
    """One policy for all agents of a role.

    In the shapes below ``*`` is any number of leading batch axes, n the agents of the role (in this batch), d the
    observation size, k the sub-actions, L the sum of their levels, e the embedding and c the context size.

    Args:
        layout: how the role's observation is laid out.
        action_levels: choices of each sub-action.
        config: sizes and switches.
    """

    def __init__(self, layout: Layout, action_levels: Sequence[int], config: NetworkConfig) -> None:
        super().__init__()
        self.layout = layout
        self.action_levels = [int(level) for level in action_levels]
        self.config = config
        self.context_size = config.policy_context_size
        self.memory = nn.GRUCell(config.embedding_size, config.embedding_size) if config.memory == "gru" else None
        # Either the layers of the policy read the context, or it is mapped to something added to the logits.
        self.proposals = config.aggregate == "logits" and self.context_size > 0
        self.read_size = config.embedding_size + (0 if self.proposals else self.context_size)

    @property
    def role(self) -> str:
        """The role's name."""
        return self.layout.role

    def encode(self, observations: Tensor) -> Tensor:
        """Embed agents.

        Args:
            observations: ``[*, n, d]``.

        Returns:
            Embeddings h_i, ``[*, n, e]``.
        """
        raise NotImplementedError

    def remember(self, embeddings: Tensor, memories: Tensor | None) -> Tensor:
        """Move the agents' recurrent states on by a step.

        Args:
            embeddings: what `encode` made of the step's observations, ``[*, n, e]``.
            memories: the states before the step, ``[*, n, e]``; None stands for zeros, the state of a new episode.

        Returns:
            The states after it, which take the place of the embeddings; the embeddings themselves without memory.
        """
        if self.memory is None:
            return embeddings
        memories = torch.zeros_like(embeddings) if memories is None else memories
        size = embeddings.shape[-1]
        return self.memory(embeddings.reshape(-1, size), memories.reshape(-1, size)).reshape(embeddings.shape)

    def recall(self, embeddings: Tensor, memories: Tensor, begins: Tensor) -> Tensor:
        """Run through sequences, with gradient through time.

        Args:
            embeddings: ``[L, C, n, e]``, L steps of C sequences.
            memories: states before the first step, ``[C, n, e]``.
            begins: whether a step is the first of an episode, where the state is zero, ``[L, C]``.

        Returns:
            The states after each step, ``[L, C, n, e]``.
        """
        states: list[Tensor] = []
        for step, first in zip(embeddings, begins, strict=True):
            memories = self.remember(step, memories * ~first[:, None, None])
            states.append(memories)
        return torch.stack(states)

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
        """Choose actions, without gradient.

        Args:
            observations: ``[*, n, d]``.
            masks: ``[*, n, L]``, non-zero = allowed.
            context: ``[*, n, c]``, required when the configured execution mode gives one, else None.
            deterministic: take the most probable choice of each sub-action.
            generator: where randomness comes from; torch's global one if None.
            embeddings: what `encode` returned for these observations, to save doing it twice; with memory what
                `remember` or `recall` made of it.
            noise: what choices are drawn with instead, Exp(1) and broadcastable to ``[*, n, L]``
                (`cloudsched_env.rllib.common_noise`); only policies of nodes can.

        Returns:
            Actions int64 ``[*, n, k]`` and the log-probability of the joint action of each agent ``[*, n]``.

        Raises:
            ValueError: if a mask allows nothing, or the context is missing, unexpected or of the wrong length.
        """
        raise NotImplementedError

    def evaluate(
        self,
        observations: Tensor,
        masks: Tensor,
        actions: Tensor,
        context: Tensor | None = None,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-probability ``[*, n]`` of given actions ``[*, n, k]``, and entropy ``[*, n]`` in nats, with gradient.

        Arguments and errors are those of `act`.
        """
        raise NotImplementedError

    def scores(
        self,
        observations: Tensor,
        masks: Tensor,
        context: Tensor | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Scores of all choices before masking, ``[*, n, L]``, with gradient; sub-actions follow one another.

        A policy reads them as logits, a method that learns values reads them as the utility of each choice. Forbidden
        choices may have any finite score. Arguments and errors are those of `act`.

        Raises:
            ValueError: if the choices of a sub-action are scored given those of earlier ones
                (`NetworkConfig.sequential_slots`): then there is no score of a single choice.
        """
        raise NotImplementedError

    def _features(self, embeddings: Tensor, context: Tensor | None) -> Tensor:
        """Embedding and context side by side, ``[*, n, e + c]``."""
        if (context is None) != (self.context_size == 0):
            expected = f"a context of {self.context_size} numbers" if self.context_size else "no context"
            got = "none" if context is None else "one"
            raise ValueError(
                f"policy of role {self.role!r} runs with execution {self.config.execution!r}: expected {expected}, "
                f"got {got}"
            )
        if context is None:
            return embeddings
        if context.shape[-1] != self.context_size:
            raise ValueError(
                f"policy of role {self.role!r}: expected a context of {self.context_size} numbers, "
                f"got {context.shape[-1]}"
            )
        return torch.cat((embeddings, context.expand(*embeddings.shape[:-1], self.context_size)), -1)
