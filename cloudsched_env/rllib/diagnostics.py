"""What can go wrong while training, seen from the rows of the log: names, thresholds and detectors in one place.

Each detector looks at the last epochs and speaks up only if every one of them shows the sign, so that one odd epoch
does not. `docs/rllib.md` explains each name and what to do.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        stalled_q_spread: best less worst utility of an agent's choices / standard deviation of the targets of Q_tot,
            below which a role has no preference.
        diverging_epochs: epochs in a row with a bad value estimator.
        worst_explained_variance: below this the values are worse than a constant; 0 is a constant.
        value_loss_growth: value loss, or TD loss, / its median over earlier epochs.
        q_tot_excess: |Q_tot| / the largest return that the rewards allow.
        balance_epochs: epochs in a row with unbalanced rewards.
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
    stalled_q_spread: float = 1e-4
    diverging_epochs: int = 3
    worst_explained_variance: float = -1.0
    value_loss_growth: float = 10.0
    q_tot_excess: float = 2.0
    balance_epochs: int = 3
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
    return [*_unmoved(rows, limits), *_indifferent(rows, limits)]


def _unmoved(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    """Policies that updates do not change."""
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


def _indifferent(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    """Roles of value methods to which all choices are worth the same."""
    findings = []
    for name, role in _matching(rows[-1], r"(.+)/q_spread"):
        deciding, scale = f"{role}/deciding_share", "mixer/target_std"
        recent = _last(rows, limits.stalled_epochs, name, deciding, scale)
        # Where no agent has a choice there is nothing to prefer.
        if recent and all(row[deciding] > 0 and row[name] < limits.stalled_q_spread * row[scale] for row in recent):
            text = (
                f"best and worst choice differ by {recent[-1][name]:.1g} in utility, targets by {recent[-1][scale]:.2g}"
            )
            findings.append(Finding("stalled policy loss", role, text))
    return findings


def _diverging(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    findings: dict[str, Finding] = {}
    for detect in (_unexplained, _growing_value_loss, _growing_td_loss, _beyond_returns):
        for head, text in detect(rows, limits):
            findings.setdefault(head, Finding("diverging value estimator", head, text))
    return list(findings.values())


def _unexplained(rows: Sequence[Row], limits: Thresholds) -> Iterator[tuple[str, str]]:
    """Value heads that are worse than a constant, and by how much."""
    for name, head in _matching(rows[-1], r".+/explained_variance_(.+)"):
        if name.startswith(("validation/", "warm_start/")):
            continue
        recent = _last(rows, limits.diverging_epochs, name)
        if recent and all(row[name] < limits.worst_explained_variance for row in recent):
            yield head, f"explained variance of returns {recent[-1][name]:.2g}: worse than a constant"


def _growing_value_loss(rows: Sequence[Row], limits: Thresholds) -> Iterator[tuple[str, str]]:
    """Value heads whose loss, which is that of standardised returns, is far above what it was."""
    for name, head in _matching(rows[-1], r".+/value_loss_(.+)"):
        growth = _growth(rows, name, limits.diverging_epochs)
        if growth and min(growth) > limits.value_loss_growth:
            yield head, f"value loss {rows[-1][name]:.2g}, {growth[-1]:.0f} times what it was"


def _growing_td_loss(rows: Sequence[Row], limits: Thresholds) -> Iterator[tuple[str, str]]:
    """Joint values whose TD loss is far above what it was, and above what a constant would have.

    While values grow to their size the loss may well grow with them, but not beyond the variance of its targets.
    """
    for name, mixer in _matching(rows[-1], r"(.+)/td_loss"):
        scale = f"{mixer}/target_std"
        growth = _growth(rows, name, limits.diverging_epochs)
        recent = _last(rows, limits.diverging_epochs, name, scale)
        large = all(row[name] > row[scale] ** 2 for row in recent)
        if growth and recent and large and min(growth) > limits.value_loss_growth:
            variance = rows[-1][scale] ** 2
            text = (
                f"TD loss {rows[-1][name]:.2g}, {growth[-1]:.0f} times what it was; variance of targets {variance:.2g}"
            )
            yield "q_tot", text


def _beyond_returns(rows: Sequence[Row], limits: Thresholds) -> Iterator[tuple[str, str]]:
    """Joint values that no rewards could add up to."""
    for name, mixer in _matching(rows[-1], r"(.+)/q_tot_mean"):
        bound = f"{mixer}/return_bound"
        recent = _last(rows, limits.diverging_epochs, name, bound)
        if recent and all(abs(row[name]) > limits.q_tot_excess * row[bound] for row in recent):
            yield "q_tot", f"Q_tot is {recent[-1][name]:.2g}, but no return is beyond {recent[-1][bound]:.2g}"


def _growth(rows: Sequence[Row], name: str, epochs: int) -> list[float]:
    """A column in each of the last epochs / its median before; empty if there are too few to say."""
    recent = _last(rows, epochs, name)
    earlier = [row[name] for row in rows[:-epochs] if name in row]
    return [row[name] / max(median(earlier), 1e-6) for row in recent] if len(earlier) >= epochs else []


def _unbalanced(rows: Sequence[Row], limits: Thresholds) -> list[Finding]:
    recent = [_local_shares(row) for row in _last(rows, limits.balance_epochs)]
    if not recent or not all(_spread(shares) > limits.balance_ratio for shares in recent):
        return []
    shares = recent[-1]
    terms = ", ".join(f"{role} {share:.2g}" for role, share in shares.items())
    text = f"local / global part of the reward by running scales: {terms}; one lambda means different things to them"
    return [Finding("reward scale out of balance", max(shares, key=lambda role: shares[role]), text)]


def _local_shares(row: Row) -> dict[str, float]:
    """Local / global part of the reward of each role whose reward is a mixture of both."""
    shares = {}
    for name, role in _matching(row, r"(.+)/lgrs_running_local_std"):
        local, other = row[name], row.get(f"{role}/lgrs_running_global_std", 0.0)
        if local > 0 and other > 0:  # one of them is switched off otherwise: there is no mixture
            shares[role] = local / other
    return shares


def _spread(shares: Mapping[str, float]) -> float:
    """Largest / smallest; 1 where there is nothing to compare."""
    return max(shares.values()) / min(shares.values()) if len(shares) > 1 else 1.0


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
