"""Sizes and switches of the networks; the one place for their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import CHECKED, from_plain, number, to_plain
from cloudsched_env.rllib.role_map import DEFAULT_MAP, check_map_name

__all__ = ["Aggregate", "CriticScope", "Execution", "Memory", "NetworkConfig", "Similarity"]

Similarity = Literal["scaled_dot", "additive", "bilinear", "mean", "off"]
Execution = Literal["none", "role_summary", "full"]
Aggregate = Literal["features", "logits", "value"]
Memory = Literal["none", "gru"]
CriticScope = Literal["role", "team", "agent", "local"]


_LARGEST = 1_000_000


@dataclass(frozen=True, config=CHECKED)
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
        rule_features: a scheduler's score has a linear path over the features of linear rules too
            (`cloudsched_env.rllib.networks.rule_features`); its weights begin at zero.
        sequential_slots: a scheduler scores a task knowing where the earlier tasks of the same decision went. Without,
            tasks are scored independently, so that the best joint choice is the best choice for each: what methods
            that decompose values need.
    """

    hidden_sizes: tuple[Annotated[int, Field(ge=1, le=_LARGEST)], ...] = Field((64, 64), min_length=1)
    embedding_size: int = number(32, 1, _LARGEST, "units")
    pointer_size: int = number(32, 1, _LARGEST, "units")
    similarity: Similarity = "scaled_dot"
    attention_heads: int = number(4, 1, _LARGEST, "heads")
    attention_top_k: int = number(0, 0, _LARGEST, "roles; 0: all")
    summary_size: int = number(16, 1, _LARGEST, "units")
    context_size: int = number(32, 1, _LARGEST, "units")
    count_bias: bool = True
    aggregate: Aggregate = "features"
    execution: Execution = "none"
    critic: CriticScope = "role"
    role_map: str = DEFAULT_MAP
    memory: Memory = "none"
    memory_chunk: int = number(10, 1, _LARGEST, "env steps")
    detach_summaries: bool = False
    standardise_inputs: bool = True
    layer_norm: bool = True
    last_layer_gain: float = number(0.01, 1e-9, 1e3, "gain")
    level_preference: float = number(1.5, 0.0, 1e3, "logits")
    load_aversion: float = number(3.0, 0.0, 1e3, "logits per unit of load")
    rule_features: bool = False
    sequential_slots: bool = True

    def __post_init__(self) -> None:
        """Check the relations between values.

        Raises:
            ValueError: naming the field, its value and what was expected.
        """
        check_map_name(self.role_map)
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
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Build from what `to_dict` returned; absent keys take their defaults.

        Raises:
            ValueError: for a key that does not exist (the known ones are named) or a value that is not allowed.
        """
        return from_plain(cls, values, "network field")
