"""Results for people: tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cloudsched_env.evaluation.metrics import METRICS, Metric
from cloudsched_env.evaluation.protocol import AgentResult, Evaluation
from cloudsched_env.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_report", "short_names"]

# Widths in characters: the summary fits a terminal of 80, the other tables show as many agents as there is room for.
NAME_WIDTH, METRIC_WIDTH, INTERVAL_WIDTH, BOUND_WIDTH = 18, 36, 24, 8
# What the one-line-an-agent table shows beside the score.
SUMMARY_METRICS = (
    ("team_reward", "J"),
    ("useful_utilisation", "CPU"),
    ("scheduling_latency_mean_ms", "ms"),
    ("slo_attainment", "SLO"),
    ("minimum_tenant_share", "share"),
)
NOTES = (
    "Means over episodes with 95 % bootstrap intervals. Score: interquartile mean of (J - J_random) / (J_bound - "
    "J_random). CPU: useful utilisation. ms: mean scheduling latency. SLO: attainment. share: minimum tenant share. "
    "Definitions: docs/metrics.md."
)


def print_report(evaluation: Evaluation, console: Console, *, seed: int = 0) -> None:
    """Print the summary, every metric with its interval, the offered load and the bound.

    Args:
        evaluation: the results.
        console: where to.
        seed: of the bootstrap.
    """
    names = short_names([agent.name for agent in (*evaluation.agents, evaluation.random)])
    for name, short in names.items():
        if name != short:
            console.print(f"{short}: {name}", markup=False, highlight=False, soft_wrap=True)
    console.print(_summary_table(evaluation, names, seed))
    if len(evaluation.agents) > 1:
        console.print(_difference_table(evaluation, names, seed))
    shown = max(1, (console.width - METRIC_WIDTH - BOUND_WIDTH) // INTERVAL_WIDTH)
    for first in range(0, len(evaluation.agents), shown):
        console.print(_metrics_table(evaluation, evaluation.agents[first : first + shown], names, seed))
    console.print(_load_table(evaluation, seed))
    console.print(NOTES, style="dim", markup=False)


def short_names(names: list[str]) -> dict[str, str]:
    """Names that fit a column: long ones are cut and numbered, which keeps them apart."""
    shortened: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if len(name) <= NAME_WIDTH:
            shortened[name] = name
        else:
            mark = f"~{sum(short != full for full, short in shortened.items()) + 1}"
            shortened[name] = name[: NAME_WIDTH - len(mark)] + mark
    return shortened


def _table(title: str, *headings: str) -> Table:
    """A table with a text column first and numbers, kept on one line, after it."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _data(evaluation: Evaluation) -> str:
    """Where the tasks come from, and other volumes on the storage nodes."""
    load = evaluation.storage_load
    if load is None:
        return evaluation.data_tag
    return (
        f"{evaluation.data_tag}, storage load: {load['source']} ({load['data_tag']}), mean share {load['mean_share']:g}"
    )


def _summary_table(evaluation: Evaluation, names: Mapping[str, str], seed: int) -> Table:
    """One line an agent, the best score first, between the random agent and the upper bound."""
    title = (
        f"{evaluation.scenario.id} · {evaluation.split} · {evaluation.episodes} episodes · data: {_data(evaluation)}"
    )
    table = _table(title, "agent", "score IQM", *(heading for _, heading in SUMMARY_METRICS))

    def line(agent: AgentResult) -> list[str]:
        means = (bootstrap_interval(agent.metrics[name], _rng(seed), resamples=1) for name, _ in SUMMARY_METRICS)
        return [
            _escape(names[agent.name]),
            _cell(_score(evaluation, agent, seed)),
            *(_number(interval.estimate) for interval in means),
        ]

    for agent in sorted(evaluation.agents, key=lambda agent: -_score(evaluation, agent, seed).estimate):
        table.add_row(*line(agent))
    if all(agent.name != evaluation.random.name for agent in evaluation.agents):
        table.add_row(*line(evaluation.random), style="dim")
    bounds = (evaluation.bound.get(name) for name, _ in SUMMARY_METRICS)
    table.add_row(
        "upper bound",
        "1",
        *("" if bound is None else _number(float(bound.mean())) for bound in bounds),
        style="dim",
    )
    return table


def _difference_table(evaluation: Evaluation, names: Mapping[str, str], seed: int) -> Table:
    """Paired differences of the team reward to the agent that was named first."""
    first = evaluation.agents[0]
    table = _table(
        f"J against {_escape(names[first.name])}, episode by episode", "agent", "mean difference [95 %]", "better in"
    )
    for agent in evaluation.agents[1:]:
        own, other = agent.metrics["team_reward"], first.metrics["team_reward"]
        better = probability_of_improvement(own, other)
        difference = _cell(paired_difference(own, other, _rng(seed)))
        table.add_row(_escape(names[agent.name]), difference, f"{100 * better:.0f} %")
    return table


def _metrics_table(
    evaluation: Evaluation, agents: tuple[AgentResult, ...], names: Mapping[str, str], seed: int
) -> Table:
    """Every metric of some agents, and its bound where there is one."""
    table = _table("all metrics", "metric", *(_escape(names[agent.name]) for agent in agents), "bound")
    group = ""
    for entry in METRICS:
        if entry.group == "offered":
            continue
        if group and group != entry.group:
            table.add_section()
        group = entry.group
        bound = evaluation.bound.get(entry.name)
        table.add_row(
            _heading(entry),
            *(_cell(bootstrap_interval(agent.metrics[entry.name], _rng(seed))) for agent in agents),
            "" if bound is None else _number(float(bound.mean())),
        )
    table.add_section()
    table.add_row("decision_time_us per cluster ↓", *(_number(agent.decision_time_us) for agent in agents))
    return table


def _load_table(evaluation: Evaluation, seed: int) -> Table:
    """Offered loads; they belong to the episodes, not to an agent."""
    table = _table("offered load", "", "mean [95 %]", "smallest", "largest")
    for entry in METRICS:
        if entry.group == "offered":
            values = evaluation.random.metrics[entry.name]
            interval = bootstrap_interval(values, _rng(seed))
            table.add_row(entry.name, _cell(interval), _number(float(values.min())), _number(float(values.max())))
    return table


def _score(evaluation: Evaluation, agent: AgentResult, seed: int) -> Interval:
    return bootstrap_interval(evaluation.score(agent), _rng(seed), interquartile_mean)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _escape(text: str) -> str:
    """Names are the user's: brackets in them are not rich's markup."""
    from rich.markup import escape

    return escape(text)


def _heading(entry: Metric) -> str:
    """Name, unit where the name does not end in it, and which way is better."""
    unit = "" if entry.unit in ("1", "s", "ms", "GB", "core-s") else f" ({entry.unit})"
    return f"{entry.name}{unit} { ({'higher': '↑', 'lower': '↓', '': ''}[entry.better]) }".rstrip()


def _cell(interval: Interval) -> str:
    if np.isnan(interval.estimate):
        return "-"
    if interval.low == interval.high:
        return _number(interval.estimate)
    return f"{_number(interval.estimate)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    if np.isnan(value):
        return "-"
    if value == round(value) and abs(value) < 1e5:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
