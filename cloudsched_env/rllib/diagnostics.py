"""What can go wrong while training, seen from the rows of the log: names, thresholds and detectors in one place.

Each detector looks at the last epochs and speaks up only if every one of them shows the sign, so that one odd epoch
does not. `docs/rllib.md` explains each name and what to do.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["DIAGNOSTICS", "Diagnostics", "Finding", "Thresholds"]

Row = Mapping[str, float]


@dataclass(frozen=True)
class Thresholds:
    """From where on something counts as a problem.

    Attributes:
        stalled_epochs: epochs in a row without movement.
        stalled_kl: KL divergence of the policies before and after an update below which nothing has moved; healthy
            updates have 1e-4 to 1e-2.
        diverging_epochs: epochs in a row with a bad value estimator.
        worst_explained_variance: below this the values are worse than a constant; 0 is a constant.
        value_loss_growth: value loss / its median over earlier epochs.
        balance_ratio: largest / smallest weight of the local reward among roles.
        attention_epochs: epochs in a row with collapsed attention.
        attention_entropy: of the attention weights / log(roles), below which one role takes all.
        conflict_epochs: epochs in a row with conflicts.
        conflict_excess: conflicting placements beyond chance, (share - chance) / (1 - chance).
        starving_epochs: epochs in a row with a starving tenant.
        starving_share: served / entitled work of the worst-served tenant.
    """

    stalled_epochs: int = 5
    stalled_kl: float = 1e-6
    diverging_epochs: int = 3
    worst_explained_variance: float = -1.0
    value_loss_growth: float = 10.0
    balance_ratio: float = 10.0
    attention_epochs: int = 3
    attention_entropy: float = 0.02
    conflict_epochs: int = 3
    conflict_excess: float = 0.3
    starving_epochs: int = 3
    starving_share: float = 0.1


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        name: one of `DIAGNOSTICS`.
        where: role, module or value head; empty if it concerns the cluster.
        text: the numbers behind it, for people.
    """

    name: str
    where: str
    text: str

    @property
    def label(self) -> str:
        """Name and place, for the progress line."""
        return f"{self.name} ({self.where})" if self.where else self.name


class Diagnostics:
    """Watches a run epoch by epoch.

    Args:
        thresholds: from where on something counts as a problem.
    """

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self._rows: deque[Row] = deque(maxlen=100)
        self._known: set[tuple[str, str]] = set()

    def check(self, row: Row) -> list[Finding]:
        """Take an epoch into account.

        Args:
            row: as `cloudsched_env.rllib.results.epoch_row` makes it; what an algorithm does not report is not judged.

        Returns:
            All problems that there are now.
        """
        self._rows.append(dict(row))
        rows = list(self._rows)
        return [finding for detect in DIAGNOSTICS.values() for finding in detect(rows, self.thresholds)]

    def new(self, findings: Sequence[Finding]) -> list[Finding]:
        """Those that were not there in the epoch before; call it once an epoch."""
        before, self._known = self._known, {(finding.name, finding.where) for finding in findings}
        return [finding for finding in findings if (finding.name, finding.where) not in before]

    @staticmethod
    def columns(findings: Sequence[Finding]) -> dict[str, float]:
        """For the logs: how many places show each problem."""
        return {
            f"diagnostics/{name.replace(' ', '_')}": float(sum(finding.name == name for finding in findings))
            for name in DIAGNOSTICS
        }


def _last(rows: Sequence[Row], count: int, *names: str) -> list[Row]:
    """The last ``count`` rows if there are so many and all have these columns, else nothing."""
    recent = rows[-count:]
    complete = len(recent) == count and all(name in row for row in recent for name in names)
    return list(recent) if complete else []


def _matching(row: Row, pattern: str) -> list[tuple[str, str]]:
    """Columns of a row that match, with what the group in the pattern caught."""
    return [(name, match[1]) for name in row if (match := re.fullmatch(pattern, name))]


def _stalled(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    findings = []
    for name, module in _matching(rows[-1], r"(.+)/kl_to_anchor"):
        recent = _last(rows, limits.stalled_epochs, name)
        if recent and all(abs(row[name]) < limits.stalled_kl for row in recent):
            details = [f"updates move the policy by a KL divergence of {recent[-1][name]:.1g}"]
            details += [
                f"{key.replace('_', ' ')} {recent[-1][f'{module}/{key}']:.2g}"
                for key in ("policy_loss", "entropy", "gradient_norm")
                if f"{module}/{key}" in recent[-1]
            ]
            findings.append(Finding("stalled policy loss", module, ", ".join(details)))
    return findings


def _diverging(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    findings = {}
    for name, head in _matching(rows[-1], r".+/explained_variance_(.+)"):
        if name.startswith(("validation/", "warm_start/")):
            continue
        recent = _last(rows, limits.diverging_epochs, name)
        if recent and all(row[name] < limits.worst_explained_variance for row in recent):
            text = f"explained variance of returns {recent[-1][name]:.2g}: worse than a constant"
            findings[head] = Finding("diverging value estimator", head, text)
    for name, head in _matching(rows[-1], r".+/value_loss_(.+)"):
        recent = _last(rows, limits.diverging_epochs, name)
        earlier = [row[name] for row in rows[: -limits.diverging_epochs] if name in row]
        if head not in findings and recent and len(earlier) >= limits.diverging_epochs:
            usual = max(median(earlier), 1e-6)
            if all(row[name] > limits.value_loss_growth * usual for row in recent):
                text = f"value loss {recent[-1][name]:.2g}, {recent[-1][name] / usual:.0f} times what it was"
                findings[head] = Finding("diverging value estimator", head, text)
    return list(findings.values())


def _unbalanced(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    shares = {}
    for name, role in _matching(rows[-1], r"(.+)/lgrs_running_local_std"):
        local, other = rows[-1][name], rows[-1].get(f"{role}/lgrs_running_global_std", 0.0)
        if local > 0 and other > 0:  # one of them is switched off otherwise: there is no mixture
            shares[role] = local / other
    if len(shares) < 2 or max(shares.values()) < limits.balance_ratio * min(shares.values()):
        return []
    terms = ", ".join(f"{role} {share:.2g}" for role, share in shares.items())
    text = f"local / global part of the reward by running scales: {terms}; one lambda means different things to them"
    return [Finding("reward scale out of balance", max(shares, key=lambda role: shares[role]), text)]


def _collapsed(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    findings = []
    for name, role in _matching(rows[-1], r".+/attention_entropy_(.+)"):
        recent = _last(rows, limits.attention_epochs, name)
        if recent and all(row[name] < limits.attention_entropy for row in recent):
            whose = name.partition("/")[0]
            text = f"{role} looks at one role only in {whose}: entropy {recent[-1][name]:.3f} of the largest possible"
            findings.append(Finding("attention collapsed", f"{role} in {whose}", text))
    return findings


def _conflicting(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    names = ("placement_conflicts", "placement_conflicts_by_chance")
    recent = _last(rows, limits.conflict_epochs, *names)

    def excess(row: Row) -> float:
        share, chance = (row[name] for name in names)
        return (share - chance) / max(1e-9, 1 - chance)

    if not recent or not all(excess(row) > limits.conflict_excess for row in recent):
        return []
    share, chance = (100 * recent[-1][name] for name in names)
    text = f"{share:.0f} % of placements go where another scheduler places in the same step ({chance:.0f} % by chance)"
    return [Finding("conflicting placements", "", text)]


def _starving(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    name = "minimum_tenant_share"
    recent = _last(rows, limits.starving_epochs, name)
    if not recent or not all(row[name] < limits.starving_share for row in recent):
        return []
    text = f"the worst-served tenant gets {100 * recent[-1][name]:.0f} % of the work that it is entitled to"
    return [Finding("starving tenant", "", text)]


DIAGNOSTICS: dict[str, Callable[[Sequence[Row], Thresholds], list[Finding]]] = {
    "stalled policy loss": _stalled,
    "diverging value estimator": _diverging,
    "reward scale out of balance": _unbalanced,
    "attention collapsed": _collapsed,
    "conflicting placements": _conflicting,
    "starving tenant": _starving,
}
