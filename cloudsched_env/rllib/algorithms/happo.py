"""HAPPO by roles: policies are updated one after the other (Kuba et al. 2022, arXiv 2109.11251; Zhong et al. 2024).

Reference implementation: ``PKU-MARL/HARL``. In each update roles take turns in an order drawn at random. The surrogate
of a role is multiplied by the factor

    M(s, a) = product over the agents j of all roles updated before of  π_new(a_j | o_j) / π_old(a_j | o_j) ,

so that each role improves on what the earlier ones have become: with M the expectation of A under the old policies is
that of the joint policy in which the earlier roles are new already. That is exact where agents draw their actions
independently. By default nodes of a role draw with common noise (``exploration.common_noise_steps``), and the product
of their ratios is then only close to the ratio of the joint policies: for two alike nodes whose three levels had 1/3
each and get .4, .333 and .267 its mean is 1.027 instead of 1.

The details that matter, and where they are:

- *Sequence, random order, factor*: `HAPPOLearner._train`. Agents of a role share a policy, so the turn is the role's;
  as a product over twenty agents explodes or vanishes, M is kept in ``[1 / update.factor_clip, update.factor_clip]``.
- *One advantage for all*, that of the joint action: ``networks.critic=team``, one value of the global state
  (`networks.critic.CentralCritic`), with value normalisation, value clip and Huber loss as in MAPPO.
- The critic is updated after the policies, as in HARL.
- *Product of ratios* over sub-actions, active masks, GAE, team reward, no role attention: as in
  `cloudsched_env.rllib.algorithms.mappo`.

The lemma of monotonic improvement is about agents with parameters of their own that are updated one by one. Within a
role all agents move at once; there, and through the clip of M, it is a heuristic. MAPPO's departures are HAPPO's too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig
from cloudsched_env.rllib.hrac import HRAC
from cloudsched_env.rllib.learner import HRACLearner
from cloudsched_env.rllib.modules import CRITIC
from cloudsched_env.rllib.settings import HRACSettings

__all__ = ["HAPPO", "HAPPOConfig", "HAPPOLearner"]

_EVALUATION_ROWS = 4096  # rows of one forward pass without gradients: bounds memory


class HAPPOLearner(HRACLearner):
    """Updates one role after the other, then the critic; see the module's docstring."""

    def build(self) -> None:
        """Build modules and optimizers; all learners draw the same orders."""
        super().build()
        self._turns = torch.Generator().manual_seed((self.config.seed or 0) + 104_729)

    def draw_order(self) -> list[str]:
        """The roles that learn in the order of this update, drawn by the run's seed."""
        roles = self._learning
        return [roles[i] for i in torch.randperm(len(roles), generator=self._turns).tolist()]

    def _train(
        self, rows: dict[str, dict[str, Tensor]], passes: Callable[[], Iterator[Tensor]]
    ) -> Iterator[dict[tuple[str, str], Tensor]]:
        total = len(rows[CRITIC]["states"])
        factor = torch.ones(total)
        for role in self.draw_order():
            columns = rows[role]
            columns["factor"] = factor.unsqueeze(-1).expand_as(columns["advantages"])
            yield {(role, "factor_mean"): factor.mean(), (role, "factor_variance"): factor.var(correction=0)}
            for index in passes():
                batch = self._minibatch({role: columns}, index)
                loss, values = self._policy_loss(role, self.module.forward_train(batch)[role], batch[role])
                statistics = {(role, name): value for name, value in values.items()}
                self._step(loss, batch, statistics, [role])
                yield statistics
            factor = self.next_factor(factor, role, columns)
        for index in passes():
            batch = self._minibatch({CRITIC: rows[CRITIC]}, index)
            loss, values = self._value_loss(self.module.forward_train(batch)[CRITIC], batch[CRITIC])
            statistics = {(CRITIC, name): value for name, value in values.items()}
            self._step(self.settings.update.value_weight * loss, batch, statistics, [CRITIC])
            yield statistics

    @torch.no_grad()
    def next_factor(self, factor: Tensor, role: str, columns: Mapping[str, Tensor]) -> Tensor:
        """M after a role's turn, [rows].

        Args:
            factor: M before it, [rows].
            role: whose turn it was.
            columns: of the role; its policy has been updated since ``anchor_log_probs``.
        """
        ratios: list[Tensor] = []
        for start in range(0, len(factor), _EVALUATION_ROWS):
            part = {name: columns[name][start : start + _EVALUATION_ROWS] for name in _EVALUATED if name in columns}
            new = self.module.forward_train({role: part})[role]["log_probs"]
            ratios.append((new - columns["anchor_log_probs"][start : start + _EVALUATION_ROWS]).sum(-1).exp())
        clip = self.settings.update.factor_clip
        return (factor * torch.cat(ratios)).clamp(1 / clip, clip)


_EVALUATED = ("observations", "masks", "actions", "memories")  # with memory: as of when the step was recorded


class HAPPOConfig(MAPPOConfig):
    """Configuration of HAPPO, as in ``HAPPOConfig().happo({"scenario": "paper-v1"})``."""

    settings_name = "happo"
    policy_name = "happo"
    learner_type = HAPPOLearner

    def __init__(self, algo_class: type[Any] | None = None) -> None:
        super().__init__(algo_class=algo_class or HAPPO)

    @classmethod
    def default_settings(cls) -> HRACSettings:
        """MAPPO's with one value for all agents."""
        return super().default_settings().override({"networks.critic": "team"})

    def happo(self, changes: Mapping[str, Any] | HRACSettings) -> HAPPOConfig:
        """Set our own settings, by dotted name or nested, or all at once.

        Raises:
            ValueError: for an unknown setting or a value that is not allowed.
        """
        return self.change_settings(changes)

    def validate(self) -> None:
        """Check the settings, and that no role's policy reads what others make of themselves.

        Raises:
            ValueError: naming the setting and what was expected.
        """
        execution = self.settings.networks.get("execution", "none")
        if execution != "none":
            raise ValueError(
                f"setting 'networks.execution' is {execution!r}: HAPPO updates one role at a time and expects 'none', "
                "or the update of one role would change the policies of the others"
            )
        super().validate()


class HAPPO(HRAC):
    """HAPPO; the module's docstring says what it consists of."""

    @classmethod
    def get_default_config(cls) -> HAPPOConfig:
        """The defaults."""
        return HAPPOConfig()
