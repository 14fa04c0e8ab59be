"""Results for people (tables in the terminal) and for machines (JSON in marl-eval's layout)."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cloudsched_env
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

__all__ = ["marl_eval_results", "metadata", "print_report", "summary_table", "write_json"]

ENVIRONMENT = "cloudsched"
AGENTS_PER_TABLE = 3
# What the one-line-an-agent table shows beside the score.
SUMMARY_METRICS = (
    ("team_reward", "J"),
    ("useful_utilisation", "useful CPU"),
    ("scheduling_latency_mean_ms", "latency ms"),
    ("slo_attainment", "SLO"),
    ("minimum_tenant_share", "min share"),
)


def print_report(evaluation: Evaluation, console: Console, *, seed: int = 0) -> None:
    """Print the summary, every metric with its interval, the offered load and the bound.

    Args:
        evaluation: the results.
        console: where to.
        seed: of the bootstrap.
    """
    console.print(summary_table(evaluation, seed=seed))
    if len(evaluation.agents) > 1:
        console.print(_difference_table(evaluation, seed))
    for first in range(0, len(evaluation.agents), AGENTS_PER_TABLE):
        console.print(_metrics_table(evaluation, evaluation.agents[first : first + AGENTS_PER_TABLE], seed))
    console.print(_load_table(evaluation, seed))
    console.print(
        f"Mean and 95 % bootstrap interval over {evaluation.episodes} episodes; score: interquartile mean of "
        "(J - J_random) / (J_bound - J_random); definitions: docs/metrics.md.",
        style="dim",
    )


def summary_table(evaluation: Evaluation, *, seed: int = 0) -> Table:
    """One line an agent, the best score first, between the random agent and the upper bound."""
    from rich.table import Table

    scenario = evaluation.scenario
    table = Table(
        title=f"{scenario.id} · {evaluation.split} · {evaluation.episodes} episodes · data: {evaluation.data_tag}",
        caption_justify="left",
    )
    table.add_column("agent", overflow="fold")
    for heading in ("score IQM", *(heading for _, heading in SUMMARY_METRICS), "decision µs"):
        table.add_column(heading, justify="right")

    def line(agent: AgentResult) -> list[str]:
        cells = [agent.name, _cell(_score(evaluation, agent, seed))]
        for name, _ in SUMMARY_METRICS:
            cells.append(_number(float(np.nanmean(agent.metrics[name])) if _any(agent.metrics[name]) else np.nan))
        cells.append(_number(agent.decision_time_us))
        return cells

    for agent in sorted(evaluation.agents, key=lambda agent: -_score(evaluation, agent, seed).estimate):
        table.add_row(*line(agent))
    if all(agent.name != evaluation.random.name for agent in evaluation.agents):
        table.add_row(*line(evaluation.random), style="dim")
    bound = ["upper bound", "1"]
    for name, _ in SUMMARY_METRICS:
        bound.append(_number(float(evaluation.bound[name].mean())) if name in evaluation.bound else "")
    table.add_row(*bound, style="dim")
    return table


def _difference_table(evaluation: Evaluation, seed: int) -> Table:
    """Paired differences of the team reward to the agent that was named first."""
    from rich.table import Table

    first = evaluation.agents[0]
    table = Table(title=f"team reward J, episode by episode, against {first.name}")
    table.add_column("agent", overflow="fold")
    table.add_column("mean difference [95 %]", justify="right")
    table.add_column("better in", justify="right")
    for agent in evaluation.agents[1:]:
        own, other = agent.metrics["team_reward"], first.metrics["team_reward"]
        better = probability_of_improvement(own, other)
        table.add_row(agent.name, _cell(paired_difference(own, other, _rng(seed))), f"{100 * better:.0f} %")
    return table


def marl_eval_results(evaluation: Evaluation) -> dict[str, Any]:
    """Raw per-episode results as environment -> task -> algorithm -> run -> step and absolute metrics.

    The layout is that of marl-eval (Gorsane et al., NeurIPS 2022), which reads a file of it directly. There is one
    evaluation per run here, so ``step_1`` and ``absolute_metrics`` hold the same episodes. A number that does not
    exist for an episode is null.
    """
    task = f"{evaluation.scenario.id}/{evaluation.split}"
    algorithms: dict[str, Any] = {}
    for agent in (*evaluation.agents, evaluation.random):
        values = {name: _plain(series) for name, series in agent.metrics.items()}
        values["score"] = _plain(evaluation.score(agent))
        values["decision_time_us"] = [agent.decision_time_us]
        algorithms[agent.name] = {
            f"seed_{evaluation.seed}": {"step_1": {"step_count": 0, **values}, "absolute_metrics": values}
        }
    return {ENVIRONMENT: {task: algorithms}}


def metadata(evaluation: Evaluation, command: str) -> dict[str, Any]:
    """What is needed to repeat the evaluation: versions, scenario, seeds, data tag, machine, command."""
    return {
        "command": command,
        "versions": {"cloudsched-env": cloudsched_env.__version__, "python": platform.python_version()}
        | {name: _version(name) for name in ("numpy", "numba", "torch", "ray")},
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "scenario": evaluation.scenario.to_dict(),
        "split": evaluation.split,
        "seed": evaluation.seed,
        "episodes": evaluation.episodes,
        "data_tag": evaluation.data_tag,
        "batch_size": evaluation.batch_size,
        "execution": {agent.name: agent.execution for agent in evaluation.agents},
        "bound": {name: _plain(values) for name, values in evaluation.bound.items()},
        "metrics": {
            entry.name: {"unit": entry.unit, "better": entry.better, "definition": entry.definition}
            for entry in METRICS
        },
    }


def write_json(evaluation: Evaluation, path: str | Path, command: str) -> tuple[Path, Path]:
    """Write results to ``path`` and metadata beside them to ``<stem>.metadata.json``.

    Two files, because a reader of marl-eval's layout takes every top-level key for an environment.

    Returns:
        The two paths.
    """
    results = Path(path)
    beside = results.with_name(f"{results.stem}.metadata.json")
    for target, content in ((results, marl_eval_results(evaluation)), (beside, metadata(evaluation, command))):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return results, beside


def _metrics_table(evaluation: Evaluation, agents: tuple[AgentResult, ...], seed: int) -> Table:
    from rich.table import Table

    table = Table(title="all metrics")
    table.add_column("metric")
    table.add_column("unit")
    for agent in agents:
        table.add_column(agent.name, justify="right", overflow="fold")
    table.add_column("bound", justify="right", style="dim")
    group = ""
    for entry in METRICS:
        if entry.group == "offered":
            continue
        if group and group != entry.group:
            table.add_section()
        group = entry.group
        bound = evaluation.bound.get(entry.name)
        table.add_row(
            f"{entry.name} {_arrow(entry)}",
            "" if entry.unit == "1" else entry.unit,
            *(_cell(bootstrap_interval(agent.metrics[entry.name], _rng(seed))) for agent in agents),
            "" if bound is None else _number(float(bound.mean())),
        )
    return table


def _load_table(evaluation: Evaluation, seed: int) -> Table:
    """Offered loads; they belong to the episodes, not to an agent."""
    from rich.table import Table

    table = Table(title="offered load")
    table.add_column("")
    table.add_column("mean [95 %]", justify="right")
    table.add_column("smallest", justify="right")
    table.add_column("largest", justify="right")
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


def _arrow(entry: Metric) -> str:
    return {"higher": "↑", "lower": "↓", "": ""}[entry.better]


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


def _any(values: np.ndarray) -> bool:
    return bool((~np.isnan(values)).any())


def _plain(values: np.ndarray) -> list[float | None]:
    """As JSON numbers; null where there is none, as JSON has no NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
