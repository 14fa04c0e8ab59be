"""`HRACLearner`: clipped surrogate updates for each role and the centralised critic's regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from ray.rllib.core.learner.training_data import TrainingData
from torch import Tensor
from torch.nn import functional

from cloudsched_env.rllib.modules import ATTENTION, CRITIC, CriticModule, execution_mode
from cloudsched_env.rllib.monitoring import policy_attention_statistics
from cloudsched_env.rllib.networks import NetworkConfig
from cloudsched_env.rllib.role_learner import Batch, RoleLearner
from cloudsched_env.rllib.settings import HRACSettings

__all__ = ["HRACLearner"]


class HRACLearner(RoleLearner):
    """Updates the policies of all roles and the critic from one batch of env steps.

    The policy objective is decoupled PPO (Hilton, Cobbe & Schulman 2022, "Batch size-invariance for policy
    optimization"): V-trace corrects advantages from the policy that gathered a roll-out to the *anchor*, the policy
    at the start of the update, and the ratio that is clipped is the one to the anchor. Without replay the two are the
    same policy, and the objective is that of PPO.

    Losses are means over the agents that had a choice, then over roles: 16 compute nodes weigh as much as 3
    schedulers. A minibatch is a set of env steps with all their agents; one permutation serves all modules.
    """

    @property
    def settings(self) -> HRACSettings:
        """Settings of the run."""
        return self.config.settings

    def build(self) -> None:
        """Build modules, optimizers and the order of minibatches."""
        super().build()
        self._chunk = self._memory_chunk()
        self._needs_all_agents = execution_mode(self.settings) == "full" or self._chunk > 0
        self._learning = [role for role in self._role_ids() if self.settings.learns(role)]
        self._moved = [
            name for name in self._module_optimizers if name in self._learning or name not in self._role_ids()
        ]
        self._shuffle = torch.Generator().manual_seed((self.config.seed or 0) + 7919 * int(self._learner_index))

    def _memory_chunk(self) -> int:
        """Steps of a training sequence for policies with memory; 0 without."""
        if not self.module.remembers:
            return 0
        chunk = NetworkConfig.from_dict(self.settings.network_settings()).memory_chunk
        steps = self.settings.sampling.rollout_steps
        if steps % chunk:
            raise ValueError(
                f"setting 'networks.memory_chunk' is {chunk}: expected a divisor of sampling.rollout_steps ({steps})"
            )
        return chunk

    def _learning_rate(self, module_id: str) -> float:
        """Step size that a module begins with."""
        update = self.settings.update
        return update.critic_learning_rate if module_id == CRITIC else update.learning_rate

    def _warmup_epochs(self, module_id: str) -> int:
        """Epochs over which a module's step size rises from 0."""
        return 0 if module_id == CRITIC else self.settings.update.warmup_epochs

    # ---- one update

    def _learn(self, data: TrainingData, epochs: int, minibatch_size: int | None, minibatches: int) -> None:
        """Train on roll-outs for ``epochs`` passes.

        RLlib's own loop shuffles each module's rows apart and cycles until the largest module is through; here rows
        of all modules belong together, so the loop is this class's own.
        """
        rollouts, connector = data.episodes, self._learner_connector
        if rollouts is None or connector is None:
            raise ValueError(
                "HRACLearner trains on roll-outs through its learner connector; no other data is supported"
            )

        def connect() -> dict[str, dict[str, Tensor]]:
            return connector(rl_module=self.module, batch={}, episodes=rollouts, shared_data={}, metrics=self.metrics)

        rows = self._of_finite(rollouts, connect)
        total = len(rows[CRITIC]["states"])
        self._log_policy_attention(rows, sum(len(rollout) for rollout in rollouts))

        def passes() -> Iterator[Tensor]:
            size = minibatch_size or total
            if not self._chunk:
                return self._minibatch_rows(total, size, epochs, minibatches)
            sequences = self._sequences(total, rollouts)
            count, size = sequences.shape[1], max(1, size // self._chunk)
            chosen = self._minibatch_rows(count, size, epochs, minibatches)
            return (sequences[:, index] for index in chosen)

        logged: dict[tuple[str, str], list[Tensor]] = {}
        for statistics in self._train(rows, passes):
            for key, value in statistics.items():
                logged.setdefault(key, []).append(value)
        for key, values in logged.items():
            self.metrics.log_value(key, float(torch.stack(values).mean()), window=1)

    def _log_policy_attention(self, rows: Batch, newest: int) -> None:
        """Log what the policies attended to in the newest roll-outs, whose rows come before those of replayed ones."""
        acted = {role: {name: values[:newest] for name, values in rows[role].items()} for role in self._role_ids()}
        for name, value in policy_attention_statistics(self.module, ATTENTION, acted).items():
            module, _, key = name.partition("/")
            self.metrics.log_value((module, key), value, window=1)

    def _train(
        self, rows: dict[str, dict[str, Tensor]], passes: Callable[[], Iterator[Tensor]]
    ) -> Iterator[dict[tuple[str, str], Tensor]]:
        """All gradient steps of an update.

        Args:
            rows: the batch by module.
            passes: yields the rows of each minibatch of ``num_epochs`` passes.

        Yields:
            Statistics of each gradient step.
        """
        for index in passes():
            _, _, statistics = self._update(self._minibatch(rows, index))
            yield statistics

    def _minibatch_rows(self, total: int, size: int, epochs: int, fixed_count: int) -> Iterator[Tensor]:
        """Row indices of each minibatch: equal parts of a fresh permutation for every pass.

        With several learners ``fixed_count`` is the number that all of them must make, or they wait for each other
        for ever.
        """
        parts = max(1, round(total / size))
        if fixed_count:
            # RLlib counts only the newest roll-outs; replayed ones raise the number for all learners alike.
            parts = max(1, round(fixed_count / epochs)) * (1 + self._replayed())
        for _ in range(epochs):
            yield from torch.randperm(total, generator=self._shuffle).chunk(parts)

    def _sequences(self, total: int, rollouts: list[Any]) -> Tensor:
        """Rows of each training sequence, ``[chunk, sequences]``; a roll-out's rows are time-major."""
        clusters = sum(rollout.shape[1] for rollout in rollouts if len(rollout))
        by_chunk = torch.arange(total).reshape(-1, self._chunk, clusters)
        return by_chunk.transpose(0, 1).reshape(self._chunk, -1)

    def _minibatch(self, rows: Batch, index: Tensor) -> dict[str, dict[str, Tensor]]:
        """Rows of a minibatch; of each role only the agents that had a choice, and a random subset of them.

        With memory, ``index`` is ``[chunk, sequences]`` and columns become ``[chunk, sequences, n, ...]``.

        An agent without a choice (a node that waits or is down, a scheduler with an empty queue) adds nothing to the
        loss. Agents of a role share their policy, and those of one env step are much alike: the subset's gradient is
        an unbiased estimate of that over all of them, for a fraction of the work. Policies that attend to fresh
        summaries are evaluated whole: these are made of the embeddings of all agents of a step.
        """
        result: dict[str, dict[str, Tensor]] = {}
        for module, columns in rows.items():
            if module in self._role_ids() and module not in self._learning and not self._needs_all_agents:
                continue
            if "active" not in columns or self._needs_all_agents:
                result[module] = {name: values[index] for name, values in columns.items()}
                continue
            row, agent = columns["active"][index].nonzero(as_tuple=True)
            limit = self.settings.update.agents_per_role * len(index)
            if 0 < limit < len(row):
                chosen = torch.randperm(len(row), generator=self._shuffle)[:limit]
                row, agent = row[chosen], agent[chosen]
            if not len(row):  # nobody had a choice: one agent with weight 0 keeps the shapes
                row, agent = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
            result[module] = {name: values[index[row], agent].unsqueeze(1) for name, values in columns.items()}
        return result

    def _replayed(self) -> int:
        replay = self.settings.replay
        return min(replay.passes, replay.rollouts, self._weights_seq_no - 1)

    def _update(self, batch: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """One gradient step on a minibatch."""
        output = self.module.forward_train(batch)
        losses, statistics = self._losses(output, batch)
        self._step(sum(losses.values(), torch.zeros(())), batch, statistics, self._moved)
        return output, losses, statistics

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Tensor:
        """Loss of one module; roles are weighted by `_losses`."""
        if module_id == CRITIC:
            return self._value_loss(fwd_out, batch)[0]
        return self._policy_loss(module_id, fwd_out, batch)[0]

    def _losses(self, output: Mapping[str, Any], batch: Batch) -> tuple[dict[str, Tensor], dict[Any, Tensor]]:
        losses: dict[str, Tensor] = {}
        statistics: dict[Any, Tensor] = {}
        roles = [role for role in self._learning if role in batch]
        for role in roles:
            loss, values = self._policy_loss(role, output[role], batch[role])
            losses[role] = loss / len(roles)
            statistics.update({(role, name): value for name, value in values.items()})
        loss, values = self._value_loss(output[CRITIC], batch[CRITIC])
        losses[CRITIC] = self.settings.update.value_weight * loss
        statistics.update({(CRITIC, name): value for name, value in values.items()})
        return losses, statistics

    def _policy_loss(
        self, role: str, output: Mapping[str, Tensor], columns: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        clip = self.settings.update.clip
        weight = columns["active"].to(torch.float32)
        weight = weight / weight.sum().clamp_min(1.0)
        log_ratio = output["log_probs"] - columns["anchor_log_probs"]
        ratio = log_ratio.exp()
        advantages = columns["advantages"]
        surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
        if "factor" in columns:  # what roles that were updated before did to the joint policy (HAPPO)
            surrogate = columns["factor"] * surrogate
        entropy = (output["entropies"] * weight).sum()
        policy_loss = -(surrogate * weight).sum()
        with torch.no_grad():
            statistics = {
                "policy_loss": policy_loss.detach(),
                "entropy": entropy.detach(),
                "kl_to_anchor": ((ratio - 1 - log_ratio) * weight).sum(),
                "clipped_share": (((ratio - 1).abs() > clip).to(torch.float32) * weight).sum(),
            }
        return policy_loss - self.settings.entropy_of(role) * entropy, statistics

    def _value_loss(
        self, values: Mapping[str, Tensor], columns: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        update = self.settings.update
        losses: list[Tensor] = []
        statistics: dict[str, Tensor] = {}
        names = [name.removeprefix("target_") for name in columns if name.startswith("target_")]
        for name in names:
            target, old = columns[f"target_{name}"], columns[f"old_{name}"]
            loss = functional.huber_loss(values[name], target, reduction="none", delta=update.huber_delta)
            if update.value_clip > 0:
                near = old + (values[name] - old).clamp(-update.value_clip, update.value_clip)
                loss = torch.maximum(
                    loss, functional.huber_loss(near, target, reduction="none", delta=update.huber_delta)
                )
            losses.append(loss.mean())
            statistics[f"value_loss_{name}"] = losses[-1].detach()
        return torch.stack(losses).mean(), statistics

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Let the lagged potential follow; average running statistics over learners."""
        super().after_gradient_based_update(timesteps=timesteps)
        critic: CriticModule = self.module[CRITIC].unwrapped()
        self._average_over_learners(critic.normalisers.buffers())
        self._average_over_learners(critic.centres.buffers())
        # Scales of their own would give each learner another mixture of rewards.
        self._average_over_learners(critic.lgrs.buffers())
        critic.advance_potential(self.settings.lgrs.potential_rate)
