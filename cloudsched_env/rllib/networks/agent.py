"""A trained policy as an agent: numpy in, numpy out, evaluated by the same command as a heuristic."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cloudsched_env.agents.protocol import Actions, ClusterInfo, Masks, Observations
from cloudsched_env.rllib.networks.attention import AttentionOutput, RoleAttention
from cloudsched_env.rllib.networks.base import RolePolicy
from cloudsched_env.rllib.networks.build import ATTENTION
from cloudsched_env.rllib.networks.channel import SummaryChannel
from cloudsched_env.rllib.networks.checkpoint import load_policy
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.threads import one_thread
from cloudsched_env.rllib.role_map import DEFAULT_MAP, RoleMap
from cloudsched_env.scenario import Scenario

__all__ = ["TrainedAgent"]


class TrainedAgent:
    """Acts with trained networks; implements `cloudsched_env.agents.protocol.Agent`.

    With execution ``none`` each agent acts on its own observation only. With ``role_summary`` it also holds one summary
    per role, delivered by a `SummaryChannel` as late and as lossy as the cluster's telemetry. With ``full`` it sees
    fresh summaries: a reference that no decentralised cluster can reach.

    Args:
        folder: what `save_policy` wrote. The networks are built for the cluster that `reset` is given, which may be of
            another size than the one they were trained on.
        deterministic: take each sub-action's most probable choice instead of drawing one; by default as the policy
            acted when it was chosen on validation episodes (its metadata says how).
        name: for results; by default the algorithm in the policy's metadata, or the folder's name.

    Attributes:
        name: see above.
        execution: ``none``, ``role_summary`` or ``full``.
        config: of the networks.
        metadata: of the policy.
        last_attention: what agents attended to in the last step, for whoever wants to look at it; None without
            attention.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, deterministic: bool | None = None, name: str | None = None
    ) -> None:
        loaded = load_policy(folder)
        self.folder = os.fspath(folder)
        self.config: NetworkConfig = loaded.config
        self.metadata: dict[str, Any] = loaded.metadata
        chosen = self.metadata.get("deterministic", False)
        self.deterministic = bool(chosen) if deterministic is None else deterministic
        self.execution: str = loaded.config.execution
        fallback = os.path.basename(os.path.normpath(self.folder))
        self.name: str = name or str(loaded.metadata.get("algorithm", fallback))
        self._use(loaded.networks, loaded.scenario)
        self._channel: SummaryChannel | None = None
        self._generator: torch.Generator | None = None
        self._memories: dict[str, Tensor] = {}
        self.last_attention: AttentionOutput | None = None

    @property
    def scenario(self) -> Scenario:
        """The one that the networks are built for now: that of the last `reset`, at first the trained one."""
        return self._scenario

    @property
    def attended_roles(self) -> tuple[str, ...]:
        """Roles in the order of the attention weights' last axis; empty without attention."""
        return () if self._attention is None else self._attention.roles

    @property
    def acts_role_by_role(self) -> bool:
        """Whether `act` may be given some agent types only: where no role needs to know of the others."""
        return self._attention is None and self.config.role_map == DEFAULT_MAP

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """See the protocol.

        Raises:
            ValueError: if the cluster's roles observe or choose other things than the policy was trained with.
        """
        if info.scenario != self._scenario:
            self._use(load_policy(self.folder, info.scenario).networks, info.scenario)
        self._generator = torch.Generator().manual_seed(seed)
        self._channel = None
        self._memories = {}
        if self.execution == "role_summary":
            self._channel = SummaryChannel(info.scenario, self._role_map.counts)
            # A generator of its own: what is lost does not depend on how many actions were drawn.
            losses = np.random.SeedSequence((seed, 1)).generate_state(1, np.uint64)[0]
            self._channel.reset(batch_size, torch.Generator().manual_seed(int(losses) >> 1))

    @one_thread()
    @torch.inference_mode()
    def act(self, observations: Observations, masks: Masks) -> Actions:
        """See the protocol; of some agent types only where `acts_role_by_role` allows it.

        Raises:
            RuntimeError: before the first `reset`.
        """
        if self._generator is None:
            raise RuntimeError(f"agent {self.name!r} was asked to act before reset(info, batch_size, seed)")
        by_role, allowed = self._role_map.observations(observations), self._role_map.masks(masks)
        roles = [role for role in self._role_map.names if role in by_role]
        seen = {role: torch.from_numpy(np.ascontiguousarray(by_role[role])) for role in roles}
        embeddings = {
            role: self._policies[role].remember(self._policies[role].encode(values), self._memories.get(role))
            for role, values in seen.items()
        }
        if self.config.memory != "none":
            self._memories = embeddings
        contexts = self._contexts(embeddings)
        actions: Actions = {}
        for role in roles:
            chosen, _ = self._policies[role].act(
                seen[role],
                torch.from_numpy(np.ascontiguousarray(allowed[role])),
                contexts.get(role),
                deterministic=self.deterministic,
                generator=self._generator,
                embeddings=embeddings[role],
            )
            actions[role] = chosen.numpy()
        return self._role_map.join(actions)

    def _contexts(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._attention is None:
            return {}
        summaries = self._attention.summaries(embeddings)
        held: Any = summaries if self._channel is None else self._channel.exchange(summaries)
        self.last_attention = self._attention.contexts(embeddings, held)
        return self.last_attention.contexts

    def _use(self, networks: Mapping[str, nn.Module], scenario: Scenario) -> None:
        self._scenario = scenario
        self._role_map = RoleMap(scenario, self.config.role_map)
        self._policies: dict[str, RolePolicy] = {}
        for role in self._role_map.names:
            policy = networks[role]
            assert isinstance(policy, RolePolicy)
            self._policies[role] = policy
        attention = networks.get(ATTENTION)
        assert attention is None or isinstance(attention, RoleAttention)
        self._attention = attention
