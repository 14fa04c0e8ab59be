"""The schedulers' policy: a pointer over compute nodes for each waiting task, one task after the other.

The score of sending task j to node m given the earlier choices of the same decision is

    score_jm = w · relu(A task_j + B node_m + C pair_jm + E [embedding, context]) + u · pair_jm (+ v · rule_jm) ,

where ``pair_jm`` (`pair_features`) holds what physics says matters: data that the node's cache misses, and the load and
memory pressure that the node would have *after* the placement, counting what this scheduler has already sent to it in
this very decision; ``rule_jm`` are the features of linear rules (`rule_features`), if configured. Deferring competes as
one more choice with a score of its own. All weights are shared between tasks and between nodes (a pointer network,
Vinyals et al. 2015, arXiv 1506.03134, without its recurrence: the running totals per node are a sufficient memory of
the earlier slots), so a policy trained on one cluster size runs on any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cloudsched_env.rllib.networks.base import RolePolicy
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.rllib.networks.layers import block, entropy, linear, masked_log_softmax, sample
from cloudsched_env.rllib.networks.pair_features import (
    PAIR_FEATURES,
    SLOT_MEMORY_GB,
    PairInputs,
    earlier_slots,
    follows_job,
    nothing_sent,
    pair_features,
    pair_inputs,
)
from cloudsched_env.rllib.networks.pointer_score import pointer_score
from cloudsched_env.rllib.networks.rule_features import (
    DEFER_SIZE,
    PAIR_SIZE,
    RuleInputs,
    rule_inputs,
    rule_pair_features,
)
from cloudsched_env.rllib.networks.scales import Standardise, standardise_block
from cloudsched_env.roles import scheduler
from cloudsched_env.roles.layout import Layout
from cloudsched_env.scenario import Scenario

__all__ = ["SchedulerPolicy"]

# Mostly zero, so their own spread is far below their size where they matter.
_SCALED_LIKE = {"assigned_load": "task_load", "assigned_memory": "task_memory"}
_PRESENT = [entry.name for entry in scheduler.SLOT_FIELDS].index("present")


@dataclass(frozen=True)
class _Decision:
    """What does not change from slot to slot; R rows (agents x batch), S slots, M nodes, H hidden units."""

    inputs: PairInputs
    node_part: Tensor  # [R, M, H] = B node
    task_part: Tensor  # [R, S, H] = A task + E [embedding, context]
    defer_score: Tensor  # [R, S]
    proposal: Tensor | None  # [R, pair features + 1], what the roles propose as weights of the score
    rule: RuleInputs | None  # with `NetworkConfig.rule_features`


class SchedulerPolicy(RolePolicy):
    """Pointer policy over window slots, autoregressive; see the module's docstring.

    Sub-action j is the compute node for slot j, or the number of nodes to defer. The joint log-probability of an agent
    is the sum of conditional ones; the entropy is the sum of the conditional entropies along the actions that were
    taken, an unbiased estimate of the joint entropy. Slots that allow one choice only contribute 0 to both.

    Args:
        layout: the scheduler's observation.
        action_levels: nodes + 1 for each slot.
        config: sizes and switches.
        largest_node_cores: cores of the largest compute node, the unit in which nodes' cores are observed.
        largest_node_memory_gb: memory of the largest compute node, the unit of nodes' memory.
    """

    def __init__(
        self,
        layout: Layout,
        action_levels: Sequence[int],
        config: NetworkConfig,
        *,
        largest_node_cores: float,
        largest_node_memory_gb: float,
    ) -> None:
        super().__init__(layout, action_levels, config)
        self.slot_count, self.node_count, _ = layout.block("pairs").shape
        self.largest_node_cores = largest_node_cores
        self.largest_node_memory_gb = largest_node_memory_gb
        hidden, size = config.pointer_size, config.embedding_size
        slot_fields, node_fields, storage_fields = (
            len(layout.block(name).fields) for name in ("slots", "nodes", "storage")
        )
        self.scales = nn.ModuleDict(
            {
                name: standardise_block(layout.role, layout.block(name), config.standardise_inputs)
                for name in ("queue", "slots", "nodes", "storage")
            }
        )
        scaled_like = [_SCALED_LIKE.get(name, name) for name in PAIR_FEATURES]
        self.pair_scale = Standardise("scheduler.pair_features", scaled_like, config.standardise_inputs)
        self.slot_pool = linear(slot_fields, size)
        self.node_pool = linear(node_fields, size)
        self.storage_pool = linear(storage_fields, size)
        pooled = 5 * size + len(layout.block("queue").fields)
        normalisation: list[nn.Module] = [nn.LayerNorm(pooled)] if config.layer_norm else []
        self.embed = nn.Sequential(*normalisation, linear(pooled, size), nn.ReLU())
        self.task = linear(slot_fields, hidden)
        self.node = linear(node_fields, hidden, bias=False)
        self.pair = linear(len(PAIR_FEATURES), hidden, bias=False)
        self.situation = linear(self.read_size, hidden, bias=False)
        self.score = linear(hidden, 1, gain=config.last_layer_gain, bias=False)
        self.direct = linear(len(PAIR_FEATURES), 1, gain=config.last_layer_gain, bias=False)
        self.defer_hidden = linear(slot_fields + self.read_size, hidden)
        self.defer = linear(hidden, 1, gain=config.last_layer_gain)
        if self.proposals:
            self.propose = linear(self.context_size, len(PAIR_FEATURES) + 1, config.last_layer_gain, bias=False)
        if config.rule_features:
            self.rule = linear(PAIR_SIZE, 1, gain=0.0, bias=False)
            self.rule_defer = linear(DEFER_SIZE, 1, gain=0.0, bias=False)
        load = PAIR_FEATURES.index("load_after")
        with torch.no_grad():
            self.direct.weight[0, load] -= config.load_aversion / float(self.pair_scale.inverse_std[load])

    @classmethod
    def for_scenario(cls, scenario: Scenario, config: NetworkConfig) -> SchedulerPolicy:
        """The policy with the sizes and units of a scenario."""
        types = scenario.cluster.compute_nodes
        return cls(
            scheduler.layout(scenario),
            scheduler.action_levels(scenario).tolist(),
            config,
            largest_node_cores=max(entry.cores for entry in types),
            largest_node_memory_gb=max(entry.memory_gb for entry in types),
        )

    def encode(self, observations: Tensor) -> Tensor:
        """See `RolePolicy.encode`; tasks, nodes and storage nodes are pooled, so their number does not matter."""
        queue, slots, nodes, storage = (
            self.scales[name](block(self.layout, observations, name)) for name in ("queue", "slots", "nodes", "storage")
        )
        present = block(self.layout, observations, "slots")[..., _PRESENT].unsqueeze(-1)
        tasks = self.slot_pool(slots).relu() * present
        candidates = self.node_pool(nodes).relu()
        disks = self.storage_pool(storage).relu()
        pooled = (
            queue,
            tasks.sum(-2) / present.sum(-2).clamp_min(1.0),
            candidates.mean(-2),
            candidates.amax(-2),
            disks.mean(-2),
            disks.amax(-2),
        )
        return self.embed(torch.cat(pooled, -1))

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
        """See `RolePolicy.act`. Slots are handled in order, each for all rows in which it leaves a choice."""
        lead = observations.shape[:-1]
        decision, allowed = self._prepare(observations, masks, context, embeddings)
        rows = len(allowed)
        # A slot with one choice takes it (an empty slot: defer), whatever the network says.
        actions = allowed.to(torch.uint8).argmax(-1)
        log_prob = decision.defer_score.new_zeros(rows)
        open_slots = self._open(allowed)
        if not self.config.sequential_slots:
            at, slots = open_slots.nonzero(as_tuple=True)
            scores = self._scores(decision, at, slots, *nothing_sent(decision.inputs, at))
            distribution = masked_log_softmax(scores, allowed[at, slots], self.role)
            choice = sample(distribution, deterministic, generator)
            actions[at, slots] = choice
            log_prob.index_add_(0, at, distribution.gather(-1, choice.unsqueeze(-1)).squeeze(-1))
            return actions.reshape(*lead, self.slot_count), log_prob.reshape(lead)
        demand = decision.inputs.demand
        assigned = demand.new_zeros(rows, self.node_count + 1, 2)  # last column: deferred, not used
        for slot in range(self.slot_count):
            active = open_slots[:, slot].nonzero().squeeze(-1)
            if active.numel():
                previous = actions[active, slot - 1] if slot else torch.full_like(active, self.node_count)
                at = torch.full_like(active, slot)
                scores = self._scores(decision, active, at, assigned[active, :-1], previous)
                distribution = masked_log_softmax(scores, allowed[active, slot], self.role)
                choice = sample(distribution, deterministic, generator)
                actions[active, slot] = choice
                log_prob[active] += distribution.gather(-1, choice.unsqueeze(-1)).squeeze(-1)
            index = actions[:, slot, None, None].expand(-1, 1, 2)
            assigned.scatter_add_(1, index, demand[:, slot, None])
        return actions.reshape(*lead, self.slot_count), log_prob.reshape(lead)

    def evaluate(
        self,
        observations: Tensor,
        masks: Tensor,
        actions: Tensor,
        context: Tensor | None = None,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `RolePolicy.evaluate`. All slots at once, given the actions taken in the earlier ones."""
        lead = observations.shape[:-1]
        decision, allowed = self._prepare(observations, masks, context, embeddings)
        taken = actions.reshape(-1, self.slot_count).long()
        rows, slots = self._open(allowed).nonzero(as_tuple=True)
        assigned, before = self._history(decision, taken, rows, slots)
        scores = self._scores(decision, rows, slots, assigned, before)
        distribution = masked_log_softmax(scores, allowed[rows, slots], self.role)
        chosen = distribution.gather(-1, taken[rows, slots].unsqueeze(-1)).squeeze(-1)
        zeros = scores.new_zeros(len(taken))
        log_prob = zeros.index_add(0, rows, chosen)
        total_entropy = zeros.index_add(0, rows, entropy(distribution))
        return log_prob.reshape(lead), total_entropy.reshape(lead)

    def scores(
        self,
        observations: Tensor,
        masks: Tensor,
        context: Tensor | None = None,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """See `RolePolicy.scores`. Of a slot without a choice only the score to defer is computed, the rest is 0."""
        if self.config.sequential_slots:
            raise ValueError(
                "the scheduler scores each task given the choices for earlier ones, so single choices have no score of "
                "their own: set networks.sequential_slots=false"
            )
        decision, allowed = self._prepare(observations, masks, context, embeddings)
        rows, slots = self._open(allowed).nonzero(as_tuple=True)
        defer = decision.defer_score.unsqueeze(-1)
        scores = torch.cat((defer.new_zeros(*defer.shape[:-1], self.node_count), defer), -1)
        opened = self._scores(decision, rows, slots, *nothing_sent(decision.inputs, rows))
        scores = scores.index_put((rows, slots), opened)
        return scores.reshape(*observations.shape[:-1], -1)

    def _prepare(
        self, observations: Tensor, masks: Tensor, context: Tensor | None, embeddings: Tensor | None
    ) -> tuple[_Decision, Tensor]:
        """Everything that is computed once per decision, and the allowed choices ``[R, S, M + 1]``."""
        embeddings = self.encode(observations) if embeddings is None else embeddings
        situation = self._features(embeddings, context)
        situation = situation.reshape(-1, situation.shape[-1])
        proposal = self.propose(situation[:, self.read_size :]) if self.proposals else None
        situation = situation[:, : self.read_size]
        flat = observations.reshape(-1, self.layout.size)
        queue, slots, nodes, pairs = (block(self.layout, flat, name) for name in ("queue", "slots", "nodes", "pairs"))
        units = {"slot_memory_gb": SLOT_MEMORY_GB, "node_memory_gb": self.largest_node_memory_gb}
        rule = rule_inputs(queue, slots, nodes, pairs, **units) if self.config.rule_features else None

        # relu(W [task, situation]) without materialising the pair: the situation is the same for all slots.
        fields = slots.shape[-1]
        weight = self.defer_hidden.weight
        tasks = self.scales["slots"](slots)
        defer_hidden = nn.functional.linear(tasks, weight[:, :fields], self.defer_hidden.bias)
        defer_hidden = defer_hidden + nn.functional.linear(situation, weight[:, fields:]).unsqueeze(1)
        defer_score = self.defer(defer_hidden.relu()).squeeze(-1)
        if rule is not None:
            defer_score = defer_score + self.rule_defer(rule.waiting).squeeze(-1)
        decision = _Decision(
            inputs=pair_inputs(
                slots,
                nodes,
                pairs,
                largest_node_cores=self.largest_node_cores,
                largest_node_memory_gb=self.largest_node_memory_gb,
            ),
            node_part=self.node(self.scales["nodes"](nodes)),
            task_part=self.task(tasks) + self.situation(situation).unsqueeze(1),
            defer_score=defer_score,
            proposal=proposal,
            rule=rule,
        )
        allowed = masks.reshape(-1, self.slot_count, self.node_count + 1) != 0
        if not bool(allowed.any(-1).all()):
            row, slot = (~allowed.any(-1)).nonzero()[0].tolist()
            raise ValueError(
                f"role {self.role!r}: row {row} of the action mask allows no action for slot {slot}; "
                "expected at least one 1 (an empty slot allows to defer)"
            )
        return decision, allowed

    @torch.no_grad()
    def pair_features(self, observations: Tensor, masks: Tensor, actions: Tensor) -> Tensor:
        """`PAIR_FEATURES` of all tasks that had a choice, on all nodes, in their units: ``[tasks, nodes, features]``.

        For a policy without context.
        """
        decision, allowed = self._prepare(observations, masks, None, None)
        taken = actions.reshape(-1, self.slot_count).long()
        rows, slots = self._open(allowed).nonzero(as_tuple=True)
        return pair_features(decision.inputs, rows, slots, *self._history(decision, taken, rows, slots))

    def _history(self, decision: _Decision, taken: Tensor, rows: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """What earlier slots did, as `earlier_slots` has it; nothing, if slots do not look at each other."""
        if not self.config.sequential_slots:
            return nothing_sent(decision.inputs, rows)
        return earlier_slots(decision.inputs, taken, rows, slots)

    def _open(self, allowed: Tensor) -> Tensor:
        """Which slots leave a choice, bool ``[R, S]``."""
        return allowed.sum(-1) > 1

    def _scores(self, decision: _Decision, rows: Tensor, slots: Tensor, assigned: Tensor, previous: Tensor) -> Tensor:
        """Scores ``[P, M + 1]`` of the choices of P (row, slot) pairs; the last column is to defer.

        Args:
            decision: of all rows.
            rows: ``[P]``.
            slots: ``[P]``.
            assigned: cores and GB that earlier slots sent to each node, ``[P, M, 2]``.
            previous: the choice in the slot before, ``[P]``.
        """
        features = self.pair_scale(pair_features(decision.inputs, rows, slots, assigned, previous))
        score = pointer_score(
            decision.node_part,
            rows,
            decision.task_part[rows, slots],
            features,
            self.pair.weight,
            self.score.weight.squeeze(0),
        )
        score = score + self.direct(features).squeeze(-1)
        if decision.rule is not None:
            seen = self._rule_features(decision, decision.rule, rows, slots, assigned, previous)
            score = score + self.rule(seen).squeeze(-1)
        defer = decision.defer_score[rows, slots]
        if decision.proposal is not None:
            weights = decision.proposal[rows]
            score = score + (features @ weights[:, :-1].unsqueeze(-1)).squeeze(-1)
            defer = defer + weights[:, -1]
        return torch.cat((score, defer.unsqueeze(-1)), -1)

    def _rule_features(
        self,
        decision: _Decision,
        rule: RuleInputs,
        rows: Tensor,
        slots: Tensor,
        assigned: Tensor,
        previous: Tensor,
    ) -> Tensor:
        """Features of linear rules of P tasks and all nodes; without the caps of `pair_features`, as rules have it."""
        inputs = decision.inputs
        demand = inputs.demand[rows, slots]
        cores, memory = inputs.cores[rows], inputs.execution_memory_gb[rows]
        return rule_pair_features(
            rule,
            rows,
            slots,
            assigned[..., 0] / cores,
            assigned[..., 1] / memory,
            demand[:, :1] / cores,
            demand[:, 1:] / memory,
            follows_job(inputs, rows, slots, previous),
        )
