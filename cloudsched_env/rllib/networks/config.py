"""Sizes and switches of the networks; the one place for their defaults."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cloudsched_env.rllib.role_map import DEFAULT_MAP, check_map_name

__all__ = ["Aggregate", "CriticScope", "Execution", "Memory", "NetworkConfig", "Similarity"]

Similarity = Literal["scaled_dot", "additive", "bilinear", "mean", "off"]
Execution = Literal["none", "role_summary", "full"]
Aggregate = Literal["features", "logits", "value"]
Memory = Literal["none", "gru"]
CriticScope = Literal["role", "team", "agent", "local"]


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration of the policies, the role attention and the central critic.

    Attributes:
        hidden_sizes: hidden layers of the encoders of compute nodes, storage nodes and of the critic's members.
        embedding_size: length of an agent's embedding h_i, equal for all roles.
        pointer_size: hidden units of the scheduler's task-node score.
        similarity: how an agent's query is compared with a role's key; ``mean`` weighs roles equally, ``off`` means
            no attention anywhere, also not in the critic.
        attention_heads: heads; divides ``context_size``.
        attention_top_k: attend to the k roles with the highest similarity only, in each head; 0: to all.
        summary_size: length of a role summary s_r, which is what travels over the network with ``role_summary``.
        context_size: length of the context that attention returns.
        count_bias: add a learned multiple of log(members of the role) to the similarity, so that a role's weight may
            grow with its size.
        aggregate: what attention aggregates. ``features``: a context that policies (and the critic's heads) read
            beside an agent's embedding. ``logits``: what each role proposes for the receiver's own choices, added to
            its logits (roles choose among different things, so each proposal is a linear map of its summary into the
            receiver's choices; a scheduler's are weights of the features of task and node). ``value``: values: the
            critic's value of a role is the attention-weighted mean of what the roles' heads say; policies read
            features, where they read anything.
        execution: what a policy receives of the other agents while it acts: nothing (attention is in the critic only),
            role summaries as old and as lossy as telemetry, or fresh ones (a reference, not decentralised).
        critic: what a value belongs to and sees. ``role``: one value a role from the global state. ``team``: one value
            for all. ``agent``: one an agent, from the global state and its own observation. ``local``: one an agent,
            from its own observation only.
        role_map: which agents share a policy (`cloudsched_env.rllib.role_map`); in training the setting ``roles.map``.
        memory: ``gru`` gives each agent a recurrent state of the embedding's size, so that it can hold on to what late
            and lost telemetry does not show at the moment.
        memory_chunk: steps through which gradients flow back; roll-outs are cut into sequences of this length, which
            begin with the state that the agent had then.
        detach_summaries: no gradient flows from the receiver of a summary to its senders.
        standardise_inputs: bring inputs to a common scale by the constants of `cloudsched_env.rllib.networks.scales`.
        layer_norm: layer normalisation after every hidden layer of encoders and value heads.
        last_layer_gain: orthogonal gain of the layers that make logits; small, so that a new policy is near uniform.
        level_preference: how strongly a new node prefers the scenario's initial levels: what is added to their logits.
            Levels drawn evenly in every step ruin the cluster (least_allocated falls from 0.72 to 0.52 on validation
            windows of the Google excerpt), which hides what single choices do; 0 begins at random.
        load_aversion: how strongly a new scheduler prefers nodes with less load: the weight, per unit of load
            (requested cores after the placement / cores), of the linear path of its score. Training begins with rough
            load balancing instead of random placement and changes the weight as it sees fit; 0 begins at random.
        sequential_slots: a scheduler scores a task knowing where the earlier tasks of the same decision went. Without,
            tasks are scored independently, so that the best joint choice is the best choice for each: what methods
            that decompose values need.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    embedding_size: int = 32
    pointer_size: int = 32
    similarity: Similarity = "scaled_dot"
    attention_heads: int = 4
    attention_top_k: int = 0
    summary_size: int = 16
    context_size: int = 32
    count_bias: bool = True
    aggregate: Aggregate = "features"
    execution: Execution = "none"
    critic: CriticScope = "role"
    role_map: str = DEFAULT_MAP
    memory: Memory = "none"
    memory_chunk: int = 10
    detach_summaries: bool = False
    standardise_inputs: bool = True
    layer_norm: bool = True
    last_layer_gain: float = 0.01
    level_preference: float = 1.5
    load_aversion: float = 3.0
    sequential_slots: bool = True

    def __post_init__(self) -> None:
        """Check values and their relations.

        Raises:
            ValueError: naming the field, its value and what was expected.
        """
        hints = typing.get_type_hints(type(self))
        for entry in dataclasses.fields(self):
            value, hint = getattr(self, entry.name), hints[entry.name]
            if typing.get_origin(hint) is Literal:
                choices = typing.get_args(hint)
                if value not in choices:
                    raise ValueError(f"network field {entry.name!r} is {value!r}: expected one of {', '.join(choices)}")
            elif entry.name == "hidden_sizes":
                if not value or not all(type(size) is int and size > 0 for size in value):
                    raise ValueError(f"network field 'hidden_sizes' is {value!r}: expected a list of positive integers")
                object.__setattr__(self, "hidden_sizes", tuple(value))
            elif hint is bool:
                if not isinstance(value, bool):
                    raise ValueError(f"network field {entry.name!r} is {value!r}: expected true or false")
            elif entry.name == "role_map":
                check_map_name(value)
            elif entry.name == "attention_top_k":
                if type(value) is not int or value < 0:
                    raise ValueError(f"network field 'attention_top_k' is {value!r}: expected an integer from 0 on")
            elif hint is int:
                if type(value) is not int or value <= 0:
                    raise ValueError(f"network field {entry.name!r} is {value!r}: expected a positive integer")
            elif entry.name in ("load_aversion", "level_preference"):
                if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
                    raise ValueError(f"network field {entry.name!r} is {value!r}: expected a number from 0 on")
            elif not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"network field {entry.name!r} is {value!r}: expected a positive number")
        if self.context_size % self.attention_heads:
            raise ValueError(
                f"network field 'attention_heads' is {self.attention_heads}: expected a divisor of "
                f"context_size {self.context_size}"
            )
        if self.aggregate == "logits" and self.execution == "none":
            raise ValueError(
                "network field 'aggregate' is 'logits' but execution is 'none': policies receive nothing that could be "
                "added to their logits; choose execution 'role_summary' or 'full'"
            )
        if self.aggregate == "value" and (self.similarity == "off" or self.critic != "role"):
            raise ValueError(
                "network field 'aggregate' is 'value': expected critic 'role' and a similarity other than 'off'"
            )
        if self.similarity == "off" and self.execution != "none":
            raise ValueError(
                f"network field 'execution' is {self.execution!r} but similarity is 'off': there is no attention that "
                "could make a context; choose another similarity (such as 'mean') or execution 'none'"
            )

    @property
    def policy_context_size(self) -> int:
        """Length of the context that policies take; 0 when they take none."""
        return 0 if self.execution == "none" else self.context_size

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON types."""
        return {**dataclasses.asdict(self), "hidden_sizes": list(self.hidden_sizes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Build from what `to_dict` returned; absent keys take their defaults.

        Raises:
            ValueError: for a key that does not exist (the known ones are named) or a value that is not allowed.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"unknown network field {name!r}: expected one of {', '.join(known)}")
        return cls(**dict(values))
