"""How role summaries travel at execution: as late and as lossy as the scenario's telemetry.

With execution ``role_summary`` an agent does not see the other agents; it holds the last summary of each role that
reached it. The same channel serves training and evaluation, so that a policy meets in both what it was promised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

from cloudsched_env.scenario import Scenario, TelemetryConfig

__all__ = ["SummaryChannel"]


class SummaryChannel:
    """Publishes role summaries every few steps and delivers them late, or not at all.

    The rules are those of telemetry (`docs/simulator.md`, item 14): a summary is published when the step is a multiple
    of ``publish_every_steps`` and delivered ``delay_steps`` later; each delivery (receiving agent, sending role) is
    lost with ``loss_probability``, in bursts of mean length ``loss_burst_length``, and what is lost leaves the older
    summary in place. The first summary reaches everyone at once. A role's own summary is subject to the same rules.

    Args:
        scenario: its ``telemetry`` group and, by default, role counts.
        role_counts: agents of each role, where roles are not the agent types.
    """

    def __init__(self, scenario: Scenario, role_counts: Mapping[str, int] | None = None) -> None:
        self.telemetry: TelemetryConfig = scenario.telemetry
        self.role_counts = dict(role_counts or scenario.role_counts)
        self._held: dict[str, dict[str, Tensor]] = {}

    def reset(self, batch_size: int, generator: torch.Generator) -> None:
        """Begin new episodes in ``batch_size`` clusters; losses are drawn from ``generator`` (on the CPU)."""
        self._generator = generator
        self._step = 0
        self._pending: deque[tuple[int, dict[str, Tensor]]] = deque()
        self._held = {}
        roles = tuple(self.role_counts)
        probability = self.telemetry.loss_probability
        # Gilbert-Elliott: each link is in a good or a bad state; it starts in its long-run distribution.
        self._bad = {
            role: torch.rand(batch_size, count, len(roles), generator=generator) < probability
            for role, count in self.role_counts.items()
        }

    @torch.no_grad()
    def exchange(self, summaries: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Publish this step's summaries and return what every agent holds now; call it once per step.

        Args:
            summaries: fresh ones, ``{role: [batch, summary size]}``.

        Returns:
            ``{receiver's role: {role: [batch, agents, summary size]}}``, as `RoleAttention.contexts` takes them.
        """
        if not self._held:
            self._held = {
                receiver: {
                    sender: summary.detach().unsqueeze(1).repeat(1, count, 1) for sender, summary in summaries.items()
                }
                for receiver, count in self.role_counts.items()
            }
        elif self._step % self.telemetry.publish_every_steps == 0:
            self._pending.append((self._step, {role: summary.detach().clone() for role, summary in summaries.items()}))
        while self._pending and self._pending[0][0] + self.telemetry.delay_steps <= self._step:
            self._deliver(self._pending.popleft()[1])
        self._step += 1
        return dict(self._held)

    def _deliver(self, summaries: Mapping[str, Tensor]) -> None:
        for receiver in self.role_counts:
            lost = self._losses(receiver)
            held = self._held[receiver]
            # New tensors, not updates in place: a runner may keep what it was given earlier.
            self._held[receiver] = {
                sender: torch.where(lost[..., index, None].to(summary.device), held[sender], summary.unsqueeze(1))
                for index, (sender, summary) in enumerate(summaries.items())
            }

    def _losses(self, receiver: str) -> Tensor:
        """Which deliveries are lost now, bool ``[batch, agents, roles]``; moves the state of the links."""
        bad = self._bad[receiver]
        probability, burst = self.telemetry.loss_probability, self.telemetry.loss_burst_length
        draw = torch.rand(bad.shape, generator=self._generator)
        if probability in (0.0, 1.0) or burst == 1.0:
            lost = draw < probability
        else:
            # Leaving the bad state with 1 / burst; entering so that the long-run share is the loss probability.
            enter = probability / (1.0 - probability) / burst
            lost = torch.where(bad, draw >= 1.0 / burst, draw < enter)
        self._bad[receiver] = lost
        return lost
