"""An RLModule for RLlib's own PPO on the PettingZoo face: reads the vector, obeys the action mask."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.utils.torch_utils import FLOAT_MIN
from torch import Tensor

__all__ = ["MaskedPPOModule"]


class MaskedPPOModule(DefaultPPOTorchRLModule):
    """RLlib's default PPO networks on ``observation``, with logits of masked choices pushed to the bottom.

    Args:
        observation_space: ``Dict(observation=Box, action_mask=Box)``, as the PettingZoo face has it.
        kwargs: as for any RLModule.

    Raises:
        ValueError: for another observation space.
    """

    def __init__(self, *, observation_space: gym.Space[Any] | None = None, **kwargs: Any) -> None:
        if not isinstance(observation_space, gym.spaces.Dict) or set(observation_space) != {
            "observation",
            "action_mask",
        }:
            raise ValueError(
                f"MaskedPPOModule expects observations with 'observation' and 'action_mask', got {observation_space}"
            )
        self._space_with_mask = observation_space
        super().__init__(observation_space=observation_space["observation"], **kwargs)

    def setup(self) -> None:
        """Build the networks for the vector; from outside the space still has the mask."""
        super().setup()
        self.observation_space = self._space_with_mask

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How to construct the module again, mask included."""
        args, kwargs = super().get_ctor_args_and_kwargs()
        return args, {**kwargs, "observation_space": self._space_with_mask}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(super()._forward(self._without_mask(batch), **kwargs), batch)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(super()._forward_train(self._without_mask(batch), **kwargs), batch)

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values of the states, from the vector alone."""
        return super().compute_values(self._without_mask(batch), embeddings)

    def _without_mask(self, batch: dict[str, Any]) -> dict[str, Any]:
        # A copy: the same batch comes by again in the next pass of the learner.
        return {**batch, Columns.OBS: batch[Columns.OBS]["observation"]}

    def _masked(self, output: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        logits = output[Columns.ACTION_DIST_INPUTS]
        allowed = batch[Columns.OBS]["action_mask"] > 0
        output[Columns.ACTION_DIST_INPUTS] = torch.where(allowed, logits, torch.full_like(logits, FLOAT_MIN))
        return output
