"""`RoleLearner`: what learners of all methods share, whatever their loss is.

One Adam for each module with a step size by env steps, gradients averaged over learners, a limit on gradient norms, and
a report when a loss is not finite.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_TRAINED, NUM_ENV_STEPS_TRAINED_LIFETIME
from torch import Tensor

from cloudsched_env.rllib.modules import HRACMultiModule
from cloudsched_env.rllib.not_finite import NotFiniteError
from cloudsched_env.rllib.rollout import RoleRollout
from cloudsched_env.rllib.stored_rollouts import StoredRollouts

__all__ = ["Batch", "RoleLearner", "TrainingDivergedError"]

Batch = Mapping[str, Mapping[str, Tensor]]


_Made = TypeVar("_Made")


class TrainingDivergedError(RuntimeError):
    """Data, a loss or a gradient was not finite; the message says where the batch was saved."""


class RoleLearner(TorchLearner):
    """Moves the parameters of all roles' modules by one loss.

    With several learners gradients and running statistics are averaged over them (one all-reduce a gradient step).
    """

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """No API of RLlib's own losses is needed."""
        return []

    @property
    def settings(self) -> Any:
        """Settings of the run."""
        return self.config.settings

    def build(self) -> None:
        """Build modules and optimizers; several learners begin with the same weights."""
        torch.set_num_threads(int(os.environ.get("CLOUDSCHED_LEARNER_THREADS", "1")))
        super().build()
        # RLlib asks for deterministic algorithms, with which torch also fills every tensor that it allocates: a tenth
        # of an update's time. That finds code which reads memory before writing it, and changes no result otherwise.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        if not self._role_ids():
            raise ValueError(
                f"{type(self).__name__} needs an HRACMultiModule with policies, got modules "
                f"{sorted(self.module.keys())}"
            )

    def _role_ids(self) -> list[str]:
        return self.module.roles() if isinstance(self.module, HRACMultiModule) else []

    def _make_modules_ddp_if_necessary(self) -> None:
        # Roles may attend to each other, so a forward pass crosses modules, which wrapping each module in
        # DistributedDataParallel does not support: gradients are averaged in `_step` instead.
        if self._parallel:
            for tensor in self._all_tensors():
                torch.distributed.broadcast(tensor, src=0)

    @property
    def _parallel(self) -> bool:
        return self.config.num_learners > 1

    def _all_tensors(self) -> Iterator[Tensor]:
        for module in self.module.values():
            yield from (p.data for p in module.parameters())
            yield from module.buffers()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam for each module, over the parameters that learn (lagged copies and targets do not)."""
        update = self.settings.update
        parameters = [p for p in self._module[module_id].parameters() if p.requires_grad]
        if not parameters:
            return
        rate = self._learning_rate(module_id)
        optimizer = torch.optim.Adam(parameters, lr=rate, eps=update.adam_epsilon, fused=True)
        self.register_optimizer(
            module_id=module_id,
            optimizer=optimizer,
            params=parameters,
            lr_or_lr_schedule=self._schedule(rate, self._warmup_epochs(module_id)),
        )

    def _schedule(self, rate: float, warmup_epochs: int) -> Any:
        """Step size by env steps: up from 0, then down to a tenth."""
        epoch, anneal_epochs = self.settings.epoch_env_steps, self.settings.update.anneal_epochs
        points = [[0, 0.0], [warmup_epochs * epoch, rate]] if warmup_epochs else [[0, rate]]
        if anneal_epochs:
            points.append([(warmup_epochs + anneal_epochs) * epoch, 0.1 * rate])
        return points if len(points) > 1 else rate

    def _learning_rate(self, module_id: str) -> float:
        """Step size that a module begins with."""
        return self.settings.update.learning_rate

    def _warmup_epochs(self, module_id: str) -> int:
        """Epochs over which a module's step size rises from 0."""
        return 0

    def _average_over_learners(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of running statistics by their means over learners."""
        for tensor in tensors if self._parallel else ():
            if tensor.is_floating_point():
                torch.distributed.all_reduce(tensor)
                tensor /= self.config.num_learners

    def update(
        self,
        batch: Any = None,
        batches: Any = None,
        batch_refs: Any = None,
        episodes: Any = None,
        episodes_refs: Any = None,
        data_iterators: Any = None,
        training_data: TrainingData | None = None,
        *,
        timesteps: dict[str, Any] | None = None,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = True,
        _no_metrics_reduce: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Train on roll-outs.

        Returns:
            Metrics of the update.
        """
        self._check_is_built()
        self.before_gradient_based_update(timesteps=timesteps or {})
        if training_data is None:
            training_data = TrainingData(episodes=episodes, episodes_refs=episodes_refs)
        training_data.validate()
        training_data.solve_refs()
        self._weights_seq_no += 1
        self._learn(training_data, num_epochs, minibatch_size, num_total_minibatches)
        newest = sum(len(rollout) for rollout in training_data.episodes or [])
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED), newest, reduce="sum")
        self.metrics.log_value((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), newest, reduce="lifetime_sum")
        self.after_gradient_based_update(timesteps=timesteps or {})
        return None if _no_metrics_reduce else self.metrics.reduce()

    def _learn(self, data: TrainingData, epochs: int, minibatch_size: int | None, minibatches: int) -> None:
        """The gradient steps of one update.

        Args:
            data: roll-outs.
            epochs: passes over them.
            minibatch_size: env steps of a minibatch; None for all at once.
            minibatches: how many all learners must make, or they wait for each other for ever; 0: as many as there are.
        """
        raise NotImplementedError

    def _of_finite(self, rollouts: Sequence[RoleRollout], make: Callable[[], _Made]) -> _Made:
        """What is made of roll-outs.

        Args:
            rollouts: of this learner.
            make: makes it, and raises `NotFiniteError` where numbers are not finite.

        Raises:
            TrainingDivergedError: numbers are not finite, here or on another learner: if one ended alone, the others
                would wait for its gradients for ever.
        """
        made: _Made | None = None
        cause: NotFiniteError | None = None
        report = ""
        try:
            made = make()
        except NotFiniteError as error:
            cause, report = error, self._report_rollouts(error, rollouts)
        reports = [report]
        if self._parallel:
            reports = [""] * self.config.num_learners
            torch.distributed.all_gather_object(reports, report)
        if any(reports):
            raise TrainingDivergedError(" ".join(filter(None, reports))) from cause
        return cast(_Made, made)

    def _step(
        self, loss: Tensor, batch: Batch, statistics: dict[Any, Tensor], modules: Collection[str] | None = None
    ) -> None:
        """Move the parameters of some modules, or of all."""
        modules = list(self._module_optimizers) if modules is None else modules
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._parallel:
            self._average_gradients()
        limit = self.settings.update.max_gradient_norm
        norms: dict[str, Tensor] = {}
        for module_id in modules:
            parameters = [p for p in self.module[module_id].parameters() if p.grad is not None]
            norms[module_id] = torch.nn.utils.clip_grad_norm_(parameters, limit)
            statistics[(module_id, "gradient_norm")] = norms[module_id]
        if not torch.isfinite(torch.stack([loss.detach(), *norms.values()])).all():
            raise TrainingDivergedError(self._report(loss, norms, batch))
        for module_id in modules:
            for _, optimizer in self.get_optimizers_for_module(module_id):
                optimizer.step()

    def _average_gradients(self) -> None:
        parameters = list(self._params.values())
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
        torch.distributed.all_reduce(flat)
        flat /= self.config.num_learners
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()

    def _report(self, loss: Tensor, norms: Mapping[str, Tensor], batch: Batch) -> str:
        """Save the minibatch and say what was not finite."""
        broken = [module for module, norm in norms.items() if not torch.isfinite(norm)]
        odd = [
            f"{module}.{name}"
            for module, columns in batch.items()
            for name, values in columns.items()
            if values.is_floating_point() and not torch.isfinite(values).all()
        ]
        return (
            f"training diverged at update {self._weights_seq_no}: loss {float(loss.detach()):g}, "
            f"gradients not finite in {broken or 'no module'}, batch columns not finite: {odd or 'none'}. "
            f"The minibatch {self._save(batch)}. "
            "Lower update.learning_rate or update.max_gradient_norm, or look into the columns named here."
        )

    def _report_rollouts(self, error: NotFiniteError, rollouts: Sequence[RoleRollout]) -> str:
        """Save the roll-outs of this learner and say what was not finite."""
        stored = StoredRollouts.of([rollout for rollout in rollouts if len(rollout)])
        names = ("states", "team_rewards", "truncated", "last_states", "cut_states", "cut_index")
        batch = {**stored.roles, "cluster": {name: getattr(stored, name) for name in names}}
        return (
            f"training diverged at update {self._weights_seq_no}: in the roll-outs {error}. "
            f"They {self._save(batch, 'were')}. "
            "States, observations and rewards come from the simulator, log_probs from the policies, returns from the "
            "critic too: look into the column named here."
        )

    def _save(self, batch: Batch, verb: str = "was") -> str:
        """Save a batch in the run's folder; returns the end of the sentence that says where."""
        folder = Path(os.environ.get("CLOUDSCHED_RUN_DIR", "."))
        # Learners may save theirs in the same second.
        learner = f"_learner{int(self._learner_index)}" if self._parallel else ""
        path = folder / f"diverged_batch_{int(time.time())}{learner}.pt"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.save({module: dict(columns) for module, columns in batch.items()}, path)
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
            return f"could not be saved to {path}: {str(error).splitlines()[0]}"
        return f"{verb} saved to {path}"
