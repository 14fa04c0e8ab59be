"""The numbers of a headroom study as plain tables, from which the terminal and the Markdown report are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudsched_env.evaluation.statistics import Interval, bootstrap_interval
from cloudsched_env.headroom.gates import Results, compute_gates, span_of
from cloudsched_env.headroom.policies import KUBE_DEFAULT, RANDOM
from cloudsched_env.headroom.span import Span

__all__ = ["Table", "ladder", "make_tables"]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: its heading.
        note: a sentence under it.
        head: names of the columns; the first holds names, the others numbers.
        rows: cells.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def make_tables(results: Results, seed: int) -> list[Table]:
    """All tables for which the stages have run.

    Args:
        results: of the stages.
        seed: of bootstrap intervals.
    """
    tables: list[Table] = []
    if "heuristics" not in results:
        return tables
    span = span_of(results, seed)
    tables.append(_gates(results, seed))
    if "bounds" in results:
        tables.append(_offered(results["bounds"]))
    tables.append(_ladder_table(results, seed))
    if "bounds" in results:
        tables.append(_tightness(results["bounds"], seed))
    if "knockout" in results:
        tables.append(_knockout(results["knockout"], results["knockout"]["feedback"], "tuned feedback", span))
    if "learned" in results:
        tables.append(_knockout(results["learned"], results["learned"]["metrics"]["team_reward"], "learned", span))
    if "couplings" in results:
        tables.append(_couplings(results, span))
    if "staleness" in results:
        tables += _staleness(results, seed)
    if "local_rewards" in results:
        tables += _local_rewards(results, span)
    return tables


def ladder(results: Results) -> list[tuple[str, dict[str, list[float]]]]:
    """Names and metrics of the agents on the test windows, and of the bound, from the lowest J to the highest."""
    rows: list[tuple[str, dict[str, list[float]]]] = []
    for name, metrics in results["heuristics"]["metrics"].items():
        rows.append((f"{name} (kube-scheduler's default)" if name == KUBE_DEFAULT else name, metrics))
    if "joint" in results:
        rows.append(("best joint heuristic", results["joint"]["metrics"]))
    rows += [(f"tuned {kind}", results[kind]["metrics"]) for kind in ("static", "feedback") if kind in results]
    if "learned" in results:
        rows.append(("learned policy", results["learned"]["metrics"]))
    if "static" in results:
        rows.append(("tuned static, constants by node type", results["static"]["by_type"]["metrics"]))
    rows.append(("upper bound (fluid)", results["heuristics"]["bound"]))
    return sorted(rows, key=lambda row: float(np.mean(row[1]["team_reward"])))


def _gates(results: Results, seed: int) -> Table:
    rows = [
        (gate.name, "pass" if gate.passed else "FAIL", _cell(gate.interval), gate.threshold, gate.meaning)
        for gate in compute_gates(results, seed)
    ]
    return Table("Gates", "", ("gate", "", "value [95 %]", "wanted", "what it is"), rows)


def _offered(stage: Any) -> Table:
    rows = [
        (name, _number(load["mean"]), _number(load["minimum"]), _number(load["maximum"]), load["definition"])
        for name, load in stage["offered"].items()
    ]
    return Table("Offered load", "Test windows.", ("resource", "mean", "least", "most", "definition"), rows)


def _ladder_table(results: Results, seed: int) -> Table:
    span = span_of(results, seed)
    rows = []
    for name, metrics in ladder(results):
        rewards = metrics["team_reward"]
        rows.append(
            (
                name,
                _cell(bootstrap_interval(rewards, np.random.default_rng(seed))),
                _percent(span.score(rewards)),
                *(_mean(metrics, column) for column in ("useful_utilisation", "goodput", "slo_attainment")),
                _mean(metrics, "scheduling_latency_mean_ms"),
            )
        )
    winner = f"Best joint heuristic: `{results['joint']['winner']}`. " if "joint" in results else ""
    return Table(
        "Agents on test windows",
        f"{winner}{len(span.floor)} windows. Score: share of the way from the {RANDOM} agent to the fluid bound.",
        ("agent", "J [95 %]", "score", "useful CPU", "goodput", "SLO", "latency ms"),
        rows,
    )


def _tightness(stage: Any, seed: int) -> Table:
    names = {
        "random": "random", "kube_default": "kube-scheduler's default", "static": "tuned static",
        "feedback": "tuned feedback", "hindsight": "hindsight: tuned on the window itself",
        "foresight": "upper bound, linear program", "fluid": "upper bound, fluid",
    }  # fmt: skip
    rows = []
    for key, name in names.items():
        used = stage["useful_utilisation"].get(key)
        rows.append(
            (
                name,
                _cell(bootstrap_interval(stage["team_reward"][key], np.random.default_rng(seed))),
                "" if used is None else _number(float(np.mean(used))),
            )
        )
    windows = len(stage["team_reward"]["fluid"])
    return Table(
        "How tight the bounds are",
        f"The first {stage['steps']} steps of {windows} test windows; the best possible policy lies between hindsight "
        "and the linear program.",
        ("", "J [95 %]", "useful CPU"),
        rows,
    )


def _knockout(stage: Any, whole: Sequence[float], policy: str, span: Span) -> Table:
    rows = [
        (
            role,
            f"{name} (*)" if name == stored["best_constant"] else name,
            _number(float(np.mean(rewards))),
            _percent(span.loss(whole, rewards)),
        )
        for role, stored in stage["roles"].items()
        for name, rewards in stored["team_reward"].items()
    ]
    return Table(
        f"One role of the {policy} policy replaced",
        f"The other roles are those of the {policy} policy. Loss: share of (bound - random). (*): the role's best "
        "constant, chosen on validation windows.",
        ("role", "replaced by", "J", "loss [95 %]"),
        rows,
    )


def _couplings(results: Results, span: Span) -> Table:
    columns = ("random", "kube_default", "simple", "static", "feedback", "retuned")
    rows = []
    for name, variant in results["couplings"]["variants"].items():
        rewards = variant["team_reward"]
        tuned = max((rewards[a] for a in ("static", "feedback", "retuned") if a in rewards), key=np.mean)
        rows.append(
            (
                name,
                *(_number(float(np.mean(rewards[c]))) if c in rewards else "" for c in columns),
                _number(float(np.mean(variant["bound"]))),
                _percent(span.loss(tuned, rewards["simple"])),
            )
        )
    return Table(
        "Couplings switched off",
        "Mean J. Simple: kube-scheduler's default with the constants that are best there. Gap: best tuned policy - "
        "simple, as a share of (bound - random) of the scenario as it is.",
        ("variant", "random", "kube", "simple", "static", "feedback", "re-tuned", "bound", "gap [95 %]"),
        rows,
    )


def _staleness(results: Results, seed: int) -> Iterator[Table]:
    for axis, heading in (("delay", "Older telemetry"), ("loss", "Lost telemetry")):
        points = results["staleness"][axis]
        names = list(points[0]["team_reward"])
        rows = []
        for point in points:
            label = ", ".join(f"{k.partition('.')[2]} {v:g}" for k, v in point["overrides"].items())
            cells = (
                _cell(bootstrap_interval(point["team_reward"][name], np.random.default_rng(seed))) for name in names
            )
            rows.append((label, f"{point['mean_age_steps']:g}", *cells))
        yield Table(
            heading,
            "J [95 %]; policies are not tuned anew. Age: mean steps since the snapshot, of what is delivered.",
            ("telemetry", "age", *(name.replace("_", " ") for name in names)),
            rows,
        )


def _local_rewards(results: Results, span: Span) -> Iterator[Table]:
    stage = results["local_rewards"]

    def correlation(name: str, unit: str) -> str:
        values = np.array(stage["correlation"][name][unit], dtype=np.float64)
        return _cell(bootstrap_interval(values, np.random.default_rng(span.seed)))

    yield Table(
        "Local rewards and the team reward",
        "Correlation within an episode under the tuned feedback policy, mean over test windows.",
        ("sum over", "per step [95 %]", "per second [95 %]"),
        [
            ("all agents" if name == "all" else name, correlation(name, "step"), correlation(name, "second"))
            for name in stage["correlation"]
        ],
    )
    turns = stage["turns"]
    roles = list(turns[0]["local_reward"])
    yield Table(
        "Each role for itself",
        "Roles take turns in tuning their own weights for their own local reward. Lost: team reward against the start, "
        "share of (bound - random).",
        ("after", "team J", "lost [95 %]", *(f"{role} local" for role in roles)),
        [
            (
                turn["after"],
                _number(float(np.mean(turn["team_reward"]))),
                _percent(span.loss(turns[0]["team_reward"], turn["team_reward"])),
                *(_number(float(np.mean(turn["local_reward"][role]))) for role in roles),
            )
            for turn in turns
        ],
    )


def _mean(metrics: Any, name: str) -> str:
    """Mean over windows; empty where there is no such number."""
    values = [value for value in metrics.get(name, []) if value is not None]
    return _number(float(np.mean(values))) if values else ""


def _number(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def _cell(interval: Interval) -> str:
    if np.isnan(interval.estimate):
        return "-"
    return f"{_number(interval.estimate)} [{_number(interval.low)}, {_number(interval.high)}]"


def _percent(interval: Interval) -> str:
    if np.isnan(interval.estimate):
        return "-"
    return f"{100 * interval.estimate:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
