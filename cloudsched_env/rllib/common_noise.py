"""Noise that all agents of a role in a cluster draw their actions with, kept for a while.

With independent noise the sixteen compute nodes of a cluster try levels one by one, each for a second, and the team
reward does not tell what one of them did. With common noise agents in like situations deviate together and long enough
to be seen in the reward; each of them still acts by its own policy: its marginal distribution, and so its
log-probability, is the same. The gradient estimate is that of the effect of a choice *made by all at once*, the sum of
the effects on all where effects add up, instead of that of one agent's choice with the others unmoved. Exploration that
is committed over agents and time is the idea of MAVEN (Mahajan et al. 2019, arXiv 1910.07483), there with a learned
latent; noise kept for several steps that of gSDE (Raffin et al. 2021, arXiv 2005.05719).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cloudsched_env.rllib.role_map import RoleMap

__all__ = ["CommonNoise"]


class CommonNoise:
    """Exponential noise of the roles that share it.

    Args:
        role_map: the roles.
        kept_steps: mean number of env steps for which noise is kept, by role or agent type; 0 or missing: no noise. An
            agent type stands for all roles made of it alone.
        clusters: number C of clusters.

    Raises:
        ValueError: for a role with schedulers in it: they would send their tasks to the same nodes.
    """

    def __init__(self, role_map: RoleMap, kept_steps: Mapping[str, float], clusters: int) -> None:
        self._kept_steps: dict[str, float] = {}
        self._noise: dict[str, Tensor] = {}
        self._begun = False
        for name, role in role_map.roles.items():
            only_type = next(iter(role.members)) if len(role.members) == 1 else ""
            steps = kept_steps.get(name, kept_steps.get(only_type, 0))
            if not steps:
                continue
            if "scheduler" in role.members:
                raise ValueError(
                    f"setting 'exploration.common_noise_steps' is given for {name!r}: expected roles of nodes, "
                    "schedulers with common noise would send their tasks to the same nodes"
                )
            self._kept_steps[name] = steps
            self._noise[name] = torch.zeros(clusters, 1, sum(role.action_levels))

    def reset(self) -> None:
        """Begin anew: the next noise is fresh for all clusters."""
        self._begun = False

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Noise of the next env step, Exp(1), ``{role: [C, 1, L]}``.

        That of each cluster is renewed with probability 1 / steps.
        """
        for role, noise in self._noise.items():
            fresh = torch.empty_like(noise).exponential_(generator=generator)
            renewed = torch.rand(noise.shape[:1], generator=generator) * self._kept_steps[role] < 1
            self._noise[role] = torch.where(renewed[:, None, None] | (not self._begun), fresh, noise)
        self._begun = True
        return dict(self._noise)
